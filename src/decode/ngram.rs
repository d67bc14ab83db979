//! An n-gram model as the language model of a search.

use super::{LanguageModel, LmState, WordId};
use crate::text::ngram::{END, NEVER, NgramModel, NgramState, Trie, UNKNOWN};

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
    /// What a word that the model does not have is more likely than `<unk>`, log10.
    unknown_gain: f32,
    weights: NgramWeights,
}

impl NgramLanguageModel {
    /// A model over `words`, which a [`WordId`] numbers. Those that it does not have stand in the place of `<unk>`,
    /// each as likely as its rarest word: `<unk>` itself is the share of all unknown words together, or
    /// next to nothing, as the text was counted.
    pub fn new<'a>(
        model: NgramModel,
        words: impl IntoIterator<Item = &'a str>,
        weights: NgramWeights,
    ) -> Self {
        let NgramModel { vocabulary, trie } = model;
        let ids = words.into_iter().map(|word| vocabulary.id(word).unwrap_or(UNKNOWN)).collect();
        let unigram = |id| trie.next(trie.empty_state(), id).0;
        let rarest = (END + 1..vocabulary.len() as u32).map(unigram).filter(|&p| p > NEVER).reduce(f32::min);
        let unknown_gain = rarest.map_or(0.0, |rarest| rarest - unigram(UNKNOWN));
        Self { trie, ids, unknown_gain, weights }
    }

    /// Nats of the search for a log10 of the model.
    fn cost(&self, log_prob: f32) -> f32 {
        -std::f32::consts::LN_10 * self.weights.scale * log_prob
    }

    /// log10 of the probability of `word` after a state, and the state behind it.
    fn score(&self, from: NgramState, word: WordId) -> (f32, NgramState) {
        let id = self.ids.get(word.0 as usize).copied().unwrap_or(UNKNOWN);
        let (log_prob, behind) = self.trie.next(from, id);
        (if id == UNKNOWN { log_prob + self.unknown_gain } else { log_prob }, behind)
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
        let (log_prob, behind) = self.score(ngram_state(from), word);
        Some((self.cost(log_prob) + self.weights.word_cost, state(behind)))
    }

    fn end(&self, from: LmState) -> Option<f32> {
        Some(self.cost(self.trie.next(ngram_state(from), END).0))
    }

    fn look_ahead(&self, word: WordId) -> f32 {
        self.cost(self.score(self.trie.empty_state(), word).0) + self.weights.word_cost
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::text::ngram::{EstimateOptions, Text, TrieBuilder, VocabularyLimit};

    #[test]
    fn a_word_that_the_model_does_not_have_is_as_likely_as_its_rarest() {
        let mut text = Text::default();
        text.read(Path::new("test"), "a b a b a c\n".as_bytes(), |_| ()).expect("a good sentence");
        let (vocabulary, estimator) =
            text.count(&VocabularyLimit::None, &EstimateOptions::default()).expect("a vocabulary");
        let mut builder = TrieBuilder::default();
        estimator.finish(&mut builder).expect("a model");
        let model = NgramModel { vocabulary, trie: builder.finish() };
        let weights = NgramWeights { scale: 0.5, word_cost: 1.0 };
        let model = NgramLanguageModel::new(model, ["a", "b", "c", "new"], weights);
        let costs = [0, 1, 2, 3].map(|word| model.look_ahead(WordId(word)));
        let most = costs[..3].iter().copied().fold(0.0, f32::max);
        assert!((costs[3] - most).abs() < 1e-5, "{costs:?}");
        let (cost, _) = model.next(model.start(), WordId(3)).expect("any word may follow");
        assert!(cost.is_finite() && cost >= most - 1e-5);
    }
}
