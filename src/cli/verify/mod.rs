//! `hearken verify FILE [--audio WAV] [--against MODEL]`

mod report;
mod sound;
mod subject;
mod tolerance;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::model::{ModelSource, engine_options, print_note, read_own, state_pair};
use super::{Outcome, Stop, with_options};
use crate::decode::DecoderFactory;
use crate::engine::verify::{Row, compare, difference_from, reference_log_probs};
use crate::engine::{EngineOptions, graph};
use crate::error::{Error, Result, Stage};
use crate::features::{self, Fbank, FbankOptions};
use crate::fs::quoted;
use crate::model::Network;
use crate::onnx::{Metadata, OnnxFile};
use crate::output::printable;
use crate::recognizer::segments::SegmentDecoder;
use crate::recognizer::{Embedded, Event, FrameClock, WordBuilder, silero};
use crate::units::SAMPLE_RATE;
use report::{Against, Report, describe};
use sound::{read_audio, streams, synthetic_signal};
use subject::Subject;
use tolerance::{default_distance, default_tolerance};

/// Run a model file on every engine and compare the results.
///
/// A recording is processed as a whole and in chunks, as a single stream and in a batch of four streams of
/// different lengths; all log-probabilities must be equal within the tolerance. With `--against`, they are also
/// compared with those of a model on the native engine. Foreign files are verified too. The exit code is 1 if a
/// difference exceeds the tolerance, or no engine can run the file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hearken verify model.onnx --audio call.wav\n  \
    hearken verify exported/model.onnx --against model.onnx")]
pub(super) struct Args {
    /// ONNX file, folder of a sherpa-onnx model, or the embedded model `digits` or `english` [default: digits].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Recording that is processed [default: a synthetic sound].
    #[arg(long, value_name = "WAV")]
    audio: Option<PathBuf>,

    /// Model of hearken's own that the file was exported from or imported to: its log-probabilities on the native
    /// engine are compared with those of the file on every engine.
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,

    /// Tokens of a foreign file [default: `tokens.txt` in the folder of the file].
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,

    /// Input and output of a state; may be repeated.
    #[arg(long = "state", value_name = "IN=OUT", value_parser = state_pair)]
    states: Vec<(String, String)>,

    /// Maximum difference of log-probabilities [default: 1e-3, or more if log-probabilities exceed 33 nats; 5e-3 if
    /// the graph computes the features; 4 for int8-dynamic. With --against: 0.05 for fp16, 3 for int8, 6 for
    /// int8-dynamic].
    #[arg(long, value_name = "X", value_parser = tolerance)]
    tolerance: Option<f32>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Parses a tolerance.
fn tolerance(text: &str) -> std::result::Result<f32, String> {
    let number = text.parse::<f32>().ok().filter(|t| t.is_finite() && *t >= 0.0);
    number.ok_or_else(|| "expected a finite number, 0 or greater".into())
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let options = EngineOptions { states: args.states.clone(), ..engine_options() };
    let sound = |rate| match &args.audio {
        Some(path) => read_audio(path, rate),
        None => Ok(synthetic_signal(rate)),
    };
    let (path, file) = match ModelSource::new(args.file.as_deref(), Embedded::Digits) {
        ModelSource::Path(path) if path.is_dir() => (path.to_path_buf(), None),
        ModelSource::Path(path) => (path.to_path_buf(), Some(OnnxFile::read(path)?)),
        ModelSource::Embedded(model) => {
            (format!("the model {}", model.name()).into(), Some(OnnxFile::from_bytes(model.model()?)?))
        }
    };
    if let Some(report) = detector_report(args, &options, file.as_ref(), &sound(SAMPLE_RATE)?)? {
        return print(args, &report, Outcome::Done);
    }
    let subject = Subject::open(&path, file, args.tokens.as_deref(), &options)?;
    if let Some(note) = subject.first().and_then(|f| f.interface.states_note.as_deref()) {
        print_note(note);
    }
    for (kind, error) in &subject.runners.refused {
        // Standard error may be closed.
        let _ = writeln!(
            io::stderr(),
            "hearken: left out {kind}: {}",
            printable(&with_options(error).to_string())
        );
    }
    let model = match args.against.as_deref() {
        Some(path) => {
            let (network, metadata) = read_own(path)?;
            Some(Reference { path, network, metadata })
        }
        None => None,
    };
    // A foreign file does not describe its features; the model that was imported from it does.
    let of_model = model.as_ref().filter(|_| !subject.has_features).map(|model| &model.metadata);
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
        Some(model) => Some(model.compare(args, &subject, &samples, &rows)?),
        None => None,
    };
    let texts: Vec<Option<String>> = rows.iter().map(|row| text(&subject, &row.log_probs)).collect();
    let allowed = args.tolerance.unwrap_or_else(|| default_tolerance(&subject, &rows));
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

/// A model of hearken's that the file is compared with.
struct Reference<'a> {
    path: &'a Path,
    network: Network<f32>,
    metadata: Metadata,
}

impl Reference<'_> {
    /// Number of samples from one output frame to the next.
    fn step_samples(&self) -> Result<u64> {
        let shift = Fbank::new(&self.metadata.features)?.frame_shift_samples();
        Ok((self.network.config.subsampling * shift) as u64)
    }

    /// Checks that the outputs of the file and of the model are comparable.
    fn check(&self, subject: &Subject) -> Result<()> {
        let config = &self.network.config;
        let spec = subject.runners.runners.first().map(|r| r.engine().spec());
        let (tokens, features) = spec.map_or((0, 0), |s| (s.num_tokens, s.num_features));
        let rate = subject.metadata.as_ref().map(|m| m.features.sample_rate);
        let rate = rate.filter(|_| subject.has_features);
        let (own_rate, own_step) = (self.metadata.features.sample_rate, self.step_samples()?);
        let name = &subject.name;
        let problem = if !subject.runners.takes_samples && features != config.num_features {
            format!("{name} takes {features} features a frame, the model {}", config.num_features)
        } else if tokens != config.num_tokens {
            format!("{name} outputs {tokens} log-probabilities a step, the model {}", config.num_tokens)
        } else if let Some(rate) = rate.filter(|rate| *rate != own_rate) {
            format!("{name} takes {rate} samples a second, the model {own_rate}")
        } else if let Some(step) = subject.step_samples().filter(|step| *step != own_step) {
            format!("{name} has a step of {step} samples, the model of {own_step}")
        } else {
            return Ok(());
        };
        let problem = format!("{problem}: they cannot be compared");
        Err(Error::new(Stage::Model, problem).in_file(self.path))
    }

    /// Compares the log-probabilities of every engine with those of the model on the native engine.
    fn compare(self, args: &Args, subject: &Subject, samples: &[f32], rows: &[Row]) -> Result<Against> {
        self.check(subject)?;
        let step = self.step_samples()?;
        let Self { path, network, metadata } = self;
        let tokens = network.config.num_tokens;
        let frames = features::compute(samples, &metadata.features)?;
        let expected = reference_log_probs(network, &frames, metadata.features.energy_floor.ln())?;
        let takes_samples = subject.runners.takes_samples;
        let delay = if takes_samples { subject.delay_steps() } else { 0 };
        let engines = subject.runners.runners.iter().map(|runner| {
            let name = runner.engine().spec().name;
            let differences = rows.iter().filter(|row| row.engine == name).map(|row| {
                // Only a graph of samples processes the samples after the last whole frame.
                let most_missing = usize::from(takes_samples);
                difference_from(&expected, &row.log_probs, tokens, delay, most_missing)
            });
            (name, differences.fold(0.0, f32::max))
        });
        Ok(Against {
            model: path.to_path_buf(),
            engines: engines.collect(),
            allowed: args.tolerance.unwrap_or_else(|| default_distance(subject, rows)),
            text: text_of(&metadata, step, tokens, &expected),
        })
    }
}

/// Decodes log-probabilities to text; `None` if the tokens are unknown.
fn text(subject: &Subject, log_probs: &[f32]) -> Option<String> {
    let spec = subject.runners.runners.first()?.engine().spec();
    text_of(subject.metadata.as_ref()?, subject.step_samples()?, spec.num_tokens, log_probs)
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

/// The report for a voice activity detector, which is run window by window; `None` for other files.
fn detector_report(
    args: &Args,
    options: &EngineOptions,
    file: Option<&OnnxFile>,
    samples: &[f32],
) -> Result<Option<Report>> {
    let (Some(path), Some(file)) = (args.file.as_deref(), file) else { return Ok(None) };
    let Ok(interface) = file.interface(&args.states) else { return Ok(None) };
    if !silero::is_silero(file, &interface) {
        return Ok(None);
    }
    let mut lines = vec![format!("{}: a voice activity detector of Silero", quoted(path))];
    lines.extend(describe(file, &interface));
    let mut engines = Vec::new();
    for kind in graph::kinds() {
        let mut probabilities = Vec::new();
        let mut run = || -> Result<()> {
            let mut detector = silero::detector(file, kind, options)?;
            for window in samples.chunks_exact(silero::WINDOW) {
                probabilities.push(detector.speech(window)?);
            }
            Ok(())
        };
        if let Err(error) = run() {
            // Standard error may be closed.
            let _ = writeln!(
                io::stderr(),
                "hearken: left out {kind}: {}",
                printable(&with_options(&error).to_string())
            );
            continue;
        }
        let speech = probabilities.iter().filter(|p| **p >= 0.5).count();
        let (windows, ms) = (probabilities.len(), 1000 * silero::WINDOW / SAMPLE_RATE as usize);
        lines.push(format!("{:11}{speech} of {windows} windows of {ms} ms are speech", kind.name()));
        engines.push(json!({ "engine": kind.name(), "speech": probabilities }));
    }
    if engines.is_empty() {
        return Err(Error::new(Stage::Engine, "no engine of this build can run the file").in_file(path));
    }
    let json = json!({ "file": quoted(path), "detectors": engines });
    Ok(Some(Report { lines, json, passed: true }))
}
