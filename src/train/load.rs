//! Reading of the manifests of a recipe and all their audio. All problems are collected and reported
//! together before the first update.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::dataset::{Clip, Dataset, EncodeError, Source, TranscriptEncoder, WordPool};
use super::example::FeatureExtractor;
use super::loss::ctc::min_steps;
use super::loss::mmi::Transcript;
use super::reading::{Read, Reader, Segments};
use super::recipe::{Recipe, Recordings};
use super::score::{DevSet, DevUtterance};
use crate::audio::f32_to_s16;
use crate::corpus::manifest::{self, Entry, ReadOptions, TextRule};
use crate::error::{Error, Result, Stage};
use crate::text::pronunciation::Pronunciations;

/// Maximum number of unknown words named in an error; the rest are counted.
const MAX_NAMED: usize = 12;

/// The data of a run.
pub(super) struct Loaded {
    pub dataset: Dataset,
    pub dev: Vec<DevSet>,
    /// Number of distinct recordings for training.
    pub recordings: usize,
    /// Their total duration, seconds.
    pub seconds: f64,
    pub findings: Findings,
    /// Set if more recordings are unreadable than the recipe allows.
    pub too_many: Option<Error>,
}

/// Messages about the data, reported before the first update.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Recordings that are left out, one message each: manifest, line, and reason.
    pub left_out: Vec<String>,
    /// Other facts that the author of the recipe may not have intended.
    pub notes: Vec<String>,
    /// The messages of `left_out`, to avoid repetitions.
    seen: HashSet<String>,
}

impl Findings {
    fn leave_out(&mut self, manifest: &str, line: usize, problem: impl std::fmt::Display) {
        let text = format!("{manifest}: line {line}: {problem}");
        // The same manifest line may be used twice, as a recording and as a word of strings.
        if self.seen.insert(text.clone()) {
            self.left_out.push(text);
        }
    }
}

/// The options of reading a run's data.
pub(super) struct Loading<'a> {
    pub recipe: &'a Recipe,
    /// The folder that manifests are relative to.
    pub data: &'a Path,
    pub dictionary: Option<&'a Pronunciations>,
    pub threads: usize,
    /// Called with the number of recordings read and of all recordings, from any thread.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
    /// Set by another thread to stop reading.
    pub stop: &'a AtomicBool,
}

/// A manifest entry to be read for training, and its purpose.
struct TrainingEntry<'a> {
    manifest: &'a str,
    entry: Entry,
    labels: Option<Vec<u32>>,
    auxiliary: Option<Vec<u32>>,
    transcript: Option<Transcript>,
    purpose: Purpose,
}

enum Purpose {
    /// A recording of the source with this index.
    Recording(usize),
    /// A word of the pool with this index, and the word's index in the recipe.
    Word(usize, u32),
    /// A word of the pool with this index that is not output.
    OtherWord(usize),
}

/// A manifest entry of noise or of a dev set.
struct OtherEntry<'a> {
    manifest: &'a str,
    entry: Entry,
}

impl<'a> Loading<'a> {
    /// Reads every manifest of the recipe, then all audio. Returns `None` if it was stopped.
    ///
    /// # Errors
    /// When a manifest is invalid (names file and line), or transcripts contain words or characters that
    /// the recipe does not have. Recordings that cannot be used are left out and named in
    /// [`Loaded::findings`].
    pub fn run(&self) -> Result<Option<Loaded>> {
        let encoder = TranscriptEncoder::new(self.recipe, self.dictionary)?;
        let mut findings = Findings::default();
        let wanted = self.training_entries(&encoder, &mut findings)?;
        let data = &self.recipe.data;
        let noises = data
            .noise
            .iter()
            .map(|name| self.other_entries(name, TextRule::Optional, 0))
            .collect::<Result<Vec<_>>>()?;
        let noises: Vec<OtherEntry<'_>> = noises.into_iter().flatten().collect();
        let dev = data.dev.iter().map(|set| self.other_entries(&set.manifest, TextRule::Present, set.most));
        let dev = dev.collect::<Result<Vec<_>>>()?;

        let training = wanted.iter().map(|w| &w.entry).chain(noises.iter().map(|n| &n.entry));
        let (training, scored) =
            (Segments::new(training), Segments::new(dev.iter().flatten().map(|d| &d.entry)));
        let (count, done) = (training.len() + scored.len(), AtomicUsize::new(0));
        let reader = Reader {
            sample_rate: self.recipe.features.sample_rate,
            threads: self.threads,
            progress: &|| (self.progress)(done.fetch_add(1, Ordering::Relaxed) + 1, count),
            stop: self.stop,
        };
        let to_s16 = || |samples: Vec<f32>| samples.into_iter().map(f32_to_s16).collect::<Arc<[i16]>>();
        let Some(samples) = training.read(&reader, to_s16)? else { return Ok(None) };
        FeatureExtractor::new(self.recipe)?;
        let to_features = || {
            let mut extractor = FeatureExtractor::new(self.recipe).ok();
            move |mut samples: Vec<f32>| {
                let length = samples.len();
                let features = extractor.as_mut().map(|e| e.compute(&mut samples)).unwrap_or_default();
                (Arc::from(features), length)
            }
        };
        let Some(features) = scored.read(&reader, to_features)? else { return Ok(None) };
        let broken =
            samples.iter().filter(|s| s.is_err()).count() + features.iter().filter(|f| f.is_err()).count();
        let too_many = self.too_many(broken, count);

        // Keep only the indices; the entries are moved below.
        let (training, scored) = (training.of, scored.of);
        let mut builder = DatasetBuilder::new(self.recipe, &mut findings);
        builder.add_clips(wanted, &training, &samples);
        builder.add_noises(&noises, &training, &samples);
        let (dataset, recordings, seconds) = builder.finish();
        let dev = self.dev_sets(&dev, &scored, &features, &encoder, &mut findings)?;
        if too_many.is_none() {
            note_words(self.recipe, &dataset, &mut findings)?;
        }
        Ok(Some(Loaded { dataset, dev, recordings, seconds, findings, too_many }))
    }

    /// A single broken recording is tolerated whatever its share.
    fn too_many(&self, broken: usize, count: usize) -> Option<Error> {
        let allowed = self.recipe.data.max_unreadable;
        (broken > 1 && broken as f64 > allowed * count as f64).then(|| {
            let problem = format!(
                "{broken} of {count} recordings cannot be used, more than the allowed fraction of {allowed}"
            );
            Error::new(Stage::Corpus, problem)
                .at("data: max_unreadable")
                .hint("each is named above; repair or remove them, or allow more")
        })
    }

    /// The manifest entries that examples are made from, with their tokens.
    fn training_entries(
        &self,
        encoder: &TranscriptEncoder<'_>,
        findings: &mut Findings,
    ) -> Result<Vec<TrainingEntry<'a>>> {
        let data = &self.recipe.data;
        let mut selection =
            Selection { loading: self, encoder, findings, wanted: Vec::new(), unknown: Vec::new() };
        for (source, recordings) in data.recordings.iter().enumerate() {
            selection.select_recordings(source, recordings)?;
        }
        for (number, pool) in data.strings.iter().flat_map(|s| &s.pools).enumerate() {
            selection.select_words(number, &pool.manifest)?;
        }
        match unknown_words(&selection.unknown) {
            Some((place, error)) => Err(error.in_file(Recipe::manifest(self.data, place))),
            None => Ok(selection.wanted),
        }
    }

    fn entries(&self, manifest: &str, text: TextRule) -> Result<Vec<Entry>> {
        let options = ReadOptions { text, ..ReadOptions::default() };
        manifest::read_with(Recipe::manifest(self.data, manifest), options)
    }

    /// The entries of a manifest of noise or of a dev set, evenly thinned to at most `max` (0: all).
    fn other_entries(&self, manifest: &'a str, text: TextRule, max: usize) -> Result<Vec<OtherEntry<'a>>> {
        let entries = self.entries(manifest, text)?;
        let every = if max == 0 { 1 } else { entries.len().div_ceil(max).max(1) };
        Ok(entries.into_iter().step_by(every).map(|entry| OtherEntry { manifest, entry }).collect())
    }

    fn dev_sets(
        &self,
        dev: &[Vec<OtherEntry<'_>>],
        segment: &[usize],
        features: &[Read<Features>],
        encoder: &TranscriptEncoder<'_>,
        findings: &mut Findings,
    ) -> Result<Vec<DevSet>> {
        let mut segment = segment.iter();
        let mut sets = Vec::new();
        for (table, entries) in self.recipe.data.dev.iter().zip(dev) {
            let mut set = DevSet::new(table)?;
            let mut unknown = 0;
            for (other, &segment) in entries.iter().zip(segment.by_ref()) {
                match &features[segment] {
                    Ok((features, samples)) => {
                        let (text, more) = encoder.reference(&other.entry);
                        unknown += more;
                        let seconds = *samples as f64 / f64::from(self.recipe.features.sample_rate);
                        let Entry { audio, offset, duration, .. } = &other.entry;
                        let (features, audio) = (features.clone(), audio.clone());
                        let (offset, duration) = (*offset, *duration);
                        set.push(DevUtterance { features, text, audio, offset, duration }, seconds);
                    }
                    Err(problem) => findings.leave_out(other.manifest, other.entry.line, problem),
                }
            }
            let manifest = &table.manifest;
            if unknown > 0 {
                findings.notes.push(format!(
                    "{manifest}: {unknown} words are not among `words` and count as errors; `ignore_other_words = true` ignores them"
                ));
            }
            if set.has_no_score() {
                findings.notes.push(format!(
                    "{manifest}: it contains no words that the model can output, so it does not count in the score"
                ));
            }
            sets.push(set);
        }
        Ok(sets)
    }
}

/// The selection of manifest entries.
struct Selection<'l, 'a> {
    loading: &'l Loading<'a>,
    encoder: &'l TranscriptEncoder<'l>,
    findings: &'l mut Findings,
    wanted: Vec<TrainingEntry<'a>>,
    unknown: Vec<Unknown<'a>>,
}

/// A word or character of a transcript that the recipe does not have.
struct Unknown<'a> {
    text: String,
    field: &'static str,
    manifest: &'a str,
    line: usize,
}

impl<'a> Selection<'_, 'a> {
    fn select_recordings(&mut self, source: usize, recordings: &'a Recordings) -> Result<()> {
        let (manifest, recipe) = (recordings.manifest.as_str(), self.loading.recipe);
        let (mut filtered, mut stray) = (0, Tally::default());
        let entries = self.loading.entries(manifest, TextRule::Present)?;
        let count = entries.len();
        for entry in entries {
            let name = entry.audio.to_string_lossy();
            if recordings.exclude.iter().any(|part| name.contains(part))
                || entry.duration.is_some_and(|d| d > recordings.max_duration)
                || recordings.only_with_words && !self.encoder.has_word(&entry)
            {
                filtered += 1;
                continue;
            }
            let labels = match recordings.main {
                true => match self.labels(manifest, &entry) {
                    Some(labels) => Some(labels),
                    None => continue,
                },
                false => None,
            };
            stray.count(self.encoder.has_punctuation(&entry), entry.line);
            let auxiliary =
                if recordings.auxiliary { self.encoder.auxiliary(&entry, labels.as_ref()) } else { None };
            // Without a duration in the manifest this is checked after the audio is read.
            let steps = entry.duration.map(|seconds| whole_steps(seconds, recipe));
            let needed = needed_steps(&labels, &auxiliary);
            if let Some(steps) = steps.filter(|&steps| steps < needed) {
                self.findings.leave_out(manifest, entry.line, too_short(needed, steps));
                continue;
            }
            let transcript = labels.as_ref().and_then(|_| self.encoder.transcript(&entry));
            let purpose = Purpose::Recording(source);
            self.wanted.push(TrainingEntry { manifest, entry, labels, auxiliary, transcript, purpose });
        }
        if filtered > 0 {
            self.findings.notes.push(format!(
                "{manifest}: {filtered} of {count} recordings are left out as the recipe specifies (`exclude`, `max_duration`, `only_with_words`)"
            ));
        }
        stray.note(manifest, "punctuation that is not output and was removed", self.findings);
        Ok(())
    }

    /// Selects the entries of a manifest of isolated words.
    fn select_words(&mut self, pool: usize, manifest: &'a str) -> Result<()> {
        let (mut strings, mut stray) = (Tally::default(), Tally::default());
        for entry in self.loading.entries(manifest, TextRule::Present)? {
            let purpose = match self.encoder.word(&entry) {
                Some(word) => Purpose::Word(pool, word),
                None if entry.text.split_whitespace().count() == 1 => Purpose::OtherWord(pool),
                None => {
                    strings.count(true, entry.line);
                    continue;
                }
            };
            let Some(labels) = self.labels(manifest, &entry) else { continue };
            stray.count(self.encoder.has_punctuation(&entry), entry.line);
            let (auxiliary, transcript) =
                (self.encoder.auxiliary(&entry, Some(&labels)), self.encoder.transcript(&entry));
            self.wanted.push(TrainingEntry {
                manifest,
                entry,
                labels: Some(labels),
                auxiliary,
                transcript,
                purpose,
            });
        }
        strings.note(manifest, "no or several words and are not used for strings", self.findings);
        stray.note(manifest, "punctuation that is not output and was removed", self.findings);
        Ok(())
    }

    /// The tokens for the main output; `None`, with the reason recorded, if the entry cannot be encoded.
    fn labels(&mut self, manifest: &'a str, entry: &Entry) -> Option<Vec<u32>> {
        match self.encoder.main(entry) {
            Ok(labels) => return Some(labels),
            // No dictionary contains every name.
            Err(EncodeError::NoPronunciation(word)) => {
                let problem = format!("the dictionary does not contain `{word}`");
                self.findings.leave_out(manifest, entry.line, problem);
            }
            Err(EncodeError::Unknown(text, field)) => {
                self.unknown.push(Unknown { text, field, manifest, line: entry.line });
            }
        }
        None
    }
}

/// A count of manifest lines with some property, and the first of them.
#[derive(Default)]
struct Tally {
    count: usize,
    first: usize,
}

impl Tally {
    fn count(&mut self, has: bool, line: usize) {
        if has && self.count == 0 {
            self.first = line;
        }
        self.count += usize::from(has);
    }

    fn note(&self, manifest: &str, what: &str, findings: &mut Findings) {
        let Self { count, first } = self;
        if *count > 0 {
            findings.notes.push(format!("{manifest}: {count} lines have {what} (line {first} first)"));
        }
    }
}

/// An error that names every unknown word or character once, and the place of the first.
fn unknown_words<'a>(unknown: &[Unknown<'a>]) -> Option<(&'a str, Error)> {
    let first = unknown.first()?;
    let Unknown { text, field, manifest, line } = first;
    let mut problem = format!("`{text}` is not among `{field}`");
    let others: BTreeSet<&str> =
        unknown.iter().map(|u| u.text.as_str()).filter(|other| other != text).collect();
    if !others.is_empty() {
        let names: Vec<String> = others.iter().take(MAX_NAMED).map(|name| format!("`{name}`")).collect();
        problem += &format!(", nor {} {}", if others.len() == 1 { "is" } else { "are" }, names.join(", "));
        if others.len() > names.len() {
            problem += &format!(" and {} more", others.len() - names.len());
        }
    }
    if unknown.len() > 1 {
        problem += &format!(" ({} lines in all)", unknown.len());
    }
    let hint = match *field {
        "words" => "add it, or set `ignore_other_words = true` for recordings of other words",
        _ => "add it, or remove it from the transcripts",
    };
    Some((manifest, Error::new(Stage::Corpus, problem).at(format!("line {line}")).hint(hint)))
}

/// Builds the data set from the recordings that could be read.
struct DatasetBuilder<'l> {
    recipe: &'l Recipe,
    findings: &'l mut Findings,
    dataset: Dataset,
    /// The clips of each pool's words by speaker.
    words: Vec<BTreeMap<u32, BTreeMap<String, Vec<usize>>>>,
    speakers: BTreeMap<String, BTreeMap<u32, Vec<usize>>>,
    /// The segments used for training, with their number of samples.
    used: HashMap<usize, usize>,
}

impl<'l> DatasetBuilder<'l> {
    fn new(recipe: &'l Recipe, findings: &'l mut Findings) -> Self {
        let pools: Vec<_> = recipe.data.strings.iter().flat_map(|s| &s.pools).collect();
        let dataset = Dataset {
            sample_rate: recipe.features.sample_rate,
            recordings: recipe
                .data
                .recordings
                .iter()
                .map(|r| Source { weight: r.weight, clips: Vec::new() })
                .collect(),
            pools: pools.iter().map(|p| WordPool { weight: p.weight, ..WordPool::default() }).collect(),
            ..Dataset::default()
        };
        let words = vec![BTreeMap::new(); pools.len()];
        Self { recipe, findings, dataset, words, speakers: BTreeMap::new(), used: HashMap::new() }
    }

    fn add_clips(&mut self, wanted: Vec<TrainingEntry<'_>>, segment: &[usize], samples: &[Read<Arc<[i16]>>]) {
        for (wanted, &segment) in wanted.into_iter().zip(segment) {
            let samples = match &samples[segment] {
                Ok(samples) => samples.clone(),
                Err(problem) => {
                    self.findings.leave_out(wanted.manifest, wanted.entry.line, problem);
                    continue;
                }
            };
            let clip = self.dataset.clips.len();
            if self.place(&wanted, clip, samples.len()) {
                self.used.insert(segment, samples.len());
            }
            let TrainingEntry { manifest, entry, labels, auxiliary, transcript, .. } = wanted;
            let file = entry.audio.file_name().unwrap_or_default().to_string_lossy();
            let place = format!("{manifest}: line {} ({file})", entry.line);
            self.dataset.clips.push(Clip { samples, labels, auxiliary, transcript, place });
        }
    }

    /// Adds a clip to its source or pool, unless it cannot be learned.
    fn place(&mut self, wanted: &TrainingEntry<'_>, clip: usize, samples: usize) -> bool {
        let TrainingEntry { manifest, entry, labels, auxiliary, .. } = wanted;
        match wanted.purpose {
            Purpose::Recording(source) => {
                let seconds = samples as f64 / f64::from(self.dataset.sample_rate);
                // The duration in a manifest may be missing or wrong.
                let (steps, needed) = (whole_steps(seconds, self.recipe), needed_steps(labels, auxiliary));
                let max = self.recipe.data.recordings[source].max_duration;
                if steps < needed {
                    self.findings.leave_out(manifest, entry.line, too_short(needed, steps));
                    return false;
                }
                if entry.duration.is_none() && seconds > max {
                    let problem = format!("it lasts {seconds:.1} s, longer than `max_duration = {max}`");
                    self.findings.leave_out(manifest, entry.line, problem);
                    return false;
                }
                self.dataset.recordings[source].clips.push(clip);
            }
            Purpose::Word(pool, word) => {
                let speaker = entry.speaker.clone().unwrap_or_default();
                let of_word = self.words[pool].entry(word).or_default();
                of_word.entry(speaker.clone()).or_default().push(clip);
                self.speakers.entry(speaker).or_default().entry(word).or_default().push(clip);
            }
            Purpose::OtherWord(pool) => self.dataset.pools[pool].others.push(clip),
        }
        true
    }

    fn add_noises(&mut self, noises: &[OtherEntry<'_>], segment: &[usize], samples: &[Read<Arc<[i16]>>]) {
        let mut all = Vec::new();
        let segment = &segment[segment.len() - noises.len()..];
        for (noise, &segment) in noises.iter().zip(segment) {
            match &samples[segment] {
                Ok(samples) => all.push(samples.iter().map(|&x| f32::from(x) / 32768.0).collect()),
                Err(problem) => self.findings.leave_out(noise.manifest, noise.entry.line, problem),
            }
        }
        self.dataset.noises = Arc::new(all);
    }

    /// Returns the data set, the number of distinct recordings in it, and their total seconds.
    fn finish(self) -> (Dataset, usize, f64) {
        let Self { mut dataset, words, speakers, used, .. } = self;
        for (pool, words) in dataset.pools.iter_mut().zip(words) {
            pool.words = words.into_iter().map(|(word, by)| (word, by.into_values().collect())).collect();
        }
        dataset.speakers = speakers.into_values().collect();
        let seconds = used.values().sum::<usize>() as f64 / f64::from(dataset.sample_rate);
        (dataset, used.len(), seconds)
    }
}

/// Notes the output words that no recording contains. A network that outputs phones can recognize them
/// without recordings.
fn note_words(recipe: &Recipe, dataset: &Dataset, findings: &mut Findings) -> Result<()> {
    let sources = dataset.recordings.iter().flat_map(|source| &source.clips);
    let pools = dataset.pools.iter().flat_map(|pool| pool.words.values().flatten().flatten());
    let labels = sources.chain(pools).filter_map(|&clip| dataset.clips[clip].labels.as_deref());
    let found: HashSet<u32> = labels.flatten().copied().collect();
    if found.is_empty() {
        return Err(Error::new(Stage::Corpus, "no recording contains anything that the model can output")
            .at("data")
            .hint("compare the transcripts with the recipe's `words` or `characters`"));
    }
    if recipe.data.pronunciations.is_empty() {
        // The blank comes first.
        let missing = recipe.data.words.iter().zip(1..).filter(|(_, id)| !found.contains(id));
        let missing: Vec<String> = missing.map(|(word, _)| format!("`{word}`")).collect();
        if !missing.is_empty() {
            findings
                .notes
                .push(format!("no recording contains {}: the model cannot learn it", missing.join(", ")));
        }
    }
    Ok(())
}

/// The features of a recording, and its length in samples.
type Features = (Arc<[f32]>, usize);

/// The number of whole steps of the network in `seconds` of audio.
fn whole_steps(seconds: f64, recipe: &Recipe) -> usize {
    let frames_a_second = 1000.0 / f64::from(recipe.features.frame_shift_ms);
    (seconds * frames_a_second) as usize / recipe.network.subsampling
}

/// The minimum number of steps for both transcripts.
fn needed_steps(labels: &Option<Vec<u32>>, auxiliary: &Option<Vec<u32>>) -> usize {
    min_steps(labels.as_deref().unwrap_or_default()).max(min_steps(auxiliary.as_deref().unwrap_or_default()))
}

fn too_short(needed: usize, steps: usize) -> String {
    format!("the transcript needs {needed} steps, the audio has {steps}")
}
