//! What a recogniser says: words with times, and events as they come.

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

fn rounded<S: Serializer>(value: &(impl Into<f64> + Copy), serializer: S) -> Result<S::Ok, S::Error> {
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
}

/// What a stream tells as it goes. A `Final` comes once a segment; what a `Partial` says may
/// still change.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    Partial(Segment),
    Final(Segment),
}
