//! The sum over all paths through a graph, and the posterior probability of each token in each frame: the
//! forward-backward algorithm on probabilities, with each frame scaled by its sum (Rabiner, 1989).
//!
//! Several streams are processed in parallel, each in one lane of the processor's vectors, so that every
//! arc is a single vector multiply-add; the streams may differ in length.

use super::graph::{Arc, Graph};
use crate::model::Real;
use crate::model::kernels::vectorized;

/// Number of streams processed in parallel: eight f32 fill a register of AVX2.
pub const LANES: usize = 8;

/// Paths whose probability is below this fraction of the frame's sum are pruned, and β is limited to its
/// inverse, so that no value leaves the range of f32.
const MIN_F32: f64 = 1e-30;
/// The same for f64.
const MIN_F64: f64 = 1e-280;

fn min_value<T: Real>() -> T {
    T::from_f64(if size_of::<T>() == 4 { MIN_F32 } else { MIN_F64 })
}

/// Scratch buffers of the passes over N streams, reused from call to call.
#[derive(Clone, Debug)]
pub struct ForwardBackward<T, const N: usize> {
    /// Probabilities `[U, V + 1]`; the last column is that of the most probable token.
    table: Vec<[T; N]>,
    /// The most probable token of each frame and stream.
    likeliest: Vec<[u32; N]>,
    lengths: [usize; N],
    num_tokens: usize,
    /// α `[U, S]`.
    alpha: Vec<[T; N]>,
    /// The factor by which each frame's α was scaled.
    scales: Vec<[T; N]>,
    beta: Vec<[T; N]>,
    /// β of the next frame times its emission probabilities.
    emitted: Vec<[T; N]>,
    /// The posterior of each column of the table in each frame, `[U, V + 1]`.
    posteriors: Vec<[T; N]>,
}

impl<T, const N: usize> Default for ForwardBackward<T, N> {
    fn default() -> Self {
        Self {
            table: Vec::new(),
            likeliest: Vec::new(),
            lengths: [0; N],
            num_tokens: 0,
            alpha: Vec::new(),
            scales: Vec::new(),
            beta: Vec::new(),
            emitted: Vec::new(),
            posteriors: Vec::new(),
        }
    }
}

impl<T: Real, const N: usize> ForwardBackward<T, N> {
    /// Loads the log-probabilities `[U, V]` of at most N streams. A state that emits the most probable
    /// token pays `label_cost` for each label that begins on the best path.
    pub fn take<I: Real>(&mut self, streams: &[&[I]], num_tokens: usize, blank: u32, label_cost: f64) {
        let steps = streams.iter().map(|rows| rows.len() / num_tokens).max().unwrap_or(0);
        self.num_tokens = num_tokens;
        self.lengths = [0; N];
        self.table.clear();
        self.table.resize(steps * (num_tokens + 1), [T::ZERO; N]);
        self.likeliest.clear();
        self.likeliest.resize(steps, [blank; N]);
        for (lane, rows) in streams.iter().take(N).enumerate() {
            self.lengths[lane] = rows.len() / num_tokens;
            let mut last = blank;
            let frames = self.table.chunks_exact_mut(num_tokens + 1).zip(&mut self.likeliest);
            for (row, (table, likeliest)) in rows.chunks_exact(num_tokens).zip(frames) {
                let mut best = 0;
                for (id, &value) in row.iter().enumerate() {
                    table[id][lane] = T::from_f64(value.to_f64()).exp();
                    best = if value > row[best] { id } else { best };
                }
                let best = best as u32;
                let begins = best != blank && best != last;
                let weight = if begins { (-label_cost).exp() } else { 1.0 };
                table[num_tokens][lane] = table[best as usize][lane] * T::from_f64(weight);
                likeliest[lane] = best;
                last = best;
            }
        }
    }

    /// Returns ln of the probability of all paths for each stream; minus infinity or NaN if there is no
    /// path. `leak` is the fraction of each frame's probability that leaks into any state.
    ///
    /// Afterwards [`Self::add_posteriors`] can be called.
    pub fn run(&mut self, graph: &Graph<T>, leak: f64) -> [f64; N] {
        let leak = if graph.leaky_weights.is_empty() { T::ZERO } else { T::from_f64(leak) };
        let (steps, states) = (self.likeliest.len(), graph.num_states());
        self.alpha.resize(steps * states, [T::ZERO; N]);
        self.scales.resize(steps, [T::ONE; N]);
        self.posteriors.clear();
        self.posteriors.resize(self.table.len(), [T::ZERO; N]);
        let mut totals = [0.0; N];
        if steps == 0 || states == 0 {
            return totals;
        }
        for t in 0..steps {
            self.forward(graph, leak, t, &mut totals);
        }
        let mut ended = [T::ZERO; N];
        for (alpha, &end) in self.alpha[(steps - 1) * states..].iter().zip(&graph.final_weights) {
            (0..N).for_each(|l| ended[l] += alpha[l] * end);
        }
        self.beta.clear();
        self.beta.extend(graph.final_weights.iter().map(|&end| ended.map(|ended| end / ended)));
        (0..N).for_each(|l| totals[l] += ended[l].to_f64().ln());
        for t in (0..steps).rev() {
            self.backward(graph, leak, t);
        }
        totals
    }

    /// 1 for streams that ended before step t, whose paths are held.
    fn holds(&self, t: usize) -> [T; N] {
        self.lengths.map(|length| if t < length { T::ZERO } else { T::ONE })
    }

    fn forward(&mut self, graph: &Graph<T>, leak: T, t: usize, totals: &mut [f64; N]) {
        let states = graph.num_states();
        let width = self.num_tokens + 1;
        let hold = self.holds(t);
        let (done, now) = self.alpha.split_at_mut(t * states);
        let now = &mut now[..states];
        let before = &done[t.saturating_sub(1) * states..];
        let row = &self.table[t * width..(t + 1) * width];
        if t == 0 {
            for (s, now) in now.iter_mut().enumerate() {
                *now = row[graph.emissions[s] as usize].map(|p| p * graph.initial_weights[s]);
            }
        } else {
            step_forward(graph, leak, before, row, &hold, now);
        }
        let mut sums = [T::ZERO; N];
        now.iter().for_each(|alpha| (0..N).for_each(|l| sums[l] += alpha[l]));
        let mut scale = [T::ONE; N];
        for l in 0..N {
            if t < self.lengths[l] {
                scale[l] = T::ONE / sums[l];
                totals[l] += sums[l].to_f64().ln();
            }
        }
        let min = min_value::<T>();
        for alpha in now {
            for l in 0..N {
                let value = alpha[l] * scale[l];
                alpha[l] = if value < min { T::ZERO } else { value };
            }
        }
        self.scales[t] = scale;
    }

    /// Computes the posteriors of frame t, and from its β those of the previous frame.
    fn backward(&mut self, graph: &Graph<T>, leak: T, t: usize) {
        let (states, width) = (graph.num_states(), self.num_tokens + 1);
        let hold = self.holds(t);
        let row = &self.table[t * width..(t + 1) * width];
        let posteriors = &mut self.posteriors[t * width..(t + 1) * width];
        let max = T::ONE / min_value::<T>();
        let scale = self.scales[t];
        let mut leaked = [T::ZERO; N];
        self.emitted.resize(states, [T::ZERO; N]);
        let alphas = &self.alpha[t * states..(t + 1) * states];
        for (s, (alpha, beta)) in alphas.iter().zip(&self.beta).enumerate() {
            let token = graph.emissions[s] as usize;
            let (probability, posterior) = (&row[token], &mut posteriors[token]);
            for l in 0..N {
                posterior[l] += alpha[l] * beta[l];
                let value = probability[l] * scale[l] * beta[l];
                self.emitted[s][l] = if value > max { max } else { value.flush() };
            }
            if let Some(&share) = graph.leaky_weights.get(s) {
                (0..N).for_each(|l| leaked[l] += leak * share * self.emitted[s][l]);
            }
        }
        if t > 0 {
            step_backward(graph, &self.emitted, &leaked, &hold, &mut self.beta);
        }
    }

    /// Adds `scale` times a stream's posteriors to `rows` `[U, V]`; after [`Self::run`].
    pub fn add_posteriors<O: Real>(&self, stream: usize, scale: f64, rows: &mut [O]) {
        let frames = self.posteriors.chunks_exact(self.num_tokens + 1).zip(&self.likeliest);
        for (out, (posteriors, likeliest)) in rows.chunks_exact_mut(self.num_tokens).zip(frames) {
            let posterior = |k: usize| O::from_f64(scale * posteriors[k][stream].to_f64());
            out.iter_mut().enumerate().for_each(|(id, out)| *out += posterior(id));
            out[likeliest[stream] as usize] += posterior(self.num_tokens);
        }
    }
}

vectorized! {
    /// Computes α of a frame before scaling: the sum over incoming arcs times the emission probabilities.
    fn step_forward<T: Real, const N: usize>(
        graph: &Graph<T>,
        leak: T,
        before: &[[T; N]],
        row: &[[T; N]],
        hold: &[T; N],
        now: &mut [[T; N]],
    ) {
        for (s, now) in now.iter_mut().enumerate() {
            let leaked = graph.leaky_weights.get(s).map_or(T::ZERO, |&share| leak * share);
            let sum = gather::<T, N, FMA>(graph.into.of_state(s), before, [leaked; N]);
            let (emitted, own) = (&row[graph.emissions[s] as usize], &before[s]);
            for l in 0..N {
                now[l] = sum[l] * emitted[l] + hold[l] * own[l];
            }
        }
    }
}

vectorized! {
    /// Computes β of the previous frame: the sum over outgoing arcs of what the next frame emits.
    fn step_backward<T: Real, const N: usize>(
        graph: &Graph<T>,
        emitted: &[[T; N]],
        leaked: &[T; N],
        hold: &[T; N],
        beta: &mut [[T; N]],
    ) {
        for (s, beta) in beta.iter_mut().enumerate() {
            let sum = gather::<T, N, FMA>(graph.out.of_state(s), emitted, *leaked);
            for l in 0..N {
                beta[l] = sum[l] + hold[l] * beta[l];
            }
        }
    }
}

/// `start` plus the weighted values at the arcs' other ends, in two independent sums so that their
/// additions overlap.
#[inline(always)]
fn gather<T: Real, const N: usize, const FMA: bool>(
    arcs: &[Arc<T>],
    values: &[[T; N]],
    start: [T; N],
) -> [T; N] {
    let (mut one, mut other) = (start, [T::ZERO; N]);
    let (pairs, rest) = arcs.as_chunks::<2>();
    for [a, b] in pairs {
        let (va, vb) = (&values[a.state as usize], &values[b.state as usize]);
        for l in 0..N {
            one[l] = va[l].madd::<FMA>(a.weight, one[l]);
            other[l] = vb[l].madd::<FMA>(b.weight, other[l]);
        }
    }
    for arc in rest {
        let value = &values[arc.state as usize];
        for l in 0..N {
            one[l] = value[l].madd::<FMA>(arc.weight, one[l]);
        }
    }
    for l in 0..N {
        one[l] += other[l];
    }
    one
}
