//! `hearken unfold MODEL AUDIO -o FILE`

mod figure;
mod page;
#[cfg(feature = "png")]
mod png;
mod svg;

use std::path::{Path, PathBuf};

use super::model::{ModelSource, read_own};
use super::{Outcome, Stop, check_output, say};
use crate::audio;
use crate::engine::EngineKind;
use crate::error::{Error, Result, Stage, io as io_error};
use crate::features;
use crate::model::forward::log_softmax;
use crate::model::{CellKind, Network, PackedSequence, PackedWeights, Purpose, Workspace};
use crate::onnx::{self, Metadata};
use crate::recognizer::{Embedded, Event, Recognizer};

/// Maximum length of the recording, seconds.
const MAX_SECONDS: f64 = 60.0;
/// Maximum length of the part that a page shows, which has every step.
const MAX_PAGE_SECONDS: f64 = 20.0;

/// Draw a network unfolded in time, with the values that it computes for a recording.
///
/// The picture has the network with its loops (the weights U, W and V of each layer, with sizes and norms), three steps
/// t-1, t and t+1 with their values, and the whole sequence below each other in time: waveform, features x_t, states s_t
/// of each layer, probabilities o_t, and words. The ending of the file chooses a picture (.svg; .png in builds with the
/// feature `png`) or a page (.html) on which t moves by a slider, the arrow keys, or with the sound.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hearken unfold digits talk.wav -o unfolded.svg
  hearken unfold digits talk.wav --gates -o unfolded.html
  hearken unfold runs/mine/best.onnx talk.wav --from 1.2 --to 2.5 --at 1.8 -o unfolded.svg")]
pub(super) struct Args {
    /// Model file of hearken, or the embedded model `digits` or `english`.
    model: PathBuf,

    /// Recording of at most a minute.
    audio: PathBuf,

    /// Picture (.svg, .png) or page (.html) to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,

    /// Draw the gates of gru, lstm, mingru and rglru too.
    #[arg(long)]
    gates: bool,

    /// Begin of the part that is drawn, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    from: f64,

    /// End of the part that is drawn, seconds [default: the end of the recording].
    #[arg(long, value_name = "SECONDS")]
    to: Option<f64>,

    /// Time of the step t, seconds [default: the most probable token in the part].
    #[arg(long, value_name = "SECONDS")]
    at: Option<f64>,
}

/// The values of a network for a recording.
pub(super) struct Unfolded {
    pub name: String,
    pub network: Network<f32>,
    pub tokens: Vec<String>,
    pub blank: usize,
    /// Time between two steps, seconds.
    pub step: f64,
    pub sample_rate: u32,
    pub samples: Vec<f32>,
    /// Normalized features of each step, the mean of its frames: `[T, F]`.
    pub features: Vec<Vec<f32>>,
    /// The states after each step, by layer: `[L, T, H]`.
    pub states: Vec<Vec<Vec<f32>>>,
    /// The gates of each step, by layer: `[L, T, kH]`; empty if they are not drawn.
    pub gates: Vec<Vec<Vec<f32>>>,
    /// Probabilities of the tokens, `[T, V]`.
    pub probabilities: Vec<Vec<f32>>,
    /// Recognized words with start and end, seconds.
    pub words: Vec<(String, f64, f64)>,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    check_output(&args.out, [&args.model, &args.audio])?;
    let format = Format::of(&args.out)?;
    let source = ModelSource::new(Some(&args.model), Embedded::Digits);
    let ((network, metadata), recognizer) = match source {
        ModelSource::Path(path) => (read_own(path)?, Recognizer::open(path)?),
        ModelSource::Embedded(model) => (
            onnx::read(model.model()?)?,
            Recognizer::embedded(model, EngineKind::Native, &Default::default())?,
        ),
    };
    let rate = metadata.features.sample_rate;
    let clip = audio::read_clip(&args.audio, rate, None, None)?;
    let name = args.audio.display();
    clip.problems.messages().iter().for_each(|problem| say(&format!("warning: {name}: {problem}")));
    let seconds = clip.samples.len() as f64 / f64::from(rate);
    if seconds > MAX_SECONDS {
        let problem = format!("expected at most {MAX_SECONDS:.0} s, found {seconds:.1} s");
        return Err(Error::new(Stage::Audio, problem).in_file(&args.audio).hint("cut it first").into());
    }
    let words = words(&recognizer, &clip.samples)?;
    let mut unfolded = unfold(&args.model, network, &metadata, clip.samples, words)?;
    if !args.gates {
        unfolded.gates.clear();
    }
    let part = part(args, &unfolded)?;
    let seconds = part.steps.len() as f64 * unfolded.step;
    if format == Format::Page && seconds > MAX_PAGE_SECONDS {
        let problem = format!("expected at most {MAX_PAGE_SECONDS:.0} s for a page, found {seconds:.1} s");
        return Err(Error::new(Stage::Usage, problem).hint("choose a part: `--from` and `--to`").into());
    }
    let drawing = match format {
        Format::Page => page::page(&unfolded, &part).into_bytes(),
        Format::Svg => figure::figure(&unfolded, &part).into_bytes(),
        #[cfg(feature = "png")]
        Format::Png => png::png(&figure::figure(&unfolded, &part))?,
    };
    crate::fs::write(&args.out, &drawing).map_err(|e| io_error(Stage::Output, &args.out, e))?;
    Ok(Outcome::Done)
}

/// The formats of a drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Svg,
    Page,
    #[cfg(feature = "png")]
    Png,
}

impl Format {
    /// The format by the ending of a file.
    fn of(out: &Path) -> Result<Self> {
        let ending = out.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let usage = |problem: &str, hint: &str| {
            Err(Error::new(Stage::Usage, problem.to_string()).in_file(out).hint(hint.to_string()))
        };
        match ending.as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("html" | "htm") => Ok(Self::Page),
            #[cfg(feature = "png")]
            Some("png") => Ok(Self::Png),
            #[cfg(not(feature = "png"))]
            Some("png") => usage(
                "this build of hearken does not write PNG",
                "write .svg and convert it (`rsvg-convert -z 2 a.svg -o a.png`, Inkscape, a browser), or build hearken \
                 with `cargo build --release --features png`",
            ),
            _ => usage(
                "expected a file that ends in .svg, .png or .html",
                "other formats can be converted from SVG, for example by Inkscape, rsvg-convert or a browser",
            ),
        }
    }
}

/// The gates of a cell, whose values are from 0 to 1: names and symbols, in the order of their rows.
fn gates_of(cell: CellKind) -> &'static [(&'static str, &'static str)] {
    match cell {
        CellKind::Gru | CellKind::GruResetBefore => &[("update", "z_t"), ("reset", "r_t")],
        CellKind::Lstm => &[("input", "i_t"), ("output", "o_t"), ("forget", "f_t")],
        CellKind::MinGru => &[("update", "z_t")],
        CellKind::RgLru => &[("recurrence", "r_t"), ("input", "i_t")],
        _ => &[],
    }
}

/// The recognized words with start and end, seconds.
fn words(recognizer: &Recognizer, samples: &[f32]) -> Result<Vec<(String, f64, f64)>> {
    let mut stream = recognizer.stream()?;
    let mut events = stream.accept_waveform(samples)?;
    events.extend(stream.finish()?);
    let segments = events.into_iter().filter_map(|event| match event {
        Event::Final(segment) => Some(segment.words),
        _ => None,
    });
    Ok(segments.flatten().map(|word| (word.word, word.start, word.end)).collect())
}

/// Runs the network step by step.
fn unfold(
    model: &Path,
    network: Network<f32>,
    metadata: &Metadata,
    samples: Vec<f32>,
    words: Vec<(String, f64, f64)>,
) -> Result<Unfolded> {
    let frames = features::compute(&samples, &metadata.features)?;
    let (config, one) = (network.config.clone(), PackedSequence::uniform(1, 1));
    let weights = PackedWeights::new(&network, Purpose::Inference)
        .ok_or_else(|| Error::new(Stage::Model, "a parameter is missing").in_file(model))?;
    let (mut state, mut workspace, mut logits) = (weights.zero_states(1), Workspace::default(), Vec::new());
    let (mut features, mut probabilities) = (Vec::new(), Vec::new());
    let mut states = vec![Vec::new(); config.layers.len()];
    let mut gates = vec![Vec::new(); config.layers.len()];
    for x in frames.chunks_exact(config.subsampling * config.num_features) {
        weights.forward(x, &one, &mut state, &mut workspace, None);
        weights.logits(&workspace, 0, &mut logits);
        log_softmax(&mut logits, config.num_tokens);
        probabilities.push(logits.iter().map(|log| log.exp()).collect());
        for (layer, states) in states.iter_mut().enumerate() {
            // Of a state that holds several steps, the values of the last.
            let state = &state.hidden[layer];
            let width = config.layers[layer].state_shapes().first().map_or(0, |shape| shape[1]);
            states.push(state[state.len() - width..].to_vec());
            gates[layer].push(workspace.gates(layer).to_vec());
        }
        let feature = |f: usize| {
            let sum: f32 = x.iter().skip(f).step_by(config.num_features).sum();
            (sum / config.subsampling as f32 - network.mean[f]) * network.scale[f]
        };
        features.push((0..config.num_features).map(feature).collect());
    }
    Ok(Unfolded {
        name: model.display().to_string(),
        tokens: metadata.tokens.tokens().to_vec(),
        blank: metadata.tokens.blank() as usize,
        step: f64::from(metadata.features.frame_shift_ms) / 1000.0 * config.subsampling as f64,
        sample_rate: metadata.features.sample_rate,
        network,
        samples,
        features,
        states,
        gates,
        probabilities,
        words,
    })
}

/// The drawn part: steps, and the step t of the three.
pub(super) struct Part {
    pub steps: std::ops::Range<usize>,
    pub t: usize,
}

fn part(args: &Args, unfolded: &Unfolded) -> Result<Part> {
    let total = unfolded.probabilities.len();
    let usage = |problem: String| Error::new(Stage::Usage, problem);
    if total < 3 {
        return Err(
            usage("expected a recording of at least three steps of the network".into()).in_file(&args.audio)
        );
    }
    let end = total as f64 * unfolded.step;
    let to = args.to.unwrap_or(end).min(end);
    // Not `from >= to`, so that NaN is refused too.
    if !(args.from >= 0.0 && args.from + 3.0 * unfolded.step <= to + 1e-9) {
        let least = 3.0 * unfolded.step;
        return Err(usage(format!(
            "--from {} --to {to:.2}: expected a part of at least {least:.2} s within {end:.2} s",
            args.from
        )));
    }
    let step = |seconds: f64| ((seconds / unfolded.step) as usize).min(total - 1);
    let steps = step(args.from)..(step(to - unfolded.step / 2.0) + 1).max(step(args.from) + 3).min(total);
    let inner = steps.start + 1..steps.end - 1;
    let t = match args.at {
        Some(at) if at >= 0.0 && inner.contains(&step(at)) => step(at),
        Some(at) => {
            return Err(usage(format!(
                "--at {at}: expected a time within the part, not its first or last step"
            )));
        }
        None => {
            let best = |t: &usize| {
                let all = unfolded.probabilities[*t].iter().enumerate();
                all.filter(|(token, _)| *token != unfolded.blank).map(|(_, p)| *p).fold(0.0, f32::max)
            };
            inner.clone().max_by(|a, b| best(a).total_cmp(&best(b))).unwrap_or(inner.start)
        }
    };
    Ok(Part { steps, t })
}
