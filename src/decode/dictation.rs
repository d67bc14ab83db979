//! Language model for dictation with phrases: any words, and the phrases of a grammar among them.
//!
//! ```text
//!    ┌─ word ─┐                        ┌─ word of a phrase ─┐     ┌─ word ─┐
//!    ▼        │   ┌───────────────────►▼                    │ ┌──►▼        │
//!    dictation ───┘          position in a phrase ────────────┘  <dictation> in a phrase
//!        ▲                             │ end: cost of a phrase        │ end of the phrase
//!        └─────────────────────────────┴──────────────────────────────┘
//! ```
//!
//! The words of phrases are separate words of the lexicon, even if the other model has the same ones. The next state is
//! therefore unique, and the ids of the recognized words show which of them belong to a phrase. Words that may continue a
//! phrase continue it; otherwise they end it, if it is complete. The cost of a phrase depends on its number of phones, so it
//! is added where that is known: at its end, or before its first `<dictation>`.

use std::sync::Arc;

use super::phrases::{LONG_PHRASE, LengthCost};
use super::{LanguageModel, LmState, TokenId, WordId};
use crate::error::{Error, Result, Stage};
use crate::text::phrases::{Phrases, Position, State};

/// Look-ahead of a word of a phrase, nats: about that of a frequent word of a language model. The cost inside a phrase is
/// less, but with an estimate far below that of other words these would be pruned.
const LOOK_AHEAD: f32 = 4.0;

/// Costs of phrases in dictation, nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhraseCosts {
    /// Cost of a phrase without phones; it falls to 0 for 12 phones and more.
    pub phrase: f32,
    /// Word insertion penalty of the words of phrases.
    pub word: f32,
}

/// A language model whose sentences also contain phrases.
pub struct DictationModel {
    inner: Arc<dyn LanguageModel>,
    phrases: Arc<Phrases>,
    /// The first of the words of phrases, whose ids are in the order of [`Phrases::words`].
    first_word: WordId,
    word_cost: f32,
    length_cost: LengthCost,
    /// Number of states of `inner`, which come first; then those of the automaton of phrases for each number of phones,
    /// and then those of `inner` for each state of `after_dictation`.
    num_inner: u64,
    /// The states of the automaton after `<dictation>`, sorted.
    after_dictation: Vec<State>,
}

/// Where a state is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In dictation, with the state of the other model.
    Dictation(LmState),
    /// Among the words of a phrase, with the number of its phones so far: at most [`LONG_PHRASE`], and that many behind
    /// `<dictation>`, where the cost of the phrase is paid.
    Words(State, u32),
    /// In `<dictation>` in a phrase: the automaton's state behind it, and that of the other model.
    PhraseDictation(State, LmState),
}

impl DictationModel {
    /// Creates a model of the sentences of `inner` with phrases, whose words have ids from `first_word` on and these
    /// pronunciations.
    ///
    /// # Errors
    /// When both together have too many states.
    pub fn new(
        inner: Arc<dyn LanguageModel>,
        phrases: Arc<Phrases>,
        first_word: WordId,
        pronunciations: &[(Vec<TokenId>, WordId)],
        costs: PhraseCosts,
    ) -> Result<Self> {
        let automaton = phrases.automaton();
        let states = (0..automaton.num_states() as u32).map(State);
        let dictated = phrases.dictation().into_iter();
        let mut after_dictation: Vec<State> = dictated
            .flat_map(|word| states.clone().filter_map(move |state| automaton.next(state, word)))
            .map(|(_, to)| to)
            .collect();
        after_dictation.sort_unstable();
        after_dictation.dedup();
        let num_inner = inner.num_states();
        let length_cost = LengthCost::new(costs.phrase, phrases.words().len(), first_word, pronunciations);
        let word_cost = costs.word;
        let model = Self { inner, phrases, first_word, word_cost, length_cost, num_inner, after_dictation };
        if model.num_states() > u64::from(u32::MAX) {
            let problem = format!(
                "the language model is too large for {} different places of `<dictation>` in the phrases",
                model.after_dictation.len()
            );
            return Err(Error::new(Stage::Usage, problem).hint("use it in fewer phrases, or prune the model"));
        }
        Ok(model)
    }

    fn place(&self, LmState(state): LmState) -> Place {
        if state < self.num_inner {
            return Place::Dictation(LmState(state));
        }
        let state = state - self.num_inner;
        if state < self.num_in_words() {
            let num_phrases = self.phrases.automaton().num_states() as u64;
            return Place::Words(State((state % num_phrases) as u32), (state / num_phrases) as u32);
        }
        let state = state - self.num_in_words();
        let target = self.after_dictation.get((state / self.num_inner) as usize);
        let target = target.copied().unwrap_or(self.phrases.automaton().start());
        Place::PhraseDictation(target, LmState(state % self.num_inner))
    }

    fn state(&self, place: Place) -> LmState {
        match place {
            Place::Dictation(inner) => inner,
            Place::Words(State(state), length) => {
                let num_phrases = self.phrases.automaton().num_states() as u64;
                LmState(self.num_inner + u64::from(state) + num_phrases * u64::from(length))
            }
            Place::PhraseDictation(target, LmState(inner)) => {
                let index = self.after_dictation.partition_point(|&state| state < target) as u64;
                LmState(self.num_inner * (1 + index) + self.num_in_words() + inner)
            }
        }
    }

    /// Number of states among the words of a phrase.
    fn num_in_words(&self) -> u64 {
        self.phrases.automaton().num_states() as u64 * u64::from(LONG_PHRASE + 1)
    }

    /// The index of a word in [`Phrases::words`]; `None` for a word of the other model.
    fn phrase_word(&self, word: WordId) -> Option<u32> {
        let index = word.0.checked_sub(self.first_word.0)?;
        ((index as usize) < self.phrases.words().len()).then_some(index)
    }

    /// The cost of a word in dictation, outside phrases, and the next place.
    fn next_outside(&self, inner: LmState, word: WordId) -> Option<(f32, Place)> {
        match self.phrase_word(word) {
            None => self.inner.next(inner, word).map(|(cost, inner)| (cost, Place::Dictation(inner))),
            Some(_) => self.next_inside(Position::Words(self.phrases.automaton().start()), 0, inner, word),
        }
    }

    /// The cost of a word that continues a phrase of `length` phones, and the next place.
    fn next_inside(&self, at: Position, length: u32, inner: LmState, word: WordId) -> Option<(f32, Place)> {
        let phrase_word = self.phrase_word(word);
        let (cost, to) = self.phrases.step(at, phrase_word)?;
        let (inner, length_cost) = match at {
            Position::Words(_) => (self.inner.start(), self.length_cost.of(length)),
            Position::Dictation(_) => (inner, 0.0),
        };
        match (phrase_word, to) {
            (Some(word), to) => {
                let length = self.length_cost.lengthened(length, word);
                Some((cost + self.word_cost, Place::Words(to.state(), length)))
            }
            (None, to) => {
                let (more, inner) = self.inner.next(inner, word)?;
                Some((cost + length_cost + more, Place::PhraseDictation(to.state(), inner)))
            }
        }
    }

    /// The cost of the end of a phrase; `None` where it may not end.
    fn end_of_phrase(&self, at: State, length: u32) -> Option<f32> {
        Some(self.phrases.automaton().end(at)? + self.length_cost.of(length))
    }
}

impl LanguageModel for DictationModel {
    fn start(&self) -> LmState {
        self.inner.start()
    }

    fn next(&self, from: LmState, word: WordId) -> Option<(f32, LmState)> {
        let (at, length, inner) = match self.place(from) {
            Place::Dictation(inner) => {
                return self.next_outside(inner, word).map(|(cost, to)| (cost, self.state(to)));
            }
            Place::Words(state, length) => (Position::Words(state), length, self.inner.start()),
            Place::PhraseDictation(state, inner) => (Position::Dictation(state), LONG_PHRASE, inner),
        };
        let (cost, to) = self.next_inside(at, length, inner, word).or_else(|| {
            let end = self.end_of_phrase(at.state(), length)?;
            let (cost, to) = self.next_outside(self.inner.start(), word)?;
            Some((end + cost, to))
        })?;
        Some((cost, self.state(to)))
    }

    /// The cost of an end of dictation, or of the phrase; `None` inside a phrase.
    fn end(&self, from: LmState) -> Option<f32> {
        match self.place(from) {
            Place::Dictation(inner) => self.inner.end(inner),
            Place::Words(state, length) => self.end_of_phrase(state, length),
            Place::PhraseDictation(state, inner) => {
                Some(self.end_of_phrase(state, LONG_PHRASE)? + self.inner.end(inner)?)
            }
        }
    }

    fn look_ahead(&self, word: WordId) -> f32 {
        match self.phrase_word(word) {
            Some(_) => LOOK_AHEAD,
            None => self.inner.look_ahead(word),
        }
    }

    fn num_states(&self) -> u64 {
        self.num_inner
            .saturating_mul(1 + self.after_dictation.len() as u64)
            .saturating_add(self.num_in_words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::WordLoop;
    use crate::text::phrases::Format;

    /// A model with the words `a` and `b`, and those of phrases after them.
    fn model(text: &str) -> (DictationModel, impl Fn(&str) -> WordId) {
        let phrases = Arc::new(Phrases::parse(text, Format::Lines, None).expect("phrases"));
        let inner = Arc::new(WordLoop { word_cost: 1.0 });
        let costs = PhraseCosts { phrase: 6.0, word: 0.5 };
        // Two phones for each letter.
        let phones = |word: &String| vec![TokenId(0); 2 * word.len()];
        let pronunciations: Vec<_> = phrases.words().iter().map(phones).zip((2..).map(WordId)).collect();
        let model = DictationModel::new(inner, Arc::clone(&phrases), WordId(2), &pronunciations, costs);
        let model = model.expect("few states");
        let id = move |word: &str| match word {
            "a" => WordId(0),
            "b" => WordId(1),
            _ => WordId(2 + phrases.word(word).expect("a word of a phrase")),
        };
        (model, id)
    }

    /// The cost of a sentence; `None` if the model does not allow it.
    fn cost(model: &DictationModel, id: impl Fn(&str) -> WordId, sentence: &str) -> Option<f32> {
        let (mut sum, mut state) = (0.0, model.start());
        for word in sentence.split(' ') {
            let (cost, to) = model.next(state, id(word))?;
            assert!(to.0 < model.num_states());
            (sum, state) = (sum + cost, to);
        }
        Some(sum + model.end(state)?)
    }

    #[test]
    fn phrases_stand_at_every_place_of_dictation_at_the_cost_of_their_length() {
        let (model, id) = model("turn (on|off)\nstop\n");
        for (sentence, expected) in [
            ("a b a", Some(3.0)),
            ("turn on", Some(1.0)),
            ("a turn off b", Some(3.0)),
            ("stop", Some(2.5)),
            ("stop turn on stop", Some(6.0)),
            ("a turn", None),
            ("turn a on", None),
            ("a on", None),
        ] {
            assert_eq!(cost(&model, &id, sentence), expected, "{sentence}");
        }
    }

    #[test]
    fn phrases_contain_dictation() {
        let (model, id) = model("note <dictation>\ntell <dictation> stop\nstop\n");
        for (sentence, expected) in [
            ("note a b", Some(4.5)),
            ("a note a", Some(4.5)),
            ("note", None),
            ("tell a", None),
            ("tell a b stop", Some(5.0)),
            ("tell a b stop b", Some(6.0)),
            ("note a stop", Some(6.0)),
        ] {
            assert_eq!(cost(&model, &id, sentence), expected, "{sentence}");
        }
    }

    #[test]
    fn states_are_numbers_of_places() {
        let (model, _) = model("note <dictation>\ntell <dictation> stop\n");
        for number in 0..model.num_states() {
            assert_eq!(model.state(model.place(LmState(number))), LmState(number));
        }
    }
}
