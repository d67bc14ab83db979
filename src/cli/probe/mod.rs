//! `hearken probe MODEL AUDIO…`

mod plot;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::model::{ModelSource, print_note, read_own};
use super::{Outcome, Stop, check_output, say};
use crate::audio;
use crate::error::{Error, Result, Stage, io as io_error};
use crate::features;
use crate::model::network::initialize;
use crate::model::{CellKind, Decay, GradientFlow, LayerConfig, Network, gradient_flow, singular_values};
use crate::onnx::{self, Metadata};
use crate::recognizer::Embedded;
use crate::units::counted;
use plot::Line;

/// Maximum length of audio that is used, seconds.
const MAX_SECONDS: f64 = 120.0;
/// Largest width of a state for which singular values are computed; the time grows with its cube.
const MAX_WIDTH: usize = 1024;

/// Measure how far gradients reach back in time.
///
/// The gradient of a step's loss with respect to earlier states, dL_t/ds_(t-k), is a product of k Jacobians. Where it
/// vanishes, a network cannot learn dependencies of that length; where it explodes, training is unstable. Prints for
/// each layer the factor per step, the time in which the gradient is halved, the time after which 1 % is left, and
/// the singular values of the state's weights W.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hearken probe digits talk.wav
  hearken probe runs/mine/best.onnx talk.wav --untrained --svg gradients.svg")]
pub(super) struct Args {
    /// Model file of hearken, or the embedded model `digits` or `english`.
    model: PathBuf,

    /// Recordings; at most two minutes of audio are used.
    #[arg(required = true)]
    audio: Vec<PathBuf>,

    /// Measure k up to this number of steps.
    #[arg(long, value_name = "STEPS", default_value_t = 50, value_parser = clap::value_parser!(u16).range(2..=2000))]
    reach: u16,

    /// Also measure untrained networks of the same size, one for each kind of cell.
    #[arg(long)]
    untrained: bool,

    /// Seed of the weights of --untrained.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "untrained")]
    seed: u64,

    /// Write a diagram to this file, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The measurements of a network.
struct Probed {
    name: String,
    network: Network<f32>,
    flow: GradientFlow,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    if let Some(svg) = &args.svg {
        check_output(svg, args.audio.iter().chain([&args.model]))?;
    }
    let (network, metadata) = match ModelSource::new(Some(&args.model), Embedded::Digits) {
        ModelSource::Path(path) => read_own(path)?,
        ModelSource::Embedded(model) => onnx::read(model.model()?)?,
    };
    let x = read_features(&args.audio, &metadata, network.config.subsampling)?;
    let reach = usize::from(args.reach);
    let measure = |name: String, network: Network<f32>| -> Result<Probed> {
        let flow = gradient_flow(&network, &x, reach).ok_or_else(|| {
            let needed = (reach + 1) as f64 * step_ms(&metadata, &network) / 1000.0;
            let problem = format!("expected at least {needed:.1} s of audio for {reach} steps, found less");
            Error::new(Stage::Usage, problem)
                .hint("give more recordings, or measure fewer steps: `--reach STEPS`")
        })?;
        Ok(Probed { name, network, flow })
    };
    let mut probed = Vec::new();
    if args.untrained {
        for cell in CellKind::ALL {
            let mut config = network.config.clone();
            config.layers.iter_mut().for_each(|layer| *layer = LayerConfig::new(cell, layer.hidden));
            let mut other = initialize(&config, args.seed);
            (other.mean, other.scale) = (network.mean.clone(), network.scale.clone());
            probed.push(measure(format!("{}, untrained", cell.name()), other)?);
        }
    }
    let step_ms = step_ms(&metadata, &network);
    probed.insert(0, measure(args.model.display().to_string(), network)?);
    if let Some(svg) = &args.svg {
        let lines = lines(&probed);
        crate::fs::write(svg, plot::plot(&lines, step_ms).as_bytes())
            .map_err(|e| io_error(Stage::Output, svg, e))?;
    }
    let text =
        if args.json { as_json(&probed, step_ms).to_string() + "\n" } else { as_text(&probed, step_ms) };
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|e| Stop::output(Path::new("standard output"), e))?;
    Ok(Outcome::Done)
}

/// Time between two steps of the network, ms.
fn step_ms(metadata: &Metadata, network: &Network<f32>) -> f64 {
    f64::from(metadata.features.frame_shift_ms) * network.config.subsampling as f64
}

/// The features of the recordings, `[T, F]`, with a number of frames per recording that the subsampling divides.
fn read_features(paths: &[PathBuf], metadata: &Metadata, subsampling: usize) -> Result<Vec<f32>> {
    let (mut x, mut left) = (Vec::new(), MAX_SECONDS);
    for path in paths {
        if left <= 0.0 {
            print_note(&format!("only the first {MAX_SECONDS} s of audio are used"));
            break;
        }
        let rate = metadata.features.sample_rate;
        let clip = audio::read_clip(path, rate, None, Some(left))?;
        let name = path.display();
        clip.problems.messages().iter().for_each(|problem| say(&format!("warning: {name}: {problem}")));
        left -= clip.samples.len() as f64 / f64::from(rate);
        let mut frames = features::compute(&clip.samples, &metadata.features)?;
        let step = subsampling * metadata.features.num_mel_bins;
        frames.truncate(frames.len() / step * step);
        x.extend(frames);
    }
    Ok(x)
}

/// The lines of the diagram: each layer of the model; the last layer of each untrained network.
fn lines(probed: &[Probed]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, Probed { name, flow, .. }) in probed.iter().enumerate() {
        for (layer, norms) in flow.layers.iter().enumerate() {
            if at == 0 || layer + 1 == flow.layers.len() {
                let label = if at == 0 { format!("layer {}", layer + 1) } else { name.clone() };
                lines.push(Line { label, dashed: at > 0, norms: norms.clone() });
            }
        }
    }
    lines
}

/// The state's weights W of a layer, one matrix `[H, H]` per gate, with names; empty for wide layers.
fn state_weights(network: &Network<f32>, layer: usize) -> Vec<(&'static str, Vec<f64>)> {
    let config = network.config.layers[layer];
    let h = config.hidden;
    let Some(w) = network.parameter(&format!("layers.{layer}.{}.R", config.cell.family())) else {
        return Vec::new();
    };
    if h > MAX_WIDTH {
        return Vec::new();
    }
    let values = |block: &[f32]| block.iter().map(|&x| f64::from(x)).collect();
    config.cell.gate_names().iter().copied().zip(w.data.chunks_exact(h * h).map(values)).collect()
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

fn as_text(probed: &[Probed], step_ms: f64) -> String {
    let mut lines = Vec::new();
    for Probed { name, network, flow } in probed {
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
            for (gate, w) in state_weights(network, layer) {
                let values = singular_values(&w, hidden);
                let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
                lines.push(format!(
                    "    singular values of {gate}: largest {:.2}, median {:.2}, smallest {:.2}",
                    at(0.0),
                    at(0.5),
                    at(1.0)
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

fn as_json(probed: &[Probed], step_ms: f64) -> Value {
    let network = |Probed { name, network, flow }: &Probed| {
        let layer = |(layer, norms): (usize, &Vec<f64>)| {
            let LayerText { cell, hidden } = layer_text(network, layer);
            let decay = Decay::of(norms);
            let singular: serde_json::Map<String, Value> = state_weights(network, layer)
                .into_iter()
                .map(|(gate, w)| (gate.to_string(), json!(singular_values(&w, hidden))))
                .collect();
            json!({
                "cell": cell,
                "hidden": hidden,
                "norms": norms,
                "factor": decay.map(|decay| decay.factor),
                "half_life_steps": decay.map(|decay| decay.half_life()).filter(|steps| steps.is_finite()),
                "one_percent_steps": decay.and_then(|decay| decay.one_percent),
                "singular_values": singular,
            })
        };
        let layers: Vec<Value> = flow.layers.iter().enumerate().map(layer).collect();
        json!({ "network": name, "measured": flow.measured, "layers": layers })
    };
    json!({ "step_ms": step_ms, "networks": probed.iter().map(network).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

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
