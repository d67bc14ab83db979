//! Language model for dictation with phrases: any words, and the phrases of a grammar among them.
//!
//! ```text
//!    ┌─ word ─┐    cost of a phrase    ┌─ word of a phrase ─┐     ┌─ word ─┐
//!    ▼        │   ┌───────────────────►▼                    │ ┌──►▼        │
//!    dictation ───┘          position in a phrase ────────────┘  <dictation> in a phrase
//!        ▲                             │ end of the phrase            │ end of the phrase
//!        └─────────────────────────────┴──────────────────────────────┘
//! ```
//!
//! The words of phrases are separate words of the lexicon, even if the other model has the same ones. The next state is
//! therefore unique, and the ids of the recognized words show which of them belong to a phrase. Words that may continue a
//! phrase continue it; otherwise they end it, if it is complete.

use std::sync::Arc;

use super::{LanguageModel, LmState, WordId};
use crate::error::{Error, Result, Stage};
use crate::text::phrases::{Phrases, Position, State};

/// Look-ahead of a word of a phrase, nats: about that of a frequent word of a language model. The cost inside a phrase is
/// less, but with an estimate far below that of other words these would be pruned.
const LOOK_AHEAD: f32 = 4.0;

/// Costs of phrases in dictation, nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhraseCosts {
    /// Cost of each phrase.
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
    costs: PhraseCosts,
    /// Number of states of `inner`, which come first; then those of the automaton of phrases, and then those of `inner` for
    /// each state of `after_dictation`.
    num_inner: u64,
    /// The states of the automaton after `<dictation>`, sorted.
    after_dictation: Vec<State>,
}

/// Where a state is: in dictation, or in a phrase, with the state of the other model.
#[derive(Clone, Copy, Debug)]
enum Place {
    Dictation(LmState),
    Phrase(Position, LmState),
}

impl DictationModel {
    /// Creates a model of the sentences of `inner` with phrases, whose words have ids from `first_word` on.
    ///
    /// # Errors
    /// When both together have too many states.
    pub fn new(
        inner: Arc<dyn LanguageModel>,
        phrases: Arc<Phrases>,
        first_word: WordId,
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
        let model = Self { inner, phrases, first_word, costs, num_inner, after_dictation };
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
        let num_phrases = self.phrases.automaton().num_states() as u64;
        if state < num_phrases {
            return Place::Phrase(Position::Words(State(state as u32)), self.inner.start());
        }
        let state = state - num_phrases;
        let target = self.after_dictation.get((state / self.num_inner) as usize);
        let target = target.copied().unwrap_or(self.phrases.automaton().start());
        Place::Phrase(Position::Dictation(target), LmState(state % self.num_inner))
    }

    fn state(&self, place: Place) -> LmState {
        match place {
            Place::Dictation(inner) => inner,
            Place::Phrase(Position::Words(State(state)), _) => LmState(self.num_inner + u64::from(state)),
            Place::Phrase(Position::Dictation(target), LmState(inner)) => {
                let index = self.after_dictation.partition_point(|&state| state < target) as u64;
                let num_phrases = self.phrases.automaton().num_states() as u64;
                LmState(self.num_inner * (1 + index) + num_phrases + inner)
            }
        }
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
            phrase_word => {
                let begin = Position::Words(self.phrases.automaton().start());
                let (cost, to) = self.phrases.step(begin, phrase_word)?;
                Some((self.costs.phrase + self.costs.word + cost, Place::Phrase(to, self.inner.start())))
            }
        }
    }

    /// The cost of a word that continues a phrase, and the next place.
    fn next_inside(&self, at: Position, inner: LmState, word: WordId) -> Option<(f32, Place)> {
        let phrase_word = self.phrase_word(word);
        let (cost, to) = self.phrases.step(at, phrase_word)?;
        if phrase_word.is_some() {
            return Some((cost + self.costs.word, Place::Phrase(to, self.inner.start())));
        }
        let (more, inner) = self.inner.next(inner, word)?;
        Some((cost + more, Place::Phrase(to, inner)))
    }
}

impl LanguageModel for DictationModel {
    fn start(&self) -> LmState {
        self.inner.start()
    }

    fn next(&self, from: LmState, word: WordId) -> Option<(f32, LmState)> {
        let (cost, to) = match self.place(from) {
            Place::Dictation(inner) => self.next_outside(inner, word)?,
            Place::Phrase(at, inner) => self.next_inside(at, inner, word).or_else(|| {
                let end = self.phrases.automaton().end(at.state())?;
                let (cost, to) = self.next_outside(self.inner.start(), word)?;
                Some((end + cost, to))
            })?,
        };
        Some((cost, self.state(to)))
    }

    /// The cost of an end of dictation, or of the phrase; `None` inside a phrase.
    fn end(&self, from: LmState) -> Option<f32> {
        match self.place(from) {
            Place::Dictation(inner) => self.inner.end(inner),
            Place::Phrase(at, inner) => {
                let end = self.phrases.automaton().end(at.state())?;
                match at {
                    Position::Words(_) => Some(end),
                    Position::Dictation(_) => Some(end + self.inner.end(inner)?),
                }
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
        let num_phrases = self.phrases.automaton().num_states() as u64;
        self.num_inner.saturating_mul(1 + self.after_dictation.len() as u64).saturating_add(num_phrases)
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
        let costs = PhraseCosts { phrase: 4.5, word: 0.5 };
        let model = DictationModel::new(inner, Arc::clone(&phrases), WordId(2), costs).expect("few states");
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
    fn phrases_stand_at_every_place_of_dictation_at_their_cost() {
        let (model, id) = model("turn (on|off)\nstop\n");
        for (sentence, expected) in [
            ("a b a", Some(3.0)),
            ("turn on", Some(5.5)),
            ("a turn off b", Some(7.5)),
            ("stop turn on stop", Some(15.5)),
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
            ("note a b", Some(7.0)),
            ("a note a", Some(7.0)),
            ("note", None),
            ("tell a", None),
            ("tell a b stop", Some(7.5)),
            ("tell a b stop b", Some(8.5)),
            ("note a stop", Some(11.0)),
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
