//! What a recognizer says: words with times, and events as they come.

use serde::{Serialize, Serializer};

use crate::units::thousandths;

/// A word, its times in seconds from the first sample of the stream, and how sure the model is.
/// As JSON, numbers have three decimals.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Word {
    /// The word as it is written.
    pub word: String,
    /// Seconds.
    #[serde(serialize_with = "rounded")]
    pub start: f64,
    /// Seconds.
    #[serde(serialize_with = "rounded")]
    pub end: f64,
    /// 0 to 1.
    #[serde(serialize_with = "rounded")]
    pub confidence: f32,
}

pub(super) fn rounded<S: Serializer>(
    value: &(impl Into<f64> + Copy),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(thousandths((*value).into()))
}

/// What is heard of one segment so far, or for good.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Segment {
    pub text: String,
    /// Seconds from the stream's first sample.
    #[serde(serialize_with = "rounded")]
    pub start: f64,
    /// Seconds from the stream's first sample.
    #[serde(serialize_with = "rounded")]
    pub end: f64,
    pub words: Vec<Word>,
    /// Where phrases are recognized, those that the words are; of a `Final` only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phrases: Vec<PhraseMatch>,
}

/// A phrase that was said, by the file that it stands in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhraseMatch {
    /// As it is to be written.
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<SlotValue>,
}

/// A slot of a phrase, and what was said in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlotValue {
    pub name: String,
    pub value: String,
}

/// What a stream tells as it goes. A `Final` comes once a segment, with all of its words; what a
/// `Partial` says may still change. It comes when its text is another than before, and covers the
/// segment from its `start` on: the whole, or, once the segment is longer than 40 s, its last 20 to 40 s
/// (the words in front of them were in partials before and no longer change).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    Partial(Segment),
    Final(Segment),
}

/// The text of the segments that are final, joined by spaces.
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
