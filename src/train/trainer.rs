//! The loop: batches, updates, dev scores, checkpoints, the best model.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::checkpoint::Checkpoint;
use super::dataset::Dataset;
use super::example::{Example, Maker};
use super::loss::mmi::Mmi;
use super::loss::phone_ngram;
use super::optimizer::{AdamW, learning_rate};
use super::recipe::{Denominator, MmiTable, Recipe};
use super::sampler::{Plan, Sampler, mix};
use super::score::{DevScore, DevSet};
use super::take_over::take_over;
use super::worker::{self, Sums, Update, Worker};
use crate::audio::augment::Augmenter;
use crate::error::{Error, Result, Stage, io};
use crate::model::network::initialise;
use crate::model::{Network, Weights};
use crate::onnx::{self, DecoderOptions, Metadata};
use crate::text::TokenTable;
use crate::text::pronunciations::Pronunciations;

/// Where and how a run goes.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder that the recipe's manifests are relative to.
    pub data: PathBuf,
    /// The run's folder: log, checkpoint, models.
    pub out: PathBuf,
    pub threads: usize,
    /// Go on from the checkpoint in `out`.
    pub resume: bool,
    /// Start from the weights of this model; the recipe may have more layers on top.
    pub from: Option<PathBuf>,
    /// End after this update, to go on later.
    pub stop_after: Option<u64>,
}

/// The file of the run's folder that names what was left out of the data, and why.
pub const LEFT_OUT: &str = "left_out.txt";

/// What a run tells as it goes.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Clips decoded, of how many.
    Loading(usize, usize),
    /// A transcript left out, and why.
    LeftOut(String),
    Started {
        parameters: usize,
        clips: usize,
        hours: f64,
        step: u64,
        steps: u64,
    },
    /// Means since the last one.
    Step {
        step: u64,
        steps: u64,
        loss: f64,
        auxiliary_loss: f64,
        /// An utterance; nothing without that criterion.
        mmi_loss: Option<f64>,
        /// A label; nothing without two views.
        consistency_loss: Option<f64>,
        norm: f64,
        rate: f64,
        blank_share: f64,
        utterances_per_second: f64,
    },
    Scores {
        step: u64,
        scores: Vec<DevScore>,
        total: f64,
        best: bool,
    },
    Done {
        step: u64,
        best: Option<(f64, u64)>,
    },
}

struct Run<'a> {
    recipe: &'a Recipe,
    text: &'a str,
    options: &'a Options,
    tokens: TokenTable,
    /// As the recipe says, with the lexicon.
    decoder: DecoderOptions,
    auxiliary_tokens: usize,
    mmi: Option<Mmi<f32>>,
    network: Network<f32>,
    parameters: Vec<Vec<f32>>,
    decays: Vec<bool>,
    adam: AdamW,
    best: Option<(f64, u64)>,
    step: u64,
}

/// Trains by a recipe (its text `text` travels in the model) and reports to `report`, which may
/// answer `false` to stop after a checkpoint.
///
/// # Errors
/// Bad data, with file and line; a folder that cannot be written; a loss that is not a number.
pub fn train(
    recipe: &Recipe,
    text: &str,
    options: &Options,
    report: &mut dyn FnMut(Progress) -> bool,
) -> Result<()> {
    std::fs::create_dir_all(&options.out).map_err(|e| io(Stage::Train, &options.out, e))?;
    let (sender, receiver) = crossbeam_channel::bounded::<(usize, usize)>(1024);
    let dictionary = match recipe.data.pronunciations.as_str() {
        "" => None,
        name => Some(Pronunciations::read(&Recipe::manifest(&options.data, name))?),
    };
    let decoder = DecoderOptions { lexicon: recipe.lexicon(dictionary.as_ref())?, ..recipe.decoder.clone() };
    let dataset = std::thread::scope(|scope| {
        let dictionary = dictionary.as_ref();
        let loading = scope.spawn(move || {
            Dataset::load(recipe, &options.data, dictionary, options.threads, &|done, all| {
                let _ = sender.try_send((done, all));
            })
        });
        for (done, all) in receiver {
            report(Progress::Loading(done, all));
        }
        loading.join().unwrap_or_else(|_| Err(Error::new(Stage::Train, "reading the data failed")))
    })?;
    if !dataset.left_out.is_empty() {
        let path = options.out.join(LEFT_OUT);
        let lines: String = dataset.left_out.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        std::fs::write(&path, lines).map_err(|e| io(Stage::Train, &path, e))?;
    }
    for line in &dataset.left_out {
        report(Progress::LeftOut(line.clone()));
    }
    let sampler = Sampler::new(recipe, &dataset);
    if sampler.is_empty() {
        return Err(Error::new(Stage::Train, "the recipe's data holds nothing to learn from").at("data"));
    }
    let voices: Vec<Vec<f32>> =
        dataset.clips.iter().step_by(1 + dataset.clips.len() / 200).map(|c| c.to_f32()).collect();
    let augmenter =
        Augmenter::new(recipe.augment.clone(), Arc::new(dataset.noises.clone()), recipe.run.seed)?
            .with_babble(Arc::new(voices));
    let mut run = Run::start(recipe, text, options, decoder, &dataset, &sampler, &augmenter)?;
    report(Progress::Started {
        parameters: run.network.num_parameters(),
        clips: dataset.clips.len(),
        hours: dataset.clips.iter().map(|c| c.samples.len()).sum::<usize>() as f64 / 16_000.0 / 3600.0,
        step: run.step,
        steps: recipe.schedule.steps,
    });
    run.go(&dataset, &sampler, &augmenter, report)
}

impl<'a> Run<'a> {
    fn start(
        recipe: &'a Recipe,
        text: &'a str,
        options: &'a Options,
        decoder: DecoderOptions,
        dataset: &Dataset,
        sampler: &Sampler<'_>,
        augmenter: &Augmenter,
    ) -> Result<Self> {
        let mut network = initialise::<f32>(&recipe.network_config()?, recipe.run.seed);
        let auxiliary_tokens = recipe.auxiliary_tokens()?.map_or(0, |t| t.len());
        let mut parameters: Vec<Vec<f32>> = network.parameters.iter().map(|p| p.data.clone()).collect();
        let decays: Vec<bool> = network.parameters.iter().map(|p| p.shape.len() >= 2).collect();
        if let Some(from) = &options.from {
            take_over(from, &mut network, &mut parameters)?;
        }
        let adam = AdamW::new(&parameters);
        let tokens = recipe.tokens()?;
        let mmi = recipe.loss.mmi.as_ref().and_then(|table| match table.denominator {
            Denominator::Words => Mmi::of_words(&tokens, &decoder),
            Denominator::Phones => Some(lattice_free(table, dataset, recipe.data.silence_weight, &tokens)),
        });
        let mut run = Self {
            recipe,
            text,
            options,
            tokens,
            decoder,
            auxiliary_tokens,
            mmi,
            network,
            parameters,
            decays,
            adam,
            best: None,
            step: 0,
        };
        if options.resume {
            run.resume()?;
        } else if options.from.is_none() {
            let (mean, scale) = statistics(recipe, dataset, sampler, augmenter)?;
            (run.network.mean, run.network.scale) = (mean, scale);
        }
        Ok(run)
    }

    fn checkpoint_path(&self) -> PathBuf {
        self.options.out.join("checkpoint.bin")
    }

    fn resume(&mut self) -> Result<()> {
        let path = self.checkpoint_path();
        let checkpoint = Checkpoint::read(&path)?;
        let same = checkpoint.parameters.len() == self.parameters.len()
            && checkpoint.parameters.iter().zip(&self.parameters).all(|(a, b)| a.len() == b.len());
        if !same || checkpoint.mean.len() != self.network.mean.len() {
            return Err(Error::new(Stage::Train, "the checkpoint is of another network")
                .in_file(&path)
                .hint("start without --resume, or give the recipe that it was made with"));
        }
        self.step = checkpoint.header.step;
        self.best = checkpoint.header.best;
        self.parameters = checkpoint.parameters;
        self.adam = checkpoint.adam;
        (self.network.mean, self.network.scale) = (checkpoint.mean, checkpoint.scale);
        Ok(())
    }

    fn save(&self) -> Result<()> {
        Checkpoint::new(
            (self.step, self.text, self.options.threads, self.best),
            &self.parameters,
            &self.adam,
            (&self.network.mean, &self.network.scale),
        )
        .write(&self.checkpoint_path())
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
        dataset: &Dataset,
        sampler: &Sampler<'_>,
        augmenter: &Augmenter,
        report: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<()> {
        let threads = self.options.threads.max(1);
        let lengths: Vec<usize> = self.parameters.iter().map(Vec::len).collect();
        let mut makers = (0..threads)
            .map(|_| Maker::new(self.recipe, dataset, augmenter, &self.network.mean))
            .collect::<Result<Vec<_>>>()?;
        let mut dev = Vec::new();
        for set in &self.recipe.data.dev {
            dev.push(DevSet::load(set, &self.options.data, self.recipe, &mut makers[0])?);
        }
        let mut workers: Vec<Worker<f32>> = (0..threads).map(|_| Worker::new(&lengths)).collect();
        let mut log = Log::open(&self.options.out.join("log.jsonl"), self.options.resume)?;
        let last = self.options.stop_after.unwrap_or(u64::MAX).min(self.recipe.schedule.steps);
        let (mut window, mut norms, mut since) = (Sums::default(), 0.0, (Instant::now(), self.step));
        let mut go_on = true;
        while self.step < last && go_on {
            let (sums, norm) = self.update(sampler, &mut makers, &mut workers)?;
            window.add(&sums);
            norms += norm;
            self.step += 1;
            if self.step.is_multiple_of(self.recipe.run.log_interval) {
                go_on &= self.tell(&window, norms, since, &mut log, report)?;
                (window, norms, since) = (Sums::default(), 0.0, (Instant::now(), self.step));
            }
            if self.step.is_multiple_of(self.recipe.run.eval_interval)
                || self.step == self.recipe.schedule.steps
            {
                self.evaluate(&dev, &mut log, report)?;
            }
            if self.step.is_multiple_of(self.recipe.run.checkpoint_interval) {
                self.save()?;
            }
        }
        self.save()?;
        self.write_model("last.onnx")?;
        report(Progress::Done { step: self.step, best: self.best });
        Ok(())
    }

    /// One update: shares of the batch on the threads, gradients added in their order.
    fn update(
        &mut self,
        sampler: &Sampler<'_>,
        makers: &mut [Maker<'_>],
        workers: &mut [Worker<f32>],
    ) -> Result<(Sums, f64)> {
        let plans = sampler.batch(self.step);
        let threads = workers.len();
        // Dealt out like cards, since the batch is sorted by length.
        let shares: Vec<Vec<Plan>> =
            (0..threads).map(|i| plans.iter().skip(i).step_by(threads).cloned().collect()).collect();
        let examples: Vec<Vec<Example>> = std::thread::scope(|scope| {
            let running: Vec<_> = makers
                .iter_mut()
                .zip(&shares)
                .map(|(maker, share)| scope.spawn(move || worker::make(maker, share)))
                .collect();
            running.into_iter().map(|r| r.join().unwrap_or_default()).collect()
        });
        let all = || examples.iter().flatten();
        let labels: usize = all().filter_map(|e| e.labels.as_ref()).map(Vec::len).sum();
        let auxiliary_labels: usize = all().filter_map(|e| e.auxiliary.as_ref()).map(Vec::len).sum();
        let weights = self.weights(&self.parameters, true)?;
        let recipe = self.recipe;
        let width = recipe.network.subsampling * recipe.features.num_mel_bins;
        let auxiliary_weight = recipe.auxiliary.as_ref().map_or(0.0, |a| a.weight);
        let mmi_scale = recipe.loss.mmi.as_ref().map_or(0.0, |mmi| mmi.weight) / labels.max(1) as f64;
        let seed = mix(recipe.run.seed ^ 0x5eed, self.step);
        let update = |thread: usize| Update {
            weights: &weights,
            num_tokens: self.tokens.len(),
            blank: self.tokens.blank(),
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
        let sums: Vec<Sums> = std::thread::scope(|scope| {
            let running: Vec<_> = workers
                .iter_mut()
                .zip(examples)
                .enumerate()
                .map(|(i, (worker, share))| {
                    let update = update(i);
                    scope.spawn(move || worker.run(&update, share, width))
                })
                .collect();
            running.into_iter().map(|r| r.join().unwrap_or_default()).collect()
        });
        let mut total = Sums::default();
        sums.iter().for_each(|s| total.add(s));
        let (first, rest) = workers.split_at_mut(1);
        for worker in rest {
            for (sum, own) in first[0].gradients.iter_mut().zip(&worker.gradients) {
                sum.iter_mut().zip(own).for_each(|(s, &g)| *s += g);
            }
        }
        if !total.loss.is_finite() || !total.auxiliary_loss.is_finite() {
            return Err(Error::new(
                Stage::Train,
                format!("the loss of update {} is not a number", self.step),
            )
            .hint("the last checkpoint is good; lower optimizer.learning_rate and go on with --resume"));
        }
        let rate = learning_rate(self.step, &recipe.optimizer, &recipe.schedule);
        let norm = self.adam.update(
            self.step,
            rate,
            &recipe.optimizer,
            &mut self.parameters,
            &first[0].gradients,
            &self.decays,
        );
        Ok((total, norm))
    }

    fn tell(
        &self,
        sums: &Sums,
        norms: f64,
        (start, first): (Instant, u64),
        log: &mut Log,
        report: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<bool> {
        let seconds = start.elapsed().as_secs_f64();
        let loss = sums.loss / sums.labels.max(1) as f64;
        let auxiliary_loss = sums.auxiliary_loss / sums.auxiliary_labels.max(1) as f64;
        let mmi_loss = self.mmi.as_ref().map(|_| sums.mmi_loss / sums.mmi_utterances.max(1) as f64);
        let two_views = self.recipe.loss.consistency_weight > 0.0;
        let consistency_loss = two_views.then(|| sums.consistency_loss / sums.labels.max(1) as f64);
        let norm = norms / (self.step - first).max(1) as f64;
        let rate = learning_rate(self.step - 1, &self.recipe.optimizer, &self.recipe.schedule);
        let blank_share = sums.blanks as f64 / sums.steps.max(1) as f64;
        let utterances_per_second = sums.utterances as f64 / seconds;
        log.write(&json!({
            "step": self.step, "loss": loss, "auxiliary_loss": auxiliary_loss, "mmi_loss": mmi_loss,
            "consistency_loss": consistency_loss, "gradient_norm": norm,
            "learning_rate": rate, "blank_share": blank_share, "impossible": sums.impossible,
            "utterances_per_second": utterances_per_second,
        }))?;
        Ok(report(Progress::Step {
            step: self.step,
            steps: self.recipe.schedule.steps,
            loss,
            auxiliary_loss,
            mmi_loss,
            consistency_loss,
            norm,
            rate,
            blank_share,
            utterances_per_second,
        }))
    }

    fn evaluate(
        &mut self,
        dev: &[DevSet],
        log: &mut Log,
        report: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<()> {
        let weights = self.weights(&self.adam.average, false)?;
        let scores: Vec<DevScore> = dev
            .iter()
            .map(|set| set.score(&weights, self.recipe, &self.tokens, &self.decoder, self.options.threads))
            .collect::<Result<_>>()?;
        if self.recipe.run.keep_models {
            self.write_model(&format!("at-{:06}.onnx", self.step))?;
        }
        let total: f64 = scores.iter().map(|s| s.weighted).sum();
        let best = dev.is_empty() || self.best.is_none_or(|(score, _)| total < score);
        if best {
            self.best = Some((total, self.step));
            self.write_model("best.onnx")?;
        }
        let sets: Vec<_> = scores
            .iter()
            .map(|s| {
                json!({ "manifest": s.manifest, "wer": s.score.wer(), "cer": s.score.cer(),
                    "deletions": s.score.words.deletions, "insertions": s.score.words.insertions,
                    "substitutions": s.score.words.substitutions, "words": s.score.words.reference,
                    "false_words_per_hour": s.false_words_per_hour })
            })
            .collect();
        log.write(&json!({ "step": self.step, "dev": sets, "score": total, "best": best }))?;
        report(Progress::Scores { step: self.step, scores, total, best });
        Ok(())
    }

    fn write_model(&self, name: &str) -> Result<()> {
        let metadata = Metadata {
            features: self.recipe.features.clone(),
            tokens: self.tokens.clone(),
            decoder: self.decoder.clone(),
            license: self.recipe.data.license.clone(),
            trained_on: self.recipe.data.trained_on.clone(),
            recipe: self.text.to_string(),
            created_by: format!("hearken {}", env!("CARGO_PKG_VERSION")),
            other: Vec::new(),
        };
        let network = self.network_with(&self.adam.average).without_auxiliary();
        onnx::write_file(&self.options.out.join(name), &network, &metadata)
    }
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
