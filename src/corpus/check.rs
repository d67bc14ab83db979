//! Checks of recordings and their transcripts before anything is trained on them or measured with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::Entry;
use crate::audio::{self, f32_to_s16};
use crate::text::normalize;
use crate::units::SAMPLE_RATE;

/// A peak below this is silence, -60 dB of full scale.
const SILENT_PEAK: f32 = 1e-3;
/// A recording whose loudest 100 ms are below this RMS is quiet, -45 dB of full scale.
const QUIET_RMS: f32 = 5.6e-3;
/// Samples at or above this are at full scale.
const FULL_SCALE: f32 = 0.999;
/// This many samples in a row at full scale are a cut-off peak; a single one is not.
const CLIPPED_RUN: usize = 3;
/// The share of clipped samples from which a recording is reported.
const CLIPPED_SHARE: f64 = 1e-3;
/// Letters a second that nobody speaks.
const MAX_LETTERS_PER_SECOND: f64 = 30.0;
/// Differences from the manifest's duration that are reported, seconds.
const DURATION_TOLERANCE: f64 = 0.1;

/// What is wrong with a recording or its transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// The audio cannot be decoded.
    Unreadable,
    /// Parts of the audio are missing.
    Damaged,
    /// There are no samples.
    Empty,
    /// The audio is digital silence, or nearly.
    Silent,
    /// The level is very low.
    Quiet,
    /// Samples are cut off at full scale.
    Clipped,
    /// The manifest says another duration.
    Duration,
    /// The transcript is too long to be spoken in the time.
    TextTooLong,
    /// The transcript has digits, which say nothing of how they were spoken.
    Digits,
    /// The transcript has symbols that say nothing of how they were spoken.
    Symbols,
    /// The same audio stands in another line.
    Duplicate,
    /// The speaker is in more than one manifest.
    SharedSpeaker,
}

impl FindingKind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Damaged => "damaged",
            Self::Empty => "empty",
            Self::Silent => "silent",
            Self::Quiet => "quiet",
            Self::Clipped => "clipped",
            Self::Duration => "duration",
            Self::TextTooLong => "text-too-long",
            Self::Digits => "digits",
            Self::Symbols => "symbols",
            Self::Duplicate => "duplicate",
            Self::SharedSpeaker => "shared-speaker",
        }
    }

    /// Whether the recording cannot be used as it is.
    pub fn is_error(self) -> bool {
        matches!(self, Self::Unreadable | Self::Damaged | Self::Empty)
    }
}

/// A finding in a line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which of the manifests that were checked.
    pub manifest: usize,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub kind: FindingKind,
    /// The details, in a sentence.
    pub message: String,
}

/// What a manifest holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Recordings.
    pub recordings: usize,
    /// Length of all that could be decoded, seconds.
    pub seconds: f64,
    /// The shortest and the longest recording, seconds.
    pub shortest: f64,
    /// See [`Summary::shortest`].
    pub longest: f64,
    /// Different speakers; recordings without a speaker do not count.
    pub speakers: usize,
    /// Words of all transcripts.
    pub words: usize,
    /// Different words.
    pub different_words: usize,
}

/// The result of [`check`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// A summary of each manifest.
    pub summaries: Vec<Summary>,
    /// All findings, by manifest and line.
    pub findings: Vec<Finding>,
}

/// What is known of one recording after it was decoded.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Its length, seconds.
    pub seconds: f64,
    /// Of the samples, to find the same audio again.
    hash: u64,
    findings: Vec<(FindingKind, String)>,
}

impl Decoded {
    /// Why the recording cannot be used; `None` if it can.
    pub fn error(&self) -> Option<&str> {
        self.findings.iter().find(|(kind, _)| kind.is_error()).map(|(_, message)| message.as_str())
    }
}

/// How recordings are decoded.
pub struct Decoding<'a> {
    /// Number of recordings that are decoded at the same time.
    pub threads: usize,
    /// Called after each recording, from any thread.
    pub progress: &'a (dyn Fn() + Sync),
    /// Set by another thread to stop.
    pub stop: &'a AtomicBool,
}

/// Decodes the recordings of all manifests and checks them and their transcripts. `None` when it was stopped.
pub fn check(manifests: &[Vec<Entry>], decoding: &Decoding<'_>) -> Option<Report> {
    let entries: Vec<&Entry> = manifests.iter().flatten().collect();
    Some(report(manifests, &decode_all(&entries, decoding)?))
}

/// Decodes recordings and checks their samples. `None` when it was stopped.
pub fn decode_all(entries: &[&Entry], decoding: &Decoding<'_>) -> Option<Vec<Decoded>> {
    let next = AtomicUsize::new(0);
    let decoded: Mutex<Vec<Option<Decoded>>> = Mutex::new(entries.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..decoding.threads.clamp(1, entries.len().max(1)) {
            scope.spawn(|| {
                while !decoding.stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(entry) = entries.get(number) else { return };
                    let result = decode(entry);
                    decoded.lock().unwrap_or_else(|e| e.into_inner())[number] = Some(result);
                    (decoding.progress)();
                }
            });
        }
    });
    decoded.into_inner().unwrap_or_else(|e| e.into_inner()).into_iter().collect()
}

/// Judges decoded recordings and their transcripts; `decoded` has those of all manifests in order.
pub fn report(manifests: &[Vec<Entry>], decoded: &[Decoded]) -> Report {
    let entries: Vec<(usize, &Entry)> =
        manifests.iter().enumerate().flat_map(|(i, entries)| entries.iter().map(move |e| (i, e))).collect();
    let mut findings: Vec<Finding> = Vec::new();
    for ((manifest, entry), decoded) in entries.iter().zip(decoded) {
        let of_text = text_findings(&entry.text, decoded.seconds);
        findings.extend(decoded.findings.iter().cloned().chain(of_text).map(|(kind, message)| Finding {
            manifest: *manifest,
            line: entry.line,
            kind,
            message,
        }));
    }
    findings.extend(duplicates(&entries, decoded));
    findings.extend(shared_speakers(manifests));
    findings.sort_by_key(|finding| (finding.manifest, finding.line, finding.kind));
    let summaries = (0..manifests.len()).map(|i| {
        let of_this = entries.iter().zip(decoded).filter(|((manifest, _), _)| *manifest == i);
        summary(of_this.map(|((_, entry), decoded)| (*entry, decoded.seconds)))
    });
    Report { summaries: summaries.collect(), findings }
}

/// Decodes a recording at 16 kHz and checks its samples.
fn decode(entry: &Entry) -> Decoded {
    let clip = match audio::read_clip(&entry.audio, SAMPLE_RATE, entry.offset, entry.duration) {
        Ok(clip) => clip,
        Err(error) => {
            let findings = vec![(FindingKind::Unreadable, error.to_string())];
            return Decoded { seconds: 0.0, hash: 0, findings };
        }
    };
    let seconds = clip.samples.len() as f64 / f64::from(SAMPLE_RATE);
    let mut findings = Vec::new();
    findings.extend(clip.problems.messages().into_iter().map(|message| (FindingKind::Damaged, message)));
    findings.extend(level_finding(&clip.samples));
    if let Some(expected) = entry.duration.filter(|expected| expected - seconds > DURATION_TOLERANCE) {
        let message = format!("the manifest says {expected:.2} s, the audio has {seconds:.2} s");
        findings.push((FindingKind::Duration, message));
    }
    let mut hasher = DefaultHasher::new();
    clip.samples.iter().for_each(|&sample| f32_to_s16(sample).hash(&mut hasher));
    Decoded { seconds, hash: hasher.finish(), findings }
}

/// What is wrong with the level of the samples; one finding at most, the worst.
pub(crate) fn level_finding(samples: &[f32]) -> Option<(FindingKind, String)> {
    if samples.is_empty() {
        return Some((FindingKind::Empty, "there are no samples".into()));
    }
    let decibels = |level: f32| 20.0 * level.max(1e-9).log10();
    let peak = samples.iter().fold(0.0f32, |peak, s| peak.max(s.abs()));
    if peak < SILENT_PEAK {
        return Some((FindingKind::Silent, format!("the peak is at {:.0} dB of full scale", decibels(peak))));
    }
    let rms = |piece: &[f32]| (piece.iter().map(|s| s * s).sum::<f32>() / piece.len() as f32).sqrt();
    let loudest = samples.chunks(SAMPLE_RATE as usize / 10).map(rms).fold(0.0, f32::max);
    if loudest < QUIET_RMS {
        let message = format!("the loudest 100 ms are at {:.0} dB of full scale", decibels(loudest));
        return Some((FindingKind::Quiet, message));
    }
    let runs = samples.chunk_by(|a, b| (a.abs() >= FULL_SCALE) == (b.abs() >= FULL_SCALE));
    let clipped: usize =
        runs.filter(|run| run[0].abs() >= FULL_SCALE && run.len() >= CLIPPED_RUN).map(<[f32]>::len).sum();
    let share = clipped as f64 / samples.len() as f64;
    (share >= CLIPPED_SHARE)
        .then(|| (FindingKind::Clipped, format!("{:.1} % of samples are at full scale", 100.0 * share)))
}

/// What may be wrong with a transcript of a recording of `seconds`; 0 if that is not known.
pub(crate) fn text_findings(text: &str, seconds: f64) -> Vec<(FindingKind, String)> {
    let mut findings = Vec::new();
    let letters = text.chars().filter(|c| c.is_alphanumeric()).count();
    if seconds > 0.0 && letters as f64 / seconds > MAX_LETTERS_PER_SECOND {
        findings.push((FindingKind::TextTooLong, format!("{letters} letters in {seconds:.2} s")));
    }
    if let Some(word) = text.split_whitespace().find(|word| word.contains(|c: char| c.is_numeric())) {
        let message = format!("`{word}`: write numbers as they are spoken, in words");
        findings.push((FindingKind::Digits, message));
    }
    if let Some(symbol) = text.chars().find(|&c| is_symbol(c)) {
        findings.push((FindingKind::Symbols, format!("`{symbol}`: write it as it is spoken, or remove it")));
    }
    findings
}

/// Whether a character of a transcript is none of writing: a sign of currency or arithmetic, an emoji, `%`, or a
/// bracket, as around marks of noise. Training drops some of them and would learn the others as letters.
fn is_symbol(c: char) -> bool {
    let category = c.general_category_group();
    let is_accent = matches!(c, '`' | '\u{b4}' | '^');
    (category == GeneralCategoryGroup::Symbol && !is_accent) || "%&@#*\\<>[]{}".contains(c)
}

/// Lines whose audio is that of an earlier line.
fn duplicates(entries: &[(usize, &Entry)], decoded: &[Decoded]) -> Vec<Finding> {
    let mut first: HashMap<u64, (usize, &Entry)> = HashMap::new();
    let mut findings = Vec::new();
    for (&(manifest, entry), decoded) in entries.iter().zip(decoded).filter(|(_, d)| d.seconds > 0.0) {
        match first.get(&decoded.hash) {
            None => drop(first.insert(decoded.hash, (manifest, entry))),
            Some((other, earlier)) => {
                let place = if *other == manifest { "" } else { " of another manifest" };
                let message = format!("the same audio as line {}{place}", earlier.line);
                findings.push(Finding { manifest, line: entry.line, kind: FindingKind::Duplicate, message });
            }
        }
    }
    findings
}

/// The first line of each speaker who is in an earlier manifest too.
fn shared_speakers(manifests: &[Vec<Entry>]) -> Vec<Finding> {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut findings = Vec::new();
    for (manifest, entries) in manifests.iter().enumerate() {
        let mut speakers: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in entries {
            if let Some(speaker) = entry.speaker.as_deref() {
                speakers.entry(speaker).or_insert(entry.line);
            }
        }
        for (&speaker, &line) in speakers.iter().filter(|(speaker, _)| known.contains(*speaker)) {
            let message = format!("the speaker `{speaker}` is in an earlier manifest too");
            findings.push(Finding { manifest, line, kind: FindingKind::SharedSpeaker, message });
        }
        known.extend(speakers.into_keys());
    }
    findings
}

fn summary<'a>(entries: impl Iterator<Item = (&'a Entry, f64)>) -> Summary {
    let mut summary = Summary { shortest: f64::INFINITY, ..Summary::default() };
    let (mut speakers, mut words) = (BTreeSet::new(), BTreeSet::new());
    for (entry, seconds) in entries {
        summary.recordings += 1;
        summary.seconds += seconds;
        summary.shortest = summary.shortest.min(seconds);
        summary.longest = summary.longest.max(seconds);
        speakers.extend(entry.speaker.as_deref());
        let of_this = normalize::words(&entry.text);
        summary.words += of_this.len();
        words.extend(of_this);
    }
    summary.shortest = if summary.recordings == 0 { 0.0 } else { summary.shortest };
    Summary { speakers: speakers.len(), different_words: words.len(), ..summary }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{WavEncoding, write_wav};
    use crate::corpus::manifest;

    /// A tone of a second.
    fn tone(level: f32) -> Vec<f32> {
        (0..16_000).map(|i| level * (i as f32 * 0.17).sin()).collect()
    }

    fn kinds(report: &Report, line: usize) -> Vec<FindingKind> {
        report.findings.iter().filter(|f| f.line == line).map(|f| f.kind).collect()
    }

    #[test]
    fn faults_of_recordings_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = [
            ("good.wav", tone(0.3)),
            ("silent.wav", tone(1e-4)),
            ("quiet.wav", tone(3e-3)),
            ("clipped.wav", tone(4.0).into_iter().map(|s| s.clamp(-1.0, 1.0)).collect()),
            ("empty.wav", Vec::new()),
        ];
        for (name, samples) in &files {
            write_wav(&folder.path().join(name), samples, 16_000, WavEncoding::Float32).expect("written");
        }
        std::fs::write(folder.path().join("broken.wav"), b"RIFF").expect("written");
        let line = |name: &str, text: &str| {
            format!("{{\"audio_filepath\":\"{name}\",\"text\":\"{text}\",\"speaker\":\"ann\"}}\n")
        };
        let long = "a word ".repeat(10);
        let first: String = [
            line("good.wav", "one two"),
            line("silent.wav", "one"),
            line("quiet.wav", "one"),
            line("clipped.wav", "one"),
            line("empty.wav", "one"),
            line("broken.wav", "one"),
            line("good.wav", &long),
        ]
        .concat();
        std::fs::write(folder.path().join("a.jsonl"), first).expect("written");
        let second = "{\"audio_filepath\":\"good.wav\",\"text\":\"2 two, 50 %\",\"duration\":3.0,\"speaker\":\"ann\"}\n";
        std::fs::write(folder.path().join("b.jsonl"), second).expect("written");
        let read = |name: &str| manifest::read(folder.path().join(name)).expect("a manifest");
        let manifests = [read("a.jsonl"), read("b.jsonl")];
        let stop = AtomicBool::new(false);
        let decoding = Decoding { threads: 2, progress: &|| (), stop: &stop };
        let report = check(&manifests, &decoding).expect("not stopped");
        use FindingKind::*;
        let of_a: Vec<&Finding> = report.findings.iter().filter(|f| f.manifest == 0).collect();
        let found: Vec<(usize, FindingKind)> = of_a.iter().map(|f| (f.line, f.kind)).collect();
        let expected = [
            (2, Silent),
            (3, Quiet),
            (4, Clipped),
            (5, Unreadable),
            (6, Unreadable),
            (7, TextTooLong),
            (7, Duplicate),
        ];
        assert_eq!(found, expected);
        let of_b = Report {
            findings: report.findings.iter().filter(|f| f.manifest == 1).cloned().collect(),
            ..report.clone()
        };
        assert_eq!(kinds(&of_b, 1), [Duration, Digits, Symbols, Duplicate, SharedSpeaker]);
        assert_eq!((report.summaries[0].recordings, report.summaries[0].speakers), (7, 1));
        assert_eq!((report.summaries[0].words, report.summaries[0].different_words), (27, 4));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(check(&manifests, &decoding), None);
    }
}
