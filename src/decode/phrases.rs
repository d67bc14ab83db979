//! Language model of a search that accepts the phrases of a grammar.

use std::sync::Arc;

use super::{LanguageModel, LmState, TokenId, WordId};
use crate::text::phrases::{Phrases, State};

/// Number of phones from which on a phrase is long enough to tell from other speech.
const LONG_PHRASE: u32 = 12;

/// Costs of a [`PhraseModel`], nats, which are added to those of the phrases' weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhraseModelCosts {
    /// Word insertion penalty.
    pub word: f32,
    /// Cost of a phrase without phones. It falls to 0 for 12 phones and more, because the fewer phones a
    /// phrase has, the more often other speech sounds like it. Of phrases that follow each other only the first costs this.
    pub short_phrase: f32,
}

/// Language model that accepts sequences of complete phrases. A [`WordId`] is the index of a word in
/// [`Phrases::words`]. A state is one of the automaton and the number of phones of the first phrase of a stretch of them so far.
#[derive(Clone, Debug)]
pub struct PhraseModel {
    phrases: Arc<Phrases>,
    costs: PhraseModelCosts,
    /// The smallest number of phones of each word.
    lengths: Vec<u32>,
}

impl PhraseModel {
    /// Creates a model of phrases whose words have these pronunciations.
    pub fn new(
        phrases: Arc<Phrases>,
        pronunciations: &[(Vec<TokenId>, WordId)],
        costs: PhraseModelCosts,
    ) -> Self {
        let mut lengths = vec![LONG_PHRASE; phrases.words().len()];
        for (phones, word) in pronunciations {
            let length = &mut lengths[word.0 as usize];
            *length = (*length).min(phones.len() as u32);
        }
        Self { phrases, costs, lengths }
    }

    fn state(&self, to: State, length: u32) -> LmState {
        let states = self.phrases.automaton().num_states() as u64;
        LmState(u64::from(to.0) + states * u64::from(length.min(LONG_PHRASE)))
    }

    fn parts(&self, state: LmState) -> (State, u32) {
        let states = self.phrases.automaton().num_states() as u64;
        (State((state.0 % states) as u32), (state.0 / states) as u32)
    }

    /// The cost of the end of a first phrase of so many phones.
    fn length_cost(&self, length: u32) -> f32 {
        self.costs.short_phrase * (1.0 - length as f32 / LONG_PHRASE as f32)
    }
}

impl LanguageModel for PhraseModel {
    fn start(&self) -> LmState {
        self.state(self.phrases.automaton().start(), 0)
    }

    /// The cost of `word` and the next state. If the word does not continue the phrase, and the phrase may end here,
    /// the word begins another phrase.
    fn next(&self, from: LmState, word: WordId) -> Option<(f32, LmState)> {
        let automaton = self.phrases.automaton();
        let (here, length) = self.parts(from);
        let more = self.lengths[word.0 as usize];
        let (cost, to, length) = match automaton.next(here, word.0) {
            Some((cost, to)) => (cost, to, length + more),
            None => {
                let end = automaton.end(here)? + self.length_cost(length);
                let (cost, to) = automaton.next(automaton.start(), word.0)?;
                // The others cost nothing: other speech instead of all of them would cost one entry too.
                (end + cost, to, LONG_PHRASE)
            }
        };
        Some((cost + self.costs.word, self.state(to, length)))
    }

    /// The cost of the end of a stretch of phrases, which is 0 before the first word; `None` inside a phrase.
    fn end(&self, from: LmState) -> Option<f32> {
        let automaton = self.phrases.automaton();
        let (here, length) = self.parts(from);
        if here == automaton.start() {
            return Some(0.0);
        }
        Some(automaton.end(here)? + self.length_cost(length))
    }

    fn num_states(&self) -> u64 {
        self.phrases.automaton().num_states() as u64 * u64::from(LONG_PHRASE + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::phrases::Format;

    fn model_of(text: &str, costs: PhraseModelCosts) -> (PhraseModel, impl Fn(&str) -> WordId) {
        let phrases = Arc::new(Phrases::parse(text, Format::Lines, None).expect("phrases"));
        // A phone for each letter.
        let phones = |word: &String| (0..word.len() as u32).map(TokenId).collect();
        let ids = (0..).map(WordId);
        let pronunciations: Vec<_> = phrases.words().iter().map(phones).zip(ids).collect();
        let model = PhraseModel::new(Arc::clone(&phrases), &pronunciations, costs);
        (model, move |name: &str| WordId(phrases.word(name).expect("a word")))
    }

    #[test]
    fn phrases_begin_only_after_complete_phrases() {
        let costs = PhraseModelCosts { word: 0.5, short_phrase: 0.0 };
        let (model, word) = model_of("turn (on|off)\nstop\n", costs);
        let (turn, on, stop) = (word("turn"), word("on"), word("stop"));
        assert!(model.end(model.start()).is_some());
        let (_, begun) = model.next(model.start(), turn).expect("a beginning");
        assert!(model.end(begun).is_none() && model.next(begun, stop).is_none());
        let (cost, whole) = model.next(begun, on).expect("an end");
        assert!(model.end(whole).is_some() && cost >= 0.5);
        assert!(model.next(whole, stop).is_some() && model.next(model.start(), on).is_none());
    }

    #[test]
    fn the_shorter_a_phrase_is_the_more_its_end_costs() {
        let sum_of = |short_phrase: f32, words: &[&str]| {
            let text = "go\nstop\nabracadabra hocuspocus\n";
            let (model, word) = model_of(text, PhraseModelCosts { word: 0.0, short_phrase });
            let (mut state, mut sum) = (model.start(), 0.0);
            for name in words {
                let (cost, next) = model.next(state, word(name)).expect("a word that fits");
                (state, sum) = (next, sum + cost);
            }
            sum + model.end(state).expect("an end")
        };
        let sum = |words: &[&str]| sum_of(6.0, words) - sum_of(0.0, words);
        assert!((sum(&["go"]) - 5.0).abs() < 1e-5 && (sum(&["stop"]) - 4.0).abs() < 1e-5);
        assert_eq!(sum(&["abracadabra", "hocuspocus"]), 0.0);
        // Phrases that follow each other cost as much as the first one, so that more of them are no cheaper.
        assert!((sum(&["stop", "go"]) - 4.0).abs() < 1e-5 && (sum(&["go", "stop", "go"]) - 5.0).abs() < 1e-5);
    }
}
