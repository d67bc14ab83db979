//! First stage of a stream: computes feature frames, and appends silence at the end so that the last word is
//! recognized.

use crate::error::{Error, Result, Stage};
use crate::features::Fbank;
use crate::onnx::Metadata;
use crate::units::{ms_to_samples, samples_to_seconds};

use super::detector::SpeechFrames;

/// Digital silence, pushed in chunks of this size.
const SILENCE: [f32; 1600] = [0.0; 1600];

/// Computes the features of one stream.
pub struct FrontEnd {
    fbank: Fbank,
    sample_rate: u32,
    /// Number of samples of digital silence appended after the last sample.
    flush_samples: usize,
    samples: u64,
    speech: Option<SpeechFrames>,
}

impl FrontEnd {
    /// Creates a front end with the options in a model's metadata.
    ///
    /// # Errors
    /// When a feature option is out of range.
    pub fn new(metadata: &Metadata) -> Result<Self> {
        let sample_rate = metadata.features.sample_rate;
        let flush_samples = ms_to_samples(metadata.decoder.flush_ms, sample_rate);
        let fbank = Fbank::new(&metadata.features)?;
        Ok(Self { fbank, sample_rate, flush_samples, samples: 0, speech: None })
    }

    /// Adds a voice activity detector.
    pub fn with_speech(mut self, speech: Option<SpeechFrames>) -> Self {
        self.speech = speech;
        self
    }

    /// Accepts any number of samples and appends the completed frames `[T, F]`.
    ///
    /// # Errors
    /// When a sample is not finite (then none of the samples is accepted), or the voice activity detector fails.
    pub fn push(&mut self, samples: &[f32], frames: &mut Vec<f32>) -> Result<()> {
        if let Some(i) = samples.iter().position(|x| !x.is_finite()) {
            let problem = format!("expected samples between -1 and 1, found {}", samples[i]);
            let seconds = samples_to_seconds(self.samples + i as u64, self.sample_rate);
            return Err(Error::new(Stage::Audio, problem).at(format!("{seconds:.3} s")));
        }
        if let Some(speech) = &mut self.speech {
            speech.push(samples)?;
        }
        self.samples += samples.len() as u64;
        self.fbank.push(samples, frames);
        Ok(())
    }

    /// Returns and removes the voice activity detector's decisions on output frames since the last call.
    pub fn take_speech(&mut self) -> Vec<bool> {
        self.speech.as_mut().map(SpeechFrames::take).unwrap_or_default()
    }

    /// Ends the stream: appends the remaining frames, including those of the silence after the last sample. A stream
    /// without samples has no frames.
    pub fn finish(&mut self, frames: &mut Vec<f32>) {
        if self.samples == 0 {
            return;
        }
        let mut left = self.flush_samples;
        while left > 0 {
            let now = left.min(SILENCE.len());
            self.fbank.push(&SILENCE[..now], frames);
            left -= now;
        }
        self.fbank.finish(frames);
    }

    /// Seconds of audio received so far, without the appended silence.
    pub fn seconds(&self) -> f64 {
        samples_to_seconds(self.samples, self.sample_rate)
    }

    /// Resets the state for a new stream.
    pub fn reset(&mut self) {
        self.fbank.reset();
        if let Some(speech) = &mut self.speech {
            speech.reset();
        }
        self.samples = 0;
    }
}
