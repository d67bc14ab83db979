//! The loop: batches, updates, dev scores, checkpoints, the best model.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;

use super::augment::{Augmenter, Materials};
use super::checkpoint::{self, Best, Checkpoint, Header};
use super::dataset::Dataset;
use super::example::{Example, Maker};
use super::folder::{Earlier, LEFT_OUT, LOG, RunFolder};
use super::load::{Loaded, Loading};
use super::loss::mmi::Mmi;
use super::loss::phone_ngram;
use super::optimizer::{AdamW, learning_rate};
use super::progress::{Ended, Progress, Scores, Start, Step};
use super::recipe::{Denominator, MmiTable, Recipe, differences};
use super::sampler::{Plan, Sampler, mix};
use super::score::{DevScore, DevSet};
use super::take_over::take_over;
use super::threads::in_threads;
use super::worker::{self, Sums, Update, Worker};
use crate::decode::DecoderOptions;
use crate::error::{Error, Result, Stage, io};
use crate::model::network::initialise;
use crate::model::{Network, Weights};
use crate::onnx::{self, Metadata};
use crate::text::TokenTable;
use crate::text::pronunciation::Pronunciations;

/// Where and how a run goes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder that the recipe's manifests are relative to.
    pub data: PathBuf,
    /// The run's folder: log, checkpoints, models.
    pub out: PathBuf,
    /// Threads that share each batch; `None` for one a core, or as many as the checkpoint was made with.
    pub threads: Option<usize>,
    /// What becomes of an earlier run in `out`.
    pub earlier: Earlier,
    /// Go on though the recipe or the number of threads is not that of the checkpoint.
    pub accept_changes: bool,
    /// Start from the weights of this model; the recipe may have more layers on top.
    pub from: Option<PathBuf>,
    /// End after this update, to go on later.
    pub stop_after: Option<u64>,
}

impl Options {
    /// A run of its own, from random weights, on every core.
    pub fn new(data: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            out: out.into(),
            threads: None,
            earlier: Earlier::default(),
            accept_changes: false,
            from: None,
            stop_after: None,
        }
    }
}

/// Takes what a run reports.
type Report<'r> = &'r mut dyn FnMut(Progress);

/// Trains by a recipe, which travels in the model with all its defaults filled in, and reports to
/// `report`. When `stop` is set from elsewhere, the run ends after the update under way with a
/// checkpoint.
///
/// # Errors
/// Bad data, with file and line; a folder that cannot be written or holds another run; a loss that is
/// not a number.
pub fn train(recipe: &Recipe, options: &Options, stop: &AtomicBool, report: Report<'_>) -> Result<Ended> {
    let mut folder = RunFolder::open(&options.out, options.earlier)?;
    let checkpoint = match options.earlier {
        Earlier::Resume => Some(checkpoint::last(&options.out)?),
        _ => None,
    };
    let threads = threads(options, checkpoint.as_ref());
    if let Some(checkpoint) = &checkpoint {
        compare(&checkpoint.header, recipe, threads, options, report)?;
    }
    let dictionary = match recipe.data.pronunciations.as_str() {
        "" => None,
        name => Some(Pronunciations::read(&Recipe::manifest(&options.data, name))?),
    };
    let decoder = DecoderOptions { lexicon: recipe.lexicon(dictionary.as_ref())?, ..recipe.decoder.clone() };
    let Some(loaded) = load(recipe, options, dictionary.as_ref(), threads, stop, report)? else {
        return Ok(Ended { step: 0, best: None, writes_nothing: false, stopped: true });
    };
    let sampler = Sampler::new(recipe, &loaded.dataset);
    if sampler.is_empty() {
        return Err(Error::new(Stage::Train, "the recipe's data holds nothing to learn from").at("data"));
    }
    let augmenter = Augmenter::new(&recipe.augment, &materials(recipe, &loaded.dataset))?;
    let session = Session { recipe, options, threads, stop, tokens: recipe.tokens()?, decoder };
    let mut run = Run::start(session, checkpoint, &loaded.dataset, &sampler, &augmenter)?;
    folder.begin(options.earlier)?;
    write_left_out(&options.out, &loaded.findings.left_out)?;
    report(Progress::Started(Start {
        parameters: run.network.num_parameters(),
        recordings: loaded.recordings,
        hours: loaded.seconds / 3600.0,
        step: run.step,
        steps: recipe.schedule.steps,
    }));
    run.go(&loaded, &sampler, &augmenter, report)
}

/// The threads asked for, else those of the checkpoint, else one a core.
fn threads(options: &Options, checkpoint: Option<&Checkpoint>) -> usize {
    let usual = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.or_else(|| checkpoint.map(|c| c.header.threads)).unwrap_or_else(usual);
    threads.max(1)
}

/// Settings that do not change what is learnt: a run that is over may be resumed with others, to write
/// its model anew.
fn is_of_the_model(key: &str) -> bool {
    key.starts_with("decoder.") || ["data.license", "data.trained_on"].contains(&key)
}

/// Compares a checkpoint with what is to go on from it: only the same recipe, seed and number of threads
/// lead to the weights that the uninterrupted run would have had.
fn compare(
    header: &Header,
    recipe: &Recipe,
    threads: usize,
    options: &Options,
    report: Report<'_>,
) -> Result<()> {
    let before =
        Recipe::parse(&header.recipe).map_err(|e| e.in_file(&options.out).at("the checkpoint's recipe"))?;
    let over = header.step >= recipe.schedule.steps;
    let mut changes: Vec<String> = differences(&before, recipe)?
        .into_iter()
        .filter(|difference| !(over && is_of_the_model(&difference.key)))
        .map(|d| format!("`{}` was {} and is {}", d.key, d.before, d.now))
        .collect();
    if header.threads != threads {
        changes.push(format!("the number of threads was {} and is {threads}", header.threads));
    }
    let Some(first) = changes.first() else { return Ok(()) };
    if options.accept_changes {
        changes
            .into_iter()
            .for_each(|change| report(Progress::Note(format!("since the checkpoint, {change}"))));
        return Ok(());
    }
    let more = match changes.len() - 1 {
        0 => String::new(),
        more => format!(" ({more} more differ)"),
    };
    Err(Error::new(Stage::Train, format!("the checkpoint is of another run: {first}{more}"))
        .in_file(options.out.join(checkpoint::NAMES[0]))
        .hint("resume with what it was made with, or accept the changes"))
}

/// Reads the data, and reports what is wrong with it.
fn load(
    recipe: &Recipe,
    options: &Options,
    dictionary: Option<&Pronunciations>,
    threads: usize,
    stop: &AtomicBool,
    report: Report<'_>,
) -> Result<Option<Loaded>> {
    let (sender, receiver) = crossbeam_channel::bounded::<(usize, usize)>(1024);
    let loaded = std::thread::scope(|scope| {
        let loading = scope.spawn(move || {
            let progress = |done, all| {
                // The bar may skip a step when nobody has taken the one before.
                let _ = sender.try_send((done, all));
            };
            Loading { recipe, data: &options.data, dictionary, threads, progress: &progress, stop }.run()
        });
        for (done, all) in receiver {
            report(Progress::Loading(done, all));
        }
        loading.join().unwrap_or_else(|_| Err(Error::new(Stage::Train, "reading the data failed")))
    })?;
    let Some(mut loaded) = loaded else { return Ok(None) };
    loaded.findings.left_out.iter().for_each(|line| report(Progress::LeftOut(line.clone())));
    loaded.findings.notes.iter().for_each(|note| report(Progress::Note(note.clone())));
    match loaded.too_many.take() {
        Some(error) => Err(error),
        None => Ok(Some(loaded)),
    }
}

fn write_left_out(folder: &Path, left_out: &[String]) -> Result<()> {
    if left_out.is_empty() {
        return Ok(());
    }
    let path = folder.join(LEFT_OUT);
    let lines: String = left_out.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    std::fs::write(&path, lines).map_err(|e| io(Stage::Train, &path, e))
}

/// What augmentation works with; babble is mixed from some 200 of the recordings.
fn materials(recipe: &Recipe, dataset: &Dataset) -> Materials {
    let voices = dataset.clips.iter().step_by(1 + dataset.clips.len() / 200).map(|c| c.to_f32()).collect();
    Materials {
        sample_rate: dataset.sample_rate,
        noises: dataset.noises.clone(),
        voices: Arc::new(voices),
        seed: recipe.run.seed,
    }
}

/// What does not change while a run goes on.
struct Session<'a> {
    recipe: &'a Recipe,
    options: &'a Options,
    threads: usize,
    stop: &'a AtomicBool,
    tokens: TokenTable,
    /// As the recipe says, with the lexicon.
    decoder: DecoderOptions,
}

struct Run<'a> {
    session: Session<'a>,
    /// The recipe as TOML, as it stands in checkpoints and models.
    text: String,
    auxiliary_tokens: usize,
    mmi: Option<Mmi<f32>>,
    network: Network<f32>,
    parameters: Vec<Vec<f32>>,
    decays: Vec<bool>,
    adam: AdamW,
    best: Option<Best>,
    /// The best model writes nothing.
    best_writes_nothing: bool,
    step: u64,
    /// The update of the last checkpoint of this session.
    saved: Option<u64>,
}

/// Sums of a span of updates, for a line of the log.
struct Window {
    sums: Sums,
    norms: f64,
    begin: Instant,
    first: u64,
}

impl Window {
    fn from(step: u64) -> Self {
        Self { sums: Sums::default(), norms: 0.0, begin: Instant::now(), first: step }
    }
}

impl<'a> Run<'a> {
    fn start(
        session: Session<'a>,
        checkpoint: Option<Checkpoint>,
        dataset: &Dataset,
        sampler: &Sampler<'_>,
        augmenter: &Augmenter,
    ) -> Result<Self> {
        let recipe = session.recipe;
        let mut network = initialise::<f32>(&recipe.network_config()?, recipe.run.seed);
        let auxiliary_tokens = recipe.auxiliary_tokens()?.map_or(0, |t| t.len());
        let mut parameters: Vec<Vec<f32>> = network.parameters.iter().map(|p| p.data.clone()).collect();
        let decays: Vec<bool> = network.parameters.iter().map(|p| p.shape.len() >= 2).collect();
        if let Some(from) = &session.options.from {
            take_over(from, &mut network, &mut parameters)?;
        }
        let adam = AdamW::new(&parameters);
        let mmi = recipe.loss.mmi.as_ref().and_then(|table| match table.denominator {
            Denominator::Words => Mmi::of_words(&session.tokens, &session.decoder),
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
            best_writes_nothing: false,
            step: 0,
            saved: None,
        };
        match checkpoint {
            Some(checkpoint) => run.resume(checkpoint)?,
            None if run.session.options.from.is_none() => {
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
                .hint("start anew, or give the recipe that it was made with"));
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
            return Err(self.no_weights());
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

    fn weights(&self, parameters: &[Vec<f32>], training: bool) -> Result<Weights<f32>> {
        Weights::new(&self.network_with(parameters), training)
            .ok_or_else(|| Error::new(Stage::Train, "the network lacks a parameter"))
    }

    fn go(
        &mut self,
        loaded: &Loaded,
        sampler: &Sampler<'_>,
        augmenter: &Augmenter,
        report: Report<'_>,
    ) -> Result<Ended> {
        let Session { recipe, options, threads, stop, .. } = self.session;
        let lengths: Vec<usize> = self.parameters.iter().map(Vec::len).collect();
        let mut makers = (0..threads)
            .map(|_| Maker::new(recipe, &loaded.dataset, augmenter, &self.network.mean))
            .collect::<Result<Vec<_>>>()?;
        let mut workers: Vec<Worker<f32>> = (0..threads).map(|_| Worker::new(&lengths)).collect();
        let mut log = Log::open(&options.out.join(LOG), options.earlier == Earlier::Resume)?;
        let last = options.stop_after.unwrap_or(u64::MAX).min(recipe.schedule.steps);
        let mut window = Window::from(self.step);
        while self.step < last && !stop.load(Ordering::Relaxed) {
            let (sums, norm) = self.update(sampler, &mut makers, &mut workers)?;
            window.sums.add(&sums);
            window.norms += norm;
            self.step += 1;
            report(Progress::Updated(self.step, recipe.schedule.steps));
            if self.step.is_multiple_of(recipe.run.log_interval) {
                self.log_window(&window, &mut log, report)?;
                window = Window::from(self.step);
            }
            if self.step.is_multiple_of(recipe.run.eval_interval) || self.step == recipe.schedule.steps {
                self.evaluate(&loaded.dev, &mut log, report)?;
            }
            if self.step.is_multiple_of(recipe.run.checkpoint_interval) {
                self.save()?;
            }
        }
        self.save()?;
        self.write_model("last.onnx")?;
        let stopped = self.step < last;
        let ended =
            Ended { step: self.step, best: self.best, writes_nothing: self.best_writes_nothing, stopped };
        report(Progress::Done(ended.clone()));
        Ok(ended)
    }

    /// One update: shares of the batch on the threads, gradients added in their order.
    fn update(
        &mut self,
        sampler: &Sampler<'_>,
        makers: &mut [Maker<'_>],
        workers: &mut [Worker<f32>],
    ) -> Result<(Sums, f64)> {
        let shares = make_shares(&sampler.batch(self.step), makers)?;
        let sums = self.run_shares(shares, workers)?;
        let gradients = add_gradients(workers);
        if ![sums.loss, sums.auxiliary_loss, sums.mmi_loss].iter().all(|loss| loss.is_finite()) {
            return Err(self.exploded(&format!("the loss of update {} is not a number", self.step)));
        }
        let recipe = self.session.recipe;
        let rate = learning_rate(self.step, &recipe.optimizer, &recipe.schedule);
        let norm = self.adam.update(
            self.step,
            rate,
            &recipe.optimizer,
            &mut self.parameters,
            gradients,
            &self.decays,
        );
        match norm.is_finite() {
            true => Ok((sums, norm)),
            false => Err(self.exploded(&format!("the gradient of update {} is not a number", self.step))),
        }
    }

    /// Runs each share forward and back in a thread of its own, and adds up their sums.
    fn run_shares(&self, shares: Vec<Vec<Example>>, workers: &mut [Worker<f32>]) -> Result<Sums> {
        let all = || shares.iter().flatten();
        let labels: usize = all().filter_map(|e| e.labels.as_ref()).map(Vec::len).sum();
        let auxiliary_labels: usize = all().filter_map(|e| e.auxiliary.as_ref()).map(Vec::len).sum();
        let weights = self.weights(&self.parameters, true)?;
        let (recipe, tokens) = (self.session.recipe, &self.session.tokens);
        let width = recipe.network.subsampling * recipe.features.num_mel_bins;
        let auxiliary_weight = recipe.auxiliary.as_ref().map_or(0.0, |a| a.weight);
        let mmi_scale = recipe.loss.mmi.as_ref().map_or(0.0, |mmi| mmi.weight) / labels.max(1) as f64;
        let seed = mix(recipe.run.seed ^ 0x5eed, self.step);
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
            seed: mix(seed, thread as u64),
        };
        let tasks = workers.iter_mut().zip(shares).enumerate();
        let sums = in_threads(tasks, |(thread, (worker, share))| worker.run(&update(thread), share, width))?;
        let mut total = Sums::default();
        sums.iter().for_each(|s| total.add(s));
        Ok(total)
    }

    /// The error of a run whose numbers are none any more. A checkpoint of the very weights that led to it is taken
    /// back, so that the one that is left is good.
    fn exploded(&self, problem: &str) -> Error {
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
            None => "lower optimizer.learning_rate and start anew".into(),
        };
        Error::new(Stage::Train, problem).hint(hint)
    }

    fn no_weights(&self) -> Error {
        self.exploded(&format!("the weights after {} updates are not numbers", self.step))
    }

    fn log_window(&self, window: &Window, log: &mut Log, report: Report<'_>) -> Result<()> {
        let (recipe, sums) = (self.session.recipe, &window.sums);
        let step = Step {
            step: self.step,
            steps: recipe.schedule.steps,
            loss: sums.loss / sums.labels.max(1) as f64,
            auxiliary_loss: (self.auxiliary_tokens > 0)
                .then(|| sums.auxiliary_loss / sums.auxiliary_labels.max(1) as f64),
            mmi_loss: self.mmi.as_ref().map(|_| sums.mmi_loss / sums.mmi_utterances.max(1) as f64),
            consistency_loss: (recipe.loss.consistency_weight > 0.0)
                .then(|| sums.consistency_loss / sums.labels.max(1) as f64),
            gradient_norm: window.norms / (self.step - window.first).max(1) as f64,
            learning_rate: learning_rate(self.step - 1, &recipe.optimizer, &recipe.schedule),
            blank_share: sums.blanks as f64 / sums.steps.max(1) as f64,
            utterances_per_second: sums.utterances as f64 / window.begin.elapsed().as_secs_f64(),
        };
        log.write(&json!({
            "step": step.step, "loss": step.loss, "auxiliary_loss": step.auxiliary_loss,
            "mmi_loss": step.mmi_loss, "consistency_loss": step.consistency_loss, "gradient_norm": step.gradient_norm,
            "learning_rate": step.learning_rate, "blank_share": step.blank_share,
            "impossible": sums.impossible, "utterances_per_second": step.utterances_per_second,
        }))?;
        report(Progress::Step(step));
        Ok(())
    }

    fn evaluate(&mut self, dev: &[DevSet], log: &mut Log, report: Report<'_>) -> Result<()> {
        if !self.adam.average.iter().flatten().all(|weight| weight.is_finite()) {
            return Err(self.no_weights());
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
        let scores = judge(self.step, sets, self.best);
        if scores.best {
            self.best = Some((scores.total, self.step));
            self.best_writes_nothing = scores.writes_nothing;
            self.write_model("best.onnx")?;
        }
        log.write(&scores_line(&scores))?;
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

/// Makes the examples of a batch: a share for each thread.
fn make_shares(plans: &[Plan], makers: &mut [Maker<'_>]) -> Result<Vec<Vec<Example>>> {
    let threads = makers.len();
    // Assigned in turn: the batch is sorted by length, so each thread gets about as much work.
    let share = |thread: usize| plans.iter().skip(thread).step_by(threads).cloned().collect::<Vec<_>>();
    in_threads(makers.iter_mut().enumerate(), |(thread, maker)| worker::make(maker, &share(thread)))
}

/// The gradients of all threads, added up in their order.
fn add_gradients(workers: &mut [Worker<f32>]) -> &[Vec<f32>] {
    let (first, rest) = workers.split_at_mut(1);
    for worker in rest {
        for (sum, own) in first[0].gradients.iter_mut().zip(&worker.gradients) {
            sum.iter_mut().zip(own).for_each(|(s, &g)| *s += g);
        }
    }
    &first[0].gradients
}

/// The sum of the sets' scores, and whether it is the best so far. The later of two equals is better:
/// it has learnt for longer. Where nothing is scored, the latest is the best.
fn judge(step: u64, sets: Vec<DevScore>, before: Option<Best>) -> Scores {
    let weighted: Vec<f64> = sets.iter().filter_map(|set| set.weighted).collect();
    let total = (!weighted.is_empty()).then(|| weighted.iter().sum::<f64>());
    let best = match (total, before) {
        (Some(total), Some((Some(best), _))) => total <= best,
        _ => true,
    };
    let words = |count: fn(&DevScore) -> u64| sets.iter().map(count).sum::<u64>();
    let writes_nothing =
        words(|set| set.score.words.reference) > 0 && words(|set| set.score.words.hypothesis()) == 0;
    Scores { step, sets, total, best, writes_nothing }
}

fn scores_line(scores: &Scores) -> serde_json::Value {
    let set = |s: &DevScore| {
        json!({ "manifest": s.manifest, "wer": s.score.wer(), "cer": s.score.cer(),
            "deletions": s.score.words.deletions, "insertions": s.score.words.insertions,
            "substitutions": s.score.words.substitutions, "words": s.score.words.reference,
            "false_words_per_hour": s.false_words_per_hour })
    };
    let sets: Vec<_> = scores.sets.iter().map(set).collect();
    json!({ "step": scores.step, "dev": sets, "score": scores.total, "best": scores.best,
        "writes_nothing": scores.writes_nothing })
}

/// Lattice-free MMI, its n-gram counted on the transcripts as often as they are drawn.
fn lattice_free(table: &MmiTable, dataset: &Dataset, silence_weight: f64, tokens: &TokenTable) -> Mmi<f32> {
    let sources = dataset.recordings.iter().flat_map(|source| {
        let weight = source.weight / source.clips.len().max(1) as f64;
        source.clips.iter().filter_map(move |&clip| Some((dataset.clips[clip].labels.as_deref()?, weight)))
    });
    let total = dataset.recordings.iter().map(|source| source.weight).sum::<f64>() + silence_weight;
    let scale = dataset.clips.len() as f64 / total.max(f64::MIN_POSITIVE);
    let sequences =
        sources.chain([(&[][..], silence_weight)]).map(|(labels, weight)| (labels, weight * scale));
    let options = phone_ngram::Options { order: table.order, most_states: table.states };
    let acceptor = phone_ngram::estimate(sequences, tokens.len() - 1, options);
    Mmi::of_phones(acceptor, tokens.len(), tokens.blank(), table.leak)
}

/// Mean and inverse deviation of each feature over some hundred examples of the recipe.
fn statistics(
    recipe: &Recipe,
    dataset: &Dataset,
    sampler: &Sampler<'_>,
    augmenter: &Augmenter,
) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut maker = Maker::new(recipe, dataset, augmenter, &[])?;
    let bins = recipe.features.num_mel_bins;
    let (mut sum, mut squares, mut count) = (vec![0.0f64; bins], vec![0.0f64; bins], 0.0f64);
    // Batches of late updates, when strings are long, from which nothing else is drawn.
    for i in 0..(600 / recipe.run.batch_size).max(4) as u64 {
        for plan in sampler.batch(u64::from(u32::MAX) + i) {
            let examples = maker.make(&plan);
            for frame in examples.iter().flat_map(|e| e.features.chunks_exact(bins)) {
                for ((sum, square), &x) in sum.iter_mut().zip(&mut squares).zip(frame) {
                    let x = f64::from(x);
                    *sum += x;
                    *square += x * x;
                }
                count += 1.0;
            }
        }
    }
    let mean: Vec<f32> = sum.iter().map(|s| (s / count) as f32).collect();
    let scale = squares.iter().zip(&sum).map(|(q, s)| {
        let variance = (q / count - (s / count) * (s / count)).max(1e-4);
        (1.0 / variance.sqrt()) as f32
    });
    Ok((mean, scale.collect()))
}

/// The run's log: a JSON object a line.
struct Log {
    file: std::fs::File,
    path: PathBuf,
}

impl Log {
    fn open(path: &Path, append: bool) -> Result<Self> {
        let mut options = std::fs::OpenOptions::new();
        options.create(true).write(true).append(append).truncate(!append);
        let file = options.open(path).map_err(|e| io(Stage::Train, path, e))?;
        Ok(Self { file, path: path.to_path_buf() })
    }

    fn write(&mut self, line: &serde_json::Value) -> Result<()> {
        writeln!(self.file, "{line}").map_err(|e| io(Stage::Train, &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{Edits, Score};

    fn set(reference: u64, deletions: u64, weighted: Option<f64>) -> DevScore {
        let words = Edits { reference, deletions, ..Edits::default() };
        let score = Score { words, ..Score::default() };
        DevScore { manifest: "dev.jsonl".into(), score, false_words_per_hour: None, weighted }
    }

    #[test]
    fn ties_go_to_the_later_model_and_no_words_are_no_score() {
        let judged = |sets, before| judge(20, sets, before);
        assert!(judged(vec![set(4, 1, Some(0.25))], Some((Some(0.25), 10))).best);
        assert!(!judged(vec![set(4, 1, Some(0.25))], Some((Some(0.2), 10))).best);
        let unscored = judged(vec![set(0, 0, None)], Some((None, 10)));
        assert!(unscored.best && unscored.total.is_none() && !unscored.writes_nothing);
        assert!(judged(vec![set(4, 4, Some(1.0)), set(0, 0, None)], None).writes_nothing);
        assert!(!judged(vec![set(4, 3, Some(0.75))], None).writes_nothing);
    }
}
