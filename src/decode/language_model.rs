//! Language models as a search asks for them: which word may follow which, and at what cost.

use super::WordId;

/// What a [`LanguageModel`] remembers of the words so far; a number that only the model understands. Those of a
/// model that [`HotwordModel`](super::HotwordModel) wraps are below 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LmState(pub u64);

/// Costs of word sequences, in nats (negated natural logarithms). Immutable and shared by streams.
pub trait LanguageModel: Send + Sync {
    /// The state before the first word.
    fn start(&self) -> LmState;

    /// The cost of `word` after `state` and the state behind it; `None` where it cannot follow.
    fn next(&self, state: LmState, word: WordId) -> Option<(f32, LmState)>;

    /// The cost of ending after `state`; `None` where nothing can end.
    fn end(&self, state: LmState) -> Option<f32>;

    /// An estimate of the cost of `word` whatever stands before it, which a search adds as soon as the
    /// word begins and replaces by the cost where it ends (look-ahead). It changes what is pruned, not what is best.
    fn look_ahead(&self, word: WordId) -> f32 {
        let _ = word;
        0.0
    }
}

/// Every word after every word, each at the same cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WordLoop {
    /// The cost of a word, nats.
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
}
