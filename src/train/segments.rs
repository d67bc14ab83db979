//! The passes of a network over a batch, in segments of time: truncated backpropagation through time.
//!
//! The states are carried from segment to segment, and gradients end at the borders. Only the activations of one segment are
//! in memory: the forward pass keeps the logits of all steps, from which the losses of whole utterances are computed, and
//! the states at the borders, from which the activations of a segment are computed again for its backward pass.

use std::ops::Range;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::sampler::derive_seed;
use super::update::{Update, pack};
use crate::model::forward::{Dropout, States};
use crate::model::{Kernels, PackedSequence, Workspace};

/// A batch of utterances, longest first.
pub(super) struct Batch<'a, T> {
    pub update: &'a Update<'a, T>,
    /// The features of each utterance, `[U, S * F]`.
    pub features: &'a [&'a [f32]],
    /// Number of features of a step, S * F.
    pub width: usize,
    pub steps: &'a PackedSequence,
    /// Number of steps of a segment.
    pub segment: usize,
}

impl<T> Batch<'_, T> {
    /// The steps of each segment; one for a batch without steps.
    fn segments(&self) -> Vec<Range<usize>> {
        let all = self.steps.len();
        let size = self.segment.clamp(1, all.max(1));
        (0..all.max(1)).step_by(size).map(|first| first..all.min(first + size)).collect()
    }

    /// The layout of the rows of a segment. They are consecutive rows of the batch, in the same order.
    fn part(&self, segment: &Range<usize>) -> PackedSequence {
        let lengths = self.steps.lengths().iter().map(|length| length.saturating_sub(segment.start));
        let lengths = lengths.enumerate().filter(|&(_, length)| length > 0 || segment.start == 0);
        PackedSequence::new(&lengths.map(|(_, length)| length.min(segment.len())).collect::<Vec<_>>())
    }

    /// The rows of a segment.
    fn rows(&self, segment: &Range<usize>) -> Range<usize> {
        match segment.is_empty() {
            true => 0..0,
            false => self.steps.range(segment.start).start..self.steps.range(segment.end - 1).end,
        }
    }
}

/// The buffers of the passes.
#[derive(Default)]
pub(super) struct SegmentedPass<T> {
    workspace: Workspace<T>,
    x: Vec<T>,
    /// The logits of a segment.
    logits: Vec<T>,
    /// The states at the beginning of each segment.
    borders: Vec<States<T>>,
}

impl<T: Kernels> SegmentedPass<T> {
    /// The number of values in the buffers for activations.
    pub fn num_activations(&self) -> usize {
        self.x.capacity() + self.logits.capacity() + self.workspace.num_values()
    }

    /// Runs the network, and replaces `logits` by those `[R, V]` of each output.
    pub fn forward(&mut self, batch: &Batch<'_, T>, logits: &mut [&mut Vec<T>]) {
        logits.iter_mut().for_each(|logits| logits.clear());
        self.borders.clear();
        let mut states = batch.update.weights.zero_states(batch.steps.streams());
        let mut streams = batch.steps.streams();
        for (number, segment) in batch.segments().iter().enumerate() {
            let active = batch.part(segment).streams();
            states.truncate(active, std::mem::replace(&mut streams, active));
            self.borders.push(states.clone());
            self.activations(batch, number, segment, &mut states);
            for (head, logits) in logits.iter_mut().enumerate() {
                batch.update.weights.logits(&self.workspace, head, &mut self.logits);
                logits.extend_from_slice(&self.logits);
            }
        }
    }

    /// Computes the activations of a segment from the states at its beginning, which become those at its end.
    fn activations(
        &mut self,
        batch: &Batch<'_, T>,
        number: usize,
        segment: &Range<usize>,
        states: &mut States<T>,
    ) {
        let (update, part) = (batch.update, batch.part(segment));
        let first = segment.start * batch.width;
        let features = &batch.features[..part.streams()];
        let features: Vec<&[f32]> = features.iter().map(|features| &features[first..]).collect();
        pack(&features, &part, batch.width, &mut self.x);
        // The same values are dropped when the activations are computed again.
        let seed = if number == 0 { update.seed } else { derive_seed(update.seed, number as u64) };
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let (rate, variational) = (update.dropout, update.variational_dropout);
        let dropout = (rate > 0.0).then_some(Dropout { rate, variational, rng: &mut rng });
        update.weights.forward(&self.x, &part, states, &mut self.workspace, dropout);
    }

    /// Backpropagation through the steps of each segment after [`Self::forward`]. `logit_gradients` are those `[R, V]` of
    /// each output; the gradients of the parameters are added to `gradients`.
    pub fn backward(&mut self, batch: &Batch<'_, T>, logit_gradients: &[&[T]], gradients: &mut [Vec<T>]) {
        let (weights, segments) = (batch.update.weights, batch.segments());
        for (number, segment) in segments.iter().enumerate().rev() {
            // Those of the last segment are still there.
            if number + 1 < segments.len() {
                let mut states = std::mem::take(&mut self.borders[number]);
                self.activations(batch, number, segment, &mut states);
            }
            let (part, rows) = (batch.part(segment), batch.rows(segment));
            let of_segment = |all: &[T]| {
                let width = all.len() / batch.steps.rows().max(1);
                rows.start * width..rows.end * width
            };
            let own: Vec<&[T]> = logit_gradients.iter().map(|all| &all[of_segment(all)]).collect();
            let zero = weights.zero_states(part.streams());
            weights.backward(&part, &own, zero, &mut self.workspace, gradients);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::forward::log_softmax;
    use crate::model::network::initialize;
    use crate::model::{CellKind, LayerConfig, Network, NetworkConfig, PackedWeights, Precision, Purpose};
    use crate::train::example::Example;
    use crate::train::loss::ctc::{CtcWorkspace, loss_and_gradient};
    use crate::train::worker::{BatchStats, Worker};

    const TOKENS: usize = 3;
    const FEATURES: usize = 2;

    fn network(cell: CellKind) -> Network<f64> {
        let layer = LayerConfig::new(cell, 4);
        let layer = LayerConfig { left_context: layer.left_context.min(3), ..layer };
        let config = NetworkConfig {
            num_features: FEATURES,
            subsampling: 1,
            input_size: 4,
            layers: vec![layer; 2],
            layer_norm: true,
            residual: true,
            num_tokens: TOKENS,
            auxiliary: None,
        };
        initialize(&config, 7)
    }

    fn example(steps: usize, labels: &[u32]) -> Example {
        let features = (0..steps * FEATURES).map(|i| (i as f32 * 1.3 + steps as f32).sin()).collect();
        Example { features, labels: Some(labels.to_vec()), ..Example::default() }
    }

    fn worker(network: &Network<f64>, segment: usize) -> Worker<f64> {
        let lengths: Vec<usize> = network.parameters.iter().map(|p| p.data.len()).collect();
        Worker::new(&lengths).with_segments(segment)
    }

    fn run(
        network: &Network<f64>,
        examples: &[Example],
        dropout: f64,
        worker: &mut Worker<f64>,
    ) -> BatchStats {
        let weights =
            PackedWeights::new(network, Purpose::Training(Precision::Fp32)).expect("all parameters");
        let update = Update {
            weights: &weights,
            num_tokens: TOKENS,
            blank: 0,
            auxiliary_tokens: 0,
            scale: 1.0,
            auxiliary_scale: 0.0,
            mmi: None,
            mmi_scale: 0.0,
            mmi_other_scale: 0.0,
            consistency_scale: 0.0,
            dropout,
            variational_dropout: false,
            seed: 3,
        };
        worker.run(&update, examples.to_vec(), FEATURES)
    }

    /// The loss of an example whose segments begin with these states, and the states at the end of each.
    fn loss_from(
        network: &Network<f64>,
        example: &Example,
        segment: usize,
        borders: Option<&[States<f64>]>,
    ) -> (f64, Vec<States<f64>>) {
        let weights =
            PackedWeights::new(network, Purpose::Training(Precision::Fp32)).expect("all parameters");
        let x: Vec<f64> = example.features.iter().map(|&x| f64::from(x)).collect();
        let (mut all, mut ends, mut states) = (Vec::new(), Vec::new(), weights.zero_states(1));
        for (number, x) in x.chunks(segment * FEATURES).enumerate() {
            if let Some(border) = borders.and_then(|borders| borders.get(number.checked_sub(1)?)) {
                states = border.clone();
            }
            let (mut workspace, mut logits) = (Workspace::default(), Vec::new());
            let steps = PackedSequence::uniform(1, x.len() / FEATURES);
            weights.forward(x, &steps, &mut states, &mut workspace, None);
            weights.logits(&workspace, 0, &mut logits);
            all.extend(logits);
            ends.push(states.clone());
        }
        log_softmax(&mut all, TOKENS);
        let (mut gradient, labels) = (vec![0.0; all.len()], example.labels.as_deref().expect("labels"));
        let loss = loss_and_gradient(&all, TOKENS, labels, 0, &mut gradient, &mut CtcWorkspace::default());
        (loss.expect("it fits"), ends)
    }

    fn changed(network: &Network<f64>, parameter: usize, value: usize, by: f64) -> Network<f64> {
        let mut network = network.clone();
        network.parameters[parameter].data[value] += by;
        network
    }

    #[test]
    fn gradients_are_those_of_the_loss_with_fixed_states_at_the_borders() {
        const SEGMENT: usize = 3;
        let examples = [example(8, &[1, 2, 1]), example(4, &[2])];
        for cell in CellKind::ALL {
            let network = network(cell);
            let borders: Vec<Vec<States<f64>>> =
                examples.iter().map(|e| loss_from(&network, e, SEGMENT, None).1).collect();
            let mut worker = worker(&network, SEGMENT);
            let stats = run(&network, &examples, 0.0, &mut worker);
            let loss = |network: &Network<f64>| -> f64 {
                let each = examples.iter().zip(&borders);
                each.map(|(e, borders)| loss_from(network, e, SEGMENT, Some(borders)).0).sum()
            };
            assert!((stats.loss - loss(&network)).abs() < 1e-10);
            for (p, parameter) in network.parameters.iter().enumerate() {
                // Two values of each, the first and one in the middle.
                for i in [0, parameter.data.len() / 2] {
                    let near = |by| loss(&changed(&network, p, i, by));
                    let expected = (near(1e-5) - near(-1e-5)) / 2e-5;
                    let found = worker.gradients[p][i];
                    let (name, size) = (&parameter.name, expected.abs().max(1.0));
                    assert!((found - expected).abs() < 1e-6 * size, "{name}[{i}]: {found}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn a_segment_of_the_whole_is_backpropagation_through_all_steps() {
        let network = network(CellKind::Lstm);
        let examples = [example(8, &[1, 2, 1]), example(4, &[2])];
        let gradients = |segment| {
            let mut worker = worker(&network, segment);
            run(&network, &examples, 0.2, &mut worker);
            worker.gradients
        };
        assert_eq!(gradients(8), gradients(usize::MAX));
        assert_ne!(gradients(7), gradients(usize::MAX));
    }

    /// The loss depends on the output layer through all segments, so its gradient is exact.
    #[test]
    fn the_same_values_are_dropped_when_a_segment_is_computed_again() {
        let (network, examples) = (network(CellKind::Gru), [example(9, &[1, 2, 1])]);
        let mut own = worker(&network, 3);
        run(&network, &examples, 0.4, &mut own);
        let mut other = worker(&network, 3);
        let output = network.parameters.iter().position(|p| p.name == "output.weight").expect("there");
        for i in 0..network.parameters[output].data.len() {
            let mut near = |by| run(&changed(&network, output, i, by), &examples, 0.4, &mut other).loss;
            let expected = (near(1e-5) - near(-1e-5)) / 2e-5;
            let found = own.gradients[output][i];
            assert!((found - expected).abs() < 1e-6, "{i}: {found}, not {expected}");
        }
    }

    #[test]
    fn activations_do_not_grow_with_the_length() {
        let network = network(CellKind::Gru);
        let activations = |steps: usize, segment: usize| {
            let mut worker = worker(&network, segment);
            let labels: Vec<u32> = (0..steps / 5).map(|i| 1 + (i % 2) as u32).collect();
            let stats = run(&network, &[example(steps, &labels)], 0.1, &mut worker);
            assert!(stats.loss > 0.0 && stats.unaligned == 0);
            worker.num_activations()
        };
        assert_eq!(activations(100, 20), activations(4000, 20));
        assert!(activations(4000, usize::MAX) > 100 * activations(4000, 20));
    }
}
