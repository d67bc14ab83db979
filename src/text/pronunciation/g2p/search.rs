//! Beam search for the most probable phones of letters.

use std::collections::HashMap;

use super::model::{FIRST, G2p};
use crate::text::ngram::{END, NgramState};

/// A predicted pronunciation.
#[derive(Clone, Debug, PartialEq)]
pub struct Guess {
    /// Indices into [`G2p::phones`].
    pub phones: Vec<u16>,
    /// The probability among all pronunciations found for the same letters, 0 to 1.
    pub probability: f64,
}

/// Options of the search.
#[derive(Clone, Debug)]
pub struct GuessOptions {
    /// Maximum number of pronunciations returned.
    pub nbest: usize,
    /// Number of hypotheses kept after each letter.
    pub beam: usize,
}

impl Default for GuessOptions {
    fn default() -> Self {
        Self { nbest: 1, beam: 100 }
    }
}

/// A sequence of phones, as an index into [`Search::phones`].
type Phones = u32;

/// A breadth-first search, letter by letter from the last to the first. Hypotheses with the same phones and
/// the same state of the model are merged and their probabilities summed.
pub(super) struct Search<'a> {
    model: &'a G2p,
    beam: usize,
    /// Sequences of phones as a tree: the rest of the word, and the phone before it.
    phones: Vec<(Phones, u16)>,
    longer: HashMap<(Phones, u16), Phones>,
    /// The log-probability of each hypothesis, summed over its graphone sequences.
    hypotheses: HashMap<(NgramState, Phones), f64>,
}

impl G2p {
    /// The most probable pronunciations of a word, best first; empty if the model does not know a letter.
    pub fn guess(&self, word: &str, options: &GuessOptions) -> Vec<Guess> {
        let id = |c: char| self.letters.iter().position(|l| *l == c).map(|id| id as u16);
        match word.chars().map(id).collect::<Option<Vec<_>>>() {
            Some(letters) => Search::new(self, options.beam).run(&letters, options.nbest),
            None => Vec::new(),
        }
    }
}

impl<'a> Search<'a> {
    pub fn new(model: &'a G2p, beam: usize) -> Self {
        let hypotheses = HashMap::from([((model.trie.begin_state(), 0), 0.0)]);
        Self { model, beam, phones: vec![(0, 0)], longer: HashMap::new(), hypotheses }
    }

    /// The most probable pronunciations of letters, best first.
    pub fn run(mut self, letters: &[u16], nbest: usize) -> Vec<Guess> {
        for &letter in letters.iter().rev() {
            for (state, phones, log_prob) in self.best() {
                self.extend(letter, state, phones, log_prob);
            }
        }
        let mut ends: HashMap<Phones, f64> = HashMap::new();
        for (state, phones, log_prob) in self.best() {
            let end = log_prob + natural(self.model.trie.next(state, END).0);
            add(ends.entry(phones).or_insert(f64::NEG_INFINITY), end);
        }
        // A word must have at least one phone.
        ends.remove(&0);
        let mut total = f64::NEG_INFINITY;
        let mut guesses: Vec<Guess> = Vec::new();
        for (phones, log_prob) in ends {
            add(&mut total, log_prob);
            guesses.push(Guess { phones: self.spelled(phones), probability: log_prob });
        }
        guesses.sort_by(|a, b| b.probability.total_cmp(&a.probability).then_with(|| a.phones.cmp(&b.phones)));
        guesses.truncate(nbest);
        guesses.iter_mut().for_each(|guess| guess.probability = (guess.probability - total).exp());
        guesses
    }

    /// Removes all hypotheses and returns the best, sorted.
    fn best(&mut self) -> Vec<(NgramState, Phones, f64)> {
        let all = std::mem::take(&mut self.hypotheses);
        let mut all: Vec<_> = all.into_iter().map(|((state, phones), p)| (state, phones, p)).collect();
        all.sort_unstable_by(|a, b| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
        all.truncate(self.beam);
        all
    }

    fn extend(&mut self, letter: u16, state: NgramState, phones: Phones, log_prob: f64) {
        let model = self.model;
        for &id in &model.by_letter[usize::from(letter)] {
            let (more, next) = model.trie.next(state, id);
            let mut extended = phones;
            for phone in model.graphones[(id - FIRST) as usize].phones().collect::<Vec<_>>().into_iter().rev()
            {
                extended = self.add_phone(extended, phone);
            }
            add(
                self.hypotheses.entry((next, extended)).or_insert(f64::NEG_INFINITY),
                log_prob + natural(more),
            );
        }
    }

    fn add_phone(&mut self, phones: Phones, phone: u16) -> Phones {
        *self.longer.entry((phones, phone)).or_insert_with(|| {
            self.phones.push((phones, phone));
            self.phones.len() as Phones - 1
        })
    }

    fn spelled(&self, mut phones: Phones) -> Vec<u16> {
        let mut all = Vec::new();
        while phones != 0 {
            let (rest, phone) = self.phones[phones as usize];
            all.push(phone);
            phones = rest;
        }
        all
    }
}

fn natural(log10: f32) -> f64 {
    f64::from(log10) * std::f64::consts::LN_10
}

/// Adds a probability to another, both given as logarithms.
fn add(to: &mut f64, log_prob: f64) {
    let (high, low) = if *to > log_prob { (*to, log_prob) } else { (log_prob, *to) };
    *to = if high == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() };
}
