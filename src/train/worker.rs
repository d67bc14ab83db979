//! The work of one thread in an update: building examples, forward pass, losses, backpropagation through
//! time.

use super::example::{Example, ExampleBuilder};
use super::loss::ctc::{self, CtcWorkspace};
use super::loss::mmi::{MmiWorkspace, Stream};
use super::loss::passes::LANES;
use super::sampler::ExampleSpec;
use super::segments::{Batch, SegmentedPass};
pub use super::update::Update;
use crate::model::forward::log_softmax;
use crate::model::{Kernels, PackedSequence, Real};

/// Statistics summed over a share of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchStats {
    /// CTC loss of the main output, nats.
    pub loss: f64,
    /// Number of labels in `loss`.
    pub labels: usize,
    /// CTC loss of the auxiliary output, nats.
    pub auxiliary_loss: f64,
    /// Number of labels in `auxiliary_loss`.
    pub auxiliary_labels: usize,
    /// Loss of [`super::loss::mmi`], nats.
    pub mmi_loss: f64,
    /// Number of utterances in `mmi_loss`.
    pub mmi_utterances: usize,
    /// Consistency loss between views of the same utterances (the mean of both Kullback-Leibler
    /// divergences).
    pub consistency_loss: f64,
    /// Number of utterances, counting each view.
    pub utterances: usize,
    /// Number of time steps of all utterances.
    pub steps: usize,
    /// Number of transcripts that did not fit their audio after augmentation.
    pub impossible: usize,
    /// Number of long utterances that were not aligned with their transcripts ([`ctc::loss_and_gradient`]).
    pub unaligned: usize,
    /// Number of time steps whose most probable token was the blank.
    pub blanks: usize,
}

impl BatchStats {
    /// Whether all losses are finite.
    pub fn is_finite(&self) -> bool {
        [self.loss, self.auxiliary_loss, self.mmi_loss, self.consistency_loss]
            .iter()
            .all(|loss| loss.is_finite())
    }

    /// Adds the statistics of another share.
    pub fn add(&mut self, other: &BatchStats) {
        self.loss += other.loss;
        self.labels += other.labels;
        self.auxiliary_loss += other.auxiliary_loss;
        self.auxiliary_labels += other.auxiliary_labels;
        self.mmi_loss += other.mmi_loss;
        self.mmi_utterances += other.mmi_utterances;
        self.consistency_loss += other.consistency_loss;
        self.utterances += other.utterances;
        self.steps += other.steps;
        self.impossible += other.impossible;
        self.unaligned += other.unaligned;
        self.blanks += other.blanks;
    }
}

/// The buffers of one thread.
pub struct Worker<T> {
    pass: SegmentedPass<T>,
    /// Number of steps of a segment of truncated backpropagation through time.
    segment: usize,
    ctc: CtcWorkspace,
    mmi: MmiWorkspace<T>,
    /// The gradients of the last [`Worker::run`], for each parameter.
    pub gradients: Vec<Vec<T>>,
    logits: Vec<T>,
    auxiliary_logits: Vec<T>,
    own: Vec<T>,
    logit_gradient: Vec<T>,
    /// The gradients of the other criteria than CTC.
    extra_gradient: Vec<T>,
    /// Rows and gradients of the streams processed in parallel.
    lanes: Vec<(Vec<T>, Vec<T>)>,
}

impl<T: Kernels> Worker<T> {
    /// A worker for parameters of these lengths, with backpropagation through all steps of an utterance.
    pub fn new(lengths: &[usize]) -> Self {
        Self {
            pass: SegmentedPass::default(),
            segment: usize::MAX,
            ctc: CtcWorkspace::default(),
            mmi: MmiWorkspace::default(),
            gradients: lengths.iter().map(|&n| vec![T::ZERO; n]).collect(),
            logits: Vec::new(),
            auxiliary_logits: Vec::new(),
            own: Vec::new(),
            logit_gradient: Vec::new(),
            extra_gradient: Vec::new(),
            lanes: vec![Default::default(); LANES],
        }
    }

    /// Truncates backpropagation through time at segments of `steps` steps.
    pub fn with_segments(self, steps: usize) -> Self {
        Self { segment: steps, ..self }
    }

    /// The number of values in the buffers for activations.
    pub fn num_activations(&self) -> usize {
        self.pass.num_activations()
    }

    /// Computes the gradients of a share of the batch, into [`Worker::gradients`]. `width` is the number of
    /// features of a step, S * F.
    pub fn run(&mut self, update: &Update<'_, T>, mut examples: Vec<Example>, width: usize) -> BatchStats {
        for gradient in &mut self.gradients {
            gradient.fill(T::ZERO);
        }
        // `PackedSequence` needs descending lengths. The sort is stable, so two views of an example remain adjacent.
        examples.sort_by_key(|e| std::cmp::Reverse(e.features.len()));
        let lengths: Vec<usize> = examples.iter().map(|e| e.features.len() / width).collect();
        let steps = PackedSequence::new(&lengths);
        let features: Vec<&[f32]> = examples.iter().map(|e| e.features.as_slice()).collect();
        let batch = Batch { update, features: &features, width, steps: &steps, segment: self.segment };
        let heads = &mut [&mut self.logits, &mut self.auxiliary_logits];
        self.pass.forward(&batch, &mut heads[..if update.auxiliary_tokens > 0 { 2 } else { 1 }]);
        let mut stats =
            BatchStats { utterances: examples.len(), steps: steps.rows(), ..BatchStats::default() };
        let main: Vec<_> = examples.iter().map(|e| e.labels.as_deref()).collect();
        log_softmax(&mut self.logits, update.num_tokens);
        stats.blanks = count_blanks(&self.logits, update.num_tokens, update.blank);
        let mut logits = std::mem::take(&mut self.logits);
        self.extra_gradient.clear();
        (stats.mmi_loss, stats.mmi_utterances) = self.mmi_loss(update, &steps, &examples, &logits);
        if update.consistency_scale > 0.0 {
            self.extra_gradient.resize(logits.len(), T::ZERO);
            stats.consistency_loss = consistency(
                &logits,
                &steps,
                update.num_tokens,
                update.consistency_scale,
                &mut self.extra_gradient,
            );
        }
        // The CTC loss comes last, because it replaces the log-probabilities by its gradients.
        let found = self.loss(&steps, &main, update.num_tokens, update.blank, update.scale, &mut logits);
        (stats.loss, stats.labels) = (found.sum, found.labels);
        (stats.impossible, stats.unaligned) = (found.impossible, found.unaligned);
        logits
            .iter_mut()
            .zip(&self.extra_gradient)
            .for_each(|(logit_gradient, &more)| *logit_gradient += more);
        let mut auxiliary = std::mem::take(&mut self.auxiliary_logits);
        if update.auxiliary_tokens > 0 {
            let labels: Vec<_> = examples.iter().map(|e| e.auxiliary.as_deref()).collect();
            log_softmax(&mut auxiliary, update.auxiliary_tokens);
            let (tokens, scale) = (update.auxiliary_tokens, update.auxiliary_scale);
            let found = self.loss(&steps, &labels, tokens, 0, scale, &mut auxiliary);
            (stats.auxiliary_loss, stats.auxiliary_labels) = (found.sum, found.labels);
            stats.impossible += found.impossible;
            stats.unaligned += found.unaligned;
        }
        let logit_gradients: &[&[T]] =
            if update.auxiliary_tokens > 0 { &[&logits, &auxiliary] } else { &[&logits] };
        self.pass.backward(&batch, logit_gradients, &mut self.gradients);
        self.logits = logits;
        self.auxiliary_logits = auxiliary;
        stats
    }

    /// Computes the MMI loss of each stream from its rows of log-probabilities. Its scaled gradients are
    /// written to `extra_gradient`, which remains empty without the criterion.
    fn mmi_loss(
        &mut self,
        update: &Update<'_, T>,
        steps: &PackedSequence,
        examples: &[Example],
        rows: &[T],
    ) -> (f64, usize) {
        let Some(mmi) = update.mmi else { return (0.0, 0) };
        self.extra_gradient.resize(rows.len(), T::ZERO);
        let (mut total, mut count, width) = (0.0, 0, update.num_tokens);
        let known: Vec<_> =
            examples.iter().enumerate().filter_map(|(b, e)| Some((b, e.transcript.as_deref()?))).collect();
        for group in known.chunks(LANES) {
            let mut streams = Vec::with_capacity(group.len());
            for ((own, logit_gradient), (b, transcript)) in self.lanes.iter_mut().zip(group) {
                gather(steps, *b, width, rows, own);
                logit_gradient.clear();
                logit_gradient.resize(own.len(), T::ZERO);
                let any_word = transcript.iter().any(Option::is_some);
                let scale = if any_word { update.mmi_scale } else { update.mmi_other_scale };
                streams.push(Stream {
                    log_probs: own,
                    transcript,
                    scale,
                    gradient: logit_gradient,
                    loss: None,
                });
            }
            mmi.run(&mut streams, &mut self.mmi);
            let losses: Vec<_> = streams.into_iter().filter_map(|stream| stream.loss).collect();
            (total, count) = (total + losses.iter().sum::<f64>(), count + losses.len());
            for ((_, logit_gradient), (b, _)) in self.lanes.iter().zip(group) {
                for (t, logit_gradient) in logit_gradient.chunks_exact(width).enumerate() {
                    let row = steps.row(t, *b) * width;
                    self.extra_gradient[row..row + width].copy_from_slice(logit_gradient);
                }
            }
        }
        (total, count)
    }

    /// Computes the CTC loss of each stream from its rows of log-probabilities, which are replaced by the
    /// gradients of the logits times `scale` (zero if a stream has no labels for this output).
    fn loss(
        &mut self,
        steps: &PackedSequence,
        labels: &[Option<&[u32]>],
        num_tokens: usize,
        blank: u32,
        scale: f64,
        rows: &mut [T],
    ) -> CtcLoss {
        let mut total = CtcLoss::default();
        let scale = T::from_f64(scale);
        for (b, (&length, labels)) in steps.lengths().iter().zip(labels).enumerate() {
            gather(steps, b, num_tokens, rows, &mut self.own);
            self.logit_gradient.clear();
            self.logit_gradient.resize(self.own.len(), T::ZERO);
            if let Some(labels) = labels {
                let loss = ctc::loss_and_gradient(
                    &self.own,
                    num_tokens,
                    labels,
                    blank,
                    &mut self.logit_gradient,
                    &mut self.ctc,
                );
                match loss {
                    Some(loss) => {
                        total.sum += loss;
                        total.labels += labels.len();
                    }
                    None if ctc::min_steps(labels) > length => total.impossible += 1,
                    None => total.unaligned += 1,
                }
            }
            for t in 0..length {
                let row = steps.row(t, b) * num_tokens;
                for (out, &s) in
                    rows[row..row + num_tokens].iter_mut().zip(&self.logit_gradient[t * num_tokens..])
                {
                    *out = s * scale;
                }
            }
        }
        total
    }
}

/// The CTC loss of one output.
#[derive(Default)]
struct CtcLoss {
    /// Nats.
    sum: f64,
    labels: usize,
    impossible: usize,
    unaligned: usize,
}

/// Builds the examples of a share; two views of an example are adjacent.
pub fn build(builder: &mut ExampleBuilder<'_>, specs: &[ExampleSpec]) -> Vec<Example> {
    specs.iter().flat_map(|spec| builder.build(spec)).collect()
}

/// Copies the rows of one stream to consecutive rows of `own`.
fn gather<T: Real>(steps: &PackedSequence, stream: usize, width: usize, rows: &[T], own: &mut Vec<T>) {
    own.clear();
    for t in 0..steps.lengths()[stream] {
        let row = steps.row(t, stream) * width;
        own.extend_from_slice(&rows[row..row + width]);
    }
}

/// Computes the consistency loss between two views of an utterance, which are streams 2i and 2i + 1 of the
/// log-probabilities `[R, V]`: half the sum of both Kullback-Leibler divergences. Each view is the fixed
/// target of the other; the gradients of the divergences with respect to the *logits*, times `scale`, are
/// added to `logit_gradient`.
fn consistency<T: Real>(
    rows: &[T],
    steps: &PackedSequence,
    width: usize,
    scale: f64,
    logit_gradient: &mut [T],
) -> f64 {
    let (mut total, scale) = (0.0, T::from_f64(scale));
    for first in (0..steps.streams().saturating_sub(1)).step_by(2) {
        for t in 0..steps.lengths()[first].min(steps.lengths()[first + 1]) {
            let (one, other) = (steps.row(t, first) * width, steps.row(t, first + 1) * width);
            for k in 0..width {
                let (a, b) = (rows[one + k], rows[other + k]);
                let difference = a.exp() - b.exp();
                total += 0.5 * (difference * (a - b)).to_f64();
                logit_gradient[one + k] += difference * scale;
                logit_gradient[other + k] += -difference * scale;
            }
        }
    }
    total
}

fn count_blanks<T: Real>(log_probs: &[T], num_tokens: usize, blank: u32) -> usize {
    let best = |row: &[T]| row.iter().all(|&v| v <= row[blank as usize]);
    log_probs.chunks_exact(num_tokens).filter(|row| best(row)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_of_the_consistency_loss_is_that_of_the_divergences() {
        // Two pairs, of three steps and one step, and three tokens.
        let (steps, width) = (PackedSequence::new(&[3, 3, 1, 1]), 3);
        let logits: Vec<f64> = (0..steps.rows() * width).map(|i| (i as f64 * 1.7).sin() * 2.0).collect();
        let softmax = |logits: &[f64]| {
            let mut rows = logits.to_vec();
            log_softmax(&mut rows, width);
            rows
        };
        let fixed = softmax(&logits);
        let mut logit_gradient = vec![0.0; logits.len()];
        let loss = consistency(&fixed, &steps, width, 0.4, &mut logit_gradient);
        // Σ over rows and their partners of KL(partner || row), with the partner held fixed.
        let divergence = |rows: &[f64]| {
            let mut sum = 0.0;
            for b in 0..4 {
                for t in 0..steps.lengths()[b] {
                    let (own, partner) = (steps.row(t, b) * width, steps.row(t, b ^ 1) * width);
                    let of = |k: usize| fixed[partner + k].exp() * (fixed[partner + k] - rows[own + k]);
                    sum += (0..width).map(of).sum::<f64>();
                }
            }
            sum
        };
        assert!((loss - 0.5 * divergence(&fixed)).abs() < 1e-12 && loss > 0.1);
        for i in 0..logits.len() {
            let near = |by: f64| {
                let mut moved = logits.clone();
                moved[i] += by;
                divergence(&softmax(&moved))
            };
            let expected = 0.4 * (near(1e-5) - near(-1e-5)) / 2e-5;
            assert!(
                (logit_gradient[i] - expected).abs() < 1e-8,
                "logit {i}: {}, expected {expected}",
                logit_gradient[i]
            );
        }
    }
}
