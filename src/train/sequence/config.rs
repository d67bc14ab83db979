//! The configuration of a network for sequences and of its training.

use serde::{Deserialize, Serialize};

use super::{Example, Inputs, Targets};
use crate::error::{Error, Result, Stage};
use crate::model::{CellKind, LayerConfig, NetworkConfig};
use crate::train::recipe::{Optimizer, Schedule};

/// The kind of a network's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// Token ids below a number of tokens; the network has an embedding of each.
    Tokens(usize),
    /// A number of real numbers at each step.
    Numbers(usize),
}

/// The kind of a network's outputs, and with it the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// Log-probabilities of a number of tokens; the loss is cross entropy, in nats.
    Tokens(usize),
    /// A number of real numbers; the loss is squared error.
    Numbers(usize),
    /// The quantiles of one number at these levels, each above 0 and below 1; the loss is the mean of their quantile
    /// (pinball) losses.
    Quantiles(Vec<f64>),
}

impl Output {
    /// Number of outputs of a step.
    pub fn width(&self) -> usize {
        match self {
            Output::Tokens(width) | Output::Numbers(width) => *width,
            Output::Quantiles(levels) => levels.len(),
        }
    }
}

impl Input {
    /// Number of values of a step of the network's first layer: an input of tokens has a one for the token and a
    /// zero for each other, whose product with the layer's weights is the token's embedding.
    pub fn width(self) -> usize {
        match self {
            Input::Tokens(width) | Input::Numbers(width) => width,
        }
    }
}

/// The configuration of a network for sequences and of its training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceConfig {
    /// The kind of the inputs.
    pub input: Input,
    /// The kind of the outputs.
    pub output: Output,
    /// D, the width of embeddings, or of the linear layer that numbers pass first.
    pub input_size: usize,
    /// The recurrent layers, in order.
    pub layers: Vec<LayerConfig>,
    /// Whether there is layer normalization after the first layer and after each cell.
    pub layer_norm: bool,
    /// Whether a layer's input is added to its output where the widths are equal.
    pub residual: bool,
    /// Probability that a value between layers is set to zero in training.
    pub dropout: f64,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The schedule of the learning rate.
    pub schedule: Schedule,
    /// Seed of the first weights and of dropout.
    pub seed: u64,
    /// Number of threads that share each batch. With another number the last bits of sums differ.
    pub threads: usize,
}

impl SequenceConfig {
    /// A stack of layers with one kind of cell, trained for `steps` updates on all cores (at most 4) with the default
    /// optimizer, warm-up in the first twentieth, and no dropout.
    pub fn new(input: Input, output: Output, cell: CellKind, hidden: &[usize], steps: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        Self {
            input,
            output,
            input_size: hidden.first().copied().unwrap_or(0),
            layers: hidden.iter().map(|&hidden| LayerConfig::new(cell, hidden)).collect(),
            layer_norm: true,
            residual: true,
            dropout: 0.0,
            optimizer: Optimizer::default(),
            schedule: Schedule { steps, warmup_steps: steps / 20, final_share: 0.02, ..Schedule::default() },
            seed: 0,
            threads,
        }
    }

    /// The architecture.
    pub fn network(&self) -> NetworkConfig {
        NetworkConfig {
            num_features: self.input.width(),
            subsampling: 1,
            input_size: self.input_size,
            layers: self.layers.clone(),
            layer_norm: self.layer_norm,
            residual: self.residual,
            num_tokens: self.output.width(),
            auxiliary: None,
        }
    }

    /// Checks the configuration.
    ///
    /// # Errors
    /// Names the value that is out of range.
    pub fn check(&self) -> Result<()> {
        let wrong = |place: &str, problem: &str| Err(Error::new(Stage::Train, problem).at(place.to_string()));
        if [self.input.width(), self.output.width(), self.input_size, self.threads].contains(&0) {
            return wrong("input, output, input_size, threads", "expected numbers above zero");
        }
        if self.layers.is_empty() || self.layers.iter().any(|layer| layer.hidden == 0) {
            return wrong("layers", "expected at least one layer, and widths above zero");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong("dropout", "expected a probability from 0 to below 1");
        }
        let Schedule { early_stopping, plateau, bptt_seconds, .. } = &self.schedule;
        if early_stopping.is_some() || plateau.is_some() || *bptt_seconds != 0.0 {
            return wrong(
                "schedule",
                "early stopping, plateaus and bptt_seconds have no effect on sequences",
            );
        }
        match &self.output {
            Output::Quantiles(levels) if !levels.iter().all(|&level| level > 0.0 && level < 1.0) => {
                wrong("output", "expected levels of quantiles between 0 and 1")
            }
            _ => Ok(()),
        }
    }

    /// Checks that a sequence fits the network, and returns its number of steps.
    ///
    /// # Errors
    /// When the kinds or numbers of inputs and targets differ from the configuration or from each other.
    pub(super) fn steps_of(&self, example: &Example) -> Result<usize> {
        let steps = self.steps_of_inputs(&example.inputs)?;
        let wrong = |problem: String| Err(Error::new(Stage::Train, problem).at("targets"));
        let (width, found) = match (&self.output, &example.targets) {
            (Output::Tokens(count), Targets::Tokens(tokens)) => {
                if let Some(token) = tokens.iter().flatten().find(|&&token| token as usize >= *count) {
                    return wrong(format!("expected token ids below {count}, found {token}"));
                }
                (1, tokens.len())
            }
            (Output::Numbers(width), Targets::Numbers(numbers)) => (*width, numbers.len()),
            (Output::Quantiles(_), Targets::Numbers(numbers)) => (1, numbers.len()),
            _ => return wrong("expected tokens for an output of tokens, and numbers for others".into()),
        };
        match found == steps * width {
            true => Ok(steps),
            false => wrong(format!("expected {} for {steps} steps, found {found}", steps * width)),
        }
    }

    /// Checks that inputs fit the network, and returns their number of steps.
    ///
    /// # Errors
    /// As [`Self::steps_of`].
    pub(super) fn steps_of_inputs(&self, inputs: &Inputs) -> Result<usize> {
        let wrong = |problem: String| Err(Error::new(Stage::Train, problem).at("inputs"));
        match (self.input, inputs) {
            (Input::Tokens(count), Inputs::Tokens(tokens)) => {
                match tokens.iter().find(|&&token| token as usize >= count) {
                    Some(token) => wrong(format!("expected token ids below {count}, found {token}")),
                    None => Ok(tokens.len()),
                }
            }
            (Input::Numbers(width), Inputs::Numbers(numbers)) => match numbers.len().is_multiple_of(width) {
                true => Ok(numbers.len() / width),
                false => wrong(format!("expected a multiple of {width} numbers, found {}", numbers.len())),
            },
            _ => wrong("expected tokens for an input of tokens, and numbers for one of numbers".into()),
        }
    }
}
