//! Interpretation of a sentence: finds the phrase, slots and written text of recognized words.

use std::collections::HashMap;
use std::ops::Range;

use super::fragments::Mark;
use super::grammar::Phrase;
use super::network::{DICTATION, Item, NO_WORD, Network};

/// The interpretation of spoken words by the phrases of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Index of the phrase in the file.
    pub phrase: usize,
    /// Intent of the phrase, if it has one.
    pub intent: Option<String>,
    /// Slots with fixed values, followed by the others in the order in which they were spoken.
    pub slots: Vec<Slot>,
    /// The sentence in its written form.
    pub text: String,
}

/// A slot that was filled.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Name of the slot.
    pub name: String,
    /// Value in its written form.
    pub value: String,
    /// Range of the words in the sentence that filled it; empty for fixed values.
    pub words: Range<usize>,
}

/// An arc on a path through a network, with a back pointer.
#[derive(Clone, Copy)]
struct Step {
    before: usize,
    /// A state and the index of one of its arcs.
    arc: (u32, u32),
}

/// The back pointer of the first step of a path.
const BEGIN: usize = usize::MAX;

/// Finds the interpretation of words (indices of the network's words) with the minimum cost; of several, the first in
/// the file. `dictated` are the texts of the words [`DICTATION`], in order. Returns `None` if the phrases do not allow these
/// words.
pub(super) fn find(
    network: &Network,
    phrases: &[Phrase],
    words: &[u32],
    dictated: &[String],
) -> Option<Match> {
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
    Some(read(network, phrases, &arcs, dictated))
}

type Reached = Vec<(u32, u64, usize)>;

/// Epsilon closure: the states that can be reached without a word, each by its path of minimum cost, in the order of
/// the file.
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

/// The interpretation given by the output items of the arcs of a path; `dictated` as for [`find`], and its name for texts
/// that are missing.
pub(super) fn read(network: &Network, phrases: &[Phrase], arcs: &[(u32, u32)], dictated: &[String]) -> Match {
    let mut reader = Reader {
        network,
        dictated: dictated.iter(),
        phrase: 0,
        text: String::new(),
        hidden: 0,
        open: Vec::new(),
        slots: Vec::new(),
    };
    let mut words = 0;
    for &(state, at) in arcs {
        let arc = &network.arcs[state as usize][at as usize];
        // Items after the text of a word come after the word.
        let mut has_text = false;
        for item in network.items(arc) {
            if matches!(item, Item::Text(_) | Item::Dictation) && arc.word != NO_WORD && !has_text {
                has_text = true;
                words += 1;
            }
            reader.item(*item, words, has_text);
        }
        words += usize::from(arc.word != NO_WORD && !has_text);
    }
    let phrase = phrases.get(reader.phrase);
    let fixed = phrase.map_or(&[][..], |phrase| &phrase.slots);
    let fixed =
        fixed.iter().map(|(name, value)| Slot { name: name.clone(), value: value.clone(), words: 0..0 });
    Match {
        phrase: reader.phrase,
        intent: phrase.and_then(|phrase| phrase.intent.clone()),
        slots: fixed.chain(reader.slots.into_iter().flatten()).collect(),
        text: collapse_spaces(&reader.text),
    }
}

/// Removes spaces at both ends of a text and replaces several successive ones by one.
fn collapse_spaces(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Reader<'a> {
    network: &'a Network,
    /// The texts of dictation that were not read yet.
    dictated: std::slice::Iter<'a, String>,
    phrase: usize,
    text: String,
    /// Number of open [`Mark::BeginWritten`]. Spoken words between these marks are not written.
    hidden: usize,
    open: Vec<OpenSlot>,
    /// Slots in the order of their beginnings; `None` for open ones.
    slots: Vec<Option<Slot>>,
}

struct OpenSlot {
    place: usize,
    name: u32,
    value: Option<u32>,
    /// Length of the text before the slot, bytes.
    text: usize,
    /// Number of words before the slot.
    words: usize,
}

impl Reader<'_> {
    /// Processes an item after `words` words. `inside_word` is whether the last of them continues after the item.
    fn item(&mut self, item: Item, words: usize, inside_word: bool) {
        let texts = &self.network.texts;
        match item {
            Item::Space if self.hidden == 0 => self.text.push(' '),
            Item::Text(text) if self.hidden == 0 => self.text.push_str(texts.get(text)),
            Item::Dictation => {
                let text = self.dictated.next().map_or(DICTATION, String::as_str);
                if self.hidden == 0 {
                    self.text.push_str(text);
                }
            }
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
                let value =
                    slot.value.map_or_else(|| collapse_spaces(written), |value| texts.get(value).to_string());
                let name = texts.get(slot.name).to_string();
                self.slots[slot.place] = Some(Slot { name, value, words: slot.words..words });
            }
        }
    }
}
