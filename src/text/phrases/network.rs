//! A grammar as a network of words: the spoken words on its arcs, and beside them what is written.

use std::collections::HashMap;

use super::fault::{Fault, Parsed};
use super::fragments::{Fragments, Label, MAX_ARCS, Mark, Texts};
use crate::text::normalize;

/// Longer words are refused, bytes.
const MAX_WORD_BYTES: usize = 256;
/// Stands for no word.
pub const NO_WORD: u32 = u32::MAX;

/// What is written while an arc is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    Space,
    Text(u32),
    Mark(Mark),
}

#[derive(Clone, Copy, Debug)]
pub struct Arc {
    pub to: u32,
    /// The word by its place among the words, or [`NO_WORD`].
    pub word: u32,
    /// Thousandths of a nat.
    pub cost: u32,
    /// Its items, from here on, and how many.
    items: (u32, u32),
}

/// A network from state 0 to the final states; every state is on a way to one of them.
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
    /// What is written while an arc is passed.
    pub fn items(&self, arc: &Arc) -> &[Item] {
        let (begin, count) = arc.items;
        &self.items[begin as usize..(begin + count) as usize]
    }

    /// Joins the fragments of a graph to words.
    ///
    /// # Errors
    /// When a word is too long, or words have too many forms.
    pub fn build(fragments: Fragments) -> Parsed<Network> {
        let states = fragments.arcs.len();
        let mut builder = Builder {
            fragments,
            network: Network::default(),
            states: vec![NO_WORD; states],
            waiting: Vec::new(),
            words: Texts::default(),
            said: HashMap::new(),
            steps: 0,
        };
        builder.boundary(0);
        while let Some(state) = builder.waiting.pop() {
            builder.leave(state)?;
        }
        Ok(builder.finish())
    }
}

/// A way through the fragments of a word.
#[derive(Clone, Debug, Default)]
struct Way {
    at: u32,
    said: String,
    items: Vec<Item>,
    cost: u32,
}

struct Builder {
    fragments: Fragments,
    network: Network,
    /// For each state of the fragments that is reached between words, the state of the network.
    states: Vec<u32>,
    waiting: Vec<u32>,
    words: Texts,
    /// The words of texts that were met.
    said: HashMap<String, Vec<u32>>,
    steps: usize,
}

impl Builder {
    fn state(&mut self) -> u32 {
        self.network.arcs.push(Vec::new());
        self.network.is_final.push(false);
        self.network.arcs.len() as u32 - 1
    }

    /// The state of the network for a state of the fragments between words.
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

    /// All ways from a state between words to the next ones.
    fn leave(&mut self, state: u32) -> Parsed<()> {
        let from = self.states[state as usize];
        for at in 0..self.fragments.arcs[state as usize].len() {
            let arc = self.fragments.arcs[state as usize][at];
            let items = match arc.label {
                Label::Empty | Label::Space => Vec::new(),
                Label::Mark(mark) => vec![Item::Mark(mark)],
                Label::Text(text) => {
                    let said = self.fragments.texts.get(text).to_string();
                    let items = vec![Item::Space, Item::Text(text)];
                    self.word(from, Way { at: arc.to, said, items, cost: arc.cost })?;
                    continue;
                }
            };
            let to = self.boundary(arc.to);
            self.add(from, to, NO_WORD, arc.cost, &items);
        }
        Ok(())
    }

    /// All ways to the end of a word that has begun.
    fn word(&mut self, from: u32, begun: Way) -> Parsed<()> {
        if begun.said.len() > MAX_WORD_BYTES {
            return Err(self.too_long(&begun));
        }
        let mut ways = vec![begun];
        while let Some(way) = ways.pop() {
            self.steps += 1;
            if self.steps > 4 * MAX_ARCS {
                let problem = "parts of words without spaces between them multiply too much";
                return Err(Fault::new(self.fragments.place(way.at), problem));
            }
            if way.at == self.fragments.end {
                let to = self.boundary(way.at);
                self.end_word(from, to, &way)?;
                continue;
            }
            // The last way is followed first: the first arc comes last.
            for at in (0..self.fragments.arcs[way.at as usize].len()).rev() {
                let arc = self.fragments.arcs[way.at as usize][at];
                let mut longer = Way { at: arc.to, cost: way.cost.saturating_add(arc.cost), ..way.clone() };
                match arc.label {
                    Label::Space => {
                        let to = self.boundary(arc.to);
                        self.end_word(from, to, &longer)?;
                        continue;
                    }
                    Label::Empty => {}
                    Label::Mark(mark) => longer.items.push(Item::Mark(mark)),
                    Label::Text(text) => {
                        longer.said.push_str(self.fragments.texts.get(text));
                        longer.items.push(Item::Text(text));
                    }
                }
                if longer.said.len() > MAX_WORD_BYTES {
                    return Err(self.too_long(&longer));
                }
                ways.push(longer);
            }
        }
        Ok(())
    }

    fn too_long(&self, way: &Way) -> Fault {
        let word: String = way.said.chars().take(20).collect();
        let problem = format!("`{word}…` is a word of more than {MAX_WORD_BYTES} bytes");
        Fault::new(self.fragments.place(way.at), problem)
    }

    /// Adds the arcs of a word: none where there are only marks, several where a dash parts them.
    fn end_word(&mut self, from: u32, to: u32, way: &Way) -> Parsed<()> {
        let words = match self.said.get(&way.said) {
            Some(words) => words.clone(),
            None => {
                let words = normalize::words(&way.said);
                let words: Vec<u32> = words.iter().map(|word| self.words.id(word)).collect();
                self.said.insert(way.said.clone(), words.clone());
                words
            }
        };
        let Some((first, rest)) = words.split_first() else {
            self.add(from, to, NO_WORD, way.cost, &way.items);
            return Ok(());
        };
        // What stands behind the last characters stands behind the last word.
        let last = way.items.iter().rposition(|item| matches!(item, Item::Text(_))).map_or(0, |at| at + 1);
        let (text, behind) = way.items.split_at(if rest.is_empty() { way.items.len() } else { last });
        let (mut at, mut word, mut cost, mut items) = (from, *first, way.cost, text);
        for &next in rest {
            let between = self.state();
            self.add(at, between, word, cost, items);
            (at, word, cost, items) = (between, next, 0, &[]);
        }
        self.add(at, to, word, cost, if rest.is_empty() { items } else { behind });
        Ok(())
    }

    /// Takes away what leads nowhere and sorts the words.
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

/// Whether a final state can be reached, for every state.
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
