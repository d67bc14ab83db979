//! Recognizers with hotwords: words and phrases that are boosted in the search.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::open::Recognizer;
use super::pronunciations::{PronunciationTable, english};
use crate::decode::{
    ContextGraph, DecoderFactory, DecoderOptions, HotwordModel, Pronunciation, WordId, WordLoop, lexicon,
};
use crate::error::{Error, Result, Stage};
use crate::onnx::Metadata;
use crate::text::hotwords::{Hotwords, MAX_BOOST, PlacedWord};
use crate::text::normalize::fold;

/// A hotword file and the default boost.
#[derive(Clone, Debug, PartialEq)]
pub struct HotwordOptions {
    /// The file, with one word or phrase per line.
    pub file: PathBuf,
    /// Boost per word in nats of phrases for which the file has no boost.
    pub score: f32,
}

impl HotwordOptions {
    /// Default boost per word, nats; `tools/bench/hotwords.py` measures others.
    pub const SCORE: f32 = 2.0;

    /// Creates options with the default boost.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), score: Self::SCORE }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When the boost is out of range, or the file cannot be read or is invalid, in which case line and column are
    /// named.
    pub(super) fn read(&self) -> Result<Hotwords> {
        if !(0.0..=MAX_BOOST).contains(&self.score) {
            let score = self.score;
            let problem =
                format!("score of hotwords: expected a number from 0 to {MAX_BOOST}, found {score}");
            return Err(Error::new(Stage::Usage, problem));
        }
        Hotwords::read(&self.file)
    }
}

/// Hotwords as indices of a list of words.
pub(super) struct HotwordList<'a> {
    hotwords: &'a Hotwords,
    /// Each phrase as indices of words, with its boost per word.
    phrases: Vec<(Vec<usize>, f32)>,
    /// The words of the list that occur in hotwords, each with its first occurrence.
    used: HashMap<usize, &'a PlacedWord>,
}

impl<'a> HotwordList<'a> {
    /// Finds the words of hotwords in a list, regardless of case and of the form of apostrophes, and appends missing
    /// words to it. Phrases without a boost of their own have the boost `score`.
    ///
    /// # Errors
    /// When a word has no letters; names line and column.
    pub fn new(hotwords: &'a Hotwords, score: f32, words: &mut Vec<String>) -> Result<Self> {
        let exact = words.iter().enumerate().map(|(at, word)| (word.clone(), at));
        let mut exact: HashMap<String, usize> = exact.collect();
        let mut folded: HashMap<String, usize> = HashMap::new();
        for (at, word) in words.iter().enumerate() {
            folded.entry(fold(word)).or_insert(at);
        }
        let mut hotword_list = Self { hotwords, phrases: Vec::new(), used: HashMap::new() };
        for phrase in hotwords.phrases() {
            let mut places = Vec::with_capacity(phrase.words.len());
            for placed in &phrase.words {
                let known = |word: &str| exact.get(word).or_else(|| folded.get(&fold(word))).copied();
                // `rock-n-roll` may be a word of the list; otherwise it is three words.
                let parts = match known(&placed.text) {
                    Some(_) => vec![placed.text.clone()],
                    None => placed.parts(),
                };
                if parts.is_empty() {
                    let problem = format!("expected a word, found `{}`", placed.text);
                    return Err(hotwords.error_at(placed, problem));
                }
                for part in parts {
                    let known = exact.get(&part).or_else(|| folded.get(&fold(&part))).copied();
                    let at = known.unwrap_or_else(|| {
                        words.push(part.clone());
                        folded.insert(fold(&part), words.len() - 1);
                        exact.insert(part, words.len() - 1);
                        words.len() - 1
                    });
                    hotword_list.used.entry(at).or_insert(placed);
                    places.push(at);
                }
            }
            hotword_list.phrases.push((places, phrase.boost.unwrap_or(score)));
        }
        Ok(hotword_list)
    }

    /// Whether a word of the list occurs in hotwords.
    pub fn contains(&self, at: usize) -> bool {
        self.used.contains_key(&at)
    }

    /// Creates the error for a hotword without a pronunciation.
    pub fn missing_pronunciation(&self, at: usize, problem: &str) -> Error {
        let error = match self.used.get(&at) {
            Some(placed) => self.hotwords.error_at(placed, problem),
            None => Error::new(Stage::Text, problem),
        };
        error.hint("give the word and its phones, a line `word  P R O N`, in a lexicon").remedy("lexicon")
    }

    /// Checks that all words of hotwords have pronunciations.
    ///
    /// # Errors
    /// When one has none; names line and column of the first.
    pub fn check_pronunciations(
        &self,
        words: &[String],
        has_pronunciation: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let missing = self.used.keys().copied().filter(|&at| !has_pronunciation(at)).min();
        missing.map_or(Ok(()), |at| {
            Err(self.missing_pronunciation(at, &format!("no pronunciation for `{}`", words[at])))
        })
    }

    /// Creates the automaton of the phrases; `id` maps indices of the list to word ids.
    pub fn graph(&self, id: impl Fn(usize) -> WordId) -> ContextGraph {
        let phrases = self.phrases.iter();
        ContextGraph::new(phrases.map(|(words, boost)| (words.iter().map(|&at| id(at)).collect(), *boost)))
    }
}

impl Recognizer {
    /// Creates a recognizer with the same network that boosts hotwords in the search over the model's own lexicon.
    /// Words that are not in this lexicon are added to it. Their pronunciations are taken from the file `lexicon`,
    /// which has a word and its phones per line, else from the English dictionary inside the program; else they are
    /// guessed, which [`Recognizer::notes`] reports. To combine hotwords with a language model, use
    /// [`LanguageOptions::hotwords`](super::LanguageOptions::hotwords).
    ///
    /// # Errors
    /// When the model has no lexicon, a file cannot be read or is invalid, or a word has no pronunciation.
    pub fn with_hotwords(self, options: &HotwordOptions, lexicon: Option<&Path>) -> Result<Self> {
        let decoder = &self.metadata().decoder;
        if decoder.lexicon.is_empty() {
            let problem = "hotwords need words, and this model has no lexicon of its own";
            let hint = "with a model whose tokens are phones, give a language model too";
            return Err(Error::new(Stage::Usage, problem).hint(hint).remedy("language_model"));
        }
        let hotwords = options.read()?;
        let mut words = lexicon::words(decoder);
        let known = words.len();
        let hotword_list = HotwordList::new(&hotwords, options.score, &mut words)?;
        let tokens = &self.metadata().tokens;
        let mut table = PronunciationTable::new(&words[known..], tokens);
        if let Some(path) = lexicon {
            table.add_lexicon(path)?;
        }
        if table.pronunciations.iter().any(Vec::is_empty) && table.has_english_phones() {
            let missing = |at, error: Error| hotword_list.missing_pronunciation(known + at, error.problem());
            let english = english("give the words in a file").map_err(|e| e.remedy("lexicon"))?;
            table.add_english(english, |_| true, missing)?;
        }
        hotword_list
            .check_pronunciations(&words, |at| at < known || !table.pronunciations[at - known].is_empty())?;
        let mut decoder = decoder.clone();
        for (word, pronunciations) in words[known..].iter().zip(&table.pronunciations) {
            decoder.lexicon.extend(pronunciations.iter().map(|labels| Pronunciation {
                word: word.clone(),
                tokens: labels.iter().map(|label| tokens.tokens()[label.index()].clone()).collect(),
            }));
        }
        let note = table.guesses_note();
        let graph = hotword_list.graph(|at| WordId(at as u32));
        self.with_graph(decoder, graph).map(|recognizer| recognizer.with_note(note))
    }

    /// Replaces the decoders by searches over the lexicon of `decoder` with the hotwords of `graph`.
    fn with_graph(self, decoder: DecoderOptions, graph: ContextGraph) -> Result<Self> {
        let words = WordLoop { word_cost: decoder.word_cost };
        let model = HotwordModel::new(Arc::new(words), graph);
        let metadata = Metadata { decoder, ..self.metadata().clone() };
        let (tokens, decoder) = (&metadata.tokens, &metadata.decoder);
        let decoders = DecoderFactory::search(tokens, decoder, self.clock().seconds(1), Arc::new(model))?;
        Ok(self.with_decoders(metadata, decoders))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hotwords_reuse_listed_words_and_add_others() {
        let text = "New York :3\nO’Neill\nrock-n-roll\ncoca-cola\nNew Yorkers\n";
        let hotwords = Hotwords::parse(text, None).expect("good lines");
        let mut words = ["new", "york", "coca", "rock-n-roll"].map(String::from).to_vec();
        let hotword_list = HotwordList::new(&hotwords, 2.0, &mut words).expect("words");
        assert_eq!(words[4..], ["O'Neill", "cola", "Yorkers"]);
        let expected =
            [(vec![0, 1], 3.0), (vec![4], 2.0), (vec![3], 2.0), (vec![2, 5], 2.0), (vec![0, 6], 2.0)];
        assert_eq!(hotword_list.phrases, expected);
        assert!(hotword_list.contains(5) && hotword_list.check_pronunciations(&words, |_| true).is_ok());
        let error =
            hotword_list.check_pronunciations(&words, |at| at != 6).expect_err("a word without").to_string();
        assert!(error.starts_with("line 5, column 5: no pronunciation for `Yorkers`"), "{error}");
    }

    #[test]
    fn hotwords_that_are_not_words_are_refused_by_line_and_column() {
        let hotwords = Hotwords::parse("a\nb … c\n", None).expect("good lines");
        let error = HotwordList::new(&hotwords, 2.0, &mut Vec::new()).err().expect("no word").to_string();
        assert!(error.starts_with("line 2, column 3: ") && error.contains('…'), "{error}");
    }

    #[test]
    fn a_score_out_of_range_is_wrong_usage() {
        for score in [-1.0, 101.0, f32::NAN] {
            let options = HotwordOptions { score, ..HotwordOptions::new("names.txt") };
            assert_eq!(options.read().expect_err("no score").exit_code(), 2);
        }
    }
}
