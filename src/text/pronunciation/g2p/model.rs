//! The joint n-gram model of graphones. It reads words from the end, because in English the letters after a
//! letter determine its pronunciation more than those before it.

use std::collections::HashMap;
use std::hash::Hash;

use super::align::{Aligner, Graphone, Pair};
use crate::error::{Error, Result, Stage};
use crate::text::ngram::{EstimateOptions, Estimator, Trie, TrieBuilder};

/// The first id of graphones in the n-gram model, after `<unk>`, `<s>` and `</s>`.
pub(super) const FIRST: u32 = 3;
/// Maximum number of letters, of phones and of graphones.
pub(super) const MAX_SYMBOLS: usize = 30_000;

/// Options of training.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The number of graphones of the longest n-grams.
    pub order: usize,
    /// Number of iterations of expectation maximization for the alignment.
    pub rounds: usize,
    /// Threshold of entropy pruning: n-grams whose removal increases the perplexity by a smaller fraction
    /// are removed; 0 keeps all.
    pub prune: f64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { order: 8, rounds: 10, prune: 0.0 }
    }
}

/// A grapheme-to-phoneme model: a joint n-gram model of graphones.
#[derive(Clone, Debug)]
pub struct G2p {
    pub(super) letters: Vec<char>,
    pub(super) phones: Vec<String>,
    pub(super) graphones: Vec<Graphone>,
    pub(super) trie: Trie,
    /// The ids of the graphones of each letter.
    pub(super) by_letter: Vec<Vec<u32>>,
}

impl G2p {
    /// Trains a model on words and their phones. Digits after phones mark stress: training uses them, but
    /// predictions omit them. `progress` is called with the numbers of rounds done and of all rounds.
    ///
    /// # Errors
    /// When there are no words that can be aligned, too many letters or phones, or a temporary file
    /// fails.
    pub fn train<'a>(
        words: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>,
        options: &TrainOptions,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let (mut letters, mut stressed) = (Symbols::default(), Symbols::default());
        let mut pairs = Vec::new();
        for (word, phones) in words {
            pairs.push(Pair {
                letters: word.chars().map(|c| letters.id(c)).collect::<Result<_>>()?,
                phones: phones.iter().map(|p| stressed.id((*p).to_string())).collect::<Result<_>>()?,
            });
        }
        let mut aligner = Aligner::train(&pairs, options.rounds, |round| progress(round, options.rounds));
        let mut graphones = Symbols::default();
        let mut sentences: Vec<Vec<u32>> = Vec::new();
        for path in aligner.cut(&pairs) {
            let id = |graphone| Ok(FIRST + u32::from(graphones.id(graphone)?));
            sentences.push(path.into_iter().rev().map(id).collect::<Result<_>>()?);
        }
        let estimate = EstimateOptions { order: options.order, ..EstimateOptions::default() };
        let mut estimator = Estimator::new(graphones.list.len() + FIRST as usize, &estimate)?;
        for sentence in &sentences {
            estimator.add(sentence)?;
        }
        let mut builder = TrieBuilder::default();
        estimator.finish(&mut builder)?;
        let mut trie = builder.finish();
        if options.prune > 0.0 {
            trie = trie.prune(options.prune)?;
        }
        let (phones, graphones) = without_stress(&stressed.list, &graphones.list)?;
        Ok(Self::new(letters.list, phones, graphones, trie))
    }

    /// A model made of its parts, whose ids must fit together.
    pub(super) fn new(letters: Vec<char>, phones: Vec<String>, graphones: Vec<Graphone>, trie: Trie) -> Self {
        let mut by_letter = vec![Vec::new(); letters.len()];
        for (graphone, id) in graphones.iter().zip(FIRST..) {
            by_letter[usize::from(graphone.letter)].push(id);
        }
        Self { letters, phones, graphones, trie, by_letter }
    }

    /// The phones of predictions.
    pub fn phones(&self) -> &[String] {
        &self.phones
    }

    /// The number of graphone n-grams of each order from 1.
    pub fn counts(&self) -> Vec<u64> {
        self.trie.counts()
    }

    /// The first letter of a word that did not occur in training.
    pub fn unknown_letter(&self, word: &str) -> Option<char> {
        word.chars().find(|c| !self.letters.contains(c))
    }
}

/// The phones without stress, and the graphones in terms of them.
fn without_stress(stressed: &[String], graphones: &[Graphone]) -> Result<(Vec<String>, Vec<Graphone>)> {
    let mut phones = Symbols::default();
    let plain = |phone: &String| phones.id(phone.trim_end_matches(|c: char| c.is_ascii_digit()).to_string());
    let plain: Vec<u16> = stressed.iter().map(plain).collect::<Result<_>>()?;
    let graphone = |g: &Graphone| {
        Graphone::new(g.letter, &g.phones().map(|id| plain[usize::from(id)]).collect::<Vec<_>>())
    };
    Ok((phones.list, graphones.iter().map(graphone).collect()))
}

/// Symbols, numbered in the order of their first occurrence.
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
        if self.list.len() == MAX_SYMBOLS {
            let problem =
                format!("expected at most {MAX_SYMBOLS} letters, phones, and letters with their phones");
            return Err(Error::new(Stage::Text, problem));
        }
        let id = self.list.len() as u16;
        self.list.push(symbol.clone());
        self.ids.insert(symbol, id);
        Ok(id)
    }
}
