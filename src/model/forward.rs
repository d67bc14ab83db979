//! Forward and backward pass of a whole network over a ragged batch.

use std::ops::Range;

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::kernels::Kernels;
use super::layer::{Layer, LayerBackward, LayerScratch, LayerTrace};
use super::linear::Linear;
use super::network::Network;
use super::norm::{LayerNorm, NormTrace};
use super::packed::{Precision, Purpose};
use super::packed_sequence::PackedSequence;
use super::real::Real;

/// A network's weights in the layout of the kernels. Immutable and shared; created again after an update.
#[derive(Clone, Debug)]
pub struct PackedWeights<T> {
    mean: Vec<T>,
    scale: Vec<T>,
    input: Linear<T>,
    input_norm: Option<LayerNorm<T>>,
    layers: Vec<Layer<T>>,
    norms: Vec<Option<LayerNorm<T>>>,
    /// The factor of each layer's input in what is added to its output; `None` without a residual connection.
    residuals: Vec<Option<T>>,
    heads: Vec<(usize, Linear<T>)>,
    /// Number of layers from below, the input first, that the backward pass leaves out.
    frozen: usize,
}

impl<T: Kernels> PackedWeights<T> {
    /// Creates the layout of a network's weights, including that for the backward pass in training. `None` if a
    /// parameter is missing.
    pub fn new(network: &Network<T>, purpose: Purpose) -> Option<Self> {
        Self::build(network, purpose, 1, |i| network.parameters.get(i).map(|p| p.data.as_slice()))
    }

    /// The layout for training of a network with the values `parameters` instead of its own, created by several threads.
    pub fn for_training(
        network: &Network<T>,
        parameters: &[Vec<T>],
        precision: Precision,
        threads: usize,
    ) -> Option<Self> {
        Self::build(network, Purpose::Training(precision), threads, |i| parameters.get(i).map(Vec::as_slice))
    }

    fn build<'a>(
        network: &Network<T>,
        purpose: Purpose,
        threads: usize,
        data: impl Fn(usize) -> Option<&'a [T]>,
    ) -> Option<Self> {
        let config = &network.config;
        let get = |name: String| data(network.parameters.iter().position(|p| p.name == name)?);
        let norm = |prefix: String| -> Option<Option<LayerNorm<T>>> {
            if !config.layer_norm {
                return Some(None);
            }
            let (gain, bias) = (get(format!("{prefix}.gain"))?, get(format!("{prefix}.bias"))?);
            Some(Some(LayerNorm::new(gain, bias)))
        };
        let mut layers = Vec::new();
        let mut norms = Vec::new();
        let mut residuals = Vec::new();
        let mut width = config.input_size;
        for (i, layer) in config.layers.iter().enumerate() {
            let own = layer.parameters(width).into_iter();
            let own = own.map(|(name, _)| get(format!("layers.{i}.{}.{name}", layer.cell.family())));
            layers.push((layer, width, own.collect::<Option<Vec<&[T]>>>()?));
            norms.push(norm(format!("layers.{i}.norm"))?);
            let has_residual = config.residual && layer.hidden == width;
            residuals.push(has_residual.then(|| T::from_f64(layer.cell.residual_scale())));
            width = layer.hidden;
        }
        let layers =
            map_in_threads(&layers, threads, |(layer, width, own)| Layer::new(layer, *width, own, purpose));
        let output = Linear::new(get("output.weight".into())?, get("output.bias".into())?, purpose);
        let mut heads = vec![(layers.len().checked_sub(1)?, output)];
        if let Some(auxiliary) = config.auxiliary.filter(|a| a.layer < layers.len()) {
            let (weight, bias) = (get("auxiliary.weight".into())?, get("auxiliary.bias".into())?);
            heads.push((auxiliary.layer, Linear::new(weight, bias, purpose)));
        }
        Some(Self {
            mean: network.mean.clone(),
            scale: network.scale.clone(),
            input: Linear::new(get("input.weight".into())?, get("input.bias".into())?, purpose),
            input_norm: norm("input_norm".into())?,
            layers,
            norms,
            residuals,
            heads,
            frozen: 0,
        })
    }

    /// Makes the backward pass leave out the lowest `count` layers, the input layer first: their gradients are not
    /// computed.
    pub fn freeze_from_below(&mut self, count: usize) {
        self.frozen = count;
    }

    /// Zero states for `streams` streams.
    pub fn zero_states(&self, streams: usize) -> States<T> {
        let zeros = |layer: &Layer<T>, k: usize| vec![T::ZERO; streams * layer.state_size(k)];
        States {
            hidden: self.layers.iter().map(|layer| zeros(layer, 0)).collect(),
            cell: self.layers.iter().map(|layer| zeros(layer, 1)).collect(),
        }
    }
}

/// The results of `work` for all items, in their order.
fn map_in_threads<I: Sync, R: Send>(items: &[I], threads: usize, work: impl Fn(&I) -> R + Sync) -> Vec<R> {
    if threads < 2 || items.len() < 2 {
        return items.iter().map(work).collect();
    }
    let work = &work;
    std::thread::scope(|scope| {
        let shares = items.chunks(items.len().div_ceil(threads));
        let running: Vec<_> =
            shares.map(|share| scope.spawn(move || share.iter().map(work).collect::<Vec<R>>())).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined.flat_map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// States of B streams, for each layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct States<T> {
    /// The hidden state (output) of each recurrent layer, `[B, H]`; for a layer that keeps the values of earlier
    /// steps, these in the order of time, `[B, rows * width]`.
    pub hidden: Vec<Vec<T>>,
    /// The cell state of each layer, `[B, H]`; empty unless it is an LSTM.
    pub cell: Vec<Vec<T>>,
}

/// Buffers of the activations and gradients of a pass, reused by the next.
#[derive(Clone, Debug, Default)]
pub struct Workspace<T> {
    /// Normalized, stacked frames `[R, S * F]`.
    input: Vec<T>,
    projected: Vec<T>,
    input_norm: NormTrace<T>,
    /// The input of each layer, then the output of the last: `[R, width]`.
    activations: Vec<Vec<T>>,
    traces: Vec<LayerTrace<T>>,
    norms: Vec<NormTrace<T>>,
    /// Factors of dropout for each layer; empty if there is none.
    masks: Vec<Vec<T>>,
    scratch: LayerScratch<T>,
    gradient: Vec<T>,
    below: Vec<T>,
    extra: Vec<T>,
}

impl<T: Kernels> States<T> {
    /// Drops the states of all but the first `streams` of `all` streams.
    pub fn truncate(&mut self, streams: usize, all: usize) {
        for values in self.hidden.iter_mut().chain(&mut self.cell) {
            values.truncate(values.len() / all.max(1) * streams);
        }
    }
}

impl<T: Kernels> Workspace<T> {
    /// The number of values in the largest buffers: inputs, activations, gates, masks and gradients.
    pub fn num_values(&self) -> usize {
        let lists = self.activations.iter().chain(&self.masks).map(Vec::capacity).sum::<usize>();
        let gates = self.traces.iter().map(|trace| trace.gates().len()).sum::<usize>();
        let single = [&self.input, &self.projected, &self.gradient, &self.below, &self.extra];
        lists + gates + single.map(Vec::capacity).iter().sum::<usize>()
    }

    /// The gates of a layer after their activation functions, in the last forward pass: `[R, kH]`.
    pub fn gates(&self, layer: usize) -> &[T] {
        self.traces.get(layer).map_or(&[], LayerTrace::gates)
    }
}

/// Options of dropout between layers.
pub struct Dropout<'a> {
    /// Probability that a value is set to zero.
    pub rate: f64,
    /// Whether a stream's mask is the same at every step (Gal, Ghahramani 2016), instead of drawn at each.
    pub variational: bool,
    /// The random number generator.
    pub rng: &'a mut Pcg64Mcg,
}

impl<T: Kernels> PackedWeights<T> {
    /// Runs the network over `x [R, S * F]` (stacked features before normalization, in the order of `steps`),
    /// starting from `states` and updating them. [`Self::logits`] then computes the logits.
    pub fn forward(
        &self,
        x: &[T],
        steps: &PackedSequence,
        states: &mut States<T>,
        workspace: &mut Workspace<T>,
        mut dropout: Option<Dropout<'_>>,
    ) {
        let depth = self.layers.len();
        workspace.activations.resize(depth + 1, Vec::new());
        workspace.traces.resize(depth, LayerTrace::default());
        workspace.norms.resize(depth, NormTrace::default());
        workspace.masks.resize(depth, Vec::new());
        workspace.input.resize(x.len(), T::ZERO);
        let frames = workspace.input.chunks_exact_mut(self.mean.len()).zip(x.chunks_exact(self.mean.len()));
        for (out, frame) in frames {
            for (((out, &x), &mean), &scale) in out.iter_mut().zip(frame).zip(&self.mean).zip(&self.scale) {
                *out = (x - mean) * scale;
            }
        }
        self.input.apply(&workspace.input, &mut workspace.projected);
        normalize(
            &self.input_norm,
            &workspace.projected,
            &mut workspace.input_norm,
            &mut workspace.activations[0],
        );
        for (i, layer) in self.layers.iter().enumerate() {
            let (below, above) = workspace.activations.split_at_mut(i + 1);
            let (x, y) = (&below[i], &mut above[0]);
            let own = [states.hidden[i].as_mut_slice(), &mut states.cell[i]];
            layer.forward(x, steps, own, &mut workspace.traces[i]);
            normalize(&self.norms[i], layer.output(&workspace.traces[i]), &mut workspace.norms[i], y);
            // Before the residual connection, which must pass the layer's input unchanged.
            apply_dropout(y, steps, &mut workspace.masks[i], dropout.as_mut());
            if let Some(scale) = self.residuals[i] {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y += scale * x;
                }
            }
        }
    }

    /// The logits `[R, V]` of a head (0: the output; 1: the auxiliary one) after a forward pass.
    pub fn logits(&self, workspace: &Workspace<T>, head: usize, logits: &mut Vec<T>) {
        let (layer, linear) = &self.heads[head];
        linear.apply(&workspace.activations[layer + 1], logits);
    }

    /// Computes gradients after a forward pass. `dlogits` are the gradients of each head's logits, `dstates` those of
    /// the last states. The parameters' gradients are added to `gradients`, in the order of the network's
    /// parameters; the gradients of the first states are returned.
    pub fn backward(
        &self,
        steps: &PackedSequence,
        dlogits: &[&[T]],
        dstates: States<T>,
        workspace: &mut Workspace<T>,
        gradients: &mut [Vec<T>],
    ) -> States<T> {
        let mut dstates = dstates;
        let mut at = Layout::new(self);
        let depth = self.layers.len();
        workspace.gradient.clear();
        workspace.gradient.resize(workspace.activations[depth].len(), T::ZERO);
        for i in (0..depth).rev() {
            for (head, (layer, linear)) in self.heads.iter().enumerate().filter(|(_, (l, _))| *l == i) {
                let Some(dlogits) = dlogits.get(head) else { continue };
                let x = &workspace.activations[layer + 1];
                let (w, b) = at.head(head, gradients);
                linear.add_gradients(x, dlogits, w, b);
                if i + 1 >= self.frozen {
                    linear.add_input_gradient(dlogits, &mut workspace.gradient);
                }
            }
            if i + 1 >= self.frozen {
                self.layer_backward(i, steps, &mut dstates, workspace, &mut at, gradients);
            }
        }
        if self.frozen > 0 {
            return dstates;
        }
        let gradient = &mut workspace.gradient;
        if let Some(norm) = &self.input_norm {
            let (dgain, dbias) = at.pair(2, gradients);
            norm.backward(gradient, &workspace.input_norm, dgain, dbias);
        }
        let (w, b) = at.pair(0, gradients);
        self.input.add_gradients(&workspace.input, gradient, w, b);
        dstates
    }

    fn layer_backward(
        &self,
        i: usize,
        steps: &PackedSequence,
        dstates: &mut States<T>,
        workspace: &mut Workspace<T>,
        at: &mut Layout,
        gradients: &mut [Vec<T>],
    ) {
        let Workspace { activations, traces, norms, masks, scratch, gradient, below, extra, .. } = workspace;
        // The residual connection passes the gradient to the layer below; it is added at the end.
        let residual = self.residuals[i];
        if residual.is_some() {
            extra.clone_from(gradient);
        }
        for (d, &m) in gradient.iter_mut().zip(&masks[i]) {
            *d *= m;
        }
        let own = at.layers[i].clone();
        if let Some(norm) = &self.norms[i] {
            let (dgain, dbias) = at.pair(own.end, gradients);
            norm.backward(gradient, &norms[i], dgain, dbias);
        }
        let pass = LayerBackward {
            x: &activations[i],
            steps,
            trace: &traces[i],
            dy: gradient,
            dstates: [&mut dstates.hidden[i], &mut dstates.cell[i]],
        };
        self.layers[i].backward(pass, &mut gradients[own], scratch, below);
        if let Some(scale) = residual {
            for (d, &e) in below.iter_mut().zip(extra.iter()) {
                *d += scale * e;
            }
        }
        std::mem::swap(gradient, below);
    }

    /// Computes the gradients of a layer's first states from those of its last alone, after a forward pass. What reaches
    /// the layers below is not computed; the layer's own parameters' gradients are added to `gradients`.
    pub(super) fn state_backward(
        &self,
        i: usize,
        steps: &PackedSequence,
        dstates: &mut States<T>,
        workspace: &mut Workspace<T>,
        gradients: &mut [Vec<T>],
    ) {
        let own = Layout::new(self).layers[i].clone();
        let Workspace { activations, traces, scratch, gradient, below, .. } = workspace;
        gradient.clear();
        gradient.resize(self.layers[i].output(&traces[i]).len(), T::ZERO);
        let pass = LayerBackward {
            x: &activations[i],
            steps,
            trace: &traces[i],
            dy: gradient,
            dstates: [&mut dstates.hidden[i], &mut dstates.cell[i]],
        };
        self.layers[i].backward(pass, &mut gradients[own], scratch, below);
    }

    /// The gradient with respect to the normalized input `[R, S * F]`, after a backward pass.
    pub fn input_gradient(&self, workspace: &Workspace<T>, dx: &mut Vec<T>) {
        self.input.input_gradient(&workspace.gradient, dx);
    }
}

/// Indices of the parameters in the list of gradients.
struct Layout {
    /// Those of each layer's cell; its normalization follows.
    layers: Vec<Range<usize>>,
    heads: Vec<usize>,
}

impl Layout {
    fn new<T: Kernels>(weights: &PackedWeights<T>) -> Self {
        let norm = if weights.input_norm.is_some() { 2 } else { 0 };
        let mut next = 2 + norm;
        let own = |layer: &Layer<T>| {
            let own = next..next + layer.num_parameters();
            next = own.end + norm;
            own
        };
        let layers: Vec<Range<usize>> = weights.layers.iter().map(own).collect();
        Self { layers, heads: vec![next, next + 2] }
    }

    fn pair<'g, T>(&self, at: usize, gradients: &'g mut [Vec<T>]) -> (&'g mut [T], &'g mut [T]) {
        let (first, second) = gradients.split_at_mut(at + 1);
        (&mut first[at], &mut second[0])
    }

    fn head<'g, T>(&self, head: usize, gradients: &'g mut [Vec<T>]) -> (&'g mut [T], &'g mut [T]) {
        self.pair(self.heads[head], gradients)
    }
}

fn normalize<T: Real>(weights: &Option<LayerNorm<T>>, x: &[T], trace: &mut NormTrace<T>, y: &mut Vec<T>) {
    match weights {
        Some(norm) => norm.apply(x, trace, y),
        None => {
            y.resize(x.len(), T::ZERO);
            y.copy_from_slice(x);
        }
    }
}

fn apply_dropout<T: Real>(
    y: &mut [T],
    steps: &PackedSequence,
    mask: &mut Vec<T>,
    dropout: Option<&mut Dropout<'_>>,
) {
    mask.clear();
    let Some(Dropout { rate, variational, rng }) = dropout else { return };
    if *rate <= 0.0 || y.is_empty() {
        return;
    }
    let keep = T::from_f64(1.0 / (1.0 - *rate));
    let threshold = (*rate * f64::from(u32::MAX)) as u32;
    let mut draw = || if rng.random::<u32>() < threshold { T::ZERO } else { keep };
    if *variational {
        // The streams active at a step are the first of those active at step 0.
        let width = y.len() / steps.rows();
        mask.extend((0..steps.width(0) * width).map(|_| draw()));
        for t in 1..steps.len() {
            mask.extend_from_within(..steps.width(t) * width);
        }
    } else {
        mask.extend(y.iter().map(|_| draw()));
    }
    for (y, &m) in y.iter_mut().zip(mask.iter()) {
        *y *= m;
    }
}

/// Replaces each row of `logits [R, V]`, V = `num_tokens`, by its log-softmax.
pub fn log_softmax<T: Real>(logits: &mut [T], num_tokens: usize) {
    for row in logits.chunks_exact_mut(num_tokens) {
        let top = row.iter().copied().fold(row[0], |a, b| if b > a { b } else { a });
        let sum: T = row.iter().map(|&x| (x - top).exp()).sum();
        let log = top + sum.ln();
        for x in row {
            *x -= log;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn variational_dropout_has_one_mask_for_all_steps() {
        let steps = PackedSequence::new(&[4, 4, 2, 0]);
        let width = 50;
        let mut rng = Pcg64Mcg::seed_from_u64(3);
        let mut factors = |variational| {
            let mut y = vec![1.0f64; steps.rows() * width];
            let mut mask = Vec::new();
            let dropout = &mut Dropout { rate: 0.3, variational, rng: &mut rng };
            apply_dropout(&mut y, &steps, &mut mask, Some(dropout));
            assert_eq!(y, mask, "the backward pass uses the factors of the forward pass");
            y
        };
        let row = |y: &[f64], t, b| y[steps.row(t, b) * width..(steps.row(t, b) + 1) * width].to_vec();
        let same = factors(true);
        for (b, last) in [(0, 3), (1, 3), (2, 1)] {
            (1..=last).for_each(|t| assert_eq!(row(&same, t, b), row(&same, 0, b), "stream {b}, step {t}"));
        }
        assert_ne!(row(&same, 0, 0), row(&same, 0, 1), "streams have different masks");
        let zeros = same.iter().filter(|&&x| x == 0.0).count() as f64 / same.len() as f64;
        assert!((0.15..0.45).contains(&zeros), "{zeros}");
        let other = factors(false);
        assert_ne!(row(&other, 0, 0), row(&other, 1, 0));
    }
}
