//! Hotwords: words and phrases that are preferred, beside all others.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::open::Recognizer;
use super::pronunciations::{Spoken, english};
use crate::decode::{
    ContextGraph, DecoderFactory, DecoderOptions, HotwordModel, Pronunciation, WordId, WordLoop, lexicon,
};
use crate::error::{Error, Result, Stage};
use crate::onnx::Metadata;
use crate::text::hotwords::{Hotwords, MAX_BOOST, PlacedWord};
use crate::text::normalize::fold;

/// A file of hotwords, and how much they are preferred.
#[derive(Clone, Debug, PartialEq)]
pub struct HotwordOptions {
    /// The file: a word or a phrase a line.
    pub file: PathBuf,
    /// The reward of each word of a phrase, nats, where the file does not say another.
    pub score: f32,
}

impl HotwordOptions {
    /// The reward that helps listed words, and does no harm to others where none of the list is spoken
    /// (docs/words.md).
    pub const SCORE: f32 = 2.0;

    /// A file with the usual reward.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), score: Self::SCORE }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When the reward cannot be used, or the file cannot be read or is wrong: names line and column.
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

/// Hotwords over a list of words.
pub(super) struct ListedHotwords<'a> {
    hotwords: &'a Hotwords,
    /// Words by their places in the list, and the boost of each word.
    phrases: Vec<(Vec<usize>, f32)>,
    /// The words of the list that the hotwords have, and where each stands first.
    used: HashMap<usize, &'a PlacedWord>,
}

impl<'a> ListedHotwords<'a> {
    /// Finds the words of hotwords in a list, in which case and the form of apostrophes do not count, and appends
    /// those that it does not have. Phrases without a boost of their own have `score`.
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
        let mut listed = Self { hotwords, phrases: Vec::new(), used: HashMap::new() };
        for phrase in hotwords.phrases() {
            let mut places = Vec::with_capacity(phrase.words.len());
            for placed in &phrase.words {
                let known = |word: &str| exact.get(word).or_else(|| folded.get(&fold(word))).copied();
                // `rock-n-roll` may be a word of the list; if not, it is three words.
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
                    listed.used.entry(at).or_insert(placed);
                    places.push(at);
                }
            }
            listed.phrases.push((places, phrase.boost.unwrap_or(score)));
        }
        Ok(listed)
    }

    /// Whether a word of the list belongs to the hotwords.
    pub fn uses(&self, at: usize) -> bool {
        self.used.contains_key(&at)
    }

    /// The error of a word of the list, one of the hotwords, that has no pronunciation.
    pub fn unspoken(&self, at: usize, problem: &str) -> Error {
        let error = match self.used.get(&at) {
            Some(placed) => self.hotwords.error_at(placed, problem),
            None => Error::new(Stage::Text, problem),
        };
        error.hint("add a line with the word and its phones, `word  P R O N`, to a file for `--lexicon`")
    }

    /// The first of the hotwords' words that has no way to be said, as an error.
    ///
    /// # Errors
    /// When there is one; names line and column.
    pub fn check_spoken(&self, words: &[String], is_spoken: impl Fn(usize) -> bool) -> Result<()> {
        let unspoken = self.used.keys().copied().filter(|&at| !is_spoken(at)).min();
        unspoken.map_or(Ok(()), |at| Err(self.unspoken(at, &format!("no pronunciation for `{}`", words[at]))))
    }

    /// The automaton of the phrases, by the id of each word of the list.
    pub fn graph(&self, id: impl Fn(usize) -> WordId) -> ContextGraph {
        let phrases = self.phrases.iter();
        ContextGraph::new(phrases.map(|(words, boost)| (words.iter().map(|&at| id(at)).collect(), *boost)))
    }
}

impl Recognizer {
    /// A recognizer of the same network that prefers hotwords among the words of the model's own lexicon. Words
    /// that the lexicon does not have are added to it, spoken as `lexicon` says, a file with a word and its phones
    /// a line, or else as the English inside the program does; [`Recognizer::notes`] names those whose
    /// pronunciations are guessed. For a language model there is
    /// [`LanguageOptions::hotwords`](super::LanguageOptions::hotwords).
    ///
    /// # Errors
    /// When the model has no lexicon, a file cannot be read or is wrong, or a word has no pronunciation.
    pub fn with_hotwords(self, options: &HotwordOptions, lexicon: Option<&Path>) -> Result<Self> {
        let decoder = &self.metadata().decoder;
        if decoder.lexicon.is_empty() {
            let problem = "hotwords need words, and this model has no lexicon of its own";
            let hint = "with a model whose tokens are phones, give a language model too: `--lm FILE`";
            return Err(Error::new(Stage::Usage, problem).hint(hint));
        }
        let hotwords = options.read()?;
        let mut words = lexicon::words(decoder);
        let known = words.len();
        let listed = ListedHotwords::new(&hotwords, options.score, &mut words)?;
        let tokens = &self.metadata().tokens;
        let mut spoken = Spoken::new(&words[known..], tokens);
        if let Some(path) = lexicon {
            spoken.add_lexicon(path)?;
        }
        if spoken.ways.iter().any(Vec::is_empty) && spoken.speaks_english() {
            let unspoken = |at, error: Error| listed.unspoken(known + at, error.problem());
            spoken.add_english(english("give the words in a file: `--lexicon FILE`")?, |_| true, unspoken)?;
        }
        listed.check_spoken(&words, |at| at < known || !spoken.ways[at - known].is_empty())?;
        let mut decoder = decoder.clone();
        for (word, ways) in words[known..].iter().zip(&spoken.ways) {
            decoder.lexicon.extend(ways.iter().map(|labels| Pronunciation {
                word: word.clone(),
                tokens: labels.iter().map(|label| tokens.tokens()[label.index()].clone()).collect(),
            }));
        }
        let note = spoken.guesses_note();
        let graph = listed.graph(|at| WordId(at as u32));
        self.with_graph(decoder, graph).map(|recognizer| recognizer.with_note(note))
    }

    /// The search over a lexicon of the model's tokens that prefers hotwords.
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
    fn words_are_found_in_a_list_or_added_to_it() {
        let text = "New York :3\nO’Neill\nrock-n-roll\ncoca-cola\nNew Yorkers\n";
        let hotwords = Hotwords::parse(text, None).expect("good lines");
        let mut words = ["new", "york", "coca", "rock-n-roll"].map(String::from).to_vec();
        let listed = ListedHotwords::new(&hotwords, 2.0, &mut words).expect("words");
        assert_eq!(words[4..], ["O'Neill", "cola", "Yorkers"]);
        let expected =
            [(vec![0, 1], 3.0), (vec![4], 2.0), (vec![3], 2.0), (vec![2, 5], 2.0), (vec![0, 6], 2.0)];
        assert_eq!(listed.phrases, expected);
        assert!(listed.uses(5) && listed.check_spoken(&words, |_| true).is_ok());
        let error = listed.check_spoken(&words, |at| at != 6).expect_err("a word without").to_string();
        assert!(error.starts_with("line 5, column 5: no pronunciation for `Yorkers`"), "{error}");
    }

    #[test]
    fn what_is_no_word_is_refused_by_line_and_column() {
        let hotwords = Hotwords::parse("a\nb … c\n", None).expect("good lines");
        let error = ListedHotwords::new(&hotwords, 2.0, &mut Vec::new()).err().expect("no word").to_string();
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
