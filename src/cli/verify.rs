//! `hearken verify FILE [--audio WAV] [--against MODEL]`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::model::{engine_options, print_note, read_own, state_pair};
use super::verify_report::{Against, Report, describe};
use super::{Outcome, Stop};
use crate::audio;
use crate::decode::DecoderFactory;
use crate::engine::verify::{Row, Runners, compare, difference_from, natively};
use crate::engine::{EngineOptions, graph, sherpa};
use crate::error::{Error, Result, Stage};
use crate::features::{Fbank, FbankOptions};
use crate::fs::quoted;
use crate::model::Network;
use crate::onnx::inspect::{Description, describe_with};
use crate::onnx::targets::{DELAY_KEY, PRECISION_KEY};
use crate::onnx::{self, Metadata};
use crate::output::printable;
use crate::recognizer::segments::SegmentDecoder;
use crate::recognizer::{Event, FrameClock, WordBuilder, embedded, silero};
use crate::units::SAMPLE_RATE;

/// Run a model file on every engine and compare.
///
/// Whole and in chunks, one stream alone and four of different lengths together: all must give the
/// same log-probabilities. Foreign files are run as well, and what was found in them is told. With
/// `--against`, every engine's are compared with those of a model on the native engine as well. Ends
/// with 1 when a difference is greater than the tolerance, or no engine runs the file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hearken verify model.onnx --audio call.wav\n  \
    hearken verify exported/model.onnx --against model.onnx")]
pub(super) struct Args {
    /// An ONNX file, or a folder of sherpa-onnx; without it the digits model inside the program.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// A recording to run it on; without it, a made-up sound.
    #[arg(long, value_name = "WAV")]
    audio: Option<PathBuf>,

    /// A model of hearken's that the file was made of, or into: its log-probabilities on the native
    /// engine are compared with those of the file on every engine.
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,

    /// The tokens of a foreign file; without it `tokens.txt` beside it.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,

    /// A state: its input and the output that answers it. Several may be given.
    #[arg(long = "state", value_name = "IN=OUT", value_parser = state_pair)]
    states: Vec<(String, String)>,

    /// The largest difference allowed. Without it 1e-3 (a thousandth of a probability; more where
    /// log-probabilities go beyond 33 nats), or 5e-3 where the graph computes the features, or 4 where
    /// it rounds by the call (int8-dynamic); from the model of `--against` the same, but 0.05 for fp16,
    /// 3 for int8, 6 for int8-dynamic.
    #[arg(long, value_name = "X", value_parser = tolerance)]
    tolerance: Option<f32>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Reads a tolerance.
fn tolerance(text: &str) -> std::result::Result<f32, String> {
    let number = text.parse::<f32>().ok().filter(|t| t.is_finite() && *t >= 0.0);
    number.ok_or_else(|| "expected a finite number, 0 or greater".into())
}

/// What is to be run.
pub(super) struct Subject {
    pub name: String,
    pub runners: Runners,
    pub metadata: Option<Metadata>,
    /// The file says which features it was trained on.
    tells_features: bool,
    /// The file, or the files of a folder, the one that is fed first.
    pub files: Vec<(PathBuf, Description)>,
}

impl Subject {
    /// The file that is fed.
    pub fn description(&self) -> Option<&Description> {
        self.files.first().map(|(_, description)| description)
    }
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let options = EngineOptions { states: args.states.clone(), ..engine_options() };
    let sound = |rate| match &args.audio {
        Some(path) => read_audio(path, rate),
        None => Ok(made_up_sound(rate)),
    };
    if let Some(report) = detector_report(args, &options, &sound(SAMPLE_RATE)?)? {
        return print(args, &report, Outcome::Done);
    }
    let subject = subject(args, &options)?;
    if let Some(note) = subject.description().and_then(|d| d.states_note.as_deref()) {
        print_note(note);
    }
    for (kind, error) in &subject.runners.refused {
        // Nobody may be there to read it.
        let _ = writeln!(io::stderr(), "hearken: left out {kind}: {}", printable(&error.to_string()));
    }
    let model = match args.against.as_deref() {
        Some(path) => Some((path, read_own(path)?)),
        None => None,
    };
    // What a foreign file does not say of its features the model that it became does.
    let of_model = model.as_ref().filter(|_| !subject.tells_features).map(|(_, (_, metadata))| metadata);
    let features = match of_model.or(subject.metadata.as_ref()) {
        Some(metadata) => metadata.features.clone(),
        None => FbankOptions::default(),
    };
    let samples = sound(features.sample_rate)?;
    let streams = streams(&subject, &features, &samples)?;
    let silence = if subject.runners.takes_samples { 0.0 } else { features.energy_floor.ln() };
    let named = |e: Error| e.in_file(&subject.name);
    let rows = compare(&subject.runners.runners, &streams, silence).map_err(named)?;
    let against = match model {
        Some((path, model)) => Some(against(args, (path, model), &subject, &samples, &rows)?),
        None => None,
    };
    let texts: Vec<Option<String>> = rows.iter().map(|row| text(&subject, &row.log_probs)).collect();
    let allowed = args.tolerance.unwrap_or_else(|| usual_tolerance(&subject, &rows));
    let report = Report::new(&subject, &rows, &texts, allowed, against.as_ref());
    let outcome = if report.passed { Outcome::Done } else { Outcome::SomeFailed };
    print(args, &report, outcome)
}

fn print(args: &Args, report: &Report, outcome: Outcome) -> std::result::Result<Outcome, Stop> {
    let mut out = io::stdout().lock();
    let written = if args.json {
        writeln!(out, "{}", report.json)
    } else {
        report.lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    };
    written.and_then(|()| out.flush()).map_err(|e| Stop::output(Path::new("standard output"), e))?;
    Ok(outcome)
}

fn subject(args: &Args, options: &EngineOptions) -> Result<Subject> {
    let name = args.file.as_ref().map_or("the digits model".into(), |f| quoted(f).into_owned());
    if let Some(folder) = args.file.as_deref().filter(|f| f.is_dir()) {
        check_used("--tokens", args.tokens.is_some(), "a folder of sherpa-onnx has its own tokens.txt")?;
        let (runners, metadata) = Runners::of_folder(folder, options);
        // Why a folder cannot be read the engines have told.
        let files = sherpa::describe_folder(folder, &args.states).unwrap_or_default();
        return Ok(Subject { name, runners, metadata, tells_features: true, files });
    }
    let (bytes, named) = match &args.file {
        Some(path) => (onnx::load::read_bytes(path)?, path.clone()),
        None => (embedded::digits()?.to_vec(), PathBuf::from(&name)),
    };
    let in_file = |e: Error| if e.stage() == Stage::Usage { e } else { e.in_file(&named) };
    let own = onnx::read(&bytes);
    if own.is_ok() || onnx::targets::target_of(&bytes).is_some() {
        let what = "the file is hearken's and says its own";
        check_used("--tokens", args.tokens.is_some(), what)?;
        check_used("--state", !args.states.is_empty(), what)?;
    }
    let description = describe_with(&bytes, &args.states).map_err(in_file)?;
    let (runners, metadata, tells_features) = match own {
        Ok((network, metadata)) => (Runners::of_own(&bytes, &network, options), Some(metadata), true),
        Err(_) => {
            let metadata = Metadata::from_entries(&description.metadata).ok();
            let features = metadata.as_ref().map_or(80, |m| m.features.num_mel_bins);
            let runners = Runners::of_graph(&bytes, &description, features, options);
            match metadata {
                Some(metadata) => (runners, Some(metadata), true),
                None => {
                    let metadata = foreign_metadata(args, &named, &runners)?;
                    (runners, metadata, false)
                }
            }
        }
    };
    Ok(Subject { name, runners, metadata, tells_features, files: vec![(named, description)] })
}

/// Refuses an option that is given where it would have no effect, and says why it has none.
fn check_used(option: &str, is_given: bool, why: &str) -> Result<()> {
    match is_given {
        true => Err(Error::new(Stage::Usage, format!("`{option}` has no effect: {why}"))),
        false => Ok(()),
    }
}

/// What a foreign file's tokens say of it, where they are given or stand beside it.
fn foreign_metadata(args: &Args, file: &Path, runners: &Runners) -> Result<Option<Metadata>> {
    let beside = file.with_file_name("tokens.txt");
    let path = args.tokens.as_deref().or_else(|| beside.is_file().then_some(beside.as_path()));
    let (Some(path), Some(runner)) = (path, runners.runners.first()) else { return Ok(None) };
    let (tokens, spec) = (sherpa::read_tokens(path)?, runner.engine().spec());
    // Of a graph that takes samples it is not known what it makes of them.
    let features = if runners.takes_samples { 80 } else { spec.num_features };
    match sherpa::foreign_metadata(tokens, path, features, spec.num_tokens) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if args.tokens.is_some() => Err(error),
        // What stands beside a file may be another's, as an encoder's is the joiner's.
        Err(error) => {
            print_note(&error.to_string());
            Ok(None)
        }
    }
}

/// Every engine against a model of hearken's on the native engine, on the same recording.
fn against(
    args: &Args,
    (model, (network, metadata)): (&Path, (Network<f32>, Metadata)),
    subject: &Subject,
    samples: &[f32],
    rows: &[Row],
) -> Result<Against> {
    let in_model = |problem: String| Error::new(Stage::Model, problem).in_file(model);
    let spec = subject.runners.runners.first().map(|r| r.engine().spec());
    let (tokens, features) = spec.map_or((0, 0), |s| (s.num_tokens, s.num_features));
    if !subject.runners.takes_samples && features != network.config.num_features {
        let expected = network.config.num_features;
        return Err(in_model(format!(
            "{} takes {features} features a frame, the model {expected}: they cannot be compared",
            subject.name
        )));
    }
    if tokens != network.config.num_tokens {
        let expected = network.config.num_tokens;
        return Err(in_model(format!(
            "{} gives {tokens} log-probabilities a step, the model {expected}: they cannot be compared",
            subject.name
        )));
    }
    let rate = |m: &Metadata| m.features.sample_rate;
    if let Some(other) = subject
        .metadata
        .as_ref()
        .map(rate)
        .filter(|other| subject.tells_features && *other != rate(&metadata))
    {
        return Err(in_model(format!(
            "{} takes {other} samples a second, the model {}: they cannot be compared",
            subject.name,
            rate(&metadata)
        )));
    }
    let frames = frames_of(samples, &metadata.features)?;
    let shift = Fbank::new(&metadata.features)?.frame_shift_samples();
    let step = (network.config.subsampling * shift) as u64;
    if let Some(other) = step_samples(subject).filter(|other| *other != step) {
        return Err(in_model(format!(
            "{} takes a step every {other} samples, the model every {step}: they cannot be compared",
            subject.name
        )));
    }
    let expected = natively(network, &frames, metadata.features.energy_floor.ln())?;
    let delay = if subject.runners.takes_samples { delay_steps(subject) } else { 0 };
    let engines = subject.runners.runners.iter().map(|runner| {
        let name = runner.engine().spec().name;
        let differences = rows.iter().filter(|row| row.engine == name).map(|row| {
            // What stands behind the last whole frame is seen by a graph of samples alone.
            let most_missing = usize::from(subject.runners.takes_samples);
            difference_from(&expected, &row.log_probs, tokens, delay, most_missing)
        });
        (name, differences.fold(0.0, f32::max))
    });
    Ok(Against {
        model: model.to_path_buf(),
        engines: engines.collect(),
        allowed: args.tolerance.unwrap_or_else(|| usual_distance(subject, rows)),
        text: text_of(&metadata, step, tokens, &expected),
    })
}

/// How far apart ways of running the same file may be.
fn usual_tolerance(subject: &Subject, rows: &[Row]) -> f32 {
    match (precision(subject), subject.runners.takes_samples) {
        (Some("int8-dynamic"), _) => 4.0,
        (_, true) => 5e-3,
        _ => rounding(rows),
    }
}

/// How far a file may be from the model that it was made of, by the precision of its weights.
fn usual_distance(subject: &Subject, rows: &[Row]) -> f32 {
    match (precision(subject), subject.runners.takes_samples) {
        (Some("int8-dynamic"), _) => 6.0,
        (Some("int8"), _) => 3.0,
        (Some("fp16"), _) => 5e-2,
        (_, true) => 5e-3,
        _ => rounding(rows),
    }
}

/// What float32 may make of the same sums in another order. A probability that is off by a thousandth
/// moves no word; log-probabilities of large networks are the difference of large numbers, which are
/// rounded more: 256 roundings of the largest. What is beyond a thousand nats says that a token is
/// impossible, and is no sum.
fn rounding(rows: &[Row]) -> f32 {
    let all = rows.iter().flat_map(|row| &row.log_probs).filter(|log_prob| log_prob.abs() < 1000.0);
    let largest = all.fold(0.0, |largest: f32, log_prob| largest.max(log_prob.abs()));
    (256.0 * f32::EPSILON * largest).max(1e-3)
}

fn precision(subject: &Subject) -> Option<&str> {
    subject.description()?.value(PRECISION_KEY)
}

/// How many steps the output of a graph of samples is behind.
fn delay_steps(subject: &Subject) -> usize {
    let delay = subject.description().and_then(|d| d.value(DELAY_KEY)?.parse::<usize>().ok());
    delay.unwrap_or(0).min(100)
}

/// Seconds of a recording that are heard at the most.
const MAX_SECONDS: u32 = 60;

fn read_audio(path: &Path, rate: u32) -> Result<Vec<f32>> {
    let mut source = audio::open(path, rate)?;
    let mut samples = Vec::new();
    let most = rate as usize * MAX_SECONDS as usize;
    loop {
        let left = most - samples.len().min(most);
        if left == 0 || source.read(&mut samples, left)? == 0 {
            break;
        }
    }
    if samples.len() < rate as usize / 10 {
        return Err(Error::new(Stage::Audio, "expected a tenth of a second at least").in_file(path));
    }
    Ok(samples)
}

/// Four seconds of tones that swell, fade and rise, over a little noise.
fn made_up_sound(rate: u32) -> Vec<f32> {
    let mut noise = 1u32;
    let sample = |i: u32| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let t = f64::from(i) / f64::from(rate);
        let loud = 0.5 - 0.5 * (std::f64::consts::TAU * 3.0 * t).cos();
        let tones = [130.0, 260.0, 520.0, 1900.0, 3100.0];
        let tone: f64 = tones.iter().map(|f| (std::f64::consts::TAU * f * t * (1.0 + 0.05 * t)).sin()).sum();
        (0.06 * tone * loud + 0.004 * (f64::from(noise >> 16) / 32_768.0 - 1.0)) as f32
    };
    (0..4 * rate).map(sample).collect()
}

/// Four streams of different lengths out of the recording: the whole, and three parts of it.
fn streams(subject: &Subject, features: &FbankOptions, samples: &[f32]) -> Result<Vec<Vec<f32>>> {
    let n = samples.len();
    let parts = [samples, &samples[..n * 3 / 4], &samples[n / 3..], &samples[n / 4..n * 2 / 3]];
    let spec = subject.runners.runners.first().map(|r| r.engine().spec());
    let num_features = spec.map_or(features.num_mel_bins, |s| s.num_features);
    if subject.runners.takes_samples {
        let more = delay_steps(subject) * spec.map_or(0, |s| s.shift);
        let with_end = |part: &[f32]| [part, &vec![0.0; more]].concat();
        return Ok(parts.iter().map(|part| with_end(part)).collect());
    }
    let options = FbankOptions { num_mel_bins: num_features, ..features.clone() };
    parts.iter().map(|part| frames_of(part, &options)).collect()
}

fn frames_of(samples: &[f32], options: &FbankOptions) -> Result<Vec<f32>> {
    let mut fbank = Fbank::new(options)?;
    let mut frames = Vec::new();
    fbank.push(samples, &mut frames);
    fbank.finish(&mut frames);
    Ok(frames)
}

/// What the log-probabilities say, where tokens are known.
fn text(subject: &Subject, log_probs: &[f32]) -> Option<String> {
    let spec = subject.runners.runners.first()?.engine().spec();
    text_of(subject.metadata.as_ref()?, step_samples(subject)?, spec.num_tokens, log_probs)
}

fn text_of(metadata: &Metadata, step_samples: u64, num_tokens: usize, log_probs: &[f32]) -> Option<String> {
    let Metadata { tokens, decoder, features, .. } = metadata;
    if num_tokens != tokens.len() {
        return None;
    }
    let clock = FrameClock { step_samples, sample_rate: features.sample_rate };
    let words = WordBuilder::new(tokens, decoder, clock);
    let decoders = DecoderFactory::new(tokens, decoder, clock.seconds(1)).ok()?;
    let mut segments = SegmentDecoder::new(decoders.decoder(), words, tokens.len());
    segments.push(log_probs, &mut Vec::new());
    match segments.end_segment() {
        Event::Final(segment) | Event::Partial(segment) => Some(segment.text),
    }
}

/// Samples from one output frame to the next.
fn step_samples(subject: &Subject) -> Option<u64> {
    let spec = subject.runners.runners.first()?.engine().spec();
    let features = &subject.metadata.as_ref()?.features;
    let shift = match subject.runners.takes_samples {
        true => 1,
        false => Fbank::new(features).ok()?.frame_shift_samples(),
    };
    Some((spec.subsampling * shift) as u64)
}

/// A voice activity detector is run window by window.
fn detector_report(args: &Args, options: &EngineOptions, samples: &[f32]) -> Result<Option<Report>> {
    let Some(path) = args.file.as_deref().filter(|f| f.is_file()) else { return Ok(None) };
    let bytes = onnx::load::read_bytes(path)?;
    let Ok(description) = describe_with(&bytes, &args.states) else { return Ok(None) };
    if !silero::is_silero(&description) {
        return Ok(None);
    }
    let mut lines = vec![format!("{}: a voice activity detector of Silero's", quoted(path))];
    lines.extend(describe(&description));
    let mut engines = Vec::new();
    for kind in graph::kinds() {
        let mut probabilities = Vec::new();
        let mut run = || -> Result<()> {
            let mut detector = silero::detector(path, kind, options)?;
            for window in samples.chunks_exact(silero::WINDOW) {
                probabilities.push(detector.speech(window)?);
            }
            Ok(())
        };
        if let Err(error) = run() {
            // Nobody may be there to read it.
            let _ = writeln!(io::stderr(), "hearken: left out {kind}: {}", printable(&error.to_string()));
            continue;
        }
        let speech = probabilities.iter().filter(|p| **p >= 0.5).count();
        let (windows, ms) = (probabilities.len(), 1000 * silero::WINDOW / SAMPLE_RATE as usize);
        lines.push(format!("{:11}{speech} of {windows} windows of {ms} ms are speech", kind.name()));
        engines.push(json!({ "engine": kind.name(), "speech": probabilities }));
    }
    if engines.is_empty() {
        return Err(Error::new(Stage::Engine, "no engine of this build runs the file").in_file(path));
    }
    let json = json!({ "file": quoted(path), "detectors": engines });
    Ok(Some(Report { lines, json, passed: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tolerance_grows_with_the_numbers_that_are_rounded() {
        let allowed = |log_probs: &[f32]| {
            let row = Row {
                engine: "native",
                calls: "whole",
                streams: 1,
                difference: 0.0,
                log_probs: log_probs.to_vec(),
            };
            rounding(&[row])
        };
        assert_eq!(allowed(&[]), 1e-3);
        assert_eq!(allowed(&[-0.1, -24.0]), 1e-3);
        assert!((allowed(&[-0.1, -80.0]) - 2.44e-3).abs() < 1e-5);
        for impossible in [f32::NEG_INFINITY, f32::NAN, -1e4] {
            assert_eq!(allowed(&[impossible, -1.0]), 1e-3, "what is impossible is not rounded");
        }
    }
}
