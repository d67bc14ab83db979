//! The recipe: everything that decides what a training run learns, as TOML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::augment::{AugmentOptions, ComposeOptions, SpecAugmentOptions};
use super::ranges;
use crate::error::{Error, Result, Stage, io};
use crate::features::FbankOptions;
use crate::model::{AuxiliaryConfig, CellKind, LayerConfig, NetworkConfig};
use crate::onnx::{DecoderOptions, Pronunciation};
use crate::text::pronunciation::{ARPABET, Pronunciations, phone_tokens};
use crate::text::{TokenTable, normalize};

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

/// Maximum mutual information ([`super::loss::mmi`]).
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

pub(super) fn wrong(place: &str, problem: impl Into<String>) -> Error {
    Error::new(Stage::Train, problem).at(place)
}

impl Recipe {
    /// Reads a recipe's text. Its words and characters are folded as transcripts are: lower case, in
    /// Unicode's composed form.
    ///
    /// # Errors
    /// Names the line; an unknown key comes with the nearest known one; impossible values are
    /// named with their table.
    pub fn parse(text: &str) -> Result<Self> {
        let mut recipe: Self = toml::from_str(text).map_err(|e| toml_error(text, &e))?;
        recipe.fold()?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// Reads a recipe file.
    ///
    /// # Errors
    /// As [`Recipe::parse`], with the file's name.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| io(Stage::Train, path, e))?;
        Self::parse(&text).map_err(|e| e.in_file(path))
    }

    /// The whole recipe as TOML, with every default filled in; [`Recipe::parse`] reads the same of it.
    ///
    /// # Errors
    /// When a setting cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::new(Stage::Train, e.to_string()).at("the recipe"))
    }

    fn fold(&mut self) -> Result<()> {
        for word in &mut self.data.words {
            *word = one_word(word, "data: words")?;
        }
        let variants = std::mem::take(&mut self.data.variants);
        for (word, ways) in variants {
            let word = one_word(&word, "data.variants")?;
            if !self.data.words.contains(&word) {
                return Err(wrong("data.variants", format!("`{word}` is not among `words`")));
            }
            self.data.variants.entry(word).or_default().extend(ways);
        }
        self.data.characters = normalize::fold(&self.data.characters);
        if let Some(auxiliary) = &mut self.auxiliary {
            auxiliary.characters = normalize::fold(&auxiliary.characters);
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        self.tokens()?;
        self.network_config()?;
        ranges::check(self)?;
        if let Some(strings) = &self.data.strings {
            if strings.words[0] == 0 || strings.words[0] > strings.words[1] || strings.words[1] > 1000 {
                return Err(wrong("data.strings: words", "expected [fewest, most], from 1 to 1000"));
            }
            if self.data.words.is_empty() {
                return Err(wrong(
                    "data.strings",
                    "strings are composed of `data.words`, which are not given",
                ));
            }
        }
        if self.loss.mmi.is_some() && self.data.pronunciations.is_empty() {
            return Err(wrong("loss.mmi", "it is between pronunciations; expected `data: pronunciations`"));
        }
        Ok(())
    }

    /// The tokens of the main output: the blank, then a token a word, or the space and a token a
    /// character.
    ///
    /// # Errors
    /// When neither or both alphabets are given, or a token stands twice.
    pub fn tokens(&self) -> Result<TokenTable> {
        if !self.data.pronunciations.is_empty() {
            if self.data.words.is_empty() || !self.data.characters.is_empty() {
                return Err(wrong("data", "with `pronunciations`, expected `words` and no `characters`"));
            }
            return phone_tokens();
        }
        match (self.data.words.is_empty(), self.data.characters.is_empty()) {
            (false, true) => {
                let words = self.data.words.iter().map(|w| format!("▁{w}"));
                TokenTable::new(std::iter::once("<blk>".to_string()).chain(words).collect(), 0)
                    .map_err(|e| e.at("data: words"))
            }
            (true, false) => character_tokens(&self.data.characters).map_err(|e| e.at("data: characters")),
            _ => Err(wrong("data", "expected either `words` or `characters`")),
        }
    }

    /// The words that are written and every way to say them: those of the dictionary, then the
    /// recipe's own. Empty unless there is a dictionary.
    ///
    /// # Errors
    /// When a word has no pronunciation, or a variant has a phone that is none.
    pub fn lexicon(&self, dictionary: Option<&Pronunciations>) -> Result<Vec<Pronunciation>> {
        let Some(dictionary) = dictionary else { return Ok(Vec::new()) };
        let mut lexicon = Vec::new();
        for word in &self.data.words {
            let mut ways: Vec<Vec<String>> = dictionary
                .of(word)
                .iter()
                .map(|phones| phones.iter().map(|&p| ARPABET[p as usize - 1].to_string()).collect())
                .collect();
            for variant in self.data.variants.get(word).into_iter().flatten() {
                let phones: Vec<String> = variant.split_whitespace().map(String::from).collect();
                if let Some(other) = phones.iter().find(|p| !ARPABET.contains(&p.as_str())) {
                    return Err(wrong(&format!("data.variants: {word}"), format!("`{other}` is no phone")));
                }
                if !ways.contains(&phones) {
                    ways.push(phones);
                }
            }
            if ways.iter().all(Vec::is_empty) {
                return Err(wrong("data: words", format!("the dictionary does not have `{word}`"))
                    .hint("say how it is said in [data.variants]"));
            }
            lexicon.extend(ways.into_iter().map(|tokens| Pronunciation { word: word.clone(), tokens }));
        }
        Ok(lexicon)
    }

    /// The tokens of the auxiliary output, if there is one.
    ///
    /// # Errors
    /// When a character stands twice.
    pub fn auxiliary_tokens(&self) -> Result<Option<TokenTable>> {
        let table = self.auxiliary.as_ref().map(|auxiliary| match auxiliary.characters.as_str() {
            "" => self.tokens(),
            characters => character_tokens(characters).map_err(|e| e.at("auxiliary: characters")),
        });
        table.transpose()
    }

    /// The architecture.
    ///
    /// # Errors
    /// When the layers do not fit together or a size is 0 or beyond reason.
    pub fn network_config(&self) -> Result<NetworkConfig> {
        let table = &self.network;
        let count = table.hidden.len();
        if count == 0 || (table.cells.len() != 1 && table.cells.len() != count) {
            let found = format!("{} cells and {count} widths", table.cells.len());
            return Err(wrong(
                "network",
                format!("expected a width a layer and one cell or one a layer, found {found}"),
            ));
        }
        let cell = |i: usize| table.cells[if table.cells.len() == 1 { 0 } else { i }];
        let sizes = table.hidden.iter().chain([&table.input_size, &table.subsampling]);
        if sizes.clone().any(|&size| size == 0 || size > 16_384) {
            return Err(wrong("network", "expected sizes from 1 to 16384"));
        }
        Ok(NetworkConfig {
            num_features: self.features.num_mel_bins,
            subsampling: table.subsampling,
            input_size: table.input_size,
            layers: table
                .hidden
                .iter()
                .enumerate()
                .map(|(i, &h)| LayerConfig { cell: cell(i), hidden: h })
                .collect(),
            layer_norm: table.layer_norm,
            residual: table.residual,
            num_tokens: self.tokens()?.len(),
            auxiliary: self.auxiliary_config()?,
        })
    }

    fn auxiliary_config(&self) -> Result<Option<AuxiliaryConfig>> {
        let Some(auxiliary) = &self.auxiliary else { return Ok(None) };
        if auxiliary.layer >= self.network.hidden.len() {
            let layers = self.network.hidden.len();
            return Err(wrong(
                "auxiliary: layer",
                format!("expected a number below the {layers} layers, found {}", auxiliary.layer),
            ));
        }
        let num_tokens = self.auxiliary_tokens()?.map_or(0, |t| t.len());
        Ok(Some(AuxiliaryConfig { layer: auxiliary.layer, num_tokens }))
    }

    /// A manifest's place below the data folder.
    pub fn manifest(data: &Path, name: &str) -> PathBuf {
        data.join(name)
    }
}

/// A word of a recipe, folded as the words of transcripts are.
fn one_word(word: &str, place: &str) -> Result<String> {
    match <[String; 1]>::try_from(normalize::words(word)) {
        Ok([word]) => Ok(word),
        Err(words) => {
            let problem = format!("expected single words, found `{word}`, which is read as {}", words.len());
            Err(wrong(place, problem).hint("list each word by itself, without punctuation"))
        }
    }
}

fn character_tokens(characters: &str) -> Result<TokenTable> {
    let letters = characters.chars().map(String::from);
    TokenTable::new(["<blk>".to_string(), "▁".to_string()].into_iter().chain(letters).collect(), 0)
}

/// A TOML error with its line, and for an unknown key the known one that is nearest.
fn toml_error(text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().to_string();
    let mut out = Error::new(Stage::Train, message.clone());
    if let Some(span) = error.span() {
        let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
        out = out.at(format!("line {line}"));
    }
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if message.starts_with("unknown field")
        && let Some((key, known)) = quoted.split_first()
        && let Some(nearest) = known.iter().min_by_key(|k| distance(key, k))
    {
        out = out.hint(format!("did you mean `{nearest}`?"));
    }
    out
}

/// Edits between two keys.
fn distance(a: &str, b: &str) -> u64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    crate::eval::count_edits(&a, &b).errors()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
[data]
words = ["yes", "no"]
[network]
cells = ["gru"]
hidden = [8, 8]
input_size = 8
[schedule]
steps = 10
[run]
batch_size = 2
eval_interval = 10
checkpoint_interval = 10
"#;

    #[test]
    fn a_small_recipe_has_defaults() {
        let recipe = Recipe::parse(SMALL).expect("a good recipe");
        assert_eq!(recipe.tokens().expect("words").tokens(), ["<blk>", "▁yes", "▁no"]);
        let config = recipe.network_config().expect("a good network");
        assert_eq!((config.layers.len(), config.num_tokens, config.subsampling), (2, 3, 4));
    }

    #[test]
    fn an_unknown_key_comes_with_the_nearest() {
        let text = SMALL.replace("input_size", "input_sise");
        let error = Recipe::parse(&text).expect_err("a misspelt key").to_string();
        assert!(error.contains("input_sise") && error.contains("did you mean `input_size`"), "{error}");
        assert!(error.contains("line 7"), "{error}");
    }

    #[test]
    fn criteria_that_cannot_be_are_named() {
        let phones = SMALL.replace("[data]\n", "[data]\npronunciations = \"words.dict\"\n");
        for (text, more, place) in [
            (SMALL, "[loss.mmi]\nweight = 1.0", "data: pronunciations"),
            (&phones, "[loss.mmi]\nweight = 1.0\norder = 1", "order"),
            (&phones, "[loss.mmi]\nweight = 1.0\nleak = 1.0", "leak"),
            (SMALL, "[loss]\nconsistency_weight = -0.1", "consistency_weight"),
            (SMALL, "[loss]\nctc_weight = nan", "ctc_weight"),
        ] {
            let error = Recipe::parse(&format!("{text}{more}\n")).expect_err(more).to_string();
            assert!(error.contains(place), "{more}: {error}");
        }
        assert!(Recipe::parse(&format!("{phones}[loss.mmi]\nweight = 1.0\n")).is_ok());
    }

    #[test]
    fn an_auxiliary_output_without_characters_has_the_tokens_of_the_main_one() {
        let tokens = |more: &str| {
            let recipe = Recipe::parse(&format!("{SMALL}[auxiliary]\nlayer = 0\nweight = 0.3\n{more}"));
            recipe
                .expect("a good recipe")
                .auxiliary_tokens()
                .expect("good tokens")
                .expect("an auxiliary output")
        };
        assert_eq!(tokens("").tokens(), ["<blk>", "▁yes", "▁no"]);
        assert_eq!(tokens("characters = \"ab\"").tokens(), ["<blk>", "▁", "a", "b"]);
    }

    #[test]
    fn impossible_values_are_named() {
        for (from, to, place) in [
            ("batch_size = 2", "batch_size = 0", "batch_size"),
            ("hidden = [8, 8]", "hidden = []", "network"),
            ("[\"yes\", \"no\"]", "[\"yes\", \"yes\"]", "yes"),
            ("steps = 10", "steps = 0", "steps"),
        ] {
            let error = Recipe::parse(&SMALL.replace(from, to)).expect_err(to).to_string();
            assert!(error.contains(place), "{to}: {error}");
        }
    }
}
