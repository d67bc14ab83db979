//! A trained network for sequences.

use std::path::Path;

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::batch::{Buffers, longest_first, pack};
use super::config::{Output, SequenceConfig};
use super::loss::{self, Loss};
use super::optimization::to_json;
use super::{Example, Inputs};
use crate::error::{Error, Result, Stage};
use crate::model::forward::log_softmax;
use crate::model::{Network, PackedSequence, PackedWeights, Purpose, States};
use crate::onnx::sequence::{self, SequenceInput, SequenceOutput};

/// Number of steps of a pass when sequences are scored: it bounds the memory.
const PASS: usize = 200;

/// A trained network. It is immutable; what changes from step to step is in [`States`].
pub struct Model {
    config: SequenceConfig,
    network: Network<f32>,
    weights: PackedWeights<f32>,
}

impl Model {
    pub(super) fn new(config: SequenceConfig, network: Network<f32>) -> Result<Self> {
        let weights = PackedWeights::new(&network, Purpose::Inference)
            .ok_or_else(|| Error::new(Stage::Train, "the network lacks a parameter"))?;
        Ok(Self { config, network, weights })
    }

    /// The configuration.
    pub fn config(&self) -> &SequenceConfig {
        &self.config
    }

    /// The network.
    pub fn network(&self) -> &Network<f32> {
        &self.network
    }

    /// The states at the start of a sequence.
    pub fn zero_states(&self) -> States<f32> {
        self.weights.zero_states(1)
    }

    /// Runs the next steps of a sequence from `states`, which are updated; how a sequence is split into calls does not
    /// matter. Returns the outputs `[T, V]`: log-probabilities, numbers or quantiles.
    ///
    /// # Errors
    /// When the inputs do not fit the configuration.
    pub fn run(&self, inputs: &Inputs, states: &mut States<f32>) -> Result<Vec<f32>> {
        let steps = PackedSequence::uniform(1, self.config.steps_of_inputs(inputs)?);
        let mut buffers = Buffers::default();
        self.pass(&[inputs], &steps, 0, states, &mut buffers);
        if let Output::Tokens(count) = self.config.output {
            log_softmax(&mut buffers.outputs, count);
        }
        Ok(buffers.outputs)
    }

    fn pass(
        &self,
        inputs: &[&Inputs],
        steps: &PackedSequence,
        first: usize,
        states: &mut States<f32>,
        buffers: &mut Buffers<f32>,
    ) {
        pack(inputs, steps, first, self.config.input.width(), &mut buffers.x);
        self.weights.forward(&buffers.x, steps, states, &mut buffers.workspace, None);
        self.weights.logits(&buffers.workspace, 0, &mut buffers.outputs);
    }

    /// The mean loss of a target over sequences, each from zero states.
    ///
    /// # Errors
    /// When a sequence does not fit the configuration.
    pub fn loss(&self, examples: &[&Example]) -> Result<f64> {
        let lengths: Vec<usize> =
            examples.iter().map(|e| self.config.steps_of(e)).collect::<Result<Vec<_>>>()?;
        let order = longest_first(&lengths);
        let examples: Vec<&Example> = order.iter().map(|&i| examples[i]).collect();
        let inputs: Vec<&Inputs> = examples.iter().map(|example| &example.inputs).collect();
        let mut states = self.weights.zero_states(examples.len());
        let (mut total, mut buffers) = (Loss::default(), Buffers::default());
        let longest = order.first().map_or(0, |&i| lengths[i]);
        for first in (0..longest).step_by(PASS) {
            let rest = order.iter().map(|&i| lengths[i].saturating_sub(first).min(PASS));
            let steps = PackedSequence::new(&rest.collect::<Vec<_>>());
            self.pass(&inputs, &steps, first, &mut states, &mut buffers);
            let (output, outputs) = (&self.config.output, &mut buffers.outputs);
            total.add(loss::of_batch(output, outputs, &steps, &examples, first, 1.0));
        }
        Ok(total.mean())
    }

    /// Writes the model as an ONNX file, with its configuration and `entries` as metadata. Its input is `tokens [N, T]`
    /// or `x [N, T, F]`, its output `log_probs` or `values [N, T, V]`; `state.0 …` and `next_state.0 …` are the states
    /// before and after.
    ///
    /// # Errors
    /// When a weight is not finite or the file cannot be written.
    pub fn write(&self, path: &Path, entries: &[(&str, &str)]) -> Result<()> {
        let input = match self.config.input {
            super::Input::Tokens(_) => SequenceInput::Tokens,
            super::Input::Numbers(_) => SequenceInput::Numbers,
        };
        let output = match self.config.output {
            Output::Tokens(_) => SequenceOutput::LogProbs,
            _ => SequenceOutput::Values,
        };
        let config = to_json(&self.config)?;
        let entries = [&[("sequence", config.as_str())], entries].concat();
        sequence::write_file(path, &self.network, input, output, &entries)
    }
}

/// Draws a token from log-probabilities divided by `temperature`: below 1 likely tokens become more likely, at 0 the
/// likeliest is chosen.
pub fn sample(log_probs: &[f32], temperature: f64, rng: &mut Pcg64Mcg) -> u32 {
    let top = log_probs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |&p: &f32| (f64::from(p - top) / temperature.max(1e-6)).exp();
    let mut left = rng.random_range(0.0..1.0) * log_probs.iter().map(weight).sum::<f64>();
    let chosen = log_probs.iter().position(|p| {
        left -= weight(p);
        left < 0.0
    });
    chosen.unwrap_or(0) as u32
}
