//! The paths of a search at one frame: places, words so far, and the best path for each place and state.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::history::History;
use super::language_model::LmState;
use super::nbest::{AlternativeList, AlternativeLists, Sequences};
use super::{TokenId, UnitSpan};

/// The place of a path, which determines its possible continuations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// The label of a node.
    Label(u32),
    /// The blank after a node's label.
    Blank(u32),
    /// The end of a word whose last label is this.
    End(TokenId),
    /// Between words, after a blank or at the beginning.
    Gap,
    /// Out-of-vocabulary speech, followed by this number of blanks.
    Filler(u32),
}

/// The best path to a place with a state of the language model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub place: Place,
    pub lm: LmState,
    pub score: f32,
    /// History node of the last complete word, or [`EMPTY_HISTORY`].
    pub history: u32,
    /// The next best word sequences, if more than one hypothesis is requested.
    pub alternatives: AlternativeList,
    /// The word that the path is inside of.
    pub word: PartialWord,
}

impl Path {
    /// A new path after the words of `history`.
    pub fn start(lm: LmState, history: u32) -> Self {
        Self {
            place: Place::Gap,
            lm,
            score: 0.0,
            history,
            alternatives: AlternativeList::default(),
            word: NO_WORD,
        }
    }

    pub fn is_within_word(&self) -> bool {
        matches!(self.place, Place::Label(_) | Place::Blank(_))
    }

    pub fn sequences(&self) -> Sequences {
        Sequences { history: self.history, alternatives: self.alternatives }
    }
}

/// The words of all paths.
#[derive(Clone, Debug, Default)]
pub(super) struct HistoryArena {
    pub history: History,
    pub alternatives: AlternativeLists,
}

impl HistoryArena {
    /// Merges two paths with the same place and state: the better one (the first if they are equal), with the word
    /// sequences of both.
    pub fn merged(&mut self, a: Path, b: Path) -> Path {
        let (better, worse) = if b.score > a.score { (b, a) } else { (a, b) };
        if !self.alternatives.is_enabled() {
            return better;
        }
        let score_gap = better.score - worse.score;
        let (history, alternatives) = (&self.history, &mut self.alternatives);
        let alternatives = alternatives.merge(history, better.sequences(), worse.sequences(), score_gap);
        Path { alternatives, ..better }
    }

    /// The path after `word`, which ends here.
    pub fn with_word(&mut self, path: Path, word: UnitSpan) -> Path {
        let history = self.history.push(path.history, word);
        let alternatives = self
            .alternatives
            .map_histories(path.alternatives, |alternative| Some(self.history.push(alternative, word)));
        Path { history, alternatives, word: NO_WORD, ..path }
    }

    /// Removes all words.
    pub fn clear(&mut self) {
        self.history.clear();
        self.alternatives.clear();
    }

    /// Removes words that are neither on one of the paths nor before `best_history`, if there are many of them.
    pub fn compact(&mut self, paths: &mut [Path], best_history: &mut u32) {
        self.alternatives.compact(paths.iter_mut().map(|path| &mut path.alternatives));
        if self.history.wants_compaction() {
            let histories = paths.iter_mut().map(|path| &mut path.history).chain([best_history]);
            self.history.compact(histories.chain(self.alternatives.histories()));
        }
    }
}

/// A word that has begun and has not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartialWord {
    /// First frame of the first label.
    pub start: u64,
    /// Sum of the maximum log-probabilities of the labels before the current one.
    pub sum: f32,
    /// Maximum log-probability of the current label so far.
    pub peak: f32,
}

pub(super) const NO_WORD: PartialWord = PartialWord { start: 0, sum: 0.0, peak: f32::NEG_INFINITY };

/// The paths at a frame: the best one for each place and state.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    pub list: Vec<Path>,
    index: HashMap<(Place, LmState), u32, BuildHasherDefault<PlaceHasher>>,
    pub best: f32,
}

impl Paths {
    pub fn clear(&mut self) {
        self.list.clear();
        self.index.clear();
        self.best = f32::NEG_INFINITY;
    }

    /// Whether a score is at most `margin` below the best.
    pub fn is_within_beam(&self, score: f32, margin: f32) -> bool {
        score > f32::NEG_INFINITY && score >= self.best - margin
    }

    /// Adds a path, unless its score is more than `margin` below the best; merges it with the path of the same place
    /// and state, if there is one.
    pub fn add(&mut self, path: Path, margin: f32, arena: &mut HistoryArena) {
        if !self.is_within_beam(path.score, margin) {
            return;
        }
        self.best = self.best.max(path.score);
        match self.index.entry((path.place, path.lm)) {
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(self.list.len() as u32);
                self.list.push(path);
            }
            std::collections::hash_map::Entry::Occupied(taken) => {
                let there = &mut self.list[*taken.get() as usize];
                *there = arena.merged(*there, path);
            }
        }
    }
}

/// Hasher for a few integers: multiplication by an odd constant (Knuth's multiplicative hashing).
#[derive(Clone, Default)]
struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }
}
