//! External sorting of n-grams: sorted runs on disk, merged when they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::rc::Rc;
use std::{cell::Cell, vec};

use super::key::Key;
use crate::error::{Error, Result, Stage};

/// An n-gram with two values.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(8))]
pub(super) struct Entry<K> {
    pub key: K,
    pub values: [u32; 2],
}

impl<K: Key> Entry<K> {
    const BYTES: usize = K::BYTES + 8;

    pub fn new(key: K, values: [u32; 2]) -> Self {
        Self { key, values }
    }
}

/// Memory that several sorters share, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Budget(Rc<Cell<usize>>);

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self(Rc::new(Cell::new(bytes)))
    }

    /// Takes `bytes` if they are available.
    fn take(&self, bytes: usize) -> Option<Grant> {
        let left = self.0.get().checked_sub(bytes)?;
        self.0.set(left);
        Some(Grant { budget: self.clone(), bytes })
    }
}

/// Memory taken from a budget, which is returned on drop.
#[derive(Debug)]
pub(super) struct Grant {
    budget: Budget,
    bytes: usize,
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget.0.set(self.budget.0.get() + self.bytes);
    }
}

/// Number of entries that every sorter may hold outside the budget.
const FREE_ENTRIES: usize = 1 << 14;
/// Maximum number of runs merged at once, to limit the number of open files.
const MAX_RUNS: usize = 64;

/// A sorter of entries by key, which can sum the values of equal keys.
pub(super) struct Sorter<K: Copy> {
    buffer: Vec<Entry<K>>,
    capacity: usize,
    budget: Budget,
    grants: Vec<Grant>,
    runs: Vec<Run>,
    sum: bool,
}

impl<K: Key> Sorter<K> {
    /// A sorter within a budget. With `sum`, entries with the same key are merged and their first values
    /// added.
    pub fn new(budget: &Budget, sum: bool) -> Self {
        Self {
            buffer: Vec::new(),
            capacity: FREE_ENTRIES,
            budget: budget.clone(),
            grants: Vec::new(),
            runs: Vec::new(),
            sum,
        }
    }

    pub fn push(&mut self, entry: Entry<K>) -> Result<()> {
        if self.buffer.len() == self.capacity {
            self.make_space()?;
        }
        self.buffer.push(entry);
        Ok(())
    }

    /// Increases the capacity, or sorts and spills the buffer if the budget is used up.
    fn make_space(&mut self) -> Result<()> {
        let more = self.capacity / 2;
        if let Some(grant) = self.budget.take(more * size_of::<Entry<K>>()) {
            self.buffer.reserve_exact(more);
            self.capacity += more;
            self.grants.push(grant);
            return Ok(());
        }
        self.sort();
        if self.buffer.len() > self.capacity / 2 {
            self.spill()?;
        }
        Ok(())
    }

    fn sort(&mut self) {
        self.buffer.sort_unstable_by_key(|entry| entry.key);
        if self.sum {
            self.buffer.dedup_by(|next, kept| {
                let same = { next.key } == { kept.key };
                if same {
                    kept.values[0] = kept.values[0].saturating_add(next.values[0]);
                }
                same
            });
        }
    }

    /// Writes the sorted buffer as a run.
    fn spill(&mut self) -> Result<()> {
        let run = Run::write(self.buffer.iter().map(|entry| Ok(*entry)))?;
        self.buffer.clear();
        self.runs.push(run);
        if self.runs.len() == MAX_RUNS {
            let merged = Merge::<K>::new(std::mem::take(&mut self.runs), self.sum)?;
            self.runs.push(Run::write(merged)?);
        }
        Ok(())
    }

    /// Returns all entries in order.
    ///
    /// # Errors
    /// When a temporary file cannot be written or read.
    pub fn finish(mut self) -> Result<Sorted<K>> {
        self.sort();
        if self.runs.is_empty() {
            if self.sum && self.buffer.len() < self.buffer.capacity() / 2 {
                self.buffer.shrink_to_fit();
                let kept = self.buffer.len() * size_of::<Entry<K>>();
                self.grants.clear();
                self.grants.extend(self.budget.take(kept));
            }
            return Ok(Sorted::Memory(self.buffer.into_iter(), self.grants));
        }
        self.spill()?;
        Ok(Sorted::Disk(Merge::new(self.runs, self.sum)?))
    }
}

/// Sorted entries, from memory or from disk.
pub(super) enum Sorted<K> {
    Memory(vec::IntoIter<Entry<K>>, #[allow(dead_code)] Vec<Grant>),
    Disk(Merge<K>),
}

impl<K: Key> Iterator for Sorted<K> {
    type Item = Result<Entry<K>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Sorted::Memory(entries, _) => entries.next().map(Ok),
            Sorted::Disk(merge) => merge.next(),
        }
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::new(Stage::Text, format!("a temporary file for n-grams: {error}"))
        .caused_by(error)
        .hint("the n-grams do not fit into memory; set TMPDIR to a folder with enough space")
}

/// Sorted entries in a temporary file, which is deleted when it is closed.
#[derive(Debug)]
pub(super) struct Run {
    file: File,
    len: u64,
}

impl Run {
    pub fn write<K: Key>(entries: impl Iterator<Item = Result<Entry<K>>>) -> Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 18, tempfile::tempfile().map_err(failed)?);
        let mut len = 0;
        for entry in entries {
            let entry = entry?;
            let mut bytes = [0; 24];
            entry.key.put(&mut bytes);
            for (place, value) in bytes[K::BYTES..].chunks_exact_mut(4).zip(entry.values) {
                place.copy_from_slice(&value.to_le_bytes());
            }
            file.write_all(&bytes[..Entry::<K>::BYTES]).map_err(failed)?;
            len += 1;
        }
        let mut file = file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.rewind().map_err(failed)?;
        Ok(Self { file, len })
    }
}

/// The entries of a run, in order.
struct RunReader {
    file: BufReader<File>,
    left: u64,
}

impl RunReader {
    fn next<K: Key>(&mut self) -> Result<Option<Entry<K>>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut bytes = [0; 24];
        self.file.read_exact(&mut bytes[..Entry::<K>::BYTES]).map_err(failed)?;
        let value = |at: usize| {
            let at = K::BYTES + at;
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Ok(Some(Entry::new(K::get(&bytes), [value(0), value(4)])))
    }
}

/// Several runs merged while they are read.
pub(super) struct Merge<K> {
    runs: Vec<RunReader>,
    /// The next entry of each run: key, run, values.
    heads: BinaryHeap<Reverse<(K, usize, [u32; 2])>>,
    sum: bool,
}

impl<K: Key> Merge<K> {
    fn new(runs: Vec<Run>, sum: bool) -> Result<Self> {
        let runs = runs
            .into_iter()
            .map(|run| RunReader { file: BufReader::with_capacity(1 << 16, run.file), left: run.len })
            .collect();
        let mut merge = Self { runs, heads: BinaryHeap::new(), sum };
        for run in 0..merge.runs.len() {
            merge.refill(run)?;
        }
        Ok(merge)
    }

    fn refill(&mut self, run: usize) -> Result<()> {
        if let Some(entry) = self.runs[run].next::<K>()? {
            self.heads.push(Reverse((entry.key, run, entry.values)));
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Option<Entry<K>>> {
        let Some(Reverse((key, run, mut values))) = self.heads.pop() else { return Ok(None) };
        self.refill(run)?;
        while self.sum {
            match self.heads.peek() {
                Some(Reverse((next, run, more))) if *next == key => {
                    let run = *run;
                    values[0] = values[0].saturating_add(more[0]);
                    self.heads.pop();
                    self.refill(run)?;
                }
                _ => break,
            }
        }
        Ok(Some(Entry::new(key, values)))
    }
}

impl<K: Key> Iterator for Merge<K> {
    type Item = Result<Entry<K>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pop().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sorts keys with a budget of `bytes`; returns them with summed values, and whether the disk was used.
    fn sorted<K: Key>(keys: &[u32], bytes: usize) -> (Vec<(u32, u32)>, bool) {
        let budget = Budget::new(bytes);
        let mut sorter = Sorter::<K>::new(&budget, true);
        for &key in keys {
            sorter.push(Entry::new(K::of(key), [1, 0])).expect("space on disk");
        }
        let sorted = sorter.finish().expect("space on disk");
        let disk = matches!(sorted, Sorted::Disk(_));
        let all = sorted.map(|e| e.map(|e| (e.key.low(), { e.values }[0]))).collect::<Result<Vec<_>>>();
        assert_eq!(budget.0.get(), bytes, "memory is returned");
        (all.expect("readable runs"), disk)
    }

    #[test]
    fn disk_and_memory_sort_equally() {
        let keys: Vec<u32> = (0..3_000_000_u64).map(|i| (i * 2_654_435_761 % 1_000_003) as u32).collect();
        let (memory, on_disk) = sorted::<u64>(&keys, 1 << 30);
        assert!(!on_disk);
        assert!(memory.windows(2).all(|w| w[0].0 < w[1].0));
        assert_eq!(memory.iter().map(|m| m.1 as usize).sum::<usize>(), keys.len());
        // More than MAX_RUNS runs, so that runs are merged while sorting.
        let (disk, on_disk) = sorted::<u128>(&keys, 0);
        assert!(on_disk);
        assert_eq!(memory, disk);
    }
}
