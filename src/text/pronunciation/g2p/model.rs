//! The joint n-gram of graphones.

use std::collections::HashMap;
use std::hash::Hash;

use super::align::{Aligner, Graphone, Pair};
use super::search::{Guess, GuessOptions, Search};
use crate::error::{Error, Result, Stage};
use crate::text::ngram::{EstimateOptions, Estimator, Trie, TrieBuilder};

/// Ids of graphones in the n-gram begin behind those of `<unk>`, `<s>` and `</s>`.
pub(super) const FIRST: u32 = 3;
/// The limit of letters, of phones and of graphones.
const MAX_SYMBOLS: u16 = 30_000;

/// How a model is trained.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The number of graphones of the longest n-grams.
    pub order: usize,
    /// Rounds of expectation maximization for the alignment.
    pub rounds: usize,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { order: 8, rounds: 10 }
    }
}

/// Letters to phones by a joint n-gram.
#[derive(Clone, Debug)]
pub struct G2p {
    pub(super) letters: Vec<char>,
    pub(super) phones: Vec<String>,
    pub(super) graphones: Vec<Graphone>,
    pub(super) trie: Trie,
    /// The ids of the graphones of each letter or two.
    pub(super) by_letters: HashMap<[u16; 2], Vec<u32>>,
}

impl G2p {
    /// Learns from words and their phones. `progress` is called after each round of the alignment.
    ///
    /// # Errors
    /// When there are no words that can be aligned, too many letters or phones, or a temporary file fails.
    pub fn train<'a>(
        words: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>,
        options: &TrainOptions,
        progress: impl FnMut(usize, f64),
    ) -> Result<Self> {
        let (mut letters, mut phones) = (Symbols::default(), Symbols::default());
        let mut pairs = Vec::new();
        for (word, said) in words {
            pairs.push(Pair {
                letters: word.chars().map(|c| letters.id(c)).collect::<Result<_>>()?,
                phones: said.iter().map(|p| phones.id((*p).to_string())).collect::<Result<_>>()?,
            });
        }
        let mut aligner = Aligner::train(&pairs, options.rounds, progress);
        let mut graphones = Symbols::default();
        let mut sentences: Vec<Vec<u32>> = Vec::new();
        for path in aligner.cut(&pairs).into_iter().flatten() {
            let id = |graphone| Ok(FIRST + u32::from(graphones.id(graphone)?));
            sentences.push(path.into_iter().map(id).collect::<Result<_>>()?);
        }
        let estimate = EstimateOptions { order: options.order, ..EstimateOptions::default() };
        let mut estimator = Estimator::new(graphones.list.len() + FIRST as usize, &estimate)?;
        for sentence in &sentences {
            estimator.add(sentence)?;
        }
        let mut builder = TrieBuilder::default();
        estimator.finish(&mut builder)?;
        Ok(Self::new(letters.list, phones.list, graphones.list, builder.finish()))
    }

    pub(super) fn new(letters: Vec<char>, phones: Vec<String>, graphones: Vec<Graphone>, trie: Trie) -> Self {
        let mut by_letters: HashMap<[u16; 2], Vec<u32>> = HashMap::new();
        for (graphone, id) in graphones.iter().zip(FIRST..) {
            by_letters.entry(graphone.letter_pair()).or_default().push(id);
        }
        Self { letters, phones, graphones, trie, by_letters }
    }

    /// The phones that words are said with.
    pub fn phones(&self) -> &[String] {
        &self.phones
    }

    /// The numbers of n-grams of graphones, by order from 1 on.
    pub fn counts(&self) -> Vec<u64> {
        self.trie.counts()
    }

    /// The first letter of a word that the model has never seen.
    pub fn unknown_letter(&self, word: &str) -> Option<char> {
        word.chars().find(|c| !self.letters.contains(c))
    }

    /// The likeliest phones of a word, best first; none where a letter is unknown.
    pub fn guess(&self, word: &str, options: &GuessOptions) -> Vec<Guess> {
        let id = |c: char| self.letters.iter().position(|l| *l == c).map(|id| id as u16);
        match word.chars().map(id).collect::<Option<Vec<_>>>() {
            Some(letters) => Search::new(self, &letters, options).run(),
            None => Vec::new(),
        }
    }
}

/// Symbols, numbered in the order in which they come.
struct Symbols<T> {
    list: Vec<T>,
    ids: HashMap<T, u16>,
}

impl<T> Default for Symbols<T> {
    fn default() -> Self {
        Self { list: Vec::new(), ids: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Symbols<T> {
    fn id(&mut self, symbol: T) -> Result<u16> {
        if let Some(&id) = self.ids.get(&symbol) {
            return Ok(id);
        }
        let id = u16::try_from(self.list.len()).ok().filter(|&id| id < MAX_SYMBOLS).ok_or_else(|| {
            Error::new(
                Stage::Text,
                format!("expected fewer than {MAX_SYMBOLS} letters, phones, pieces of words"),
            )
        })?;
        self.list.push(symbol.clone());
        self.ids.insert(symbol, id);
        Ok(id)
    }
}
