//! `hearken probe NETWORK [AUDIO…]`

mod plot;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::model::{ModelSource, print_note, read_own};
use super::{Outcome, Stop, check_output, say};
use crate::audio;
use crate::corpus::manifest::{self, Entry, ReadOptions, TextRule};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::features::{self, FbankOptions};
use crate::model::network::initialize;
use crate::model::{
    CellKind, Decay, GradientFlow, JacobianValues, LayerConfig, Network, gradient_flow, jacobian_values,
    singular_values,
};
use crate::onnx;
use crate::recognizer::Embedded;
use crate::train::Recipe;
use crate::train::report::chart::number;
use crate::units::counted;
use plot::{Diagram, FLOOR, Line};

/// Maximum length of audio that is used, seconds.
const MAX_SECONDS: f64 = 120.0;
/// Largest width of a state for which singular values are computed; the time grows with its cube.
const MAX_WIDTH: usize = 1024;

/// Measure how far gradients reach back in time.
///
/// The gradient of a step's loss with respect to earlier states, dL_t/ds_(t-k), is a product of k Jacobians. Where it
/// vanishes, a network cannot learn dependencies of that length; where it explodes, training is unstable. Prints for
/// each layer the factor per step, the time in which the gradient is halved, the time after which 1 % is left, and
/// the singular values of the state's weights W and of the product of Jacobians ds_t/ds_(t-k). A recipe is an untrained network, measured on its own recordings.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hearken probe digits talk.wav
  hearken probe recipe.toml --data recordings --compare runs/recipe/best.onnx --svg gradients.svg
  hearken probe runs/mine/best.onnx talk.wav --untrained --svg gradients.svg")]
pub(super) struct Args {
    /// Model file of hearken, the embedded model `digits` or `english`, or a recipe (.toml).
    model: PathBuf,

    /// Recordings [default for a recipe: those that it trains on]; at most two minutes of audio are used.
    audio: Vec<PathBuf>,

    /// Folder of the data: the recipe's manifests are relative to it.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,

    /// Also measure this model or recipe on the same recordings; can be given several times.
    #[arg(long, value_name = "NETWORK")]
    compare: Vec<PathBuf>,

    /// Measure k up to this number of steps.
    #[arg(long, value_name = "STEPS", default_value_t = 50, value_parser = clap::value_parser!(u16).range(2..=2000))]
    reach: u16,

    /// Also measure untrained networks of the same size, one for each kind of cell.
    #[arg(long)]
    untrained: bool,

    /// Seed of the weights of untrained networks.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Write a diagram to this file, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A network to be measured.
struct Subject {
    name: String,
    network: Network<f32>,
    features: FbankOptions,
    /// Whether its weights and the normalization of its features are those of a training.
    is_trained: bool,
}

impl Subject {
    /// Time between two steps, ms.
    fn step_ms(&self) -> f64 {
        f64::from(self.features.frame_shift_ms) * self.network.config.subsampling as f64
    }
}

/// The measurements of a network.
struct Probed {
    name: String,
    network: Network<f32>,
    step_ms: f64,
    flow: GradientFlow,
    /// Singular values of ds_t/ds_(t-k), for each layer with a recurrent state.
    jacobians: Vec<Option<JacobianValues>>,
    /// For each layer, the names and singular values of its W.
    weights: Vec<Vec<(&'static str, Vec<f64>)>>,
}

/// A recording, or a part of it.
struct Sound {
    audio: PathBuf,
    offset: Option<f64>,
    duration: Option<f64>,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    if let Some(svg) = &args.svg {
        check_output(svg, args.audio.iter().chain([&args.model]).chain(&args.compare))?;
    }
    let sounds = sounds(args)?;
    let first = subject(&args.model, args.seed)?;
    let others = args.compare.iter().map(|path| subject(path, args.seed)).collect::<Result<Vec<_>>>()?;
    let mut probed = Vec::new();
    for mut subject in std::iter::once(first).chain(others) {
        let x = read_features(&sounds, &subject.features, subject.network.config.subsampling)?;
        if !subject.is_trained {
            (subject.network.mean, subject.network.scale) = statistics(&x, subject.features.num_mel_bins);
        }
        let variants =
            if probed.is_empty() && args.untrained { untrained(&subject, args.seed) } else { Vec::new() };
        for subject in std::iter::once(subject).chain(variants) {
            probed.push(measure(subject, &x, usize::from(args.reach))?);
        }
    }
    if let Some(svg) = &args.svg {
        crate::fs::write(svg, plot::plot(&diagrams(&probed)).as_bytes())
            .map_err(|e| io_error(Stage::Output, svg, e))?;
    }
    let text = if args.json { as_json(&probed).to_string() + "\n" } else { as_text(&probed) };
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|e| Stop::output(Path::new("standard output"), e))?;
    Ok(Outcome::Done)
}

fn is_recipe(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml"))
}

/// A model, or the untrained network of a recipe.
fn subject(path: &Path, seed: u64) -> Result<Subject> {
    let name = path.display().to_string();
    if is_recipe(path) {
        let recipe = Recipe::read(path)?;
        let network = initialize(&recipe.network_config()?, seed).without_auxiliary();
        let name = format!("{name}, untrained");
        return Ok(Subject { name, network, features: recipe.features, is_trained: false });
    }
    let (network, metadata) = match ModelSource::new(Some(path), Embedded::Digits) {
        ModelSource::Path(path) => read_own(path)?,
        ModelSource::Embedded(model) => onnx::read(model.model()?)?,
    };
    Ok(Subject { name, network, features: metadata.features, is_trained: true })
}

/// Untrained networks of the size of `subject`, one for each kind of cell.
fn untrained(subject: &Subject, seed: u64) -> Vec<Subject> {
    let of = |cell: CellKind| {
        let mut config = subject.network.config.clone();
        config.layers.iter_mut().for_each(|layer| *layer = LayerConfig::new(cell, layer.hidden));
        let mut network = initialize(&config, seed);
        (network.mean, network.scale) = (subject.network.mean.clone(), subject.network.scale.clone());
        let (name, features) = (format!("{}, untrained", cell.name()), subject.features.clone());
        Subject { name, network, features, is_trained: false }
    };
    CellKind::ALL.into_iter().map(of).collect()
}

fn measure(subject: Subject, x: &[f32], reach: usize) -> Result<Probed> {
    let step_ms = subject.step_ms();
    let flow = gradient_flow(&subject.network, x, reach).ok_or_else(|| {
        let needed = (reach + 1) as f64 * step_ms / 1000.0;
        let problem = format!("expected at least {needed:.1} s of audio for {reach} steps, found less");
        Error::new(Stage::Usage, problem)
            .hint("give more recordings, or measure fewer steps: `--reach STEPS`")
    })?;
    let jacobians = jacobian_values(&subject.network, x, reach);
    let weights = (0..flow.layers.len()).map(|layer| weight_values(&subject.network, layer)).collect();
    Ok(Probed { name: subject.name, network: subject.network, step_ms, flow, jacobians, weights })
}

/// The recordings that are named, or those of the recipe.
fn sounds(args: &Args) -> Result<Vec<Sound>> {
    let whole = |audio: &PathBuf| Sound { audio: audio.clone(), offset: None, duration: None };
    if !args.audio.is_empty() {
        return Ok(args.audio.iter().map(whole).collect());
    }
    if !is_recipe(&args.model) {
        return Err(Error::new(Stage::Usage, "expected recordings to measure the model with")
            .hint("name at least one after the model"));
    }
    let data = Recipe::read(&args.model)?.data;
    let pools = data.strings.iter().flat_map(|strings| &strings.pools).map(|pool| &pool.manifest);
    let mut sounds = Vec::new();
    for manifest in data.recordings.iter().map(|recordings| &recordings.manifest).chain(pools) {
        let options = ReadOptions { text: TextRule::Optional, ..ReadOptions::default() };
        let entries = manifest::read_with(Recipe::manifest(&args.data, manifest), options)?;
        let sound = |Entry { audio, offset, duration, .. }| Sound { audio, offset, duration };
        sounds.extend(entries.into_iter().map(sound));
    }
    Ok(sounds)
}

/// Mean and inverse standard deviation of each of `bins` features over all frames.
fn statistics(x: &[f32], bins: usize) -> (Vec<f32>, Vec<f32>) {
    let count = (x.len() / bins.max(1)).max(1) as f64;
    let of = |bin: usize| {
        let values = || x.iter().skip(bin).step_by(bins).map(|&value| f64::from(value));
        let mean = values().sum::<f64>() / count;
        let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        (mean as f32, (1.0 / variance.max(1e-4).sqrt()) as f32)
    };
    (0..bins).map(of).unzip()
}

/// The features of the recordings, `[T, F]`, with a number of frames per recording that the subsampling divides.
fn read_features(sounds: &[Sound], options: &FbankOptions, subsampling: usize) -> Result<Vec<f32>> {
    let (mut x, mut left) = (Vec::new(), MAX_SECONDS);
    for Sound { audio: path, offset, duration } in sounds {
        if left <= 0.0 {
            print_note(&format!("only the first {MAX_SECONDS} s of audio are used"));
            break;
        }
        let rate = options.sample_rate;
        let clip = audio::read_clip(path, rate, *offset, Some(duration.unwrap_or(left).min(left)))?;
        let name = path.display();
        clip.problems.messages().iter().for_each(|problem| say(&format!("warning: {name}: {problem}")));
        left -= clip.samples.len() as f64 / f64::from(rate);
        let mut frames = features::compute(&clip.samples, options)?;
        let step = subsampling * options.num_mel_bins;
        frames.truncate(frames.len() / step * step);
        x.extend(frames);
    }
    Ok(x)
}

/// The diagrams: gradients and Jacobians over time, and the singular values of W.
fn diagrams(probed: &[Probed]) -> [Diagram; 3] {
    let step_ms = probed.first().map_or(0.0, |probed| probed.step_ms);
    let unit = match probed.iter().all(|probed| probed.step_ms == step_ms) {
        true => format!(", s (steps of {step_ms:.0} ms)"),
        false => ", s".into(),
    };
    let norms = |probed: &Probed, layer: usize| {
        let norms = &probed.flow.layers[layer];
        let first = norms.first().copied().filter(|&first| first > 0.0).unwrap_or(1.0);
        norms.iter().map(|norm| norm / first).collect::<Vec<f64>>()
    };
    let largest = |probed: &Probed, layer: usize| {
        let values = probed.jacobians.get(layer).and_then(Option::as_ref);
        values.map_or(Vec::new(), |values| values.largest.clone())
    };
    let of_first = |(layer, weights): (usize, &Vec<(&'static str, Vec<f64>)>)| {
        let line = |(gate, values): &(&'static str, Vec<f64>)| Line {
            label: format!("layer {}, {gate}", layer + 1),
            dashed: false,
            points: values
                .iter()
                .enumerate()
                .map(|(at, &value)| (at as f64 + 1.0, value.max(FLOOR)))
                .collect(),
        };
        weights.iter().map(line).collect::<Vec<_>>()
    };
    [
        Diagram {
            title: "Gradient through time",
            x: format!("time before the loss{unit}"),
            y: "|dL/ds|, relative to the last step",
            lines: lines(probed, norms),
        },
        Diagram {
            title: "Product of Jacobians",
            x: format!("time between the states{unit}"),
            y: "largest singular value of ds_t/ds_(t-k)",
            lines: lines(probed, largest),
        },
        Diagram {
            title: "Weights of the state",
            x: "number of the singular value".into(),
            y: "singular value of W",
            lines: probed
                .first()
                .map_or(Vec::new(), |first| first.weights.iter().enumerate().flat_map(of_first).collect()),
        },
    ]
}

/// The lines of values for k = 1, 2, … over time: each layer of the first network; the last layer of each other.
fn lines(probed: &[Probed], values: impl Fn(&Probed, usize) -> Vec<f64>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, probed) in probed.iter().enumerate() {
        let layers = probed.flow.layers.len();
        for layer in 0..layers {
            let values = values(probed, layer);
            if values.is_empty() || (at > 0 && layer + 1 < layers) {
                continue;
            }
            let label = if at == 0 { format!("layer {}", layer + 1) } else { probed.name.clone() };
            let second = |k: usize| (k + 1) as f64 * probed.step_ms / 1000.0;
            let points = values.into_iter().enumerate().map(|(k, value)| (second(k), value)).collect();
            lines.push(Line { label, dashed: at > 0, points });
        }
    }
    lines
}

/// The singular values of the state's weights W of a layer, one matrix `[H, H]` per gate, with names; empty for wide
/// layers.
fn weight_values(network: &Network<f32>, layer: usize) -> Vec<(&'static str, Vec<f64>)> {
    let config = network.config.layers[layer];
    let h = config.hidden;
    let Some(w) = network.parameter(&format!("layers.{layer}.{}.R", config.cell.family())) else {
        return Vec::new();
    };
    if h > MAX_WIDTH {
        return Vec::new();
    }
    let values = |block: &[f32]| {
        let block: Vec<f64> = block.iter().map(|&x| f64::from(x)).collect();
        singular_values(&block, h)
    };
    config.cell.gate_names().iter().copied().zip(w.data.chunks_exact(h * h).map(values)).collect()
}

/// The singular values of a product of Jacobians for some k.
fn jacobian_text(values: &JacobianValues) -> String {
    const SHOWN: [usize; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
    let at = |k: &usize| {
        let (largest, mean) = (values.largest.get(k - 1)?, values.mean.get(k - 1)?);
        Some(format!("{k}: {} ({})", number(*largest), number(*mean)))
    };
    SHOWN.iter().filter_map(at).collect::<Vec<_>>().join(", ")
}

/// What the decay of a layer's gradient means for its training.
fn verdict(decay: &Decay, step_ms: f64, reach: usize) -> String {
    let half_life = decay.half_life();
    let ms = |steps: f64| format!("{:.0} ms", steps * step_ms);
    if decay.factor > 1.01 {
        return format!(
            "explodes: doubles every {:.1} steps ({}); limit the gradient's norm (clip_norm), or use gru or lstm",
            -half_life,
            ms(-half_life)
        );
    }
    if decay.factor > 0.99 {
        return format!("is carried: changes by less than 1 % per step over {reach} steps");
    }
    let rest = match decay.one_percent {
        Some(k) => format!("1 % is left after {k} steps ({})", ms(k as f64)),
        None => format!("more than 1 % is left after {reach} steps ({})", ms(reach as f64)),
    };
    format!("vanishes: halved every {half_life:.1} steps ({}); {rest}", ms(half_life))
}

/// What to do about a gradient that vanishes in a cell without gates.
fn remedy(cell: CellKind, decay: &Decay) -> Option<&'static str> {
    let has_no_gates = matches!(cell, CellKind::RnnTanh | CellKind::RnnRelu);
    let is_short = (0.0..5.0).contains(&decay.half_life());
    (has_no_gates && is_short).then_some("remedy: gru, lstm or mingru, whose gates pass the gradient on")
}

fn as_text(probed: &[Probed]) -> String {
    let mut lines = Vec::new();
    for Probed { name, network, step_ms, flow, jacobians, weights } in probed {
        let step_ms = *step_ms;
        lines.push(format!(
            "{}: steps of {step_ms:.0} ms, gradients of {}",
            crate::output::printable(name),
            counted(flow.measured, "step")
        ));
        for (layer, norms) in flow.layers.iter().enumerate() {
            let LayerText { cell, hidden } = layer_text(network, layer);
            let what = match Decay::of(norms) {
                Some(decay) => format!("the gradient {}", verdict(&decay, step_ms, norms.len())),
                None => "no gradient reaches earlier states".into(),
            };
            lines.push(format!("  layer {} ({cell}, {hidden}): {what}", layer + 1));
            let kind = network.config.layers[layer].cell;
            let remedy = Decay::of(norms).and_then(|decay| remedy(kind, &decay));
            lines.extend(remedy.map(|remedy| format!("    {remedy}")));
            for (gate, values) in &weights[layer] {
                let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
                lines.push(format!(
                    "    singular values of {gate}: largest {:.2}, median {:.2}, smallest {:.2}",
                    at(0.0),
                    at(0.5),
                    at(1.0)
                ));
            }
            if let Some(Some(values)) = jacobians.get(layer) {
                lines.push(format!(
                    "    singular values of ds_t/ds_(t-k), the largest (and root mean square) by k: {}",
                    jacobian_text(values)
                ));
            }
        }
    }
    lines.join("\n") + "\n"
}

/// The cell and the width of a layer, for messages.
struct LayerText {
    cell: &'static str,
    hidden: usize,
}

fn layer_text(network: &Network<f32>, layer: usize) -> LayerText {
    let config = network.config.layers[layer];
    LayerText { cell: config.cell.name(), hidden: config.hidden }
}

fn as_json(probed: &[Probed]) -> Value {
    let network = |Probed { name, network, step_ms, flow, jacobians, weights }: &Probed| {
        let layer = |(layer, norms): (usize, &Vec<f64>)| {
            let LayerText { cell, hidden } = layer_text(network, layer);
            let decay = Decay::of(norms);
            let singular: serde_json::Map<String, Value> =
                weights[layer].iter().map(|(gate, values)| (gate.to_string(), json!(values))).collect();
            let jacobian = jacobians.get(layer).and_then(Option::as_ref);
            json!({
                "cell": cell,
                "hidden": hidden,
                "norms": norms,
                "factor": decay.map(|decay| decay.factor),
                "half_life_steps": decay.map(|decay| decay.half_life()).filter(|steps| steps.is_finite()),
                "one_percent_steps": decay.and_then(|decay| decay.one_percent),
                "singular_values": singular,
                "jacobian": jacobian.map(|values| json!({ "largest": values.largest, "mean": values.mean })),
            })
        };
        let layers: Vec<Value> = flow.layers.iter().enumerate().map(layer).collect();
        json!({ "network": name, "step_ms": step_ms, "measured": flow.measured, "layers": layers })
    };
    json!({ "networks": probed.iter().map(network).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cells_without_gates_have_a_remedy() {
        let decay = |factor: f64| Decay { factor, one_percent: None };
        assert!(remedy(CellKind::RnnTanh, &decay(0.5)).is_some());
        for (cell, factor) in [(CellKind::RnnTanh, 0.95), (CellKind::RnnRelu, 1.1), (CellKind::Gru, 0.5)] {
            assert_eq!(remedy(cell, &decay(factor)), None);
        }
    }

    #[test]
    fn verdicts_say_whether_gradients_vanish_or_explode() {
        let of = |factor: f64| {
            let norms: Vec<f64> = (0..30).map(|k| factor.powi(k)).collect();
            verdict(&Decay::of(&norms).expect("a decay"), 40.0, norms.len())
        };
        assert_eq!(of(0.5), "vanishes: halved every 1.0 steps (40 ms); 1 % is left after 8 steps (320 ms)");
        assert!(of(1.1).starts_with("explodes: doubles every 7.3 steps (291 ms)"), "{}", of(1.1));
        assert!(of(1.0).starts_with("is carried"), "{}", of(1.0));
        assert!(of(0.95).ends_with("more than 1 % is left after 30 steps (1200 ms)"), "{}", of(0.95));
    }
}
