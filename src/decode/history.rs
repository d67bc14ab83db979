//! Word histories of the paths of a search: a tree of back pointers. Nodes that are on no path are removed from time
//! to time.

use super::{Unit, UnitSpan};

/// The history without words.
pub(super) const EMPTY_HISTORY: u32 = u32::MAX;
/// Number of nodes by which the tree must exceed twice its size after the last compaction to be compacted again.
const COMPACT_AT: usize = 4096;

/// A word with a back pointer to the word before it.
#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    span: UnitSpan,
    /// Hash of the words up to and including this one.
    sequence: u64,
}

/// Tree of the words of all paths. The history of a path is the node of its last word, or [`EMPTY_HISTORY`].
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// The nodes; parents have smaller indices than their children.
    nodes: Vec<Node>,
    /// Twice the number of nodes after the last compaction.
    compact_at: usize,
    /// Hash of the words that [`History::cut`] removed.
    cut_sequence: u64,
}

impl History {
    /// Adds a word after `parent` and returns its node.
    pub fn push(&mut self, parent: u32, span: UnitSpan) -> u32 {
        let word = match span.unit {
            Unit::Word(id) => u64::from(id.0),
            Unit::Token(id) => u64::from(id.0),
        };
        // The mixing function of splitmix64.
        let mut sequence = (self.sequence(parent) ^ (word + 1)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        sequence = (sequence ^ (sequence >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        sequence = (sequence ^ (sequence >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        sequence ^= sequence >> 31;
        self.nodes.push(Node { parent, span, sequence });
        (self.nodes.len() - 1) as u32
    }

    /// Hash of the words up to `node`, without their times.
    pub fn sequence(&self, node: u32) -> u64 {
        self.nodes.get(node as usize).map_or(self.cut_sequence, |node| node.sequence)
    }

    pub fn clear(&mut self) {
        self.nodes.clear();
        self.compact_at = 0;
        self.cut_sequence = 0;
    }

    /// The words up to `node`, in order of time.
    pub fn words(&self, mut node: u32) -> Vec<UnitSpan> {
        let mut words = Vec::new();
        while let Some(found) = self.nodes.get(node as usize) {
            words.push(found.span);
            node = found.parent;
        }
        words.reverse();
        words
    }

    /// The last word up to `node` that begins before frame `first`.
    pub fn last_before(&self, mut node: u32, first: u64) -> u32 {
        while let Some(found) = self.nodes.get(node as usize).filter(|found| found.span.start >= first) {
            node = found.parent;
        }
        node
    }

    /// First frame of the first word that is not on all of `paths`; `None` if all have the same words.
    pub fn fork(&self, paths: impl Iterator<Item = u32> + Clone) -> Option<u64> {
        let shared = paths.clone().reduce(|a, b| self.common(a, b))?;
        let first_beyond = |path: u32| {
            let mut start = None;
            let mut at = path;
            while at != shared {
                let node = &self.nodes[at as usize];
                (start, at) = (Some(node.span.start), node.parent);
            }
            start
        };
        paths.filter_map(first_beyond).min()
    }

    /// The last common node of two paths.
    fn common(&self, mut a: u32, mut b: u32) -> u32 {
        while a != b {
            if a == EMPTY_HISTORY || b == EMPTY_HISTORY {
                return EMPTY_HISTORY;
            }
            // Parents have smaller indices than their children.
            let later = if a > b { &mut a } else { &mut b };
            *later = self.nodes[*later as usize].parent;
        }
        a
    }

    /// Cuts off the words up to `last`. Returns for each node whether it is `last` or one of its descendants.
    pub fn cut(&mut self, last: u32) -> Vec<bool> {
        self.cut_sequence = self.sequence(last);
        let mut agrees: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for (at, node) in self.nodes.iter_mut().enumerate() {
            agrees.push(at as u32 == last || agrees.get(node.parent as usize) == Some(&true));
            node.parent = if node.parent == last { EMPTY_HISTORY } else { node.parent };
        }
        agrees
    }

    pub fn wants_compaction(&self) -> bool {
        self.nodes.len() > COMPACT_AT + self.compact_at
    }

    /// Removes nodes that are on none of `paths`, and updates `paths` to the new indices.
    pub fn compact<'a>(&mut self, paths: impl Iterator<Item = &'a mut u32>) {
        let mut paths: Vec<&mut u32> = paths.collect();
        let mut used = vec![false; self.nodes.len()];
        for path in &paths {
            let mut at = **path;
            while at != EMPTY_HISTORY && !std::mem::replace(&mut used[at as usize], true) {
                at = self.nodes[at as usize].parent;
            }
        }
        let mut moved = vec![EMPTY_HISTORY; self.nodes.len()];
        let place =
            |moved: &[u32], at: u32| if at == EMPTY_HISTORY { EMPTY_HISTORY } else { moved[at as usize] };
        let mut kept = 0;
        for at in 0..self.nodes.len() {
            if used[at] {
                let node = self.nodes[at];
                self.nodes[kept] = Node { parent: place(&moved, node.parent), ..node };
                moved[at] = kept as u32;
                kept += 1;
            }
        }
        self.nodes.truncate(kept);
        for path in &mut paths {
            **path = place(&moved, **path);
        }
        self.compact_at = 2 * kept;
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::WordId;
    use super::*;

    fn word(id: u32, start: u64) -> UnitSpan {
        UnitSpan { unit: Unit::Word(WordId(id)), start, end: start + 1, log_prob: 0.0 }
    }

    /// A tree with two branches: 0 1 2 and 0 1 3.
    fn branches() -> (History, u32, u32) {
        let mut history = History::default();
        let root = history.push(EMPTY_HISTORY, word(0, 0));
        let middle = history.push(root, word(1, 5));
        let left = history.push(middle, word(2, 9));
        let right = history.push(middle, word(3, 9));
        (history, left, right)
    }

    #[test]
    fn paths_share_the_words_before_their_fork() {
        let (history, left, right) = branches();
        assert_eq!(history.words(left), [word(0, 0), word(1, 5), word(2, 9)]);
        assert_eq!(history.fork([left, right].into_iter()), Some(9));
        assert_eq!(history.fork([left, left].into_iter()), None);
        assert_eq!(history.fork([left, 0].into_iter()), Some(5));
        assert_eq!(history.fork([right, EMPTY_HISTORY].into_iter()), Some(0));
        assert_eq!(history.fork([EMPTY_HISTORY].into_iter()), None);
        assert_eq!(history.words(history.last_before(left, 9)), [word(0, 0), word(1, 5)]);
        assert_eq!(history.last_before(left, 0), EMPTY_HISTORY);
    }

    #[test]
    fn the_same_words_at_other_times_are_the_same_sequence() {
        let (mut history, left, right) = branches();
        let root = history.push(EMPTY_HISTORY, word(0, 1));
        let middle = history.push(root, word(1, 3));
        let later = history.push(middle, word(2, 9));
        assert_eq!(history.sequence(left), history.sequence(later));
        assert_ne!(history.sequence(left), history.sequence(right));
        history.cut(1);
        let again = history.push(EMPTY_HISTORY, word(2, 20));
        assert_eq!(history.sequence(left), history.sequence(again));
    }

    #[test]
    fn compaction_keeps_every_path_and_nothing_else() {
        let (mut history, mut left, _) = branches();
        let mut one = 0;
        let words = history.words(left);
        history.compact([&mut left, &mut one].into_iter());
        assert_eq!((history.len(), history.words(left)), (3, words));
        assert_eq!(history.words(one), [word(0, 0)]);
    }

    #[test]
    fn a_cut_leaves_the_words_after_it() {
        let (mut history, left, right) = branches();
        let other = history.push(EMPTY_HISTORY, word(4, 3));
        let agrees = history.cut(1);
        assert_eq!((history.words(left), history.words(right)), (vec![word(2, 9)], vec![word(3, 9)]));
        assert!(agrees[left as usize] && agrees[right as usize] && !agrees[other as usize] && !agrees[0]);
    }
}
