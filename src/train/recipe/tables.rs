//! The tables of a recipe, as written in TOML.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::schedule::{Optimizer, Run, Schedule, four};
use crate::decode::DecoderOptions;
use crate::error::{Error, Result, Stage};
use crate::features::FbankOptions;
use crate::model::{CellKind, KERNEL_SIZE, LEFT_CONTEXT, LayerConfig, NUM_HEADS, NetworkConfig, TIME_STRIDE};
use crate::train::augment::{AugmentOptions, ComposeOptions, SpecAugmentOptions};

/// A recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The training data and dev sets.
    pub data: Data,
    /// The feature extraction.
    #[serde(default)]
    pub features: FbankOptions,
    /// The architecture of the network.
    pub network: NetworkTable,
    /// A second output, over the same tokens or over characters, used in training only.
    pub auxiliary: Option<Auxiliary>,
    /// The training criteria.
    #[serde(default)]
    pub loss: Loss,
    /// The effects on the waveform.
    #[serde(default)]
    pub augment: AugmentOptions,
    /// The masks on the features.
    #[serde(default)]
    pub specaugment: SpecAugmentOptions,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// The schedule of the learning rate and the examples.
    pub schedule: Schedule,
    /// The size and the intervals of the run.
    pub run: Run,
    /// The decoder's options, for dev scores and for the model.
    #[serde(default)]
    pub decoder: DecoderOptions,
}

/// The training data. Manifests are relative to the data folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The words that the model outputs; one token each. Either these or `characters`.
    #[serde(default)]
    pub words: Vec<String>,
    /// The characters that the model outputs, without the space; one token each.
    #[serde(default)]
    pub characters: String,
    /// A pronouncing dictionary in the data folder: the network then outputs phones and learns from all
    /// transcripts, and the model outputs `words` by their pronunciations.
    #[serde(default)]
    pub pronunciations: String,
    /// Additional pronunciations of the words, such as those of non-native speakers and children.
    #[serde(default)]
    pub variants: BTreeMap<String, Vec<String>>,
    /// Whether transcripts may contain words outside `words`, which are then ignored.
    #[serde(default)]
    pub ignore_other_words: bool,
    /// Manifests of recordings used as they are.
    #[serde(default)]
    pub recordings: Vec<Recordings>,
    /// Isolated words joined into strings.
    pub strings: Option<Strings>,
    /// Examples followed by another one, so that the network learns what comes after a pause.
    pub concatenation: Option<Concatenation>,
    /// Manifests of noise, which is mixed into recordings and also used alone.
    #[serde(default)]
    pub noise: Vec<String>,
    /// Weight of examples of noise or silence alone, relative to the other weights.
    #[serde(default)]
    pub silence_weight: f64,
    /// Fraction of those that are synthetic sounds: cries, bursts, knocks, beeps.
    #[serde(default)]
    pub generated_sounds: f64,
    /// Maximum fraction of recordings that cannot be read; if more cannot, training does not start.
    #[serde(default = "fifth")]
    pub max_unreadable: f64,
    /// The dev sets, scored during training; the weights with the lowest score are kept as the best.
    #[serde(default)]
    pub dev: Vec<Dev>,
    /// License of the model, for its metadata.
    #[serde(default)]
    pub license: String,
    /// Description of the training data, for the model's metadata.
    #[serde(default)]
    pub trained_on: String,
}

/// A manifest of recordings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recordings {
    /// Path of the manifest in the data folder.
    pub manifest: String,
    /// Weight of examples from this manifest, relative to the other weights.
    pub weight: f64,
    /// Maximum duration in seconds; longer recordings are left out.
    #[serde(default = "twenty")]
    pub max_duration: f64,
    /// Whether the main output learns from these recordings.
    #[serde(default = "yes")]
    pub main: bool,
    /// Whether the auxiliary output learns from these recordings.
    #[serde(default = "yes")]
    pub auxiliary: bool,
    /// Whether utterances without a word of the main output are left out.
    #[serde(default)]
    pub only_with_words: bool,
    /// Utterances whose path contains any of these are left out.
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
    /// Manifests of isolated words, each with a weight.
    pub pools: Vec<Pool>,
    /// Weight of strings, relative to the other weights.
    pub weight: f64,
    /// Minimum and maximum number of words in a string.
    pub words: [usize; 2],
    /// Probability that a word is repeated immediately.
    #[serde(default)]
    pub repeat_probability: f64,
    /// Probability that a string is by one speaker, as far as that speaker's words are available.
    #[serde(default)]
    pub same_speaker_probability: f64,
    /// Probability that a string contains other words.
    #[serde(default)]
    pub other_words_probability: f64,
    /// How the words are joined.
    #[serde(default)]
    pub compose: ComposeOptions,
}

/// Examples that are followed by another one after a pause, as in a stream of several speakers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concatenation {
    /// Probability that an example is followed by another one.
    pub probability: f64,
    /// Shortest and longest pause between them, seconds.
    #[serde(default = "pauses")]
    pub pause_s: [f64; 2],
}

fn pauses() -> [f64; 2] {
    [0.1, 2.5]
}

/// A manifest of isolated words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Path of the manifest in the data folder.
    pub manifest: String,
    /// Weight of the manifest, relative to the other pools.
    pub weight: f64,
}

/// A dev set: a manifest to score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dev {
    /// Path of the manifest in the data folder.
    pub manifest: String,
    /// Weight of its score in the sum that determines the best weights; 0: reported only.
    #[serde(default = "one")]
    pub weight: f64,
    /// What is scored.
    #[serde(default)]
    pub measure: Measure,
    /// Pairs of words that count as equal, such as `oh=zero`.
    #[serde(default)]
    pub equal: Vec<String>,
    /// Maximum number of utterances, of which every n-th is used; 0 for all.
    #[serde(default)]
    pub most: usize,
}

/// The measure of a dev set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Word error rate.
    #[default]
    Error,
    /// Recognized words that were not said, in hundreds per hour.
    Rejection,
}

/// The architecture of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkTable {
    /// One cell for all layers, or one for each layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<CellKind>,
    /// Size of the state of each layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<usize>,
    /// Size of the linear input layer's output.
    pub input_size: usize,
    /// Number of steps in the kernel of `conv`, its own included.
    #[serde(default = "kernel_size")]
    pub kernel_size: usize,
    /// Number of heads of `attention` and of blocks in the gates of `rglru`; it divides the width of their layers.
    #[serde(default = "num_heads")]
    pub num_heads: usize,
    /// Number of earlier steps that a step of `attention` depends on.
    #[serde(default = "left_context")]
    pub left_context: usize,
    /// Width of the hidden layer in the feed-forward part of `attention`; without it four times the width of the layer.
    pub dim_feedforward: Option<usize>,
    /// Width between the two factors of `tdnnf`; without it half the width of the layer.
    pub bottleneck_dim: Option<usize>,
    /// Distance, in steps, of the two steps that a factor of `tdnnf` depends on.
    #[serde(default = "time_stride")]
    pub time_stride: usize,
    /// Width of the cell of `lstmp`; without it twice the width of the layer.
    pub cell_dim: Option<usize>,
    /// Number of feature frames stacked for each time step.
    #[serde(default = "four")]
    pub subsampling: usize,
    /// Whether layer normalization follows the input layer and each recurrent layer.
    #[serde(default = "yes")]
    pub layer_norm: bool,
    /// Whether layers with equal input and output size have a residual connection.
    #[serde(default)]
    pub residual: bool,
    /// Probability that a value between layers is set to zero in training.
    #[serde(default)]
    pub dropout: f64,
    /// Whether the same values are set to zero at every step of an utterance.
    #[serde(default)]
    pub variational_dropout: bool,
    /// The layers whose parameters stay as they are: `input`, `layer 1` and so on, `output`, `auxiliary`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<String>,
    /// The layers, each with sizes of its own: `[[network.layers]]`, in place of `cells` and `hidden`. A size that is not
    /// there has the default of the cell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerConfig>,
}

impl NetworkTable {
    /// The table of an existing network, for further training. It lists the layers one by one if one size for all does not
    /// describe them.
    pub fn from_config(config: &NetworkConfig) -> Self {
        let shared = Self::with_shared_sizes(config);
        if shared.layers() == config.layers {
            return shared;
        }
        Self {
            cells: Vec::new(),
            hidden: Vec::new(),
            kernel_size: KERNEL_SIZE,
            num_heads: NUM_HEADS,
            left_context: LEFT_CONTEXT,
            dim_feedforward: None,
            bottleneck_dim: None,
            time_stride: TIME_STRIDE,
            layers: config.layers.clone(),
            ..shared
        }
    }

    fn with_shared_sizes(config: &NetworkConfig) -> Self {
        let most =
            |size: fn(&LayerConfig) -> usize| config.layers.iter().map(size).max().filter(|&size| size > 0);
        Self {
            cells: config.layers.iter().map(|l| l.cell).collect(),
            hidden: config.layers.iter().map(|l| l.hidden).collect(),
            input_size: config.input_size,
            kernel_size: most(|layer| layer.kernel_size).unwrap_or(KERNEL_SIZE),
            num_heads: most(|layer| layer.num_heads).unwrap_or(NUM_HEADS),
            left_context: most(|layer| layer.left_context).unwrap_or(LEFT_CONTEXT),
            dim_feedforward: most(|layer| layer.dim_feedforward),
            bottleneck_dim: most(|layer| layer.bottleneck_dim),
            time_stride: most(|layer| layer.time_stride).unwrap_or(TIME_STRIDE),
            cell_dim: most(|layer| layer.cell_dim),
            subsampling: config.subsampling,
            layer_norm: config.layer_norm,
            residual: config.residual,
            dropout: 0.0,
            variational_dropout: false,
            freeze: Vec::new(),
            layers: Vec::new(),
        }
    }

    /// The layers described by `cells` and `hidden`.
    pub(super) fn layers(&self) -> Vec<LayerConfig> {
        let cell = |i: usize| self.cells[if self.cells.len() == 1 { 0 } else { i }];
        self.hidden.iter().enumerate().map(|(i, &hidden)| self.layer(cell(i), hidden)).collect()
    }

    /// The configuration of a layer of `cells` and `hidden`.
    fn layer(&self, cell: CellKind, hidden: usize) -> LayerConfig {
        let plain = LayerConfig::new(cell, hidden);
        match cell {
            CellKind::Conv => LayerConfig { kernel_size: self.kernel_size, ..plain },
            CellKind::RgLru => LayerConfig { num_heads: self.num_heads, ..plain },
            CellKind::Attention => LayerConfig {
                num_heads: self.num_heads,
                left_context: self.left_context,
                dim_feedforward: self.dim_feedforward.unwrap_or(plain.dim_feedforward),
                ..plain
            },
            CellKind::Tdnnf => LayerConfig {
                bottleneck_dim: self.bottleneck_dim.unwrap_or(plain.bottleneck_dim),
                time_stride: self.time_stride,
                ..plain
            },
            CellKind::Lstmp => LayerConfig { cell_dim: self.cell_dim.unwrap_or(plain.cell_dim), ..plain },
            _ => plain,
        }
    }

    /// The table as TOML text of a recipe.
    ///
    /// # Errors
    /// Never in practice: all settings of a network can be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        let failed = |e: toml::ser::Error| Error::new(Stage::Train, e.to_string()).at("[network]");
        Ok(format!("[network]\n{}", toml::to_string(self).map_err(failed)?))
    }
}

fn kernel_size() -> usize {
    KERNEL_SIZE
}

fn num_heads() -> usize {
    NUM_HEADS
}

fn left_context() -> usize {
    LEFT_CONTEXT
}

fn time_stride() -> usize {
    TIME_STRIDE
}

fn one() -> f64 {
    1.0
}

/// The auxiliary output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auxiliary {
    /// Its characters, without the space; other characters of a transcript are ignored. If empty, it has
    /// the tokens of the main output (Lee and Watanabe, 2021, "Intermediate loss regularization for
    /// CTC-based speech recognition").
    #[serde(default)]
    pub characters: String,
    /// The recurrent layer that it is computed from, counted from 0.
    pub layer: usize,
    /// Weight of its loss.
    pub weight: f64,
}

/// The training criteria, whose weighted sum is minimized.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// Weight of the CTC loss.
    pub ctc_weight: f64,
    /// Weight of the consistency loss between two differently masked views of each utterance (Yao et al.,
    /// 2025, "CR-CTC: consistency regularization on CTC"); with 0 there is one view.
    pub consistency_weight: f64,
    /// Maximum mutual information, which needs `data.pronunciations`.
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
    /// Weight of the MMI loss.
    pub weight: f64,
    /// What the transcript is compared with.
    #[serde(default)]
    pub denominator: Denominator,
    /// Order of the phone n-gram, for the denominator `phones`.
    #[serde(default = "three")]
    pub order: usize,
    /// Maximum number of histories of the phone n-gram.
    #[serde(default = "thousand")]
    pub states: usize,
    /// Fraction of each frame's probability that leaks into any state of the denominator.
    #[serde(default = "small")]
    pub leak: f64,
    /// For the denominator `words`: weight of utterances without a word of the lexicon, relative to those
    /// with words.
    #[serde(default = "one")]
    pub other_weight: f64,
}

/// The denominator of the MMI criterion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denominator {
    /// Any phones, with an n-gram of the transcripts: lattice-free MMI.
    #[default]
    Phones,
    /// The words of the lexicon and out-of-vocabulary speech, at the decoder's costs.
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

/// An error in a table or key of a recipe.
pub(super) fn wrong(place: &str, problem: impl Into<String>) -> Error {
    Error::new(Stage::Train, problem).at(place)
}
