//! The phone n-gram that is the denominator of lattice-free MMI: counted on the training transcripts,
//! interpolated (Witten and Bell, 1991), with a limited number of histories.

use std::collections::{BTreeMap, BTreeSet};

/// A deterministic weighted acceptor of label sequences, the form of n-gram that the criterion takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acceptor {
    /// The states; sequences start in the first.
    pub states: Vec<AcceptorState>,
}

/// A state of the acceptor: a history of the n-gram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AcceptorState {
    /// The label that leads here; `None` for the start.
    pub last: Option<u32>,
    /// Arcs to the next labels, each label once: label, next state, probability.
    pub next: Vec<(u32, u32, f64)>,
    /// The probability that the sequence ends here.
    pub end: f64,
    /// The fraction of the training labels that follow this history.
    pub share: f64,
}

impl Acceptor {
    /// The next state after a label, and the label's probability; `None` if the label cannot follow.
    pub fn step(&self, state: u32, label: u32) -> Option<(u32, f64)> {
        let next = &self.states.get(state as usize)?.next;
        next.iter().find(|(l, ..)| *l == label).map(|&(_, to, probability)| (to, probability))
    }
}

/// Options of estimation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Number of labels of an n-gram, at least 2.
    pub order: usize,
    /// Maximum number of histories; the most frequent ones are kept.
    pub max_states: usize,
}

/// Marks the start in a history and the end among labels; no label has this number.
const BOUNDARY: u32 = u32::MAX;

/// For each history, the labels that followed it and their weighted counts.
type Counts = BTreeMap<Vec<u32>, BTreeMap<u32, f64>>;

/// Estimates an n-gram from weighted sequences of labels from 1 to `num_labels`.
pub fn estimate<'a>(
    sequences: impl Iterator<Item = (&'a [u32], f64)>,
    num_labels: usize,
    options: Options,
) -> Acceptor {
    let order = options.order.max(2);
    let mut counts = Counts::new();
    for (labels, weight) in sequences {
        let mut before = vec![BOUNDARY];
        for &label in labels.iter().chain([&BOUNDARY]) {
            for first in 0..=before.len() {
                *counts.entry(before[first..].to_vec()).or_default().entry(label).or_default() += weight;
            }
            before.push(label);
            if before.len() >= order {
                before.remove(0);
            }
        }
    }
    let kept = keep(&counts, num_labels, options.max_states);
    let number: BTreeMap<&[u32], u32> =
        kept.iter().enumerate().map(|(i, history)| (history.as_slice(), i as u32)).collect();
    let total: f64 = kept.iter().filter_map(|history| counts.get(history)).flat_map(|c| c.values()).sum();
    let states = kept.iter().map(|history| {
        let probabilities = interpolated(&counts, history, num_labels);
        let next = (1..=num_labels as u32).map(|label| {
            let longer: Vec<u32> = history.iter().copied().chain([label]).collect();
            let to = (0..longer.len()).find_map(|first| number.get(&longer[first..]).copied());
            (label, to.unwrap_or(0), probabilities[label as usize])
        });
        let own: f64 = counts.get(history).map_or(0.0, |c| c.values().sum());
        AcceptorState {
            last: history.last().copied().filter(|&label| label != BOUNDARY),
            next: next.collect(),
            end: probabilities[0],
            share: own / total.max(f64::MIN_POSITIVE),
        }
    });
    Acceptor { states: states.collect() }
}

/// The histories of the acceptor: the start first, every single label, and the most frequent of the longer
/// ones whose suffixes are kept too.
fn keep(counts: &Counts, num_labels: usize, max_states: usize) -> Vec<Vec<u32>> {
    let mut kept = vec![vec![BOUNDARY]];
    kept.extend((1..=num_labels as u32).map(|label| vec![label]));
    let mut known: BTreeSet<Vec<u32>> = kept.iter().cloned().collect();
    let mut longer: Vec<(&Vec<u32>, f64)> =
        counts.iter().filter(|(h, _)| h.len() > 1).map(|(h, c)| (h, c.values().sum())).collect();
    longer.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.len().cmp(&b.0.len())));
    for (history, _) in longer {
        if kept.len() >= max_states {
            break;
        }
        if known.contains(&history[1..]) && known.insert(history.clone()) {
            kept.push(history.clone());
        }
    }
    kept
}

/// The probability of every label after a history, with the end at index 0, by Witten-Bell smoothing: the
/// history's own counts, interpolated with the shorter history's distribution, weighted by the number of
/// distinct successors.
fn interpolated(counts: &Counts, history: &[u32], num_labels: usize) -> Vec<f64> {
    let mut probabilities = vec![1.0 / (num_labels + 1) as f64; num_labels + 1];
    for first in (0..=history.len()).rev() {
        let Some(followed) = counts.get(&history[first..]) else { break };
        let (total, kinds) = (followed.values().sum::<f64>(), followed.len() as f64);
        probabilities.iter_mut().for_each(|p| *p *= kinds / (total + kinds));
        for (&label, &count) in followed {
            let at = if label == BOUNDARY { 0 } else { label as usize };
            if let Some(p) = probabilities.get_mut(at) {
                *p += count / (total + kinds);
            }
        }
    }
    probabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(order: usize, max_states: usize) -> Acceptor {
        let sequences: [&[u32]; 4] = [&[1, 2, 1, 2, 3], &[1, 2, 3], &[3, 1, 2], &[]];
        estimate(sequences.into_iter().map(|s| (s, 1.0)), 3, Options { order, max_states })
    }

    #[test]
    fn probabilities_after_a_history_add_up_to_one() {
        for acceptor in [counted(2, 100), counted(3, 100), counted(4, 7)] {
            assert_eq!(acceptor.states[0].last, None);
            for state in &acceptor.states {
                let sum: f64 = state.next.iter().map(|(.., p)| p).sum::<f64>() + state.end;
                assert!((sum - 1.0).abs() < 1e-12, "{state:?}");
                assert!(state.next.iter().all(|&(_, _, p)| p > 0.0) && state.end > 0.0, "{state:?}");
                assert_eq!(state.next.len(), 3);
            }
            let shares: f64 = acceptor.states.iter().map(|s| s.share).sum();
            assert!((shares - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn histories_are_as_long_as_the_order_and_the_limit_allow() {
        let after = |acceptor: &Acceptor, labels: &[u32]| {
            labels.iter().fold(0, |state, &label| acceptor.step(state, label).expect("any label").0)
        };
        let two = counted(2, 100);
        assert_eq!(after(&two, &[1, 2]), after(&two, &[3, 3, 2]), "a bigram knows the last label only");
        assert_eq!(two.states.len(), 4);
        let three = counted(3, 100);
        assert_ne!(after(&three, &[1, 2]), after(&three, &[3, 3, 2]));
        // 2 always followed 1; after both came 1 once, 3 twice, and the end once: 4 tokens of 3 types.
        let (_, p) = three.step(after(&three, &[1, 2]), 3).expect("any label");
        let (_, shorter) = two.step(after(&two, &[2]), 3).expect("any label");
        assert!((p - (2.0 + 3.0 * shorter) / 7.0).abs() < 1e-12, "{p}");
        assert_eq!(counted(4, 6).states.len(), 6);
    }
}
