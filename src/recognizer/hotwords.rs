//! Recognizers with hotwords: words and phrases that are boosted in the search.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::open::Recognizer;
use super::pronunciations::{PronunciationTable, english};
use crate::decode::{ContextGraph, DecoderFactory, WordId};
use crate::error::{Error, Result, Stage};
use crate::text::hotwords::{Hotword, Hotwords, MAX_BOOST, PlacedWord};
use crate::text::normalize::fold;
use crate::text::pronunciation::Pronouncer;

/// Maximum length of a word, bytes.
const MAX_WORD_BYTES: usize = 256;

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
        check_score(self.score)?;
        Hotwords::read(&self.file)
    }
}

/// Checks that a boost is in its range.
fn check_score(score: f32) -> Result<()> {
    if (0.0..=MAX_BOOST).contains(&score) {
        return Ok(());
    }
    let problem = format!("score of hotwords: expected a number from 0 to {MAX_BOOST}, found {score}");
    Err(Error::new(Stage::Usage, problem))
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
        let (hotword_list, unusable) = Self::usable(hotwords, score, words);
        unusable.into_iter().next().map_or(Ok(hotword_list), Err)
    }

    /// As [`HotwordList::new`]; phrases with a word without letters are left out, and returned as errors.
    pub fn usable(hotwords: &'a Hotwords, score: f32, words: &mut Vec<String>) -> (Self, Vec<Error>) {
        let mut list = WordIndex::new(words);
        let mut hotword_list = Self { hotwords, phrases: Vec::new(), used: HashMap::new() };
        let mut unusable = Vec::new();
        for phrase in hotwords.phrases() {
            match list.parts(hotwords, phrase) {
                Ok(parts) => {
                    let mut places = Vec::with_capacity(parts.len());
                    for (placed, part) in parts {
                        let at = list.find_or_add(part);
                        hotword_list.used.entry(at).or_insert(placed);
                        places.push(at);
                    }
                    hotword_list.phrases.push((places, phrase.boost.unwrap_or(score)));
                }
                Err(error) => unusable.push(error),
            }
        }
        (hotword_list, unusable)
    }

    /// Leaves out the phrases with words that have no pronunciation, for which there may be `reasons`; returns an error
    /// for each.
    pub fn leave_out(
        &mut self,
        words: &[String],
        reasons: &HashMap<usize, String>,
        has_pronunciation: impl Fn(usize) -> bool,
    ) -> Vec<Error> {
        let mut unusable = Vec::new();
        let phrases = std::mem::take(&mut self.phrases).into_iter().filter(|(places, _)| {
            let Some(at) = places.iter().copied().find(|&at| !has_pronunciation(at)) else { return true };
            let unknown = || format!("no pronunciation for `{}`", words[at]);
            unusable.push(self.missing_pronunciation(at, &reasons.get(&at).cloned().unwrap_or_else(unknown)));
            false
        });
        let phrases = phrases.collect();
        self.phrases = phrases;
        unusable
    }

    /// A note that names the hotwords with symbols that are left out.
    pub fn symbols_note(&self) -> Option<String> {
        let words = self.hotwords.phrases().iter().flat_map(|phrase| &phrase.words);
        let with_symbols: Vec<String> = words
            .filter(|word| word.has_unspoken_symbol())
            .map(|word| format!("`{}` (line {}) as `{}`", word.text, word.line, word.parts().join(" ")))
            .collect();
        (!with_symbols.is_empty())
            .then(|| format!("hotwords whose symbols are not spoken: {}", with_symbols.join(", ")))
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

/// A list of words, which can be found regardless of case and of the form of apostrophes.
struct WordIndex<'w> {
    words: &'w mut Vec<String>,
    exact: HashMap<String, usize>,
    folded: HashMap<String, usize>,
}

impl<'w> WordIndex<'w> {
    fn new(words: &'w mut Vec<String>) -> Self {
        // Of equal words the first counts: further ones are words of phrases.
        let exact = words.iter().enumerate().rev().map(|(at, word)| (word.clone(), at)).collect();
        let mut folded: HashMap<String, usize> = HashMap::new();
        for (at, word) in words.iter().enumerate() {
            folded.entry(fold(word)).or_insert(at);
        }
        Self { words, exact, folded }
    }

    fn find(&self, word: &str) -> Option<usize> {
        self.exact.get(word).or_else(|| self.folded.get(&fold(word))).copied()
    }

    fn find_or_add(&mut self, word: String) -> usize {
        self.find(&word).unwrap_or_else(|| {
            let at = self.words.len();
            self.words.push(word.clone());
            self.folded.insert(fold(&word), at);
            self.exact.insert(word, at);
            at
        })
    }

    /// The words of a phrase, each with the word of the file that it is a part of.
    ///
    /// # Errors
    /// When a word has no letters; names line and column.
    fn parts<'a>(&self, hotwords: &Hotwords, phrase: &'a Hotword) -> Result<Vec<(&'a PlacedWord, String)>> {
        let mut all = Vec::with_capacity(phrase.words.len());
        for placed in &phrase.words {
            // `rock-n-roll` may be a word of the list; otherwise it is three words.
            let parts = match self.find(&placed.text) {
                Some(_) => vec![placed.text.clone()],
                None => placed.parts(),
            };
            if parts.is_empty() {
                let problem = format!("expected a word, found `{}`", placed.text);
                return Err(hotwords.error_at(placed, problem));
            }
            if placed.text.len() > MAX_WORD_BYTES {
                let problem = format!("expected words of at most {MAX_WORD_BYTES} bytes, found a longer one");
                return Err(hotwords.error_at(placed, problem));
            }
            all.extend(parts.into_iter().map(|part| (placed, part)));
        }
        Ok(all)
    }
}

impl Recognizer {
    /// Creates a recognizer with the same network that boosts hotwords in the search over its words: those of the
    /// model's own lexicon, or those of a language model. Hotwords that it has are replaced. Words that it does not
    /// have are added. Their pronunciations are taken from the file `lexicon`, which has a word and its phones per
    /// line, else from the English dictionary inside the program; else they are guessed, which [`Recognizer::notes`]
    /// reports. To boost words of a language model that have no pronunciation, use
    /// [`LanguageOptions::hotwords`](super::LanguageOptions::hotwords).
    ///
    /// # Errors
    /// When the recognizer [cannot use hotwords](Recognizer::uses_hotwords), a file cannot be read or is invalid, or
    /// a word has no pronunciation.
    pub fn with_hotwords(self, options: &HotwordOptions, lexicon: Option<&Path>) -> Result<Self> {
        let hotwords = options.read()?;
        let (recognizer, unusable) = self.with_usable_hotwords(&hotwords, options.score, lexicon, None)?;
        unusable.into_iter().next().map_or(Ok(recognizer), Err)
    }

    /// As [`Recognizer::with_hotwords`], with a list in memory and its default boost `score`; hotwords that cannot be
    /// used are left out, and returned as errors with line and column. `english` has the pronunciations of English,
    /// if they are opened already.
    ///
    /// # Errors
    /// When the recognizer cannot use hotwords, the boost is out of range, or the lexicon cannot be read.
    pub fn with_usable_hotwords(
        self,
        hotwords: &Hotwords,
        score: f32,
        lexicon: Option<&Path>,
        english: Option<&Pronouncer>,
    ) -> Result<(Self, Vec<Error>)> {
        check_score(score)?;
        let DecoderFactory::Search(search) = self.model().decoders.clone() else {
            let problem = "hotwords need words, and this model has no lexicon of its own";
            let hint = "with a model whose tokens are phones, give a language model too";
            return Err(Error::new(Stage::Usage, problem).hint(hint).remedy("language_model"));
        };
        if !self.uses_hotwords() {
            let problem = "a list of phrases allows no hotwords; its phrases have weights instead";
            return Err(Error::new(Stage::Usage, problem));
        }
        let mut words = search.lexicon().names().to_vec();
        let known = words.len();
        let (mut hotword_list, mut unusable) = HotwordList::usable(hotwords, score, &mut words);
        let mut table = PronunciationTable::new(&words[known..], &self.metadata().tokens);
        if let Some(path) = lexicon {
            table.add_lexicon(path)?;
        }
        let mut reasons = HashMap::new();
        if table.pronunciations.iter().any(Vec::is_empty) && table.has_english_phones() {
            let opened = match english {
                Some(_) => None,
                None => Some(self::english("give the words in a file").map_err(|e| e.remedy("lexicon"))?),
            };
            if let Some(english) = english.or(opened.as_ref()) {
                let keep = |at, error: Error| {
                    reasons.insert(known + at, error.problem().to_string());
                    Ok(())
                };
                table.add_few(english, |_| true, keep)?;
            }
        }
        unusable
            .extend(hotword_list.leave_out(&words, &reasons, |at| {
                at < known || !table.pronunciations[at - known].is_empty()
            }));
        let (note, symbols) = (table.guesses_note(), hotword_list.symbols_note());
        let ids = (0..).map(|at| WordId((known + at) as u32));
        let pronunciations: Vec<_> = ids
            .zip(std::mem::take(&mut table.pronunciations))
            .flat_map(|(id, ways)| ways.into_iter().map(move |labels| (labels, id)))
            .collect();
        let graph = hotword_list.graph(|at| WordId(at as u32));
        let search = search.with_hotwords(&words[known..], pronunciations, graph);
        let metadata = self.metadata().clone();
        let recognizer = self.with_decoders(metadata, DecoderFactory::Search(Arc::new(search)));
        Ok((recognizer.with_note(note).with_note(symbols), unusable))
    }

    /// Whether the recognizer can use hotwords: it has words, and these are not phrases alone.
    pub fn uses_hotwords(&self) -> bool {
        self.finds_alternatives()
            && self.model().phrases.as_ref().is_none_or(|phrases| phrases.in_dictation.is_some())
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
        let long = Hotwords::parse(&"x".repeat(MAX_WORD_BYTES + 1), None).expect("a line");
        let error = HotwordList::new(&long, 2.0, &mut Vec::new()).err().expect("too long").to_string();
        assert!(error.starts_with("line 1, column 1: ") && error.contains("256 bytes"), "{error}");
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
