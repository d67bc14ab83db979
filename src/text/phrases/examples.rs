//! Generation of random sentences that phrases allow.

use std::collections::HashSet;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::Phrases;
use super::found::{self, Match};
use super::network::{NO_WORD, Network};

/// A sentence that phrases allow, with its interpretation.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The words of the sentence, joined by spaces.
    pub sentence: String,
    /// The phrase, intent and slots of the sentence.
    pub meaning: Match,
}

impl Phrases {
    /// Generates up to `count` different sentences, one of each phrase in turn. The result depends only on the seed.
    pub fn examples(&self, count: usize, seed: u64) -> Vec<Example> {
        /// Number of attempts per requested sentence; a file may have fewer sentences than were requested.
        const ATTEMPTS: usize = 20;
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let distances = distances(&self.network);
        let mut seen = HashSet::new();
        let mut examples = Vec::new();
        let begins = self.network.arcs[0].len();
        for attempt in 0..count.saturating_mul(ATTEMPTS) {
            if examples.len() == count || begins == 0 {
                break;
            }
            let arcs = walk(&self.network, &distances, (attempt % begins) as u32, &mut random);
            let words: Vec<&str> = arcs
                .iter()
                .map(|&(state, at)| self.network.arcs[state as usize][at as usize].word)
                .filter(|&word| word != NO_WORD)
                .map(|word| self.network.words[word as usize].as_str())
                .collect();
            let sentence = words.join(" ");
            if !sentence.is_empty() && seen.insert(sentence.clone()) {
                let meaning = found::read(&self.network, &self.grammar.phrases, &arcs, &[]);
                examples.push(Example { sentence, meaning });
            }
        }
        examples
    }
}

/// A random path from the initial state to a final one that begins with the arc `first`.
fn walk(network: &Network, distances: &[u32], first: u32, random: &mut Pcg64Mcg) -> Vec<(u32, u32)> {
    /// Number of arcs after which the path takes the shortest way to a final state.
    const LONG: usize = 100;
    let mut arcs = vec![(0, first)];
    let mut state = network.arcs[0][first as usize].to;
    loop {
        let choices = &network.arcs[state as usize];
        let may_end = network.is_final[state as usize];
        if choices.is_empty() || may_end && (arcs.len() > LONG || random.random_range(0..=choices.len()) == 0)
        {
            return arcs;
        }
        let at = if arcs.len() > LONG {
            let nearest = (0..choices.len()).min_by_key(|&at| distances[choices[at].to as usize]);
            nearest.unwrap_or(0)
        } else {
            random.random_range(0..choices.len())
        };
        arcs.push((state, at as u32));
        state = choices[at].to;
    }
}

/// Number of arcs from each state to the nearest final state.
fn distances(network: &Network) -> Vec<u32> {
    let mut before = vec![Vec::new(); network.arcs.len()];
    for (from, arcs) in (0..).zip(&network.arcs) {
        arcs.iter().for_each(|arc| before[arc.to as usize].push(from));
    }
    let mut distances = vec![u32::MAX; network.arcs.len()];
    let mut waiting = std::collections::VecDeque::new();
    for (state, _) in network.is_final.iter().enumerate().filter(|(_, is_final)| **is_final) {
        distances[state] = 0;
        waiting.push_back(state);
    }
    while let Some(state) = waiting.pop_front() {
        for &from in &before[state] {
            let from: u32 = from;
            if distances[from as usize] == u32::MAX {
                distances[from as usize] = distances[state] + 1;
                waiting.push_back(from as usize);
            }
        }
    }
    distances
}
