//! Reading of recordings from disk in several threads. Each segment of a file is read once, even if several
//! manifest entries name it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::threads::in_threads;
use crate::audio;
use crate::corpus::Entry;
use crate::error::Result;

/// The options of reading.
pub(super) struct Reader<'a> {
    /// Sample rate to convert to, Hz.
    pub sample_rate: u32,
    pub threads: usize,
    /// Called after each recording, from any thread.
    pub progress: &'a (dyn Fn() + Sync),
    /// Set by another thread to stop reading.
    pub stop: &'a AtomicBool,
}

/// The distinct segments of audio that manifest entries name.
pub(super) struct Segments<'a> {
    distinct: Vec<&'a Entry>,
    /// For each entry the index of its segment.
    pub of: Vec<usize>,
}

impl<'a> Segments<'a> {
    /// Groups entries that name the same segment of the same file.
    pub fn new(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut segments = Self { distinct: Vec::new(), of: Vec::new() };
        let mut known: HashMap<(&Path, Option<u64>, Option<u64>), usize> = HashMap::new();
        for entry in entries {
            let seconds = |value: Option<f64>| value.map(f64::to_bits);
            let key = (entry.audio.as_path(), seconds(entry.offset), seconds(entry.duration));
            let number = *known.entry(key).or_insert(segments.distinct.len());
            if number == segments.distinct.len() {
                segments.distinct.push(entry);
            }
            segments.of.push(number);
        }
        segments
    }

    /// The number of distinct segments.
    pub fn len(&self) -> usize {
        self.distinct.len()
    }

    /// Reads all segments and converts the samples of each with a converter (one for each thread). A
    /// segment that cannot be used results in the reason. Returns `None` if reading was stopped.
    ///
    /// # Errors
    /// When a thread panics.
    pub fn read<T: Send, C: FnMut(Vec<f32>) -> T>(
        &self,
        reader: &Reader<'_>,
        converter: impl Fn() -> C + Sync,
    ) -> Result<Option<Vec<Read<T>>>> {
        let next = AtomicUsize::new(0);
        let shares = in_threads(0..reader.threads.max(1), |_| {
            let (mut convert, mut share) = (converter(), Vec::new());
            while !reader.stop.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(entry) = self.distinct.get(number) else { break };
                share.push((number, read(entry, reader.sample_rate).map(&mut convert)));
                (reader.progress)();
            }
            share
        })?;
        let mut all: Vec<Option<Read<T>>> = self.distinct.iter().map(|_| None).collect();
        shares.into_iter().flatten().for_each(|(number, read)| all[number] = Some(read));
        Ok(all.into_iter().collect())
    }
}

/// A recording, or the reason why it is left out.
pub(super) type Read<T> = std::result::Result<T, String>;

/// Reads the samples of an entry, from its offset for its duration. A damaged recording is refused, because
/// its transcript contains more than the remaining audio.
fn read(entry: &Entry, sample_rate: u32) -> Read<Vec<f32>> {
    let clip = audio::read_clip(&entry.audio, sample_rate, entry.offset, entry.duration)
        .map_err(|error| error.in_file(&entry.audio).to_string())?;
    let name = entry.audio.display();
    if !clip.problems.is_empty() {
        return Err(format!("{name}: damaged: {}", clip.problems.messages().join("; ")));
    }
    if clip.samples.is_empty() {
        return Err(format!("{name}: empty: it contains no audio"));
    }
    Ok(clip.samples)
}
