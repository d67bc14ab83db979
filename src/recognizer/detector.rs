//! Voice activity detection for endpoint rules.

use std::sync::Arc;

use crate::error::{Error, Result, Stage};

/// A voice activity detector (VAD) for one stream, which processes one window per call.
pub trait SpeechDetector: Send {
    /// Number of samples per window, at the recognizer's rate; at least 1.
    fn window_samples(&self) -> usize;

    /// The probability (0 to 1) that the next window contains speech; `window` has `window_samples` samples, full
    /// scale ±1.
    ///
    /// # Errors
    /// When the computation fails.
    fn speech(&mut self, window: &[f32]) -> Result<f32>;

    /// Resets the state for a new stream.
    fn reset(&mut self);
}

/// Creates a detector for each stream.
#[derive(Clone)]
pub struct DetectorFactory {
    make: Arc<dyn Fn() -> Result<Box<dyn SpeechDetector>> + Send + Sync>,
    /// Minimum probability at which a window is speech.
    threshold: f32,
    /// The required sample rate, Hz; `None` if any is accepted.
    sample_rate: Option<u32>,
}

impl DetectorFactory {
    /// Default of the minimum probability at which a window is speech, that of Silero.
    pub const THRESHOLD: f32 = 0.5;

    /// A factory with the default threshold.
    pub fn new(make: impl Fn() -> Result<Box<dyn SpeechDetector>> + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make), threshold: Self::THRESHOLD, sample_rate: None }
    }

    /// Requires this sample rate, Hz.
    pub fn at_rate(mut self, sample_rate: u32) -> Self {
        self.sample_rate = Some(sample_rate);
        self
    }

    /// Checks that samples of this rate are accepted.
    ///
    /// # Errors
    /// When another rate is required.
    pub(super) fn check_rate(&self, sample_rate: u32) -> Result<()> {
        match self.sample_rate.filter(|own| *own != sample_rate) {
            Some(own) => {
                let problem =
                    format!("the voice activity detector requires {own} Hz, but the model {sample_rate} Hz");
                Err(Error::new(Stage::Usage, problem).hint("end utterances by silence instead"))
            }
            None => Ok(()),
        }
    }

    /// Sets the minimum probability at which a window is speech, 0 to 1.
    pub fn with_threshold(mut self, threshold: f32) -> Self {
        self.threshold = threshold;
        self
    }

    /// Creates a detector for a stream whose output frames are `step_samples` apart.
    pub(super) fn frames(&self, step_samples: u64) -> Result<SpeechFrames> {
        let detector = (self.make)()?;
        if detector.window_samples() == 0 || step_samples == 0 {
            return Err(Error::new(
                Stage::Model,
                "expected windows of at least 1 sample from the voice activity detector, found 0",
            ));
        }
        Ok(SpeechFrames::new(detector, self.threshold, step_samples))
    }
}

impl std::fmt::Debug for DetectorFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DetectorFactory").field("threshold", &self.threshold).finish_non_exhaustive()
    }
}

/// Converts the decisions on a detector's windows to decisions on the recognizer's output frames.
///
/// A frame is speech if a window that ends within it is; a frame in which no window ends is decided as the last
/// window. A frame is decided when its last sample is received, so always before its log-probabilities are
/// computed.
pub struct SpeechFrames {
    detector: Box<dyn SpeechDetector>,
    threshold: f32,
    step_samples: u64,
    window: Vec<f32>,
    /// Number of samples of the current frame so far.
    frame: u64,
    /// Whether the last window was speech.
    speech: bool,
    /// Whether the current frame is speech, by the windows so far.
    frame_speech: bool,
    /// Whether a window has ended in the current frame.
    decided: bool,
    ready: Vec<bool>,
}

impl SpeechFrames {
    fn new(detector: Box<dyn SpeechDetector>, threshold: f32, step_samples: u64) -> Self {
        let window = Vec::with_capacity(detector.window_samples());
        Self {
            detector,
            threshold,
            step_samples,
            window,
            frame: 0,
            speech: false,
            frame_speech: false,
            decided: false,
            ready: Vec::new(),
        }
    }

    /// Accepts any number of samples.
    ///
    /// # Errors
    /// When the detector fails.
    pub fn push(&mut self, mut samples: &[f32]) -> Result<()> {
        let size = self.detector.window_samples();
        while !samples.is_empty() {
            let to_frame = usize::try_from(self.step_samples - self.frame).unwrap_or(usize::MAX);
            let now = samples.len().min(size - self.window.len()).min(to_frame);
            let (chunk, rest) = samples.split_at(now);
            samples = rest;
            self.window.extend_from_slice(chunk);
            self.frame += now as u64;
            if self.window.len() == size {
                self.speech = self.detector.speech(&self.window)? >= self.threshold;
                self.frame_speech = self.speech || (self.decided && self.frame_speech);
                self.decided = true;
                self.window.clear();
            }
            if self.frame == self.step_samples {
                self.ready.push(self.frame_speech);
                self.frame = 0;
                self.frame_speech = self.speech;
                self.decided = false;
            }
        }
        Ok(())
    }

    /// Returns and removes the frames decided since the last call.
    pub fn take(&mut self) -> Vec<bool> {
        std::mem::take(&mut self.ready)
    }

    /// Resets the state for a new stream.
    pub fn reset(&mut self) {
        self.detector.reset();
        self.window.clear();
        self.ready.clear();
        self.frame = 0;
        (self.speech, self.frame_speech, self.decided) = (false, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A detector whose probability is the maximum magnitude, in windows of five samples.
    struct Loud;

    impl SpeechDetector for Loud {
        fn window_samples(&self) -> usize {
            5
        }

        fn speech(&mut self, window: &[f32]) -> Result<f32> {
            Ok(window.iter().fold(0.0, |loudest, x| x.abs().max(loudest)))
        }

        fn reset(&mut self) {}
    }

    fn frames(step: u64, samples: &[f32], chunk: usize) -> Vec<bool> {
        let factory = DetectorFactory::new(|| Ok(Box::new(Loud)));
        let mut frames = factory.frames(step).expect("made");
        samples.chunks(chunk).for_each(|chunk| frames.push(chunk).expect("processed"));
        frames.take()
    }

    #[test]
    fn windows_become_frames_for_any_chunk_size() {
        let mut samples = vec![0.0; 60];
        samples[12] = 0.9;
        // The window of samples 10 to 14 ends in the frame of 14 to 20.
        assert_eq!(frames(7, &samples, 60), [false, false, true, false, false, false, false, false]);
        // Frames of three samples: a window ends in frame 4, and none in frame 5.
        let small = frames(3, &samples, 60);
        assert_eq!(small.iter().enumerate().filter(|x| *x.1).map(|x| x.0).collect::<Vec<_>>(), [4, 5]);
        for chunk in 1..13 {
            assert_eq!(frames(3, &samples, chunk), small);
        }
    }
}
