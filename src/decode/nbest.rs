//! Alternative word sequences of the paths of a search, for n-best lists.
//!
//! Of several paths at the same place with the same state, the search keeps only the best. Any continuation costs the
//! same for all of them, so that the word sequences of the others are kept in a list of the best path, with the
//! differences of their scores from that path's. The list of a path remains valid when the path is extended. Because
//! each path has its n best sequences, the n best of the search are exact, except for pruning (token passing with n
//! tokens, Young, Russell, Thornton 1989).

use super::history::History;

/// An alternative word sequence of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Alternative {
    /// Difference of its score from that of the path, nats.
    score_gap: f32,
    /// History node of its last word.
    history: u32,
}

/// The list of a path: a range of [`AlternativeLists::all`], best sequence first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct AlternativeList {
    begin: u32,
    len: u32,
}

/// The word sequence of a path and its alternatives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequences {
    pub history: u32,
    pub alternatives: AlternativeList,
}

/// The lists of all paths of a search.
#[derive(Clone, Debug, Default)]
pub(super) struct AlternativeLists {
    /// Maximum number of alternatives of a path; 0 if only the best hypothesis is requested.
    limit: usize,
    all: Vec<Alternative>,
    /// Twice the number of entries after the last compaction.
    compact_at: usize,
}

/// Number of entries by which the lists must exceed twice their size after the last compaction to be compacted again.
const COMPACT_AT: usize = 1 << 14;

impl AlternativeLists {
    /// Creates lists for the `n` best sequences of each path.
    pub fn nbest(n: usize) -> Self {
        Self { limit: n.saturating_sub(1), ..Self::default() }
    }

    /// Whether more than one hypothesis is requested.
    pub fn is_enabled(&self) -> bool {
        self.limit > 0
    }

    /// Maximum number of word sequences of a path, including its best.
    pub fn max_sequences(&self) -> usize {
        self.limit + 1
    }

    fn list(&self, alternatives: AlternativeList) -> &[Alternative] {
        let begin = alternatives.begin as usize;
        self.all.get(begin..begin + alternatives.len as usize).unwrap_or_default()
    }

    /// The sequences of a list: the difference from the path's score in nats, and the last word.
    pub fn sequences_of(&self, alternatives: AlternativeList) -> impl Iterator<Item = (f32, u32)> {
        self.list(alternatives).iter().map(|alternative| (alternative.score_gap, alternative.history))
    }

    /// Merges the lists of two paths at the same place with the same state, whose scores differ by `score_gap` nats, into
    /// that of the better path.
    pub fn merge(
        &mut self,
        history: &History,
        better: Sequences,
        worse: Sequences,
        score_gap: f32,
    ) -> AlternativeList {
        let same = better.history == worse.history && better.alternatives == worse.alternatives;
        let own = self.list(better.alternatives);
        let full = own.len() == self.limit && own.last().is_none_or(|last| last.score_gap <= score_gap);
        if same || full {
            return better.alternatives;
        }
        let first = Alternative { score_gap, history: worse.history };
        let shifted = self
            .list(worse.alternatives)
            .iter()
            .map(|o| Alternative { score_gap: o.score_gap + score_gap, ..*o });
        let (mut own, mut new) =
            (own.iter().copied().peekable(), std::iter::once(first).chain(shifted).peekable());
        let mut merged: Vec<Alternative> = Vec::with_capacity(self.limit);
        let mut changed = false;
        while merged.len() < self.limit {
            let next = match (own.peek(), new.peek()) {
                (Some(a), Some(b)) if b.score_gap < a.score_gap => (new.next(), true),
                (Some(_), _) => (own.next(), false),
                (None, _) => (new.next(), true),
            };
            let (Some(next), is_new) = next else { break };
            let sequence = history.sequence(next.history);
            let is_known = |alternative: &Alternative| history.sequence(alternative.history) == sequence;
            if sequence != history.sequence(better.history) && !merged.iter().any(is_known) {
                merged.push(next);
                changed |= is_new;
            }
        }
        if !changed {
            return better.alternatives;
        }
        let begin = self.all.len() as u32;
        self.all.extend_from_slice(&merged);
        AlternativeList { begin, len: merged.len() as u32 }
    }

    /// A copy of a list in which each last word is replaced by `to`, or removed if that returns `None`.
    pub fn map_histories(
        &mut self,
        alternatives: AlternativeList,
        mut to: impl FnMut(u32) -> Option<u32>,
    ) -> AlternativeList {
        let begin = self.all.len();
        for at in alternatives.begin..alternatives.begin + alternatives.len {
            let alternative = self.all[at as usize];
            if let Some(history) = to(alternative.history) {
                self.all.push(Alternative { history, ..alternative });
            }
        }
        AlternativeList { begin: begin as u32, len: (self.all.len() - begin) as u32 }
    }

    /// Removes all lists.
    pub fn clear(&mut self) {
        self.all.clear();
        self.compact_at = 0;
    }

    /// Removes entries that are in none of `lists` and updates `lists`, if the number of entries has grown enough.
    pub fn compact<'a>(&mut self, lists: impl Iterator<Item = &'a mut AlternativeList>) {
        if self.all.len() < COMPACT_AT + self.compact_at {
            return;
        }
        let mut kept = Vec::new();
        let mut moved = std::collections::HashMap::new();
        for list in lists {
            let old = *list;
            *list = *moved.entry(old).or_insert_with(|| {
                let begin = kept.len() as u32;
                kept.extend_from_slice(self.list(old));
                AlternativeList { begin, len: old.len }
            });
        }
        self.compact_at = 2 * kept.len();
        self.all = kept;
    }

    /// The last words of all sequences.
    pub fn histories(&mut self) -> impl Iterator<Item = &mut u32> {
        self.all.iter_mut().map(|alternative| &mut alternative.history)
    }
}
