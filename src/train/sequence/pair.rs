//! An encoder and a decoder that are trained together: from one sequence of tokens to another.
//!
//! The encoder's last states are the decoder's first ones, and the decoder attends to all steps of the encoder (see
//! `attention`). The decoder receives the token before, at first the end token, and predicts the next, at last the
//! end token.

use std::path::Path;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::Inputs;
use super::attention::{Attention, Side};
use super::batch::{Buffers, longest_first, pack};
use super::config::{Input, Output, SequenceConfig};
use super::loss::{Loss, cross_entropy};
use super::optimization::{Optimization, Settings, Share, ThreadBuffers, to_json};
use crate::error::{Error, Result, Stage};
use crate::model::forward::{Dropout, log_softmax};
use crate::model::{CellKind, Network, PackedSequence, PackedWeights, Purpose, States};
use crate::onnx::sequence::{self, SequenceInput, SequenceOutput};

/// The token that ends a target.
const END: u32 = 0;

/// The configuration of an encoder and a decoder, and of their training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairConfig {
    /// The encoder; its output has a value for each target token, and a key.
    encoder: SequenceConfig,
    /// The decoder; its output has a logit for each target token, and a query.
    decoder: SequenceConfig,
    /// V, the number of target tokens including the end token 0.
    target_tokens: usize,
    /// K, the number of values of a key.
    keys: usize,
}

impl PairConfig {
    /// Two networks of the same shape. `source_tokens` and `target_tokens` are numbers of tokens; token 0 of the
    /// targets is reserved for their end. Keys have half the width of the last layer.
    pub fn new(
        source_tokens: usize,
        target_tokens: usize,
        cell: CellKind,
        hidden: &[usize],
        steps: u64,
    ) -> Self {
        let keys = (hidden.last().copied().unwrap_or(0) / 2).max(1);
        let config = |tokens| {
            let output = Output::Numbers(target_tokens + keys);
            SequenceConfig::new(Input::Tokens(tokens), output, cell, hidden, steps)
        };
        Self { encoder: config(source_tokens), decoder: config(target_tokens), target_tokens, keys }
    }

    /// Changes settings of both networks and of their training, such as the seed.
    pub fn change(&mut self, change: impl Fn(&mut SequenceConfig)) {
        change(&mut self.encoder);
        change(&mut self.decoder);
    }

    fn check(&self) -> Result<()> {
        self.encoder.check()?;
        self.decoder.check()?;
        let widths = [&self.encoder, &self.decoder].map(|config| &config.output);
        let expected = Output::Numbers(self.target_tokens + self.keys);
        let same = self.encoder.layers == self.decoder.layers
            && self.encoder.layer_norm == self.decoder.layer_norm
            && widths.iter().all(|output| **output == expected);
        match same {
            true => Ok(()),
            false => Err(Error::new(Stage::Train, "expected the same layers in the encoder and the decoder")
                .at("layers")),
        }
    }

    fn attention(&self) -> Attention {
        Attention { tokens: self.target_tokens, keys: self.keys }
    }
}

/// A sequence and its translation.
#[derive(Clone, Debug, PartialEq)]
pub struct PairExample {
    /// Source tokens.
    pub source: Vec<u32>,
    /// Target tokens without the end token.
    pub target: Vec<u32>,
}

/// An encoder and a decoder in training.
pub struct PairTrainer {
    config: PairConfig,
    optimization: Optimization,
}

impl PairTrainer {
    /// Networks with random weights, which depend on the seed.
    ///
    /// # Errors
    /// As [`SequenceConfig::check`], and when the layers of the networks differ.
    pub fn new(config: PairConfig) -> Result<Self> {
        config.check()?;
        let settings = Settings {
            optimizer: &config.encoder.optimizer,
            schedule: &config.encoder.schedule,
            seed: config.encoder.seed,
            threads: config.encoder.threads,
        };
        let networks = [config.encoder.network(), config.decoder.network()];
        let optimization = Optimization::new(&networks, settings);
        Ok(Self { config, optimization })
    }

    /// Runs one update on a batch. Returns the mean loss of a target token before the update, in nats.
    ///
    /// # Errors
    /// When a source is empty or a token out of range, or the loss or the gradient is not finite.
    pub fn update(&mut self, batch: &[&PairExample]) -> Result<f64> {
        batch.iter().try_for_each(|example| check(&self.config, example))?;
        let targets: usize = batch.iter().map(|example| example.target.len() + 1).sum();
        let scale = 1.0 / targets.max(1) as f64;
        let config = &self.config;
        let work =
            |share: Share<'_, PairExample>, buffers: &mut ThreadBuffers| work(config, &share, scale, buffers);
        Ok(self.optimization.update(batch, work)?.mean())
    }

    /// The networks with the moving average of their weights.
    ///
    /// # Errors
    /// When a network is incomplete, which would be a bug.
    pub fn model(&self) -> Result<PairModel> {
        let networks = self.optimization.averaged();
        let weights =
            networks.iter().map(|network| PackedWeights::new(network, Purpose::Inference)).collect();
        let weights: Option<Vec<_>> = weights;
        let weights = weights.ok_or_else(|| Error::new(Stage::Train, "the network lacks a parameter"))?;
        Ok(PairModel { config: self.config.clone(), networks, weights })
    }

    /// Saves a checkpoint; the last two are kept.
    ///
    /// # Errors
    /// When it cannot be written or a weight is not finite.
    pub fn save(&self, folder: &Path) -> Result<()> {
        self.optimization.save(folder, to_json(&self.config)?)
    }

    /// Continues from the last checkpoint of a folder.
    ///
    /// # Errors
    /// When it cannot be read or was saved with another configuration.
    pub fn resume(config: PairConfig, folder: &Path) -> Result<Self> {
        let mut trainer = Self::new(config)?;
        trainer.optimization.resume(folder, &to_json(&trainer.config)?)?;
        Ok(trainer)
    }
}

fn check(config: &PairConfig, example: &PairExample) -> Result<()> {
    check_source(config, &example.source)?;
    let wrong = |token: &&u32| **token == END || **token as usize >= config.target_tokens;
    match example.target.iter().find(wrong) {
        Some(token) => {
            let problem = format!("expected token ids from 1 to {}, found {token}", config.target_tokens - 1);
            Err(Error::new(Stage::Train, problem).at("target"))
        }
        None => Ok(()),
    }
}

fn check_source(config: &PairConfig, source: &[u32]) -> Result<()> {
    let steps = config.encoder.steps_of_inputs(&Inputs::Tokens(source.to_vec()))?;
    match steps {
        0 => Err(Error::new(Stage::Train, "expected at least one token").at("source")),
        _ => Ok(()),
    }
}

/// Runs a share of a batch forward and backward.
fn work(
    config: &PairConfig,
    share: &Share<'_, PairExample>,
    scale: f64,
    buffers: &mut ThreadBuffers,
) -> Loss {
    // Longest source first. The targets are padded, so that both networks have the same order of streams.
    let lengths: Vec<usize> = share.examples.iter().map(|e| e.source.len()).collect();
    let order = longest_first(&lengths);
    let examples: Vec<&PairExample> = order.iter().map(|&i| share.examples[i]).collect();
    let streams: Vec<usize> = (0..examples.len()).collect();
    let source_steps = PackedSequence::new(&examples.iter().map(|e| e.source.len()).collect::<Vec<_>>());
    let longest = examples.iter().map(|e| e.target.len() + 1).max().unwrap_or(0);
    let target_steps = PackedSequence::uniform(examples.len(), longest);
    let sources: Vec<Inputs> = examples.iter().map(|e| Inputs::Tokens(e.source.clone())).collect();
    let before = |example: &PairExample| {
        let mut tokens = [&[END], example.target.as_slice()].concat();
        tokens.resize(longest, END);
        Inputs::Tokens(tokens)
    };
    let targets: Vec<Inputs> = examples.iter().map(|e| before(e)).collect();
    let [encoder, decoder] = share.weights else { unreachable!("two networks") };
    let ThreadBuffers { networks, gradients } = buffers;
    let [source, target] = networks.as_mut_slice() else { unreachable!("two networks") };

    let mut states = encoder.zero_states(examples.len());
    let mut rng = Pcg64Mcg::seed_from_u64(share.seed);
    let encode = Pass { weights: encoder, config: &config.encoder, steps: &source_steps };
    encode.run(&sources, &mut states, &mut rng, source);
    let decode = Pass { weights: decoder, config: &config.decoder, steps: &target_steps };
    decode.run(&targets, &mut states, &mut rng, target);
    let attention = config.attention();
    let memory = Side { rows: &source.outputs, steps: &source_steps, streams: &streams };
    let queries = Side { rows: &target.outputs, steps: &target_steps, streams: &streams };
    let mut logits = Vec::new();
    attention.forward(&queries, &memory, &mut logits);
    let next: Vec<Option<u32>> = (0..longest)
        .flat_map(|t| examples.iter().map(move |e| e.target.iter().copied().chain([END]).nth(t)))
        .collect();
    let loss = cross_entropy(&mut logits, config.target_tokens, &next, scale);
    let (dtarget, dsource) = attention.backward(&queries, &memory, &logits);

    // Both networks have the same parameters.
    let half = gradients.len() / 2;
    let (encoder_gradients, decoder_gradients) = gradients.split_at_mut(half);
    let zero = decoder.zero_states(examples.len());
    let dstates =
        decoder.backward(&target_steps, &[&dtarget], zero, &mut target.workspace, decoder_gradients);
    encoder.backward(&source_steps, &[&dsource], dstates, &mut source.workspace, encoder_gradients);
    loss
}

/// The pass of one network in training.
struct Pass<'a> {
    weights: &'a PackedWeights<f32>,
    config: &'a SequenceConfig,
    steps: &'a PackedSequence,
}

impl Pass<'_> {
    fn run(
        &self,
        inputs: &[Inputs],
        states: &mut States<f32>,
        rng: &mut Pcg64Mcg,
        buffers: &mut Buffers<f32>,
    ) {
        let inputs: Vec<&Inputs> = inputs.iter().collect();
        pack(&inputs, self.steps, 0, self.config.input.width(), &mut buffers.x);
        let dropout = Dropout { rate: self.config.dropout, variational: false, rng };
        self.weights.forward(&buffers.x, self.steps, states, &mut buffers.workspace, Some(dropout));
        self.weights.logits(&buffers.workspace, 0, &mut buffers.outputs);
    }
}

/// A trained encoder and decoder.
pub struct PairModel {
    config: PairConfig,
    networks: Vec<Network<f32>>,
    weights: Vec<PackedWeights<f32>>,
}

impl PairModel {
    /// Translates a sequence by choosing the likeliest token at each step, at most `limit`. Returns the tokens without
    /// the end token, and the attention weights to the source for each token and the end token.
    ///
    /// # Errors
    /// When the source is empty or a token is out of range.
    pub fn translate(&self, source: &[u32], limit: usize) -> Result<(Vec<u32>, Vec<Vec<f32>>)> {
        check_source(&self.config, source)?;
        let attention = self.config.attention();
        let steps = PackedSequence::uniform(1, source.len());
        let (mut memory, mut buffers) = (Buffers::default(), Buffers::default());
        let mut states = self.weights[0].zero_states(1);
        let width = self.config.encoder.input.width();
        pack(&[&Inputs::Tokens(source.to_vec())], &steps, 0, width, &mut memory.x);
        self.weights[0].forward(&memory.x, &steps, &mut states, &mut memory.workspace, None);
        self.weights[0].logits(&memory.workspace, 0, &mut memory.outputs);
        let memory = Side { rows: &memory.outputs, steps: &steps, streams: &[0] };
        let (one, mut logits, mut last) = (PackedSequence::uniform(1, 1), Vec::new(), END);
        let (mut tokens, mut looks) = (Vec::new(), Vec::new());
        while tokens.len() < limit {
            let width = self.config.decoder.input.width();
            pack(&[&Inputs::Tokens(vec![last])], &one, 0, width, &mut buffers.x);
            self.weights[1].forward(&buffers.x, &one, &mut states, &mut buffers.workspace, None);
            self.weights[1].logits(&buffers.workspace, 0, &mut buffers.outputs);
            let query = Side { rows: &buffers.outputs, steps: &one, streams: &[0] };
            looks.extend(attention.forward(&query, &memory, &mut logits));
            log_softmax(&mut logits, self.config.target_tokens);
            let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            last = best.map_or(END, |(token, _)| token as u32);
            if last == END {
                break;
            }
            tokens.push(last);
        }
        Ok((tokens, looks))
    }

    /// Number of trainable values of both networks.
    pub fn num_parameters(&self) -> usize {
        self.networks.iter().map(Network::num_parameters).sum()
    }

    /// Writes both networks as ONNX files, with the configuration and `entries` as metadata: the encoder has the
    /// output `memory [N, S, V + K]`, which is an input of the decoder, whose first states are the encoder's last.
    /// The sequences of a batch must have the same length.
    ///
    /// # Errors
    /// When a weight is not finite or a file cannot be written.
    pub fn write(&self, encoder: &Path, decoder: &Path, entries: &[(&str, &str)]) -> Result<()> {
        let config = to_json(&self.config)?;
        let entries = [&[("sequence", config.as_str())], entries].concat();
        let attention = SequenceOutput::Attention { tokens: self.config.target_tokens };
        let parts = [(encoder, SequenceOutput::Memory), (decoder, attention)];
        parts.into_iter().zip(&self.networks).try_for_each(|((path, output), network)| {
            sequence::write_file(path, network, SequenceInput::Tokens, output, &entries)
        })
    }
}
