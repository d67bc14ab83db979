//! How a model's log-probabilities are read: the settings of the search, which stand in its metadata.

use serde::{Deserialize, Serialize};

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
    /// Added to the blank's log-probability before tokens compete.
    pub blank_bias: f32,
    /// Tokens that stand for other speech: heard, and not written.
    pub filler: Vec<String>,
    /// Added to the fillers' log-probabilities before tokens compete.
    pub filler_bias: f32,
    /// The words that are written, each with the tokens it is made of; a word may stand here more
    /// than once. Without a lexicon the tokens themselves are written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lexicon: Vec<Pronunciation>,
    /// With a lexicon: what each word costs, nats.
    pub word_cost: f32,
    /// With a lexicon: what it costs to take a stretch of speech for other speech, and then each of its
    /// labels, nats.
    pub filler_entry_cost: f32,
    pub filler_label_cost: f32,
    /// With a lexicon: what words have to be worth to be told from other speech. Without it the filler
    /// and the words compete by the costs above alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<RejectionOptions>,
    /// The network forgets everything at a silent endpoint, for it was trained on single
    /// utterances; otherwise its state is carried on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reset_at_endpoint: bool,
    /// With a lexicon: the network forgets everything in a pause of this length that follows other speech,
    /// so that words are not taken for more of it; ms, 0 for never.
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

/// One way to say a word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pronunciation {
    pub word: String,
    /// Tokens of the model, in order.
    pub tokens: Vec<String>,
}

/// What words have to be worth to be told from other speech, nats unless it is said otherwise. A search
/// weighs every stretch of speech between two pauses: as words, as other speech, or as both, at a cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RejectionOptions {
    /// What a run of words costs that begins after silence or other speech.
    pub run_cost: f32,
    /// What it costs to go on with words after a pause with words before it.
    pub next_run_cost: f32,
    /// What it costs to change from other speech to words, or from words to other speech, without a pause
    /// between them; in the midst of a pause that is long enough it costs nothing.
    pub mix_cost: f32,
    /// Blanks that make a pause, ms.
    pub pause_ms: u32,
    /// What each blank within a word costs.
    pub blank_cost: f32,
    /// How much more than once the log-probabilities of words' labels count.
    pub label_scale: f32,
    /// How much the log-probabilities of other speech count.
    pub filler_scale: f32,
    /// A word whose labels are spread over more than this is none, ms; 0 for no limit.
    pub longest_ms: u32,
}

impl Default for RejectionOptions {
    fn default() -> Self {
        Self {
            run_cost: 1.0,
            next_run_cost: -3.0,
            mix_cost: 8.0,
            pause_ms: 320,
            blank_cost: 0.0,
            label_scale: 1.0,
            filler_scale: 1.0,
            longest_ms: 0,
        }
    }
}
