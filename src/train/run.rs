//! A training run: updates, dev scores, checkpoints, models.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::augment::Augmenter;
use super::checkpoint::{self, Best, Checkpoint, Header};
use super::dataset::Dataset;
use super::example::{Example, ExampleBuilder};
use super::folder::ExistingRun;
use super::load::Loaded;
use super::log::Line;
use super::loss::mmi::Mmi;
use super::optimizer::{AdamStep, AdamW, constrain, learning_rate};
use super::prepare::{lattice_free, statistics};
use super::progress::{Ended, LayerNorms, Progress, Report, Scores, Start, Step};
use super::recipe::{Denominator, Recipe};
use super::record::{Files, Record};
use super::report::{Context, Status};
use super::sampler::{ExampleSpec, Sampler, derive_seed};
use super::score::{DevScore, DevSet};
use super::threads::{add_gradients, in_threads};
use super::warm_start::WarmStart;
use super::worker::{self, BatchStats, Update, Worker};
use crate::decode::DecoderOptions;
use crate::error::{Error, Result, Stage};
use crate::model::network::initialize;
use crate::model::{Network, PackedWeights};
use crate::onnx::{self, Metadata};
use crate::text::TokenTable;

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder that the recipe's manifests are relative to.
    pub data: PathBuf,
    /// The run's folder: log, checkpoints, models.
    pub out: PathBuf,
    /// Number of threads that share each batch; `None`: that of the checkpoint, else the number of cores.
    pub threads: Option<usize>,
    /// What to do with an earlier run in `out`.
    pub existing_run: ExistingRun,
    /// Whether to resume even if the recipe or the number of threads differs from the checkpoint's.
    pub accept_changes: bool,
    /// Path of a model to start from, or the name of an embedded one; the recipe may have more layers on top.
    /// The decoder's settings are taken over if the recipe has none and the tokens are the same.
    pub from: Option<PathBuf>,
    /// Number of updates after which to stop, to be resumed later.
    pub stop_after: Option<u64>,
    /// Whether to write event files for TensorBoard in `out` too.
    pub tensorboard: bool,
}

impl Options {
    /// Options of a new run with random initial weights on all cores.
    pub fn new(data: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            out: out.into(),
            threads: None,
            existing_run: ExistingRun::default(),
            accept_changes: false,
            from: None,
            stop_after: None,
            tensorboard: false,
        }
    }
}

/// The part of a run that does not change.
pub(super) struct Session<'a> {
    pub recipe: &'a Recipe,
    pub options: &'a Options,
    pub threads: usize,
    pub stop: &'a AtomicBool,
    pub tokens: TokenTable,
    /// The model that the run starts from, unless it is resumed.
    pub start: Option<WarmStart>,
    /// The recipe's options with the lexicon filled in.
    pub decoder: DecoderOptions,
}

/// A run in progress.
pub(super) struct Run<'a> {
    session: Session<'a>,
    /// The recipe as TOML, for checkpoints and models.
    text: String,
    auxiliary_tokens: usize,
    mmi: Option<Mmi<f32>>,
    pub network: Network<f32>,
    parameters: Vec<Vec<f32>>,
    decays: Vec<bool>,
    adam: AdamW,
    best: Option<Best>,
    /// Whether the best model outputs no words.
    best_outputs_nothing: bool,
    pub step: u64,
    /// The number of updates at the last checkpoint of this session.
    saved: Option<u64>,
}

/// Sums over a span of updates, for a line of the log.
struct Window {
    stats: BatchStats,
    norms: f64,
    /// Of the last update.
    layers: Vec<LayerNorms>,
    begin: Instant,
    first: u64,
}

impl Window {
    fn from(step: u64) -> Self {
        Self {
            stats: BatchStats::default(),
            norms: 0.0,
            layers: Vec::new(),
            begin: Instant::now(),
            first: step,
        }
    }

    fn add(&mut self, update: Updated) {
        self.stats.add(&update.stats);
        self.norms += update.norm;
        self.layers = update.layers;
    }
}

/// The results of an update.
struct Updated {
    stats: BatchStats,
    /// Norm of the gradient before clipping.
    norm: f64,
    /// Norms by layer, for an update that ends a span of the log.
    layers: Vec<LayerNorms>,
}

impl<'a> Run<'a> {
    /// A run from its first update, or resumed from a checkpoint.
    ///
    /// # Errors
    /// When the recipe's network is invalid, or the checkpoint is of another network.
    pub fn start(
        session: Session<'a>,
        checkpoint: Option<Checkpoint>,
        dataset: &Dataset,
        sampler: &Sampler<'_>,
        augmenter: &Augmenter,
    ) -> Result<Self> {
        let recipe = session.recipe;
        let mut network = initialize::<f32>(&recipe.network_config()?, recipe.run.seed);
        let auxiliary_tokens = recipe.auxiliary_tokens()?.map_or(0, |t| t.len());
        let mut parameters: Vec<Vec<f32>> = network.parameters.iter().map(|p| p.data.clone()).collect();
        let decays: Vec<bool> = network.parameters.iter().map(|p| p.shape.len() >= 2).collect();
        if let Some(start) = &session.start {
            let copied = start.copy_to(&mut network, &mut parameters);
            copied.map_err(|e| e.in_file(session.options.from.as_deref().unwrap_or(Path::new(""))))?;
        }
        let adam = AdamW::new(&parameters);
        let mmi = recipe.loss.mmi.as_ref().and_then(|table| match table.denominator {
            Denominator::Words => Mmi::from_words(&session.tokens, &session.decoder),
            Denominator::Phones => {
                Some(lattice_free(table, dataset, recipe.data.silence_weight, &session.tokens))
            }
        });
        let text = recipe.to_toml()?;
        let mut run = Self {
            session,
            text,
            auxiliary_tokens,
            mmi,
            network,
            parameters,
            decays,
            adam,
            best: None,
            best_outputs_nothing: false,
            step: 0,
            saved: None,
        };
        // A checkpoint and a model to start from bring their own feature statistics.
        match checkpoint {
            Some(checkpoint) => run.resume(checkpoint)?,
            None if run.session.start.is_none() => {
                let (mean, scale) = statistics(recipe, dataset, sampler, augmenter)?;
                (run.network.mean, run.network.scale) = (mean, scale);
            }
            None => {}
        }
        Ok(run)
    }

    fn resume(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let same = checkpoint.parameters.len() == self.parameters.len()
            && checkpoint.parameters.iter().zip(&self.parameters).all(|(a, b)| a.len() == b.len());
        if !same || checkpoint.mean.len() != self.network.mean.len() {
            return Err(Error::new(Stage::Train, "the checkpoint is of another network")
                .in_file(self.session.options.out.join(checkpoint::NAMES[0]))
                .hint("start a new run, or use the recipe of the checkpoint"));
        }
        self.step = checkpoint.header.step;
        self.best = checkpoint.header.best;
        self.parameters = checkpoint.parameters;
        self.adam = checkpoint.adam;
        (self.network.mean, self.network.scale) = (checkpoint.mean, checkpoint.scale);
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        if self.saved == Some(self.step) {
            return Ok(());
        }
        let header = Header::new(self.step, self.text.clone(), self.session.threads, self.best);
        let Network { mean, scale, .. } = &self.network;
        let checkpoint = Checkpoint::new(header, &self.parameters, &self.adam, mean, scale);
        if !checkpoint.is_finite() {
            return Err(self.weights_diverged());
        }
        checkpoint::save(&self.session.options.out, &checkpoint)?;
        self.saved = Some(self.step);
        Ok(())
    }

    /// The network with these parameters.
    fn network_with(&self, parameters: &[Vec<f32>]) -> Network<f32> {
        let mut network = self.network.clone();
        for (parameter, data) in network.parameters.iter_mut().zip(parameters) {
            parameter.data.clone_from(data);
        }
        network
    }

    fn weights(&self, parameters: &[Vec<f32>], training: bool) -> Result<PackedWeights<f32>> {
        let weights = if training {
            PackedWeights::for_training(&self.network, parameters, self.session.threads)
        } else {
            PackedWeights::new(&self.network_with(parameters), false)
        };
        weights.ok_or_else(|| Error::new(Stage::Train, "the network lacks a parameter"))
    }

    /// Runs updates until the last one, or until the run is stopped; with a report of its course.
    ///
    /// # Errors
    /// When the loss or the weights are not finite, or files cannot be written.
    pub fn train(
        &mut self,
        loaded: &Loaded,
        sampler: &Sampler<'_>,
        augmenter: &Augmenter,
        report: Report<'_>,
    ) -> Result<Ended> {
        let Session { recipe, options, .. } = self.session;
        let context = Context {
            recipe,
            text: self.text.clone(),
            out: &options.out,
            dev: &loaded.dev,
            left_out: &loaded.findings.left_out,
            notes: &loaded.findings.notes,
        };
        let is_resumed = options.existing_run == ExistingRun::Resume;
        let files = Files { out: &options.out, is_resumed, tensorboard: options.tensorboard };
        let mut record = Record::open(&files, context, report)?;
        let start = Start {
            parameters: self.network.num_parameters(),
            recordings: loaded.recordings,
            hours: loaded.seconds / 3600.0,
            step: self.step,
            steps: recipe.schedule.steps,
        };
        record.write(Line::start(&start), report)?;
        report(Progress::Started(start));
        let result = self.run(loaded, sampler, augmenter, &mut record, report);
        record.show(&Status::of(&result, recipe.schedule.steps), report);
        if let Ok(ended) = &result {
            report(Progress::Done(ended.clone()));
        }
        result
    }

    fn run(
        &mut self,
        loaded: &Loaded,
        sampler: &Sampler<'_>,
        augmenter: &Augmenter,
        record: &mut Record<'_>,
        report: Report<'_>,
    ) -> Result<Ended> {
        let Session { recipe, options, threads, stop, .. } = self.session;
        let lengths: Vec<usize> = self.parameters.iter().map(Vec::len).collect();
        let mut builders = (0..threads)
            .map(|_| ExampleBuilder::new(recipe, &loaded.dataset, augmenter, &self.network.mean))
            .collect::<Result<Vec<_>>>()?;
        let mut workers: Vec<Worker<f32>> = (0..threads).map(|_| Worker::new(&lengths)).collect();
        let last = options.stop_after.unwrap_or(u64::MAX).min(recipe.schedule.steps);
        let mut window = Window::from(self.step);
        while self.step < last && !stop.load(Ordering::Relaxed) {
            window.add(self.update(sampler, &mut builders, &mut workers)?);
            self.step += 1;
            report(Progress::Updated(self.step, recipe.schedule.steps));
            if self.step.is_multiple_of(recipe.run.log_interval) {
                self.log_window(window, record, report)?;
                window = Window::from(self.step);
            }
            if self.step.is_multiple_of(recipe.run.eval_interval) || self.step == recipe.schedule.steps {
                self.evaluate(&loaded.dev, record, report)?;
            }
            if self.step.is_multiple_of(recipe.run.checkpoint_interval) {
                self.save()?;
            }
        }
        // Also after a stop, so that nothing is lost and the run can be resumed.
        self.save()?;
        self.write_model("last.onnx")?;
        let stopped = self.step < last;
        Ok(Ended { step: self.step, best: self.best, outputs_nothing: self.best_outputs_nothing, stopped })
    }

    /// Runs one update: builds the examples, computes the gradients in threads, and adds them in order.
    fn update(
        &mut self,
        sampler: &Sampler<'_>,
        builders: &mut [ExampleBuilder<'_>],
        workers: &mut [Worker<f32>],
    ) -> Result<Updated> {
        let shares = build_shares(&sampler.batch(self.step), builders)?;
        let stats = self.run_shares(shares, workers)?;
        let gradients = add_gradients(workers.iter_mut().map(|worker| &mut worker.gradients));
        if ![stats.loss, stats.auxiliary_loss, stats.mmi_loss].iter().all(|loss| loss.is_finite()) {
            let layers = self.not_finite("gradients", gradients);
            return Err(self.diverged(&format!("the loss of update {} is not finite; {layers}", self.step)));
        }
        let recipe = self.session.recipe;
        let rate = learning_rate(self.step, &recipe.optimizer, &recipe.schedule);
        // The norm of the change needs the weights before it: only computed where it is logged.
        let is_logged = (self.step + 1).is_multiple_of(recipe.run.log_interval);
        let before = is_logged.then(|| self.parameters.clone());
        let step = AdamStep {
            number: self.step,
            rate,
            options: &recipe.optimizer,
            decays: &self.decays,
            threads: self.session.threads,
        };
        let norm = self.adam.update(&step, &mut self.parameters, gradients);
        if !norm.is_finite() {
            let layers = self.not_finite("gradients", gradients);
            return Err(
                self.diverged(&format!("the gradient of update {} is not finite; {layers}", self.step))
            );
        }
        constrain(&self.network.parameters, &mut self.parameters, self.step);
        let layers = before.map_or(Vec::new(), |before| self.layer_norms(&before, gradients));
        Ok(Updated { stats, norm, layers })
    }

    /// A sentence about the layers whose values are not finite; `what` they are: gradients or weights.
    fn not_finite(&self, what: &str, values: &[Vec<f32>]) -> String {
        let mut layers: Vec<(String, bool)> = Vec::new();
        for (parameter, values) in self.network.parameters.iter().zip(values) {
            let name = layer_name(&parameter.name);
            if layers.last().is_none_or(|(last, _)| *last != name) {
                layers.push((name, true));
            }
            if let Some((_, is_finite)) = layers.last_mut() {
                *is_finite &= values.iter().all(|x| x.is_finite());
            }
        }
        let names: Vec<&str> =
            layers.iter().filter(|(_, is_finite)| !is_finite).map(|(name, _)| name.as_str()).collect();
        match names.len() {
            0 => format!("the {what} of all layers are finite"),
            count if count == layers.len() => format!("no layer has finite {what}"),
            _ => format!("layers without finite {what}: {}", names.join(", ")),
        }
    }

    /// The norms of an update by layer.
    fn layer_norms(&self, before: &[Vec<f32>], gradients: &[Vec<f32>]) -> Vec<LayerNorms> {
        let square = |value: f32| f64::from(value) * f64::from(value);
        let mut layers: Vec<LayerNorms> = Vec::new();
        for (i, parameter) in self.network.parameters.iter().enumerate() {
            let name = layer_name(&parameter.name);
            if layers.last().is_none_or(|last| last.name != name) {
                layers.push(LayerNorms { name, gradient: 0.0, update: 0.0, weights: 0.0 });
            }
            let Some(sums) = layers.last_mut() else { continue };
            let now = &self.parameters[i];
            sums.gradient += gradients[i].iter().map(|&g| square(g)).sum::<f64>();
            sums.update += now.iter().zip(&before[i]).map(|(now, before)| square(now - before)).sum::<f64>();
            sums.weights += now.iter().map(|&w| square(w)).sum::<f64>();
        }
        let root = |LayerNorms { name, gradient, update, weights }| LayerNorms {
            name,
            gradient: f64::sqrt(gradient),
            update: f64::sqrt(update),
            weights: f64::sqrt(weights),
        };
        layers.into_iter().map(root).collect()
    }

    /// Runs each share of the batch forward and backward in its own thread, and adds up the statistics.
    fn run_shares(&self, shares: Vec<Vec<Example>>, workers: &mut [Worker<f32>]) -> Result<BatchStats> {
        let all = || shares.iter().flatten();
        let labels: usize = all().filter_map(|e| e.labels.as_ref()).map(Vec::len).sum();
        let auxiliary_labels: usize = all().filter_map(|e| e.auxiliary.as_ref()).map(Vec::len).sum();
        let weights = self.weights(&self.parameters, true)?;
        let (recipe, tokens) = (self.session.recipe, &self.session.tokens);
        let width = recipe.network.subsampling * recipe.features.num_mel_bins;
        let auxiliary_weight = recipe.auxiliary.as_ref().map_or(0.0, |a| a.weight);
        let mmi_scale = recipe.loss.mmi.as_ref().map_or(0.0, |mmi| mmi.weight) / labels.max(1) as f64;
        let seed = derive_seed(recipe.run.seed ^ 0x5eed, self.step);
        let update = |thread: usize| Update {
            weights: &weights,
            num_tokens: tokens.len(),
            blank: tokens.blank(),
            auxiliary_tokens: self.auxiliary_tokens,
            scale: recipe.loss.ctc_weight / labels.max(1) as f64,
            auxiliary_scale: auxiliary_weight / auxiliary_labels.max(1) as f64,
            mmi: self.mmi.as_ref(),
            mmi_scale,
            mmi_other_scale: mmi_scale * recipe.loss.mmi.as_ref().map_or(0.0, |mmi| mmi.other_weight),
            consistency_scale: recipe.loss.consistency_weight / labels.max(1) as f64,
            dropout: recipe.network.dropout,
            variational_dropout: recipe.network.variational_dropout,
            seed: derive_seed(seed, thread as u64),
        };
        let tasks = workers.iter_mut().zip(shares).enumerate();
        let stats = in_threads(tasks, |(thread, (worker, share))| worker.run(&update(thread), share, width))?;
        let mut total = BatchStats::default();
        stats.iter().for_each(|s| total.add(s));
        Ok(total)
    }

    /// The error of a run that diverged. A checkpoint with the weights that caused it is discarded, so that
    /// the remaining one is good.
    fn diverged(&self, problem: &str) -> Error {
        let out = &self.session.options.out;
        let left = match checkpoint::last(out) {
            Ok(last) if last.header.step == self.step => checkpoint::take_back(out).unwrap_or(None),
            Ok(last) => Some(last.header.step),
            Err(_) => None,
        };
        let hint = match left {
            Some(step) => format!(
                "the checkpoint of update {step} is good: lower optimizer.learning_rate and resume, accepting the change"
            ),
            None => "lower optimizer.learning_rate and start a new run".into(),
        };
        Error::new(Stage::Train, problem).hint(hint)
    }

    fn weights_diverged(&self) -> Error {
        let layers = self.not_finite("weights", &self.parameters);
        self.diverged(&format!("the weights after {} updates are not finite; {layers}", self.step))
    }

    fn log_window(&self, window: Window, record: &mut Record<'_>, report: Report<'_>) -> Result<()> {
        let (recipe, stats) = (self.session.recipe, &window.stats);
        let step = Step {
            step: self.step,
            steps: recipe.schedule.steps,
            loss: stats.loss / stats.labels.max(1) as f64,
            auxiliary_loss: (self.auxiliary_tokens > 0)
                .then(|| stats.auxiliary_loss / stats.auxiliary_labels.max(1) as f64),
            mmi_loss: self.mmi.as_ref().map(|_| stats.mmi_loss / stats.mmi_utterances.max(1) as f64),
            consistency_loss: (recipe.loss.consistency_weight > 0.0)
                .then(|| stats.consistency_loss / stats.labels.max(1) as f64),
            gradient_norm: window.norms / (self.step - window.first).max(1) as f64,
            learning_rate: learning_rate(self.step - 1, &recipe.optimizer, &recipe.schedule),
            blank_share: stats.blanks as f64 / stats.steps.max(1) as f64,
            utterances_per_second: stats.utterances as f64 / window.begin.elapsed().as_secs_f64(),
            layers: window.layers,
        };
        record.write(Line::step(&step, stats.impossible), report)?;
        report(Progress::Step(step));
        Ok(())
    }

    fn evaluate(&mut self, dev: &[DevSet], record: &mut Record<'_>, report: Report<'_>) -> Result<()> {
        if !self.adam.average.iter().flatten().all(|weight| weight.is_finite()) {
            return Err(self.weights_diverged());
        }
        let weights = self.weights(&self.adam.average, false)?;
        let Session { recipe, tokens, decoder, threads, .. } = &self.session;
        let mut sets: Vec<DevScore> = Vec::with_capacity(dev.len());
        for (i, set) in dev.iter().enumerate() {
            report(Progress::Scoring(i, dev.len()));
            sets.push(set.score(&weights, recipe, tokens, decoder, *threads)?);
        }
        if recipe.run.keep_models {
            self.write_model(&format!("at-{:06}.onnx", self.step))?;
        }
        let scores = total_scores(self.step, sets, self.best);
        if scores.best {
            self.best = Some((scores.total, self.step));
            self.best_outputs_nothing = scores.outputs_nothing;
            self.write_model("best.onnx")?;
        }
        record.write(Line::scores(&scores), report)?;
        report(Progress::Scores(scores));
        Ok(())
    }

    fn write_model(&self, name: &str) -> Result<()> {
        let Session { recipe, options, tokens, decoder, .. } = &self.session;
        let metadata = Metadata {
            features: recipe.features.clone(),
            tokens: tokens.clone(),
            decoder: decoder.clone(),
            license: recipe.data.license.clone(),
            trained_on: recipe.data.trained_on.clone(),
            recipe: self.text.clone(),
            created_by: format!("hearken {}", env!("CARGO_PKG_VERSION")),
            other: Vec::new(),
        };
        let network = self.network_with(&self.adam.average).without_auxiliary();
        onnx::write_file(&options.out.join(name), &network, &metadata)
    }
}

/// The layer that a parameter belongs to, counted from 1 as in other messages.
fn layer_name(parameter: &str) -> String {
    let mut parts = parameter.split('.');
    match (parts.next().unwrap_or_default(), parts.next().map(str::parse::<usize>)) {
        ("layers", Some(Ok(number))) => format!("layer {}", number + 1),
        ("input_norm", _) => "input".into(),
        (first, _) => first.into(),
    }
}

/// Builds the examples of a batch, in one share for each thread.
fn build_shares(specs: &[ExampleSpec], builders: &mut [ExampleBuilder<'_>]) -> Result<Vec<Vec<Example>>> {
    let threads = builders.len();
    // Assign examples round-robin: the batch is sorted by length, so each thread gets a similar amount of
    // work.
    let share = |thread: usize| specs.iter().skip(thread).step_by(threads).cloned().collect::<Vec<_>>();
    in_threads(builders.iter_mut().enumerate(), |(thread, builder)| worker::build(builder, &share(thread)))
}

/// Sums the scores of the sets and determines whether the sum is the best so far. Of equal scores the later
/// one is better, because it has been trained for longer. If nothing is scored, the latest is the best.
fn total_scores(step: u64, sets: Vec<DevScore>, before: Option<Best>) -> Scores {
    let weighted: Vec<f64> = sets.iter().filter_map(|set| set.weighted).collect();
    let total = (!weighted.is_empty()).then(|| weighted.iter().sum::<f64>());
    let best = match (total, before) {
        (Some(total), Some((Some(best), _))) => total <= best,
        _ => true,
    };
    let words = |count: fn(&DevScore) -> u64| sets.iter().map(count).sum::<u64>();
    let outputs_nothing =
        words(|set| set.score.words.reference) > 0 && words(|set| set.score.words.hypothesis()) == 0;
    Scores { step, sets, total, best, outputs_nothing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{Edits, Score};

    fn set(reference: u64, deletions: u64, weighted: Option<f64>) -> DevScore {
        let words = Edits { reference, deletions, ..Edits::default() };
        let score = Score { words, ..Score::default() };
        DevScore {
            manifest: "dev.jsonl".into(),
            score,
            false_words_per_hour: None,
            weighted,
            worst: Vec::new(),
        }
    }

    #[test]
    fn of_equal_scores_the_later_is_best_and_without_words_there_is_none() {
        let judged = |sets, before| total_scores(20, sets, before);
        assert!(judged(vec![set(4, 1, Some(0.25))], Some((Some(0.25), 10))).best);
        assert!(!judged(vec![set(4, 1, Some(0.25))], Some((Some(0.2), 10))).best);
        let unscored = judged(vec![set(0, 0, None)], Some((None, 10)));
        assert!(unscored.best && unscored.total.is_none() && !unscored.outputs_nothing);
        assert!(judged(vec![set(4, 4, Some(1.0)), set(0, 0, None)], None).outputs_nothing);
        assert!(!judged(vec![set(4, 3, Some(0.75))], None).outputs_nothing);
    }
}
