//! CTC prefix beam search (Hannun et al. 2014, "First-pass large vocabulary continuous speech
//! recognition using bi-directional recurrent DNNs"): the probability of a label sequence is the
//! sum over all its paths, kept apart for those that end in a blank and those that do not.
//! Scores are natural logarithms; merged paths are added, not maximised.

use std::collections::HashMap;

use super::{Decoder, DecoderOptions, Token, token_bias};
use crate::text::TokenTable;

/// Widths of the search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefixBeamOptions {
    /// Prefixes kept after each frame; at least 1.
    pub beam: usize,
    /// Tokens whose log-probability lies further below the frame's best do not extend a prefix.
    pub token_margin: f32,
}

impl Default for PrefixBeamOptions {
    fn default() -> Self {
        Self { beam: 8, token_margin: 12.0 }
    }
}

/// The empty prefix.
const ROOT: u32 = 0;
/// A frame so much less sure (natural logarithm) than the peak is no part of a label's run.
const RUN_MARGIN: f32 = 2.0;
/// The arena is swept when it has grown to this many nodes for each that is in use.
const GARBAGE_FACTOR: usize = 4;
/// Below this many nodes sweeping is not worth while.
const MIN_SWEEP: usize = 4096;

/// One label of a prefix; the prefix is the way back to the root.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    token: Token,
}

/// A prefix that is alive, and its log-probability by how its paths end.
#[derive(Clone, Copy, Debug)]
struct Prefix {
    node: u32,
    blank: f32,
    non_blank: f32,
}

impl Prefix {
    fn total(&self) -> f32 {
        log_add(self.blank, self.non_blank)
    }
}

/// Prefix beam search over one stream.
#[derive(Clone, Debug)]
pub struct PrefixBeam {
    bias: Vec<f32>,
    blank: u32,
    options: PrefixBeamOptions,
    /// Node 0 is the empty prefix.
    nodes: Vec<Node>,
    /// (prefix, label) to the longer prefix, so that equal prefixes are one node.
    children: HashMap<(u32, u32), u32>,
    /// Best first.
    beam: Vec<Prefix>,
    /// The token whose run goes on over a cut between segments.
    carried: Option<u32>,
    frames: u64,
    revision: u64,
}

impl PrefixBeam {
    /// A search for one stream of a model.
    pub fn new(tokens: &TokenTable, options: &DecoderOptions, widths: PrefixBeamOptions) -> Self {
        let mut search = Self {
            bias: token_bias(tokens, options),
            blank: tokens.blank(),
            options: PrefixBeamOptions { beam: widths.beam.max(1), ..widths },
            nodes: Vec::new(),
            children: HashMap::new(),
            beam: Vec::new(),
            carried: None,
            frames: 0,
            revision: 0,
        };
        search.begin_segment();
        search
    }

    /// The best label sequences with their log-probabilities, best first, no more than the beam.
    pub fn n_best(&self) -> Vec<(Vec<Token>, f32)> {
        self.beam.iter().map(|p| (self.labels(p.node), p.total())).collect()
    }

    fn begin_segment(&mut self) {
        let token = Token { id: self.blank, start: 0, peak: 0, end: 0, log_prob: 0.0 };
        self.nodes.clear();
        self.nodes.push(Node { parent: ROOT, token });
        self.children.clear();
        self.beam.clear();
        // After a cut in the midst of a run, the empty prefix ends in that run, not in a blank.
        let (blank, non_blank) =
            if self.carried.is_some() { (f32::NEG_INFINITY, 0.0) } else { (0.0, f32::NEG_INFINITY) };
        self.beam.push(Prefix { node: ROOT, blank, non_blank });
        self.revision += 1;
    }

    /// The label that a prefix ends in.
    fn last(&self, node: u32) -> Option<u32> {
        if node == ROOT { self.carried } else { Some(self.nodes[node as usize].token.id) }
    }

    fn labels(&self, mut node: u32) -> Vec<Token> {
        let mut labels = Vec::new();
        while node != ROOT {
            let Node { parent, token } = self.nodes[node as usize];
            labels.push(token);
            node = parent;
        }
        // A node is shared by all longer prefixes, and its run may have gone on in some of them
        // only: a label ends no later than the next one of this prefix begins.
        let mut limit = u64::MAX;
        for token in &mut labels {
            token.start = token.start.min(limit);
            token.peak = token.peak.clamp(token.start, limit);
            token.end = token.end.min(limit).max(token.start);
            limit = token.start;
        }
        labels.reverse();
        labels
    }

    /// The prefix one label longer.
    fn child(&mut self, parent: u32, id: u32, log_prob: f32) -> u32 {
        let (nodes, at) = (&mut self.nodes, self.frames);
        *self.children.entry((parent, id)).or_insert_with(|| {
            let token = Token { id, start: at, peak: at, end: at + 1, log_prob };
            nodes.push(Node { parent, token });
            (nodes.len() - 1) as u32
        })
    }

    /// Notes that the last label of a prefix is heard on; its surest frame gives its times.
    fn prolong(&mut self, node: u32, log_prob: f32) {
        let at = self.frames;
        let token = &mut self.nodes[node as usize].token;
        if node == ROOT || log_prob < token.log_prob - RUN_MARGIN {
            return;
        }
        // A run begins anew where it was broken off, and where it was but a doubt so far.
        if log_prob > token.log_prob {
            if token.end != at || log_prob > token.log_prob + RUN_MARGIN {
                token.start = at;
            }
            (token.peak, token.log_prob) = (at, log_prob);
            token.end = at + 1;
        } else if token.end == at {
            token.end = at + 1;
        }
    }

    fn push_frame(&mut self, frame: &[f32]) {
        let scores: Vec<f32> = frame
            .iter()
            .zip(&self.bias)
            .map(|(p, bias)| if p.is_nan() { f32::NEG_INFINITY } else { p + bias })
            .collect();
        let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if best == f32::NEG_INFINITY {
            self.frames += 1;
            return;
        }
        let blank = self.blank as usize;
        let likely: Vec<u32> = (0..scores.len() as u32)
            .filter(|&id| id != self.blank && scores[id as usize] >= best - self.options.token_margin)
            .collect();
        let mut next: Vec<Prefix> = Vec::with_capacity(self.beam.len() * (likely.len() + 1));
        let mut places: HashMap<u32, usize> = HashMap::new();
        let mut add = |node: u32, to_blank: f32, to_non_blank: f32| {
            let place = *places.entry(node).or_insert_with(|| {
                next.push(Prefix { node, blank: f32::NEG_INFINITY, non_blank: f32::NEG_INFINITY });
                next.len() - 1
            });
            let prefix = &mut next[place];
            prefix.blank = log_add(prefix.blank, to_blank);
            prefix.non_blank = log_add(prefix.non_blank, to_non_blank);
        };
        for prefix in std::mem::take(&mut self.beam) {
            let (total, last) = (prefix.total(), self.last(prefix.node));
            add(prefix.node, total + scores[blank], f32::NEG_INFINITY);
            for &id in &likely {
                let score = scores[id as usize];
                if last == Some(id) {
                    // The run goes on, or a blank parted it from a new label of the same kind.
                    add(prefix.node, f32::NEG_INFINITY, prefix.non_blank + score);
                    self.prolong(prefix.node, frame[id as usize]);
                    if prefix.blank > f32::NEG_INFINITY {
                        let child = self.child(prefix.node, id, frame[id as usize]);
                        add(child, f32::NEG_INFINITY, prefix.blank + score);
                    }
                } else {
                    let child = self.child(prefix.node, id, frame[id as usize]);
                    add(child, f32::NEG_INFINITY, total + score);
                }
            }
        }
        // Equal totals are ordered by node, so that the result does not hang on the sort.
        next.sort_by(|a, b| b.total().total_cmp(&a.total()).then(a.node.cmp(&b.node)));
        next.truncate(self.options.beam);
        self.beam = next;
        self.frames += 1;
        self.revision += 1;
        self.sweep();
    }

    /// Drops the nodes that no prefix of the beam needs, when there are many.
    fn sweep(&mut self) {
        if self.nodes.len() < MIN_SWEEP {
            return;
        }
        let mut needed = vec![false; self.nodes.len()];
        needed[ROOT as usize] = true;
        for prefix in &self.beam {
            let mut node = prefix.node;
            while !needed[node as usize] {
                needed[node as usize] = true;
                node = self.nodes[node as usize].parent;
            }
        }
        let kept = needed.iter().filter(|&&n| n).count();
        if kept * GARBAGE_FACTOR > self.nodes.len() {
            return;
        }
        let mut moved = vec![ROOT; self.nodes.len()];
        let mut nodes = Vec::with_capacity(kept);
        self.children.clear();
        // Parents stand before their children, so they have moved already.
        for (old, node) in self.nodes.iter().enumerate().filter(|(old, _)| needed[*old]) {
            moved[old] = nodes.len() as u32;
            let parent = moved[node.parent as usize];
            if old != ROOT as usize {
                self.children.insert((parent, node.token.id), moved[old]);
            }
            nodes.push(Node { parent, token: node.token });
        }
        self.nodes = nodes;
        for prefix in &mut self.beam {
            prefix.node = moved[prefix.node as usize];
        }
    }
}

impl Decoder for PrefixBeam {
    fn push(&mut self, log_probs: &[f32]) {
        for frame in log_probs.chunks_exact(self.bias.len()) {
            self.push_frame(frame);
        }
    }

    fn best(&self) -> Vec<Token> {
        self.beam.first().map(|p| self.labels(p.node)).unwrap_or_default()
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn num_frames(&self) -> u64 {
        self.frames
    }

    fn end_segment(&mut self) -> Vec<Token> {
        let best = self.best();
        self.carried = self.beam.first().filter(|p| p.non_blank > p.blank).and_then(|p| self.last(p.node));
        self.begin_segment();
        best
    }

    fn in_blank(&self) -> bool {
        self.beam.first().is_none_or(|p| p.blank >= p.non_blank)
    }

    fn end_segment_before(&mut self, first: u64) -> Vec<Token> {
        let mut best = self.best();
        let at = best.partition_point(|token| token.start < first);
        let Some(&top) = self.beam.first().filter(|_| at < best.len()) else { return self.end_segment() };
        // The labels that are kept become the only prefix: the rivals had others in front.
        let kept = best.split_off(at);
        self.carried = None;
        self.begin_segment();
        let mut node = ROOT;
        for token in kept {
            let child = self.nodes.len() as u32;
            self.nodes.push(Node { parent: node, token });
            self.children.insert((node, token.id), child);
            node = child;
        }
        self.beam.clear();
        self.beam.push(Prefix {
            node,
            blank: top.blank - top.total(),
            non_blank: top.non_blank - top.total(),
        });
        best
    }

    fn reset(&mut self) {
        self.carried = None;
        self.frames = 0;
        self.begin_segment();
    }
}

/// ln(exp a + exp b).
fn log_add(a: f32, b: f32) -> f32 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f32::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn table(v: usize) -> TokenTable {
        TokenTable::new((0..v).map(|i| format!("▁{i}")).collect(), 0).expect("a good table")
    }

    fn log_softmax(logits: &[f32]) -> Vec<f32> {
        let sum: f32 = logits.iter().map(|x| x.exp()).sum();
        logits.iter().map(|x| x - sum.ln()).collect()
    }

    /// The probability of every label sequence: all V^T paths, collapsed.
    fn enumerate(log_probs: &[f32], v: usize) -> BTreeMap<Vec<u32>, f64> {
        let t = log_probs.len() / v;
        let mut sums = BTreeMap::new();
        for code in 0..v.pow(t as u32) {
            let mut path: Vec<u32> = (0..t).map(|i| (code / v.pow(i as u32) % v) as u32).collect();
            let score: f64 =
                path.iter().enumerate().map(|(i, &id)| f64::from(log_probs[i * v + id as usize])).sum();
            path.dedup();
            path.retain(|&id| id != 0);
            *sums.entry(path).or_insert(0.0) += score.exp();
        }
        sums
    }

    fn exact() -> PrefixBeamOptions {
        PrefixBeamOptions { beam: usize::MAX, token_margin: f32::INFINITY }
    }

    proptest! {
        #[test]
        fn a_wide_beam_is_the_full_enumeration(v in 2usize..4, logits in proptest::collection::vec(-3.0f32..3.0, 18)) {
            let log_probs: Vec<f32> = logits[..logits.len() / v * v].chunks(v).take(5).flat_map(log_softmax).collect();
            let mut search = PrefixBeam::new(&table(v), &DecoderOptions::default(), exact());
            let (one, two) = log_probs.split_at(v);
            search.push(one);
            search.push(two);
            let sums = enumerate(&log_probs, v);
            let n_best = search.n_best();
            prop_assert_eq!(n_best.len(), sums.len());
            for (labels, score) in &n_best {
                let ids: Vec<u32> = labels.iter().map(|t| t.id).collect();
                prop_assert!((f64::from(*score).exp() - sums[&ids]).abs() < 1e-5, "{:?}", ids);
                prop_assert!(labels.windows(2).all(|w| w[0].start <= w[1].start && w[0].peak <= w[1].peak));
            }
            prop_assert!(n_best.windows(2).all(|w| w[0].1 >= w[1].1));
        }
    }

    #[test]
    fn the_sum_over_paths_beats_the_best_path() {
        // Best path: blank blank (0.36); but "1" has 0.4 * 0.6 + 0.6 * 0.4 + 0.4 * 0.4 = 0.64.
        let frame = [0.6f32.ln(), 0.4f32.ln()];
        let mut search = PrefixBeam::new(&table(2), &DecoderOptions::default(), Default::default());
        search.push(&frame);
        search.push(&frame);
        let best = &search.n_best()[0];
        assert_eq!(best.0.iter().map(|t| t.id).collect::<Vec<_>>(), [1]);
        assert!((best.1.exp() - 0.64).abs() < 1e-6);
    }

    #[test]
    fn a_run_across_a_cut_is_given_once_and_a_repeat_twice() {
        let (one, blank) = ([0.01f32.ln(), 0.99f32.ln()], [0.99f32.ln(), 0.01f32.ln()]);
        let mut search = PrefixBeam::new(&table(2), &DecoderOptions::default(), Default::default());
        search.push(&one);
        assert_eq!(search.end_segment().len(), 1);
        search.push(&one);
        search.push(&blank);
        assert_eq!(search.best().len(), 0, "the run was given already");
        search.push(&one);
        let tokens = search.end_segment();
        assert_eq!((tokens.len(), tokens[0].start), (1, 3));
    }

    #[test]
    fn a_segment_ends_before_a_label_that_is_kept_with_its_run() {
        let frame =
            |id: usize| -> Vec<f32> { (0..3).map(|i| if i == id { 0.98f32 } else { 0.01 }.ln()).collect() };
        let mut search = PrefixBeam::new(&table(3), &DecoderOptions::default(), Default::default());
        [1, 0, 1, 2, 2].iter().for_each(|&id| search.push(&frame(id)));
        assert!(!search.in_blank());
        let ids = |tokens: Vec<Token>| tokens.iter().map(|t| t.id).collect::<Vec<_>>();
        assert_eq!(ids(search.end_segment_before(3)), [1, 1]);
        assert_eq!(ids(search.best()), [2]);
        [2, 0, 2].iter().for_each(|&id| search.push(&frame(id)));
        let tokens = search.end_segment_before(9);
        assert_eq!(tokens[0].start, 3, "the run goes on");
        assert_eq!(ids(tokens), [2, 2], "the repeat is another");
        assert!(search.best().is_empty());
    }

    #[test]
    fn sweeping_changes_nothing_and_bounds_the_arena() {
        let v = 6;
        let options = PrefixBeamOptions { beam: 4, token_margin: f32::INFINITY };
        let mut search = PrefixBeam::new(&table(v), &DecoderOptions::default(), options);
        let mut said = Vec::new();
        for i in 0..4000usize {
            let id = if i % 20 == 0 { 1 + i / 20 % 5 } else { 0 };
            if id != 0 {
                said.push(id as u32);
            }
            let logits: Vec<f32> =
                (0..v).map(|k| if k == id { 6.0 } else { (k as f32 * 0.1).sin() }).collect();
            search.push(&log_softmax(&logits));
        }
        assert_eq!(search.best().iter().map(|t| t.id).collect::<Vec<_>>(), said);
        assert!(search.nodes.len() < 2 * MIN_SWEEP, "{} nodes", search.nodes.len());
    }
}
