//! The networks of a trainer with their optimizer: updates by several threads, averaged weights, checkpoints.

use std::path::Path;

use super::batch::Buffers;
use super::loss::Loss;
use crate::error::{Error, Result, Stage};
use crate::model::network::initialize;
use crate::model::{Network, NetworkConfig, PackedWeights, Precision};
use crate::train::checkpoint::{self, Checkpoint, Header, NAMES};
use crate::train::optimizer::{AdamStep, AdamW, constrain, learning_rate};
use crate::train::recipe::{Optimizer, Schedule};
use crate::train::sampler::derive_seed;
use crate::train::threads::{add_gradients, in_threads};

/// One or more networks that are trained together.
pub(super) struct Optimization {
    networks: Vec<Network<f32>>,
    /// The parameters of all networks, one after another.
    parameters: Vec<Vec<f32>>,
    decays: Vec<bool>,
    adam: AdamW,
    pub step: u64,
    seed: u64,
    options: Optimizer,
    schedule: Schedule,
    threads: Vec<ThreadBuffers>,
}

/// The buffers of one thread: for each network, and the gradients of all parameters.
pub(super) struct ThreadBuffers {
    pub networks: Vec<Buffers<f32>>,
    pub gradients: Vec<Vec<f32>>,
}

/// The share of an update that one thread computes.
pub(super) struct Share<'a, E> {
    /// The weights of each network.
    pub weights: &'a [PackedWeights<f32>],
    pub examples: Vec<&'a E>,
    /// Seed of dropout.
    pub seed: u64,
}

/// The settings of training.
pub(super) struct Settings<'a> {
    pub optimizer: &'a Optimizer,
    pub schedule: &'a Schedule,
    pub seed: u64,
    pub threads: usize,
}

impl Optimization {
    /// Networks with random weights.
    pub fn new(configs: &[NetworkConfig], settings: Settings<'_>) -> Self {
        let seeded = configs.iter().zip(0..);
        let networks: Vec<Network<f32>> =
            seeded.map(|(config, number)| initialize(config, derive_seed(settings.seed, number))).collect();
        let all = || networks.iter().flat_map(|network| &network.parameters);
        let parameters: Vec<Vec<f32>> = all().map(|p| p.data.clone()).collect();
        let decays = all().map(|p| p.shape.len() >= 2).collect();
        let buffers = || ThreadBuffers {
            networks: configs.iter().map(|_| Buffers::default()).collect(),
            gradients: parameters.iter().map(|p| vec![0.0; p.len()]).collect(),
        };
        Self {
            adam: AdamW::new(&parameters),
            threads: (0..settings.threads).map(|_| buffers()).collect(),
            networks,
            parameters,
            decays,
            step: 0,
            seed: settings.seed,
            options: settings.optimizer.clone(),
            schedule: settings.schedule.clone(),
        }
    }

    /// Sets the normalization of the numbers that network `index` receives.
    pub fn normalize(&mut self, index: usize, mean: &[f32], scale: &[f32]) {
        let network = &mut self.networks[index];
        network.mean.copy_from_slice(mean);
        network.scale.copy_from_slice(scale);
    }

    /// Runs one update: `work` adds its share of the gradients. Returns the loss before the update.
    ///
    /// # Errors
    /// When the loss or the gradient is not finite; then nothing is changed.
    pub fn update<E: Sync>(
        &mut self,
        batch: &[&E],
        work: impl Fn(Share<'_, E>, &mut ThreadBuffers) -> Loss + Sync,
    ) -> Result<Loss> {
        let weights = self.weights()?;
        let seed = derive_seed(self.seed ^ 0x5eed, self.step);
        let count = self.threads.len();
        let losses = in_threads(self.threads.iter_mut().enumerate(), |(thread, buffers)| {
            buffers.gradients.iter_mut().for_each(|gradient| gradient.fill(0.0));
            let examples: Vec<&E> = batch.iter().skip(thread).step_by(count).copied().collect();
            let share = Share { weights: &weights, examples, seed: derive_seed(seed, thread as u64) };
            if share.examples.is_empty() { Loss::default() } else { work(share, buffers) }
        })?;
        let mut loss = Loss::default();
        losses.into_iter().for_each(|part| loss.add(part));
        if !loss.sum.is_finite() {
            return Err(self.diverged("loss"));
        }
        let gradients = add_gradients(self.threads.iter_mut().map(|buffers| &mut buffers.gradients));
        let rate = learning_rate(self.step, &self.options, &self.schedule);
        let (options, decays) = (&self.options, &self.decays);
        let step = AdamStep { number: self.step, rate, options, decays, threads: count };
        let norm = self.adam.update(&step, &mut self.parameters, gradients);
        if !norm.is_finite() {
            return Err(self.diverged("gradient"));
        }
        let named = self.networks.iter().flat_map(|network| &network.parameters);
        constrain(named, &mut self.parameters, self.step);
        self.step += 1;
        Ok(loss)
    }

    fn diverged(&self, what: &str) -> Error {
        Error::new(Stage::Train, format!("the {what} of update {} is not finite", self.step))
            .hint("lower the learning rate, and check that all inputs are finite")
    }

    fn weights(&self) -> Result<Vec<PackedWeights<f32>>> {
        let lacks = || Error::new(Stage::Train, "the network lacks a parameter");
        let mut rest = self.parameters.as_slice();
        let pack = |network: &Network<f32>| {
            let own = rest.split_off(..network.parameters.len())?;
            PackedWeights::for_training(network, own, Precision::Fp32, self.threads.len())
        };
        self.networks.iter().map(pack).map(|weights| weights.ok_or_else(lacks)).collect()
    }

    fn networks_with(&self, parameters: &[Vec<f32>]) -> Vec<Network<f32>> {
        let mut networks = self.networks.clone();
        let all = networks.iter_mut().flat_map(|network| &mut network.parameters);
        all.zip(parameters).for_each(|(parameter, data)| parameter.data.clone_from(data));
        networks
    }

    /// The networks with the moving average of the weights.
    pub fn averaged(&self) -> Vec<Network<f32>> {
        self.networks_with(&self.adam.average)
    }

    /// Saves a checkpoint with `config`, the text of the configuration.
    ///
    /// # Errors
    /// As [`checkpoint::save`].
    pub fn save(&self, folder: &Path, config: String) -> Result<()> {
        let header = Header::new(self.step, config, self.threads.len(), None);
        let join = |of: fn(&Network<f32>) -> &Vec<f32>| self.networks.iter().flat_map(of).copied();
        let (mean, scale): (Vec<f32>, Vec<f32>) = (join(|n| &n.mean).collect(), join(|n| &n.scale).collect());
        let checkpoint = Checkpoint::new(header, &self.parameters, &self.adam, &mean, &scale);
        checkpoint::save(folder, &checkpoint, true)
    }

    /// Continues from the last checkpoint of a folder.
    ///
    /// # Errors
    /// When it cannot be read or was saved with another configuration.
    pub fn resume(&mut self, folder: &Path, config: &str) -> Result<()> {
        let checkpoint = checkpoint::last(folder)?;
        if checkpoint.header.recipe != config {
            return Err(Error::new(Stage::Train, "the checkpoint is of another configuration")
                .in_file(folder.join(NAMES[0]))
                .hint("use the configuration of the checkpoint, or start anew"));
        }
        let mut at = 0;
        for network in &mut self.networks {
            let next = at + network.mean.len();
            network.mean.copy_from_slice(&checkpoint.mean[at..next]);
            network.scale.copy_from_slice(&checkpoint.scale[at..next]);
            at = next;
        }
        self.step = checkpoint.header.step;
        self.parameters = checkpoint.parameters;
        self.adam = checkpoint.adam;
        Ok(())
    }
}

/// The text of a configuration in checkpoints and model files.
///
/// # Errors
/// When a number is not finite.
pub(super) fn to_json(config: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(config).map_err(|e| Error::new(Stage::Train, e.to_string()))
}
