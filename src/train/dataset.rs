//! The recordings of a recipe, decoded once and kept in memory as 16-bit samples, with their
//! transcripts as tokens.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::loss::ctc::least_steps;
use super::loss::mmi::{Said, Ways};
use super::recipe::{Denominator, Recipe, Recordings};
use crate::audio::{self, f32_to_s16};
use crate::corpus::manifest::{self, Entry, ReadOptions};
use crate::error::{Error, Result, Stage};
use crate::text::TokenTable;
use crate::text::pronunciations::Pronunciations;
use crate::units::SAMPLE_RATE;

/// One recording in memory.
#[derive(Clone, Debug)]
pub struct Clip {
    pub samples: Vec<i16>,
    /// Tokens of the main output; `None` where it does not learn from this.
    pub labels: Option<Vec<u32>>,
    /// Tokens of the auxiliary output.
    pub auxiliary: Option<Vec<u32>>,
    /// How the words can be pronounced, for the criteria that want to know it.
    pub said: Option<Said>,
}

impl Clip {
    /// The samples in -1..1.
    pub fn to_f32(&self) -> Vec<f32> {
        self.samples.iter().map(|&s| f32::from(s) / 32768.0).collect()
    }
}

/// Clips of one manifest that are drawn with one weight.
#[derive(Clone, Debug)]
pub struct Source {
    pub weight: f64,
    pub clips: Vec<usize>,
}

/// Isolated words of one pool: by word, by speaker, the clips.
#[derive(Clone, Debug, Default)]
pub struct WordPool {
    pub weight: f64,
    /// For each written word (its number in the recipe) the clips, by speaker.
    pub words: BTreeMap<u32, Vec<Vec<usize>>>,
    /// Clips of words that are not written.
    pub others: Vec<usize>,
}

/// Everything that examples are drawn from.
#[derive(Debug, Default)]
pub struct Dataset {
    pub clips: Vec<Clip>,
    pub recordings: Vec<Source>,
    pub pools: Vec<WordPool>,
    /// For each speaker the clips of each word, across pools.
    pub speakers: Vec<BTreeMap<u32, Vec<usize>>>,
    pub noises: Vec<Vec<f32>>,
    /// What was left out, a line each: the file and why.
    pub left_out: Vec<String>,
}

/// A clip to be decoded.
struct Wanted {
    entry: Entry,
    labels: Option<Vec<u32>>,
    auxiliary: Option<Vec<u32>>,
    said: Option<Said>,
}

/// Turns transcripts into tokens as the recipe asks.
struct Alphabets<'a> {
    recipe: &'a Recipe,
    main: TokenTable,
    dictionary: Option<&'a Pronunciations>,
    auxiliary: Option<TokenTable>,
    /// How the written words are said.
    lexicon: HashMap<String, Ways>,
}

impl Alphabets<'_> {
    /// Tokens of the main output.
    fn main(&self, entry: &Entry, path: &Path) -> Result<Vec<u32>> {
        let text = entry.text.to_lowercase();
        if let Some(dictionary) = self.dictionary {
            let mut phones = Vec::new();
            for word in text.split_whitespace() {
                phones.extend(dictionary.of(word).first().ok_or_else(|| {
                    Error::new(Stage::Corpus, format!("the dictionary does not have `{word}`"))
                        .in_file(path)
                        .at(format!("line {}", entry.line))
                })?);
            }
            return Ok(phones);
        }
        if !self.recipe.data.ignore_other_words {
            return self.main.encode(&text).map_err(|e| e.in_file(path).at(format!("line {}", entry.line)));
        }
        Ok(text.split_whitespace().filter_map(|w| self.main.encode(w).ok()).flatten().collect())
    }

    /// The number of the written word that the entry consists of.
    fn word(&self, entry: &Entry) -> Option<u32> {
        let text = entry.text.to_lowercase();
        self.recipe.data.words.iter().position(|word| *word == text.trim()).map(|i| i as u32)
    }

    /// How the words of the entry can be pronounced, as the recipe's criterion has it.
    fn said(&self, entry: &Entry) -> Option<Said> {
        let dictionary = self.dictionary?;
        let text = entry.text.to_lowercase();
        match self.recipe.loss.mmi.as_ref()?.denominator {
            Denominator::Words => self.written(&text, dictionary),
            Denominator::Phones => {
                Some(text.split_whitespace().map(|word| Some(dictionary.of(word).to_vec())).collect())
            }
        }
    }

    /// The written words of a text, and one `None` where there are none. Nothing where both stand
    /// together, or where another word sounds like a written one ("to").
    fn written(&self, text: &str, dictionary: &Pronunciations) -> Option<Said> {
        let said: Said = text.split_whitespace().map(|word| self.lexicon.get(word).cloned()).collect();
        if said.iter().all(Option::is_some) {
            return Some(said);
        }
        let known = |phones| self.lexicon.values().any(|ways| ways.contains(phones));
        let alike = |word| dictionary.of(word).first().is_some_and(known);
        (said.iter().all(Option::is_none) && !text.split_whitespace().any(alike)).then(|| vec![None])
    }

    /// Whether any of the written words is in the entry.
    fn has_word(&self, entry: &Entry) -> bool {
        let text = entry.text.to_lowercase();
        text.split_whitespace().any(|word| self.recipe.data.words.iter().any(|w| w == word))
    }

    /// Tokens of the auxiliary output: those of the main one, or characters, without the symbols that it
    /// does not know.
    fn auxiliary(&self, entry: &Entry, main: Option<&Vec<u32>>) -> Option<Vec<u32>> {
        let table = self.auxiliary.as_ref()?;
        if self.recipe.auxiliary.as_ref().is_some_and(|a| a.characters.is_empty()) {
            return main.cloned();
        }
        let known = |c: &char| c.is_whitespace() || table.encode(&c.to_string()).is_ok();
        let text: String = entry.text.to_lowercase().chars().filter(known).collect();
        table.encode(&text).ok()
    }
}

impl Dataset {
    /// Reads every manifest of the recipe below `data` and decodes the audio on `threads` threads;
    /// `progress` hears how many clips of how many are done.
    ///
    /// # Errors
    /// Bad manifests, with file and line; audio that cannot be read. Transcripts that cannot fit
    /// into their audio are left out and named in [`Dataset::left_out`].
    pub fn load(
        recipe: &Recipe,
        data: &Path,
        dictionary: Option<&Pronunciations>,
        threads: usize,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Self> {
        let (main, auxiliary) = (recipe.tokens()?, recipe.auxiliary_tokens()?);
        let mut lexicon: HashMap<String, Ways> = HashMap::new();
        for entry in recipe.lexicon(dictionary)? {
            let id = |name: &String| main.tokens().iter().position(|token| token == name);
            let ids: Option<Vec<u32>> = entry.tokens.iter().map(|name| Some(id(name)? as u32)).collect();
            lexicon.entry(entry.word).or_default().extend(ids);
        }
        let alphabets = Alphabets { recipe, main, dictionary, auxiliary, lexicon };
        let mut dataset = Self::default();
        let mut wanted = Vec::new();
        let mut speakers: HashMap<String, BTreeMap<u32, Vec<usize>>> = HashMap::new();
        for recordings in &recipe.data.recordings {
            let first = wanted.len();
            dataset.want_recordings(recordings, data, &alphabets, &mut wanted)?;
            dataset
                .recordings
                .push(Source { weight: recordings.weight, clips: (first..wanted.len()).collect() });
        }
        for pool in recipe.data.strings.iter().flat_map(|s| &s.pools) {
            let path = Recipe::manifest(data, &pool.manifest);
            let words = want_words(&path, pool.weight, &alphabets, &mut wanted, &mut speakers)?;
            dataset.pools.push(words);
        }
        let mut names: Vec<_> = speakers.into_iter().collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        dataset.speakers = names.into_iter().map(|(_, words)| words).collect();
        let mut noises = Vec::new();
        for name in &recipe.data.noise {
            let path = Recipe::manifest(data, name);
            let options = ReadOptions { allow_empty_text: true, ..ReadOptions::default() };
            noises.extend(manifest::read_with(&path, options)?);
        }
        let count = wanted.len() + noises.len();
        let all: Vec<&Entry> = wanted.iter().map(|w| &w.entry).chain(&noises).collect();
        let mut samples = decode_all(&all, threads, &|done| progress(done, count))?;
        let noise_samples = samples.split_off(wanted.len());
        dataset.noises =
            noise_samples.iter().map(|s| s.iter().map(|&x| f32::from(x) / 32768.0).collect()).collect();
        dataset.leave_out_short(recipe, &wanted, &samples);
        dataset.clips = wanted
            .into_iter()
            .zip(samples)
            .map(|(w, samples)| Clip { samples, labels: w.labels, auxiliary: w.auxiliary, said: w.said })
            .collect();
        Ok(dataset)
    }

    /// Leaves out the recordings whose audio turned out too short for their transcripts; a manifest
    /// need not say how long it is, or may be wrong.
    fn leave_out_short(&mut self, recipe: &Recipe, wanted: &[Wanted], samples: &[Vec<i16>]) {
        let Self { recordings, left_out, .. } = self;
        for (source, table) in recordings.iter_mut().zip(&recipe.data.recordings) {
            source.clips.retain(|&clip| {
                let Wanted { entry, labels, auxiliary, .. } = &wanted[clip];
                let seconds = samples[clip].len() as f64 / f64::from(SAMPLE_RATE);
                let (steps, needed) = (whole_steps(seconds, recipe), needed_steps(labels, auxiliary));
                if steps < needed {
                    left_out.push(too_short(&table.manifest, entry.line, needed, steps));
                }
                steps >= needed
            });
        }
    }

    fn want_recordings(
        &mut self,
        recordings: &Recordings,
        data: &Path,
        alphabets: &Alphabets<'_>,
        wanted: &mut Vec<Wanted>,
    ) -> Result<()> {
        let path = Recipe::manifest(data, &recordings.manifest);
        let options = ReadOptions {
            allow_empty_text: alphabets.recipe.data.ignore_other_words,
            ..ReadOptions::default()
        };
        for entry in manifest::read_with(&path, options)? {
            let name = entry.audio.to_string_lossy().into_owned();
            if recordings.exclude.iter().any(|part| name.contains(part))
                || entry.duration.is_some_and(|d| d > recordings.max_duration)
            {
                continue;
            }
            if recordings.only_with_words && !alphabets.has_word(&entry) {
                continue;
            }
            let labels = match recordings.main.then(|| alphabets.main(&entry, &path)).transpose() {
                // No dictionary has every name.
                Err(error) if dictionary_lacks(alphabets, &entry) => {
                    self.left_out.push(error.to_string());
                    continue;
                }
                labels => labels?,
            };
            let auxiliary =
                if recordings.auxiliary { alphabets.auxiliary(&entry, labels.as_ref()) } else { None };
            let steps = entry.duration.map(|seconds| whole_steps(seconds, alphabets.recipe));
            let needed = needed_steps(&labels, &auxiliary);
            if let Some(steps) = steps.filter(|&steps| steps < needed) {
                self.left_out.push(too_short(&recordings.manifest, entry.line, needed, steps));
                continue;
            }
            let said = labels.as_ref().and_then(|_| alphabets.said(&entry));
            wanted.push(Wanted { entry, labels, auxiliary, said });
        }
        Ok(())
    }
}

/// Whether the entry has a word that the dictionary does not have.
fn dictionary_lacks(alphabets: &Alphabets<'_>, entry: &Entry) -> bool {
    let text = entry.text.to_lowercase();
    alphabets.dictionary.is_some_and(|d| text.split_whitespace().any(|word| d.of(word).is_empty()))
}

/// Steps of the network in so many seconds of audio.
fn whole_steps(seconds: f64, recipe: &Recipe) -> usize {
    (seconds * 100.0) as usize / recipe.network.subsampling
}

/// The fewest steps that both transcripts fit into.
fn needed_steps(labels: &Option<Vec<u32>>, auxiliary: &Option<Vec<u32>>) -> usize {
    least_steps(labels.as_deref().unwrap_or_default())
        .max(least_steps(auxiliary.as_deref().unwrap_or_default()))
}

fn too_short(manifest: &str, line: usize, needed: usize, steps: usize) -> String {
    format!("{manifest}: line {line}: the transcript needs {needed} steps, the audio has {steps}")
}

/// Sorts a manifest of isolated words.
fn want_words(
    path: &Path,
    weight: f64,
    alphabets: &Alphabets<'_>,
    wanted: &mut Vec<Wanted>,
    speakers: &mut HashMap<String, BTreeMap<u32, Vec<usize>>>,
) -> Result<WordPool> {
    let mut by_word: BTreeMap<u32, BTreeMap<String, Vec<usize>>> = BTreeMap::new();
    let mut others = Vec::new();
    for entry in manifest::read(path)? {
        let labels = alphabets.main(&entry, path)?;
        let index = wanted.len();
        match alphabets.word(&entry) {
            Some(word) => {
                let speaker = entry.speaker.clone().unwrap_or_default();
                by_word.entry(word).or_default().entry(speaker.clone()).or_default().push(index);
                speakers.entry(speaker).or_default().entry(word).or_default().push(index);
            }
            None if entry.text.split_whitespace().count() == 1 => others.push(index),
            // A string is not an isolated word.
            None => continue,
        }
        let (auxiliary, said) = (alphabets.auxiliary(&entry, Some(&labels)), alphabets.said(&entry));
        wanted.push(Wanted { entry, labels: Some(labels), auxiliary, said });
    }
    let words = by_word.into_iter().map(|(word, by)| (word, by.into_values().collect())).collect();
    Ok(WordPool { weight, words, others })
}

/// Decodes in parallel, in order.
fn decode_all(
    entries: &[&Entry],
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Vec<i16>>> {
    let next = AtomicUsize::new(0);
    let slots: Vec<Mutex<Option<Result<Vec<i16>>>>> = entries.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(entry) = entries.get(i) else { return };
                    let decoded = decode(entry);
                    if let Ok(mut slot) = slots[i].lock() {
                        *slot = Some(decoded);
                    }
                    progress(i + 1);
                }
            });
        }
    });
    slots
        .into_iter()
        .map(|slot| {
            let value = slot.into_inner().ok().flatten();
            value.unwrap_or_else(|| Err(Error::new(Stage::Train, "a decoding thread stopped")))
        })
        .collect()
}

fn decode(entry: &Entry) -> Result<Vec<i16>> {
    // Without an offset the whole file is the utterance; `duration` is then only information.
    let duration = entry.offset.and(entry.duration);
    let samples = audio::read_span(&entry.audio, SAMPLE_RATE, entry.offset, duration)?;
    Ok(samples.into_iter().map(f32_to_s16).collect())
}
