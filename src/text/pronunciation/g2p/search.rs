//! The search for the likeliest phones of letters.

use std::collections::HashMap;

use super::align::Graphone;
use super::model::{FIRST, G2p};
use crate::text::ngram::{END, NgramState};

/// Phones and their probability among all phones that were found for the same letters.
#[derive(Clone, Debug, PartialEq)]
pub struct Guess {
    /// Numbers in [`G2p::phones`].
    pub phones: Vec<u16>,
    pub probability: f64,
}

/// How wide the search goes.
#[derive(Clone, Debug)]
pub struct GuessOptions {
    /// Guesses that are given.
    pub nbest: usize,
    /// Hypotheses that are kept behind each letter.
    pub beam: usize,
}

impl Default for GuessOptions {
    fn default() -> Self {
        Self { nbest: 1, beam: 200 }
    }
}

/// Phones so far, as a number of [`Search::phones`].
type Phones = u32;

pub(super) struct Search<'a> {
    model: &'a G2p,
    letters: &'a [u16],
    options: &'a GuessOptions,
    /// Sequences of phones: the one before, and the phone added.
    phones: Vec<(Phones, u16)>,
    longer: HashMap<(Phones, u16), Phones>,
    /// Behind each letter: log-probabilities of what was said in all ways that come to the same.
    behind: Vec<HashMap<(NgramState, Phones), f64>>,
}

impl<'a> Search<'a> {
    pub fn new(model: &'a G2p, letters: &'a [u16], options: &'a GuessOptions) -> Self {
        let mut behind = vec![HashMap::new(); letters.len() + 1];
        behind[0].insert((model.trie.begin_state(), 0), 0.0);
        Self { model, letters, options, phones: vec![(0, 0)], longer: HashMap::new(), behind }
    }

    pub fn run(mut self) -> Vec<Guess> {
        for at in 0..self.letters.len() {
            for (state, phones, log_prob) in self.best(at) {
                for count in 1..=2 {
                    self.extend(at, count, state, phones, log_prob);
                }
            }
        }
        let mut ends: HashMap<Phones, f64> = HashMap::new();
        for (state, phones, log_prob) in self.best(self.letters.len()) {
            let end = log_prob + natural(self.model.trie.next(state, END).0);
            add(ends.entry(phones).or_insert(f64::NEG_INFINITY), end);
        }
        let mut total = f64::NEG_INFINITY;
        ends.values().for_each(|&log_prob| add(&mut total, log_prob));
        let mut ends: Vec<(f64, Vec<u16>)> = ends
            .into_iter()
            .filter(|e| e.0 != 0)
            .map(|(phones, log_prob)| (log_prob, self.spelled(phones)))
            .collect();
        ends.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        ends.truncate(self.options.nbest);
        ends.into_iter()
            .map(|(log_prob, phones)| Guess { phones, probability: (log_prob - total).exp() })
            .collect()
    }

    /// The best hypotheses behind `at` letters.
    fn best(&mut self, at: usize) -> Vec<(NgramState, Phones, f64)> {
        let all = std::mem::take(&mut self.behind[at]);
        let mut all: Vec<_> = all.into_iter().map(|((state, phones), p)| (state, phones, p)).collect();
        all.sort_unstable_by(|a, b| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
        all.truncate(self.options.beam);
        all
    }

    fn extend(&mut self, at: usize, count: usize, state: NgramState, phones: Phones, log_prob: f64) {
        let Some(letters) = self.letters.get(at..at + count) else { return };
        let key = Graphone::new(letters, &[]).letter_pair();
        let model = self.model;
        for &id in model.by_letters.get(&key).into_iter().flatten() {
            let (more, next) = model.trie.next(state, id);
            let mut said = phones;
            for phone in model.graphones[(id - FIRST) as usize].phones() {
                said = self.add_phone(said, phone);
            }
            let log_prob = log_prob + natural(more);
            add(self.behind[at + count].entry((next, said)).or_insert(f64::NEG_INFINITY), log_prob);
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
            let (before, phone) = self.phones[phones as usize];
            all.push(phone);
            phones = before;
        }
        all.reverse();
        all
    }
}

fn natural(log10: f32) -> f64 {
    f64::from(log10) * std::f64::consts::LN_10
}

/// Adds probabilities given as logarithms.
fn add(to: &mut f64, log_prob: f64) {
    let (high, low) = if *to > log_prob { (*to, log_prob) } else { (log_prob, *to) };
    *to = if high == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() };
}
