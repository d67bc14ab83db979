//! Results of recognition: words with times, segments, events.

use serde::{Serialize, Serializer};

use crate::units::thousandths;

/// A recognized word with its times and confidence. In JSON, numbers have three decimals.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Word {
    /// The written form of the word.
    pub word: String,
    /// Start, seconds from the stream's first sample.
    #[serde(serialize_with = "rounded")]
    pub start: f64,
    /// End, seconds from the stream's first sample.
    #[serde(serialize_with = "rounded")]
    pub end: f64,
    /// Confidence, 0 to 1: with a language model or phrases, the estimated probability that the word is right; otherwise
    /// computed as described in [`super::words`].
    #[serde(serialize_with = "rounded")]
    pub confidence: f32,
}

pub(super) fn rounded<S: Serializer>(
    value: &(impl Into<f64> + Copy),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(thousandths((*value).into()))
}

/// A segment of a stream with its words; they may still change in a `Partial`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Segment {
    /// The written text: the words, or the phrases if there are any.
    pub text: String,
    /// Start, seconds from the stream's first sample.
    #[serde(serialize_with = "rounded")]
    pub start: f64,
    /// End, seconds from the stream's first sample.
    #[serde(serialize_with = "rounded")]
    pub end: f64,
    /// The words in order.
    pub words: Vec<Word>,
    /// The recognized phrases, if the vocabulary is a file of phrases; only in a `Final`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phrases: Vec<PhraseMatch>,
    /// Where they are asked for, the likeliest texts, the best first; of a `Final` only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Alternative>,
}

/// One of the likeliest texts of a segment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// Its words with spaces between, or, where phrases are recognized, as they are to be written.
    pub text: String,
    /// Its probability among the alternatives of the segment, 0 to 1.
    #[serde(serialize_with = "rounded")]
    pub confidence: f32,
    /// Its score above that of the best, nats: 0 for the best, below 0 for the others.
    #[serde(serialize_with = "rounded")]
    pub score: f32,
    /// Its words. Their times are those of the best sequence where the alternatives differ in words before.
    pub words: Vec<Word>,
}

/// A recognized phrase.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhraseMatch {
    /// The written form of the phrase.
    pub text: String,
    /// The intent of the phrase in the file of phrases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// The slots of the phrase with their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<SlotValue>,
    /// Start of its first word, seconds from the stream's first sample.
    #[serde(serialize_with = "rounded")]
    pub start: f64,
    /// End of its last word, seconds from the stream's first sample.
    #[serde(serialize_with = "rounded")]
    pub end: f64,
}

/// A slot of a phrase with its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlotValue {
    /// Name of the slot.
    pub name: String,
    /// Value of the slot, as written in the file of phrases.
    pub value: String,
}

/// An event of a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// Words of the current segment, which may still change; created when the text has changed. It covers the
    /// whole segment or, once that is longer than 40 s, its last 20 to 40 s (the words before were in earlier
    /// partials and no longer change).
    Partial(Segment),
    /// A complete segment with all its words; created once per segment.
    Final(Segment),
}

/// The texts of the final segments, joined by spaces.
pub fn final_text(events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        if let Event::Final(segment) = event {
            if !text.is_empty() && !segment.text.is_empty() {
                text.push(' ');
            }
            text.push_str(&segment.text);
        }
    }
    text
}
