//! Alignment of letters with phones: each letter of a word becomes a graphone, a letter with its phones.
//! The probabilities of graphones are learned by expectation maximization.

use std::collections::HashMap;
use std::ops::Range;

/// A letter and its phones, at most two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Graphone {
    pub letter: u16,
    phones: [u16; MAX_PHONES],
}

/// Maximum number of phones of a letter.
pub(super) const MAX_PHONES: usize = 2;

/// Placeholder for an absent phone.
const NOTHING: u16 = u16::MAX;

impl Graphone {
    pub fn new(letter: u16, phones: &[u16]) -> Self {
        Self { letter, phones: [0, 1].map(|at| phones.get(at).copied().unwrap_or(NOTHING)) }
    }

    pub fn phones(&self) -> impl Iterator<Item = u16> {
        self.phones.into_iter().filter(|&id| id != NOTHING)
    }
}

/// The letters and the phones of a word, as ids below `u16::MAX`.
#[derive(Clone, Debug, Default)]
pub(super) struct Pair {
    pub letters: Vec<u16>,
    pub phones: Vec<u16>,
}

/// Maximum number of letters or phones; the probabilities of longer words would underflow.
const MAX_LENGTH: usize = 64;

/// A word that can be aligned, with pairs of adjacent phones numbered.
struct Word {
    letters: Vec<u32>,
    /// The ids of the phone sequences of length 0, 1 and 2 at each position.
    phones: [Vec<u32>; MAX_PHONES + 1],
}

/// Learns the probabilities of graphones and aligns words.
pub(super) struct Aligner {
    words: Vec<Word>,
    /// For each number of phones: the offset in `probabilities`, and the number of columns for one letter.
    places: [(usize, usize); MAX_PHONES + 1],
    probabilities: Vec<f64>,
    counts: Vec<f64>,
    forward: Vec<f64>,
    backward: Vec<f64>,
}

impl Aligner {
    /// Learns from pairs in `rounds` iterations; pairs that cannot be aligned are left out. `progress` is
    /// called with the number of iterations done.
    pub fn train(pairs: &[Pair], rounds: usize, mut progress: impl FnMut(usize)) -> Self {
        let mut twos = HashMap::new();
        let words: Vec<Word> =
            pairs.iter().filter(|pair| fits(pair)).map(|pair| number(pair, &mut twos)).collect();
        let count_ids =
            |ids: fn(&Word) -> &[u32]| words.iter().flat_map(&ids).max().map_or(0, |&id| id as usize + 1);
        let letters = count_ids(|word| &word.letters);
        let phones = [1, count_ids(|word| &word.phones[1]), twos.len()];
        let mut probabilities = Vec::new();
        let places = [0, 1, 2].map(|count| {
            let begin = probabilities.len();
            probabilities.resize(begin + letters * phones[count], FIRST_GUESS[count]);
            (begin, phones[count])
        });
        let cells = (MAX_LENGTH + 1) * (MAX_LENGTH + 1);
        let mut aligner = Self {
            words,
            places,
            counts: vec![0.0; probabilities.len()],
            probabilities,
            forward: vec![0.0; cells],
            backward: vec![0.0; cells],
        };
        for round in 0..rounds {
            aligner.round();
            progress(round + 1);
        }
        aligner
    }

    /// One iteration of expectation and maximization.
    fn round(&mut self) {
        let words = std::mem::take(&mut self.words);
        self.counts.fill(0.0);
        words.iter().for_each(|word| self.expect(word));
        self.words = words;
        let total: f64 = self.counts.iter().sum();
        for (probability, count) in self.probabilities.iter_mut().zip(&self.counts) {
            *probability = count / total;
        }
    }

    /// Adds the expected counts of a word's graphones, by the forward-backward algorithm.
    fn expect(&mut self, word: &Word) {
        let cells = word.cells();
        self.forward[..cells].fill(0.0);
        self.backward[..cells].fill(0.0);
        self.forward[0] = 1.0;
        self.backward[cells - 1] = 1.0;
        word.for_each(0..cells, |from, to, graphone| {
            self.forward[to] += self.forward[from] * self.probabilities[self.place(graphone)];
        });
        let total = self.forward[cells - 1];
        if total <= 0.0 {
            return;
        }
        for cell in (0..cells).rev() {
            word.for_each(cell..cell + 1, |from, to, graphone| {
                let place = self.place(graphone);
                let after = self.probabilities[place] * self.backward[to];
                self.backward[from] += after;
                self.counts[place] += self.forward[from] * after / total;
            });
        }
    }

    fn place(&self, (count, letter, phones): (usize, u32, u32)) -> usize {
        let (begin, columns) = self.places[count];
        begin + letter as usize * columns + phones as usize
    }

    /// The most probable graphones of each pair; `pairs` must be those learned from. Pairs that cannot be
    /// aligned are left out.
    pub fn cut(&mut self, pairs: &[Pair]) -> Vec<Vec<Graphone>> {
        let words = std::mem::take(&mut self.words);
        let pairs = pairs.iter().filter(|pair| fits(pair));
        words.iter().zip(pairs).filter_map(|(word, pair)| self.best(word, pair)).collect()
    }

    fn best(&mut self, word: &Word, pair: &Pair) -> Option<Vec<Graphone>> {
        let cells = word.cells();
        let mut counts = vec![None; cells];
        self.forward[..cells].fill(0.0);
        self.forward[0] = 1.0;
        word.for_each(0..cells, |from, to, graphone| {
            let probability = self.forward[from] * self.probabilities[self.place(graphone)];
            if probability > self.forward[to] {
                self.forward[to] = probability;
                counts[to] = Some(graphone.0);
            }
        });
        let columns = pair.phones.len() + 1;
        let mut end = pair.phones.len();
        let mut path = Vec::new();
        for (at, &letter) in pair.letters.iter().enumerate().rev() {
            let begin = end - counts[(at + 1) * columns + end]?;
            path.push(Graphone::new(letter, &pair.phones[begin..end]));
            end = begin;
        }
        path.reverse();
        Some(path)
    }
}

/// Initial probabilities for 0, 1 and 2 phones: one phone is the most probable.
const FIRST_GUESS: [f64; MAX_PHONES + 1] = [2e-3, 1e-2, 1e-3];

impl Word {
    /// Number of cells of the alignment lattice: positions between letters × positions between phones.
    fn cells(&self) -> usize {
        (self.letters.len() + 1) * self.phones[0].len()
    }

    /// Calls `visit` with the graphones that begin in the given cells: the first cell, the next cell, and
    /// the number of phones, the letter's id and the id of the phone sequence.
    fn for_each(&self, cells: Range<usize>, mut visit: impl FnMut(usize, usize, (usize, u32, u32))) {
        let columns = self.phones[0].len();
        for from in cells {
            let Some(&letter) = self.letters.get(from / columns) else { return };
            for (count, phones) in self.phones.iter().enumerate() {
                if let Some(&phones) = phones.get(from % columns) {
                    visit(from, from + columns + count, (count, letter, phones));
                }
            }
        }
    }
}

/// Numbers the letters and phone sequences of a pair; `twos` are the ids of pairs of phones.
fn number(pair: &Pair, twos: &mut HashMap<[u16; 2], u32>) -> Word {
    let mut two = |phones: &[u16]| {
        let next = twos.len() as u32;
        *twos.entry([phones[0], phones[1]]).or_insert(next)
    };
    Word {
        letters: pair.letters.iter().map(|&id| id.into()).collect(),
        phones: [
            vec![0; pair.phones.len() + 1],
            pair.phones.iter().map(|&id| id.into()).collect(),
            pair.phones.windows(2).map(&mut two).collect(),
        ],
    }
}

/// Whether a pair can be aligned: it has at most two phones for each letter.
fn fits(pair: &Pair) -> bool {
    let (letters, phones) = (pair.letters.len(), pair.phones.len());
    (1..=MAX_LENGTH).contains(&letters)
        && (1..=MAX_PHONES * letters).contains(&phones)
        && phones <= MAX_LENGTH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_and_double_letters_are_found() {
        // a = 0, b = 1, x = 2; A = 0, B = 1, K = 2, S = 3: `b` after `b` is silent, `x` is two phones.
        let pair = |letters: &[u16], phones: &[u16]| Pair { letters: letters.into(), phones: phones.into() };
        let pairs = [
            pair(&[0, 1], &[0, 1]),
            pair(&[1, 0], &[1, 0]),
            pair(&[0, 1, 1], &[0, 1]),
            pair(&[0, 2], &[0, 2, 3]),
            pair(&[2, 0], &[2, 3, 0]),
            pair(&[0], &[0, 1, 2]),
            pair(&[1, 1, 0], &[1, 0]),
            pair(&[], &[1]),
        ];
        let mut aligner = Aligner::train(&pairs, 20, |_| {});
        let cut = aligner.cut(&pairs);
        assert_eq!(cut.len(), 6, "one has too many phones, one no letters");
        assert_eq!(cut[3], [Graphone::new(0, &[0]), Graphone::new(2, &[2, 3])]);
        assert_eq!(cut[2].iter().map(|g| g.phones().count()).sum::<usize>(), 2);
        assert_eq!(cut[2][0], Graphone::new(0, &[0]));
    }
}
