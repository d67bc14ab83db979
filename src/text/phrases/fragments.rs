//! Grammar as a graph of fragments: texts, spaces and marks. Definitions are copied to every reference, so that the
//! slots of different references are distinguished. Sentences are not enumerated.

use std::collections::HashMap;

use super::expression::{AtLeast, Expression, Kind, Range};
use super::fault::{Fault, Parsed, Place};
use super::grammar::Grammar;
use crate::text::numbers;

/// Maximum number of parts of a permutation, which has a state for each subset of them.
const MAX_PERMUTED: usize = 8;
/// Maximum depth of nested expressions.
const MAX_DEPTH: usize = 500;

/// The cost 0; costs are in thousandths of a nat.
pub const FREE: u32 = 0;

/// A mark between words: the beginning or end of a phrase, slot or written form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The beginning of the phrase with this index.
    Phrase(u32),
    /// The beginning of a slot with this name.
    BeginSlot(u32),
    /// The fixed value of the current slot.
    Value(u32),
    EndSlot,
    /// The beginning of words that have this written form.
    BeginWritten(u32),
    EndWritten,
}

/// The label of an arc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    Empty,
    Space,
    Text(u32),
    /// Words of a language model.
    Dictation,
    Mark(Mark),
}

#[derive(Clone, Copy, Debug)]
pub struct Arc {
    pub to: u32,
    pub label: Label,
    /// Cost, thousandths of a nat.
    pub cost: u32,
}

/// A graph of fragments with the initial state 0 and one final state.
#[derive(Debug, Default)]
pub struct Fragments {
    pub arcs: Vec<Vec<Arc>>,
    pub end: u32,
    pub texts: Texts,
    /// First state of each phrase, and the position of the phrase in its file.
    begins: Vec<(u32, Place)>,
}

impl Fragments {
    /// Position in the file of the phrase to which a state belongs.
    pub fn place(&self, state: u32) -> Place {
        let index = self.begins.partition_point(|(begin, _)| *begin <= state);
        self.begins.get(index.saturating_sub(1)).map(|(_, place)| *place).unwrap_or_default()
    }
}

/// Interned texts: each different text has an id.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    all: Vec<Box<str>>,
    ids: HashMap<Box<str>, u32>,
}

impl Texts {
    /// The id of a text, which is added if it is new.
    pub fn id(&mut self, text: &str) -> u32 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = self.all.len() as u32;
        self.all.push(text.into());
        self.ids.insert(text.into(), id);
        id
    }

    /// The text with an id; empty if there is none.
    pub fn get(&self, id: u32) -> &str {
        self.text(id).unwrap_or_default()
    }

    /// The text with an id.
    pub fn text(&self, id: u32) -> Option<&str> {
        self.all.get(id as usize).map(|text| &**text)
    }
}

/// Builds the graph of a grammar.
///
/// # Errors
/// When the graph would have more than `max_arcs` arcs, or a name is not defined; names line and column.
pub fn build(grammar: &Grammar, max_arcs: usize) -> Parsed<Fragments> {
    let graph = Fragments::default();
    let mut builder = Builder { grammar, graph, arcs: 0, max_arcs, place: Place::default(), depth: 0 };
    let start = builder.state();
    let end = builder.state();
    builder.graph.end = end;
    let most = grammar.phrases.iter().map(|phrase| phrase.weight).fold(0.0, f32::max);
    for (number, phrase) in grammar.phrases.iter().enumerate() {
        builder.place = phrase.place;
        builder.graph.begins.push((builder.graph.arcs.len() as u32, phrase.place));
        let mark = Label::Mark(Mark::Phrase(number as u32));
        let begin = builder.arc(start, mark, cost(phrase.weight, most))?;
        let last = builder.expression(&phrase.expression, begin)?;
        builder.join(last, end, Label::Empty, FREE)?;
    }
    Ok(builder.graph)
}

/// The cost of a weight relative to the largest one, thousandths of a nat.
fn cost(weight: f32, most: f32) -> u32 {
    (1000.0 * (most / weight).ln()).round() as u32
}

struct Builder<'a> {
    grammar: &'a Grammar,
    graph: Fragments,
    arcs: usize,
    max_arcs: usize,
    /// Position of the phrase that is being added.
    place: Place,
    depth: usize,
}

impl Builder<'_> {
    fn state(&mut self) -> u32 {
        self.graph.arcs.push(Vec::new());
        self.graph.arcs.len() as u32 - 1
    }

    fn join(&mut self, from: u32, to: u32, label: Label, cost: u32) -> Parsed<()> {
        self.arcs += 1;
        if self.arcs > self.max_arcs {
            let max = self.max_arcs;
            let problem = format!("from here on the phrases make a graph of more than {max} arcs");
            return Err(Fault::new(self.place, problem)
                .hint("use large lists, ranges and permutations in fewer places"));
        }
        self.graph.arcs[from as usize].push(Arc { to, label, cost });
        Ok(())
    }

    /// Adds an arc to a new state, and returns that state.
    fn arc(&mut self, from: u32, label: Label, cost: u32) -> Parsed<u32> {
        let to = self.state();
        self.join(from, to, label, cost)?;
        Ok(to)
    }

    /// Adds an expression after the state `from`; returns the state after it.
    fn expression(&mut self, expression: &Expression, from: u32) -> Parsed<u32> {
        if self.depth == MAX_DEPTH {
            let problem = format!("brackets and definitions are more than {MAX_DEPTH} inside each other");
            return Err(Fault::new(self.place, problem));
        }
        self.depth += 1;
        let end = self.any_expression(expression, from);
        self.depth -= 1;
        end
    }

    fn any_expression(&mut self, expression: &Expression, from: u32) -> Parsed<u32> {
        match expression {
            Expression::Text(text, _) => {
                let text = self.graph.texts.id(text);
                self.arc(from, Label::Text(text), FREE)
            }
            Expression::Space => self.arc(from, Label::Space, FREE),
            Expression::Sequence(parts) => parts.iter().try_fold(from, |at, part| self.expression(part, at)),
            Expression::Alternatives(all) => {
                let end = self.state();
                let most = all.iter().map(|part| part.weight).fold(0.0, f32::max);
                for part in all {
                    // No arc leads back to the first state of an expression, so that alternatives without a cost can
                    // begin at this state.
                    let begin = match cost(part.weight, most) {
                        FREE => from,
                        cost => self.arc(from, Label::Empty, cost)?,
                    };
                    let last = self.expression(&part.expression, begin)?;
                    self.join(last, end, Label::Empty, FREE)?;
                }
                Ok(end)
            }
            Expression::Permutation(parts) => self.permutation(parts, from),
            Expression::Reference(reference) => {
                let grammar = self.grammar;
                let definition = grammar.definition(reference)?;
                let slot = reference.slot.as_deref().filter(|_| reference.kind == Kind::List);
                self.slot(slot, from, |builder, at| builder.expression(&definition.expression, at))
            }
            Expression::Range(range) => {
                self.slot(range.slot.as_deref(), from, |builder, at| builder.range(range, at))
            }
            Expression::Dictation => {
                // Its words are not joined to the text before or after it.
                let begin = self.arc(from, Label::Space, FREE)?;
                let last = self.arc(begin, Label::Dictation, FREE)?;
                self.arc(last, Label::Space, FREE)
            }
            Expression::Written(spoken, text) => {
                self.written(text, from, |builder, at| builder.expression(spoken, at))
            }
            Expression::Value(text) => {
                let text = self.graph.texts.id(text);
                self.arc(from, Label::Mark(Mark::Value(text)), FREE)
            }
            Expression::Repeat(part, least) => {
                let begin = self.arc(from, Label::Space, FREE)?;
                let last = self.expression(part, begin)?;
                self.join(last, begin, Label::Space, FREE)?;
                let end = self.arc(last, Label::Space, FREE)?;
                if *least == AtLeast::Zero {
                    self.join(begin, end, Label::Empty, FREE)?;
                }
                Ok(end)
            }
            Expression::Never => Ok(self.state()),
        }
    }

    /// Adds the expression of `inside`, marked as a slot if there is a name.
    fn slot(
        &mut self,
        name: Option<&str>,
        from: u32,
        inside: impl FnOnce(&mut Self, u32) -> Parsed<u32>,
    ) -> Parsed<u32> {
        let Some(name) = name else { return inside(self, from) };
        let name = self.graph.texts.id(name);
        let begin = self.arc(from, Label::Mark(Mark::BeginSlot(name)), FREE)?;
        let last = inside(self, begin)?;
        self.arc(last, Label::Mark(Mark::EndSlot), FREE)
    }

    /// Adds the expression of `inside`, marked with the written form `text`.
    fn written(
        &mut self,
        text: &str,
        from: u32,
        inside: impl FnOnce(&mut Self, u32) -> Parsed<u32>,
    ) -> Parsed<u32> {
        let text = self.graph.texts.id(text);
        let begin = self.arc(from, Label::Mark(Mark::BeginWritten(text)), FREE)?;
        let last = inside(self, begin)?;
        self.arc(last, Label::Mark(Mark::EndWritten), FREE)
    }

    fn permutation(&mut self, parts: &[Expression], from: u32) -> Parsed<u32> {
        if parts.len() > MAX_PERMUTED {
            let problem =
                format!("expected at most {MAX_PERMUTED} parts in any order, found {}", parts.len());
            return Err(Fault::new(self.place, problem));
        }
        // A state for each subset of parts that were already spoken.
        let mut states = vec![from];
        states.extend((1..1 << parts.len()).map(|_| self.state()));
        for used in 0..states.len() {
            for (number, part) in parts.iter().enumerate().filter(|(number, _)| used >> number & 1 == 0) {
                let begin = self.arc(states[used], Label::Space, FREE)?;
                let last = self.expression(part, begin)?;
                self.join(last, states[used | 1 << number], Label::Space, FREE)?;
            }
        }
        Ok(states[states.len() - 1])
    }

    fn range(&mut self, range: &Range, from: u32) -> Parsed<u32> {
        let end = self.state();
        let mut number = range.from;
        while number <= range.to {
            let last = self.written(&number.to_string(), from, |builder, at| builder.number(number, at))?;
            self.join(last, end, Label::Empty, FREE)?;
            let Some(next) = number.checked_add(range.step) else { break };
            number = next;
        }
        Ok(end)
    }

    /// Adds the words of a number, with and without `and`.
    fn number(&mut self, number: i64, from: u32) -> Parsed<u32> {
        let mut from = from;
        if number < 0 {
            let minus = self.graph.texts.id("minus");
            from = self.arc(from, Label::Text(minus), FREE)?;
            from = self.arc(from, Label::Space, FREE)?;
        }
        let mut forms = [false, true].map(|and| numbers::number_words(number.unsigned_abs(), and)).to_vec();
        forms.dedup();
        let end = self.state();
        for words in forms {
            let mut at = from;
            for (place, word) in words.into_iter().enumerate() {
                if place > 0 {
                    at = self.arc(at, Label::Space, FREE)?;
                }
                let word = self.graph.texts.id(word);
                at = self.arc(at, Label::Text(word), FREE)?;
            }
            self.join(at, end, Label::Empty, FREE)?;
        }
        Ok(end)
    }
}
