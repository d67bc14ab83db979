//! Linear interpolation of two models: each probability is a weighted sum of theirs.

use super::trie::{NgramState, TrieBuilder};
use super::{BEGIN, LOG_ZERO, NgramModel, NgramSink, UNKNOWN, Vocabulary};
use crate::error::Result;

/// One of the two models, addressed with the ids of the joint vocabulary.
struct Part<'a> {
    model: &'a NgramModel,
    /// For each joint id, the id in this model.
    ids: Vec<Option<u32>>,
    /// For each id of this model, the joint id.
    joint: Vec<u32>,
    weight: f64,
}

/// A history of the joint model in one part: the state that predicts the next word, and its node if the
/// part contains it.
#[derive(Clone, Copy)]
struct History {
    state: NgramState,
    node: Option<u32>,
}

impl<'a> Part<'a> {
    fn new(model: &'a NgramModel, vocabulary: &Vocabulary, weight: f64) -> Self {
        let ids: Vec<_> = vocabulary.words().map(|word| model.vocabulary.id(word)).collect();
        let mut joint = vec![UNKNOWN; model.vocabulary.len()];
        for (id, own) in (0..).zip(&ids) {
            if let Some(own) = own {
                joint[*own as usize] = id;
            }
        }
        Self { model, ids, joint, weight }
    }

    /// The joint ids of the words that follow a history in this model.
    fn words(&self, history: History) -> impl Iterator<Item = u32> {
        let trie = &self.model.trie;
        let nodes = history.node.map_or(0..0, |node| trie.successors(node));
        nodes.map(move |node| self.joint[trie.words[node] as usize])
    }

    /// The weighted probability of a word after a history.
    fn probability(&self, history: History, word: u32) -> f64 {
        let Some(own) = self.ids[word as usize] else { return 0.0 };
        let log_prob = self.model.trie.next(history.state, own).0;
        if log_prob <= LOG_ZERO { 0.0 } else { self.weight * 10_f64.powf(f64::from(log_prob)) }
    }

    /// The history extended by one word.
    fn longer(&self, history: History, word: u32) -> History {
        let trie = &self.model.trie;
        let own = self.ids[word as usize].unwrap_or(UNKNOWN);
        let node =
            history.node.filter(|_| self.ids[word as usize].is_some()).and_then(|node| trie.child(node, own));
        History { state: trie.next(history.state, own).1, node }
    }
}

impl NgramModel {
    /// Interpolates this model, with `weight` from 0 to 1, and another one with the rest.
    ///
    /// # Errors
    /// When both together have too many words or n-grams for one model.
    pub fn interpolate(&self, other: &NgramModel, weight: f64) -> Result<NgramModel> {
        let words = self.vocabulary.ordinary_words().chain(other.vocabulary.ordinary_words());
        let vocabulary = Vocabulary::new(words)?;
        let parts = [Part::new(self, &vocabulary, weight), Part::new(other, &vocabulary, 1.0 - weight)];
        let order = self.trie.order().max(other.trie.order());
        let mut builder = TrieBuilder::default();
        builder.begin(&vec![0; order])?;
        let root =
            parts.each_ref().map(|part| History { state: part.model.trie.empty_state(), node: Some(0) });
        let mut histories: Vec<(Vec<u32>, [History; 2])> = vec![(Vec::new(), root)];
        // The n-grams of both models, order by order, each at its interpolated probability. The back-off
        // weights are computed last, from the probabilities.
        for level in 1..=order {
            let mut longer = Vec::new();
            for (before, history) in &histories {
                let mut words: Vec<u32> = match level {
                    1 => (0..vocabulary.len() as u32).collect(),
                    _ => parts.iter().zip(history).flat_map(|(part, history)| part.words(*history)).collect(),
                };
                words.sort_unstable();
                words.dedup();
                for word in words {
                    let probability: f64 =
                        parts.iter().zip(history).map(|(part, h)| part.probability(*h, word)).sum();
                    let log_prob = if word == BEGIN && level == 1 || probability <= 0.0 {
                        LOG_ZERO
                    } else {
                        probability.log10() as f32
                    };
                    let ngram = [before.as_slice(), &[word]].concat();
                    builder.ngram(&ngram, log_prob, 0.0)?;
                    if level < order {
                        longer.push((ngram, [0, 1].map(|part| parts[part].longer(history[part], word))));
                    }
                }
            }
            builder.end_order(level);
            histories = longer;
        }
        builder.end()?;
        let mut trie = builder.finish();
        trie.normalize();
        Ok(NgramModel { vocabulary, trie })
    }
}
