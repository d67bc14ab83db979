//! `hearken verify FILE [--audio WAV]`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::model::{engine_options, state_pair};
use super::{Outcome, Stop};
use crate::audio;
use crate::decode::decoder_of;
use crate::engine::verify::{Row, Runners, compare};
use crate::engine::{EngineOptions, graph};
use crate::error::{Error, Result, Stage};
use crate::features::{Fbank, FbankOptions};
use crate::onnx::describe::{Description, Port, describe_with};
use crate::onnx::targets::{DELAY_KEY, PRECISION_KEY};
use crate::onnx::{self, Metadata};
use crate::output::printable;
use crate::recognizer::segments::SegmentDecoder;
use crate::recognizer::{Event, FrameClock, WordBuilder, embedded, silero};
use crate::units::SAMPLE_RATE;

/// Run a model file on every engine and compare.
///
/// Whole and in chunks, one stream alone and four of different lengths together: all must give the
/// same log-probabilities. Foreign files are run as well, and what was found in them is told. Ends
/// with 1 when a difference is greater than the tolerance, or no engine runs the file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: hearken verify model.onnx --audio call.wav")]
pub(super) struct Args {
    /// An ONNX file, or a folder of sherpa-onnx; without it the digits model inside the program.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// A recording to run it on; without it, a made-up sound.
    #[arg(long, value_name = "WAV")]
    audio: Option<PathBuf>,

    /// A state: its input and the output that answers it. Several may be given.
    #[arg(long = "state", value_name = "IN=OUT", value_parser = state_pair)]
    states: Vec<(String, String)>,

    /// The largest difference allowed; without it 1e-4, or 1e-3 where the graph computes the
    /// features, or 2 where it rounds by the call (int8-dynamic).
    #[arg(long, value_name = "X")]
    tolerance: Option<f32>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is to be run.
struct Subject {
    name: String,
    runners: Runners,
    metadata: Option<Metadata>,
    description: Option<Description>,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let options = EngineOptions { states: args.states.clone(), ..engine_options() };
    let samples = match &args.audio {
        Some(path) => read_audio(path)?,
        None => made_up_sound(),
    };
    if let Some(report) = detector_report(args, &options, &samples)? {
        return print(args, &report, Outcome::Done);
    }
    let subject = subject(args, &options)?;
    for (kind, error) in &subject.runners.refused {
        // Nobody may be there to read it.
        let _ = writeln!(io::stderr(), "hearken: left out {kind}: {}", printable(&error.to_string()));
    }
    let features = match &subject.metadata {
        Some(metadata) => metadata.features.clone(),
        None => FbankOptions::default(),
    };
    let streams = streams(&subject, &features, &samples)?;
    let silence = if subject.runners.takes_samples { 0.0 } else { features.energy_floor.ln() };
    let named = |e: Error| e.in_file(&subject.name);
    let rows = compare(&subject.runners.runners, &streams, silence).map_err(named)?;
    let tolerance = args.tolerance.unwrap_or_else(|| usual_tolerance(&subject));
    let outcome = match rows.iter().all(|row| row.difference <= tolerance) {
        true => Outcome::Done,
        false => Outcome::SomeFailed,
    };
    let report = Report::new(&subject, &rows, tolerance);
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
    let name = args.file.as_ref().map_or("the digits model".into(), |f| f.display().to_string());
    if let Some(folder) = args.file.as_deref().filter(|f| f.is_dir()) {
        let (runners, metadata) = Runners::of_folder(folder, options);
        return Ok(Subject { name, runners, metadata, description: None });
    }
    let (bytes, named) = match &args.file {
        Some(path) => (onnx::load::read_bytes(path)?, path.clone()),
        None => (embedded::digits().to_vec(), PathBuf::from(&name)),
    };
    let in_file = |e: Error| if e.stage() == Stage::Usage { e } else { e.in_file(&named) };
    let description = describe_with(&bytes, &args.states).map_err(in_file)?;
    let (runners, metadata) = match onnx::read(&bytes) {
        Ok((network, metadata)) => (Runners::of_own(&bytes, &network, options), Some(metadata)),
        Err(_) => {
            let metadata = Metadata::from_entries(&description.metadata).ok();
            let features = metadata.as_ref().map_or(80, |m| m.features.num_mel_bins);
            (Runners::of_graph(&bytes, &description, features, options), metadata)
        }
    };
    Ok(Subject { name, runners, metadata, description: Some(description) })
}

fn usual_tolerance(subject: &Subject) -> f32 {
    let precision = subject.description.as_ref().and_then(|d| d.value(PRECISION_KEY));
    match (precision, subject.runners.takes_samples) {
        (Some("int8-dynamic"), _) => 2.0,
        (_, true) => 1e-3,
        _ => 1e-4,
    }
}

/// Seconds of a recording that are heard at the most.
const MAX_SECONDS: u32 = 60;

fn read_audio(path: &Path) -> Result<Vec<f32>> {
    let mut source = audio::open(path, SAMPLE_RATE)?;
    let mut samples = Vec::new();
    let most = (SAMPLE_RATE * MAX_SECONDS) as usize;
    loop {
        let left = most - samples.len().min(most);
        if left == 0 || source.read(&mut samples, left)? == 0 {
            break;
        }
    }
    if samples.len() < 1600 {
        return Err(Error::new(Stage::Audio, "expected a tenth of a second at least").in_file(path));
    }
    Ok(samples)
}

/// Four seconds of tones that swell, fade and rise, over a little noise.
fn made_up_sound() -> Vec<f32> {
    let mut noise = 1u32;
    let sample = |i: u32| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let t = f64::from(i) / f64::from(SAMPLE_RATE);
        let loud = 0.5 - 0.5 * (std::f64::consts::TAU * 3.0 * t).cos();
        let tones = [130.0, 260.0, 520.0, 1900.0, 3100.0];
        let tone: f64 = tones.iter().map(|f| (std::f64::consts::TAU * f * t * (1.0 + 0.05 * t)).sin()).sum();
        (0.06 * tone * loud + 0.004 * (f64::from(noise >> 16) / 32_768.0 - 1.0)) as f32
    };
    (0..4 * SAMPLE_RATE).map(sample).collect()
}

/// Four streams of different lengths out of the recording: the whole, and three parts of it.
fn streams(subject: &Subject, features: &FbankOptions, samples: &[f32]) -> Result<Vec<Vec<f32>>> {
    let n = samples.len();
    let parts = [samples, &samples[..n * 3 / 4], &samples[n / 3..], &samples[n / 4..n * 2 / 3]];
    let spec = subject.runners.runners.first().map(|r| r.engine().spec());
    let num_features = spec.map_or(features.num_mel_bins, |s| s.num_features);
    if subject.runners.takes_samples {
        let delay = subject.description.as_ref().and_then(|d| d.value(DELAY_KEY)?.parse::<usize>().ok());
        let more = delay.unwrap_or(0).min(100) * spec.map_or(0, |s| s.shift);
        let with_end = |part: &[f32]| [part, &vec![0.0; more]].concat();
        return Ok(parts.iter().map(|part| with_end(part)).collect());
    }
    let options = FbankOptions { num_mel_bins: num_features, ..features.clone() };
    let frames = |part: &&[f32]| {
        let mut fbank = Fbank::new(&options)?;
        let mut frames = Vec::new();
        fbank.push(part, &mut frames);
        fbank.finish(&mut frames);
        Ok(frames)
    };
    parts.iter().map(frames).collect()
}

/// What is printed: lines, or JSON.
struct Report {
    lines: Vec<String>,
    json: Value,
}

impl Report {
    fn new(subject: &Subject, rows: &[Row], tolerance: f32) -> Self {
        let mut lines = vec![subject.name.clone()];
        if let Some(description) = &subject.description {
            lines.extend(describe(description));
        }
        if subject.runners.takes_one_stream {
            lines.push("streams    one at a time: the graph fixes the batch at 1".into());
        }
        let texts: Vec<Option<String>> = rows.iter().map(|row| text(subject, row)).collect();
        lines.push(String::new());
        lines.push(format!(
            "{:8}{:8}{:>8}{:>13}  text of the whole recording",
            "engine", "calls", "streams", "difference"
        ));
        for (row, text) in rows.iter().zip(&texts) {
            let Row { engine, calls, streams, difference, .. } = row;
            let mark = if *difference <= tolerance { "" } else { "  ◄ too great" };
            let text = text.as_deref().map_or("(tokens unknown)".into(), printable);
            lines.push(format!("{engine:8}{calls:8}{streams:>8}{difference:>13.1e}  {text}{mark}"));
        }
        let largest = rows.iter().map(|r| r.difference).fold(0.0, f32::max);
        let verdict = if largest <= tolerance { "allowed" } else { "exceeded" };
        lines.push(format!("\nlargest difference {largest:.1e}: {verdict}, at most {tolerance:.1e}"));
        let json_row = |(row, text): (&Row, &Option<String>)| {
            json!({ "engine": row.engine, "calls": row.calls, "streams": row.streams,
                    "difference": row.difference, "text": text })
        };
        let json = json!({
            "file": subject.name,
            "rows": rows.iter().zip(&texts).map(json_row).collect::<Vec<_>>(),
            "largest_difference": largest,
            "tolerance": tolerance,
            "passed": largest <= tolerance,
            "states": subject.description.as_ref().map(|d| &d.states),
            "refused": subject.runners.refused.iter().map(|(kind, e)| json!({"engine": kind.name(), "reason": e.to_string()})).collect::<Vec<_>>(),
        });
        Self { lines, json }
    }
}

fn describe(d: &Description) -> Vec<String> {
    let ports = |ports: &[Port]| {
        let one = |p: &Port| format!("{} {} [{}]", p.name, p.r#type, p.shape.join(", "));
        let all: Vec<String> = ports.iter().map(one).collect();
        let shown = all.len().min(4);
        let more = if all.len() > shown { format!(", {} more", all.len() - shown) } else { String::new() };
        printable(&(all[..shown].join(", ") + &more))
    };
    let opset: Vec<String> = d
        .opsets
        .iter()
        .map(|(domain, v)| if domain.is_empty() { v.to_string() } else { format!("{domain} {v}") })
        .collect();
    let mut symbols: Vec<&String> = Vec::new();
    for symbol in d.inputs.iter().flat_map(|p| &p.shape).filter(|s| s.parse::<u64>().is_err()) {
        if !symbols.contains(&symbol) {
            symbols.push(symbol);
        }
    }
    let symbols: Vec<String> = symbols.iter().map(|s| printable(s)).collect();
    let states: Vec<String> =
        d.states.iter().map(|s| format!("{} → {} {:?}", s.input, s.output, s.shape)).collect();
    let shown = states.len().min(4);
    let more = if states.len() > shown { format!(", {} more", states.len() - shown) } else { String::new() };
    vec![
        format!("opset      {}, IR {}", opset.join(", "), d.ir_version),
        format!("inputs     {}", ports(&d.inputs)),
        format!("outputs    {}", ports(&d.outputs)),
        match shown {
            0 => "states     none".to_string(),
            _ => format!("states     {}: {}{more}", d.states_found, printable(&states[..shown].join(", "))),
        },
        format!("symbolic   {}", if symbols.is_empty() { "nothing".into() } else { symbols.join(", ") }),
    ]
}

/// What the log-probabilities say, where tokens are known.
fn text(subject: &Subject, row: &Row) -> Option<String> {
    let Metadata { tokens, decoder, features, .. } = subject.metadata.as_ref()?;
    let spec = subject.runners.runners.first()?.engine().spec();
    if spec.num_tokens != tokens.len() {
        return None;
    }
    let clock = FrameClock { step_samples: step_samples(subject)?, sample_rate: features.sample_rate };
    let words = WordBuilder::new(tokens, decoder, clock);
    let mut segments = SegmentDecoder::new(decoder_of(tokens, decoder).ok()?, words, tokens.len());
    segments.push(&row.log_probs, &mut Vec::new());
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
    let mut lines = vec![format!("{}: a voice activity detector of Silero's", path.display())];
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
    let json = json!({ "file": path.display().to_string(), "detectors": engines });
    Ok(Some(Report { lines, json }))
}
