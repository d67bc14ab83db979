//! The network computed by our own code, straight from its equations.

use super::batch::{check_call, zero_state};
use super::{Engine, EngineSpec, State, TensorData};
use crate::error::{Error, Result, Stage};
use crate::model::network::LAYER_NORM_EPSILON;
use crate::model::{CellKind, Network};
use crate::onnx::export;
use crate::onnx::states::{StatePlace, state_places};

/// Our own engine.
pub struct NativeEngine {
    spec: EngineSpec,
    network: Network<f32>,
    places: Vec<Vec<StatePlace>>,
}

impl NativeEngine {
    /// An engine of a network.
    ///
    /// # Errors
    /// When the network's parts do not fit its configuration.
    pub fn new(network: Network<f32>) -> Result<Self> {
        export::check(&network)?;
        let spec = EngineSpec::of(&network.config, "native");
        Ok(Self { spec, places: state_places(&network.config), network })
    }

    fn weights(&self, name: &str) -> &[f32] {
        self.network.parameter(name).map_or(&[], |p| &p.data)
    }

    fn norm(&self, prefix: &str, x: &mut [f32]) {
        if self.network.config.layer_norm {
            layer_norm(x, self.weights(&format!("{prefix}.gain")), self.weights(&format!("{prefix}.bias")));
        }
    }

    fn linear(&self, prefix: &str, x: &[f32]) -> Vec<f32> {
        let bias = self.weights(&format!("{prefix}.bias"));
        affine(self.weights(&format!("{prefix}.weight")), x, bias)
    }

    /// One step: S stacked frames to log-probabilities.
    fn step(&self, frames: &[f32], state: &mut State) -> Result<Vec<f32>> {
        let (config, network) = (&self.network.config, &self.network);
        let stacked: Vec<f32> = frames
            .chunks_exact(config.num_features)
            .flat_map(|f| f.iter().zip(&network.mean).zip(&network.scale).map(|((x, m), s)| (x - m) * s))
            .collect();
        let mut x = self.linear("input", &stacked);
        self.norm("input_norm", &mut x);
        for (i, layer) in config.layers.iter().enumerate() {
            let [h, c] = [0, 1].map(|k| self.places[i].get(k).copied());
            let width = layer.hidden;
            let mut hidden = read(state, h, width)?;
            let mut cell = if layer.cell == CellKind::Lstm { read(state, c, width)? } else { Vec::new() };
            self.cell(i, &x, &mut hidden, &mut cell);
            store(state, h, &hidden);
            store(state, c, &cell);
            self.norm(&format!("layers.{i}.norm"), &mut hidden);
            if config.residual && width == x.len() {
                hidden.iter_mut().zip(&x).for_each(|(y, x)| *y += x);
            }
            x = hidden;
        }
        let mut logits = self.linear("output", &x);
        log_softmax(&mut logits);
        Ok(logits)
    }

    /// Moves the state of layer `i` on by one step. Gates are in ONNX's order: z, r, h and
    /// i, o, f, c.
    fn cell(&self, i: usize, x: &[f32], h: &mut Vec<f32>, c: &mut [f32]) {
        let layer = self.network.config.layers[i];
        let n = layer.hidden;
        let prefix = format!("layers.{i}.{}", layer.cell.family());
        let [w, r, b] = ["W", "R", "B"].map(|s| self.weights(&format!("{prefix}.{s}")));
        let rows = layer.cell.gates() * n;
        let (input_bias, recurrent_bias) = b.split_at(rows);
        let u = affine(w, x, input_bias);
        match layer.cell {
            CellKind::RnnTanh | CellKind::RnnRelu => {
                let s = affine(r, h, recurrent_bias);
                let relu = layer.cell == CellKind::RnnRelu;
                *h = u
                    .iter()
                    .zip(&s)
                    .map(|(u, s)| if relu { (u + s).max(0.0) } else { (u + s).tanh() })
                    .collect();
            }
            CellKind::Gru => {
                let s = affine(r, h, recurrent_bias);
                for j in 0..n {
                    let z = sigmoid(u[j] + s[j]);
                    let reset = sigmoid(u[n + j] + s[n + j]);
                    let candidate = (u[2 * n + j] + reset * s[2 * n + j]).tanh();
                    h[j] = (1.0 - z) * candidate + z * h[j];
                }
            }
            CellKind::GruResetBefore => {
                let gates = affine(&r[..2 * n * n], h, &recurrent_bias[..2 * n]);
                let kept: Vec<f32> = (0..n).map(|j| sigmoid(u[n + j] + gates[n + j]) * h[j]).collect();
                let s = affine(&r[2 * n * n..], &kept, &recurrent_bias[2 * n..]);
                for j in 0..n {
                    let z = sigmoid(u[j] + gates[j]);
                    h[j] = (1.0 - z) * (u[2 * n + j] + s[j]).tanh() + z * h[j];
                }
            }
            CellKind::Lstm => {
                let s = affine(r, h, recurrent_bias);
                for j in 0..n {
                    let gate = |k: usize| u[k * n + j] + s[k * n + j];
                    c[j] = sigmoid(gate(2)) * c[j] + sigmoid(gate(0)) * gate(3).tanh();
                    h[j] = sigmoid(gate(1)) * c[j].tanh();
                }
            }
        }
    }
}

impl Engine for NativeEngine {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn zero_state(&self) -> State {
        zero_state(&self.spec.states, |_| false)
    }

    fn run(
        &self,
        frames: &[&[f32]],
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> Result<()> {
        check_call(&self.spec, frames, states, log_probs.len())?;
        let step = self.spec.shift * self.spec.num_features;
        for ((frames, state), out) in frames.iter().zip(states).zip(log_probs) {
            for stacked in frames.chunks_exact(step) {
                out.extend(self.step(stacked, state)?);
            }
        }
        Ok(())
    }
}

fn read(state: &State, place: Option<StatePlace>, width: usize) -> Result<Vec<f32>> {
    let values = place.and_then(|p| match &state.tensors.get(p.tensor)?.data {
        TensorData::F32(values) => values.get(p.row * width..(p.row + 1) * width),
        TensorData::I64(_) => None,
    });
    let missing =
        || Error::new(Stage::Engine, "expected the state of a stream of this engine, found another one's");
    Ok(values.ok_or_else(missing)?.to_vec())
}

fn store(state: &mut State, place: Option<StatePlace>, values: &[f32]) {
    let Some(place) = place else { return };
    if let TensorData::F32(all) = &mut state.tensors[place.tensor].data {
        let at = place.row * values.len();
        all[at..at + values.len()].copy_from_slice(values);
    }
}

/// W x + b, W row-major `[b.len(), x.len()]`.
fn affine(w: &[f32], x: &[f32], b: &[f32]) -> Vec<f32> {
    w.chunks_exact(x.len().max(1))
        .zip(b)
        .map(|(row, b)| b + row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>())
        .collect()
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// (x - mean) / sqrt(variance + epsilon) * gain + bias (Ba et al. 2016).
fn layer_norm(x: &mut [f32], gain: &[f32], bias: &[f32]) {
    let n = x.len() as f32;
    let mean = x.iter().sum::<f32>() / n;
    let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n;
    let scale = 1.0 / (variance + LAYER_NORM_EPSILON).sqrt();
    for ((x, gain), bias) in x.iter_mut().zip(gain).zip(bias) {
        *x = (*x - mean) * scale * gain + bias;
    }
}

fn log_softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = x.iter().map(|v| (v - max).exp()).sum();
    let log_sum = max + sum.ln();
    x.iter_mut().for_each(|v| *v -= log_sum);
}
