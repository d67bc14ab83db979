//! A model with its words, and how well it predicts texts.

use std::io::BufRead;
use std::path::Path;

use super::trie::{NgramState, Trie};
use super::{Text, Vocabulary, read_arpa};
use crate::error::{Error, Result, Stage, io};

/// An n-gram language model.
#[derive(Clone, Debug, Default)]
pub struct NgramModel {
    /// The words.
    pub vocabulary: Vocabulary,
    /// Their n-grams.
    pub trie: Trie,
}

/// How well a model predicts a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    /// Sentences of the text.
    pub sentences: u64,
    /// Words, without the ends of sentences.
    pub words: u64,
    /// Words that the model does not know.
    pub unknown: u64,
    /// log10 of the probability of all words and ends of sentences.
    pub log_prob: f64,
    /// That of the words that the model does not know.
    pub unknown_log_prob: f64,
}

impl Perplexity {
    /// The perplexity with unknown words, each as `<unk>`.
    pub fn with_unknown(&self) -> f64 {
        10_f64.powf(-self.log_prob / (self.words + self.sentences) as f64)
    }

    /// The perplexity of what the model knows.
    pub fn without_unknown(&self) -> f64 {
        let known = self.words + self.sentences - self.unknown;
        10_f64.powf(-(self.log_prob - self.unknown_log_prob) / known as f64)
    }
}

impl NgramModel {
    /// Reads a model: a file of `hearken lm`, or ARPA.
    ///
    /// # Errors
    /// When it cannot be read, or is neither; names the place.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |e| io(Stage::Text, path, e);
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut input = std::io::BufReader::with_capacity(1 << 18, file);
        let start = input.fill_buf().map_err(failed)?;
        if start.starts_with(super::binary::MAGIC) {
            let bytes = std::fs::read(path).map_err(failed)?;
            return Self::from_bytes(&bytes).map_err(|e| e.in_file(path));
        }
        if start.starts_with(&[0x1f, 0x8b]) {
            return Err(Error::new(Stage::Text, "expected a language model, found a gzip archive")
                .in_file(path)
                .hint("unpack it first: gunzip"));
        }
        if start.contains(&0) {
            let problem = "expected a model of `hearken lm` or an ARPA file, found other bytes";
            return Err(Error::new(Stage::Text, problem).in_file(path));
        }
        read_arpa(input, super::EstimateOptions::default().memory).map_err(|e| e.in_file(path))
    }

    /// log10 of the probability of a word after a state, the state behind it, and whether the model
    /// knows the word.
    pub fn score(&self, state: NgramState, word: &str) -> (f32, NgramState, bool) {
        let id = self.vocabulary.id(word);
        let (log_prob, state) = self.trie.next(state, id.unwrap_or(super::UNKNOWN));
        (log_prob, state, id.is_some_and(|id| id != super::UNKNOWN))
    }

    /// Measures how well the model predicts a text, a sentence a line.
    ///
    /// # Errors
    /// When the text cannot be read; names the line.
    pub fn perplexity(&self, name: &Path, text: impl BufRead) -> Result<Perplexity> {
        self.measure(Text::default(), name, text)
    }

    /// The same, with the text put into the form of [`Text::normalized`].
    ///
    /// # Errors
    /// As [`NgramModel::perplexity`].
    pub fn perplexity_normalized(&self, name: &Path, text: impl BufRead) -> Result<Perplexity> {
        self.measure(Text::normalized(), name, text)
    }

    fn measure(&self, mut read: Text, name: &Path, text: impl BufRead) -> Result<Perplexity> {
        read.read(name, text, |_| {})?;
        let mut result = Perplexity::default();
        read.for_each_sentence(|words, sentence| {
            let mut state = self.trie.begin_state();
            for &word in sentence {
                let (log_prob, next, known) = self.score(state, &words[word as usize]);
                state = next;
                result.words += 1;
                result.log_prob += f64::from(log_prob);
                if !known {
                    result.unknown += 1;
                    result.unknown_log_prob += f64::from(log_prob);
                }
            }
            result.log_prob += f64::from(self.trie.next(state, super::END).0);
            result.sentences += 1;
            Ok(())
        })?;
        Ok(result)
    }
}
