//! A layer of the factorized time-delay network (TDNN-F; Povey et al. 2018), causal: two linear layers with a bottleneck
//! between them, each over a step and the one d steps before it. The first is kept semi-orthogonal in training.
//!
//! ```text
//! p_t = U_1 x_t        q_t = U_2 x_t        b_t = p_(t-d) + q_t        (linear, [U_1 U_2] semi-orthogonal)
//! y_t = max(0, V_1 b_(t-d) + V_2 b_t + c)                              (affine)
//!
//! dL/db_t = V_2ᵀ dL/da_t + V_1ᵀ dL/da_(t+d)                            (a: the argument of max)
//! dL/dq_t = dL/db_t                         dL/dp_t = dL/db_(t+d)
//! ```
//!
//! The state is p and b of the last d steps. In Kaldi batch normalization follows, and 0.66 times the input is added;
//! here these are the network's layer normalization and residual connection (`RESIDUAL_SCALE`). There the second layer
//! is over a step and a later one; here over an earlier one, so that nothing waits for later steps.

use std::sync::Arc;

use super::block::{Block, BlockBackward, BlockShape, BlockSizes, BlockTrace};
use super::history::History;
use crate::model::kernels::Kernels;
use crate::model::linear::Linear;
use crate::model::packed::Purpose;
use crate::model::packed_sequence::PackedSequence;

pub(super) const SHAPE: BlockShape = BlockShape {
    family: "tdnnf",
    parameters: |sizes| {
        let &BlockSizes { inputs, hidden: h, bottleneck_dim: b, .. } = sizes;
        vec![
            // U_1, then U_2.
            ("linear.weight", vec![2 * b, inputs]),
            // V_1 beside V_2.
            ("affine.weight", vec![h, 2 * b]),
            ("affine.bias", vec![h]),
        ]
    },
    state: |sizes| [sizes.time_stride, 2 * sizes.bottleneck_dim],
};

/// The factor of the input in the residual connection around a layer.
pub(super) const RESIDUAL_SCALE: f64 = 0.66;

/// Creates a block from its parameters.
pub(super) fn tdnnf<T: Kernels>(
    sizes: &BlockSizes,
    parameters: &[&[T]],
    purpose: Purpose,
) -> Arc<dyn Block<T>> {
    let &[linear, affine, bias] = parameters else { unreachable!("three parameters") };
    let &BlockSizes { bottleneck_dim, time_stride, .. } = sizes;
    let zeros = vec![T::ZERO; 2 * bottleneck_dim];
    Arc::new(Tdnnf {
        bottleneck_dim,
        time_stride,
        linear: Linear::new(linear, &zeros, purpose),
        affine: Linear::new(affine, bias, purpose),
    })
}

#[derive(Debug)]
struct Tdnnf<T> {
    bottleneck_dim: usize,
    time_stride: usize,
    linear: Linear<T>,
    affine: Linear<T>,
}

impl<T: Kernels> Tdnnf<T> {
    fn history<'a>(&self, steps: &'a PackedSequence) -> History<'a> {
        History { steps, rows: self.time_stride, width: 2 * self.bottleneck_dim }
    }
}

impl<T: Kernels> Block<T> for Tdnnf<T> {
    fn forward(&self, x: &[T], steps: &PackedSequence, state: &mut [T], trace: &mut BlockTrace<T>) {
        let (b, width, history) = (self.bottleneck_dim, 2 * self.bottleneck_dim, self.history(steps));
        let BlockTrace { output, values, .. } = trace;
        let [input, products, joined, spliced] = values.prepare();
        input.clear();
        input.extend_from_slice(x);
        // p and q; in the joined values q is then replaced by b, in the order of time.
        self.linear.apply(x, products);
        products.iter_mut().for_each(|v| *v = v.flush());
        history.join(state, products, joined);
        spliced.resize(products.len(), T::ZERO);
        for (stream, (length, part)) in history.streams().enumerate() {
            let joined = &mut joined[part];
            for t in 0..length {
                let (before, now) = joined.split_at_mut((t + self.time_stride) * width);
                let before = &before[t * width..(t + 1) * width];
                let now = &mut now[b..width];
                let row = steps.row(t, stream) * width;
                let spliced = &mut spliced[row..row + width];
                spliced[..b].copy_from_slice(&before[b..]);
                for ((now, &p), spliced) in now.iter_mut().zip(before).zip(&mut spliced[b..]) {
                    *now += p;
                    *spliced = *now;
                }
            }
        }
        history.keep_last(joined, state);
        self.affine.apply(spliced, output);
        output.iter_mut().for_each(|v| *v = if *v > T::ZERO { *v } else { T::ZERO });
    }

    fn backward(&self, pass: BlockBackward<'_, T>, dx: &mut Vec<T>) {
        let BlockBackward { steps, trace, dy, dstate, gradients } = pass;
        let (b, width, history) = (self.bottleneck_dim, 2 * self.bottleneck_dim, self.history(steps));
        let [input, _, _, spliced] = trace.values.filled();
        let [dlinear, daffine, dbias] = gradients else { unreachable!("three parameters") };
        let keep = |(&d, &y): (&T, &T)| if y > T::ZERO { d } else { T::ZERO };
        let dsums: Vec<T> = dy.iter().zip(&trace.output).map(keep).collect();
        self.affine.add_gradients(spliced, &dsums, daffine, dbias);
        let (mut dspliced, mut djoined) = (Vec::new(), Vec::new());
        self.affine.input_gradient(&dsums, &mut dspliced);
        // The gradients of p and b of each step; that of q is that of b.
        history.begin_backward(dstate, &mut djoined);
        for (stream, (length, part)) in history.streams().enumerate() {
            let djoined = &mut djoined[part];
            for t in (0..length).rev() {
                let (before, now) = djoined.split_at_mut((t + self.time_stride) * width);
                let before = &mut before[t * width..(t + 1) * width];
                let now = &mut now[b..width];
                let row = steps.row(t, stream) * width;
                let dspliced = &dspliced[row..row + width];
                let (before_p, before_b) = before.split_at_mut(b);
                for (d, &own) in before_b.iter_mut().zip(dspliced) {
                    *d += own;
                }
                for ((now, before_p), &own) in now.iter_mut().zip(before_p).zip(&dspliced[b..]) {
                    *now += own;
                    *before_p += *now;
                }
            }
        }
        history.split(&djoined, dstate, &mut dspliced);
        self.linear.add_gradients(input, &dspliced, dlinear, &mut vec![T::ZERO; width]);
        self.linear.input_gradient(&dspliced, dx);
    }
}

/// Number of updates of the optimizer from one constraint to the next: the mean of that in Kaldi.
const CONSTRAINT_INTERVAL: u64 = 4;

/// Moves the first factor of a layer, `linear.weight [2b, in]`, toward the nearest multiple of a semi-orthogonal matrix,
/// after every fourth update: M ← M - 4 ν / α² (M Mᵀ - α² I) M with M = [U_1 U_2], α² = tr(P Pᵀ) / tr(P), P = M Mᵀ, and ν
/// = 1/8, less while M is far from it (Povey et al. 2018, and their program). `update` counts from 0.
pub fn constrain(weight: &mut [f32], bottleneck_dim: usize, update: u64) {
    if (update + 1).is_multiple_of(CONSTRAINT_INTERVAL) {
        approach_semi_orthogonal(weight, bottleneck_dim);
    }
}

fn approach_semi_orthogonal(weight: &mut [f32], b: usize) {
    let inputs = weight.len() / (2 * b).max(1);
    // Row i of M is row i of U_1 followed by row i of U_2.
    let row = |i: usize| (i * inputs..(i + 1) * inputs, (b + i) * inputs..(b + i + 1) * inputs);
    let m: Vec<f64> = (0..b)
        .flat_map(|i| {
            let (first, second) = row(i);
            weight[first].iter().chain(&weight[second]).map(|&w| f64::from(w))
        })
        .collect();
    let columns = 2 * inputs;
    let dot = |i: usize, j: usize| -> f64 {
        let [a, b] = [i, j].map(|row| &m[row * columns..(row + 1) * columns]);
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    };
    let mut p = vec![0.0; b * b];
    for i in 0..b {
        for j in 0..=i {
            p[i * b + j] = dot(i, j);
            p[j * b + i] = p[i * b + j];
        }
    }
    let trace: f64 = (0..b).map(|i| p[i * b + i]).sum();
    let squares: f64 = p.iter().map(|v| v * v).sum();
    if trace <= 0.0 || !squares.is_finite() {
        return;
    }
    // 1 if and only if M is a multiple of a semi-orthogonal matrix; with large steps it would move away from one.
    let ratio = squares * b as f64 / (trace * trace);
    let speed = if ratio > 1.1 {
        0.125 / 4.0
    } else if ratio > 1.02 {
        0.125 / 2.0
    } else {
        0.125
    };
    let square = squares / trace;
    (0..b).for_each(|i| p[i * b + i] -= square);
    let factor = -4.0 * speed / square;
    for i in 0..b {
        let (first, second) = row(i);
        let mut change = vec![0.0; columns];
        for (j, &weight) in p[i * b..(i + 1) * b].iter().enumerate() {
            for (change, &m) in change.iter_mut().zip(&m[j * columns..(j + 1) * columns]) {
                *change += weight * m;
            }
        }
        let (a, z) = change.split_at(inputs);
        for (range, change) in [(first, a), (second, z)] {
            for (w, &change) in weight[range].iter_mut().zip(change) {
                *w += (factor * change) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest difference of M Mᵀ from a multiple of the identity, relative to it.
    fn distance(weight: &[f32], b: usize) -> f64 {
        let inputs = weight.len() / (2 * b);
        let row = |i: usize| {
            weight[i * inputs..(i + 1) * inputs].iter().chain(&weight[(b + i) * inputs..][..inputs])
        };
        let p =
            |i: usize, j: usize| row(i).zip(row(j)).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let mean = (0..b).map(|i| p(i, i)).sum::<f64>() / b as f64;
        let error = |(i, j): (usize, usize)| (p(i, j) - if i == j { mean } else { 0.0 }).abs() / mean;
        (0..b * b).map(|k| error((k / b, k % b))).fold(0.0, f64::max)
    }

    #[test]
    fn a_random_matrix_becomes_semi_orthogonal() {
        let (b, inputs) = (6, 10);
        let mut state = 1u32;
        let mut number = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut weight: Vec<f32> = (0..2 * b * inputs).map(|_| number()).collect();
        let first = distance(&weight, b);
        (0..240).for_each(|update| constrain(&mut weight, b, update));
        assert!(first > 0.3 && distance(&weight, b) < 1e-3, "{first}, then {}", distance(&weight, b));
        let before = weight.clone();
        constrain(&mut weight, b, 240);
        assert_eq!(weight, before, "only after every fourth update");
    }
}
