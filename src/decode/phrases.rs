//! Language model of a search that accepts the phrases of a grammar.

use std::sync::Arc;

use super::{LanguageModel, LmState, TokenId, WordId};
use crate::text::phrases::{Phrases, State};

/// Number of phones from which on a phrase is long enough to tell from other speech.
pub(super) const LONG_PHRASE: u32 = 12;

/// A cost of phrases that falls with their number of phones: the fewer a phrase has, the more often other speech sounds
/// like it. From [`LONG_PHRASE`] phones on it is 0, so that it does not decide between long phrases.
#[derive(Clone, Debug)]
pub(super) struct LengthCost {
    /// Cost of a phrase without phones, nats.
    cost: f32,
    /// The smallest number of phones of each word.
    lengths: Vec<u32>,
}

impl LengthCost {
    /// The cost for phrases of `num_words` words with these pronunciations, whose ids begin at `first_word`.
    pub fn new(
        cost: f32,
        num_words: usize,
        first_word: WordId,
        pronunciations: &[(Vec<TokenId>, WordId)],
    ) -> Self {
        let mut lengths = vec![LONG_PHRASE; num_words];
        for (phones, word) in pronunciations {
            let length = &mut lengths[(word.0 - first_word.0) as usize];
            *length = (*length).min(phones.len() as u32);
        }
        Self { cost, lengths }
    }

    /// The number of phones of a phrase of `length` phones and one more word, at most [`LONG_PHRASE`].
    pub fn lengthened(&self, length: u32, word: u32) -> u32 {
        (length + self.lengths[word as usize]).min(LONG_PHRASE)
    }

    /// The cost of a phrase of `length` phones.
    pub fn of(&self, length: u32) -> f32 {
        self.cost * (1.0 - length as f32 / LONG_PHRASE as f32)
    }
}

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
    word_cost: f32,
    length_cost: LengthCost,
}

impl PhraseModel {
    /// Creates a model of phrases whose words have these pronunciations.
    pub fn new(
        phrases: Arc<Phrases>,
        pronunciations: &[(Vec<TokenId>, WordId)],
        costs: PhraseModelCosts,
    ) -> Self {
        let length_cost =
            LengthCost::new(costs.short_phrase, phrases.words().len(), WordId(0), pronunciations);
        Self { phrases, word_cost: costs.word, length_cost }
    }

    fn state(&self, to: State, length: u32) -> LmState {
        let states = self.phrases.automaton().num_states() as u64;
        LmState(u64::from(to.0) + states * u64::from(length))
    }

    fn parts(&self, state: LmState) -> (State, u32) {
        let states = self.phrases.automaton().num_states() as u64;
        (State((state.0 % states) as u32), (state.0 / states) as u32)
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
        let (cost, to, length) = match automaton.next(here, word.0) {
            Some((cost, to)) => (cost, to, self.length_cost.lengthened(length, word.0)),
            None => {
                let end = automaton.end(here)? + self.length_cost.of(length);
                let (cost, to) = automaton.next(automaton.start(), word.0)?;
                // The others cost nothing: other speech instead of all of them would cost one entry too.
                (end + cost, to, LONG_PHRASE)
            }
        };
        Some((cost + self.word_cost, self.state(to, length)))
    }

    /// The cost of the end of a stretch of phrases, which is 0 before the first word; `None` inside a phrase.
    fn end(&self, from: LmState) -> Option<f32> {
        let automaton = self.phrases.automaton();
        let (here, length) = self.parts(from);
        if here == automaton.start() {
            return Some(0.0);
        }
        Some(automaton.end(here)? + self.length_cost.of(length))
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
