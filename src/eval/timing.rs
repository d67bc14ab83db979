//! Speed of recognition.

use std::time::Duration;

/// Duration of audio and the time spent on recognizing it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// Duration of the audio, seconds.
    pub audio_seconds: f64,
    /// Time spent, seconds.
    pub compute_seconds: f64,
}

impl Timing {
    /// Adds a recording and the time spent on it.
    pub fn add(&mut self, audio_seconds: f64, compute: Duration) {
        self.audio_seconds += audio_seconds;
        self.compute_seconds += compute.as_secs_f64();
    }

    /// Adds the sums of another value.
    pub fn merge(&mut self, other: &Timing) {
        self.audio_seconds += other.audio_seconds;
        self.compute_seconds += other.compute_seconds;
    }

    /// Real-time factor: time spent divided by the duration of the audio, below 1 if faster than real time; 0 if
    /// there was no audio.
    pub fn rtf(&self) -> f64 {
        if self.audio_seconds > 0.0 { self.compute_seconds / self.audio_seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtf_is_compute_time_over_audio_duration() {
        let mut timing = Timing::default();
        assert_eq!(timing.rtf(), 0.0);
        timing.add(4.0, Duration::from_millis(100));
        timing.merge(&Timing { audio_seconds: 6.0, compute_seconds: 0.4 });
        assert!((timing.rtf() - 0.05).abs() < 1e-12);
    }
}
