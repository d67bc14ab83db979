//! The tables of a recipe, as they stand in TOML.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decode::DecoderOptions;
use crate::error::{Error, Result, Stage};
use crate::features::FbankOptions;
use crate::model::{CellKind, NetworkConfig};
use crate::train::augment::{AugmentOptions, ComposeOptions, SpecAugmentOptions};

/// A whole recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub data: Data,
    #[serde(default)]
    pub features: FbankOptions,
    pub network: NetworkTable,
    /// A second output, over the same tokens or over characters, for training only.
    pub auxiliary: Option<Auxiliary>,
    #[serde(default)]
    pub loss: Loss,
    #[serde(default)]
    pub augment: AugmentOptions,
    #[serde(default)]
    pub specaugment: SpecAugmentOptions,
    #[serde(default)]
    pub optimizer: Optimizer,
    pub schedule: Schedule,
    pub run: Run,
    #[serde(default)]
    pub decoder: DecoderOptions,
}

/// What is learnt from. Manifests are relative to the data folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The words that the model writes; a token each. Either these or `characters`.
    #[serde(default)]
    pub words: Vec<String>,
    /// The characters that the model writes, without the space; a token each.
    #[serde(default)]
    pub characters: String,
    /// A pronouncing dictionary below the data folder: the model then hears phones, learns from all
    /// that is said, and writes `words` by their pronunciations.
    #[serde(default)]
    pub pronunciations: String,
    /// Further ways to say the words, as people do who learnt the language late or not yet.
    #[serde(default)]
    pub variants: BTreeMap<String, Vec<String>>,
    /// Whether transcripts may have words outside `words`, which are then not to be written.
    #[serde(default)]
    pub ignore_other_words: bool,
    /// Recordings used as they are.
    #[serde(default)]
    pub recordings: Vec<Recordings>,
    /// Isolated words joined into strings.
    pub strings: Option<Strings>,
    /// Noise mixed in, and heard alone.
    #[serde(default)]
    pub noise: Vec<String>,
    /// How often an example is noise or silence alone, relative to the other weights.
    #[serde(default)]
    pub silence_weight: f64,
    /// The share of those that are sounds made by code: cries, bursts, knocks, beeps.
    #[serde(default)]
    pub generated_sounds: f64,
    /// Training ends before it begins when more than this share of the recordings cannot be read.
    #[serde(default = "fifth")]
    pub max_unreadable: f64,
    /// What is scored as training goes; the best weights are those of the lowest score.
    #[serde(default)]
    pub dev: Vec<Dev>,
    #[serde(default)]
    pub license: String,
    #[serde(default)]
    pub trained_on: String,
}

/// A manifest of recordings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recordings {
    pub manifest: String,
    /// How often an example comes from here, relative to the other weights.
    pub weight: f64,
    /// Longer ones are left out, seconds.
    #[serde(default = "twenty")]
    pub max_duration: f64,
    /// Whether the main output learns from it.
    #[serde(default = "yes")]
    pub main: bool,
    /// Whether the auxiliary output learns from it.
    #[serde(default = "yes")]
    pub auxiliary: bool,
    /// Whether utterances without a word of the main output are left out.
    #[serde(default)]
    pub only_with_words: bool,
    /// Utterances whose path holds any of these are left out.
    #[serde(default)]
    pub exclude: Vec<String>,
}

fn fifth() -> f64 {
    0.2
}

fn twenty() -> f64 {
    20.0
}

fn yes() -> bool {
    true
}

/// Strings composed of isolated words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strings {
    /// Manifests of isolated words, each with its share.
    pub pools: Vec<Pool>,
    /// How often an example is a string, relative to the other weights.
    pub weight: f64,
    /// Words in a string, fewest and most.
    pub words: [usize; 2],
    /// How likely a word is to be said again at once.
    #[serde(default)]
    pub repeat_probability: f64,
    /// How likely a string is to be one speaker's, as far as there are words of theirs.
    #[serde(default)]
    pub same_speaker_probability: f64,
    /// How likely a string is to have other words in it.
    #[serde(default)]
    pub other_words_probability: f64,
    #[serde(default)]
    pub compose: ComposeOptions,
}

/// One source of isolated words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    pub manifest: String,
    pub weight: f64,
}

/// A manifest to score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dev {
    pub manifest: String,
    /// Its weight in the score that chooses the best weights.
    #[serde(default)]
    pub weight: f64,
    /// `error`: word error rate; `rejection`: words written that were not said, in hundreds an
    /// hour.
    #[serde(default)]
    pub measure: Measure,
    /// Pairs such as `oh=zero` that count as the same word.
    #[serde(default)]
    pub equal: Vec<String>,
    /// No more than so many utterances (every n-th), 0 for all.
    #[serde(default)]
    pub most: usize,
}

/// What a dev manifest is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    #[default]
    Error,
    Rejection,
}

/// The architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkTable {
    /// The cell of every layer, or one a layer.
    pub cells: Vec<CellKind>,
    /// Width of each layer's state.
    pub hidden: Vec<usize>,
    pub input_size: usize,
    #[serde(default = "four")]
    pub subsampling: usize,
    #[serde(default = "yes")]
    pub layer_norm: bool,
    #[serde(default)]
    pub residual: bool,
    /// Share of values set to zero between layers in training.
    #[serde(default)]
    pub dropout: f64,
    /// Whether these are the same at every step of an utterance.
    #[serde(default)]
    pub variational_dropout: bool,
}

impl NetworkTable {
    /// The table of a network that is there already, to train on from it.
    pub fn of(config: &NetworkConfig) -> Self {
        Self {
            cells: config.layers.iter().map(|l| l.cell).collect(),
            hidden: config.layers.iter().map(|l| l.hidden).collect(),
            input_size: config.input_size,
            subsampling: config.subsampling,
            layer_norm: config.layer_norm,
            residual: config.residual,
            dropout: 0.0,
            variational_dropout: false,
        }
    }

    /// The table as it stands in a recipe.
    ///
    /// # Errors
    /// Never, for a network that can be: all its settings can be written.
    pub fn to_toml(&self) -> Result<String> {
        let failed = |e: toml::ser::Error| Error::new(Stage::Train, e.to_string()).at("[network]");
        Ok(format!("[network]\n{}", toml::to_string(self).map_err(failed)?))
    }
}

fn one() -> f64 {
    1.0
}

fn four() -> usize {
    4
}

/// The second output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auxiliary {
    /// Its characters, without the space; others in a transcript are left out. Without any it writes
    /// what the main output writes, from a lower layer (Lee, Watanabe 2021, "Intermediate loss
    /// regularization for CTC-based speech recognition").
    #[serde(default)]
    pub characters: String,
    /// Which layer it stands on, from 0.
    pub layer: usize,
    /// Its loss counts so much.
    pub weight: f64,
}

/// The criteria that are minimized together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// What CTC counts.
    pub ctc_weight: f64,
    /// What it counts that two views of each utterance, with different masks, say the same (Yao et al.
    /// 2025, "CR-CTC: consistency regularization on CTC"); without it there is one view.
    pub consistency_weight: f64,
    /// Maximum mutual information, with `data.pronunciations`.
    pub mmi: Option<MmiTable>,
}

impl Default for Loss {
    fn default() -> Self {
        Self { ctc_weight: 1.0, consistency_weight: 0.0, mmi: None }
    }
}

/// Maximum mutual information ([`crate::train::loss::mmi`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MmiTable {
    /// Its loss counts so much beside that of CTC.
    pub weight: f64,
    #[serde(default)]
    pub denominator: Denominator,
    /// Phones of the n-gram's n-grams.
    #[serde(default = "three")]
    pub order: usize,
    /// The n-gram's most histories.
    #[serde(default = "thousand")]
    pub states: usize,
    /// The share of a frame's paths that go on from anywhere.
    #[serde(default = "small")]
    pub leak: f64,
    /// Against words: what the loss of noise and other speech, without a word of the lexicon, counts
    /// beside that of words.
    #[serde(default = "one")]
    pub other_weight: f64,
}

/// What the speech is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denominator {
    /// Any phones, by an n-gram of the transcripts: lattice-free MMI.
    #[default]
    Phones,
    /// The words of the lexicon and other speech, at the decoder's costs.
    Words,
}

fn three() -> usize {
    3
}

fn thousand() -> usize {
    1000
}

fn small() -> f64 {
    1e-5
}

/// AdamW (Loshchilov, Hutter 2019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// On matrices only.
    pub weight_decay: f64,
    /// The gradient of all parameters together is no longer than this.
    pub clip_norm: f64,
    /// Decay of the moving average of the weights, which is what is scored and kept; 0 for none.
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

/// How the learning rate and the examples change over the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Updates in all.
    pub steps: u64,
    /// The learning rate rises from 0 over so many.
    #[serde(default)]
    pub warmup_steps: u64,
    /// Then it falls along a cosine to this share of its height.
    #[serde(default)]
    pub final_share: f64,
    /// Composed strings grow from the fewest words to the most over so many.
    #[serde(default)]
    pub lengthen_steps: u64,
    /// Recordings longer than `short_seconds` wait until then.
    #[serde(default)]
    pub short_steps: u64,
    #[serde(default)]
    pub short_seconds: f64,
}

/// The run itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    #[serde(default)]
    pub seed: u64,
    /// Utterances an update.
    pub batch_size: usize,
    /// Batches that are drawn together and sorted by length.
    #[serde(default = "four")]
    pub bucket_batches: usize,
    /// Updates between two looks at the dev sets.
    pub eval_interval: u64,
    /// Updates between two checkpoints.
    pub checkpoint_interval: u64,
    /// Updates between two lines of the log.
    #[serde(default = "fifty")]
    pub log_interval: u64,
    /// Whether the model of every dev score stays in the run's folder, for averaging.
    #[serde(default)]
    pub keep_models: bool,
}

fn fifty() -> u64 {
    50
}

/// An error in a table or key of a recipe.
pub(super) fn wrong(place: &str, problem: impl Into<String>) -> Error {
    Error::new(Stage::Train, problem).at(place)
}
