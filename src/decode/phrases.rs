//! Language model of a search that accepts the phrases of a grammar.

use std::sync::Arc;

use super::{LanguageModel, LmState, WordId};
use crate::text::phrases::{Phrases, State};

/// Language model that accepts sequences of complete phrases. A [`WordId`] is the index of a word in
/// [`Phrases::words`].
#[derive(Clone, Debug)]
pub struct PhraseModel {
    phrases: Arc<Phrases>,
    /// Word insertion penalty, nats, which is added to the costs of the phrases' weights.
    word_cost: f32,
}

impl PhraseModel {
    /// Creates a model of the phrases with a word insertion penalty of `word_cost` nats.
    pub fn new(phrases: Arc<Phrases>, word_cost: f32) -> Self {
        Self { phrases, word_cost }
    }
}

impl LanguageModel for PhraseModel {
    fn start(&self) -> LmState {
        LmState(u64::from(self.phrases.automaton().start().0))
    }

    /// The cost of `word` and the next state. If the word does not continue the phrase, and the phrase may end here,
    /// the word begins another phrase.
    fn next(&self, from: LmState, word: WordId) -> Option<(f32, LmState)> {
        let automaton = self.phrases.automaton();
        let here = State(from.0 as u32);
        let (cost, to) = automaton.next(here, word.0).or_else(|| {
            let end = automaton.end(here)?;
            let (cost, to) = automaton.next(automaton.start(), word.0)?;
            Some((end + cost, to))
        })?;
        Some((cost + self.word_cost, LmState(u64::from(to.0))))
    }

    /// The cost of the end of a phrase, which is 0 before the first word; `None` inside a phrase.
    fn end(&self, from: LmState) -> Option<f32> {
        let automaton = self.phrases.automaton();
        let here = State(from.0 as u32);
        if here == automaton.start() { Some(0.0) } else { automaton.end(here) }
    }

    fn num_states(&self) -> u64 {
        self.phrases.automaton().num_states() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::phrases::Format;

    #[test]
    fn phrases_begin_only_after_complete_phrases() {
        let phrases = Phrases::parse("turn (on|off)\nstop\n", Format::Lines, None).expect("phrases");
        let word = |name: &str| WordId(phrases.word(name).expect("a word"));
        let (turn, on, stop) = (word("turn"), word("on"), word("stop"));
        let model = PhraseModel::new(Arc::new(phrases), 0.5);
        assert!(model.end(model.start()).is_some());
        let (_, begun) = model.next(model.start(), turn).expect("a beginning");
        assert!(model.end(begun).is_none() && model.next(begun, stop).is_none());
        let (cost, whole) = model.next(begun, on).expect("an end");
        assert!(model.end(whole).is_some() && cost >= 0.5);
        assert!(model.next(whole, stop).is_some() && model.next(model.start(), on).is_none());
    }
}
