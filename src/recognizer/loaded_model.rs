//! The model shared by recognizers and streams.

use std::sync::Arc;

use crate::decode::DecoderFactory;
use crate::engine::Engine;
use crate::error::{Error, Result, Stage};
use crate::features::Fbank;
use crate::onnx::Metadata;
use crate::text::numbers::Numbers;

use super::confidence::Calibration;
use super::meaning::PhraseGraph;
use super::words::FrameClock;

/// An engine with the matching metadata. Immutable, cheap to clone.
#[derive(Clone)]
pub(super) struct LoadedModel {
    pub engine: Arc<dyn Engine>,
    pub metadata: Arc<Metadata>,
    /// Creates the decoder of each stream.
    pub decoders: DecoderFactory,
    /// The phrases to be recognized, if there are any.
    pub phrases: Option<PhraseGraph>,
    /// Which numbers are written in digits in final results.
    pub numbers: Numbers,
    /// Calibration of the confidence of words, if there is one for the kind of search.
    pub calibration: Option<Calibration>,
    /// Least confidence of the most certain word of an utterance, 0 to 1; one with a lower confidence gives no text.
    pub least_confidence: f32,
    /// Conversion of output frames to seconds.
    pub clock: FrameClock,
}

impl LoadedModel {
    /// Combines an engine with metadata.
    ///
    /// # Errors
    /// When their numbers of features or tokens differ, or a feature option is out of range.
    pub fn new(engine: Arc<dyn Engine>, metadata: Metadata) -> Result<Self> {
        let spec = engine.spec();
        let fbank = Fbank::new(&metadata.features)?;
        for (what, expected, found) in [
            ("features per frame", spec.num_features, fbank.num_mel_bins()),
            ("tokens", spec.num_tokens, metadata.tokens.len()),
        ] {
            if expected != found {
                let problem = format!("the network has {expected} {what}, the metadata {found}");
                return Err(Error::new(Stage::Model, problem));
            }
        }
        if spec.subsampling == 0 || spec.shift == 0 || spec.window == 0 || spec.num_features == 0 {
            return Err(Error::new(
                Stage::Model,
                "expected a network with a window and a shift of at least 1 frame, found 0",
            ));
        }
        let clock = FrameClock {
            step_samples: (spec.subsampling * fbank.frame_shift_samples()) as u64,
            sample_rate: metadata.features.sample_rate,
        };
        let decoders = DecoderFactory::new(&metadata.tokens, &metadata.decoder, clock.seconds(1))?;
        Ok(Self {
            engine,
            metadata: Arc::new(metadata),
            decoders,
            phrases: None,
            numbers: Numbers::default(),
            calibration: None,
            least_confidence: 0.0,
            clock,
        })
    }
}
