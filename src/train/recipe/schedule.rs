//! The tables of a recipe about the course of a training: optimizer, schedule, run.

use serde::{Deserialize, Serialize};

use crate::model::Precision;

/// Options of the AdamW optimizer (Loshchilov and Hutter, 2019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decay rate of the first moments.
    pub beta1: f64,
    /// Decay rate of the second moments.
    pub beta2: f64,
    /// Term added to the denominator for numerical stability.
    pub epsilon: f64,
    /// Weight decay, applied to matrices only.
    pub weight_decay: f64,
    /// Maximum norm of the gradient of all parameters together.
    pub clip_norm: f64,
    /// Decay rate of the moving average of the weights, which is scored and saved; 0 for none.
    pub ema_decay: f64,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            learning_rate: 2e-3,
            beta1: 0.9,
            beta2: 0.98,
            epsilon: 1e-8,
            weight_decay: 1e-2,
            clip_norm: 1.0,
            ema_decay: 0.999,
        }
    }
}

/// The schedule of the learning rate and the examples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Number of updates.
    pub steps: u64,
    /// Number of updates over which the learning rate rises linearly from 0.
    #[serde(default)]
    pub warmup_steps: u64,
    /// Final learning rate of the cosine decay that follows, as a fraction of the peak.
    #[serde(default)]
    pub final_share: f64,
    /// Number of updates over which composed strings grow from the minimum to the maximum number of words.
    #[serde(default)]
    pub lengthen_steps: u64,
    /// Number of updates at the start in which recordings longer than `short_seconds` are avoided.
    #[serde(default)]
    pub short_steps: u64,
    /// Maximum duration of recordings in those updates, seconds.
    #[serde(default)]
    pub short_seconds: f64,
    /// Length of the segments of truncated backpropagation through time, seconds: gradients end at their borders. 0: they
    /// flow through whole recordings.
    #[serde(default)]
    pub bptt_seconds: f64,
    /// When the run ends before its last update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// When the learning rate falls because the score no longer improves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plateau: Option<Plateau>,
}

/// The end of a run whose dev score no longer improves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Number of evaluations in a row without a better score.
    pub patience: u64,
    /// Minimum decrease of the score that counts as better.
    #[serde(default)]
    pub min_delta: f64,
}

/// A lower learning rate when the dev score no longer improves, as by PyTorch's `ReduceLROnPlateau`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plateau {
    /// Factor of the learning rate.
    #[serde(default = "half")]
    pub factor: f64,
    /// Number of evaluations in a row without a better score.
    pub patience: u64,
    /// Minimum decrease of the score that counts as better, as a fraction of the best one.
    #[serde(default = "ten_thousandth")]
    pub threshold: f64,
    /// Number of evaluations after a reduction that do not count.
    #[serde(default)]
    pub cooldown: u64,
    /// Smallest product of all reductions.
    #[serde(default)]
    pub min_share: f64,
}

fn half() -> f64 {
    0.5
}

fn ten_thousandth() -> f64 {
    1e-4
}

/// The size and the intervals of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Seed of all random numbers.
    #[serde(default)]
    pub seed: u64,
    /// Number of utterances in each update.
    pub batch_size: usize,
    /// Precision of the matrix products.
    #[serde(default)]
    pub precision: Precision,
    /// Number of batches drawn together and sorted by length, so that utterances of similar length share a
    /// batch.
    #[serde(default = "four")]
    pub bucket_batches: usize,
    /// Number of updates between two evaluations of the dev sets.
    pub eval_interval: u64,
    /// Number of updates between two checkpoints.
    pub checkpoint_interval: u64,
    /// Number of updates between two lines of the log.
    #[serde(default = "fifty")]
    pub log_interval: u64,
    /// Whether the model of every evaluation is kept in the run's folder, for averaging.
    #[serde(default)]
    pub keep_models: bool,
    /// Number of best evaluations whose models are averaged at the end; 0: none. The models are kept too.
    #[serde(default)]
    pub average_best: usize,
    /// How often a run that diverges goes on from an earlier checkpoint with a lower learning rate.
    #[serde(default = "three_times")]
    pub max_back_offs: u64,
    /// Factor of the learning rate each time.
    #[serde(default = "half")]
    pub back_off_factor: f64,
}

fn three_times() -> u64 {
    3
}

fn fifty() -> u64 {
    50
}

pub(super) fn four() -> usize {
    4
}
