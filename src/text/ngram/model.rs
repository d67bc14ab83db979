//! An n-gram model with its vocabulary, and the perplexity of texts.

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
    /// Their n-grams, with probabilities and back-off weights.
    pub trie: Trie,
}

/// The perplexity of a text and its components.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    /// Number of sentences.
    pub sentences: u64,
    /// Number of words, without ends of sentences.
    pub words: u64,
    /// Number of words outside the model's vocabulary.
    pub unknown: u64,
    /// log10 of the probability of all words and ends of sentences.
    pub log_prob: f64,
    /// The part of `log_prob` that comes from out-of-vocabulary words.
    pub unknown_log_prob: f64,
}

impl Perplexity {
    /// The perplexity including out-of-vocabulary words, each predicted as `<unk>`.
    pub fn with_unknown(&self) -> f64 {
        10_f64.powf(-self.log_prob / (self.words + self.sentences) as f64)
    }

    /// The perplexity excluding out-of-vocabulary words.
    pub fn without_unknown(&self) -> f64 {
        let known = self.words + self.sentences - self.unknown;
        10_f64.powf(-(self.log_prob - self.unknown_log_prob) / known as f64)
    }
}

impl NgramModel {
    /// Reads a model: a binary file written by `hearken lm`, or an ARPA file.
    ///
    /// # Errors
    /// When the file cannot be read or is neither; names the place in it.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self::read_while(path, |_| ())?.0)
    }

    /// Reads a model as [`NgramModel::read`], and calls `meanwhile` with its words, which are known before the n-grams
    /// are read if the file is binary.
    ///
    /// # Errors
    /// As [`NgramModel::read`].
    pub(crate) fn read_while<T>(path: &Path, meanwhile: impl FnOnce(&Vocabulary) -> T) -> Result<(Self, T)> {
        let failed = |e| io(Stage::Text, path, e);
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut input = std::io::BufReader::with_capacity(1 << 18, file);
        let start = input.fill_buf().map_err(failed)?;
        if start.starts_with(super::binary::MAGIC) {
            let bytes = std::fs::read(path).map_err(failed)?;
            return Self::from_bytes_while(&bytes, meanwhile).map_err(|e| e.in_file(path));
        }
        if start.starts_with(&[0x1f, 0x8b]) {
            return Err(Error::new(Stage::Text, "expected a language model, found a gzip archive")
                .in_file(path)
                .hint("unpack it first: gunzip"));
        }
        if start.contains(&0) {
            let problem = "expected a language model of hearken or an ARPA file, found other binary data";
            return Err(Error::new(Stage::Text, problem).in_file(path));
        }
        let model =
            read_arpa(input, super::EstimateOptions::default().memory).map_err(|e| e.in_file(path))?;
        let result = meanwhile(&model.vocabulary);
        Ok((model, result))
    }

    /// Scores a word after a state: returns log10 of its probability, the next state, and whether the word
    /// is in the vocabulary.
    pub fn score(&self, state: NgramState, word: &str) -> (f32, NgramState, bool) {
        let id = self.vocabulary.id(word);
        let (log_prob, state) = self.trie.next(state, id.unwrap_or(super::UNKNOWN));
        (log_prob, state, id.is_some_and(|id| id != super::UNKNOWN))
    }

    /// Measures the perplexity of a text with one sentence on each line.
    ///
    /// # Errors
    /// When the text cannot be read; names the line.
    pub fn perplexity(&self, name: &Path, text: impl BufRead) -> Result<Perplexity> {
        self.measure(Text::default(), name, text)
    }

    /// Measures the perplexity of a text after normalization by [`Text::normalized`].
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
