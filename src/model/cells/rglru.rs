//! The real-gated linear recurrent unit (RG-LRU; De et al. 2024, "Griffin"): a linear recurrence in which each value of the
//! state has a decay of its own, which the input can only shorten or prolong. All matrix products are computed for all
//! steps at once. The matrices of the gates, A_r and A_i, are block-diagonal, with one block for each of n heads, as in the
//! authors' program; Λ is the parameter Lambda.
//!
//! ```text
//! v_t = U x_t + c
//! r_t = σ(A_r v_t + b_r)                  i_t = σ(A_i v_t + b_i)
//! a_t = exp(-8 softplus(Λ) ∘ r_t)         m_t = sqrt(max(1 - a_t², 10⁻⁶))
//! s_t = a_t ∘ s_(t-1) + m_t ∘ i_t ∘ v_t
//!
//! dL/da_i     = dL/ds_t ∘ m_t ∘ v_t ∘ i_t (1 - i_t)            (a_i, a_r: the arguments of σ)
//! dL/dlog a_t = a_t ∘ (dL/ds_t ∘ s_(t-1) - dL/ds_t ∘ i_t ∘ v_t ∘ a_t / m_t)
//! dL/da_r     = -8 softplus(Λ) ∘ dL/dlog a_t ∘ r_t (1 - r_t)
//! dL/dv_t     = dL/ds_t ∘ m_t ∘ i_t + A_rᵀ dL/da_r + A_iᵀ dL/da_i
//! dL/dΛ       = Σ_t -8 σ(Λ) ∘ r_t ∘ dL/dlog a_t
//! dL/ds_(t-1) = dL/ds_t ∘ a_t
//! ```
//!
//! In the paper the linear layer U and a convolution stand in front of the unit; here the linear layer is part of the cell, so
//! that the widths of input and state can differ. The lower limit of 1 - a_t² is that of the slope of the root, 1000, in
//! the authors' program; below it the second term of dL/dlog a_t is zero. A stream begins with a state of zeros like any
//! other cell's (there the first step has m = 1).

use std::ops::Range;
use std::sync::Arc;

use super::block::{Block, BlockBackward, BlockShape, BlockSizes, BlockTrace};
use crate::model::kernels::{Kernels, vectorized};
use crate::model::linear::Linear;
use crate::model::packed::Purpose;
use crate::model::packed_sequence::PackedSequence;
use crate::model::real::Real;

pub(super) const SHAPE: BlockShape = BlockShape {
    family: "rglru",
    parameters: |sizes| {
        let &BlockSizes { inputs, hidden: h, num_heads: n, .. } = sizes;
        let width = h / n.max(1);
        vec![
            ("linear.weight", vec![h, inputs]),
            ("linear.bias", vec![h]),
            // The block of each head: its rows of A_r, then those of A_i.
            ("gates.weight", vec![n, 2 * width, width]),
            ("gates.bias", vec![2 * h]),
            ("Lambda", vec![h]),
        ]
    },
    state: |sizes| [1, sizes.hidden],
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

/// Creates a block from its parameters.
pub(super) fn rglru<T: Kernels>(
    sizes: &BlockSizes,
    parameters: &[&[T]],
    purpose: Purpose,
) -> Arc<dyn Block<T>> {
    let &[linear, linear_bias, gates, gates_bias, lambda] = parameters else {
        unreachable!("five parameters")
    };
    let &BlockSizes { inputs, hidden, num_heads, .. } = sizes;
    let width = hidden / num_heads.max(1);
    let head = |head: usize| {
        let rows = head * width..(head + 1) * width;
        let lambda = &lambda[rows.clone()];
        let of = |value: fn(f64) -> f64| {
            lambda.iter().map(|lambda| T::from_f64(SHARPNESS * value(lambda.to_f64()))).collect()
        };
        let gate = |gate: usize| {
            let rows = (2 * head + gate) * width..(2 * head + gate + 1) * width;
            Linear::new(&gates[rows.start * width..rows.end * width], &gates_bias[rows], purpose)
        };
        let weight = &linear[rows.start * inputs..rows.end * inputs];
        Head {
            linear: Linear::new(weight, &linear_bias[rows], purpose),
            gates: [gate(0), gate(1)],
            rate: of(softplus),
            slope: of(|lambda| 1.0 / (1.0 + (-lambda).exp())),
        }
    };
    Arc::new(RgLru { hidden, heads: (0..num_heads).map(head).collect() })
}

/// The values of a head do not depend on those of the others, so the heads are computed one after another.
#[derive(Debug)]
struct RgLru<T> {
    /// H, the width of all heads.
    hidden: usize,
    heads: Vec<Head<T>>,
}

#[derive(Debug)]
struct Head<T> {
    /// The rows of U and c.
    linear: Linear<T>,
    /// The blocks of A_r and A_i with their biases.
    gates: [Linear<T>; 2],
    /// -8 softplus(Λ), `[w]`.
    rate: Vec<T>,
    /// -8 σ(Λ), `[w]`.
    slope: Vec<T>,
}

impl<T: Kernels> RgLru<T> {
    /// The width of a head.
    fn width(&self) -> usize {
        self.hidden / self.heads.len()
    }

    /// The columns of a head in row `row` of values `[R, H]`.
    fn columns(&self, head: usize, row: usize) -> Range<usize> {
        let first = row * self.hidden + head * self.width();
        first..first + self.width()
    }
}

impl<T: Kernels> Block<T> for RgLru<T> {
    fn forward(&self, x: &[T], steps: &PackedSequence, state: &mut [T], trace: &mut BlockTrace<T>) {
        let (h, w, size) = (self.hidden, self.width(), steps.rows() * self.width());
        let BlockTrace { output, gates, values, .. } = trace;
        let [input, v, decay, multiplier, first] = values.prepare();
        input.clear();
        input.extend_from_slice(x);
        first.clear();
        first.extend_from_slice(state);
        for values in [&mut *output, v, decay, multiplier] {
            values.resize(steps.rows() * h, T::ZERO);
        }
        gates.resize(2 * steps.rows() * h, T::ZERO);
        let (r, i) = gates.split_at_mut(steps.rows() * h);
        for (k, head) in self.heads.iter().enumerate() {
            let part = k * size..(k + 1) * size;
            let [v, r, i, decay, multiplier] =
                [&mut *v, &mut *r, &mut *i, decay, multiplier].map(|values| &mut values[part.clone()]);
            head.linear.apply_to(x, v);
            head.gates[0].apply_to(v, r);
            head.gates[1].apply_to(v, i);
            for t in 0..steps.len() {
                let rows = steps.range(t);
                let (done, rest) = output.split_at_mut(rows.start * h);
                let before = if t == 0 { &first[..] } else { &done[steps.range(t - 1).start * h..] };
                for (stream, row) in rows.enumerate() {
                    let (at, own) = (row * w..(row + 1) * w, self.columns(k, stream));
                    let gates = [&mut r[at.clone()], &mut i[at.clone()]];
                    let saved = [&mut decay[at.clone()], &mut multiplier[at.clone()]];
                    forward_row(gates, &v[at], &head.rate, &before[own.clone()], saved, &mut rest[own]);
                }
            }
        }
        steps.copy_last(output, h, state);
    }

    fn backward(&self, pass: BlockBackward<'_, T>, dx: &mut Vec<T>) {
        let BlockBackward { steps, trace, dy, dstate, gradients } = pass;
        let (h, w, size) = (self.hidden, self.width(), steps.rows() * self.width());
        let [input, v, decay, multiplier, first] = trace.values.filled();
        let (r, i) = trace.gates.split_at(steps.rows() * h);
        let [dweight, dbias, dgates, dgates_bias, dlambda] = gradients else {
            unreachable!("five parameters")
        };
        let inputs = dweight.len() / h;
        dx.clear();
        dx.resize(input.len(), T::ZERO);
        let [mut dr, mut di, mut dv] = [(); 3].map(|()| vec![T::ZERO; size]);
        for (k, head) in self.heads.iter().enumerate() {
            let part = k * size..(k + 1) * size;
            let [v, r, i, decay, multiplier] =
                [v, r, i, decay, multiplier].map(|values| &values[part.clone()]);
            let mut drate = vec![T::ZERO; w];
            for t in (0..steps.len()).rev() {
                let before = match t {
                    0 => &first[..],
                    _ => &trace.output[steps.range(t - 1).start * h..],
                };
                for (stream, row) in steps.range(t).enumerate() {
                    let (at, own) = (row * w..(row + 1) * w, self.columns(k, stream));
                    let ds = &mut dstate[own.clone()];
                    for (d, &y) in ds.iter_mut().zip(&dy[self.columns(k, row)]) {
                        *d += y;
                    }
                    let values = [r, i, v, decay, multiplier].map(|values| &values[at.clone()]);
                    let sums = [&mut dr, &mut di, &mut dv].map(|values| &mut values[at.clone()]);
                    backward_row(values, &head.rate, &before[own], ds, sums, &mut drate);
                }
            }
            let (weight, bias) = (2 * k * w * w, 2 * k * w);
            for (gate, (linear, sums)) in head.gates.iter().zip([&dr, &di]).enumerate() {
                let dweight = &mut dgates[weight + gate * w * w..][..w * w];
                linear.add_gradients(v, sums, dweight, &mut dgates_bias[bias + gate * w..][..w]);
                linear.add_input_gradient(sums, &mut dv);
            }
            let rows = k * w..(k + 1) * w;
            let dweight = &mut dweight[rows.start * inputs..rows.end * inputs];
            head.linear.add_gradients(input, &dv, dweight, &mut dbias[rows.clone()]);
            head.linear.add_input_gradient(&dv, dx);
            for ((d, &rate), &slope) in dlambda[rows].iter_mut().zip(&drate).zip(&head.slope) {
                *d += rate * slope;
            }
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
    /// Forward step of one row of a head. `gates` (r and i) contains their arguments, which are replaced by the gates;
    /// `saved` becomes a and m.
    fn forward_row<T: Real>(
        gates: [&mut [T]; 2],
        v: &[T],
        rate: &[T],
        before: &[T],
        saved: [&mut [T]; 2],
        s: &mut [T],
    ) {
        let n = s.len();
        let [r, i] = gates;
        let [decay, multiplier] = saved;
        let (r, i, decay, multiplier) = (&mut r[..n], &mut i[..n], &mut decay[..n], &mut multiplier[..n]);
        let (v, rate, before) = (&v[..n], &rate[..n], &before[..n]);
        let least = T::from_f64(LEAST_SQUARE);
        for j in 0..n {
            let (rj, ij) = (r[j].sigmoid(), i[j].sigmoid());
            let log = rate[j] * rj;
            let a = log.exp();
            let square = input_square(log, a);
            let m = (if square > least { square } else { least }).sqrt();
            s[j] = a.madd::<FMA>(before[j], m * (ij * v[j])).flush();
            (r[j], i[j], decay[j], multiplier[j]) = (rj, ij, a, m);
        }
    }
}

vectorized! {
    /// Gradient of [`forward_row`], with `values` r, i, v, a and m and the state before: `sums` becomes that of the arguments
    /// of r and i, and that of v without what goes through the gates; that of the rate of decay is added to `drate`; `ds`
    /// becomes the gradient of the previous state.
    fn backward_row<T: Real>(
        values: [&[T]; 5],
        rate: &[T],
        before: &[T],
        ds: &mut [T],
        sums: [&mut [T]; 3],
        drate: &mut [T],
    ) {
        let n = ds.len();
        let [r, i, v, a, m] = values;
        let [dr, di, dv] = sums;
        let (r, i, v, a, m) = (&r[..n], &i[..n], &v[..n], &a[..n], &m[..n]);
        let (dr, di, dv, drate) = (&mut dr[..n], &mut di[..n], &mut dv[..n], &mut drate[..n]);
        let (rate, before) = (&rate[..n], &before[..n]);
        let least = T::from_f64(LEAST_SQUARE).sqrt();
        for j in 0..n {
            let d = ds[j];
            let gated = d * i[j];
            // At its lower limit m is constant.
            let slope = if m[j] > least { a[j] / m[j] } else { T::ZERO };
            let dlog = a[j] * (d * before[j] - gated * v[j] * slope);
            dr[j] = dlog * rate[j] * r[j] * (T::ONE - r[j]);
            di[j] = gated * m[j] * v[j] * (T::ONE - i[j]);
            dv[j] = gated * m[j];
            drate[j] += dlog * r[j];
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
