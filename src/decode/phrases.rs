//! A grammar of phrases as the language model of a search.

use std::sync::Arc;

use super::{LanguageModel, LmState, WordId};
use crate::text::phrases::{Phrases, State};

/// Phrases one after the other, whole ones only. A [`WordId`] is a word's place in [`Phrases::words`].
#[derive(Clone, Debug)]
pub struct PhraseModel {
    phrases: Arc<Phrases>,
    /// What each word costs beside the weights of the phrases, nats.
    word_cost: f32,
}

impl PhraseModel {
    /// A model of the phrases; each word costs `word_cost` nats.
    pub fn new(phrases: Arc<Phrases>, word_cost: f32) -> Self {
        Self { phrases, word_cost }
    }
}

impl LanguageModel for PhraseModel {
    fn start(&self) -> LmState {
        LmState(u64::from(self.phrases.automaton().start().0))
    }

    /// Where the phrase cannot go on and may end, another one begins.
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

    /// Before the first word nothing is incomplete.
    fn end(&self, from: LmState) -> Option<f32> {
        let automaton = self.phrases.automaton();
        let here = State(from.0 as u32);
        if here == automaton.start() { Some(0.0) } else { automaton.end(here) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::phrases::Format;

    #[test]
    fn phrases_follow_each_other_when_they_are_whole() {
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
