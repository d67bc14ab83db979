//! A layer of the Transformer encoder (Vaswani et al. 2017) that streams: each step attends to itself and to the L steps
//! before it, whose keys and values are the state. Positions are known by a bias that falls with the distance (ALiBi;
//! Press et al. 2022), which has no parameters. Normalization comes first (pre-norm; Xiong et al. 2020).
//!
//! ```text
//! (q_t, k_t, v_t) = W_in LN(x_t) + b_in                           divided into h heads of width d
//! p_tj = softmax_j (q_t k_j / sqrt(d) - m (t - j)),               j = t-L … t, m the slope of the head
//! a_t  = W_out (Σ_j p_tj v_j) + b_out
//! y_t  = a_t + W_2 max(0, W_1 LN(x_t + a_t) + b_1) + b_2
//!
//! dL/dp_tj = dL/do_t v_j                                          o_t = Σ_j p_tj v_j
//! dL/ds_tj = p_tj (dL/dp_tj - Σ_i p_ti dL/dp_ti)                  s: the argument of softmax
//! dL/dq_t  = Σ_j dL/ds_tj k_j / sqrt(d)
//! dL/dk_j  = Σ_t dL/ds_tj q_t / sqrt(d)                           dL/dv_j = Σ_t p_tj dL/do_t
//! ```
//!
//! The second residual connection, x_t + y_t, is that of the network. Where the widths of x and a differ, x_t is left out
//! of the sum. Keys and values of steps before the stream's first are zeros and take part in the softmax, so that the
//! state of a new stream is zero and no mask is needed.

use std::sync::Arc;

use super::block::{Block, BlockBackward, BlockShape, BlockSizes, BlockTrace};
use super::history::History;
use crate::model::kernels::{Kernels, vectorized};
use crate::model::linear::Linear;
use crate::model::norm::LayerNorm;
use crate::model::packed::Purpose;
use crate::model::packed_sequence::PackedSequence;
use crate::model::real::Real;

pub(super) const SHAPE: BlockShape = BlockShape {
    family: "attention",
    parameters: |sizes| {
        let &BlockSizes { inputs, hidden: h, dim_feedforward: f, .. } = sizes;
        vec![
            ("norm1.gain", vec![inputs]),
            ("norm1.bias", vec![inputs]),
            ("in_proj.weight", vec![3 * h, inputs]),
            ("in_proj.bias", vec![3 * h]),
            ("out_proj.weight", vec![h, h]),
            ("out_proj.bias", vec![h]),
            ("norm2.gain", vec![h]),
            ("norm2.bias", vec![h]),
            ("linear1.weight", vec![f, h]),
            ("linear1.bias", vec![f]),
            ("linear2.weight", vec![h, f]),
            ("linear2.bias", vec![h]),
        ]
    },
    state: |sizes| [sizes.left_context, 2 * sizes.hidden],
};

/// The slopes of ALiBi: for n heads, n a power of 2, 2^(-8i/n), i = 1 … n; else those of the next smaller power p, then
/// every second of those of 2p.
pub fn alibi_slopes(heads: usize) -> Vec<f64> {
    let of_power = |n: usize| (1..=n).map(move |i| (-8.0 * i as f64 / n as f64).exp2());
    let power = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    of_power(power).chain(of_power(2 * power).step_by(2)).take(heads).collect()
}

/// Creates a block from its parameters.
pub(super) fn attention<T: Kernels>(
    sizes: &BlockSizes,
    parameters: &[&[T]],
    purpose: Purpose,
) -> Arc<dyn Block<T>> {
    let &[gain1, bias1, w_in, b_in, w_out, b_out, gain2, bias2, w1, b1, w2, b2] = parameters else {
        unreachable!("twelve parameters")
    };
    let &BlockSizes { inputs, hidden, num_heads, left_context, .. } = sizes;
    let width = hidden / num_heads;
    let heads = alibi_slopes(num_heads).into_iter().enumerate().map(|(i, slope)| Head {
        first: i * width,
        width,
        hidden,
        bias: (0..=left_context).map(|j| T::from_f64(-slope * (left_context - j) as f64)).collect(),
    });
    Arc::new(Attention {
        hidden,
        left_context,
        residual: inputs == hidden,
        norm1: LayerNorm::new(gain1, bias1),
        in_proj: Linear::new(w_in, b_in, purpose),
        heads: heads.collect(),
        out_proj: Linear::new(w_out, b_out, purpose),
        norm2: LayerNorm::new(gain2, bias2),
        linear1: Linear::new(w1, b1, purpose),
        linear2: Linear::new(w2, b2, purpose),
    })
}

#[derive(Debug)]
struct Attention<T> {
    hidden: usize,
    left_context: usize,
    /// Whether the input is added to the result of the attention.
    residual: bool,
    norm1: LayerNorm<T>,
    in_proj: Linear<T>,
    heads: Vec<Head<T>>,
    out_proj: Linear<T>,
    norm2: LayerNorm<T>,
    linear1: Linear<T>,
    linear2: Linear<T>,
}

/// A head of the attention.
#[derive(Debug)]
struct Head<T> {
    /// Position of its first value in queries, keys and values.
    first: usize,
    /// d, its number of values.
    width: usize,
    /// H.
    hidden: usize,
    /// The bias of each step of the window, the earliest first: `[L + 1]`.
    bias: Vec<T>,
}

impl<T: Kernels> Head<T> {
    /// Position of the head's values in a step's keys and values.
    fn values(&self) -> usize {
        self.hidden + self.first
    }

    /// Computes the weights `p [L + 1]` and the result `o [d]` for the query `q [d]`, which is divided by sqrt(d), and
    /// the keys and values in `window [L + 1, 2H]`.
    fn attend(&self, q: &[T], window: &[T], p: &mut [T], o: &mut [T]) {
        let stride = 2 * self.hidden;
        products(q, &window[self.first..], stride, p);
        add(&self.bias, p);
        softmax(p);
        o.fill(T::ZERO);
        add_sum(p, &window[self.values()..], stride, o);
    }

    /// Gradient of [`Self::attend`] for the gradient `d_o [d]` of the result: added to `dq [d]` and to `dwindow
    /// [L + 1, 2H]`.
    fn attend_backward(&self, pass: AttendBackward<'_, T>) {
        let AttendBackward { q, window, p, d_o, dq, dwindow, scores } = pass;
        let stride = 2 * self.hidden;
        scores.resize(p.len(), T::ZERO);
        products(d_o, &window[self.values()..], stride, scores);
        let mean: T = p.iter().zip(scores.iter()).map(|(&p, &dp)| p * dp).sum();
        for (score, &p) in scores.iter_mut().zip(p) {
            *score = p * (*score - mean);
        }
        add_sum(scores, &window[self.first..], stride, dq);
        add_multiples(scores, q, stride, &mut dwindow[self.first..]);
        add_multiples(p, d_o, stride, &mut dwindow[self.values()..]);
    }
}

/// Arguments of [`Head::attend_backward`].
struct AttendBackward<'a, T> {
    q: &'a [T],
    window: &'a [T],
    p: &'a [T],
    d_o: &'a [T],
    dq: &'a mut [T],
    dwindow: &'a mut [T],
    scores: &'a mut Vec<T>,
}

impl<T: Kernels> Attention<T> {
    fn history<'a>(&self, steps: &'a PackedSequence) -> History<'a> {
        History { steps, rows: self.left_context, width: 2 * self.hidden }
    }

    /// The steps that the query of a stream's step t attends to, in elements of its joined keys and values.
    fn window(&self, t: usize) -> std::ops::Range<usize> {
        let width = 2 * self.hidden;
        t * width..(t + self.left_context + 1) * width
    }
}

impl<T: Kernels> Block<T> for Attention<T> {
    fn forward(&self, x: &[T], steps: &PackedSequence, state: &mut [T], trace: &mut BlockTrace<T>) {
        let (h, keys, heads) = (self.hidden, self.left_context + 1, self.heads.len());
        let BlockTrace { output, values, norms, .. } = trace;
        let [input, queries, joined, weights, mixed, attended, normal, inner] = values.prepare();
        let [norm1, norm2] = norms.prepare();
        self.norm1.apply(x, norm1, input);
        // Used for the projections first, then for the sum before the second normalization.
        self.in_proj.apply(input, attended);
        let scale = T::ONE / T::from_f64((h / heads) as f64).sqrt();
        queries.clear();
        // Keys and values of the call.
        mixed.clear();
        for row in attended.chunks_exact(3 * h) {
            queries.extend(row[..h].iter().map(|&q| q * scale));
            mixed.extend(row[h..].iter().map(|v| v.flush()));
        }
        let history = self.history(steps);
        history.join(state, mixed, joined);
        history.keep_last(joined, state);
        weights.resize(steps.rows() * heads * keys, T::ZERO);
        mixed.resize(steps.rows() * h, T::ZERO);
        for (b, (length, part)) in history.streams().enumerate() {
            let joined = &joined[part];
            for t in 0..length {
                let row = steps.row(t, b);
                let window = &joined[self.window(t)];
                let weights = &mut weights[row * heads * keys..(row + 1) * heads * keys];
                for (head, p) in self.heads.iter().zip(weights.chunks_exact_mut(keys)) {
                    let at = row * h + head.first..row * h + head.first + head.width;
                    head.attend(&queries[at.clone()], window, p, &mut mixed[at]);
                }
            }
        }
        self.out_proj.apply(mixed, attended);
        output.clone_from(attended);
        if self.residual {
            add(x, attended);
        }
        self.norm2.apply(attended, norm2, normal);
        self.linear1.apply(normal, inner);
        inner.iter_mut().for_each(|v| *v = if *v > T::ZERO { *v } else { T::ZERO });
        self.linear2.apply(inner, attended);
        add(attended, output);
    }

    fn backward(&self, pass: BlockBackward<'_, T>, dx: &mut Vec<T>) {
        let BlockBackward { steps, trace, dy, dstate, gradients } = pass;
        let (h, keys, heads) = (self.hidden, self.left_context + 1, self.heads.len());
        let [input, queries, joined, weights, mixed, _, normal, inner] = trace.values.filled();
        let [norm1, norm2] = trace.norms.filled();
        let [gain1, bias1, dw_in, db_in, dw_out, db_out, gain2, bias2, dw1, db1, dw2, db2] = gradients else {
            unreachable!("twelve parameters")
        };
        self.linear2.add_gradients(inner, dy, dw2, db2);
        let (mut dinner, mut dsum) = (Vec::new(), Vec::new());
        self.linear2.input_gradient(dy, &mut dinner);
        for (d, &v) in dinner.iter_mut().zip(inner) {
            if v <= T::ZERO {
                *d = T::ZERO;
            }
        }
        self.linear1.add_gradients(normal, &dinner, dw1, db1);
        self.linear1.input_gradient(&dinner, &mut dsum);
        self.norm2.backward(&mut dsum, norm2, gain2, bias2);
        let mut dattended = dsum.clone();
        add(dy, &mut dattended);
        self.out_proj.add_gradients(mixed, &dattended, dw_out, db_out);
        let (mut dmixed, mut djoined, mut scores) = (Vec::new(), Vec::new(), Vec::new());
        self.out_proj.input_gradient(&dattended, &mut dmixed);
        let mut dqueries = vec![T::ZERO; queries.len()];
        let history = self.history(steps);
        history.begin_backward(dstate, &mut djoined);
        for (b, (length, part)) in history.streams().enumerate() {
            let (joined, djoined) = (&joined[part.clone()], &mut djoined[part]);
            for t in 0..length {
                let row = steps.row(t, b);
                let weights = &weights[row * heads * keys..(row + 1) * heads * keys];
                for (head, p) in self.heads.iter().zip(weights.chunks_exact(keys)) {
                    let at = row * h + head.first..row * h + head.first + head.width;
                    head.attend_backward(AttendBackward {
                        q: &queries[at.clone()],
                        window: &joined[self.window(t)],
                        p,
                        d_o: &dmixed[at.clone()],
                        dq: &mut dqueries[at],
                        dwindow: &mut djoined[self.window(t)],
                        scores: &mut scores,
                    });
                }
            }
        }
        let mut dvalues = vec![T::ZERO; steps.rows() * 2 * h];
        history.split(&djoined, dstate, &mut dvalues);
        let scale = T::ONE / T::from_f64((h / heads) as f64).sqrt();
        let mut dprojected = Vec::with_capacity(steps.rows() * 3 * h);
        for (dq, dkv) in dqueries.chunks_exact(h).zip(dvalues.chunks_exact(2 * h)) {
            dprojected.extend(dq.iter().map(|&d| d * scale));
            dprojected.extend_from_slice(dkv);
        }
        self.in_proj.add_gradients(input, &dprojected, dw_in, db_in);
        self.in_proj.input_gradient(&dprojected, dx);
        self.norm1.backward(dx, norm1, gain1, bias1);
        if self.residual {
            add(&dsum, dx);
        }
    }
}

vectorized! {
    /// Adds `x` to `y`.
    fn add<T: Real>(x: &[T], y: &mut [T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}

vectorized! {
    /// Computes the scalar product of `x [d]` with the beginning of each row of `rows`, of which one begins every `stride`
    /// values: in eight lanes, so that it is vectorized and always adds in the same order.
    fn products<T: Real>(x: &[T], rows: &[T], stride: usize, y: &mut [T]) {
        for (row, y) in rows.chunks(stride).zip(y) {
            let mut lanes = [T::ZERO; 8];
            let ((a, rest_a), (b, rest_b)) = (x.as_chunks::<8>(), row[..x.len()].as_chunks::<8>());
            for (a, b) in a.iter().zip(b) {
                for i in 0..8 {
                    lanes[i] = a[i].madd::<FMA>(b[i], lanes[i]);
                }
            }
            for ((lane, &a), &b) in lanes.iter_mut().zip(rest_a).zip(rest_b) {
                *lane = a.madd::<FMA>(b, *lane);
            }
            *y = lanes.into_iter().sum();
        }
    }
}

vectorized! {
    /// Adds the sum of the beginnings of the rows, each multiplied by its factor, to `y [d]`.
    fn add_sum<T: Real>(factors: &[T], rows: &[T], stride: usize, y: &mut [T]) {
        for (row, &factor) in rows.chunks(stride).zip(factors) {
            for (y, &x) in y.iter_mut().zip(row) {
                *y = factor.madd::<FMA>(x, *y);
            }
        }
    }
}

vectorized! {
    /// Adds `x [d]`, multiplied by the factor of each row, to the beginning of that row.
    fn add_multiples<T: Real>(factors: &[T], x: &[T], stride: usize, rows: &mut [T]) {
        for (row, &factor) in rows.chunks_mut(stride).zip(factors) {
            for (y, &x) in row.iter_mut().zip(x) {
                *y = factor.madd::<FMA>(x, *y);
            }
        }
    }
}

vectorized! {
    /// Replaces the scores by their softmax.
    fn softmax<T: Real>(p: &mut [T]) {
        let most = p.iter().copied().fold(p[0], |a, b| if b > a { b } else { a });
        let mut sum = T::ZERO;
        for p in p.iter_mut() {
            *p = (*p - most).exp();
            sum += *p;
        }
        for p in p.iter_mut() {
            *p /= sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_alibi() {
        assert_eq!(alibi_slopes(4), [0.25, 0.0625, 0.015625, 0.00390625]);
        assert_eq!(alibi_slopes(1), [0.00390625]);
        let three = alibi_slopes(3);
        assert_eq!(three, [0.0625, 0.00390625, 0.25]);
    }
}
