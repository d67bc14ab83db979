//! The first stage of a stream: samples to feature frames, and what is added at the end so that
//! nothing is lost.

use crate::error::{Error, Result, Stage};
use crate::features::Fbank;
use crate::onnx::Metadata;
use crate::units::{ms_to_samples, samples_to_seconds};

use super::detector::SpeechFrames;

/// Samples of digital silence that are pushed at a time.
const SILENCE: [f32; 1600] = [0.0; 1600];

/// Samples in, `[T, F]` frames out, for one stream.
pub struct FrontEnd {
    fbank: Fbank,
    sample_rate: u32,
    /// Digital silence behind the last sample.
    flush_samples: usize,
    samples: u64,
    speech: Option<SpeechFrames>,
}

impl FrontEnd {
    /// The front end that a model names.
    ///
    /// # Errors
    /// When its settings are impossible.
    pub fn new(metadata: &Metadata) -> Result<Self> {
        let sample_rate = metadata.features.sample_rate;
        let flush_samples = ms_to_samples(metadata.decoder.flush_ms, sample_rate);
        let fbank = Fbank::new(&metadata.features)?;
        Ok(Self { fbank, sample_rate, flush_samples, samples: 0, speech: None })
    }

    /// Listens for speech as well.
    pub fn with_speech(mut self, speech: Option<SpeechFrames>) -> Self {
        self.speech = speech;
        self
    }

    /// Takes samples (any number) and appends the frames that are complete.
    ///
    /// # Errors
    /// Names a sample that is no number; then none of the samples is taken. The failure of the
    /// speech detector.
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

    /// What the speech detector said of output frames since it was last asked.
    pub fn take_speech(&mut self) -> Vec<bool> {
        self.speech.as_mut().map(SpeechFrames::take).unwrap_or_default()
    }

    /// Ends the stream: appends the frames of the model's closing silence and of what remains.
    /// A stream without a sample has no frames.
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

    /// Seconds of audio taken so far, without the closing silence.
    pub fn seconds(&self) -> f64 {
        samples_to_seconds(self.samples, self.sample_rate)
    }

    /// Begins a new stream.
    pub fn reset(&mut self) {
        self.fbank.reset();
        if let Some(speech) = &mut self.speech {
            speech.reset();
        }
        self.samples = 0;
    }
}
