//! Voice activity: whether someone talks, whatever the words, for the endpoints.

use std::sync::Arc;

use crate::error::{Error, Result, Stage};

/// Tells speech from everything else (a VAD), a window at a time, for one stream.
pub trait SpeechDetector: Send {
    /// Samples of a window, at the recognizer's rate; at least 1.
    fn window_samples(&self) -> usize;

    /// How probable it is that the next window (`[window_samples]`, full scale ±1) holds speech,
    /// 0 to 1.
    ///
    /// # Errors
    /// When what computes it fails.
    fn speech(&mut self, window: &[f32]) -> Result<f32>;

    /// Begins a new stream.
    fn reset(&mut self);
}

/// Makes a detector for each stream.
#[derive(Clone)]
pub struct DetectorFactory {
    make: Arc<dyn Fn() -> Result<Box<dyn SpeechDetector>> + Send + Sync>,
    /// From this probability on a window is speech.
    threshold: f32,
    /// The only rate that it takes, if it does not take any, Hz.
    sample_rate: Option<u32>,
}

impl DetectorFactory {
    /// From this probability on a window is speech, unless it is said otherwise: Silero's own.
    pub const THRESHOLD: f32 = 0.5;

    /// A factory with the usual threshold.
    pub fn new(make: impl Fn() -> Result<Box<dyn SpeechDetector>> + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make), threshold: Self::THRESHOLD, sample_rate: None }
    }

    /// The same for samples of this rate only, Hz.
    pub fn at_rate(mut self, sample_rate: u32) -> Self {
        self.sample_rate = Some(sample_rate);
        self
    }

    /// Checks that samples of this rate can be judged.
    ///
    /// # Errors
    /// When it takes another rate.
    pub(super) fn check_rate(&self, sample_rate: u32) -> Result<()> {
        match self.sample_rate.filter(|own| *own != sample_rate) {
            Some(own) => {
                let problem = format!(
                    "the voice activity detector takes {own} samples a second, the model {sample_rate}"
                );
                Err(Error::new(Stage::Usage, problem).hint("end utterances by rules of silence instead"))
            }
            None => Ok(()),
        }
    }

    /// The same with another threshold, 0 to 1.
    pub fn with_threshold(mut self, threshold: f32) -> Self {
        self.threshold = threshold;
        self
    }

    /// What a stream uses, whose output frames are `step_samples` apart.
    pub(super) fn frames(&self, step_samples: u64) -> Result<SpeechFrames> {
        let detector = (self.make)()?;
        if detector.window_samples() == 0 || step_samples == 0 {
            return Err(Error::new(Stage::Model, "the speech detector takes windows of no samples"));
        }
        Ok(SpeechFrames::new(detector, self.threshold, step_samples))
    }
}

impl std::fmt::Debug for DetectorFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DetectorFactory").field("threshold", &self.threshold).finish_non_exhaustive()
    }
}

/// A detector's windows as the recognizer's output frames.
///
/// A frame is speech when a window that ends within it is; a frame in which none ends is what the
/// one before it was. A frame is decided when its last sample is there, which is before the
/// network can have heard it.
pub struct SpeechFrames {
    detector: Box<dyn SpeechDetector>,
    threshold: f32,
    step_samples: u64,
    window: Vec<f32>,
    /// Samples of the current frame so far.
    frame: u64,
    /// The last window was speech.
    speech: bool,
    /// A window that ended in the current frame was, or none did and the last one was.
    frame_speech: bool,
    /// A window has ended in the current frame.
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

    /// Takes samples, any number.
    ///
    /// # Errors
    /// When the detector fails.
    pub fn push(&mut self, mut samples: &[f32]) -> Result<()> {
        let size = self.detector.window_samples();
        while !samples.is_empty() {
            let to_frame = usize::try_from(self.step_samples - self.frame).unwrap_or(usize::MAX);
            let now = samples.len().min(size - self.window.len()).min(to_frame);
            let (piece, rest) = samples.split_at(now);
            samples = rest;
            self.window.extend_from_slice(piece);
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

    /// The frames decided since it was last asked.
    pub fn take(&mut self) -> Vec<bool> {
        std::mem::take(&mut self.ready)
    }

    /// Begins a new stream.
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

    /// Speech is what is louder than a half, in windows of five samples.
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

    fn frames(step: u64, samples: &[f32], piece: usize) -> Vec<bool> {
        let factory = DetectorFactory::new(|| Ok(Box::new(Loud)));
        let mut frames = factory.frames(step).expect("made");
        samples.chunks(piece).for_each(|piece| frames.push(piece).expect("heard"));
        frames.take()
    }

    #[test]
    fn windows_become_frames_and_pieces_do_not_matter() {
        let mut samples = vec![0.0; 60];
        samples[12] = 0.9;
        // The window of samples 10 to 14 ends in the frame of 14 to 20.
        assert_eq!(frames(7, &samples, 60), [false, false, true, false, false, false, false, false]);
        // Frames of three samples: a window ends in frame 4, and none in frame 5.
        let small = frames(3, &samples, 60);
        assert_eq!(small.iter().enumerate().filter(|x| *x.1).map(|x| x.0).collect::<Vec<_>>(), [4, 5]);
        for piece in 1..13 {
            assert_eq!(frames(3, &samples, piece), small);
        }
    }
}
