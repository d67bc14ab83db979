//! One thread's share of an update: examples made, forward, loss, back through time.

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::ctc::{self, CtcWorkspace};
use super::example::{Example, Maker};
use super::mmi::{Mmi, MmiWorkspace};
use super::sampler::Plan;
use crate::model::forward::{Dropout, log_softmax};
use crate::model::{Kernels, Real, Steps, Weights, Workspace};

/// Sums over a share of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    /// CTC losses of the main output, and the labels behind them.
    pub loss: f64,
    pub labels: usize,
    /// The same of the auxiliary output.
    pub auxiliary_loss: f64,
    pub auxiliary_labels: usize,
    /// Losses of [`super::mmi`], and the utterances behind them.
    pub mmi_loss: f64,
    pub mmi_utterances: usize,
    pub utterances: usize,
    pub steps: usize,
    /// Transcripts that did not fit their audio after augmentation.
    pub impossible: usize,
    /// Steps whose likeliest token was the blank.
    pub blanks: usize,
}

impl Sums {
    /// Adds another share's.
    pub fn add(&mut self, other: &Sums) {
        self.loss += other.loss;
        self.labels += other.labels;
        self.auxiliary_loss += other.auxiliary_loss;
        self.auxiliary_labels += other.auxiliary_labels;
        self.mmi_loss += other.mmi_loss;
        self.mmi_utterances += other.mmi_utterances;
        self.utterances += other.utterances;
        self.steps += other.steps;
        self.impossible += other.impossible;
        self.blanks += other.blanks;
    }
}

/// What every worker of an update shares.
pub struct Update<'a, T> {
    pub weights: &'a Weights<T>,
    pub num_tokens: usize,
    pub blank: u32,
    /// Tokens of the auxiliary output, 0 for none, and what its loss is multiplied by.
    pub auxiliary_tokens: usize,
    pub scale: f64,
    pub auxiliary_scale: f64,
    /// The criterion over words, if there is one, and what its loss is multiplied by.
    pub mmi: Option<&'a Mmi>,
    pub mmi_scale: f64,
    /// And where no word was said.
    pub mmi_other_scale: f64,
    pub dropout: f64,
    pub seed: u64,
}

/// The room that a thread computes in.
pub struct Worker<T> {
    workspace: Workspace<T>,
    ctc: CtcWorkspace,
    mmi: MmiWorkspace,
    pub gradients: Vec<Vec<T>>,
    x: Vec<T>,
    logits: Vec<T>,
    auxiliary_logits: Vec<T>,
    own: Vec<T>,
    slope: Vec<T>,
    mmi_slope: Vec<T>,
}

impl<T: Kernels> Worker<T> {
    /// Room for gradients of parameters of these lengths.
    pub fn new(lengths: &[usize]) -> Self {
        Self {
            workspace: Workspace::default(),
            ctc: CtcWorkspace::default(),
            mmi: MmiWorkspace::default(),
            gradients: lengths.iter().map(|&n| vec![T::ZERO; n]).collect(),
            x: Vec::new(),
            logits: Vec::new(),
            auxiliary_logits: Vec::new(),
            own: Vec::new(),
            slope: Vec::new(),
            mmi_slope: Vec::new(),
        }
    }

    /// The gradients of a share of the batch, into [`Worker::gradients`].
    pub fn run(&mut self, update: &Update<'_, T>, mut examples: Vec<Example>, width: usize) -> Sums {
        for gradient in &mut self.gradients {
            gradient.fill(T::ZERO);
        }
        examples.sort_by_key(|e| std::cmp::Reverse(e.features.len()));
        let lengths: Vec<usize> = examples.iter().map(|e| e.features.len() / width).collect();
        let steps = Steps::new(&lengths);
        pack(&examples, &steps, width, &mut self.x);
        let mut states = update.weights.zero_states(steps.streams());
        let mut rng = Pcg64Mcg::seed_from_u64(update.seed);
        let dropout = (update.dropout > 0.0).then_some(Dropout { rate: update.dropout, rng: &mut rng });
        update.weights.forward(&self.x, &steps, &mut states, &mut self.workspace, dropout);
        let mut sums = Sums { utterances: examples.len(), steps: steps.rows(), ..Sums::default() };
        let main: Vec<_> = examples.iter().map(|e| e.labels.as_deref()).collect();
        update.weights.logits(&self.workspace, 0, &mut self.logits);
        log_softmax(&mut self.logits, update.num_tokens);
        sums.blanks = count_blanks(&self.logits, update.num_tokens, update.blank);
        let mut logits = std::mem::take(&mut self.logits);
        (sums.mmi_loss, sums.mmi_utterances) = self.mmi_loss(update, &steps, &examples, &logits);
        (sums.loss, sums.labels, sums.impossible) =
            self.loss(&steps, &main, update.num_tokens, update.blank, update.scale, &mut logits);
        logits.iter_mut().zip(&self.mmi_slope).for_each(|(slope, &more)| *slope += more);
        let mut auxiliary = std::mem::take(&mut self.auxiliary_logits);
        if update.auxiliary_tokens > 0 {
            let labels: Vec<_> = examples.iter().map(|e| e.auxiliary.as_deref()).collect();
            update.weights.logits(&self.workspace, 1, &mut auxiliary);
            log_softmax(&mut auxiliary, update.auxiliary_tokens);
            let impossible;
            (sums.auxiliary_loss, sums.auxiliary_labels, impossible) = self.loss(
                &steps,
                &labels,
                update.auxiliary_tokens,
                0,
                update.auxiliary_scale,
                &mut auxiliary,
            );
            sums.impossible += impossible;
        }
        let slopes: &[&[T]] = if update.auxiliary_tokens > 0 { &[&logits, &auxiliary] } else { &[&logits] };
        let zero = update.weights.zero_states(steps.streams());
        update.weights.backward(&steps, slopes, zero, &mut self.workspace, &mut self.gradients);
        self.logits = logits;
        self.auxiliary_logits = auxiliary;
        sums
    }

    /// The criterion over words over each stream's rows of log-probabilities: its gradients, times the
    /// scale, into `mmi_slope`, which is empty without it.
    fn mmi_loss(
        &mut self,
        update: &Update<'_, T>,
        steps: &Steps,
        examples: &[Example],
        rows: &[T],
    ) -> (f64, usize) {
        self.mmi_slope.clear();
        let Some(mmi) = update.mmi else { return (0.0, 0) };
        self.mmi_slope.resize(rows.len(), T::ZERO);
        let (mut total, mut count, width) = (0.0, 0, update.num_tokens);
        for (b, example) in examples.iter().enumerate() {
            let Some(said) = &example.said else { continue };
            gather(steps, b, width, rows, &mut self.own);
            self.slope.clear();
            self.slope.resize(self.own.len(), T::ZERO);
            let (own, slope) = (&self.own, &mut self.slope);
            let any_word = said.iter().any(Option::is_some);
            let scale = if any_word { update.mmi_scale } else { update.mmi_other_scale };
            let loss = mmi.loss_and_gradient(own, width, said, scale, slope, &mut self.mmi);
            let Some(loss) = loss else { continue };
            (total, count) = (total + loss, count + 1);
            for (t, slope) in self.slope.chunks_exact(width).enumerate() {
                let row = steps.row(t, b) * width;
                self.mmi_slope[row..row + width].copy_from_slice(slope);
            }
        }
        (total, count)
    }

    /// CTC over each stream's rows; the log-probabilities are replaced by their logits' gradients
    /// times `scale` (zero where a stream has no labels of this output).
    fn loss(
        &mut self,
        steps: &Steps,
        labels: &[Option<&[u32]>],
        num_tokens: usize,
        blank: u32,
        scale: f64,
        rows: &mut [T],
    ) -> (f64, usize, usize) {
        let (mut total, mut count, mut impossible) = (0.0, 0, 0);
        let scale = T::from_f64(scale);
        for (b, (&length, labels)) in steps.lengths().iter().zip(labels).enumerate() {
            gather(steps, b, num_tokens, rows, &mut self.own);
            self.slope.clear();
            self.slope.resize(self.own.len(), T::ZERO);
            if let Some(labels) = labels {
                let loss = ctc::loss_and_gradient(
                    &self.own,
                    num_tokens,
                    labels,
                    blank,
                    &mut self.slope,
                    &mut self.ctc,
                );
                match loss {
                    Some(loss) => (total, count) = (total + loss, count + labels.len()),
                    None => impossible += 1,
                }
            }
            for t in 0..length {
                let row = steps.row(t, b) * num_tokens;
                for (out, &s) in rows[row..row + num_tokens].iter_mut().zip(&self.slope[t * num_tokens..]) {
                    *out = s * scale;
                }
            }
        }
        (total, count, impossible)
    }
}

/// Makes the examples of a share.
pub fn make(maker: &mut Maker<'_>, plans: &[Plan]) -> Vec<Example> {
    plans.iter().map(|plan| maker.make(plan)).collect()
}

/// The rows of one stream, one behind the other.
fn gather<T: Real>(steps: &Steps, stream: usize, width: usize, rows: &[T], own: &mut Vec<T>) {
    own.clear();
    for t in 0..steps.lengths()[stream] {
        let row = steps.row(t, stream) * width;
        own.extend_from_slice(&rows[row..row + width]);
    }
}

/// Lays examples out step by step.
fn pack<T: Real>(examples: &[Example], steps: &Steps, width: usize, x: &mut Vec<T>) {
    x.clear();
    for t in 0..steps.len() {
        for example in &examples[..steps.width(t)] {
            x.extend(example.features[t * width..(t + 1) * width].iter().map(|&v| T::from_f64(f64::from(v))));
        }
    }
}

fn count_blanks<T: Real>(log_probs: &[T], num_tokens: usize, blank: u32) -> usize {
    let best = |row: &[T]| row.iter().all(|&v| v <= row[blank as usize]);
    log_probs.chunks_exact(num_tokens).filter(|row| best(row)).count()
}
