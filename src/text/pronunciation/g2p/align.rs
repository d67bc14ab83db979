//! Alignment of letters with phones: each word is cut into graphones, pieces of one or two letters
//! and of up to two phones, with the pieces' probabilities learnt by expectation maximization.

use std::collections::HashMap;
use std::ops::Range;

/// A piece of a word: one or two letters, and the phones that they stand for, none to two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Graphone {
    letters: [u16; 2],
    phones: [u16; 2],
}

/// In the place of a second letter, or of a phone, that is not there.
const NOTHING: u16 = u16::MAX;

impl Graphone {
    pub(super) fn new(letters: &[u16], phones: &[u16]) -> Self {
        let pair = |ids: &[u16]| [0, 1].map(|at| ids.get(at).copied().unwrap_or(NOTHING));
        Self { letters: pair(letters), phones: pair(phones) }
    }

    pub(super) fn letter_pair(&self) -> [u16; 2] {
        self.letters
    }

    /// The ids of the phones.
    pub fn phones(&self) -> impl Iterator<Item = u16> {
        self.phones.into_iter().filter(|&id| id != NOTHING)
    }
}

/// The letters and the phones of a word, as ids below `u16::MAX`.
#[derive(Clone, Debug, Default)]
pub struct Pair {
    pub letters: Vec<u16>,
    pub phones: Vec<u16>,
}

/// Longer words are left out: their probabilities would vanish.
const MAX_LENGTH: usize = 64;

/// The numbers of letters and phones that a graphone may have.
const SHAPES: [(usize, usize); 4] = [(1, 0), (1, 1), (1, 2), (2, 1)];

/// A pair that can be cut, with neighboring letters and neighboring phones as numbers of their own.
struct Word {
    letters: [Vec<u32>; 2],
    phones: [Vec<u32>; 2],
}

/// All letters, pairs of letters, phones and pairs of phones, numbered.
#[derive(Default)]
struct Numbers {
    letters: [HashMap<[u16; 2], u32>; 2],
    phones: [HashMap<[u16; 2], u32>; 2],
}

impl Numbers {
    fn number(&mut self, pair: &Pair) -> Word {
        let of = |map: &mut HashMap<[u16; 2], u32>, ids: &[u16], n: usize| {
            let number = |ids: &[u16]| {
                let next = map.len() as u32;
                *map.entry([ids[0], *ids.get(1).unwrap_or(&NOTHING)]).or_insert(next)
            };
            ids.windows(n).map(number).collect()
        };
        let [one, two] = &mut self.letters;
        let letters = [of(one, &pair.letters, 1), of(two, &pair.letters, 2)];
        let [one, two] = &mut self.phones;
        Word { letters, phones: [of(one, &pair.phones, 1), of(two, &pair.phones, 2)] }
    }
}

/// Learns graphones and cuts words into them.
pub(super) struct Aligner {
    words: Vec<Word>,
    /// The first place of each of the [`SHAPES`] in `probabilities`, and how many phones it has.
    places: [(usize, usize); 4],
    probabilities: Vec<f64>,
    counts: Vec<f64>,
    forward: Vec<f64>,
    backward: Vec<f64>,
}

impl Aligner {
    /// Learns from pairs in so many rounds; pairs that cannot be cut are left out. `progress` is
    /// called with the round and the log-likelihood before it.
    pub fn train(pairs: &[Pair], rounds: usize, mut progress: impl FnMut(usize, f64)) -> Self {
        let mut numbers = Numbers::default();
        let words = pairs.iter().filter(|pair| fits(pair)).map(|pair| numbers.number(pair)).collect();
        let mut probabilities = Vec::new();
        let places = SHAPES.map(|(letters, phones)| {
            let begin = probabilities.len();
            let columns = if phones == 0 { 1 } else { numbers.phones[phones - 1].len() };
            let size = numbers.letters[letters - 1].len() * columns;
            probabilities.resize(begin + size, first_guess(letters, phones));
            (begin, columns)
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
            progress(round, aligner.round());
        }
        aligner
    }

    /// One round of expectation and maximization; the log-likelihood before it.
    fn round(&mut self) -> f64 {
        let words = std::mem::take(&mut self.words);
        self.counts.fill(0.0);
        let log_likelihood = words.iter().map(|word| self.expect(word)).sum();
        self.words = words;
        let total: f64 = self.counts.iter().sum();
        for (probability, count) in self.probabilities.iter_mut().zip(&self.counts) {
            *probability = count / total;
        }
        log_likelihood
    }

    /// Adds a word's expected pieces to the counts; its log-likelihood.
    fn expect(&mut self, word: &Word) -> f64 {
        let (rows, columns) = word.cells();
        self.forward[..rows * columns].fill(0.0);
        self.backward[..rows * columns].fill(0.0);
        self.forward[0] = 1.0;
        self.backward[rows * columns - 1] = 1.0;
        word.for_each(0..rows * columns, |from, to, shape, piece| {
            self.forward[to] += self.forward[from] * self.probabilities[self.place(shape, piece)];
        });
        let total = self.forward[rows * columns - 1];
        if total <= 0.0 {
            return 0.0;
        }
        for cell in (0..rows * columns).rev() {
            word.for_each(cell..cell + 1, |from, to, shape, piece| {
                let place = self.place(shape, piece);
                let behind = self.probabilities[place] * self.backward[to];
                self.backward[from] += behind;
                self.counts[place] += self.forward[from] * behind / total;
            });
        }
        total.ln()
    }

    fn place(&self, shape: usize, (letters, phones): (u32, u32)) -> usize {
        let (begin, columns) = self.places[shape];
        begin + letters as usize * columns + phones as usize
    }

    /// The likeliest graphones of each pair, the same pairs that were learnt from; `None` for those
    /// that cannot be cut.
    pub fn cut(&mut self, pairs: &[Pair]) -> Vec<Option<Vec<Graphone>>> {
        let words = std::mem::take(&mut self.words);
        let mut next = words.iter();
        let mut cut = |pair: &Pair| if fits(pair) { self.best(next.next()?, pair) } else { None };
        pairs.iter().map(&mut cut).collect()
    }

    fn best(&mut self, word: &Word, pair: &Pair) -> Option<Vec<Graphone>> {
        let (rows, columns) = word.cells();
        let mut shapes = vec![None; rows * columns];
        self.forward[..rows * columns].fill(0.0);
        self.forward[0] = 1.0;
        word.for_each(0..rows * columns, |from, to, shape, piece| {
            let probability = self.forward[from] * self.probabilities[self.place(shape, piece)];
            if probability > self.forward[to] {
                self.forward[to] = probability;
                shapes[to] = Some(SHAPES[shape]);
            }
        });
        let (mut i, mut j) = (rows - 1, columns - 1);
        let mut path = Vec::new();
        while (i, j) != (0, 0) {
            let (letters, phones) = shapes[i * columns + j]?;
            (i, j) = (i - letters, j - phones);
            path.push(Graphone::new(&pair.letters[i..i + letters], &pair.phones[j..j + phones]));
        }
        path.reverse();
        Some(path)
    }
}

impl Word {
    /// The numbers of places before, between and behind letters, and phones.
    fn cells(&self) -> (usize, usize) {
        (self.letters[0].len() + 1, self.phones[0].len() + 1)
    }

    /// Calls `visit` with the pieces that begin in the given cells: from which cell to which, the
    /// shape, and the numbers of letters and phones.
    fn for_each(&self, cells: Range<usize>, mut visit: impl FnMut(usize, usize, usize, (u32, u32))) {
        let (_, columns) = self.cells();
        for from in cells {
            let (i, j) = (from / columns, from % columns);
            for (shape, (letters, phones)) in SHAPES.into_iter().enumerate() {
                let Some(&l) = self.letters[letters - 1].get(i) else { continue };
                let p = if phones == 0 { Some(&0) } else { self.phones[phones - 1].get(j) };
                let Some(&p) = p else { continue };
                visit(from, from + letters * columns + phones, shape, (l, p));
            }
        }
    }
}

/// Whether a pair can be cut at all: no more than two phones a letter.
fn fits(pair: &Pair) -> bool {
    let (letters, phones) = (pair.letters.len(), pair.phones.len());
    (1..=MAX_LENGTH).contains(&letters) && (1..=MAX_LENGTH).contains(&phones) && phones <= 2 * letters
}

/// Letters that stand for one phone are likelier than others before anything is known.
fn first_guess(letters: usize, phones: usize) -> f64 {
    match (letters, phones) {
        (1, 1) => 1e-2,
        (1, 0) => 2e-3,
        _ => 1e-3,
    }
}
