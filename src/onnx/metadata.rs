//! What a model file says about itself beside its graph.

use serde::{Deserialize, Serialize};

use crate::features::FbankOptions;
use crate::text::TokenTable;

/// How a model's log-probabilities are to be read; chosen when it was trained (metadata key
/// `hearken.decoder`, JSON).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecoderOptions {
    /// Digital silence appended when a stream finishes, so that the last word comes out; the
    /// model was trained with it. Milliseconds.
    pub flush_ms: u32,
    /// Words less sure than this are dropped, 0 to 1.
    pub min_confidence: f32,
    /// Added to the blank's log-probability before the best token is taken.
    pub blank_bias: f32,
    /// Tokens that stand for other speech: heard, and not written.
    pub filler: Vec<String>,
    /// Added to the fillers' log-probabilities before the best token is taken.
    pub filler_bias: f32,
}

impl Default for DecoderOptions {
    fn default() -> Self {
        Self { flush_ms: 480, min_confidence: 0.0, blank_bias: 0.0, filler: Vec::new(), filler_bias: 0.0 }
    }
}

/// The metadata of a model file.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    pub features: FbankOptions,
    pub tokens: TokenTable,
    pub decoder: DecoderOptions,
    pub license: String,
    pub trained_on: String,
    /// TOML.
    pub recipe: String,
    pub created_by: String,
    /// Everything else found in the file, kept on rewriting.
    pub other: Vec<(String, String)>,
}
