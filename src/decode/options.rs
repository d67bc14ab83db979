//! How a model's log-probabilities are to be read: what a search takes, and what a model's file carries
//! (`hearken.decoder`).

use serde::{Deserialize, Serialize};

use super::rejection::RejectionOptions;
use crate::error::{Error, Result, Stage};

/// How a model's log-probabilities are to be read; chosen when it was trained (metadata key
/// `hearken.decoder`, JSON).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecoderOptions {
    /// Digital silence appended when a stream finishes, so that the last word comes out; the
    /// model was trained with it. Milliseconds.
    pub flush_ms: u32,
    /// Words with less confidence than this are dropped, 0 to 1.
    pub min_confidence: f32,
    /// Added to the blank's log-probability before tokens compete.
    pub blank_bias: f32,
    /// Tokens that stand for other speech: recognized, and not written.
    pub filler: Vec<String>,
    /// Added to the fillers' log-probabilities before tokens compete.
    pub filler_bias: f32,
    /// The words that are written, each with the tokens it is made of; a word may stand here more
    /// than once. Without a lexicon the tokens themselves are written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lexicon: Vec<Pronunciation>,
    /// With a lexicon: the cost of each word, nats.
    pub word_cost: f32,
    /// With a lexicon: the cost of taking a stretch of speech for other speech, nats.
    pub filler_entry_cost: f32,
    /// With a lexicon: the cost of each label of other speech, nats.
    pub filler_label_cost: f32,
    /// With a lexicon: when a word is taken for other speech, by the labels around it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<RejectionOptions>,
    /// Whether the state of the network is reset at a silent endpoint, since it was trained on single utterances;
    /// otherwise it is carried on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reset_at_endpoint: bool,
    /// With a lexicon: the pause behind other speech in which the state of the network is reset, so that words are
    /// not taken for more of it; ms, 0 for never.
    #[serde(skip_serializing_if = "is_zero")]
    pub reset_after_other_speech_ms: u32,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl Default for DecoderOptions {
    fn default() -> Self {
        Self {
            flush_ms: 480,
            min_confidence: 0.0,
            blank_bias: 0.0,
            filler: Vec::new(),
            filler_bias: 0.0,
            lexicon: Vec::new(),
            word_cost: 0.0,
            filler_entry_cost: 4.0,
            filler_label_cost: 1.0,
            rejection: None,
            reset_at_endpoint: false,
            reset_after_other_speech_ms: 0,
        }
    }
}

impl DecoderOptions {
    /// Checks that every number can be used.
    ///
    /// # Errors
    /// Names the first that is out of its range.
    pub fn validate(&self) -> Result<()> {
        let cost = -1000.0..=1000.0f32;
        for (name, value, range) in [
            ("min_confidence", self.min_confidence, 0.0..=1.0),
            ("blank_bias", self.blank_bias, cost.clone()),
            ("filler_bias", self.filler_bias, cost.clone()),
            ("word_cost", self.word_cost, cost.clone()),
            ("filler_entry_cost", self.filler_entry_cost, cost.clone()),
            ("filler_label_cost", self.filler_label_cost, cost),
            ("flush_ms", self.flush_ms as f32, 0.0..=10_000.0),
            ("reset_after_other_speech_ms", self.reset_after_other_speech_ms as f32, 0.0..=10_000.0),
        ] {
            if !range.contains(&value) {
                let (least, most) = (range.start(), range.end());
                let problem = format!("expected a number from {least} to {most}, found {value}");
                return Err(Error::new(Stage::Model, problem).at(name));
            }
        }
        self.rejection.as_ref().map_or(Ok(()), RejectionOptions::validate)
    }
}

/// One pronunciation of a word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pronunciation {
    /// The word as it is written.
    pub word: String,
    /// Tokens of the model, in order.
    pub tokens: Vec<String>,
}
