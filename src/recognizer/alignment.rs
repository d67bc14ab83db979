//! Forced alignment of a recording with its known text: words and tokens with times and confidence.
//!
//! **Times** follow the rule of [`words`](super::words): the network emits a label towards the end of its
//! sound. A token therefore ends with its output frames and begins [`EMISSION_DELAY`] before them, but not before the
//! previous token ends. A word extends from its first token to its last.
//!
//! **Confidence** of a token is its mean posterior over its frames, that of a word the mean over the frames of all of
//! its tokens. A word with a confidence below a threshold, by default [`MIN_CONFIDENCE`], does not fit.

use std::sync::Arc;

use serde::Serialize;

use super::front_end::FrontEnd;
use super::open::Recognizer;
use super::reference::{Reference, has_phones};
use super::streaming_network::StreamingNetwork;
use super::transcript::{Word, rounded};
use super::words::{EMISSION_DELAY, FrameClock};
use crate::audio::Source;
use crate::decode::{AlignedPath, Aligner, LabelSpan, TokenId};
use crate::error::{Error, Result, Stage};

/// Default threshold of confidence below which a word does not fit, 0 to 1.
pub const MIN_CONFIDENCE: f32 = 0.1;

/// Number of samples per chunk that is read: one second at 16 kHz.
const CHUNK_SAMPLES: usize = 16_000;

/// A text aligned with a recording. In JSON, numbers have three decimals.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alignment {
    /// The words, joined by spaces.
    pub text: String,
    /// Length of the recording, seconds.
    #[serde(serialize_with = "rounded")]
    pub duration: f64,
    /// Log-probability of the best path (natural logarithm), including blanks.
    #[serde(serialize_with = "rounded")]
    pub log_prob: f64,
    /// Whether all words fit and the text covers all speech.
    pub fits: bool,
    /// The words, in order.
    pub words: Vec<AlignedWord>,
    /// Intervals with speech that is not in the text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmatched: Vec<TimeSpan>,
    /// Whether the tokens are phones.
    #[serde(skip)]
    pub has_phones: bool,
}

/// A word of the text with its times and confidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlignedWord {
    /// The word; its confidence is the mean of its tokens' posteriors.
    #[serde(flatten)]
    pub word: Word,
    /// Whether its confidence reaches the threshold.
    pub fits: bool,
    /// The tokens of the pronunciation that fits best.
    pub tokens: Vec<AlignedToken>,
}

/// A token of the model (a phone, letter or piece of a word) with its times and confidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlignedToken {
    /// The token as in the model's table.
    pub token: String,
    /// Start time, seconds.
    #[serde(serialize_with = "rounded")]
    pub start: f64,
    /// End time, seconds.
    #[serde(serialize_with = "rounded")]
    pub end: f64,
    /// Mean posterior over its frames, 0 to 1.
    #[serde(serialize_with = "rounded")]
    pub confidence: f32,
}

/// An interval of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TimeSpan {
    /// Start time, seconds.
    #[serde(serialize_with = "rounded")]
    pub start: f64,
    /// End time, seconds.
    #[serde(serialize_with = "rounded")]
    pub end: f64,
}

impl Recognizer {
    /// Aligns a recording with its text, which [`Recognizer::reference`] prepares for this model. Words with a
    /// confidence below `min_confidence` (0 to 1, by default [`MIN_CONFIDENCE`]) do not fit.
    ///
    /// The network's state is not reset during the recording. Memory grows with the length of the recording and of the
    /// text, whose product is limited by [`MAX_CELLS`](crate::decode::align::MAX_CELLS).
    ///
    /// # Errors
    /// When the audio cannot be read or its sample rate is not that of the model, when the text does not fit into the
    /// recording (names the first word that does not fit) or the two are too long, and when the engine fails.
    pub fn align(
        &self,
        source: &mut dyn Source,
        reference: &Reference,
        min_confidence: f32,
    ) -> Result<Alignment> {
        let (expected, found) = (self.sample_rate(), source.sample_rate());
        if expected != found {
            return Err(Error::new(
                Stage::Audio,
                format!("expected audio at {expected} Hz, found {found} Hz"),
            ));
        }
        let metadata = self.metadata();
        let num_tokens = metadata.tokens.len();
        let mut aligner = Aligner::new(&reference.words, TokenId(metadata.tokens.blank()))?;
        let mut front_end = FrontEnd::new(metadata)?;
        let mut network = StreamingNetwork::new(Arc::clone(self.engine()), metadata);
        let (mut samples, mut log_probs) = (Vec::new(), Vec::new());
        loop {
            samples.clear();
            let at_end = source.read(&mut samples, CHUNK_SAMPLES)? == 0;
            if at_end {
                front_end.finish(network.frames_mut());
                network.finish();
            } else {
                front_end.push(&samples, network.frames_mut())?;
            }
            log_probs.clear();
            network.run(&mut log_probs)?;
            aligner.push(&log_probs, num_tokens)?;
            if at_end {
                break;
            }
        }
        let duration = front_end.seconds();
        let path =
            aligner.finish().map_err(|e| e.hint_if_none(format!("the recording is {duration:.2} s long")))?;
        let timing = Timing { clock: self.clock(), duration };
        let mut alignment = timing.alignment(&path, reference, min_confidence, |token| {
            metadata.tokens.token(token.0).unwrap_or_default()
        });
        alignment.has_phones = has_phones(metadata);
        Ok(alignment)
    }
}

/// Conversion of output frames to seconds of a recording.
struct Timing {
    clock: FrameClock,
    /// Length of the recording, seconds.
    duration: f64,
}

impl Timing {
    fn seconds(&self, frame: u64) -> f64 {
        // Frames after the end of the recording are the silence that is appended to it.
        self.clock.seconds(frame).min(self.duration)
    }

    fn alignment<'a>(
        &self,
        path: &AlignedPath,
        reference: &Reference,
        min_confidence: f32,
        name: impl Fn(TokenId) -> &'a str,
    ) -> Alignment {
        let mut end = 0.0;
        let mut words = Vec::with_capacity(reference.words.len());
        for (text, labels) in reference.words().zip(path.labels.chunk_by(|a, b| a.word == b.word)) {
            let mut tokens = Vec::with_capacity(labels.len());
            for label in labels {
                let start =
                    (self.clock.seconds(label.start) - EMISSION_DELAY).clamp(end, self.duration.max(end));
                end = self.seconds(label.end).max(start);
                let token = name(label.token).to_string();
                tokens.push(AlignedToken { token, start, end, confidence: label.posterior });
            }
            let confidence = confidence(labels);
            let start = tokens.first().map_or(end, |token| token.start);
            let word = Word { word: text.to_string(), start, end, confidence };
            words.push(AlignedWord { word, fits: confidence >= min_confidence, tokens });
        }
        let span = |frames: &std::ops::Range<u64>| TimeSpan {
            start: self.seconds(frames.start),
            end: self.seconds(frames.end),
        };
        let unmatched: Vec<TimeSpan> = path.unmatched.iter().map(span).collect();
        Alignment {
            text: reference.words().collect::<Vec<_>>().join(" "),
            duration: self.duration,
            log_prob: path.log_prob,
            fits: words.iter().all(|word| word.fits) && unmatched.is_empty(),
            words,
            unmatched,
            has_phones: false,
        }
    }
}

/// The mean posterior over the frames of a word's labels.
fn confidence(labels: &[LabelSpan]) -> f32 {
    let frames = |label: &LabelSpan| (label.end - label.start) as f32;
    let sum: f32 = labels.iter().map(|label| label.posterior * frames(label)).sum();
    (sum / labels.iter().map(frames).sum::<f32>().max(1.0)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::ReferenceWord;

    #[test]
    fn times_are_monotone_and_words_reach_over_their_tokens() {
        let word = |text: &str| ReferenceWord { text: text.into(), pronunciations: Vec::new() };
        let reference = Reference { words: vec![word("a"), word("b")], guessed: Vec::new() };
        let label = |token, word, start, end, posterior| LabelSpan {
            token: TokenId(token),
            word,
            start,
            end,
            log_prob: 0.0,
            posterior,
        };
        let labels = vec![
            label(1, 0, 0, 1, 1.0),
            label(2, 0, 10, 13, 0.6),
            label(1, 1, 13, 14, 0.05),
            // Begins in the appended silence.
            label(2, 1, 30, 32, 0.05),
        ];
        let path = AlignedPath { log_prob: -1.0, labels, unmatched: std::iter::once(15..40).collect() };
        let clock = FrameClock { step_samples: 640, sample_rate: 16_000 };
        let timing = Timing { clock, duration: 1.0 };
        let found = timing.alignment(&path, &reference, 0.1, |token| if token.0 == 1 { "x" } else { "y" });
        assert_eq!(found.text, "a b");
        let times: Vec<_> = found.words.iter().flat_map(|w| &w.tokens).map(|t| (t.start, t.end)).collect();
        let expected = [(0.0, 0.04), (0.32, 0.52), (0.52, 0.56), (1.0, 1.0)];
        for ((start, end), (expected_start, expected_end)) in times.into_iter().zip(expected) {
            assert!(
                (start - expected_start).abs() < 1e-9 && (end - expected_end).abs() < 1e-9,
                "{start} {end}"
            );
        }
        assert_eq!((found.words[0].word.start, found.words[1].word.end), (0.0, 1.0));
        assert!((found.words[0].word.confidence - 0.7).abs() < 1e-6, "the mean over four frames");
        assert_eq!([found.words[0].fits, found.words[1].fits, found.fits], [true, false, false]);
        assert_eq!(found.unmatched, [TimeSpan { start: 0.6, end: 1.0 }]);
    }
}
