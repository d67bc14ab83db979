//! Language model of a search that uses an n-gram model.

use super::{LanguageModel, LmState, WordId};
use crate::text::ngram::{END, LOG_ZERO, NgramModel, NgramState, Trie, UNKNOWN};

/// Weights with which the probabilities of an n-gram model become costs of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NgramWeights {
    /// Language model scale: factor for the log-probabilities of the n-gram model. It balances them with those of the
    /// network, which is overconfident.
    pub scale: f32,
    /// Word insertion penalty, nats; a negative one favors more words.
    pub word_cost: f32,
}

/// An n-gram model over the words of a lexicon.
#[derive(Clone, Debug)]
pub struct NgramLanguageModel {
    trie: Trie,
    /// For each word of the lexicon, its id in the n-gram model.
    ids: Vec<u32>,
    /// Log-probability (log10) that is added to that of `<unk>` for a word that is not in the n-gram model.
    unknown_gain: f32,
    weights: NgramWeights,
}

impl NgramLanguageModel {
    /// Creates a language model of `words`, whose indices are [`WordId`]s. A word that is not in the n-gram model is
    /// treated as `<unk>`, with probabilities scaled so that its unigram probability is that of the model's rarest
    /// word. The probability of `<unk>` itself is unsuitable: it is that of all unknown words together, or nearly 0,
    /// depending on how it was estimated.
    pub fn new<'a>(
        model: NgramModel,
        words: impl IntoIterator<Item = &'a str>,
        weights: NgramWeights,
    ) -> Self {
        let NgramModel { vocabulary, trie } = model;
        // The words are usually in the order of the vocabulary.
        let mut next = END + 1;
        let id = |word: &str| {
            let in_order = (next as usize) < vocabulary.len() && vocabulary.word(next) == word;
            let id = if in_order { Some(next) } else { vocabulary.id(word) };
            next = id.map_or(next, |id| id + 1);
            id.unwrap_or(UNKNOWN)
        };
        let ids = words.into_iter().map(id).collect();
        let unigram = |id| trie.next(trie.empty_state(), id).0;
        let rarest =
            (END + 1..vocabulary.len() as u32).map(unigram).filter(|&p| p > LOG_ZERO).reduce(f32::min);
        let unknown_gain = rarest.map_or(0.0, |rarest| rarest - unigram(UNKNOWN));
        Self { trie, ids, unknown_gain, weights }
    }

    /// Cost in nats of a log-probability (log10).
    fn cost(&self, log_prob: f32) -> f32 {
        -std::f32::consts::LN_10 * self.weights.scale * log_prob
    }

    /// Log-probability (log10) of `word` after a state, and the next state.
    fn score(&self, from: NgramState, word: WordId) -> (f32, NgramState) {
        let id = self.ids.get(word.0 as usize).copied().unwrap_or(UNKNOWN);
        let (log_prob, next_state) = self.trie.next(from, id);
        (if id == UNKNOWN { log_prob + self.unknown_gain } else { log_prob }, next_state)
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
        let (log_prob, next_state) = self.score(ngram_state(from), word);
        Some((self.cost(log_prob) + self.weights.word_cost, state(next_state)))
    }

    fn end(&self, from: LmState) -> Option<f32> {
        Some(self.cost(self.trie.next(ngram_state(from), END).0))
    }

    fn look_ahead(&self, word: WordId) -> f32 {
        self.cost(self.score(self.trie.empty_state(), word).0) + self.weights.word_cost
    }

    fn num_states(&self) -> u64 {
        self.trie.num_histories() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::text::ngram::{EstimateOptions, Text, TrieBuilder, VocabularyLimit};

    #[test]
    fn unknown_words_have_the_probability_of_the_rarest_word() {
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
