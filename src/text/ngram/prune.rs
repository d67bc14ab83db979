//! Entropy pruning (Stolcke, 1998): removes the n-grams whose removal changes a model's predictions least.

use super::trie::{NgramState, Trie, TrieBuilder};
use super::{BEGIN, NgramSink};
use crate::error::Result;

impl Trie {
    /// Returns the model without the n-grams whose removal increases its perplexity by less than the
    /// fraction `threshold` (`1e-8` is usual for large texts). Unigrams are kept.
    ///
    /// # Errors
    /// Never for a trie that was built.
    pub fn prune(&self, threshold: f64) -> Result<Trie> {
        let mut keep = vec![true; self.words.len()];
        // The histories and suffixes of n-grams that are kept must be kept too.
        let mut needed = vec![false; self.words.len()];
        for order in (2..=self.order()).rev() {
            for history in self.level(order - 1) {
                let history = history as u32;
                if self.successors(history).is_empty() {
                    continue;
                }
                let loss = Loss::new(self, history);
                for node in self.successors(history) {
                    // Rounding makes some losses slightly negative.
                    keep[node] = needed[node] || loss.of(self, node).max(0.0) >= threshold;
                    if keep[node] {
                        needed[history as usize] = true;
                        needed[self.suffix(history, self.words[node]) as usize] = true;
                    }
                }
            }
        }
        let mut builder = TrieBuilder::default();
        builder.begin(&vec![0; self.order()])?;
        for order in 1..=self.order() {
            self.for_each(order, |words, node| {
                if keep[node] {
                    builder.ngram(
                        words,
                        self.log_probs[node],
                        self.backoffs.get(node).copied().unwrap_or(0.0),
                    )?;
                }
                Ok(())
            })?;
            builder.end_order(order);
        }
        builder.end()?;
        let mut pruned = builder.finish();
        pruned.normalize();
        Ok(pruned)
    }

    /// Sets all back-off weights so that the probabilities after each history sum to 1.
    pub(super) fn normalize(&mut self) {
        for history in 1..self.backoffs.len() as u32 {
            if self.successors(history).is_empty() {
                self.backoffs[history as usize] = 0.0;
                continue;
            }
            let left = Left::of(self, history);
            self.backoffs[history as usize] = (left.own / left.shorter).log10() as f32;
        }
    }

    /// log10 of the joint probability of an n-gram's words.
    fn history_log_prob(&self, mut node: u32) -> f64 {
        let mut sum = 0.0;
        while node != 0 {
            // The `<s>` at the start has probability 1.
            if self.words[node as usize] != BEGIN || node as usize > self.num_words() {
                sum += f64::from(self.log_probs[node as usize]);
            }
            node = self.parent(node);
        }
        sum
    }

    /// The history of an n-gram.
    fn parent(&self, node: u32) -> u32 {
        let end = self.successors.len().min(self.backoffs.len());
        self.successors[..end].partition_point(|&begin| begin <= node) as u32 - 1
    }
}

/// The probability that remains for words that do not follow a history in the model: in the history's
/// distribution, and in that of the shorter history.
struct Left {
    own: f64,
    shorter: f64,
}

impl Left {
    fn of(trie: &Trie, history: u32) -> Self {
        let suffix = NgramState(trie.suffixes[history as usize]);
        let (mut own, mut shorter) = (1.0, 1.0);
        for node in trie.successors(history) {
            own -= power(trie.log_probs[node]);
            shorter -= power(trie.next(suffix, trie.words[node]).0);
        }
        // Rounding may make the rest negative if a history predicts all words.
        Self { own: own.max(1e-10), shorter: shorter.max(1e-10) }
    }
}

fn power(log10: f32) -> f64 {
    10_f64.powf(f64::from(log10))
}

/// The cost of removing successors of a history.
struct Loss {
    left: Left,
    history: f64,
    suffix: NgramState,
    backoff: f64,
}

impl Loss {
    fn new(trie: &Trie, history: u32) -> Self {
        Self {
            left: Left::of(trie, history),
            history: 10_f64.powf(trie.history_log_prob(history)),
            suffix: NgramState(trie.suffixes[history as usize]),
            backoff: f64::from(trie.backoffs[history as usize]) * std::f64::consts::LN_10,
        }
    }

    /// The relative increase of the perplexity if an n-gram is removed.
    fn of(&self, trie: &Trie, node: usize) -> f64 {
        let shorter = trie.next(self.suffix, trie.words[node]).0;
        let (own, shorter) = (power(trie.log_probs[node]), power(shorter));
        let backoff = ((self.left.own + own) / (self.left.shorter + shorter)).ln();
        let moved = own * (shorter.ln() + backoff - own.ln()) + self.left.own * (backoff - self.backoff);
        (-self.history * moved).exp_m1()
    }
}
