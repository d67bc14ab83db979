//! CTC topology of a text as a graph of states, and a step of the Viterbi algorithm.

use std::collections::HashMap;

use super::ReferenceWord;
use crate::decode::TokenId;
use crate::error::{Error, Result, Stage};

/// Maximum number of pronunciations of a word. Their number is limited because back pointers are bytes.
const MAX_PRONUNCIATIONS: usize = 64;
/// Column of the blank.
pub(super) const BLANK: u32 = 0;
/// Value of [`Graph::word_of`] for a state that emits the blank.
pub(super) const NO_WORD: u32 = u32::MAX;

/// CTC topology of a text. States are in topological order: the predecessors of a state have smaller indices.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    pub words: Vec<String>,
    /// Tokens of the text, which are the columns of the log-probabilities, the blank first.
    pub columns: Vec<TokenId>,
    /// Column that each state emits, `[S]`.
    pub emissions: Vec<u32>,
    /// Index of the word that each state belongs to, `[S]`.
    pub word_of: Vec<u32>,
    /// Predecessors of the states: those of state s, except s itself, are `arcs[first_arc[s]..first_arc[s + 1]]`.
    arcs: Vec<u32>,
    first_arc: Vec<u32>,
    /// Initial states.
    initial_states: Vec<u32>,
    /// Final states. Those of labels come first, so that they are preferred to the blank if scores are equal, as in
    /// torchaudio.
    pub final_states: Vec<u32>,
    /// Minimum number of frames of a path up to and including each state, `[S]`.
    min_frames_to: Vec<usize>,
    /// Minimum number of frames of a path up to the end of each word.
    pub min_frames: Vec<usize>,
}

impl Graph {
    pub fn new(words: &[ReferenceWord], blank: TokenId) -> Result<Self> {
        let mut graph = Self {
            words: words.iter().map(|word| word.text.clone()).collect(),
            columns: vec![blank],
            emissions: Vec::new(),
            word_of: Vec::new(),
            arcs: Vec::new(),
            first_arc: vec![0],
            initial_states: Vec::new(),
            final_states: Vec::new(),
            min_frames_to: Vec::new(),
            min_frames: Vec::new(),
        };
        if words.is_empty() {
            return Err(Error::new(Stage::Corpus, "expected the text of the recording, found no words"));
        }
        let mut columns = HashMap::from([(blank, BLANK)]);
        let mut silence = graph.add(BLANK, NO_WORD, &[], true);
        let mut exits: Vec<u32> = Vec::new();
        for (number, word) in words.iter().enumerate() {
            let mut pronunciations = word.pronunciations.clone();
            pronunciations.sort_unstable();
            pronunciations.dedup();
            check(word, &pronunciations, blank)?;
            let mut last = Vec::with_capacity(pronunciations.len());
            for labels in &pronunciations {
                let mut before = silence;
                let mut label_before = exits.clone();
                for (at, &label) in labels.iter().enumerate() {
                    let column = *columns.entry(label).or_insert_with(|| {
                        graph.columns.push(label);
                        graph.columns.len() as u32 - 1
                    });
                    // Equal successive labels need a blank between them.
                    let other = label_before.iter().filter(|&&s| graph.emissions[s as usize] != column);
                    let from: Vec<u32> = other.copied().chain(std::iter::once(before)).collect();
                    let state = graph.add(column, number as u32, &from, number == 0 && at == 0);
                    label_before = vec![state];
                    if at + 1 < labels.len() {
                        before = graph.add(BLANK, NO_WORD, &[state], false);
                    } else {
                        last.push(state);
                    }
                }
            }
            graph.min_frames.extend(last.iter().map(|&state| graph.min_frames_to[state as usize]).min());
            silence = graph.add(BLANK, NO_WORD, &last, false);
            exits = last;
        }
        graph.final_states = exits;
        graph.final_states.push(silence);
        Ok(graph)
    }

    /// Appends a state with the predecessors `from`; `is_initial` makes it an initial state.
    fn add(&mut self, column: u32, word: u32, from: &[u32], is_initial: bool) -> u32 {
        let state = self.emissions.len() as u32;
        let before = from.iter().map(|&from| self.min_frames_to[from as usize]).min();
        self.min_frames_to.push(if is_initial { 1 } else { before.map_or(1, |least| least + 1) });
        self.emissions.push(column);
        self.word_of.push(word);
        self.arcs.extend(from);
        self.first_arc.push(self.arcs.len() as u32);
        if is_initial {
            self.initial_states.push(state);
        }
        state
    }

    pub fn num_states(&self) -> usize {
        self.emissions.len()
    }

    fn arcs_of(&self, state: usize) -> &[u32] {
        &self.arcs[self.first_arc[state] as usize..self.first_arc[state + 1] as usize]
    }

    /// The state at the beginning of an arc that ends at `state`; arc 0 is the self-loop.
    pub fn predecessor(&self, state: u32, arc: u8) -> u32 {
        match usize::from(arc).checked_sub(1) {
            None => state,
            Some(arc) => self.arcs_of(state as usize)[arc],
        }
    }

    /// Scores of the paths of one frame, `[S]`.
    pub fn first_scores(&self, frame: &[f32]) -> Vec<f64> {
        let mut scores = vec![f64::NEG_INFINITY; self.num_states()];
        for &state in &self.initial_states {
            scores[state as usize] = f64::from(frame[self.emissions[state as usize] as usize]);
        }
        scores
    }

    /// Computes the scores `[S]` after a frame from those before it, and writes the last arc of the best path to each
    /// state to `back`.
    pub fn step(&self, frame: &[f32], before: &[f64], now: &mut [f64], back: &mut [u8]) {
        let states = self.emissions.iter().zip(self.first_arc.windows(2)).zip(now.iter_mut().zip(back));
        for (state, ((&column, arcs), (now, back))) in states.enumerate() {
            let (mut best, mut from) = (before[state], 0);
            for (arc, &state) in (1..).zip(&self.arcs[arcs[0] as usize..arcs[1] as usize]) {
                if before[state as usize] > best {
                    (best, from) = (before[state as usize], arc);
                }
            }
            *now = best + f64::from(frame[column as usize]);
            *back = from;
        }
    }
}

/// Checks the pronunciations of a word: their number, and that none is empty or contains the blank.
fn check(word: &ReferenceWord, pronunciations: &[Vec<TokenId>], blank: TokenId) -> Result<()> {
    let problem = match pronunciations.len() {
        0 => format!("`{}` has no pronunciation", word.text),
        n if n > MAX_PRONUNCIATIONS => {
            format!("`{}` has {n} pronunciations, expected {MAX_PRONUNCIATIONS} at most", word.text)
        }
        _ if pronunciations.iter().any(|labels| labels.is_empty() || labels.contains(&blank)) => {
            format!("`{}` has a pronunciation that is empty or contains the blank", word.text)
        }
        _ => return Ok(()),
    };
    Err(Error::new(Stage::Text, problem))
}
