//! The real-gated linear recurrent unit (RG-LRU; De et al. 2024, "Griffin"): a linear recurrence in which each value of the
//! state has a decay of its own, which the input can only shorten or prolong. All matrix products are computed for all
//! steps at once. Rows of U and b are in the order r, i, v; Λ is the parameter Lambda.
//!
//! ```text
//! r_t = σ(U_r x_t + b_r)                  i_t = σ(U_i x_t + b_i)         v_t = U_v x_t + b_v
//! a_t = exp(-8 softplus(Λ) ∘ r_t)         m_t = sqrt(max(1 - a_t², 10⁻⁶))
//! s_t = a_t ∘ s_(t-1) + m_t ∘ i_t ∘ v_t
//!
//! dL/dv_t     = dL/ds_t ∘ m_t ∘ i_t
//! dL/da_i     = dL/ds_t ∘ m_t ∘ v_t ∘ i_t (1 - i_t)            (a_i, a_r: the arguments of σ)
//! dL/dlog a_t = a_t ∘ (dL/ds_t ∘ s_(t-1) - dL/ds_t ∘ i_t ∘ v_t ∘ a_t / m_t)
//! dL/da_r     = -8 softplus(Λ) ∘ dL/dlog a_t ∘ r_t (1 - r_t)
//! dL/dΛ       = Σ_t -8 σ(Λ) ∘ r_t ∘ dL/dlog a_t
//! dL/ds_(t-1) = dL/ds_t ∘ a_t
//! ```
//!
//! In the paper v_t is x_t itself, behind a linear layer and a convolution; here the linear layer is part of the cell, so
//! that the widths of input and state can differ. The lower limit of 1 - a_t² is that of the slope of the root, 1000, in
//! the authors' program; below it the second term of dL/dlog a_t is zero. A stream begins with a state of zeros like any
//! other cell's (there the first step has m = 1).

use std::sync::Arc;

use super::cell::{Cell, CellParameters, CellShape, Recurrence, Step, StepBackward, Sums};
use crate::model::kernels::{self, Kernels, vectorized};
use crate::model::real::Real;

/// A step saves a_t; its further gradients are r_t ∘ dL/dlog a_t.
pub(super) const SHAPE: CellShape = CellShape {
    family: "rglru",
    gates: 3,
    saved: 1,
    own_sums: 1,
    recurrence: Recurrence::Decay,
    ..CellShape::SIMPLE
};

/// The exponent of the decay at r_t = 1.
const SHARPNESS: f64 = -8.0;
/// The lower limit of 1 - a_t².
const LEAST_SQUARE: f64 = 1e-6;
/// exp(-softplus(Λ)) of a new layer: its square is uniform between those of these two.
const FIRST_DECAYS: [f64; 2] = [0.9, 0.999];

/// ln(1 + exp(x)).
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// A value of Λ of a new layer; `uniform` is a random number in -1..1.
pub fn first_lambda(uniform: f64) -> f64 {
    let [least, most] = FIRST_DECAYS.map(|decay| decay * decay);
    let square = least + (uniform + 1.0) / 2.0 * (most - least);
    // The inverse of softplus at -ln(sqrt(square)).
    (square.powf(-0.5) - 1.0).ln()
}

/// Creates a cell.
pub(super) fn rglru<T: Kernels>(parameters: &CellParameters<'_, T>) -> Arc<dyn Cell<T>> {
    let of = |value: fn(f64) -> f64| {
        let values = parameters.r.iter().map(|lambda| SHARPNESS * value(lambda.to_f64()));
        values.map(T::from_f64).collect()
    };
    Arc::new(RgLru {
        hidden: parameters.hidden,
        rate: of(softplus),
        slope: of(|lambda| 1.0 / (1.0 + (-lambda).exp())),
        bias: parameters.b.to_vec(),
    })
}

#[derive(Debug)]
struct RgLru<T> {
    hidden: usize,
    /// -8 softplus(Λ), `[H]`.
    rate: Vec<T>,
    /// -8 σ(Λ), `[H]`.
    slope: Vec<T>,
    bias: Vec<T>,
}

impl<T: Kernels> Cell<T> for RgLru<T> {
    fn bias(&self) -> &[T] {
        &self.bias
    }

    fn step(&self, step: Step<'_, T>) {
        let Step { gates, before: [before, _], after: [output, _], saved, .. } = step;
        let (h, k) = (self.hidden, 3 * self.hidden);
        let rows = gates.chunks_exact_mut(k).zip(before.chunks_exact(h));
        for ((gates, before), (decay, output)) in
            rows.zip(saved.chunks_exact_mut(h).zip(output.chunks_exact_mut(h)))
        {
            forward_row(gates, &self.rate, before, decay, output);
        }
    }

    fn step_backward(&self, step: StepBackward<'_, T>) {
        let StepBackward { gates, before: [before, _], saved, dstates: [dh, _], dx, ds, .. } = step;
        let (h, k) = (self.hidden, 3 * self.hidden);
        for (i, gates) in gates.chunks_exact(k).enumerate() {
            let at = i * h..(i + 1) * h;
            let saved = [&saved[at.clone()], &before[at.clone()]];
            let (dx, drate) = (&mut dx[i * k..(i + 1) * k], &mut ds[at.clone()]);
            backward_row(gates, &self.rate, saved, &mut dh[at], dx, drate);
        }
    }

    fn add_gradients(&self, sums: &Sums<'_, T>, dlambda: &mut [T], _: &mut [T]) {
        let mut total = vec![T::ZERO; dlambda.len()];
        kernels::add_rows(sums.ds, &mut total);
        for ((d, &total), &slope) in dlambda.iter_mut().zip(&total).zip(&self.slope) {
            *d += total * slope;
        }
    }
}

/// 1 - a² for a = exp(`log`), by the power series where a is near 1 and the difference would lose its digits.
#[inline(always)]
fn input_square<T: Real>(log: T, a: T) -> T {
    let x = -(log + log);
    let mut series = T::ONE;
    for n in [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0] {
        series = T::ONE - x * T::from_f64(1.0 / n) * series;
    }
    if x < T::from_f64(0.1) { x * series } else { T::ONE - a * a }
}

vectorized! {
    /// Forward step of one row. `g [3H]` contains the sums over the input (r, i, v), the first two of which are replaced
    /// by the gates; `decay` becomes a.
    fn forward_row<T: Real>(g: &mut [T], rate: &[T], before: &[T], decay: &mut [T], s: &mut [T]) {
        let n = s.len();
        let (r, rest) = g.split_at_mut(n);
        let (i, v) = rest.split_at_mut(n);
        let (i, v, rate, before, decay) = (&mut i[..n], &v[..n], &rate[..n], &before[..n], &mut decay[..n]);
        let least = T::from_f64(LEAST_SQUARE);
        for j in 0..n {
            let (rj, ij) = (r[j].sigmoid(), i[j].sigmoid());
            let log = rate[j] * rj;
            let a = log.exp();
            let square = input_square(log, a);
            let m = (if square > least { square } else { least }).sqrt();
            s[j] = a.madd::<FMA>(before[j], m * (ij * v[j])).flush();
            (r[j], i[j], decay[j]) = (rj, ij, a);
        }
    }
}

vectorized! {
    /// Gradient of [`forward_row`], with a and the state before: `dx [3H]` for the sums over the input, `drate [H]` for
    /// the rate of decay; `ds` becomes the gradient of the previous state.
    fn backward_row<T: Real>(g: &[T], rate: &[T], saved: [&[T]; 2], ds: &mut [T], dx: &mut [T], drate: &mut [T]) {
        let n = ds.len();
        let (r, i, v) = (&g[..n], &g[n..2 * n], &g[2 * n..3 * n]);
        let (rate, a, before, drate) = (&rate[..n], &saved[0][..n], &saved[1][..n], &mut drate[..n]);
        let (dr, rest) = dx.split_at_mut(n);
        let (di, dv) = rest.split_at_mut(n);
        let (di, dv) = (&mut di[..n], &mut dv[..n]);
        let least = T::from_f64(LEAST_SQUARE);
        for j in 0..n {
            let d = ds[j];
            let square = input_square(rate[j] * r[j], a[j]);
            let is_free = square > least;
            let m = (if is_free { square } else { least }).sqrt();
            let gated = d * i[j];
            let slope = if is_free { a[j] / m } else { T::ZERO };
            let dlog = a[j] * (d * before[j] - gated * v[j] * slope);
            dr[j] = dlog * rate[j] * r[j] * (T::ONE - r[j]);
            di[j] = gated * m * v[j] * (T::ONE - i[j]);
            dv[j] = gated * m;
            drate[j] = dlog * r[j];
            ds[j] = d * a[j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decay_of_a_new_layer_lies_in_its_ring() {
        let decay = |uniform| (-softplus(first_lambda(uniform))).exp();
        assert!((decay(-1.0) - 0.9).abs() < 1e-12 && (decay(1.0) - 0.999).abs() < 1e-12);
        // The square is uniform.
        assert!((decay(0.0).powi(2) - (0.81 + 0.998_001) / 2.0).abs() < 1e-12);
    }
}
