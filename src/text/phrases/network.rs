//! Grammar as a finite-state transducer from spoken words to written text and marks (phrases, slots).

use std::collections::HashMap;

use super::fault::{Fault, Parsed};
use super::fragments::{Fragments, Label, Mark, Texts};
use crate::text::normalize;

/// Maximum length of a word, bytes.
const MAX_WORD_BYTES: usize = 256;
/// Name of the rule that stands for words of a language model.
pub const DICTATION_RULE: &str = "dictation";
/// The word that stands for words of a language model. No word of a phrase has these signs.
pub const DICTATION: &str = "<dictation>";
/// The input label of an arc without a word (epsilon).
pub const NO_WORD: u32 = u32::MAX;

/// An item of the output label of an arc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    Space,
    Text(u32),
    /// The words of a language model that were said.
    Dictation,
    Mark(Mark),
}

#[derive(Clone, Copy, Debug)]
pub struct Arc {
    pub to: u32,
    /// Index of the spoken word, or [`NO_WORD`].
    pub word: u32,
    /// Cost, thousandths of a nat.
    pub cost: u32,
    /// Begin and number of its output items.
    items: (u32, u32),
}

/// A weighted finite-state transducer with the initial state 0. A final state can be reached from every arc.
#[derive(Debug, Default)]
pub struct Network {
    pub arcs: Vec<Vec<Arc>>,
    pub is_final: Vec<bool>,
    items: Vec<Item>,
    /// All words of the sentences, sorted.
    pub words: Vec<String>,
    pub texts: Texts,
}

impl Network {
    /// The output items of an arc.
    pub fn items(&self, arc: &Arc) -> &[Item] {
        let (begin, count) = arc.items;
        &self.items[begin as usize..(begin + count) as usize]
    }

    /// Creates the network from a graph of fragments, which are joined to words.
    ///
    /// # Errors
    /// When a word is too long, or the fragments of words have more than `max_steps` combinations.
    pub fn build(fragments: Fragments, max_steps: usize) -> Parsed<Network> {
        let states = fragments.arcs.len();
        let mut builder = Builder {
            fragments,
            network: Network::default(),
            states: vec![NO_WORD; states],
            waiting: Vec::new(),
            words: Texts::default(),
            normalized: HashMap::new(),
            steps: 0,
            max_steps,
        };
        builder.boundary(0);
        while let Some(state) = builder.waiting.pop() {
            builder.leave(state)?;
        }
        Ok(builder.finish())
    }
}

/// A partial path through the fragments of a word.
#[derive(Clone, Debug, Default)]
struct WordPath {
    at: u32,
    spoken: String,
    items: Vec<Item>,
    cost: u32,
}

struct Builder {
    fragments: Fragments,
    network: Network,
    /// For each state of the fragments between words, the state of the network, or [`NO_WORD`] if there is none yet.
    states: Vec<u32>,
    waiting: Vec<u32>,
    words: Texts,
    /// Cache: the words of each spoken text after normalization.
    normalized: HashMap<String, Vec<u32>>,
    steps: usize,
    max_steps: usize,
}

impl Builder {
    fn state(&mut self) -> u32 {
        self.network.arcs.push(Vec::new());
        self.network.is_final.push(false);
        self.network.arcs.len() as u32 - 1
    }

    /// The network's state for a state of the fragments between words, which is added if it does not exist.
    fn boundary(&mut self, state: u32) -> u32 {
        if self.states[state as usize] == NO_WORD {
            let own = self.state();
            self.states[state as usize] = own;
            self.network.is_final[own as usize] = state == self.fragments.end;
            self.waiting.push(state);
        }
        self.states[state as usize]
    }

    fn add(&mut self, from: u32, to: u32, word: u32, cost: u32, items: &[Item]) {
        let begin = self.network.items.len() as u32;
        self.network.items.extend(items);
        let arc = Arc { to, word, cost, items: (begin, items.len() as u32) };
        self.network.arcs[from as usize].push(arc);
    }

    /// Adds all paths from a state between words to the next such states.
    fn leave(&mut self, state: u32) -> Parsed<()> {
        let from = self.states[state as usize];
        for at in 0..self.fragments.arcs[state as usize].len() {
            let arc = self.fragments.arcs[state as usize][at];
            let items = match arc.label {
                Label::Empty | Label::Space => Vec::new(),
                Label::Mark(mark) => vec![Item::Mark(mark)],
                Label::Dictation => {
                    let (to, word) = (self.boundary(arc.to), self.words.id(DICTATION));
                    self.add(from, to, word, arc.cost, &[Item::Space, Item::Dictation]);
                    continue;
                }
                Label::Text(text) => {
                    let spoken = self.fragments.texts.get(text).to_string();
                    let items = vec![Item::Space, Item::Text(text)];
                    self.word(from, WordPath { at: arc.to, spoken, items, cost: arc.cost })?;
                    continue;
                }
            };
            let to = self.boundary(arc.to);
            self.add(from, to, NO_WORD, arc.cost, &items);
        }
        Ok(())
    }

    /// Adds all paths to the end of a word that has begun.
    fn word(&mut self, from: u32, begun: WordPath) -> Parsed<()> {
        if begun.spoken.len() > MAX_WORD_BYTES {
            return Err(self.too_long(&begun));
        }
        let mut paths = vec![begun];
        while let Some(path) = paths.pop() {
            self.steps += 1;
            if self.steps > self.max_steps {
                let problem = "parts of words without spaces between them multiply too much";
                return Err(Fault::new(self.fragments.place(path.at), problem));
            }
            if path.at == self.fragments.end {
                let to = self.boundary(path.at);
                self.end_word(from, to, &path)?;
                continue;
            }
            // Arcs are pushed in reverse order, so that the first is popped first.
            for at in (0..self.fragments.arcs[path.at as usize].len()).rev() {
                let arc = self.fragments.arcs[path.at as usize][at];
                let mut longer =
                    WordPath { at: arc.to, cost: path.cost.saturating_add(arc.cost), ..path.clone() };
                match arc.label {
                    // A space is before and after every dictation.
                    Label::Space | Label::Dictation => {
                        let to = self.boundary(arc.to);
                        self.end_word(from, to, &longer)?;
                        continue;
                    }
                    Label::Empty => {}
                    Label::Mark(mark) => longer.items.push(Item::Mark(mark)),
                    Label::Text(text) => {
                        longer.spoken.push_str(self.fragments.texts.get(text));
                        longer.items.push(Item::Text(text));
                    }
                }
                if longer.spoken.len() > MAX_WORD_BYTES {
                    return Err(self.too_long(&longer));
                }
                paths.push(longer);
            }
        }
        Ok(())
    }

    fn too_long(&self, path: &WordPath) -> Fault {
        let word: String = path.spoken.chars().take(20).collect();
        let problem = format!("`{word}…` is a word of more than {MAX_WORD_BYTES} bytes");
        Fault::new(self.fragments.place(path.at), problem)
    }

    /// Adds the arcs of a word: one without a word if the text is only punctuation, several if it contains a dash.
    fn end_word(&mut self, from: u32, to: u32, path: &WordPath) -> Parsed<()> {
        let words = match self.normalized.get(&path.spoken) {
            Some(words) => words.clone(),
            None => {
                let words = normalize::spoken_words(&path.spoken);
                let words: Vec<u32> = words.iter().map(|word| self.words.id(word)).collect();
                self.normalized.insert(path.spoken.clone(), words.clone());
                words
            }
        };
        let Some((first, rest)) = words.split_first() else {
            self.add(from, to, NO_WORD, path.cost, &path.items);
            return Ok(());
        };
        // Marks after the last text belong to the arc of the last word.
        let last = path.items.iter().rposition(|item| matches!(item, Item::Text(_))).map_or(0, |at| at + 1);
        let (text, marks) = path.items.split_at(if rest.is_empty() { path.items.len() } else { last });
        let (mut at, mut word, mut cost, mut items) = (from, *first, path.cost, text);
        for &next in rest {
            let between = self.state();
            self.add(at, between, word, cost, items);
            (at, word, cost, items) = (between, next, 0, &[]);
        }
        self.add(at, to, word, cost, if rest.is_empty() { items } else { marks });
        Ok(())
    }

    /// Removes arcs from which no final state can be reached, and sorts the words.
    fn finish(self) -> Network {
        let mut network = self.network;
        let mut words: Vec<(String, u32)> =
            (0..).map_while(|id| Some((self.words.text(id)?.to_string(), id))).collect();
        words.sort_unstable();
        let mut places = vec![0; words.len()];
        for (place, (_, id)) in (0..).zip(&words) {
            places[*id as usize] = place;
        }
        network.words = words.into_iter().map(|(word, _)| word).collect();
        network.texts = self.fragments.texts;
        let useful = useful(&network);
        for (arcs, useful_from) in network.arcs.iter_mut().zip(&useful) {
            arcs.retain(|arc| *useful_from && useful[arc.to as usize]);
            for arc in arcs.iter_mut().filter(|arc| arc.word != NO_WORD) {
                arc.word = places[arc.word as usize];
            }
        }
        network
    }
}

/// For every state, whether a final state can be reached from it.
fn useful(network: &Network) -> Vec<bool> {
    let mut before = vec![Vec::new(); network.arcs.len()];
    for (from, arcs) in (0..).zip(&network.arcs) {
        arcs.iter().for_each(|arc| before[arc.to as usize].push(from));
    }
    let mut useful = network.is_final.clone();
    let mut waiting: Vec<u32> = (0..useful.len() as u32).filter(|&state| useful[state as usize]).collect();
    while let Some(state) = waiting.pop() {
        for &from in &before[state as usize] {
            if !std::mem::replace(&mut useful[from as usize], true) {
                waiting.push(from);
            }
        }
    }
    useful
}
