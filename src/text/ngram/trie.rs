//! A back-off n-gram model in memory: a trie of word ids in a few flat arrays.

use super::{BEGIN, NgramSink, UNKNOWN};
use crate::error::{Error, Result, Stage};

/// The context of a prediction: the node of the longest n-gram in the model that the words so far end with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NgramState(pub u32);

/// The state without context.
const ROOT: NgramState = NgramState(0);

/// The n-grams of a model. Nodes are stored level by level, each level sorted by word ids: node 0 is the
/// empty history, followed by all unigrams, all bigrams, and so on. Nodes of the highest level have neither
/// successors nor a back-off weight.
#[derive(Clone, Debug, Default)]
pub struct Trie {
    /// The first node of each level, and the number of all nodes.
    pub(super) levels: Vec<u32>,
    /// The last word of each node's n-gram.
    pub(super) words: Vec<u32>,
    /// log10 of each n-gram's probability.
    pub(super) log_probs: Vec<f32>,
    /// log10 of each history's back-off weight.
    pub(super) backoffs: Vec<f32>,
    /// The first successor of each history; the successors of `i` end where those of `i + 1` begin.
    pub(super) successors: Vec<u32>,
    /// For each history the node of the longest proper suffix that is a history.
    pub(super) suffixes: Vec<u32>,
}

impl Trie {
    /// The number of words of the longest n-grams.
    pub fn order(&self) -> usize {
        self.levels.len().saturating_sub(2)
    }

    /// The number of n-grams of each order from 1.
    pub fn counts(&self) -> Vec<u64> {
        self.levels.windows(2).skip(1).map(|w| u64::from(w[1] - w[0])).collect()
    }

    /// The number of words, including `<unk>`, `<s>` and `</s>`.
    pub fn num_words(&self) -> usize {
        self.levels.get(2).map_or(0, |&end| end as usize - 1)
    }

    /// The number of nodes that can be histories.
    pub fn num_histories(&self) -> usize {
        self.backoffs.len()
    }

    /// The state without context, not even the start of a sentence.
    pub fn empty_state(&self) -> NgramState {
        ROOT
    }

    /// The state at the start of a sentence.
    pub fn begin_state(&self) -> NgramState {
        self.find(ROOT, BEGIN).map_or(ROOT, |node| self.state_after(ROOT, node, BEGIN))
    }

    /// log10 of the probability of `word` after `state`, and the next state. Words outside the vocabulary
    /// are predicted as `<unk>`.
    pub fn next(&self, state: NgramState, word: u32) -> (f32, NgramState) {
        let word = if (word as usize) < self.num_words() { word } else { UNKNOWN };
        let mut history = state;
        let mut log_prob = 0.0;
        loop {
            if let Some(node) = self.find(history, word) {
                log_prob += self.log_probs[node as usize];
                return (log_prob, self.state_after(history, node, word));
            }
            if history == ROOT {
                return (super::LOG_ZERO, ROOT);
            }
            log_prob += self.backoffs[history.0 as usize];
            history = NgramState(self.suffixes[history.0 as usize]);
        }
    }

    /// The number of words in a state's context.
    pub fn length(&self, state: NgramState) -> usize {
        self.levels.iter().rposition(|&begin| begin <= state.0).unwrap_or(0)
    }

    /// The node of an n-gram, if it is in the model.
    pub(super) fn node(&self, words: &[u32]) -> Option<u32> {
        words.iter().try_fold(0, |node, &word| self.find(NgramState(node), word))
    }

    /// The nodes of an order; order 0 is the empty history.
    pub(super) fn level(&self, order: usize) -> std::ops::Range<usize> {
        self.levels[order] as usize..self.levels[order + 1] as usize
    }

    /// The successors of a history's suffix.
    pub(super) fn ending_successors(&self, history: u32) -> std::ops::Range<usize> {
        self.successors(self.suffixes[history as usize])
    }

    /// The successors of a node.
    pub(super) fn successors(&self, node: u32) -> std::ops::Range<usize> {
        let node = node as usize;
        if node >= self.num_histories() {
            return 0..0;
        }
        // While a level is being built, the end of the previous level is not known yet.
        let end = self.successors.get(node + 1).map_or(self.words.len(), |&end| end as usize);
        self.successors.get(node).map_or(0, |&begin| begin as usize).min(end)..end
    }

    /// The node of a node's n-gram extended by a word, if it is in the model.
    pub(super) fn child(&self, node: u32, word: u32) -> Option<u32> {
        self.find(NgramState(node), word)
    }

    /// The node of `word` after `history`.
    fn find(&self, history: NgramState, word: u32) -> Option<u32> {
        if history == ROOT {
            // The first level contains every word.
            let words = self.levels.get(2).map_or(self.words.len(), |&end| end as usize) - 1;
            return ((word as usize) < words).then_some(word + 1);
        }
        let range = self.successors(history.0);
        let found = self.words[range.clone()].binary_search(&word).ok()?;
        Some((range.start + found) as u32)
    }

    /// The state after `word` in `history`, whose n-gram is `node`.
    fn state_after(&self, history: NgramState, node: u32, word: u32) -> NgramState {
        if (node as usize) < self.num_histories() {
            return self.shortest(node);
        }
        // An n-gram of the highest order is not a history; its suffix is.
        self.shortest(self.suffix(history.0, word))
    }

    /// The shortest state with the same predictions as a node, so that searches can merge more states.
    fn shortest(&self, node: u32) -> NgramState {
        let mut node = node;
        while node != 0 && self.backoffs[node as usize] == 0.0 && self.successors(node).is_empty() {
            node = self.suffixes[node as usize];
        }
        NgramState(node)
    }

    /// The node of the longest proper suffix of `history` and `word`.
    pub(super) fn suffix(&self, history: u32, word: u32) -> u32 {
        let mut shorter = NgramState(history);
        while shorter != ROOT {
            shorter = NgramState(self.suffixes[shorter.0 as usize]);
            if let Some(found) = self.find(shorter, word) {
                return found;
            }
        }
        0
    }

    /// Finds the suffix of each history.
    pub(super) fn link_suffixes(&mut self) {
        self.suffixes = vec![0; self.num_histories()];
        for history in 0..self.num_histories() as u32 {
            let histories = self.num_histories();
            for node in self.successors(history).take_while(|&node| node < histories) {
                self.suffixes[node] = self.suffix(history, self.words[node]);
            }
        }
    }

    /// Passes all n-grams to a sink.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn write_to(&self, sink: &mut dyn NgramSink) -> Result<()> {
        sink.begin(&self.counts())?;
        for order in 1..=self.order() {
            self.for_each(order, |words, node| {
                let backoff = self.backoffs.get(node).copied().unwrap_or(0.0);
                sink.ngram(words, self.log_probs[node], backoff)
            })?;
        }
        sink.end()
    }

    /// Calls `visit` with the words and the node of each n-gram of an order, in order.
    pub(super) fn for_each(
        &self,
        order: usize,
        mut visit: impl FnMut(&[u32], usize) -> Result<()>,
    ) -> Result<()> {
        // The nodes from the root to the one being visited; each only ever advances.
        let mut path: Vec<usize> = self.levels[..=order].iter().map(|&l| l as usize).collect();
        let mut words = vec![0; order];
        for node in self.levels[order]..self.levels[order + 1] {
            path[order] = node as usize;
            for level in (1..order).rev() {
                while self.successors[path[level] + 1] as usize <= path[level + 1] {
                    path[level] += 1;
                }
            }
            for (word, &at) in words.iter_mut().zip(&path[1..]) {
                *word = self.words[at];
            }
            visit(&words, node as usize)?;
        }
        Ok(())
    }
}

/// Builds a [`Trie`] from n-grams in order.
#[derive(Debug, Default)]
pub struct TrieBuilder {
    trie: Trie,
    order: usize,
    history: Vec<u32>,
    parent: u32,
}

impl TrieBuilder {
    /// The finished trie.
    pub fn finish(self) -> Trie {
        self.trie
    }

    /// Whether the words are an n-gram of a finished order.
    pub(super) fn has_history(&self, words: &[u32]) -> bool {
        self.trie.node(words).is_some()
    }

    /// Ends an order.
    pub(super) fn end_order(&mut self, order: usize) {
        while self.trie.levels.len() <= order + 1 {
            self.end_level();
        }
    }

    fn push(&mut self, word: u32, log_prob: f32) {
        self.trie.words.push(word);
        self.trie.log_probs.push(log_prob);
    }

    /// Records that all histories below `end` without successors so far have none.
    fn close(&mut self, end: u32) {
        let here = self.trie.words.len() as u32;
        while self.trie.successors.len() < end as usize {
            self.trie.successors.push(here);
        }
    }

    /// Ends the level that is being filled.
    fn end_level(&mut self) {
        if let Some(&begin) = self.trie.levels.last() {
            self.close(begin);
        }
        self.trie.levels.push(self.trie.words.len() as u32);
        self.history.clear();
        self.parent = 0;
    }
}

impl NgramSink for TrieBuilder {
    fn begin(&mut self, counts: &[u64]) -> Result<()> {
        *self = Self { order: counts.len(), ..Self::default() };
        self.trie.levels.push(0);
        self.push(0, 0.0);
        self.trie.backoffs.push(0.0);
        self.trie.levels.push(1);
        Ok(())
    }

    fn ngram(&mut self, words: &[u32], log_prob: f32, backoff: f32) -> Result<()> {
        let Some((&word, history)) = words.split_last() else { return Ok(()) };
        self.end_order(words.len() - 1);
        if history != self.history {
            let missing = || {
                let problem = format!("an n-gram of {} words without its history", words.len());
                Error::new(Stage::Text, problem)
            };
            self.history = history.to_vec();
            self.parent = self.trie.node(history).ok_or_else(missing)?;
        }
        if words.len() == 1 && word as usize != self.trie.words.len() - 1 {
            return Err(Error::new(Stage::Text, "the unigrams of a model are not in order"));
        }
        if self.trie.words.len() as u64 >= u64::from(u32::MAX) - 1 {
            return Err(Error::new(Stage::Text, "expected fewer than 4 billion n-grams")
                .hint("prune more, or write ARPA, which does not keep the model in memory"));
        }
        self.close(self.parent + 1);
        self.push(word, log_prob);
        if words.len() < self.order {
            self.trie.backoffs.push(backoff);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.end_order(self.order);
        self.close(self.trie.backoffs.len() as u32 + 1);
        self.trie.words.shrink_to_fit();
        self.trie.log_probs.shrink_to_fit();
        self.trie.link_suffixes();
        Ok(())
    }
}
