//! A recurrent layer of any cell over a ragged batch: forward, and back through time.
//!
//! The share of the inputs, `U x_t`, is one matrix product over all steps; only the share of the
//! state, `W s_(t-1)`, has to wait for the step before (U is ONNX's W, W is ONNX's R).

use std::ops::Range;
use std::sync::Arc;

use super::cells::{Cell, CellParameters, CellShape, MAX_STATES, Step, StepBackward, Sums};
use super::config::LayerConfig;
use super::kernels::{self, Kernels};
use super::packed::Packed;
use super::steps::Steps;

/// A layer's weights, laid out for the products of a step.
#[derive(Clone, Debug)]
pub struct RecurrentWeights<T> {
    pub(crate) config: LayerConfig,
    shape: CellShape,
    /// in → kH.
    input: Packed<T>,
    /// kH → in, for the gradients; only when training.
    input_backward: Option<Packed<T>>,
    cell: Arc<dyn Cell<T>>,
}

impl<T: Kernels> RecurrentWeights<T> {
    /// Lays out `w [kH, in]`, `r [kH, H]`, `b [2kH]` (ONNX gate order).
    pub fn new(config: LayerConfig, w: &[T], r: &[T], b: &[T], training: bool) -> Self {
        let shape = config.cell.shape();
        let rows = shape.gates * config.hidden;
        let inputs = w.len() / rows.max(1);
        Self {
            config,
            shape,
            input: Packed::transposed(w, rows, inputs),
            input_backward: training.then(|| Packed::plain(w, rows, inputs)),
            cell: config.cell.lay_out(&CellParameters { hidden: config.hidden, r, b, training }),
        }
    }

    /// kH, the sums of a row.
    fn sums(&self) -> usize {
        self.shape.gates * self.config.hidden
    }
}

/// What the forward pass keeps for the backward pass, and the layer's outputs. R rows in all.
#[derive(Clone, Debug, Default)]
pub struct RecurrentTrace<T> {
    /// The gates after their functions, `[R, kH]`.
    gates: Vec<T>,
    /// The states of each row, `[R, H]` each; the first are the outputs.
    after: [Vec<T>; MAX_STATES],
    /// The states before each row.
    before: [Vec<T>; MAX_STATES],
    /// What the cell keeps besides, `[R, kept * H]`.
    kept: Vec<T>,
}

impl<T: Kernels> RecurrentTrace<T> {
    /// s_t, `[R, H]`.
    pub fn output(&self) -> &[T] {
        &self.after[0]
    }

    fn resize(&mut self, rows: usize, weights: &RecurrentWeights<T>) {
        let (h, CellShape { states, kept, .. }) = (weights.config.hidden, weights.shape);
        self.gates.resize(rows * weights.sums(), T::ZERO);
        self.kept.resize(rows * kept * h, T::ZERO);
        for (k, buffer) in self.after.iter_mut().enumerate().chain(self.before.iter_mut().enumerate()) {
            buffer.resize(if k < states { rows * h } else { 0 }, T::ZERO);
        }
    }
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
    /// dL/d(W s_(t-1) + b), `[R, kH]`, where it differs.
    ds: Vec<T>,
    row: Vec<T>,
}

/// The part of each state that belongs to a step; nothing of states that the cell does not have.
fn part<T>(states: &[Vec<T>; MAX_STATES], range: Range<usize>) -> [&[T]; MAX_STATES] {
    states.each_ref().map(|state| state.get(range.clone()).unwrap_or_default())
}

/// Runs the layer over `x [R, in]` from its states `[B, H]` (empty where the cell has fewer), which it
/// moves on to each stream's last step.
pub fn forward<T: Kernels>(
    weights: &RecurrentWeights<T>,
    x: &[T],
    steps: &Steps,
    states: [&mut [T]; MAX_STATES],
    trace: &mut RecurrentTrace<T>,
) {
    let (h, k, kept) = (weights.config.hidden, weights.sums(), weights.shape.kept * weights.config.hidden);
    trace.resize(steps.rows(), weights);
    let RecurrentTrace { gates, after, before, kept: all_kept } = trace;
    kernels::set_rows(gates, weights.cell.bias());
    kernels::multiply_add(x, &weights.input, gates, k);
    for t in 0..steps.len() {
        let rows = steps.range(t);
        let own = rows.start * h..rows.end * h;
        for (i, first) in states.iter().enumerate().take(weights.shape.states) {
            let before = &mut before[i][own.clone()];
            if t == 0 {
                before.copy_from_slice(&first[..own.len()]);
            } else {
                let last = steps.range(t - 1).start * h;
                before.copy_from_slice(&after[i][last..last + own.len()]);
            }
        }
        weights.cell.step(Step {
            gates: &mut gates[rows.start * k..rows.end * k],
            before: part(before, own.clone()),
            after: after.each_mut().map(|state| state.get_mut(own.clone()).unwrap_or_default()),
            kept: &mut all_kept[rows.start * kept..rows.end * kept],
            backwards: t % 2 == 1,
        });
    }
    for (last, after) in states.into_iter().zip(after).take(weights.shape.states) {
        steps.copy_last(after, h, last);
    }
}

/// A layer's forward pass, and the gradients of what came out of it.
pub struct Backward<'a, T> {
    /// The inputs, `[R, in]`.
    pub x: &'a [T],
    pub steps: &'a Steps,
    pub trace: &'a RecurrentTrace<T>,
    /// The gradient of the outputs, `[R, H]`.
    pub dy: &'a [T],
    /// Come in as the gradients of the last states, leave as those of the first, `[B, H]` each.
    pub dstates: [&'a mut [T]; MAX_STATES],
}

/// Back through time: gradients of the parameters are added to `gradient`, and `dx [R, in]` is
/// overwritten by that of the inputs.
pub fn backward<T: Kernels>(
    weights: &RecurrentWeights<T>,
    pass: Backward<'_, T>,
    gradient: RecurrentGradient<'_, T>,
    scratch: &mut RecurrentScratch<T>,
    dx: &mut Vec<T>,
) {
    let Some(input) = &weights.input_backward else { unreachable!("weights laid out for training") };
    let Backward { x, steps, trace, dy, mut dstates } = pass;
    let (h, k, kept) = (weights.config.hidden, weights.sums(), weights.shape.kept * weights.config.hidden);
    let rows = steps.rows();
    let RecurrentScratch { dx: input_sums, ds: state_sums, row: room } = scratch;
    input_sums.resize(rows * k, T::ZERO);
    state_sums.resize(if weights.shape.has_own_state_sums { rows * k } else { 0 }, T::ZERO);
    for t in (0..steps.len()).rev() {
        let range = steps.range(t);
        let (own, sums) = (range.start * h..range.end * h, range.start * k..range.end * k);
        for (d, &y) in dstates[0][..own.len()].iter_mut().zip(&dy[own.clone()]) {
            *d += y;
        }
        weights.cell.step_backward(StepBackward {
            gates: &trace.gates[sums.clone()],
            before: part(&trace.before, own.clone()),
            after: part(&trace.after, own.clone()),
            kept: &trace.kept[range.start * kept..range.end * kept],
            dstates: dstates.each_mut().map(|state| state.get_mut(..own.len()).unwrap_or_default()),
            dx: &mut input_sums[sums.clone()],
            ds: state_sums.get_mut(sums).unwrap_or_default(),
            room,
            backwards: t % 2 == 1,
        });
    }
    let (input_bias, state_bias) = gradient.b.split_at_mut(k);
    kernels::add_outer_products(input_sums, x, gradient.w, k, weights.input.inputs());
    kernels::add_rows(input_sums, input_bias);
    let sums = Sums { before: &trace.before[0], kept: &trace.kept, dx: input_sums, ds: state_sums };
    weights.cell.add_gradients(&sums, gradient.r, state_bias);
    dx.clear();
    dx.resize(rows * input.outputs(), T::ZERO);
    kernels::multiply_add(input_sums, input, dx, input.outputs());
}
