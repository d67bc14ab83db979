//! Hotwords: a language model that boosts given phrases.
//!
//! The phrases are a prefix tree of words with failure arcs (Aho and Corasick 1975). Each word of a partial match is
//! boosted at once, so that the phrase is not pruned. If the next word does not continue the phrase, these boosts are
//! subtracted again, except those of a phrase that is complete. Of several phrases that begin at the same word, the
//! longest complete one counts, and the next match begins after it, so that no word is boosted twice.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::{LanguageModel, LmState, WordId};

/// The root of the tree: no partial match.
const ROOT: u32 = 0;

/// A node of the tree: the first words of one or more phrases.
#[derive(Clone, Debug, Default)]
struct Node {
    children: BTreeMap<WordId, u32>,
    /// Number of words up to and including this one.
    depth: u32,
    /// Maximum boost of the phrases that begin with these words, nats per word.
    boost: f32,
    /// Total boost of the phrase that ends here, nats.
    complete_reward: Option<f32>,
    /// Target of the failure arc, which is followed if the next word is no child. It is the match of the words that
    /// remain after the longest complete phrase at the beginning of these words; without such a phrase, of those that
    /// remain after the first word.
    failure: u32,
    /// Change of the total boost by the failure arc, nats; negative if boosts are subtracted.
    failure_gain: f32,
}

impl Node {
    /// Total boost of a partial match up to this node, nats.
    fn reward(&self) -> f32 {
        self.boost * self.depth as f32
    }
}

/// Automaton of phrases and their boosts.
#[derive(Clone, Debug)]
pub struct ContextGraph {
    nodes: Vec<Node>,
}

impl ContextGraph {
    /// Creates the automaton of phrases, each with its boost per word in nats, which must not be negative. If a phrase
    /// occurs several times, its largest boost counts; phrases without words are ignored.
    pub fn new(phrases: impl IntoIterator<Item = (Vec<WordId>, f32)>) -> Self {
        let mut graph = Self { nodes: vec![Node::default()] };
        for (words, boost) in phrases {
            graph.insert(&words, boost);
        }
        graph.link();
        graph
    }

    fn insert(&mut self, words: &[WordId], boost: f32) {
        let mut at = ROOT;
        for &word in words {
            let (next, depth) = (self.nodes.len() as u32, self.nodes[at as usize].depth + 1);
            at = *self.nodes[at as usize].children.entry(word).or_insert(next);
            if at == next {
                self.nodes.push(Node { depth, ..Node::default() });
            }
            let node = &mut self.nodes[at as usize];
            node.boost = node.boost.max(boost);
        }
        let node = &mut self.nodes[at as usize];
        if at != ROOT {
            let reward = boost * node.depth as f32;
            node.complete_reward = Some(node.complete_reward.map_or(reward, |known| known.max(reward)));
        }
    }

    /// Adds the failure arcs. Nodes are visited in breadth-first order: the failure arc of a node is computed from that
    /// of its parent, and leads to a node of smaller depth.
    fn link(&mut self) {
        let mut waiting = VecDeque::from([ROOT]);
        while let Some(parent) = waiting.pop_front() {
            for (word, child) in self.nodes[parent as usize].children.clone() {
                let before = &self.nodes[parent as usize];
                let reward = self.nodes[child as usize].reward();
                let (failure, gain) = match self.nodes[child as usize].complete_reward {
                    Some(complete_reward) => (ROOT, complete_reward - reward),
                    None if parent == ROOT => (ROOT, -reward),
                    None => {
                        let (gain, to) = self.step(before.failure, word);
                        (to, before.reward() + before.failure_gain + gain - reward)
                    }
                };
                let node = &mut self.nodes[child as usize];
                (node.failure, node.failure_gain) = (failure, gain);
                waiting.push_back(child);
            }
        }
    }

    /// Change of the total boost by `word` after the state `from`, nats, and the next state.
    fn step(&self, from: u32, word: WordId) -> (f32, u32) {
        let (mut at, mut gain) = (from, 0.0);
        loop {
            let node = &self.nodes[at as usize];
            if let Some(&child) = node.children.get(&word) {
                let next = &self.nodes[child as usize];
                gain -= node.reward();
                // If no longer phrase begins with a complete one, a new match begins after it.
                return match next.complete_reward.filter(|_| next.children.is_empty()) {
                    Some(complete_reward) => (gain + complete_reward, ROOT),
                    None => (gain + next.reward(), child),
                };
            }
            if at == ROOT {
                return (gain, ROOT);
            }
            (at, gain) = (node.failure, gain + node.failure_gain);
        }
    }

    /// Change of the total boost by the end of a sentence after a state, nats.
    fn end(&self, from: u32) -> f32 {
        let (mut at, mut gain) = (from, 0.0);
        while at != ROOT {
            let node = &self.nodes[at as usize];
            (at, gain) = (node.failure, gain + node.failure_gain);
        }
        gain
    }

    /// Maximum boost of each word over all phrases, nats.
    fn boosts(&self) -> HashMap<WordId, f32> {
        let mut boosts = HashMap::new();
        for (&word, &child) in self.nodes.iter().flat_map(|node| &node.children) {
            let boost: &mut f32 = boosts.entry(word).or_default();
            *boost = boost.max(self.nodes[child as usize].boost);
        }
        boosts
    }
}

/// A language model with the costs of another one, reduced by the boosts of hotwords. The lower 32 bits of its states
/// are the state of the other model, the upper 32 bits that of the automaton.
pub struct HotwordModel {
    inner: Arc<dyn LanguageModel>,
    graph: ContextGraph,
    boosts: HashMap<WordId, f32>,
}

impl HotwordModel {
    /// Creates a model with the costs of `inner` minus the boosts of `graph`. States of `inner` must be below 2^32.
    pub fn new(inner: Arc<dyn LanguageModel>, graph: ContextGraph) -> Self {
        Self { inner, boosts: graph.boosts(), graph }
    }
}

fn pair(inner: LmState, node: u32) -> LmState {
    debug_assert!(inner.0 <= u64::from(u32::MAX), "no room for the state of another model");
    LmState(u64::from(node) << 32 | inner.0)
}

fn parts(LmState(state): LmState) -> (LmState, u32) {
    (LmState(state & u64::from(u32::MAX)), (state >> 32) as u32)
}

impl LanguageModel for HotwordModel {
    fn start(&self) -> LmState {
        pair(self.inner.start(), ROOT)
    }

    fn next(&self, from: LmState, word: WordId) -> Option<(f32, LmState)> {
        let (inner, node) = parts(from);
        let (cost, inner) = self.inner.next(inner, word)?;
        let (gain, node) = self.graph.step(node, word);
        Some((cost - gain, pair(inner, node)))
    }

    fn end(&self, from: LmState) -> Option<f32> {
        let (inner, node) = parts(from);
        Some(self.inner.end(inner)? - self.graph.end(node))
    }

    /// The look-ahead of the other model, minus the maximum boost of the word, so that words of phrases are not pruned
    /// before they end.
    fn look_ahead(&self, word: WordId) -> f32 {
        self.inner.look_ahead(word) - self.boosts.get(&word).copied().unwrap_or(0.0)
    }

    fn num_states(&self) -> u64 {
        (self.graph.nodes.len() as u64) << 32
    }

    fn without_hotwords(&self) -> Option<Arc<dyn LanguageModel>> {
        Some(Arc::clone(&self.inner))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::WordLoop;
    use super::*;

    fn phrase(words: &[u32]) -> Vec<WordId> {
        words.iter().copied().map(WordId).collect()
    }

    /// Total boost of a sentence by a scan: of the phrases that begin at a word the longest counts, and the scan
    /// continues after it.
    fn scan(phrases: &[(Vec<WordId>, f32)], sentence: &[WordId]) -> f32 {
        let (mut at, mut reward) = (0, 0.0);
        while at < sentence.len() {
            let here = phrases.iter().filter(|(words, _)| sentence[at..].starts_with(words));
            let longest = here.max_by(|a, b| a.0.len().cmp(&b.0.len()).then(a.1.total_cmp(&b.1)));
            match longest {
                Some((words, boost)) => {
                    (at, reward) = (at + words.len(), reward + boost * words.len() as f32)
                }
                None => at += 1,
            }
        }
        reward
    }

    fn cost(model: &impl LanguageModel, sentence: &[WordId]) -> f32 {
        let mut state = model.start();
        let mut cost = 0.0;
        for &word in sentence {
            let (more, next_state) = model.next(state, word).expect("a loop of words");
            (cost, state) = (cost + more, next_state);
        }
        cost + model.end(state).expect("a loop of words")
    }

    #[test]
    fn partial_matches_are_rewarded_and_the_reward_is_taken_back_if_they_fail() {
        let phrases = [(phrase(&[1, 2, 3]), 2.0), (phrase(&[1, 2]), 1.0), (phrase(&[2, 4]), 3.0)];
        let model = HotwordModel::new(Arc::new(WordLoop { word_cost: 0.5 }), ContextGraph::new(phrases));
        let (first, state) = model.next(model.start(), WordId(1)).expect("a word");
        assert_eq!((first, model.end(state)), (0.5 - 2.0, Some(2.0)));
        let (second, state) = model.next(state, WordId(2)).expect("a word");
        assert_eq!((second, model.end(state)), (0.5 - 2.0, Some(2.0)), "the shorter phrase has 1 a word");
        let (third, _) = model.next(state, WordId(4)).expect("a word");
        assert_eq!(third, 0.5 + 2.0, "the word before belongs to the phrase that is complete");
        assert_eq!(model.next(state, WordId(3)).expect("a word").0, 0.5 - 2.0);
        assert_eq!(model.look_ahead(WordId(2)), 0.5 - 3.0);
        assert_eq!(model.look_ahead(WordId(9)), 0.5);
    }

    fn words(most: usize) -> impl Strategy<Value = Vec<WordId>> {
        prop::collection::vec((0u32..3).prop_map(WordId), 1..=most)
    }

    proptest! {
        #[test]
        fn sentences_cost_less_by_the_rewards_of_their_phrases(
            phrases in prop::collection::vec((words(4), (0u32..5).prop_map(|boost| 0.5 * boost as f32)), 0..6),
            sentence in words(12)
        ) {
            let inner = WordLoop { word_cost: 0.25 };
            let expected = cost(&inner, &sentence) - scan(&phrases, &sentence);
            let model = HotwordModel::new(Arc::new(inner), ContextGraph::new(phrases));
            prop_assert!((cost(&model, &sentence) - expected).abs() < 1e-4);
        }
    }
}
