//! Interface of language models for a search, and a model in which all words cost the same.

use std::sync::Arc;

use super::WordId;

/// State of a [`LanguageModel`] after a sequence of words. The number has a meaning only for the model itself. States
/// of a model that [`HotwordModel`](super::HotwordModel) wraps must be below 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LmState(pub u64);

/// Language model: costs of word sequences, in nats (negative natural logarithms). It is immutable and shared by all
/// streams.
pub trait LanguageModel: Send + Sync {
    /// The state before the first word.
    fn start(&self) -> LmState;

    /// The cost of `word` after `state` and the next state; `None` if the word cannot follow.
    fn next(&self, state: LmState, word: WordId) -> Option<(f32, LmState)>;

    /// The cost of the end of a sentence after `state`; `None` if a sentence cannot end there.
    fn end(&self, state: LmState) -> Option<f32>;

    /// Look-ahead: an estimate of the cost of `word` that does not depend on the state. A search adds it when the word
    /// begins and replaces it by the actual cost when the word ends. It affects pruning, but not the scores of complete
    /// words.
    fn look_ahead(&self, word: WordId) -> f32 {
        let _ = word;
        0.0
    }

    /// One more than the largest number of a state.
    fn num_states(&self) -> u64;

    /// For a model with hotwords, the same model without them.
    fn without_hotwords(&self) -> Option<Arc<dyn LanguageModel>> {
        None
    }
}

/// Language model in which every word may follow every word at the same cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WordLoop {
    /// Word insertion penalty, nats.
    pub word_cost: f32,
}

impl LanguageModel for WordLoop {
    fn start(&self) -> LmState {
        LmState(0)
    }

    fn next(&self, state: LmState, _: WordId) -> Option<(f32, LmState)> {
        Some((self.word_cost, state))
    }

    fn end(&self, _: LmState) -> Option<f32> {
        Some(0.0)
    }

    fn look_ahead(&self, _: WordId) -> f32 {
        self.word_cost
    }

    fn num_states(&self) -> u64 {
        1
    }
}
