//! Decoder options of a model, which are stored in its file (metadata key `hearken.decoder`).

use serde::{Deserialize, Serialize};

use super::rejection::RejectionOptions;
use crate::error::{Error, Result, Stage};

/// Decoder options of a model, chosen when it was trained (metadata key `hearken.decoder`, JSON).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecoderOptions {
    /// Digital silence that is appended at the end of a stream, so that the network emits the last word, ms. The model
    /// was trained with it.
    pub flush_ms: u32,
    /// Minimum confidence of a word, 0 to 1; words below it are discarded.
    pub min_confidence: f32,
    /// Bias that is added to the blank's log-probability in the search, nats.
    pub blank_bias: f32,
    /// Filler tokens: tokens for out-of-vocabulary speech, which are not part of the transcript.
    pub filler: Vec<String>,
    /// Bias that is added to the log-probabilities of filler tokens in the search, nats.
    pub filler_bias: f32,
    /// Words and their pronunciations; a word may have several entries. If the lexicon is empty, the transcript
    /// consists of the model's tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lexicon: Vec<Pronunciation>,
    /// Word insertion penalty of a search over the lexicon, nats.
    pub word_cost: f32,
    /// Cost of each stretch of out-of-vocabulary speech in a search over the lexicon, nats.
    pub filler_entry_cost: f32,
    /// Cost of each label of out-of-vocabulary speech in a search over the lexicon, nats.
    pub filler_label_cost: f32,
    /// Rejection of words of the lexicon that are parts of out-of-vocabulary speech; `None` for no rejection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<RejectionOptions>,
    /// Whether the network's state is reset at an endpoint in silence, for networks that were trained on single
    /// utterances.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reset_at_endpoint: bool,
    /// Pause after out-of-vocabulary speech at which the network's state is reset, so that following words are not
    /// recognized as more of it, ms; 0 for never. Only with a lexicon.
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
    /// Checks that every number is in its range.
    ///
    /// # Errors
    /// When one is not; names the first.
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
    /// Spelling of the word.
    pub word: String,
    /// Tokens of the model, in order.
    pub tokens: Vec<String>,
}
