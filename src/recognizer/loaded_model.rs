//! What recognizers and streams share: an engine, and what its model says of itself.

use std::sync::Arc;

use crate::decode::DecoderFactory;
use crate::engine::Engine;
use crate::error::{Error, Result, Stage};
use crate::features::Fbank;
use crate::onnx::Metadata;
use crate::text::numbers::Numbers;
use crate::text::phrases::Phrases;

use super::words::FrameClock;

/// An engine and its model's metadata, which fit each other. Immutable, cheap to clone.
#[derive(Clone)]
pub(super) struct LoadedModel {
    pub engine: Arc<dyn Engine>,
    pub metadata: Arc<Metadata>,
    /// What makes the decoder of each stream.
    pub decoders: DecoderFactory,
    /// The phrases that are recognized, if it is phrases.
    pub phrases: Option<Arc<Phrases>>,
    /// Which numbers are written in digits in final results.
    pub numbers: Numbers,
    pub clock: FrameClock,
}

impl LoadedModel {
    /// Checks that engine and metadata fit each other.
    ///
    /// # Errors
    /// When they do not: features, tokens, or impossible feature settings.
    pub fn new(engine: Arc<dyn Engine>, metadata: Metadata) -> Result<Self> {
        let spec = engine.spec();
        let fbank = Fbank::new(&metadata.features)?;
        for (what, expected, found) in [
            ("features a frame", spec.num_features, fbank.num_mel_bins()),
            ("tokens", spec.num_tokens, metadata.tokens.len()),
        ] {
            if expected != found {
                let problem = format!("the network has {expected} {what}, the metadata {found}");
                return Err(Error::new(Stage::Model, problem));
            }
        }
        if spec.subsampling == 0 || spec.shift == 0 || spec.window == 0 || spec.num_features == 0 {
            return Err(Error::new(Stage::Model, "the network takes steps of no frames"));
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
            clock,
        })
    }
}
