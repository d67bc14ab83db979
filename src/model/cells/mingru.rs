//! The minimal gated recurrent unit (minGRU; Feng et al. 2024, "Were RNNs all we needed?"): a gated recurrent unit whose
//! gate and candidate depend on the input alone, so that all matrix products are computed for all steps at once and
//! only elementwise arithmetic is left for the recurrence. Rows of U and b are in the order z, c.
//!
//! ```text
//! z_t = σ(U_z x_t + b_z)
//! c_t = U_c x_t + b_c
//! s_t = (1 - z_t) ∘ s_(t-1) + z_t ∘ c_t  =  s_(t-1) + z_t ∘ (c_t - s_(t-1))
//!
//! dL/da_z = dL/ds_t ∘ (c_t - s_(t-1)) ∘ z_t (1 - z_t)      (a_z: the argument of σ)
//! dL/dc_t = dL/ds_t ∘ z_t
//! dL/ds_(t-1) = dL/ds_t ∘ (1 - z_t)
//! ```
//!
//! Here z_t = 1 replaces the state, as in the paper; in the other gated unit z_t = 1 keeps it. The second form of s_t is
//! computed: it is more exact where z_t is small.

use std::sync::Arc;

use super::cell::{Cell, CellParameters, CellShape, Recurrence, Step, StepBackward, Sums};
use crate::model::kernels::{Kernels, vectorized};
use crate::model::real::Real;

/// With biases of 0 a state would be halved at every step; the cell could not learn what needs a longer memory.
pub(super) const SHAPE: CellShape = CellShape {
    family: "mingru",
    gates: 2,
    recurrence: Recurrence::Gates,
    first_memory: Some((2, 75)),
    ..CellShape::SIMPLE
};

/// Creates a cell.
pub(super) fn mingru<T: Kernels>(parameters: &CellParameters<'_, T>) -> Arc<dyn Cell<T>> {
    Arc::new(MinGru { hidden: parameters.hidden, bias: parameters.b.to_vec() })
}

#[derive(Debug)]
struct MinGru<T> {
    hidden: usize,
    bias: Vec<T>,
}

impl<T: Kernels> Cell<T> for MinGru<T> {
    fn bias(&self) -> &[T] {
        &self.bias
    }

    fn step(&self, step: Step<'_, T>) {
        let Step { gates, before: [before, _], after: [output, _], .. } = step;
        let (h, k) = (self.hidden, 2 * self.hidden);
        let rows = gates.chunks_exact_mut(k).zip(before.chunks_exact(h)).zip(output.chunks_exact_mut(h));
        for ((gates, before), output) in rows {
            forward_row(gates, before, output);
        }
    }

    fn step_backward(&self, step: StepBackward<'_, T>) {
        let StepBackward { gates, before: [before, _], dstates: [ds, _], dx, .. } = step;
        let (h, k) = (self.hidden, 2 * self.hidden);
        let rows = gates.chunks_exact(k).zip(before.chunks_exact(h));
        for ((gates, before), (ds, dx)) in rows.zip(ds.chunks_exact_mut(h).zip(dx.chunks_exact_mut(k))) {
            backward_row(gates, before, ds, dx);
        }
    }

    fn add_gradients(&self, _: &Sums<'_, T>, _: &mut [T], _: &mut [T]) {}
}

vectorized! {
    /// Forward step of one row. `g [2H]` contains the sums over the input (z, c), the first of which are replaced by
    /// the gate.
    fn forward_row<T: Real>(g: &mut [T], before: &[T], s: &mut [T]) {
        let n = s.len();
        let (z, c) = g.split_at_mut(n);
        let (c, before) = (&c[..n], &before[..n]);
        for i in 0..n {
            let zi = z[i].sigmoid();
            s[i] = zi.madd::<FMA>(c[i] - before[i], before[i]).flush();
            z[i] = zi;
        }
    }
}

vectorized! {
    /// Gradient of [`forward_row`]: `dx [2H]` for the sums over the input; `ds` becomes the gradient of the previous
    /// state.
    fn backward_row<T: Real>(g: &[T], before: &[T], ds: &mut [T], dx: &mut [T]) {
        let n = ds.len();
        let (z, c) = g.split_at(n);
        let (c, before) = (&c[..n], &before[..n]);
        let (dz, dc) = dx.split_at_mut(n);
        let dc = &mut dc[..n];
        for i in 0..n {
            let d = ds[i];
            let keep = T::ONE - z[i];
            dz[i] = d * (c[i] - before[i]) * z[i] * keep;
            dc[i] = d * z[i];
            ds[i] = d * keep;
        }
    }
}
