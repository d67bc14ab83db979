//! The metadata of a model file.

use std::collections::HashMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::states::state_specs;
use crate::decode::DecoderOptions;
use crate::error::{Error, Result, Stage};
use crate::features::FbankOptions;
use crate::model::NetworkConfig;
use crate::text::TokenTable;

/// The version of the layout of hearken's files that this program reads and writes.
pub const FORMAT: &str = "1";

/// The keys that every file has, in the order in which they are written.
const KEYS: [&str; 12] = [
    "hearken.format",
    "features",
    "tokens",
    "subsampling",
    "blank",
    "states",
    "sample_rate",
    "hearken.decoder",
    "license",
    "trained_on",
    "recipe",
    "created_by",
];

/// The metadata of a model file.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// The feature extraction that the network was trained with.
    pub features: FbankOptions,
    /// The tokens, one for each output of the network.
    pub tokens: TokenTable,
    /// Settings of the decoder, including the lexicon.
    pub decoder: DecoderOptions,
    /// License of the model.
    pub license: String,
    /// Description of the training data.
    pub trained_on: String,
    /// The training recipe as TOML; empty for an imported model.
    pub recipe: String,
    /// Name and version of the program that created the model.
    pub created_by: String,
    /// All other entries of the file, which are kept when it is rewritten.
    pub other: Vec<(String, String)>,
}

impl Metadata {
    /// Encodes the metadata as entries of a file; [`Metadata::from_entries`] is the inverse.
    ///
    /// # Errors
    /// When a setting does not survive JSON (NaN), or `other` contains a key twice or one that hearken uses.
    pub fn to_entries(&self, config: &NetworkConfig) -> Result<Vec<(String, String)>> {
        let states: Vec<Value> = state_specs(config)
            .into_iter()
            .map(|s| {
                let mut shape: Vec<Value> = s.shape.iter().map(|&d| json!(d)).collect();
                shape[s.batch_axis] = json!("N");
                json!({ "input": s.input, "output": s.output, "shape": shape, "batch_axis": s.batch_axis, "initial": 0.0 })
            })
            .collect();
        let values = [
            FORMAT.to_string(),
            to_json("features", &self.features)?,
            to_json("tokens", self.tokens.tokens())?,
            config.subsampling.to_string(),
            self.tokens.blank().to_string(),
            to_json("states", &states)?,
            self.features.sample_rate.to_string(),
            to_json("hearken.decoder", &self.decoder)?,
            self.license.clone(),
            self.trained_on.clone(),
            self.recipe.clone(),
            self.created_by.clone(),
        ];
        let mut entries: Vec<(String, String)> = KEYS.iter().map(|k| k.to_string()).zip(values).collect();
        // A required entry comes last, so that a file truncated anywhere is recognized as such.
        let last = entries.len() - 1;
        entries.splice(last..last, self.other.iter().cloned());
        if Self::from_entries(&entries)? != *self {
            return Err(Error::new(Stage::Model, "expected finite numbers in the metadata"));
        }
        Ok(entries)
    }

    /// Decodes the entries of a file.
    ///
    /// # Errors
    /// Names all missing keys, or an entry that occurs twice or cannot be read.
    pub fn from_entries(entries: &[(String, String)]) -> Result<Self> {
        let mut found: HashMap<&str, &str> = HashMap::with_capacity(entries.len());
        for (key, value) in entries {
            if found.insert(key, value).is_some() {
                return Err(Error::new(Stage::Model, "the entry occurs twice").at(format!("metadata {key}")));
            }
        }
        let missing: Vec<&str> = KEYS.into_iter().filter(|key| !found.contains_key(key)).collect();
        if !missing.is_empty() {
            return Err(Error::new(Stage::Model, format!("missing metadata: {}", missing.join(", ")))
                .hint("every file that hearken writes contains them"));
        }
        let value = |key: &str| found.get(key).copied().unwrap_or_default();
        if value("hearken.format") != FORMAT {
            let found = value("hearken.format");
            return Err(bad("hearken.format", format!("expected format {FORMAT}, found {found:?}"))
                .hint("the file was made by another version of hearken"));
        }
        let features: FbankOptions = whole_json("features", value("features"), &FbankOptions::default())?;
        let blank = number("blank", value("blank"))?;
        let tokens = TokenTable::new(from_json("tokens", value("tokens"))?, blank)
            .map_err(|e| e.at("metadata tokens"))?;
        if number("sample_rate", value("sample_rate"))? != features.sample_rate {
            let (found, expected) = (value("sample_rate"), features.sample_rate);
            return Err(bad("sample_rate", format!("expected {expected} as in `features`, found {found}")));
        }
        let ours = |key: &str| KEYS.contains(&key);
        Ok(Self {
            features,
            tokens,
            decoder: from_json("hearken.decoder", value("hearken.decoder"))?,
            license: value("license").into(),
            trained_on: value("trained_on").into(),
            recipe: value("recipe").into(),
            created_by: value("created_by").into(),
            other: entries.iter().filter(|(key, _)| !ours(key)).cloned().collect(),
        })
    }

    /// Whether the model can output a word (in lower case): by its lexicon, or by its tokens if it has
    /// none.
    pub fn writes(&self, word: &str) -> bool {
        match self.decoder.lexicon.is_empty() {
            true => self.tokens.encode(word).is_ok(),
            false => self.decoder.lexicon.iter().any(|entry| entry.word == word),
        }
    }

    /// Checks that the metadata fit a network.
    ///
    /// # Errors
    /// When the number of tokens or of features differs.
    pub fn check(&self, config: &NetworkConfig) -> Result<()> {
        if self.tokens.len() != config.num_tokens {
            let (found, expected) = (self.tokens.len(), config.num_tokens);
            return Err(bad(
                "tokens",
                format!("expected {expected} tokens as the network has, found {found}"),
            ));
        }
        if self.features.num_mel_bins != config.num_features {
            let (found, expected) = (self.features.num_mel_bins, config.num_features);
            return Err(bad(
                "features",
                format!("expected {expected} mel bins as the network takes, found {found}"),
            ));
        }
        Ok(())
    }
}

/// Whether `key` is one of hearken's own entries.
pub(super) fn is_hearken_key(key: &str) -> bool {
    KEYS.contains(&key)
}

/// The entry `subsampling`, which is part of the network's configuration.
pub(super) fn subsampling(entries: &[(String, String)]) -> Result<usize> {
    let value = entries.iter().find(|(key, _)| key == "subsampling").map_or("", |(_, value)| value);
    Ok(number("subsampling", value)? as usize)
}

fn bad(key: &str, problem: String) -> Error {
    Error::new(Stage::Model, problem).at(format!("metadata {key}"))
}

fn number(key: &str, value: &str) -> Result<u32> {
    value.parse().map_err(|_| bad(key, format!("expected a whole number, found {:?}", shorten(value))))
}

fn to_json<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| bad(key, e.to_string()))
}

fn from_json<T: DeserializeOwned>(key: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| bad(key, format!("{e}, in {:?}", shorten(text))).caused_by(e))
}

/// Parses settings of which none may be absent: a default filled in on reading could differ from the one
/// used in training.
fn whole_json<T: DeserializeOwned + Serialize>(key: &str, text: &str, example: &T) -> Result<T> {
    let given: serde_json::Map<String, Value> = from_json(key, text)?;
    if let Ok(Value::Object(all)) = serde_json::to_value(example) {
        let missing: Vec<&str> = all.keys().filter(|k| !given.contains_key(*k)).map(String::as_str).collect();
        if !missing.is_empty() {
            return Err(bad(key, format!("missing settings: {}", missing.join(", "))));
        }
    }
    from_json(key, text)
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}
