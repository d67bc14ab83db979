//! The gated recurrent unit (Cho et al. 2014), with the reset gate applied after or before the product with the state.
//! Rows of U, W and b are in ONNX's order z, r, c.
//!
//! ```text
//! z_t = σ(U_z x_t + W_z s_(t-1) + b_z)     r_t likewise
//! c_t = tanh(U_c x_t + b_c + r_t ∘ q_t),   q_t = W_c s_(t-1) + b'_c     (after)
//! c_t = tanh(U_c x_t + b_c + W_c q_t),     q_t = r_t ∘ s_(t-1)          (before)
//! s_t = z_t ∘ s_(t-1) + (1 - z_t) ∘ c_t
//!
//! dL/da_z = dL/ds_t ∘ (s_(t-1) - c_t) ∘ z_t (1 - z_t)      (a: the argument of σ or tanh)
//! dL/da_c = dL/ds_t ∘ (1 - z_t) ∘ (1 - c_t²)
//!
//! after:   dL/dq_t = dL/da_c ∘ r_t         dL/da_r = dL/da_c ∘ q_t ∘ r_t (1 - r_t)
//!          dL/ds_(t-1) = dL/ds_t ∘ z_t + Wᵀ (dL/da_z, dL/da_r, dL/dq_t)
//!          dL/dW = Σ_t (dL/da_z, dL/da_r, dL/dq_t) s_(t-1)ᵀ
//!
//! before:  dL/dq_t = W_cᵀ dL/da_c          dL/da_r = dL/dq_t ∘ s_(t-1) ∘ r_t (1 - r_t)
//!          dL/ds_(t-1) = dL/ds_t ∘ z_t + dL/dq_t ∘ r_t + W_zᵀ dL/da_z + W_rᵀ dL/da_r
//!          dL/dW_z, dL/dW_r as above        dL/dW_c = Σ_t dL/da_c q_tᵀ
//! ```

use std::sync::Arc;

use super::cell::{
    Cell, CellParameters, CellShape, StateWeights, Step, StepBackward, Sums, add_state_gradients,
};
use crate::model::kernels::{self, Kernels, vectorized};
use crate::model::real::Real;

/// Reset gate after the product. A step saves q_t. The candidate's sums over input and state are separate, since
/// only the latter is multiplied by r_t.
pub(super) const RESET_AFTER: CellShape =
    CellShape { family: "gru", gates: 3, saved: 1, own_sums: 3, ..CellShape::SIMPLE };
/// Reset gate before the product. A step saves q_t.
pub(super) const RESET_BEFORE: CellShape = CellShape { own_sums: 0, ..RESET_AFTER };

/// Creates a cell with the reset gate after the product.
pub(super) fn reset_after<T: Kernels>(parameters: &CellParameters<'_, T>) -> Arc<dyn Cell<T>> {
    let CellParameters { hidden: h, r, b, purpose } = *parameters;
    let mut bias = parameters.joined_bias();
    bias[2 * h..].copy_from_slice(&b[2 * h..3 * h]);
    let candidate_bias = b[5 * h..].to_vec();
    Arc::new(ResetAfter { hidden: h, state: StateWeights::new(r, h, purpose), bias, candidate_bias })
}

/// Creates a cell with the reset gate before the product.
pub(super) fn reset_before<T: Kernels>(parameters: &CellParameters<'_, T>) -> Arc<dyn Cell<T>> {
    let CellParameters { hidden: h, r, purpose, .. } = *parameters;
    let (gates, candidate) = r.split_at(2 * h * h);
    Arc::new(ResetBefore {
        hidden: h,
        gates: StateWeights::new(gates, h, purpose),
        candidate: StateWeights::new(candidate, h, purpose),
        bias: parameters.joined_bias(),
    })
}

#[derive(Debug)]
struct ResetAfter<T> {
    hidden: usize,
    state: StateWeights<T>,
    /// For z and r the sum of both biases, for c the input's bias only: `[3H]`.
    bias: Vec<T>,
    /// b'_c, `[H]`.
    candidate_bias: Vec<T>,
}

impl<T: Kernels> Cell<T> for ResetAfter<T> {
    fn bias(&self) -> &[T] {
        &self.bias
    }

    fn step(&self, step: Step<'_, T>) {
        let Step { gates, before: [before, _], after: [output, _], saved: q, backwards } = step;
        let (h, k) = (self.hidden, 3 * self.hidden);
        // The product must not be added to the candidate's sums over the input, so these are moved to `q` before
        // the product and swapped back after it.
        for (gates, q) in gates.chunks_exact_mut(k).zip(q.chunks_exact_mut(h)) {
            q.copy_from_slice(&gates[2 * h..]);
            gates[2 * h..].copy_from_slice(&self.candidate_bias);
        }
        kernels::multiply_add_from(before, &self.state.forward, gates, k, backwards);
        for (i, (gates, q)) in gates.chunks_exact_mut(k).zip(q.chunks_exact_mut(h)).enumerate() {
            gates[2 * h..].swap_with_slice(q);
            let at = i * h..(i + 1) * h;
            forward_row(gates, q, &before[at.clone()], &mut output[at]);
        }
    }

    fn step_backward(&self, step: StepBackward<'_, T>) {
        let StepBackward { gates, before: [before, _], saved, dstates: [dh, _], dx, ds, backwards, .. } =
            step;
        let (h, k) = (self.hidden, 3 * self.hidden);
        for (i, gates) in gates.chunks_exact(k).enumerate() {
            let (at, sums) = (i * h..(i + 1) * h, i * k..(i + 1) * k);
            let (dx, ds) = (&mut dx[sums.clone()], &mut ds[sums]);
            backward_row(gates, &saved[at.clone()], &before[at.clone()], &mut dh[at], dx, ds);
        }
        kernels::multiply_add_from(ds, self.state.backward(), dh, h, backwards);
    }

    fn add_gradients(&self, sums: &Sums<'_, T>, dr: &mut [T], db: &mut [T]) {
        add_state_gradients(&self.state, sums.ds, sums.before, dr, db);
    }
}

#[derive(Debug)]
struct ResetBefore<T> {
    hidden: usize,
    /// W_z and W_r.
    gates: StateWeights<T>,
    /// W_c.
    candidate: StateWeights<T>,
    bias: Vec<T>,
}

impl<T: Kernels> Cell<T> for ResetBefore<T> {
    fn bias(&self) -> &[T] {
        &self.bias
    }

    fn step(&self, step: Step<'_, T>) {
        let Step { gates, before: [before, _], after: [output, _], saved: q, backwards } = step;
        let (h, k) = (self.hidden, 3 * self.hidden);
        kernels::multiply_add_from(before, &self.gates.forward, gates, k, backwards);
        for (i, gates) in gates.chunks_exact_mut(k).enumerate() {
            sigmoid(&mut gates[..2 * h]);
            for (j, q) in q[i * h..(i + 1) * h].iter_mut().enumerate() {
                *q = gates[h + j] * before[i * h + j];
            }
        }
        kernels::multiply_add(q, &self.candidate.forward, &mut gates[2 * h..], k);
        for (i, gates) in gates.chunks_exact_mut(k).enumerate() {
            let at = i * h..(i + 1) * h;
            let (z, c) = gates.split_at_mut(2 * h);
            candidate_row(&z[..h], c, &before[at.clone()], &mut output[at]);
        }
    }

    fn step_backward(&self, step: StepBackward<'_, T>) {
        let StepBackward { gates, before: [before, _], dstates: [dh, _], dx, scratch, .. } = step;
        let (h, k) = (self.hidden, 3 * self.hidden);
        for (i, (gates, dx)) in gates.chunks_exact(k).zip(dx.chunks_exact_mut(k)).enumerate() {
            let at = i * h..(i + 1) * h;
            scratch.clear();
            scratch.resize(h, T::ZERO);
            self.backward_row(gates, &before[at.clone()], &mut dh[at], dx, scratch);
        }
        // Only z and r depend on the state directly.
        for (dx, dh) in dx.chunks_exact(k).zip(dh.chunks_exact_mut(h)) {
            kernels::multiply_add(&dx[..2 * h], self.gates.backward(), dh, h);
        }
    }

    fn add_gradients(&self, sums: &Sums<'_, T>, dr: &mut [T], db: &mut [T]) {
        let (h, k) = (self.hidden, 3 * self.hidden);
        let rows = sums.before.len() / h;
        let mut gates = Vec::with_capacity(rows * 2 * h);
        let mut candidate = Vec::with_capacity(rows * h);
        for dx in sums.dx.chunks_exact(k) {
            gates.extend_from_slice(&dx[..2 * h]);
            candidate.extend_from_slice(&dx[2 * h..]);
        }
        let (dr, drc) = dr.split_at_mut(2 * h * h);
        kernels::add_weight_gradient(&self.gates.forward, &gates, sums.before, dr);
        kernels::add_weight_gradient(&self.candidate.forward, &candidate, sums.saved, drc);
        kernels::add_rows(sums.dx, db);
    }
}

impl<T: Kernels> ResetBefore<T> {
    /// Backward step of one row; `dq [H]` is a zeroed scratch buffer.
    fn backward_row(&self, gates: &[T], before: &[T], dh: &mut [T], dx: &mut [T], dq: &mut [T]) {
        let h = self.hidden;
        let (z, r, c) = (&gates[..h], &gates[h..2 * h], &gates[2 * h..]);
        for j in 0..h {
            dx[j] = dh[j] * (before[j] - c[j]) * z[j] * (T::ONE - z[j]);
            dx[2 * h + j] = dh[j] * (T::ONE - z[j]) * (T::ONE - c[j] * c[j]);
        }
        kernels::multiply_add(&dx[2 * h..], self.candidate.backward(), dq, h);
        for j in 0..h {
            dx[h + j] = dq[j] * before[j] * r[j] * (T::ONE - r[j]);
            dh[j] = dh[j] * z[j] + dq[j] * r[j];
        }
    }
}

vectorized! {
    /// Forward step of one row with the reset gate after the product. `g [3H]` contains the sums over the input (z, r,
    /// c), and for z and r those over the state too, and is replaced by the gates; `q [H]` is the candidate's sum over
    /// the state.
    fn forward_row<T: Real>(g: &mut [T], q: &[T], before: &[T], h: &mut [T]) {
        let n = h.len();
        let (z, rest) = g.split_at_mut(n);
        let (r, c) = rest.split_at_mut(n);
        let (r, c, q, before) = (&mut r[..n], &mut c[..n], &q[..n], &before[..n]);
        for i in 0..n {
            let zi = z[i].sigmoid();
            let ri = r[i].sigmoid();
            let ci = ri.madd::<FMA>(q[i], c[i]).tanh();
            h[i] = zi.madd::<FMA>(before[i] - ci, ci).flush();
            (z[i], r[i], c[i]) = (zi, ri, ci);
        }
    }
}

vectorized! {
    /// Gradient of [`forward_row`]: `dx [3H]` for the sums over the input, `ds [3H]` for those over the state. `dh`
    /// becomes the part of the previous state's gradient that does not go through W.
    fn backward_row<T: Real>(g: &[T], q: &[T], before: &[T], dh: &mut [T], dx: &mut [T], ds: &mut [T]) {
        let n = dh.len();
        let (z, r, c) = (&g[..n], &g[n..2 * n], &g[2 * n..3 * n]);
        let (q, before) = (&q[..n], &before[..n]);
        let (dxz, rest) = dx.split_at_mut(n);
        let (dxr, dxc) = rest.split_at_mut(n);
        let (dsz, rest) = ds.split_at_mut(n);
        let (dsr, dsc) = rest.split_at_mut(n);
        let (dxr, dxc, dsr, dsc) = (&mut dxr[..n], &mut dxc[..n], &mut dsr[..n], &mut dsc[..n]);
        for i in 0..n {
            let d = dh[i];
            let dz = d * (before[i] - c[i]) * z[i] * (T::ONE - z[i]);
            let dc = d * (T::ONE - z[i]) * (T::ONE - c[i] * c[i]);
            let dr = dc * q[i] * r[i] * (T::ONE - r[i]);
            dxz[i] = dz;
            dsz[i] = dz;
            dxr[i] = dr;
            dsr[i] = dr;
            dxc[i] = dc;
            dsc[i] = dc * r[i];
            dh[i] = d * z[i];
        }
    }
}

vectorized! {
    /// In place: `a = sigmoid(a)`.
    fn sigmoid<T: Real>(a: &mut [T]) {
        for a in a.iter_mut() {
            *a = a.sigmoid();
        }
    }
}

vectorized! {
    /// Second half of a forward step of one row with the reset gate before the product: `c [H]` contains the
    /// candidate's sums and is replaced by the candidate; `h = z before + (1 - z) c`.
    fn candidate_row<T: Real>(z: &[T], c: &mut [T], before: &[T], h: &mut [T]) {
        let n = h.len();
        let (z, c, before) = (&z[..n], &mut c[..n], &before[..n]);
        for i in 0..n {
            let ci = c[i].tanh();
            h[i] = z[i].madd::<FMA>(before[i] - ci, ci).flush();
            c[i] = ci;
        }
    }
}
