//! The other word sequences behind the paths of a search, for lists of the n best.
//!
//! Of paths in the same state the best goes on (`search`). All that may follow costs the same behind the
//! others, so their words, each with how far it was behind, go on with it as a list; a path that is moved on
//! takes its list along as it is. With the n best sequences of every state the n best of all are exact, as far as
//! the beam reaches (token passing with n tokens, Young, Russell, Thornton 1989).

use super::history::History;

/// Another word sequence of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Other {
    /// How much worse than the path, nats.
    behind: f32,
    /// Its last word.
    history: u32,
}

/// The other word sequences of a path, by their place among all, the best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Others {
    begin: u32,
    len: u32,
}

/// A path's last word and its other word sequences.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequences {
    pub history: u32,
    pub others: Others,
}

/// All lists of a search.
#[derive(Clone, Debug, Default)]
pub(super) struct OtherLists {
    /// The most that a path has beside its best; 0 where only the best is asked for.
    limit: usize,
    all: Vec<Other>,
    /// Entries beyond [`COMPACT_AT`] at which the lists are to be compacted.
    compact_at: usize,
}

/// Lists are compacted when they have grown by this many entries beyond twice what was of use.
const COMPACT_AT: usize = 1 << 14;

impl OtherLists {
    /// Lists for the `n` best of each path.
    pub fn of_best(n: usize) -> Self {
        Self { limit: n.saturating_sub(1), ..Self::default() }
    }

    /// Whether more than the best is asked for.
    pub fn wanted(&self) -> bool {
        self.limit > 0
    }

    /// The most sequences that a path has.
    pub fn most(&self) -> usize {
        self.limit + 1
    }

    fn list(&self, others: Others) -> &[Other] {
        let begin = others.begin as usize;
        self.all.get(begin..begin + others.len as usize).unwrap_or_default()
    }

    /// The sequences of a list: nats behind the path, and the last word.
    pub fn of(&self, others: Others) -> impl Iterator<Item = (f32, u32)> {
        self.list(others).iter().map(|other| (other.behind, other.history))
    }

    /// The list of the better of two paths in the same state, `behind` nats apart.
    pub fn merge(&mut self, history: &History, better: Sequences, worse: Sequences, behind: f32) -> Others {
        let same = better.history == worse.history && better.others == worse.others;
        let own = self.list(better.others);
        let full = own.len() == self.limit && own.last().is_none_or(|last| last.behind <= behind);
        if same || full {
            return better.others;
        }
        let first = Other { behind, history: worse.history };
        let shifted = self.list(worse.others).iter().map(|o| Other { behind: o.behind + behind, ..*o });
        let (mut own, mut new) =
            (own.iter().copied().peekable(), std::iter::once(first).chain(shifted).peekable());
        let mut merged: Vec<Other> = Vec::with_capacity(self.limit);
        let mut changed = false;
        while merged.len() < self.limit {
            let next = match (own.peek(), new.peek()) {
                (Some(a), Some(b)) if b.behind < a.behind => (new.next(), true),
                (Some(_), _) => (own.next(), false),
                (None, _) => (new.next(), true),
            };
            let (Some(next), is_new) = next else { break };
            let sequence = history.sequence(next.history);
            let is_known = |other: &Other| history.sequence(other.history) == sequence;
            if sequence != history.sequence(better.history) && !merged.iter().any(is_known) {
                merged.push(next);
                changed |= is_new;
            }
        }
        if !changed {
            return better.others;
        }
        let begin = self.all.len() as u32;
        self.all.extend_from_slice(&merged);
        Others { begin, len: merged.len() as u32 }
    }

    /// The list with each sequence moved on to another last word, or left out.
    pub fn moved(&mut self, others: Others, mut to: impl FnMut(u32) -> Option<u32>) -> Others {
        let begin = self.all.len();
        for at in others.begin..others.begin + others.len {
            let other = self.all[at as usize];
            if let Some(history) = to(other.history) {
                self.all.push(Other { history, ..other });
            }
        }
        Others { begin: begin as u32, len: (self.all.len() - begin) as u32 }
    }

    /// Forgets all lists.
    pub fn clear(&mut self) {
        self.all.clear();
        self.compact_at = 0;
    }

    /// Removes what is in none of the lists, if much is, and renumbers those.
    pub fn compact<'a>(&mut self, lists: impl Iterator<Item = &'a mut Others>) {
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
                Others { begin, len: old.len }
            });
        }
        self.compact_at = 2 * kept.len();
        self.all = kept;
    }

    /// The last words of all sequences.
    pub fn histories(&mut self) -> impl Iterator<Item = &mut u32> {
        self.all.iter_mut().map(|other| &mut other.history)
    }
}
