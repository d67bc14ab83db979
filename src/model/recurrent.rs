//! A recurrent layer of any cell over a ragged batch: forward, and back through time.
//!
//! The share of the inputs, `U x_t`, is one matrix product over all steps; only the share of the
//! state, `W s_(t-1)`, has to wait for the step before (U is ONNX's W, W is ONNX's R).

use super::config::{CellKind, LayerConfig};
use super::kernels::{self, Kernels};
use super::packed::Packed;
use super::real::Real;
use super::steps::Steps;

/// A layer's weights, laid out for the products of a step.
#[derive(Clone, Debug)]
pub struct RecurrentWeights<T> {
    pub(crate) config: LayerConfig,
    /// in → kH.
    input: Packed<T>,
    /// H → kH (without the candidate's rows where the reset gate comes before).
    state: Packed<T>,
    /// H → H: the candidate's rows where the reset gate comes before.
    candidate: Option<Packed<T>>,
    /// Added to `U x_t`: `[kH]`.
    bias: Vec<T>,
    /// Added to the state's share of the candidate under the reset gate: `[H]` (gru).
    candidate_bias: Vec<T>,
    /// kH → in, kH → H, for the gradients; only when training.
    backward: Option<BackwardWeights<T>>,
}

/// kH → in, kH → H, and H → H of the candidate's rows where the reset gate comes before.
type BackwardWeights<T> = (Packed<T>, Packed<T>, Option<Packed<T>>);

impl<T: Kernels> RecurrentWeights<T> {
    /// Lays out `w [kH, in]`, `r [kH, H]`, `b [2kH]` (ONNX gate order).
    pub fn new(config: LayerConfig, w: &[T], r: &[T], b: &[T], training: bool) -> Self {
        let (h, rows) = (config.hidden, config.cell.gates() * config.hidden);
        let inputs = w.len() / rows.max(1);
        let mut bias: Vec<T> = b[..rows].iter().zip(&b[rows..]).map(|(&x, &y)| x + y).collect();
        let mut candidate_bias = Vec::new();
        let split = config.cell == CellKind::GruResetBefore;
        if config.cell == CellKind::Gru {
            bias[2 * h..].copy_from_slice(&b[2 * h..rows]);
            candidate_bias.extend_from_slice(&b[rows + 2 * h..]);
        }
        let own = if split { 2 * h } else { rows };
        Self {
            config,
            input: Packed::transposed(w, rows, inputs),
            state: Packed::transposed(&r[..own * h], own, h),
            candidate: split.then(|| Packed::transposed(&r[own * h..], h, h)),
            bias,
            candidate_bias,
            backward: training.then(|| {
                (
                    Packed::plain(w, rows, inputs),
                    Packed::plain(&r[..own * h], own, h),
                    split.then(|| Packed::plain(&r[own * h..], h, h)),
                )
            }),
        }
    }

    fn rows(&self) -> usize {
        self.config.cell.gates() * self.config.hidden
    }
}

/// What the forward pass keeps for the backward pass, and the layer's outputs. R rows in all.
#[derive(Clone, Debug, Default)]
pub struct RecurrentTrace<T> {
    /// The gates after their functions, `[R, kH]` (nothing for rnn, whose gate is its output).
    gates: Vec<T>,
    /// s_t: the outputs, `[R, H]`.
    pub output: Vec<T>,
    /// s_(t-1) for each row, `[R, H]`.
    before: Vec<T>,
    /// gru: the state's share of the candidate, or r ∘ s_(t-1); lstm: tanh of the cell. `[R, H]`.
    extra: Vec<T>,
    /// lstm: the cell of each row and the one before, `[R, H]`.
    cell: Vec<T>,
    cell_before: Vec<T>,
}

/// Gradients with respect to a layer's parameters, `w [kH, in]`, `r [kH, H]`, `b [2kH]`; added to.
pub struct RecurrentGradient<'a, T> {
    pub w: &'a mut [T],
    pub r: &'a mut [T],
    pub b: &'a mut [T],
}

/// Room for the gradients of a layer's sums, reused from layer to layer.
#[derive(Clone, Debug, Default)]
pub struct RecurrentScratch<T> {
    /// dL/d(U x_t + b), `[R, kH]`.
    dx: Vec<T>,
    /// dL/d(W s_(t-1) + b), `[R, kH]`, where it differs (gru).
    ds: Vec<T>,
    row: Vec<T>,
}

fn resize<T: Real>(buffer: &mut Vec<T>, len: usize) {
    buffer.clear();
    buffer.resize(len, T::ZERO);
}

/// Runs the layer over `x [R, in]` from `state [B, H]` (and `cell [B, H]` for lstm), which it
/// moves on to each stream's last step.
pub fn forward<T: Kernels>(
    weights: &RecurrentWeights<T>,
    x: &[T],
    steps: &Steps,
    state: &mut [T],
    cell: &mut [T],
    trace: &mut RecurrentTrace<T>,
) {
    let (h, k) = (weights.config.hidden, weights.rows());
    let rows = steps.rows();
    trace.gates.resize(rows * k, T::ZERO);
    kernels::set_rows(&mut trace.gates, &weights.bias);
    kernels::multiply_add(x, &weights.input, &mut trace.gates, k);
    trace.output.resize(rows * h, T::ZERO);
    trace.before.resize(rows * h, T::ZERO);
    for t in 0..steps.len() {
        let range = steps.range(t);
        let before = &mut trace.before[range.start * h..range.end * h];
        if t == 0 {
            before.copy_from_slice(&state[..range.len() * h]);
        } else {
            let last = steps.range(t - 1).start;
            before.copy_from_slice(&trace.output[last * h..(last + range.len()) * h]);
        }
        step(weights, steps, t, cell, trace);
    }
    steps.copy_last(&trace.output, h, state);
    if weights.config.cell == CellKind::Lstm {
        steps.copy_last(&trace.cell, h, cell);
    }
}

/// One step of all streams still going.
fn step<T: Kernels>(
    weights: &RecurrentWeights<T>,
    steps: &Steps,
    t: usize,
    first_cell: &[T],
    trace: &mut RecurrentTrace<T>,
) {
    let (h, k) = (weights.config.hidden, weights.rows());
    let range = steps.range(t);
    let rows = steps.rows();
    let odd = t % 2 == 1;
    let gates = &mut trace.gates[range.start * k..range.end * k];
    let own = range.start * h..range.end * h;
    let before = &trace.before[own.clone()];
    let output = &mut trace.output[own.clone()];
    match weights.config.cell {
        CellKind::RnnTanh | CellKind::RnnRelu => {
            kernels::multiply_add_from(before, &weights.state, gates, k, odd);
            kernels::rnn_gates(gates, weights.config.cell == CellKind::RnnRelu, output);
        }
        CellKind::Gru => {
            if trace.extra.len() < rows * h {
                trace.extra.resize(rows * h, T::ZERO);
            }
            gru_step(weights, before, gates, &mut trace.extra[own], output, odd);
        }
        CellKind::GruResetBefore => {
            if trace.extra.len() < rows * h {
                trace.extra.resize(rows * h, T::ZERO);
            }
            gru_reset_before_step(weights, before, gates, &mut trace.extra[own], output, odd);
        }
        CellKind::Lstm => {
            for buffer in [&mut trace.extra, &mut trace.cell, &mut trace.cell_before] {
                if buffer.len() < rows * h {
                    buffer.resize(rows * h, T::ZERO);
                }
            }
            kernels::multiply_add_from(before, &weights.state, gates, k, odd);
            if t == 0 {
                trace.cell_before[own.clone()].copy_from_slice(&first_cell[..own.len()]);
            } else {
                let last = steps.range(t - 1).start * h;
                trace.cell_before[own.clone()].copy_from_slice(&trace.cell[last..last + own.len()]);
            }
            for i in 0..range.len() {
                let at = own.start + i * h..own.start + (i + 1) * h;
                kernels::lstm_gates(
                    &mut gates[i * k..(i + 1) * k],
                    &trace.cell_before[at.clone()],
                    &mut trace.cell[at.clone()],
                    &mut trace.extra[at],
                    &mut output[i * h..(i + 1) * h],
                );
            }
        }
    }
}

/// h~ = tanh(U x + b + r ∘ (W s + b')), with `q` the share under the reset gate.
fn gru_step<T: Kernels>(
    weights: &RecurrentWeights<T>,
    before: &[T],
    gates: &mut [T],
    q: &mut [T],
    output: &mut [T],
    odd: bool,
) {
    let (h, k) = (weights.config.hidden, weights.rows());
    // The candidate's columns of the product must not mix with the input's share: that waits in
    // `q` meanwhile, then they change places.
    let rows = before.len() / h;
    for i in 0..rows {
        q[i * h..(i + 1) * h].copy_from_slice(&gates[i * k + 2 * h..(i + 1) * k]);
        gates[i * k + 2 * h..(i + 1) * k].copy_from_slice(&weights.candidate_bias);
    }
    kernels::multiply_add_from(before, &weights.state, gates, k, odd);
    for i in 0..rows {
        gates[i * k + 2 * h..(i + 1) * k].swap_with_slice(&mut q[i * h..(i + 1) * h]);
        kernels::gru_gates(
            &mut gates[i * k..(i + 1) * k],
            &q[i * h..(i + 1) * h],
            &before[i * h..(i + 1) * h],
            &mut output[i * h..(i + 1) * h],
        );
    }
}

/// h~ = tanh(U x + b + W (r ∘ s)), with `q` = r ∘ s.
fn gru_reset_before_step<T: Kernels>(
    weights: &RecurrentWeights<T>,
    before: &[T],
    gates: &mut [T],
    q: &mut [T],
    output: &mut [T],
    odd: bool,
) {
    let (h, k) = (weights.config.hidden, weights.rows());
    let rows = before.len() / h;
    kernels::multiply_add_from(before, &weights.state, gates, k, odd);
    for i in 0..rows {
        let gates = &mut gates[i * k..(i + 1) * k];
        kernels::sigmoid_rows(&mut gates[..2 * h]);
        for (j, q) in q[i * h..(i + 1) * h].iter_mut().enumerate() {
            *q = gates[h + j] * before[i * h + j];
        }
    }
    if let Some(candidate) = &weights.candidate {
        kernels::multiply_add(q, candidate, &mut gates[2 * h..], k);
    }
    for i in 0..rows {
        let (z, c) = gates[i * k..(i + 1) * k].split_at_mut(2 * h);
        kernels::gru_candidate(&z[..h], c, &before[i * h..(i + 1) * h], &mut output[i * h..(i + 1) * h]);
    }
}

/// Back through time. `dy [R, H]` is the gradient of the outputs; `dstate [B, H]` (and
/// `dcell [B, H]` for lstm) come in as the gradient of the last states and leave as that of the
/// first; gradients of the parameters are added to `gradient`, and `dx [R, in]` is overwritten.
#[allow(clippy::too_many_arguments)]
pub fn backward<T: Kernels>(
    weights: &RecurrentWeights<T>,
    x: &[T],
    steps: &Steps,
    trace: &RecurrentTrace<T>,
    dy: &[T],
    dstate: &mut [T],
    dcell: &mut [T],
    gradient: RecurrentGradient<'_, T>,
    scratch: &mut RecurrentScratch<T>,
    dx: &mut Vec<T>,
) {
    let Some((input, state, candidate)) = &weights.backward else {
        unreachable!("weights laid out for training");
    };
    let (h, k) = (weights.config.hidden, weights.rows());
    let rows = steps.rows();
    let gru = weights.config.cell == CellKind::Gru;
    scratch.dx.resize(rows * k, T::ZERO);
    if gru {
        scratch.ds.resize(rows * k, T::ZERO);
    }
    for t in (0..steps.len()).rev() {
        let range = steps.range(t);
        let dh = &mut dstate[..range.len() * h];
        for (d, &y) in dh.iter_mut().zip(&dy[range.start * h..range.end * h]) {
            *d += y;
        }
        step_backward(weights, range.clone(), trace, dh, dcell, scratch, candidate.as_ref());
        let sums = if gru { &scratch.ds } else { &scratch.dx };
        let sums = &sums[range.start * k..range.end * k];
        if candidate.is_some() {
            // Only z and r saw the state directly.
            for (i, sums) in sums.chunks_exact(k).enumerate() {
                kernels::multiply_add(&sums[..2 * h], state, &mut dh[i * h..(i + 1) * h], h);
            }
        } else {
            kernels::multiply_add_from(sums, state, dh, h, t % 2 == 1);
        }
    }
    parameter_gradients(weights, x, trace, gradient, scratch);
    resize(dx, rows * input.outputs());
    kernels::multiply_add(&scratch.dx[..rows * k], input, dx, input.outputs());
}

fn step_backward<T: Kernels>(
    weights: &RecurrentWeights<T>,
    range: std::ops::Range<usize>,
    trace: &RecurrentTrace<T>,
    dh: &mut [T],
    dcell: &mut [T],
    scratch: &mut RecurrentScratch<T>,
    candidate: Option<&Packed<T>>,
) {
    let (h, k) = (weights.config.hidden, weights.rows());
    for (i, row) in range.enumerate() {
        let at = row * h..(row + 1) * h;
        let gates = &trace.gates[row * k..(row + 1) * k];
        let before = &trace.before[at.clone()];
        let dx = &mut scratch.dx[row * k..(row + 1) * k];
        let dh = &mut dh[i * h..(i + 1) * h];
        match weights.config.cell {
            CellKind::RnnTanh | CellKind::RnnRelu => {
                let relu = weights.config.cell == CellKind::RnnRelu;
                for ((dx, dh), &y) in dx.iter_mut().zip(dh).zip(&trace.output[at]) {
                    let slope = match relu {
                        true if y > T::ZERO => T::ONE,
                        true => T::ZERO,
                        false => T::ONE - y * y,
                    };
                    *dx = *dh * slope;
                    *dh = T::ZERO;
                }
            }
            CellKind::Gru => {
                let ds = &mut scratch.ds[row * k..(row + 1) * k];
                kernels::gru_gates_backward(gates, &trace.extra[at], before, dh, dx, ds);
            }
            CellKind::GruResetBefore => {
                resize(&mut scratch.row, h);
                reset_before_backward(h, gates, before, dh, dx, &mut scratch.row, candidate);
            }
            CellKind::Lstm => {
                let dcell = &mut dcell[i * h..(i + 1) * h];
                kernels::lstm_gates_backward(
                    gates,
                    &trace.cell_before[at.clone()],
                    &trace.extra[at],
                    dh,
                    dcell,
                    dx,
                );
                dh.fill(T::ZERO);
            }
        }
    }
}

/// One row of the GRU whose reset gate comes before the product; `dq [H]` is zeroed room.
fn reset_before_backward<T: Kernels>(
    h: usize,
    gates: &[T],
    before: &[T],
    dh: &mut [T],
    dx: &mut [T],
    dq: &mut [T],
    candidate: Option<&Packed<T>>,
) {
    let (z, r, c) = (&gates[..h], &gates[h..2 * h], &gates[2 * h..]);
    for j in 0..h {
        dx[j] = dh[j] * (before[j] - c[j]) * z[j] * (T::ONE - z[j]);
        dx[2 * h + j] = dh[j] * (T::ONE - z[j]) * (T::ONE - c[j] * c[j]);
    }
    if let Some(candidate) = candidate {
        kernels::multiply_add(&dx[2 * h..], candidate, dq, h);
    }
    for j in 0..h {
        dx[h + j] = dq[j] * before[j] * r[j] * (T::ONE - r[j]);
        dh[j] = dh[j] * z[j] + dq[j] * r[j];
    }
}

fn parameter_gradients<T: Kernels>(
    weights: &RecurrentWeights<T>,
    x: &[T],
    trace: &RecurrentTrace<T>,
    gradient: RecurrentGradient<'_, T>,
    scratch: &RecurrentScratch<T>,
) {
    let (h, k) = (weights.config.hidden, weights.rows());
    let inputs = weights.input.inputs();
    let rows = x.len() / inputs;
    let dx = &scratch.dx[..rows * k];
    let before = &trace.before[..rows * h];
    kernels::add_outer_products(dx, x, gradient.w, k, inputs);
    let (input_bias, state_bias) = gradient.b.split_at_mut(k);
    kernels::add_rows(dx, input_bias);
    match weights.config.cell {
        CellKind::Gru => {
            let ds = &scratch.ds[..rows * k];
            kernels::add_outer_products(ds, before, gradient.r, k, h);
            kernels::add_rows(ds, state_bias);
        }
        CellKind::GruResetBefore => {
            // The candidate's rows saw r ∘ s_(t-1), the others s_(t-1).
            let mut own = vec![T::ZERO; rows * 2 * h];
            let mut candidate = vec![T::ZERO; rows * h];
            for (row, dx) in dx.chunks_exact(k).enumerate() {
                own[row * 2 * h..(row + 1) * 2 * h].copy_from_slice(&dx[..2 * h]);
                candidate[row * h..(row + 1) * h].copy_from_slice(&dx[2 * h..]);
            }
            let (r, rc) = gradient.r.split_at_mut(2 * h * h);
            kernels::add_outer_products(&own, before, r, 2 * h, h);
            kernels::add_outer_products(&candidate, &trace.extra[..rows * h], rc, h, h);
            kernels::add_rows(dx, state_bias);
        }
        _ => {
            kernels::add_outer_products(dx, before, gradient.r, k, h);
            kernels::add_rows(dx, state_bias);
        }
    }
}
