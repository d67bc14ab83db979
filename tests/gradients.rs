//! Every gradient against central finite differences, in f64: each cell, each parameter, the
//! input, the initial state; ragged batches, an auxiliary output, residuals.

use hearken::model::network::initialize;
use hearken::model::{
    AuxiliaryConfig, CellKind, LayerConfig, Network, NetworkConfig, PackedSequence, PackedWeights, Precision,
    Purpose, States, Workspace,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

struct Case {
    network: Network<f64>,
    x: Vec<f64>,
    states: States<f64>,
    steps: PackedSequence,
    /// Weights of the outputs and last states in the scalar loss.
    outputs: Vec<Vec<f64>>,
    last: States<f64>,
}

const EXTRA_TOKENS: usize = 4;

/// A layer of which a step depends on few others, so that the number of differences stays small; with several heads
/// where they divide the width.
fn layer(cell: CellKind, hidden: usize) -> LayerConfig {
    let layer = LayerConfig::new(cell, hidden);
    match cell {
        CellKind::Attention => {
            let num_heads = if hidden == 5 { 5 } else { 1 };
            LayerConfig { num_heads, left_context: 3, dim_feedforward: 6, ..layer }
        }
        CellKind::Tdnnf => LayerConfig { bottleneck_dim: 3, time_stride: 2, ..layer },
        CellKind::Lstmp => LayerConfig { cell_dim: 8, ..layer },
        _ => layer,
    }
}

fn case(cell: CellKind, layer_norm: bool, residual: bool, seed: u64) -> Case {
    let config = NetworkConfig {
        auxiliary: Some(AuxiliaryConfig { layer: 0, num_tokens: EXTRA_TOKENS }),
        num_features: 3,
        subsampling: 2,
        input_size: 5,
        layers: vec![layer(cell, 5), layer(cell, 7)],
        layer_norm,
        residual,
        num_tokens: 3,
    };
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut random = |n: usize| -> Vec<f64> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let mut network = initialize::<f64>(&config, seed);
    for parameter in &mut network.parameters {
        for (value, noise) in parameter.data.iter_mut().zip(random(1000)) {
            *value += 0.2 * noise;
        }
    }
    network.mean = random(3);
    network.scale = vec![0.7, 1.1, 1.3];
    let steps = PackedSequence::new(&[6, 4, 4, 1]);
    let zeros =
        PackedWeights::new(&network, Purpose::Inference).expect("all parameters are there").zero_states(4);
    let mut states = || {
        let mut like = |zeros: &[Vec<f64>]| zeros.iter().map(|layer| random(layer.len())).collect();
        States { hidden: like(&zeros.hidden), cell: like(&zeros.cell) }
    };
    let (states, last) = (states(), states());
    Case {
        x: random(steps.rows() * 6),
        states,
        outputs: vec![random(steps.rows() * 3), random(steps.rows() * EXTRA_TOKENS)],
        last,
        steps,
        network,
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Case {
    fn weights(&self) -> PackedWeights<f64> {
        PackedWeights::new(&self.network, Purpose::Training(Precision::Fp32))
            .expect("all parameters are there")
    }

    fn loss(&self) -> f64 {
        let weights = self.weights();
        let (mut workspace, mut states) = (Workspace::default(), self.states.clone());
        weights.forward(&self.x, &self.steps, &mut states, &mut workspace, None);
        let mut loss = 0.0;
        for (head, outputs) in self.outputs.iter().enumerate() {
            let mut logits = Vec::new();
            weights.logits(&workspace, head, &mut logits);
            loss += dot(&logits, outputs);
        }
        for (a, b) in
            states.hidden.iter().chain(&states.cell).zip(self.last.hidden.iter().chain(&self.last.cell))
        {
            loss += dot(a, b);
        }
        loss
    }

    /// The derivative of the loss with respect to one number of the case, by finite differences.
    fn slope(&mut self, pick: impl Fn(&mut Case) -> &mut f64) -> f64 {
        let delta = 1e-5;
        let value = *pick(self);
        *pick(self) = value + delta;
        let above = self.loss();
        *pick(self) = value - delta;
        let below = self.loss();
        *pick(self) = value;
        (above - below) / (2.0 * delta)
    }
}

fn close(found: f64, expected: f64, what: &str) {
    assert!(
        (found - expected).abs() <= 1e-6 * (1.0 + expected.abs()),
        "{what}: the backward pass has {found}, finite differences {expected}"
    );
}

fn check(cell: CellKind, layer_norm: bool, residual: bool) {
    let mut case = case(cell, layer_norm, residual, 7);
    let weights = case.weights();
    let (mut workspace, mut states) = (Workspace::default(), case.states.clone());
    weights.forward(&case.x, &case.steps, &mut states, &mut workspace, None);
    let mut gradients: Vec<Vec<f64>> =
        case.network.parameters.iter().map(|p| vec![0.0; p.data.len()]).collect();
    let dlogits: Vec<&[f64]> = case.outputs.iter().map(Vec::as_slice).collect();
    let dfirst = weights.backward(&case.steps, &dlogits, case.last.clone(), &mut workspace, &mut gradients);
    let mut dx = Vec::new();
    weights.input_gradient(&workspace, &mut dx);

    let names: Vec<String> = case.network.parameters.iter().map(|p| p.name.clone()).collect();
    for (p, name) in names.iter().enumerate() {
        for (i, &found) in gradients[p].iter().enumerate() {
            let expected = case.slope(|c| &mut c.network.parameters[p].data[i]);
            close(found, expected, &format!("{cell:?} {name}[{i}]"));
        }
    }
    for (i, &found) in dx.iter().enumerate() {
        let scale = case.network.scale[i % 3];
        let expected = case.slope(|c| &mut c.x[i]);
        close(found * scale, expected, &format!("{cell:?} input {i}"));
    }
    for layer in 0..2 {
        for i in 0..case.states.hidden[layer].len() {
            let expected = case.slope(|c| &mut c.states.hidden[layer][i]);
            close(dfirst.hidden[layer][i], expected, &format!("{cell:?} first state {layer} {i}"));
        }
        for i in 0..case.states.cell[layer].len() {
            let expected = case.slope(|c| &mut c.states.cell[layer][i]);
            close(dfirst.cell[layer][i], expected, &format!("{cell:?} first cell {layer} {i}"));
        }
    }
}

#[test]
fn rnn_tanh() {
    check(CellKind::RnnTanh, true, true);
    check(CellKind::RnnTanh, false, false);
}

#[test]
fn rnn_relu() {
    check(CellKind::RnnRelu, true, true);
    check(CellKind::RnnRelu, false, true);
}

#[test]
fn gru() {
    check(CellKind::Gru, true, true);
    check(CellKind::Gru, false, false);
}

#[test]
fn gru_with_the_reset_gate_before_the_product() {
    check(CellKind::GruResetBefore, true, true);
    check(CellKind::GruResetBefore, false, false);
}

#[test]
fn lstm() {
    check(CellKind::Lstm, true, true);
    check(CellKind::Lstm, false, false);
}

#[test]
fn mingru() {
    check(CellKind::MinGru, true, true);
    check(CellKind::MinGru, false, false);
}

#[test]
fn conv() {
    check(CellKind::Conv, true, true);
    check(CellKind::Conv, false, false);
}

#[test]
fn attention() {
    check(CellKind::Attention, true, true);
    check(CellKind::Attention, false, false);
}

#[test]
fn rglru() {
    check(CellKind::RgLru, true, true);
    check(CellKind::RgLru, false, false);
}

#[test]
fn tdnnf() {
    check(CellKind::Tdnnf, true, true);
    check(CellKind::Tdnnf, false, false);
}

#[test]
fn lstmp() {
    check(CellKind::Lstmp, true, true);
    check(CellKind::Lstmp, false, false);
}

#[test]
fn a_new_mingru_remembers_for_2_to_75_steps() {
    let hidden = 400;
    let case = case(CellKind::MinGru, true, true, 5);
    let layers = vec![LayerConfig::new(CellKind::MinGru, hidden)];
    let config = NetworkConfig { layers, auxiliary: None, ..case.network.config };
    let network = initialize::<f64>(&config, 1);
    let biases = &network.parameter("layers.0.mingru.B").expect("there").data;
    let mut steps: Vec<f64> = biases[..hidden].iter().map(|b| 1.0 + (-b).exp()).collect();
    steps.sort_by(f64::total_cmp);
    assert!(steps[0] >= 2.0 && steps[hidden - 1] <= 75.0, "{} to {}", steps[0], steps[hidden - 1]);
    // The middle of the logarithms of 2 and 75.
    assert!((10.0..15.0).contains(&steps[hidden / 2]), "{}", steps[hidden / 2]);
    assert!(biases[hidden..].iter().all(|&b| b == 0.0), "the candidate has no bias at first");
}

#[test]
fn a_ragged_batch_equals_its_streams_alone() {
    for cell in CellKind::ALL {
        let case = case(cell, true, true, 3);
        let weights = case.weights();
        let (mut workspace, mut states) = (Workspace::default(), case.states.clone());
        weights.forward(&case.x, &case.steps, &mut states, &mut workspace, None);
        let mut together = Vec::new();
        weights.logits(&workspace, 0, &mut together);
        for (b, &length) in case.steps.lengths().iter().enumerate() {
            let rows: Vec<usize> = (0..length).map(|t| case.steps.row(t, b)).collect();
            let x: Vec<f64> = rows.iter().flat_map(|&r| case.x[r * 6..(r + 1) * 6].to_vec()).collect();
            let streams = case.steps.streams();
            let own = |s: &Vec<f64>| s[b * s.len() / streams..(b + 1) * s.len() / streams].to_vec();
            let pick = |all: &[Vec<f64>]| -> Vec<Vec<f64>> { all.iter().map(own).collect() };
            let mut own = States { hidden: pick(&case.states.hidden), cell: pick(&case.states.cell) };
            weights.forward(&x, &PackedSequence::uniform(1, length), &mut own, &mut workspace, None);
            let mut alone = Vec::new();
            weights.logits(&workspace, 0, &mut alone);
            for (t, &row) in rows.iter().enumerate() {
                for v in 0..3 {
                    assert!((alone[t * 3 + v] - together[row * 3 + v]).abs() < 1e-12);
                }
            }
            assert_eq!(own.hidden, pick(&states.hidden), "{cell:?}: last states of stream {b}");
        }
    }
}

#[test]
fn a_stream_in_parts_equals_the_whole() {
    let cells = CellKind::ALL.map(|cell| vec![cell; 2]);
    let mixtures = [
        vec![CellKind::Conv, CellKind::MinGru, CellKind::Conv, CellKind::Attention],
        vec![CellKind::Attention, CellKind::RnnTanh, CellKind::Attention],
        vec![CellKind::Lstm, CellKind::Conv, CellKind::Gru, CellKind::Lstmp],
        vec![CellKind::Tdnnf, CellKind::RgLru, CellKind::Conv, CellKind::Tdnnf],
    ];
    for cells in cells.into_iter().chain(mixtures) {
        let layers = cells.iter().map(|&cell| layer(cell, 6)).collect();
        let config =
            NetworkConfig { layers, auxiliary: None, ..case(CellKind::Gru, true, true, 1).network.config };
        let weights =
            PackedWeights::new(&initialize::<f32>(&config, 4), Purpose::Inference).expect("all are there");
        let mut rng = Pcg64Mcg::seed_from_u64(9);
        let x: Vec<f32> = (0..2 * 23 * 6).map(|_| rng.random_range(-1.0..1.0)).collect();
        let run = |parts: &[usize]| {
            let (mut states, mut workspace) = (weights.zero_states(2), Workspace::default());
            let (mut all, mut logits, mut at) = (Vec::new(), Vec::new(), 0);
            for &steps in parts {
                let part = &x[at * 12..(at + steps) * 12];
                weights.forward(part, &PackedSequence::uniform(2, steps), &mut states, &mut workspace, None);
                weights.logits(&workspace, 0, &mut logits);
                all.extend_from_slice(&logits);
                at += steps;
            }
            (all, states)
        };
        let whole = run(&[23]);
        for parts in [&[1; 23][..], &[2, 1, 9, 3, 8], &[11, 12]] {
            assert_eq!(run(parts), whole, "{cells:?} in {parts:?}");
        }
    }
}

/// The gradients of all parameters of a network of f32 whose layers are wider than a tile.
fn gradients_in(precision: Precision, cell: CellKind) -> Vec<Vec<f32>> {
    let layers = vec![LayerConfig::new(cell, 40), LayerConfig::new(cell, 40)];
    let config =
        NetworkConfig { layers, input_size: 40, ..case(CellKind::Gru, true, true, 1).network.config };
    let network = initialize::<f32>(&config, 4);
    let weights = PackedWeights::new(&network, Purpose::Training(precision)).expect("all are there");
    let steps = PackedSequence::new(&[50, 50, 43, 12, 1]);
    let mut rng = Pcg64Mcg::seed_from_u64(9);
    let mut random = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
    let x = random(steps.rows() * 6);
    let outputs = [random(steps.rows() * 3), random(steps.rows() * EXTRA_TOKENS)];
    let (mut workspace, mut states) = (Workspace::default(), weights.zero_states(5));
    weights.forward(&x, &steps, &mut states, &mut workspace, None);
    let mut gradients: Vec<Vec<f32>> = network.parameters.iter().map(|p| vec![0.0; p.data.len()]).collect();
    let dlogits: Vec<&[f32]> = outputs.iter().map(Vec::as_slice).collect();
    weights.backward(&steps, &dlogits, weights.zero_states(5), &mut workspace, &mut gradients);
    gradients
}

#[test]
fn gradients_in_bf16_differ_by_its_rounding() {
    if !Precision::Bf16.is_supported() {
        eprintln!("NOT TESTED: this processor has no bf16 instructions");
        return;
    }
    for cell in CellKind::ALL {
        let (exact, rounded) = (gradients_in(Precision::Fp32, cell), gradients_in(Precision::Bf16, cell));
        let (mut difference, mut size) = (0.0, 0.0);
        for (a, b) in exact.iter().flatten().zip(rounded.iter().flatten()) {
            difference += f64::from((a - b) * (a - b));
            size += f64::from(a * a);
        }
        let relative = (difference / size).sqrt();
        // A factor is rounded by up to 2^-9; the errors of products add up over layers and steps, most where a rectifier changes sides.
        assert!(relative > 0.0 && relative < 0.25, "{cell:?}: {relative}");
    }
}
