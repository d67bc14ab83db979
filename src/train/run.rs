//! A training run: updates, dev scores, checkpoints, models.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::adaptive::Adaptive;
use super::augment::Augmenter;
use super::checkpoint::{self, Best, Checkpoint, Header};
use super::dataset::Dataset;
use super::example::{Example, ExampleBuilder};
use super::folder::ExistingRun;
use super::layers::{frozen, frozen_from_below, norms, not_finite};
use super::load::Loaded;
use super::log::Line;
use super::loss::mmi::Mmi;
use super::optimizer::{AdamStep, AdamW, constrain, learning_rate};
use super::prepare::{lattice_free, statistics};
use super::progress::{Ended, LayerNorms, Progress, Report, Start, Step};
use super::recipe::{Denominator, Recipe};
use super::record::{Files, Record};
use super::report::{Context, Status};
use super::sampler::{ExampleSpec, Sampler, derive_seed};
use super::threads::{add_gradients, in_threads};
use super::warm_start::WarmStart;
use super::worker::{self, BatchStats, Update, Worker};
use crate::decode::DecoderOptions;
use crate::error::{Error, Result, Stage};
use crate::model::network::initialize;
use crate::model::{Network, PackedWeights};
use crate::text::TokenTable;
use crate::units::counted;

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
    pub session: Session<'a>,
    /// The recipe as TOML, for checkpoints and models.
    pub text: String,
    auxiliary_tokens: usize,
    mmi: Option<Mmi<f32>>,
    pub network: Network<f32>,
    pub parameters: Vec<Vec<f32>>,
    decays: Vec<bool>,
    /// Number of layers from below without gradients, because none of them is trained.
    frozen_from_below: usize,
    pub adam: AdamW,
    pub best: Option<Best>,
    /// Whether the best model outputs no words.
    pub best_outputs_nothing: bool,
    pub adaptive: Adaptive,
    pub step: u64,
    /// The number of updates at the last checkpoint of this session.
    saved: Option<u64>,
    /// The number of updates at the last checkpoint in the folder.
    on_disk: Option<u64>,
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

/// What comes of an update.
enum Outcome {
    Updated(Updated),
    /// A sentence about what is not finite; nothing was changed.
    Diverged(String),
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
            let copied = start.copy_to(&mut network, &mut parameters, &session.tokens);
            copied.map_err(|e| e.in_file(session.options.from.as_deref().unwrap_or(Path::new(""))))?;
        }
        let frozen_layers = recipe.frozen_layers()?;
        let mut adam = AdamW::new(&parameters);
        adam.freeze(&parameters, &frozen(&network.parameters, frozen_layers));
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
            frozen_from_below: frozen_from_below(frozen_layers),
            adam,
            best: None,
            best_outputs_nothing: false,
            adaptive: Adaptive::default(),
            step: 0,
            saved: None,
            on_disk: None,
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

    /// Takes over the state of a checkpoint.
    ///
    /// # Errors
    /// When it is of another network.
    pub fn resume(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let same = checkpoint.parameters.len() == self.parameters.len()
            && checkpoint.parameters.iter().zip(&self.parameters).all(|(a, b)| a.len() == b.len());
        if !same || checkpoint.mean.len() != self.network.mean.len() {
            return Err(Error::new(Stage::Train, "the checkpoint is of another network")
                .in_file(self.session.options.out.join(checkpoint::NAMES[0]))
                .hint("start a new run, or use the recipe of the checkpoint"));
        }
        self.step = checkpoint.header.step;
        (self.saved, self.on_disk) = (None, Some(self.step));
        self.best = checkpoint.header.best;
        self.adaptive = checkpoint.header.adaptive;
        self.parameters = checkpoint.parameters;
        self.adam = checkpoint.adam;
        // The recipe may have changed.
        let frozen = frozen(&self.network.parameters, self.session.recipe.frozen_layers()?);
        self.adam.freeze(&self.parameters, &frozen);
        (self.network.mean, self.network.scale) = (checkpoint.mean, checkpoint.scale);
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        if self.saved == Some(self.step) {
            return Ok(());
        }
        let mut header = Header::new(self.step, self.text.clone(), self.session.threads, self.best);
        header.adaptive = self.adaptive.clone();
        let Network { mean, scale, .. } = &self.network;
        let checkpoint = Checkpoint::new(header, &self.parameters, &self.adam, mean, scale);
        if let Some(problem) = self.weights_problem() {
            return Err(self.diverged(&problem));
        }
        // One that was saved because the run was stopped is replaced, so that a run that diverges later goes back to the
        // same checkpoint as without the stop.
        let interval = self.session.recipe.run.checkpoint_interval;
        let keeps_last = self.on_disk.is_some_and(|step| step != self.step && step.is_multiple_of(interval));
        checkpoint::save(&self.session.options.out, &checkpoint, keeps_last)?;
        (self.saved, self.on_disk) = (Some(self.step), Some(self.step));
        Ok(())
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
        let mut builders = (0..threads)
            .map(|_| ExampleBuilder::new(recipe, &loaded.dataset, augmenter, &self.network.mean))
            .collect::<Result<Vec<_>>>()?;
        let lengths: Vec<usize> = self.parameters.iter().map(Vec::len).collect();
        let worker = |_| Worker::new(&lengths).with_segments(recipe.segment_steps());
        let mut workers: Vec<Worker<f32>> = (0..threads).map(worker).collect();
        let last = options.stop_after.unwrap_or(u64::MAX).min(recipe.schedule.steps);
        let mut window = Window::from(self.step);
        if self.on_disk.is_none() {
            // To go back to, should the run diverge before the next one.
            self.save()?;
        }
        while self.step < last && !self.adaptive.is_over(&recipe.schedule) && !stop.load(Ordering::Relaxed) {
            match self.update(sampler, &mut builders, &mut workers)? {
                Outcome::Updated(updated) => window.add(updated),
                Outcome::Diverged(problem) => {
                    self.back_off(&problem, record, report)?;
                    window = Window::from(self.step);
                    continue;
                }
            }
            self.step += 1;
            report(Progress::Updated(self.step, recipe.schedule.steps));
            if self.step.is_multiple_of(recipe.run.log_interval) {
                self.log_window(window, record, report)?;
                window = Window::from(self.step);
            }
            let evaluates =
                self.step.is_multiple_of(recipe.run.eval_interval) || self.step == recipe.schedule.steps;
            let saves = self.step.is_multiple_of(recipe.run.checkpoint_interval);
            if (evaluates || saves)
                && let Some(problem) = self.weights_problem()
            {
                self.back_off(&problem, record, report)?;
                window = Window::from(self.step);
                continue;
            }
            if evaluates {
                self.evaluate(&loaded.dev, record, report)?;
            }
            if saves {
                self.save()?;
            }
        }
        // Also after a stop, so that nothing is lost and the run can be resumed.
        self.save()?;
        self.write_last()?;
        let ended_early = self.step < recipe.schedule.steps && self.adaptive.is_over(&recipe.schedule);
        if ended_early || self.step == recipe.schedule.steps {
            self.average_best(&loaded.dev, record, report)?;
        }
        Ok(Ended {
            step: self.step,
            best: self.best,
            outputs_nothing: self.best_outputs_nothing,
            stopped: self.step < last && !ended_early,
            ended_early,
        })
    }

    /// Runs one update: builds the examples, computes the gradients in threads, and adds them in order.
    fn update(
        &mut self,
        sampler: &Sampler<'_>,
        builders: &mut [ExampleBuilder<'_>],
        workers: &mut [Worker<f32>],
    ) -> Result<Outcome> {
        let specs = sampler.batch(self.step);
        let stats = self.run_shares(build_shares(&specs, builders)?, workers)?;
        let gradients = add_gradients(workers.iter_mut().map(|worker| &mut worker.gradients));
        let recipe = self.session.recipe;
        let rate = self.learning_rate(self.step);
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
        let is_finite = stats.is_finite();
        let norm =
            if is_finite { self.adam.update(&step, &mut self.parameters, gradients) } else { f64::NAN };
        if !norm.is_finite() {
            let layers = not_finite(&self.network.parameters, "gradients", gradients);
            let recordings = self.recordings_problem(&specs, builders, workers)?;
            let what = if is_finite { "gradient" } else { "loss" };
            let problem = format!("the {what} of update {} is not finite; {layers}; {recordings}", self.step);
            return Ok(Outcome::Diverged(problem));
        }
        let trained: Vec<usize> = (0..self.parameters.len()).filter(|&i| !self.adam.is_frozen(i)).collect();
        let (named, own) = (&self.network.parameters, self.parameters.iter_mut().enumerate());
        let own = own.filter(|(i, _)| trained.contains(i)).map(|(_, parameter)| parameter);
        constrain(trained.iter().map(|&i| &named[i]), own, self.step);
        let layers = before.map_or(Vec::new(), |before| {
            norms(&self.network.parameters, gradients, &before, &self.parameters)
        });
        Ok(Outcome::Updated(Updated { stats, norm, layers }))
    }

    /// The learning rate of update `step`.
    fn learning_rate(&self, step: u64) -> f64 {
        let recipe = self.session.recipe;
        learning_rate(step, &recipe.optimizer, &recipe.schedule) * self.adaptive.rate_factor(recipe)
    }

    /// Runs each share of the batch forward and backward in its own thread, and adds up the statistics.
    pub fn run_shares(&self, shares: Vec<Vec<Example>>, workers: &mut [Worker<f32>]) -> Result<BatchStats> {
        let all = || shares.iter().flatten();
        let labels: usize = all().filter_map(|e| e.labels.as_ref()).map(Vec::len).sum();
        let auxiliary_labels: usize = all().filter_map(|e| e.auxiliary.as_ref()).map(Vec::len).sum();
        let weights = PackedWeights::for_training(
            &self.network,
            &self.parameters,
            self.session.recipe.run.precision,
            self.session.threads,
        );
        let mut weights = weights.ok_or_else(incomplete)?;
        weights.freeze_from_below(self.frozen_from_below);
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
            learning_rate: self.learning_rate(self.step - 1),
            blank_share: stats.blanks as f64 / stats.steps.max(1) as f64,
            utterances_per_second: stats.utterances as f64 / window.begin.elapsed().as_secs_f64(),
            layers: window.layers,
        };
        record.write(Line::step(&step, stats.impossible), report)?;
        report(Progress::Step(step));
        if stats.unaligned > 0 {
            let count = counted(stats.unaligned, "example");
            report(Progress::Note(format!(
                "update {}: {count} taught nothing since update {}: too long to be aligned with their transcripts by this \
                 network; start from a model that was trained on shorter recordings",
                self.step, window.first,
            )));
        }
        Ok(())
    }
}

pub(super) fn incomplete() -> Error {
    Error::new(Stage::Train, "the network lacks a parameter")
}

/// Builds the examples of a batch, in one share for each thread.
fn build_shares(specs: &[ExampleSpec], builders: &mut [ExampleBuilder<'_>]) -> Result<Vec<Vec<Example>>> {
    let threads = builders.len();
    // Assign examples round-robin: the batch is sorted by length, so each thread gets a similar amount of
    // work.
    let share = |thread: usize| specs.iter().skip(thread).step_by(threads).cloned().collect::<Vec<_>>();
    in_threads(builders.iter_mut().enumerate(), |(thread, builder)| worker::build(builder, &share(thread)))
}
