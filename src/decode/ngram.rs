//! An n-gram model as the language model of a search.

use super::{LanguageModel, LmState, WordId};
use crate::text::ngram::{END, NgramModel, NgramState, Trie, UNKNOWN};

/// How an n-gram model's probabilities become costs of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NgramWeights {
    /// Nats of the search for a nat of the model: a network's log-probabilities are surer than they are
    /// right.
    pub scale: f32,
    /// What each word costs beside, nats; below 0 it makes words more.
    pub word_cost: f32,
}

/// An n-gram model over the words of a lexicon.
#[derive(Clone, Debug)]
pub struct NgramLanguageModel {
    trie: Trie,
    /// For each word of the lexicon its id in the model.
    ids: Vec<u32>,
    weights: NgramWeights,
}

impl NgramLanguageModel {
    /// A model over `words`, which a [`WordId`] numbers; those that the model does not know are `<unk>`.
    pub fn new<'a>(
        model: NgramModel,
        words: impl IntoIterator<Item = &'a str>,
        weights: NgramWeights,
    ) -> Self {
        let NgramModel { vocabulary, trie } = model;
        let ids = words.into_iter().map(|word| vocabulary.id(word).unwrap_or(UNKNOWN)).collect();
        Self { trie, ids, weights }
    }

    /// Nats of the search for a log10 of the model.
    fn cost(&self, log_prob: f32) -> f32 {
        -std::f32::consts::LN_10 * self.weights.scale * log_prob
    }

    fn id(&self, word: WordId) -> u32 {
        self.ids.get(word.0 as usize).copied().unwrap_or(UNKNOWN)
    }
}

fn state(state: NgramState) -> LmState {
    LmState(u64::from(state.0))
}

fn ngram_state(state: LmState) -> NgramState {
    NgramState(state.0 as u32)
}

impl LanguageModel for NgramLanguageModel {
    fn start(&self) -> LmState {
        state(self.trie.begin_state())
    }

    fn next(&self, from: LmState, word: WordId) -> Option<(f32, LmState)> {
        let (log_prob, behind) = self.trie.next(ngram_state(from), self.id(word));
        Some((self.cost(log_prob) + self.weights.word_cost, state(behind)))
    }

    fn end(&self, from: LmState) -> Option<f32> {
        Some(self.cost(self.trie.next(ngram_state(from), END).0))
    }

    fn look_ahead(&self, word: WordId) -> f32 {
        self.cost(self.trie.next(self.trie.empty_state(), self.id(word)).0) + self.weights.word_cost
    }
}
