//! Long short-term memory without peepholes (Hochreiter, Schmidhuber 1997; Gers et al. 2000). Its states are the
//! output s and the cell c. Rows of U, W and b are in ONNX's order i, o, f, g.
//!
//! ```text
//! i_t = σ(U_i x_t + W_i s_(t-1) + b_i)     o_t, f_t likewise
//! g_t = tanh(U_g x_t + W_g s_(t-1) + b_g)
//! c_t = f_t ∘ c_(t-1) + i_t ∘ g_t
//! s_t = o_t ∘ tanh(c_t)
//!
//! dL/dc_t = the gradient from step t + 1, plus dL/ds_t ∘ o_t ∘ (1 - tanh²(c_t))
//! dL/da_o = dL/ds_t ∘ tanh(c_t) ∘ o_t (1 - o_t)      (a: the argument of σ or tanh)
//! dL/da_i = dL/dc_t ∘ g_t ∘ i_t (1 - i_t)
//! dL/da_f = dL/dc_t ∘ c_(t-1) ∘ f_t (1 - f_t)
//! dL/da_g = dL/dc_t ∘ i_t ∘ (1 - g_t²)
//! dL/dc_(t-1) = dL/dc_t ∘ f_t              dL/ds_(t-1) = Wᵀ dL/da_t
//! dL/dW = Σ_t dL/da_t s_(t-1)ᵀ             dL/db = Σ_t dL/da_t
//! ```

use std::sync::Arc;

use super::cell::{
    Cell, CellParameters, CellShape, StateWeights, Step, StepBackward, Sums, add_state_gradients,
};
use crate::model::kernels::{self, Kernels, vectorized};
use crate::model::real::Real;

/// A step saves tanh(c_t).
pub(super) const SHAPE: CellShape =
    CellShape { family: "lstm", gates: 4, states: 2, saved: 1, ..CellShape::SIMPLE };

/// Creates a cell.
pub(super) fn lstm<T: Kernels>(parameters: &CellParameters<'_, T>) -> Arc<dyn Cell<T>> {
    let CellParameters { hidden, r, purpose, .. } = *parameters;
    let state = StateWeights::new(r, hidden, purpose);
    Arc::new(Lstm { hidden, state, bias: parameters.joined_bias() })
}

#[derive(Debug)]
struct Lstm<T> {
    hidden: usize,
    state: StateWeights<T>,
    bias: Vec<T>,
}

impl<T: Kernels> Cell<T> for Lstm<T> {
    fn bias(&self) -> &[T] {
        &self.bias
    }

    fn step(&self, step: Step<'_, T>) {
        let Step { gates, before: [before, cell_before], after: [output, cell], saved, backwards } = step;
        let h = self.hidden;
        kernels::multiply_add_from(before, &self.state.forward, gates, 4 * h, backwards);
        for (i, gates) in gates.chunks_exact_mut(4 * h).enumerate() {
            let at = i * h..(i + 1) * h;
            let (cell, squashed) = (&mut cell[at.clone()], &mut saved[at.clone()]);
            forward_row(gates, &cell_before[at.clone()], cell, squashed, &mut output[at]);
        }
    }

    fn step_backward(&self, step: StepBackward<'_, T>) {
        let StepBackward { gates, before: [_, cell_before], saved, dstates: [ds, dc], dx, backwards, .. } =
            step;
        let h = self.hidden;
        for (i, (gates, dx)) in gates.chunks_exact(4 * h).zip(dx.chunks_exact_mut(4 * h)).enumerate() {
            let at = i * h..(i + 1) * h;
            let (before, squashed) = (&cell_before[at.clone()], &saved[at.clone()]);
            backward_row(gates, before, squashed, &ds[at.clone()], &mut dc[at], dx);
        }
        // The previous output affects this step only through W.
        ds.fill(T::ZERO);
        kernels::multiply_add_from(dx, self.state.backward(), ds, h, backwards);
    }

    fn add_gradients(&self, sums: &Sums<'_, T>, dr: &mut [T], db: &mut [T]) {
        add_state_gradients(&self.state, sums.dx, sums.before, dr, db);
    }
}

vectorized! {
    /// Forward step of one row: `g [4H]` contains the sums of i, o, f, g and is replaced by the gates; `squashed [H]`
    /// becomes tanh of the cell.
    pub(super) fn forward_row<T: Real>(g: &mut [T], before: &[T], cell: &mut [T], squashed: &mut [T], h: &mut [T]) {
        let n = h.len();
        let (i, rest) = g.split_at_mut(n);
        let (o, rest) = rest.split_at_mut(n);
        let (f, c) = rest.split_at_mut(n);
        let (o, f, c) = (&mut o[..n], &mut f[..n], &mut c[..n]);
        let (before, cell, squashed) = (&before[..n], &mut cell[..n], &mut squashed[..n]);
        for k in 0..n {
            let (ik, ok, fk, ck) = (i[k].sigmoid(), o[k].sigmoid(), f[k].sigmoid(), c[k].tanh());
            cell[k] = fk.madd::<FMA>(before[k], ik * ck).flush();
            squashed[k] = cell[k].tanh();
            h[k] = (ok * squashed[k]).flush();
            (i[k], o[k], f[k], c[k]) = (ik, ok, fk, ck);
        }
    }
}

vectorized! {
    /// Gradient of [`forward_row`]; `dc` contains the gradient of the cell from later steps and becomes that of the
    /// previous cell.
    pub(super) fn backward_row<T: Real>(g: &[T], before: &[T], squashed: &[T], dh: &[T], dc: &mut [T], dg: &mut [T]) {
        let n = dh.len();
        let (i, o, f, c) = (&g[..n], &g[n..2 * n], &g[2 * n..3 * n], &g[3 * n..4 * n]);
        let (before, squashed, dc) = (&before[..n], &squashed[..n], &mut dc[..n]);
        let (di, rest) = dg.split_at_mut(n);
        let (dok, rest) = rest.split_at_mut(n);
        let (df, dcc) = rest.split_at_mut(n);
        let (dok, df, dcc) = (&mut dok[..n], &mut df[..n], &mut dcc[..n]);
        for k in 0..n {
            let d = dc[k] + dh[k] * o[k] * (T::ONE - squashed[k] * squashed[k]);
            dok[k] = dh[k] * squashed[k] * o[k] * (T::ONE - o[k]);
            di[k] = d * c[k] * i[k] * (T::ONE - i[k]);
            df[k] = d * before[k] * f[k] * (T::ONE - f[k]);
            dcc[k] = d * i[k] * (T::ONE - c[k] * c[k]);
            dc[k] = d * f[k];
        }
    }
}
