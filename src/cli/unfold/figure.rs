//! The picture of `hearken unfold`: the folded network, three steps of it, and the whole sequence.

use super::svg::{Anchor, Area, Palette, Svg};
use super::{Part, Unfolded};
use crate::units::counted;

const WIDTH: f64 = 1400.0;
/// Height of a row of the upper part: a node and the arrow above it.
const ROW: f64 = 84.0;
const NODE_HEIGHT: f64 = 50.0;
/// Top of the upper part.
const TOP: f64 = 92.0;
/// Horizontal extent of the sequence.
const LEFT: f64 = 200.0;
const RIGHT: f64 = WIDTH - 30.0;
/// Inputs, states and outputs; also told apart by their position and by the shape of their corners.
const BLUE: &str = "#08519c";
const GREEN: &str = "#01665e";
const RED: &str = "#a50f15";
const VIOLET: &str = "#54278f";
const INK: &str = "#222";
const GRAY: &str = "#777";
/// Names of the weights of a layer's input, of which a layer has one.
const INPUT_WEIGHTS: [&str; 3] = ["W", "pointwise1.weight", "in_proj.weight"];
/// Maximum number of rows of the heat map of a layer.
const MAX_ROWS: usize = 48;
/// Height of a gate's row, with the space below it, and maximum number of rows of its heat map.
const GATE_ROW: f64 = 48.0;
const MAX_GATE_ROWS: usize = 24;
/// Position of the first of the three steps, and distance between them.
const FIRST_STEP: f64 = 520.0;
const STEP_DISTANCE: f64 = 310.0;
const STEP_WIDTH: f64 = 230.0;
/// Maximum number of tokens in the heat map of the probabilities.
const MAX_TOKENS: usize = 24;

/// Draws a part of the values.
pub(super) fn figure(unfolded: &Unfolded, part: &Part) -> String {
    let tokens = shown_tokens(unfolded, part);
    let upper = TOP + ROW * (unfolded.states.len() + 2) as f64;
    let gates: usize = (0..unfolded.states.len()).map(|layer| shown_gates(unfolded, layer).len()).sum();
    let rows = 92.0 * unfolded.states.len() as f64 + GATE_ROW * gates as f64;
    let height = upper + 250.0 + rows + 16.0 * tokens.len() as f64 + 130.0;
    let title = format!("{}, unfolded in time", unfolded.name);
    let mut svg = Svg::new(WIDTH, height, &title);
    svg.text((30.0, 34.0), Anchor::Start, 22, INK, &title);
    folded(&mut svg, unfolded);
    three_steps(&mut svg, unfolded, part);
    sequence(&mut svg, unfolded, part, &tokens, upper + 40.0);
    svg.finish()
}

/// Vertical position of the middle of a node: row 0 for the outputs, then the layers from the last, then the inputs.
fn row(at: usize) -> f64 {
    TOP + ROW * at as f64 + NODE_HEIGHT / 2.0
}

fn layer_row(unfolded: &Unfolded, layer: usize) -> f64 {
    row(unfolded.states.len() - layer)
}

/// The size and the Frobenius norm of a parameter.
fn weight(unfolded: &Unfolded, name: &str) -> String {
    let Some(parameter) = unfolded.network.parameter(name) else { return String::new() };
    let norm = parameter.data.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt();
    let shape: Vec<String> = parameter.shape.iter().map(usize::to_string).collect();
    format!("{}, norm {norm:.1}", shape.join(" × "))
}

/// The network with its loops, and the weights of each layer.
fn folded(svg: &mut Svg, unfolded: &Unfolded) {
    let (x, width) = (30.0, 170.0);
    let (middle, right) = (x + width / 2.0, x + width);
    let layers = unfolded.states.len();
    let config = &unfolded.network.config;
    svg.text((x, TOP - 24.0), Anchor::Start, 16, INK, "The network");
    let node = |y: f64| Area { x, y: y - NODE_HEIGHT / 2.0, width, height: NODE_HEIGHT };
    let input = row(layers + 1);
    svg.frame(node(input), 0.0, BLUE, 2.0);
    svg.text((middle, input - 4.0), Anchor::Middle, 14, BLUE, "input x_t");
    let sizes = format!("{} frames of {}", config.subsampling, config.num_features);
    svg.text((middle, input + 15.0), Anchor::Middle, 13, BLUE, &sizes);
    for (layer, options) in config.layers.iter().enumerate() {
        let y = layer_row(unfolded, layer);
        svg.frame(node(y), 25.0, GREEN, 2.0);
        svg.text((middle, y - 4.0), Anchor::Middle, 14, GREEN, &format!("state s_t, layer {}", layer + 1));
        let cell = format!("{}, {} values", options.cell.name(), options.hidden);
        svg.text((middle, y + 15.0), Anchor::Middle, 13, GREEN, &cell);
        let below = y + ROW;
        svg.path(&up(middle, below), "#333", 1.5, true);
        let name = format!("layers.{layer}.{}", options.cell.family());
        let u = INPUT_WEIGHTS.map(|weights| weight(unfolded, &format!("{name}.{weights}"))).concat();
        let u = format!("U {u}");
        svg.text((middle + 8.0, y + ROW / 2.0 + 5.0), Anchor::Start, 12, GRAY, &u);
        let w = weight(unfolded, &format!("{name}.R"));
        let d = format!(
            "M{right:.1} {:.1}C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}",
            y + 12.0,
            right + 44.0,
            y + 22.0,
            right + 44.0,
            y - 22.0,
            right + 2.0,
            y - 12.0
        );
        svg.path(&d, "#333", 1.5, true);
        let w = match (w.is_empty(), super::gates_of(options.cell)) {
            (false, _) => format!("W {w}"),
            (true, []) => counted(options.state_shapes().first().map_or(0, |shape| shape[0]), "step"),
            (true, _) => "elementwise".to_string(),
        };
        svg.text((right + 40.0, y + 5.0), Anchor::Start, 12, GRAY, &w);
    }
    let output = row(0);
    svg.frame(node(output), 8.0, RED, 2.0);
    svg.text((middle, output - 4.0), Anchor::Middle, 14, RED, "output o_t");
    svg.text((middle, output + 15.0), Anchor::Middle, 13, RED, &format!("{} tokens", config.num_tokens));
    svg.path(&up(middle, output + ROW), "#333", 1.5, true);
    let v = format!("V {}", weight(unfolded, "output.weight"));
    svg.text((middle + 8.0, output + ROW / 2.0 + 5.0), Anchor::Start, 12, GRAY, &v);
}

/// The path of an arrow from the node at `y` up to the next.
fn up(x: f64, y: f64) -> String {
    let (from, to) = (y - NODE_HEIGHT / 2.0, y - ROW + NODE_HEIGHT / 2.0 + 1.0);
    format!("M{x:.1} {from:.1}L{x:.1} {to:.1}")
}

/// The steps t-1, t and t+1 with their values.
fn three_steps(svg: &mut Svg, unfolded: &Unfolded, part: &Part) {
    let layers = unfolded.states.len();
    for (column, t) in (part.t - 1..=part.t + 1).enumerate() {
        let x = FIRST_STEP + STEP_DISTANCE * column as f64;
        let middle = x + STEP_WIDTH / 2.0;
        svg.begin(&format!("step-{column}"), x);
        step_values(svg, unfolded, part, t);
        svg.end();
        svg.begin(&format!("time-{column}"), 0.0);
        svg.text((middle, TOP - 24.0), Anchor::Middle, 16, INK, &step_title(unfolded, column, t));
        svg.end();
        let node = |y: f64| Area { x, y: y - NODE_HEIGHT / 2.0, width: STEP_WIDTH, height: NODE_HEIGHT };
        svg.frame(node(row(layers + 1)), 0.0, BLUE, 2.0);
        for layer in 0..layers {
            let y = layer_row(unfolded, layer);
            svg.frame(node(y), 25.0, GREEN, 2.0);
            svg.path(&up(middle, y + ROW), "#333", 1.5, true);
            svg.text((middle + 8.0, y + ROW / 2.0 + 5.0), Anchor::Start, 13, GRAY, "U");
            // The last one leads out of the picture.
            let (from, to) = (x + STEP_WIDTH, (x + STEP_DISTANCE - 2.0).min(WIDTH - 4.0));
            svg.path(&format!("M{from:.1} {y:.1}L{to:.1} {y:.1}"), "#333", 1.5, true);
            if column < 2 {
                svg.text(((from + to) / 2.0, y - 8.0), Anchor::Middle, 13, GRAY, "W");
            }
            if column == 0 {
                svg.path(&format!("M{:.1} {y:.1}L{:.1} {y:.1}", x - 50.0, x - 2.0), "#333", 1.5, true);
            }
        }
        let output = row(0);
        svg.path(&up(middle, output + ROW), "#333", 1.5, true);
        svg.text((middle + 8.0, output + ROW / 2.0 + 5.0), Anchor::Start, 13, GRAY, "V");
        svg.frame(node(output), 8.0, RED, 2.0);
    }
}

/// The text above a step, in column 0, 1 or 2.
pub(super) fn step_title(unfolded: &Unfolded, column: usize, t: usize) -> String {
    format!("{}: {:.2} s", ["t-1", "t", "t+1"][column], t as f64 * unfolded.step)
}

/// The values of a step: input, states and the most probable outputs. Its left side is at 0.
pub(super) fn step_values(svg: &mut Svg, unfolded: &Unfolded, part: &Part, t: usize) {
    let layers = unfolded.states.len();
    let inside = |y: f64| Area {
        x: 10.0,
        y: y - NODE_HEIGHT / 2.0 + 8.0,
        width: STEP_WIDTH - 20.0,
        height: NODE_HEIGHT - 16.0,
    };
    let columns: Vec<Vec<f32>> =
        unfolded.features[t].iter().map(|&value| vec![feature_level(value)]).collect();
    svg.heat_map(inside(row(layers + 1)), &columns, Palette::Blue);
    for layer in 0..layers {
        let scale = scale(unfolded, part, layer);
        let values = folded_values(&unfolded.states[layer][t], scale);
        svg.heat_map(inside(layer_row(unfolded, layer)), &values, Palette::BrownGreen);
    }
    let output = Area { x: 0.0, y: row(0) - NODE_HEIGHT / 2.0, width: STEP_WIDTH, height: NODE_HEIGHT };
    most_probable(svg, unfolded, t, output);
}

/// Names and symbols of the gates of a layer that are drawn.
fn shown_gates(unfolded: &Unfolded, layer: usize) -> &'static [(&'static str, &'static str)] {
    match unfolded.gates.is_empty() {
        true => &[],
        false => super::gates_of(unfolded.network.config.layers[layer].cell),
    }
}

/// The three most probable tokens of a step, with bars.
fn most_probable(svg: &mut Svg, unfolded: &Unfolded, t: usize, area: Area) {
    let probabilities = &unfolded.probabilities[t];
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    for (i, &token) in order.iter().take(3).enumerate() {
        let (y, p) = (area.y + 4.0 + 14.5 * i as f64, f64::from(probabilities[token]));
        svg.bar(Area { x: area.x + 70.0, y, width: (p * 100.0).max(1.0), height: 11.0 }, RED);
        svg.text((area.x + 62.0, y + 10.5), Anchor::End, 13, INK, &token_name(unfolded, token));
        svg.text((area.x + area.width - 10.0, y + 10.5), Anchor::End, 13, INK, &format!("{p:.2}"));
    }
}

/// The name of a token; the blank by that word.
fn token_name(unfolded: &Unfolded, token: usize) -> String {
    if token == unfolded.blank { "blank".into() } else { unfolded.tokens[token].clone() }
}

/// The tokens of the heat map, in the order of their largest probabilities in time.
fn shown_tokens(unfolded: &Unfolded, part: &Part) -> Vec<usize> {
    let peak = |token: usize| {
        let steps = part.steps.clone().map(|t| (unfolded.probabilities[t][token], t));
        steps.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, 0))
    };
    let mut peaks: Vec<(usize, (f32, usize))> = (0..unfolded.tokens.len())
        .filter(|&token| token != unfolded.blank)
        .map(|token| (token, peak(token)))
        .filter(|(_, (p, _))| *p > 0.1)
        .collect();
    peaks.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    peaks.truncate(MAX_TOKENS);
    peaks.sort_by_key(|(_, (_, t))| *t);
    peaks.into_iter().map(|(token, _)| token).collect()
}

/// A normalized feature from -2 to 2 as a level from 0 to 1.
fn feature_level(value: f32) -> f32 {
    (value + 2.0) / 4.0
}

/// The largest absolute value of a layer's states in the part, at least 1, which tanh never exceeds.
fn scale(unfolded: &Unfolded, part: &Part, layer: usize) -> f32 {
    let states = &unfolded.states[layer][part.steps.clone()];
    states.iter().flatten().fold(1.0, |most, value| most.max(value.abs()))
}

/// The values of a state in rows below each other, as levels from 0 to 1.
fn folded_values(state: &[f32], scale: f32) -> Vec<Vec<f32>> {
    let rows = state.len().div_ceil(80).max(1);
    let columns = state.len().div_ceil(rows);
    let level = |value: f32| (value / scale + 1.0) / 2.0;
    (0..columns)
        .map(|c| (0..rows).rev().map(|r| state.get(r * columns + c).map_or(0.5, |&v| level(v))).collect())
        .collect()
}

/// The sequence: waveform, features, states, probabilities and words, aligned in time.
fn sequence(svg: &mut Svg, unfolded: &Unfolded, part: &Part, tokens: &[usize], top: f64) {
    let steps = part.steps.len();
    let x_of = |seconds: f64| {
        let start = part.steps.start as f64 * unfolded.step;
        LEFT + (seconds - start) / (steps as f64 * unfolded.step) * (RIGHT - LEFT)
    };
    let area = |y: f64, height: f64| Area { x: LEFT, y, width: RIGHT - LEFT, height };
    let label = |svg: &mut Svg, y: f64, color: &str, lines: &[&str]| {
        for (i, line) in lines.iter().enumerate() {
            svg.text(
                (LEFT - 12.0, y + 16.0 + 17.0 * i as f64),
                Anchor::End,
                14 - i.min(1) as u32,
                color,
                line,
            );
        }
    };
    svg.text((30.0, top), Anchor::Start, 16, INK, "The sequence");
    let mut y = top + 16.0;
    label(svg, y, INK, &["waveform"]);
    waveform(svg, unfolded, part, area(y, 60.0));
    y += 74.0;
    label(svg, y, BLUE, &["inputs x_t", "log mel energies"]);
    let halved = |t: usize| {
        unfolded.features[t].chunks(2).map(|pair| feature_level(pair.iter().sum::<f32>() / pair.len() as f32))
    };
    let columns: Vec<Vec<f32>> = part.steps.clone().map(|t| halved(t).collect()).collect();
    svg.heat_map(area(y, 90.0), &columns, Palette::Blue);
    y += 104.0;
    for (layer, states) in unfolded.states.iter().enumerate() {
        let width = states.first().map_or(0, Vec::len);
        let stride = width.div_ceil(MAX_ROWS).max(1);
        let shown = format!("layer {}: {} of {width}", layer + 1, width.div_ceil(stride));
        label(svg, y, GREEN, &["states s_t", &shown]);
        let scale = scale(unfolded, part, layer);
        let level = |value: &f32| (value / scale + 1.0) / 2.0;
        let columns: Vec<Vec<f32>> = states[part.steps.clone()]
            .iter()
            .map(|s| s.iter().step_by(stride).map(level).collect())
            .collect();
        svg.heat_map(area(y, 78.0), &columns, Palette::BrownGreen);
        y += 92.0;
        for (gate, (name, symbol)) in shown_gates(unfolded, layer).iter().enumerate() {
            let hidden = unfolded.network.config.layers[layer].hidden;
            let stride = hidden.div_ceil(MAX_GATE_ROWS).max(1);
            label(svg, y, VIOLET, &[&format!("{name} gate {symbol}")]);
            let values = |t: usize| &unfolded.gates[layer][t][gate * hidden..(gate + 1) * hidden];
            let columns: Vec<Vec<f32>> =
                part.steps.clone().map(|t| values(t).iter().step_by(stride).copied().collect()).collect();
            svg.heat_map(area(y, GATE_ROW - 12.0), &columns, Palette::Violet);
            y += GATE_ROW;
        }
    }
    let height = 16.0 * tokens.len() as f64;
    if !tokens.is_empty() {
        svg.text((30.0, y + 13.0), Anchor::Start, 14, RED, "outputs o_t");
        let columns: Vec<Vec<f32>> = part
            .steps
            .clone()
            .map(|t| tokens.iter().rev().map(|&token| unfolded.probabilities[t][token]).collect())
            .collect();
        svg.heat_map(area(y, height), &columns, Palette::Red);
        for (i, &token) in tokens.iter().enumerate() {
            let at = (LEFT - 12.0, y + 16.0 * i as f64 + 13.0);
            svg.text(at, Anchor::End, 13, RED, &token_name(unfolded, token));
        }
    }
    y += height + 10.0;
    label(svg, y, INK, &["words"]);
    for (word, start, end) in &unfolded.words {
        let (from, to) = (x_of(*start).max(LEFT), x_of(*end).min(RIGHT));
        if from < to {
            svg.bar(Area { x: from, y, width: (to - from - 1.0).max(1.0), height: 3.0 }, INK);
            svg.text(((from + to) / 2.0, y + 20.0), Anchor::Middle, 14, INK, word);
        }
    }
    y += 34.0;
    axis(svg, unfolded, part, y, x_of);
    // The three steps, over all panels.
    let from = x_of((part.t - 1) as f64 * unfolded.step);
    let to = x_of((part.t + 2) as f64 * unfolded.step);
    svg.begin("window", 0.0);
    svg.frame(Area { x: from, y: top + 12.0, width: to - from, height: y - top - 12.0 }, 0.0, INK, 1.0);
    svg.text(((from + to) / 2.0, top + 6.0), Anchor::Middle, 13, INK, "t-1, t, t+1");
    svg.end();
    legend(svg, !unfolded.gates.is_empty(), y + 52.0);
}

/// The waveform: the range of the samples in each column of pixels.
fn waveform(svg: &mut Svg, unfolded: &Unfolded, part: &Part, area: Area) {
    let per_step = unfolded.step * f64::from(unfolded.sample_rate);
    let first = part.steps.start as f64 * per_step;
    let columns = area.width as usize;
    let per_column = part.steps.len() as f64 * per_step / columns as f64;
    let loudest = unfolded.samples.iter().fold(1e-3f32, |most, sample| most.max(sample.abs()));
    let middle = area.y + area.height / 2.0;
    let mut d = String::new();
    for column in 0..columns {
        let from = (first + column as f64 * per_column) as usize;
        let to = ((first + (column + 1) as f64 * per_column) as usize).max(from + 1);
        let Some(samples) = unfolded.samples.get(from..to.min(unfolded.samples.len())) else { break };
        let (low, high) = samples.iter().fold((0f32, 0f32), |(low, high), &s| (low.min(s), high.max(s)));
        let y_of = |sample: f32| middle - f64::from(sample / loudest) * area.height / 2.0;
        d += &format!("M{:.0} {:.1}V{:.1}", area.x + column as f64, y_of(high), y_of(low) + 0.5);
    }
    if !d.is_empty() {
        svg.path(&d, "#555", 1.0, false);
    }
}

/// The time axis.
fn axis(svg: &mut Svg, unfolded: &Unfolded, part: &Part, y: f64, x_of: impl Fn(f64) -> f64) {
    let (start, end) = (part.steps.start as f64 * unfolded.step, part.steps.end as f64 * unfolded.step);
    let tick = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|tick| (end - start) / tick <= 14.0)
        .unwrap_or(20.0);
    svg.path(&format!("M{LEFT:.1} {y:.1}L{RIGHT:.1} {y:.1}"), INK, 1.0, false);
    for i in (start / tick).ceil() as usize..=(end / tick + 1e-9).floor() as usize {
        let (seconds, digits) = (i as f64 * tick, if tick < 0.1 { 2 } else { 1 });
        let x = x_of(seconds);
        svg.path(&format!("M{x:.1} {y:.1}v6"), INK, 1.0, false);
        svg.text((x, y + 20.0), Anchor::Middle, 13, INK, &format!("{seconds:.digits$}"));
    }
    svg.text((LEFT - 12.0, y + 20.0), Anchor::End, 13, INK, "time, s");
}

/// What the colors mean.
fn legend(svg: &mut Svg, has_gates: bool, y: f64) {
    let ramp: Vec<Vec<f32>> = (0..16).map(|i| vec![i as f32 / 15.0]).collect();
    let entries = [
        (Palette::Blue, BLUE, "inputs, normalized: -2", "2"),
        (Palette::BrownGreen, GREEN, "states: -1", "1"),
        (Palette::Red, RED, "probabilities: 0", "1"),
        (Palette::Violet, VIOLET, "gates: 0", "1"),
    ];
    let shown = if has_gates { entries.len() } else { entries.len() - 1 };
    let distance = 1170.0 / shown as f64;
    for (i, (palette, color, low, high)) in entries.into_iter().take(shown).enumerate() {
        let x = LEFT + 170.0 + distance * i as f64;
        svg.text((x - 8.0, y + 12.0), Anchor::End, 13, color, low);
        let area = Area { x, y, width: 120.0, height: 14.0 };
        svg.heat_map(area, &ramp, palette);
        svg.frame(area, 0.0, GRAY, 0.5);
        svg.text((x + 128.0, y + 12.0), Anchor::Start, 13, color, high);
    }
}

/// Where the sequence is drawn, for scripts: its left and right side, px.
pub(super) const SEQUENCE: (f64, f64) = (LEFT, RIGHT);
