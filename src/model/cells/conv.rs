//! The convolution module of the Conformer (Gulati et al. 2020), causal: a depthwise convolution over the last K steps
//! between two pointwise ones, with layer normalization in place of batch normalization. Its state is the last K - 1
//! inputs of the depthwise convolution.
//!
//! ```text
//! (a_t, b_t) = W_1 LN(x_t) + b_1           g_t = a_t ∘ σ(b_t)                      (gated linear unit)
//! d_t = Σ_m k_m ∘ g_(t-K+1+m) + b_d,       m = 0 … K-1
//! y_t = W_2 (n_t ∘ σ(n_t)) + b_2,          n_t = LN(d_t)                           (swish)
//!
//! dL/dn_t = W_2ᵀ dL/dy_t ∘ σ(n_t) (1 + n_t (1 - σ(n_t)))
//! dL/dk_m = Σ_t dL/dd_t ∘ g_(t-K+1+m)      dL/dg_t = Σ_m k_m ∘ dL/dd_(t+K-1-m)
//! dL/da_t = dL/dg_t ∘ σ(b_t)               dL/db_t = dL/dg_t ∘ a_t ∘ σ(b_t) (1 - σ(b_t))
//! ```
//!
//! The residual connection around the module is that of the network.

use std::sync::Arc;

use super::block::{Block, BlockBackward, BlockShape, BlockSizes, BlockTrace};
use super::history::History;
use crate::model::kernels::{self, Kernels, vectorized};
use crate::model::linear::Linear;
use crate::model::norm::LayerNorm;
use crate::model::packed::Purpose;
use crate::model::packed_sequence::PackedSequence;
use crate::model::real::Real;

pub(super) const SHAPE: BlockShape = BlockShape {
    family: "conv",
    parameters: |sizes| {
        let &BlockSizes { inputs, hidden: h, kernel_size, .. } = sizes;
        vec![
            ("norm1.gain", vec![inputs]),
            ("norm1.bias", vec![inputs]),
            ("pointwise1.weight", vec![2 * h, inputs]),
            ("pointwise1.bias", vec![2 * h]),
            ("depthwise.kernel", vec![kernel_size, h]),
            ("depthwise.bias", vec![h]),
            ("norm2.gain", vec![h]),
            ("norm2.bias", vec![h]),
            ("pointwise2.weight", vec![h, h]),
            ("pointwise2.bias", vec![h]),
        ]
    },
    state: |sizes| [sizes.kernel_size - 1, sizes.hidden],
};

/// Creates a block from its parameters.
pub(super) fn conv<T: Kernels>(
    sizes: &BlockSizes,
    parameters: &[&[T]],
    purpose: Purpose,
) -> Arc<dyn Block<T>> {
    let &[gain1, bias1, w1, b1, kernel, depthwise_bias, gain2, bias2, w2, b2] = parameters else {
        unreachable!("ten parameters")
    };
    Arc::new(Conv {
        hidden: sizes.hidden,
        norm1: LayerNorm::new(gain1, bias1),
        pointwise1: Linear::new(w1, b1, purpose),
        kernel: kernel.to_vec(),
        bias: depthwise_bias.to_vec(),
        norm2: LayerNorm::new(gain2, bias2),
        pointwise2: Linear::new(w2, b2, purpose),
    })
}

#[derive(Debug)]
struct Conv<T> {
    hidden: usize,
    norm1: LayerNorm<T>,
    pointwise1: Linear<T>,
    /// k, `[K, H]`, of the earliest step first.
    kernel: Vec<T>,
    bias: Vec<T>,
    norm2: LayerNorm<T>,
    pointwise2: Linear<T>,
}

impl<T: Kernels> Conv<T> {
    fn history<'a>(&self, steps: &'a PackedSequence) -> History<'a> {
        let h = self.hidden;
        History { steps, rows: self.kernel.len() / h - 1, width: h }
    }
}

impl<T: Kernels> Block<T> for Conv<T> {
    fn forward(&self, x: &[T], steps: &PackedSequence, state: &mut [T], trace: &mut BlockTrace<T>) {
        let (h, history) = (self.hidden, self.history(steps));
        let BlockTrace { output, values, norms, .. } = trace;
        let [input, gates, joined, convolved, normal, swish] = values.prepare();
        let [norm1, norm2] = norms.prepare();
        self.norm1.apply(x, norm1, input);
        self.pointwise1.apply(input, gates);
        convolved.resize(steps.rows() * h, T::ZERO);
        for (gates, gated) in gates.chunks_exact_mut(2 * h).zip(convolved.chunks_exact_mut(h)) {
            gate_row(gates, gated);
        }
        history.join(state, convolved, joined);
        history.keep_last(joined, state);
        kernels::set_rows(convolved, &self.bias);
        for (b, (length, part)) in history.streams().enumerate() {
            let joined = &joined[part];
            for t in 0..length {
                let row = steps.row(t, b) * h;
                convolve(
                    &joined[t * h..t * h + self.kernel.len()],
                    &self.kernel,
                    &mut convolved[row..row + h],
                );
            }
        }
        self.norm2.apply(convolved, norm2, normal);
        swish.resize(normal.len(), T::ZERO);
        swish_values(normal, swish);
        self.pointwise2.apply(swish, output);
    }

    fn backward(&self, pass: BlockBackward<'_, T>, dx: &mut Vec<T>) {
        let BlockBackward { steps, trace, dy, dstate, gradients } = pass;
        let (h, history) = (self.hidden, self.history(steps));
        let [input, gates, joined, _, normal, swish] = trace.values.filled();
        let [norm1, norm2] = trace.norms.filled();
        let [gain1, bias1, dw1, db1, dkernel, dbias, gain2, bias2, dw2, db2] = gradients else {
            unreachable!("ten parameters")
        };
        self.pointwise2.add_gradients(swish, dy, dw2, db2);
        let (mut d, mut djoined) = (Vec::new(), Vec::new());
        self.pointwise2.input_gradient(dy, &mut d);
        swish_backward(normal, &mut d);
        self.norm2.backward(&mut d, norm2, gain2, bias2);
        kernels::add_rows(&d, dbias);
        history.begin_backward(dstate, &mut djoined);
        for (b, (length, part)) in history.streams().enumerate() {
            let (joined, djoined) = (&joined[part.clone()], &mut djoined[part]);
            for t in 0..length {
                let (row, at) = (steps.row(t, b) * h, t * h..t * h + self.kernel.len());
                convolve_backward(
                    &d[row..row + h],
                    &joined[at.clone()],
                    &self.kernel,
                    dkernel,
                    &mut djoined[at],
                );
            }
        }
        // Now the gradient of the gated values.
        history.split(&djoined, dstate, &mut d);
        let mut dgates = vec![T::ZERO; gates.len()];
        let rows = gates.chunks_exact(2 * h).zip(d.chunks_exact(h));
        for ((gates, d), dgates) in rows.zip(dgates.chunks_exact_mut(2 * h)) {
            gate_row_backward(gates, d, dgates);
        }
        self.pointwise1.add_gradients(input, &dgates, dw1, db1);
        self.pointwise1.input_gradient(&dgates, dx);
        self.norm1.backward(dx, norm1, gain1, bias1);
    }
}

vectorized! {
    /// The gated linear unit of one row: `gates [2H]` contains a and b, of which b is replaced by σ(b).
    fn gate_row<T: Real>(gates: &mut [T], gated: &mut [T]) {
        let (a, b) = gates.split_at_mut(gated.len());
        for ((gated, &a), b) in gated.iter_mut().zip(a.iter()).zip(b) {
            *b = b.sigmoid();
            *gated = (a * *b).flush();
        }
    }
}

vectorized! {
    /// Gradient of [`gate_row`] for the gradient `d [H]` of the gated values.
    fn gate_row_backward<T: Real>(gates: &[T], d: &[T], dgates: &mut [T]) {
        let n = d.len();
        let (a, b) = (&gates[..n], &gates[n..2 * n]);
        let (da, db) = dgates.split_at_mut(n);
        let db = &mut db[..n];
        for i in 0..n {
            da[i] = d[i] * b[i];
            db[i] = d[i] * a[i] * b[i] * (T::ONE - b[i]);
        }
    }
}

vectorized! {
    /// Adds Σ_m k_m ∘ x_m to `y [H]`, for `x` and `kernel` `[K, H]`.
    fn convolve<T: Real>(x: &[T], kernel: &[T], y: &mut [T]) {
        let h = y.len();
        for (x, kernel) in x.chunks_exact(h).zip(kernel.chunks_exact(h)) {
            for ((y, &x), &k) in y.iter_mut().zip(x).zip(kernel) {
                *y = x.madd::<FMA>(k, *y);
            }
        }
    }
}

vectorized! {
    /// Adds the gradients of [`convolve`] for the gradient `dy [H]`.
    fn convolve_backward<T: Real>(dy: &[T], x: &[T], kernel: &[T], dkernel: &mut [T], dx: &mut [T]) {
        let h = dy.len();
        let taps = x.chunks_exact(h).zip(kernel.chunks_exact(h));
        let gradients = dkernel.chunks_exact_mut(h).zip(dx.chunks_exact_mut(h));
        for ((x, kernel), (dkernel, dx)) in taps.zip(gradients) {
            for i in 0..h {
                dkernel[i] = dy[i].madd::<FMA>(x[i], dkernel[i]);
                dx[i] = dy[i].madd::<FMA>(kernel[i], dx[i]);
            }
        }
    }
}

vectorized! {
    /// Computes `y = x ∘ σ(x)`.
    fn swish_values<T: Real>(x: &[T], y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * x.sigmoid();
        }
    }
}

vectorized! {
    /// Replaces the gradient of [`swish_values`]'s output by that of its input `x`.
    fn swish_backward<T: Real>(x: &[T], d: &mut [T]) {
        for (d, &x) in d.iter_mut().zip(x) {
            let s = x.sigmoid();
            *d *= s * (T::ONE + x * (T::ONE - s));
        }
    }
}
