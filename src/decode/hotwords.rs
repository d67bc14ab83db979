//! Hotwords: a language model that rewards given phrases.
//!
//! The phrases are a tree over words with failure arcs (Aho and Corasick 1975). A word is rewarded as soon as it
//! goes on with a phrase, so that the phrase survives in the beam; where the next word does not go on with
//! it, the reward is taken back, but for that of phrases that are complete. Of the phrases that begin at a word the
//! longest complete one counts, and the next may begin behind it, so that no word is rewarded twice.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::{LanguageModel, LmState, WordId};

/// The node of the tree before the first word of a phrase.
const ROOT: u32 = 0;

/// A beginning of phrases.
#[derive(Clone, Debug, Default)]
struct Node {
    children: BTreeMap<WordId, u32>,
    /// Words up to here.
    depth: u32,
    /// The largest boost of the phrases that go through here, nats a word.
    boost: f32,
    /// The reward of the phrase that is complete here, nats.
    whole: Option<f32>,
    /// Where a match goes on when the next word is no child: behind the longest complete phrase that the words
    /// begin with, or else behind the first of them.
    failure: u32,
    /// What going there adds to the rewards, nats; below zero where rewards are taken back.
    failure_gain: f32,
}

impl Node {
    /// The reward of a path that has come here in one match, nats.
    fn reward(&self) -> f32 {
        self.boost * self.depth as f32
    }
}

/// Phrases and their rewards, as an automaton over words.
#[derive(Clone, Debug)]
pub struct ContextGraph {
    nodes: Vec<Node>,
}

impl ContextGraph {
    /// The automaton of phrases, each with its boost: nats for each of its words, not below zero. Of equal
    /// phrases the one with the largest boost counts; those without words are left out.
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
            node.whole = Some(node.whole.map_or(reward, |known| known.max(reward)));
        }
    }

    /// Adds the failure arcs. Nodes come in the order of their depth, since an arc leads to one that is less deep
    /// and is found by way of the parent's.
    fn link(&mut self) {
        let mut waiting = VecDeque::from([ROOT]);
        while let Some(parent) = waiting.pop_front() {
            for (word, child) in self.nodes[parent as usize].children.clone() {
                let before = &self.nodes[parent as usize];
                let reward = self.nodes[child as usize].reward();
                let (failure, gain) = match self.nodes[child as usize].whole {
                    Some(whole) => (ROOT, whole - reward),
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

    /// What `word` behind the state `from` adds to the rewards, nats, and the state behind it.
    fn step(&self, from: u32, word: WordId) -> (f32, u32) {
        let (mut at, mut gain) = (from, 0.0);
        loop {
            let node = &self.nodes[at as usize];
            if let Some(&child) = node.children.get(&word) {
                let next = &self.nodes[child as usize];
                gain -= node.reward();
                // Behind a phrase that no longer one begins with, a new match begins.
                return match next.whole.filter(|_| next.children.is_empty()) {
                    Some(whole) => (gain + whole, ROOT),
                    None => (gain + next.reward(), child),
                };
            }
            if at == ROOT {
                return (gain, ROOT);
            }
            (at, gain) = (node.failure, gain + node.failure_gain);
        }
    }

    /// What the end of a sentence adds to the rewards behind a state, nats.
    fn end(&self, from: u32) -> f32 {
        let (mut at, mut gain) = (from, 0.0);
        while at != ROOT {
            let node = &self.nodes[at as usize];
            (at, gain) = (node.failure, gain + node.failure_gain);
        }
        gain
    }

    /// The largest boost that each word has in any phrase, nats.
    fn boosts(&self) -> HashMap<WordId, f32> {
        let mut boosts = HashMap::new();
        for (&word, &child) in self.nodes.iter().flat_map(|node| &node.children) {
            let boost: &mut f32 = boosts.entry(word).or_default();
            *boost = boost.max(self.nodes[child as usize].boost);
        }
        boosts
    }
}

/// A language model whose costs are lowered by the rewards of hotwords. Its states hold the other model's in
/// their lower half.
pub struct HotwordModel {
    inner: Arc<dyn LanguageModel>,
    graph: ContextGraph,
    boosts: HashMap<WordId, f32>,
}

impl HotwordModel {
    /// The costs of `inner`, whose states have to be below 2^32, without the rewards of `graph`.
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

    /// A word of a phrase is expected to be rewarded, so that it is not pruned before it ends.
    fn look_ahead(&self, word: WordId) -> f32 {
        self.inner.look_ahead(word) - self.boosts.get(&word).copied().unwrap_or(0.0)
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

    /// The reward of a sentence by a scan: of the phrases that begin at a word the longest counts, and the scan
    /// goes on behind it.
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
            let (more, behind) = model.next(state, word).expect("a loop of words");
            (cost, state) = (cost + more, behind);
        }
        cost + model.end(state).expect("a loop of words")
    }

    #[test]
    fn a_match_is_rewarded_word_by_word_and_taken_back_when_it_breaks_off() {
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
