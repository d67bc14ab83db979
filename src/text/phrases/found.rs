//! From the words of a sentence back to what they mean.

use std::collections::HashMap;
use std::ops::Range;

use super::fragments::Mark;
use super::grammar::Phrase;
use super::network::{Item, NO_WORD, Network};

/// The meaning of spoken words by the phrases of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// The phrase, by its place in the file.
    pub phrase: usize,
    /// The intent of the phrase, if it has one.
    pub intent: Option<String>,
    /// Slots in the order in which they were spoken; those with a fixed value come first.
    pub slots: Vec<Slot>,
    /// The sentence as it is written.
    pub text: String,
}

/// A slot that was filled.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// The name of the slot.
    pub name: String,
    /// Its value as it is written.
    pub value: String,
    /// The words that filled it, by their places in the sentence; none for fixed values.
    pub words: Range<usize>,
}

/// A step of a way through a network.
#[derive(Clone, Copy)]
struct Step {
    before: usize,
    /// The state, and which of its arcs.
    arc: (u32, u32),
}

/// No step was taken yet.
const BEGIN: usize = usize::MAX;

/// The cheapest way to say words (by their places among the network's words), the first one in the file of
/// several; `None` where the phrases do not allow them.
pub(super) fn find(network: &Network, phrases: &[Phrase], words: &[u32]) -> Option<Match> {
    let mut steps: Vec<Step> = Vec::new();
    let mut reached = close(network, vec![(0, 0, BEGIN)], &mut steps);
    for &word in words {
        let mut next = Vec::new();
        for (state, cost, step) in reached {
            for (at, arc) in (0..).zip(&network.arcs[state as usize]).filter(|(_, arc)| arc.word == word) {
                steps.push(Step { before: step, arc: (state, at) });
                next.push((arc.to, cost + u64::from(arc.cost), steps.len() - 1));
            }
        }
        reached = close(network, next, &mut steps);
    }
    let ends = reached.into_iter().filter(|(state, ..)| network.is_final[*state as usize]);
    let (_, _, mut step) = ends.min_by_key(|(_, cost, _)| *cost)?;
    let mut arcs = Vec::new();
    while step != BEGIN {
        arcs.push(steps[step].arc);
        step = steps[step].before;
    }
    arcs.reverse();
    Some(read(network, phrases, &arcs))
}

type Reached = Vec<(u32, u64, usize)>;

/// The states that can be reached without a word, each by its cheapest way, in the order of the file.
fn close(network: &Network, states: Reached, steps: &mut Vec<Step>) -> Reached {
    let mut best: HashMap<u32, usize> = HashMap::new();
    let mut all: Reached = Vec::new();
    let mut waiting: Reached = states.into_iter().rev().collect();
    while let Some((state, cost, step)) = waiting.pop() {
        match best.get(&state) {
            Some(&known) if all[known].1 <= cost => continue,
            Some(&known) => all[known] = (state, cost, step),
            None => {
                best.insert(state, all.len());
                all.push((state, cost, step));
            }
        }
        let arcs = network.arcs[state as usize].iter().enumerate().rev();
        for (at, arc) in arcs.filter(|(_, arc)| arc.word == NO_WORD) {
            steps.push(Step { before: step, arc: (state, at as u32) });
            waiting.push((arc.to, cost + u64::from(arc.cost), steps.len() - 1));
        }
    }
    all
}

/// What the items of arcs, one after the other, say together.
pub(super) fn read(network: &Network, phrases: &[Phrase], arcs: &[(u32, u32)]) -> Match {
    let mut reader =
        Reader { network, phrase: 0, text: String::new(), hidden: 0, open: Vec::new(), slots: Vec::new() };
    let mut words = 0;
    for &(state, at) in arcs {
        let arc = &network.arcs[state as usize][at as usize];
        // What stands behind the characters of a word stands behind the word.
        let mut said = false;
        for item in network.items(arc) {
            if matches!(item, Item::Text(_)) && arc.word != NO_WORD && !said {
                said = true;
                words += 1;
            }
            reader.item(*item, words, said);
        }
        words += usize::from(arc.word != NO_WORD && !said);
    }
    let phrase = phrases.get(reader.phrase);
    let fixed = phrase.map_or(&[][..], |phrase| &phrase.slots);
    let fixed =
        fixed.iter().map(|(name, value)| Slot { name: name.clone(), value: value.clone(), words: 0..0 });
    Match {
        phrase: reader.phrase,
        intent: phrase.and_then(|phrase| phrase.intent.clone()),
        slots: fixed.chain(reader.slots.into_iter().flatten()).collect(),
        text: tidy(&reader.text),
    }
}

/// A text without spaces at its ends and with single ones inside.
fn tidy(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Reader<'a> {
    network: &'a Network,
    phrase: usize,
    text: String,
    /// The number of texts that are written in another way and are open.
    hidden: usize,
    open: Vec<OpenSlot>,
    /// In the order of their beginnings; `None` for those that are open.
    slots: Vec<Option<Slot>>,
}

struct OpenSlot {
    place: usize,
    name: u32,
    value: Option<u32>,
    /// Where its text and its words begin.
    text: usize,
    words: usize,
}

impl Reader<'_> {
    /// Takes an item that stands behind `words` words, the last of which may go on.
    fn item(&mut self, item: Item, words: usize, inside_word: bool) {
        let texts = &self.network.texts;
        match item {
            Item::Space if self.hidden == 0 => self.text.push(' '),
            Item::Text(text) if self.hidden == 0 => self.text.push_str(texts.get(text)),
            Item::Space | Item::Text(_) => {}
            Item::Mark(Mark::Phrase(phrase)) => self.phrase = phrase as usize,
            Item::Mark(Mark::BeginWritten(text)) => {
                if self.hidden == 0 {
                    self.text.push_str(if inside_word { "" } else { " " });
                    self.text.push_str(texts.get(text));
                }
                self.hidden += 1;
            }
            Item::Mark(Mark::EndWritten) => self.hidden = self.hidden.saturating_sub(1),
            Item::Mark(Mark::BeginSlot(name)) => {
                let place = self.slots.len();
                self.slots.push(None);
                self.open.push(OpenSlot { place, name, value: None, text: self.text.len(), words });
            }
            Item::Mark(Mark::Value(value)) => {
                if let Some(slot) = self.open.last_mut() {
                    slot.value = Some(value);
                }
            }
            Item::Mark(Mark::EndSlot) => {
                let Some(slot) = self.open.pop() else { return };
                let written = self.text.get(slot.text..).unwrap_or_default();
                let value = slot.value.map_or_else(|| tidy(written), |value| texts.get(value).to_string());
                let name = texts.get(slot.name).to_string();
                self.slots[slot.place] = Some(Slot { name, value, words: slot.words..words });
            }
        }
    }
}
