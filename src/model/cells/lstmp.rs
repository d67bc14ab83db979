//! Long short-term memory with a recurrent projection (LSTMP; Sak, Senior, Beaufays 2014; PyTorch's `proj_size`): the output
//! is a product of the cell's output m, and narrower than the M values of the cell, so that all products with it are
//! smaller. Rows of U, W and b are in ONNX's order i, o, f, g.
//!
//! ```text
//! i_t = σ(U_i x_t + W_i s_(t-1) + b_i)     o_t, f_t likewise
//! g_t = tanh(U_g x_t + W_g s_(t-1) + b_g)
//! c_t = f_t ∘ c_(t-1) + i_t ∘ g_t
//! m_t = o_t ∘ tanh(c_t)
//! s_t = P m_t
//!
//! dL/dm_t = Pᵀ dL/ds_t                     dL/dP = Σ_t dL/ds_t m_tᵀ
//! ```
//!
//! The other gradients are those of `lstm`, with m in place of its output. The state is c and m, so that ONNX's operator, which
//! has no projection, continues it: there W becomes W P.

use std::sync::Arc;

use super::block::{Block, BlockBackward, BlockShape, BlockSizes, BlockTrace};
use super::cell::StateWeights;
use super::lstm::{backward_row, forward_row};
use crate::model::kernels::{self, Kernels};
use crate::model::linear::Linear;
use crate::model::packed::Purpose;
use crate::model::packed_sequence::PackedSequence;

pub(super) const SHAPE: BlockShape = BlockShape {
    family: "lstmp",
    parameters: |sizes| {
        let &BlockSizes { inputs, hidden, cell_dim: m, .. } = sizes;
        vec![
            ("W", vec![4 * m, inputs]),
            ("R", vec![4 * m, hidden]),
            // The input's biases, then the state's, as in ONNX.
            ("B", vec![8 * m]),
            ("projection.weight", vec![hidden, m]),
        ]
    },
    // c, then m.
    state: |sizes| [2, sizes.cell_dim],
};

/// Creates a block from its parameters.
pub(super) fn lstmp<T: Kernels>(
    sizes: &BlockSizes,
    parameters: &[&[T]],
    purpose: Purpose,
) -> Arc<dyn Block<T>> {
    let &[w, r, b, projection] = parameters else { unreachable!("four parameters") };
    let &BlockSizes { hidden, cell_dim, .. } = sizes;
    let (input, state) = b.split_at(b.len() / 2);
    let bias: Vec<T> = input.iter().zip(state).map(|(&x, &y)| x + y).collect();
    Arc::new(Lstmp {
        hidden,
        cell_dim,
        input: Linear::new(w, &bias, purpose),
        state: StateWeights::new(r, hidden, purpose),
        projection: StateWeights::new(projection, cell_dim, purpose),
        zeros: vec![T::ZERO; hidden],
    })
}

#[derive(Debug)]
struct Lstmp<T> {
    /// H, the width of the output.
    hidden: usize,
    /// M, the width of the cell.
    cell_dim: usize,
    /// U and b.
    input: Linear<T>,
    /// W.
    state: StateWeights<T>,
    /// P.
    projection: StateWeights<T>,
    /// The bias of the projection, `[H]`.
    zeros: Vec<T>,
}

/// The values of the same streams before step t and at step t, `[n, width]` each: of the step before, or the `first` ones.
fn at_step<'a, T>(
    all: &'a mut [T],
    first: &'a [T],
    steps: &PackedSequence,
    t: usize,
    width: usize,
) -> (&'a [T], &'a mut [T]) {
    let rows = steps.range(t);
    let (done, rest) = all.split_at_mut(rows.start * width);
    let now = &mut rest[..rows.len() * width];
    let before = if t == 0 { first } else { &done[steps.range(t - 1).start * width..] };
    (&before[..now.len()], now)
}

/// All values before a step, `[R, width]`.
fn before_steps<T: Copy>(all: &[T], first: &[T], steps: &PackedSequence, width: usize) -> Vec<T> {
    let mut before = Vec::with_capacity(all.len());
    for t in 0..steps.len() {
        let source = if t == 0 { first } else { &all[steps.range(t - 1).start * width..] };
        before.extend_from_slice(&source[..steps.width(t) * width]);
    }
    before
}

impl<T: Kernels> Lstmp<T> {
    /// Divides states or their gradients `[B, 2M]` into those of c and of m.
    fn split(&self, states: &[T]) -> [Vec<T>; 2] {
        [0, 1].map(|k| {
            let rows = states.chunks_exact(2 * self.cell_dim);
            rows.flat_map(|row| &row[k * self.cell_dim..(k + 1) * self.cell_dim]).copied().collect()
        })
    }
}

impl<T: Kernels> Block<T> for Lstmp<T> {
    fn forward(&self, x: &[T], steps: &PackedSequence, state: &mut [T], trace: &mut BlockTrace<T>) {
        let (h, m) = (self.hidden, self.cell_dim);
        let BlockTrace { output, values, .. } = trace;
        let [input, gates, cell, squashed, inner, first_cell, first_inner, first_output] = values.prepare();
        input.clear();
        input.extend_from_slice(x);
        [*first_cell, *first_inner] = self.split(state);
        first_output.resize(steps.streams() * h, T::ZERO);
        kernels::multiply(first_inner, &self.projection.forward, &self.zeros, first_output);
        self.input.apply(x, gates);
        for (values, width) in [(&mut *cell, m), (&mut *squashed, m), (&mut *inner, m), (&mut *output, h)] {
            values.resize(steps.rows() * width, T::ZERO);
        }
        for t in 0..steps.len() {
            let rows = steps.range(t);
            let gates = &mut gates[rows.start * 4 * m..rows.end * 4 * m];
            let (output_before, output) = at_step(output, first_output, steps, t, h);
            let (cell_before, cell) = at_step(cell, first_cell, steps, t, m);
            let squashed = &mut squashed[rows.start * m..rows.end * m];
            let inner = &mut inner[rows.start * m..rows.end * m];
            kernels::multiply_add_from(output_before, &self.state.forward, gates, 4 * m, t % 2 == 1);
            for (i, gates) in gates.chunks_exact_mut(4 * m).enumerate() {
                let at = i * m..(i + 1) * m;
                let (cell, squashed) = (&mut cell[at.clone()], &mut squashed[at.clone()]);
                forward_row(gates, &cell_before[at.clone()], cell, squashed, &mut inner[at]);
            }
            kernels::multiply(inner, &self.projection.forward, &self.zeros, output);
        }
        for (b, (state, &length)) in state.chunks_exact_mut(2 * m).zip(steps.lengths()).enumerate() {
            if length > 0 {
                let row = steps.row(length - 1, b) * m;
                state[..m].copy_from_slice(&cell[row..row + m]);
                state[m..].copy_from_slice(&inner[row..row + m]);
            }
        }
    }

    fn backward(&self, pass: BlockBackward<'_, T>, dx: &mut Vec<T>) {
        let BlockBackward { steps, trace, dy, dstate, gradients } = pass;
        let (h, m) = (self.hidden, self.cell_dim);
        let [input, gates, cell, squashed, inner, first_cell, first_inner, first_output] =
            trace.values.filled();
        let cells_before = before_steps(cell, first_cell, steps, m);
        let [mut dcell, mut dinner] = self.split(dstate);
        // The gradient of the output before the step, and those of all outputs and sums.
        let mut dbefore = vec![T::ZERO; steps.streams() * h];
        let mut doutput = dy.to_vec();
        let mut dsums = vec![T::ZERO; gates.len()];
        for t in (0..steps.len()).rev() {
            let (rows, backwards) = (steps.range(t), t % 2 == 1);
            let doutput = &mut doutput[rows.start * h..rows.end * h];
            let dbefore = &mut dbefore[..rows.len() * h];
            for (d, later) in doutput.iter_mut().zip(dbefore.iter_mut()) {
                *d += *later;
                *later = T::ZERO;
            }
            let dinner = &mut dinner[..rows.len() * m];
            kernels::multiply_add_from(doutput, self.projection.backward(), dinner, m, backwards);
            let dsums = &mut dsums[rows.start * 4 * m..rows.end * 4 * m];
            for (i, dsums) in dsums.chunks_exact_mut(4 * m).enumerate() {
                let (row, at) = (rows.start + i, i * m..(i + 1) * m);
                let gates = &gates[row * 4 * m..(row + 1) * 4 * m];
                let (before, squashed) =
                    (&cells_before[row * m..(row + 1) * m], &squashed[row * m..(row + 1) * m]);
                backward_row(gates, before, squashed, &dinner[at.clone()], &mut dcell[at], dsums);
            }
            // The inner output before affects this step only through the output.
            dinner.fill(T::ZERO);
            kernels::multiply_add_from(dsums, self.state.backward(), dbefore, h, backwards);
        }
        kernels::multiply_add(&dbefore, self.projection.backward(), &mut dinner, m);
        let [dw, dr, db, dprojection] = gradients else { unreachable!("four parameters") };
        let (dinput_bias, dstate_bias) = db.split_at_mut(4 * m);
        self.input.add_gradients(input, &dsums, dw, dinput_bias);
        kernels::add_rows(&dsums, dstate_bias);
        let outputs_before = before_steps(&trace.output, first_output, steps, h);
        kernels::add_weight_gradient(&self.state.forward, &dsums, &outputs_before, dr);
        kernels::add_weight_gradient(&self.projection.forward, &doutput, inner, dprojection);
        kernels::add_weight_gradient(&self.projection.forward, &dbefore, first_inner, dprojection);
        self.input.input_gradient(&dsums, dx);
        for ((dstate, dcell), dinner) in
            dstate.chunks_exact_mut(2 * m).zip(dcell.chunks_exact(m)).zip(dinner.chunks_exact(m))
        {
            dstate[..m].copy_from_slice(dcell);
            dstate[m..].copy_from_slice(dinner);
        }
    }
}
