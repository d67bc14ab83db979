//! Training of one network.

use std::path::Path;

use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::batch::{longest_first, pack};
use super::config::{Input, SequenceConfig};
use super::loss::{self, Loss};
use super::model::Model;
use super::optimization::{Optimization, Settings, Share, ThreadBuffers, to_json};
use super::{Example, Inputs};
use crate::error::{Error, Result, Stage};
use crate::model::PackedSequence;
use crate::model::forward::Dropout;

/// A network in training.
pub struct Trainer {
    config: SequenceConfig,
    optimization: Optimization,
}

impl Trainer {
    /// A network with random weights, which depend on the seed.
    ///
    /// # Errors
    /// As [`SequenceConfig::check`].
    pub fn new(config: SequenceConfig) -> Result<Self> {
        config.check()?;
        let settings = Settings {
            optimizer: &config.optimizer,
            schedule: &config.schedule,
            seed: config.seed,
            threads: config.threads,
        };
        let optimization = Optimization::new(&[config.network()], settings);
        Ok(Self { config, optimization })
    }

    /// Makes the network subtract the mean of each of the F numbers of a step and divide by the standard deviation,
    /// both over the steps of `inputs`, which must be training data only.
    ///
    /// # Errors
    /// When the inputs are not numbers or there are no steps.
    pub fn normalize(&mut self, inputs: &[&Inputs]) -> Result<()> {
        let Input::Numbers(width) = self.config.input else {
            return Err(Error::new(Stage::Train, "only inputs of numbers can be normalized").at("inputs"));
        };
        let mut sums = vec![[0.0f64; 2]; width];
        let mut steps = 0;
        for inputs in inputs {
            steps += self.config.steps_of_inputs(inputs)?;
            let Inputs::Numbers(numbers) = inputs else { continue };
            for (i, &number) in numbers.iter().enumerate() {
                sums[i % width][0] += f64::from(number);
                sums[i % width][1] += f64::from(number).powi(2);
            }
        }
        if steps == 0 {
            return Err(Error::new(Stage::Train, "expected at least one step").at("inputs"));
        }
        let mean: Vec<f32> = sums.iter().map(|[sum, _]| (sum / steps as f64) as f32).collect();
        let deviation = |[sum, squares]: &[f64; 2]| {
            let mean = sum / steps as f64;
            (squares / steps as f64 - mean * mean).max(1e-12).sqrt()
        };
        let scale: Vec<f32> = sums.iter().map(|sums| (1.0 / deviation(sums)) as f32).collect();
        self.optimization.normalize(0, &mean, &scale);
        Ok(())
    }

    /// Runs one update on a batch of sequences, which may have different lengths. All states are zero at the first
    /// step. Returns the mean loss of a target before the update.
    ///
    /// # Errors
    /// When a sequence does not fit the configuration, or the loss or the gradient is not finite.
    pub fn update(&mut self, batch: &[&Example]) -> Result<f64> {
        for example in batch {
            self.config.steps_of(example)?;
        }
        let targets: usize = batch.iter().map(|example| loss::targets(example)).sum();
        let scale = 1.0 / targets.max(1) as f64;
        let config = &self.config;
        let work =
            |share: Share<'_, Example>, buffers: &mut ThreadBuffers| work(config, &share, scale, buffers);
        Ok(self.optimization.update(batch, work)?.mean())
    }

    /// Number of updates done.
    pub fn step(&self) -> u64 {
        self.optimization.step
    }

    /// The network with the moving average of its weights.
    ///
    /// # Errors
    /// When the network is incomplete, which would be a bug.
    pub fn model(&self) -> Result<Model> {
        let network = self.optimization.averaged().swap_remove(0);
        Model::new(self.config.clone(), network)
    }

    /// Saves a checkpoint, from which [`Self::resume`] continues as if training had not stopped; the last two are kept.
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
    pub fn resume(config: SequenceConfig, folder: &Path) -> Result<Self> {
        let mut trainer = Self::new(config)?;
        trainer.optimization.resume(folder, &to_json(&trainer.config)?)?;
        Ok(trainer)
    }
}

/// Runs a share of a batch forward and backward.
fn work(
    config: &SequenceConfig,
    share: &Share<'_, Example>,
    scale: f64,
    buffers: &mut ThreadBuffers,
) -> Loss {
    let lengths: Vec<usize> =
        share.examples.iter().map(|e| config.steps_of_inputs(&e.inputs).unwrap_or(0)).collect();
    let order = longest_first(&lengths);
    let examples: Vec<&Example> = order.iter().map(|&i| share.examples[i]).collect();
    let inputs: Vec<&Inputs> = examples.iter().map(|example| &example.inputs).collect();
    let steps = PackedSequence::new(&order.iter().map(|&i| lengths[i]).collect::<Vec<_>>());
    let (weights, ThreadBuffers { networks, gradients }) = (&share.weights[0], buffers);
    let buffers = &mut networks[0];
    pack(&inputs, &steps, 0, config.input.width(), &mut buffers.x);
    let mut rng = Pcg64Mcg::seed_from_u64(share.seed);
    let dropout = Dropout { rate: config.dropout, variational: false, rng: &mut rng };
    let mut states = weights.zero_states(steps.streams());
    weights.forward(&buffers.x, &steps, &mut states, &mut buffers.workspace, Some(dropout));
    weights.logits(&buffers.workspace, 0, &mut buffers.outputs);
    let loss = loss::of_batch(&config.output, &mut buffers.outputs, &steps, &examples, 0, scale);
    let zero = weights.zero_states(steps.streams());
    weights.backward(&steps, &[&buffers.outputs], zero, &mut buffers.workspace, gradients);
    loss
}
