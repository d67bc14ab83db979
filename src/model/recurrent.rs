//! Forward pass and backpropagation through time of a recurrent layer over a ragged batch.
//!
//! The product with the inputs, `U x_t`, is computed once for all steps; only the product with the state, `W s_(t-1)`,
//! depends on the previous step (U is ONNX's W, W is ONNX's R).

use std::ops::Range;
use std::sync::Arc;

use super::cells::{Cell, CellLayout, CellParameters, CellShape, MAX_STATES, Step, StepBackward, Sums};
use super::kernels::{self, Kernels};
use super::packed::{Packed, Purpose};
use super::packed_sequence::PackedSequence;

/// A recurrent layer's weights in the layout of the kernels.
#[derive(Clone, Debug)]
pub struct RecurrentWeights<T> {
    /// H, the width of the state.
    hidden: usize,
    shape: CellShape,
    /// in → kH.
    input: Packed<T>,
    /// kH → in, for the gradients; only for training.
    input_backward: Option<Packed<T>>,
    cell: Arc<dyn Cell<T>>,
}

/// The parameters of a recurrent layer, rows in ONNX's gate order.
pub struct RecurrentParameters<'a, T> {
    /// `[kH, in]`.
    pub w: &'a [T],
    /// `[kH, H]`; empty for a cell without weights of the state.
    pub r: &'a [T],
    /// `[2kH]`, the input's biases, then the state's; `[kH]` for a cell without weights of the state.
    pub b: &'a [T],
    /// Whether gradients will be computed, and how.
    pub purpose: Purpose,
}

impl<T: Kernels> RecurrentWeights<T> {
    /// Creates the layout of a layer of width `hidden`.
    pub fn new(
        hidden: usize,
        shape: CellShape,
        layout: CellLayout<T>,
        parameters: &RecurrentParameters<'_, T>,
    ) -> Self {
        let &RecurrentParameters { w, r, b, purpose } = parameters;
        let rows = shape.gates * hidden;
        let inputs = w.len() / rows.max(1);
        Self {
            hidden,
            shape,
            input: Packed::transposed(w, rows, inputs, purpose),
            input_backward: Packed::backward(w, rows, inputs, purpose),
            cell: layout(&CellParameters { hidden, r, b, purpose }),
        }
    }

    /// kH, the number of sums (gates before their activation) of a row.
    fn sums(&self) -> usize {
        self.shape.gates * self.hidden
    }
}

/// Activations of a layer's forward pass over R rows, kept for the backward pass.
#[derive(Clone, Debug, Default)]
pub struct RecurrentTrace<T> {
    /// The gates after their activation functions, `[R, kH]`.
    gates: Vec<T>,
    /// The states after each row, `[R, H]` each; the first is the output.
    after: [Vec<T>; MAX_STATES],
    /// The states before each row.
    before: [Vec<T>; MAX_STATES],
    /// Further activations saved by the cell, `[R, saved * H]`.
    saved: Vec<T>,
}

impl<T: Kernels> RecurrentTrace<T> {
    /// The outputs s_t, `[R, H]`.
    pub fn output(&self) -> &[T] {
        &self.after[0]
    }

    /// The gates after their activation functions, `[R, kH]`.
    pub fn gates(&self) -> &[T] {
        &self.gates
    }

    fn resize(&mut self, rows: usize, weights: &RecurrentWeights<T>) {
        let (h, CellShape { states, saved, .. }) = (weights.hidden, weights.shape);
        self.gates.resize(rows * weights.sums(), T::ZERO);
        self.saved.resize(rows * saved * h, T::ZERO);
        for (k, buffer) in self.after.iter_mut().enumerate().chain(self.before.iter_mut().enumerate()) {
            buffer.resize(if k < states { rows * h } else { 0 }, T::ZERO);
        }
    }
}

/// Accumulators for the gradients of a layer's parameters.
pub struct RecurrentGradient<'a, T> {
    /// `[kH, in]`.
    pub w: &'a mut [T],
    /// `[kH, H]`; empty for a cell without weights of the state.
    pub r: &'a mut [T],
    /// `[2kH]`, the input's biases, then the state's; `[kH]` for a cell without weights of the state.
    pub b: &'a mut [T],
}

/// Scratch buffers for the gradients of a layer's sums, reused by all layers.
#[derive(Clone, Debug, Default)]
pub struct RecurrentScratch<T> {
    /// dL/d(U x_t + b), `[R, kH]`.
    dx: Vec<T>,
    /// The further gradients of the steps, such as dL/d(W s_(t-1) + b), `[R, own_sums * H]`.
    ds: Vec<T>,
    row: Vec<T>,
}

/// The rows of each state that belong to a step; empty for states that the cell does not have.
fn part<T>(states: &[Vec<T>; MAX_STATES], range: Range<usize>) -> [&[T]; MAX_STATES] {
    states.each_ref().map(|state| state.get(range.clone()).unwrap_or_default())
}

/// Runs the layer over `x [R, in]`, starting from `states [B, H]` (empty where the cell has fewer) and updating
/// them to those after each stream's last step.
pub fn forward<T: Kernels>(
    weights: &RecurrentWeights<T>,
    x: &[T],
    steps: &PackedSequence,
    states: [&mut [T]; MAX_STATES],
    trace: &mut RecurrentTrace<T>,
) {
    let (h, k, saved) = (weights.hidden, weights.sums(), weights.shape.saved * weights.hidden);
    trace.resize(steps.rows(), weights);
    let RecurrentTrace { gates, after, before, saved: all_saved } = trace;
    kernels::multiply(x, &weights.input, weights.cell.bias(), gates);
    for t in 0..steps.len() {
        let rows = steps.range(t);
        let at = rows.start * h..rows.end * h;
        for (i, first) in states.iter().enumerate().take(weights.shape.states) {
            let before = &mut before[i][at.clone()];
            if t == 0 {
                before.copy_from_slice(&first[..at.len()]);
            } else {
                let last = steps.range(t - 1).start * h;
                before.copy_from_slice(&after[i][last..last + at.len()]);
            }
        }
        weights.cell.step(Step {
            gates: &mut gates[rows.start * k..rows.end * k],
            before: part(before, at.clone()),
            after: after.each_mut().map(|state| state.get_mut(at.clone()).unwrap_or_default()),
            saved: &mut all_saved[rows.start * saved..rows.end * saved],
            backwards: t % 2 == 1,
        });
    }
    for (last, after) in states.into_iter().zip(after).take(weights.shape.states) {
        steps.copy_last(after, h, last);
    }
}

/// Inputs of a layer's backward pass.
pub struct Backward<'a, T> {
    /// The inputs of the forward pass, `[R, in]`.
    pub x: &'a [T],
    /// The layout of the rows.
    pub steps: &'a PackedSequence,
    /// The activations of the forward pass.
    pub trace: &'a RecurrentTrace<T>,
    /// The gradient of the outputs, `[R, H]`.
    pub dy: &'a [T],
    /// On entry the gradients of the last states, on return those of the first, `[B, H]` each.
    pub dstates: [&'a mut [T]; MAX_STATES],
}

/// Backpropagation through time. The gradients of the parameters are added to `gradient`; `dx [R, in]` is overwritten
/// by the gradient of the inputs.
pub fn backward<T: Kernels>(
    weights: &RecurrentWeights<T>,
    pass: Backward<'_, T>,
    gradient: RecurrentGradient<'_, T>,
    scratch: &mut RecurrentScratch<T>,
    dx: &mut Vec<T>,
) {
    let Some(input) = &weights.input_backward else {
        unreachable!("a backward pass needs weights created for training")
    };
    let Backward { x, steps, trace, dy, mut dstates } = pass;
    let (h, k, saved) = (weights.hidden, weights.sums(), weights.shape.saved * weights.hidden);
    let rows = steps.rows();
    let RecurrentScratch { dx: input_sums, ds: state_sums, row: row_scratch } = scratch;
    input_sums.resize(rows * k, T::ZERO);
    let own = weights.shape.own_sums * h;
    state_sums.resize(rows * own, T::ZERO);
    for t in (0..steps.len()).rev() {
        let range = steps.range(t);
        let (at, sums) = (range.start * h..range.end * h, range.start * k..range.end * k);
        for (d, &y) in dstates[0][..at.len()].iter_mut().zip(&dy[at.clone()]) {
            *d += y;
        }
        weights.cell.step_backward(StepBackward {
            gates: &trace.gates[sums.clone()],
            before: part(&trace.before, at.clone()),
            after: part(&trace.after, at.clone()),
            saved: &trace.saved[range.start * saved..range.end * saved],
            dstates: dstates.each_mut().map(|state| state.get_mut(..at.len()).unwrap_or_default()),
            dx: &mut input_sums[sums],
            ds: &mut state_sums[range.start * own..range.end * own],
            scratch: row_scratch,
            backwards: t % 2 == 1,
        });
    }
    // The gradients of the parameters are sums over all steps: one product after the loop instead of one per step.
    let (input_bias, state_bias) = gradient.b.split_at_mut(k);
    kernels::add_weight_gradient(&weights.input, input_sums, x, gradient.w);
    kernels::add_rows(input_sums, input_bias);
    let sums = Sums { before: &trace.before[0], saved: &trace.saved, dx: input_sums, ds: state_sums };
    weights.cell.add_gradients(&sums, gradient.r, state_bias);
    dx.clear();
    dx.resize(rows * input.outputs(), T::ZERO);
    kernels::multiply_add(input_sums, input, dx, input.outputs());
}
