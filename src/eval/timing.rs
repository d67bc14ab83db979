//! How long recognition takes.

use std::time::Duration;

/// Audio heard and time spent on it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    pub audio_seconds: f64,
    pub compute_seconds: f64,
}

impl Timing {
    /// Adds one recording and what it took.
    pub fn add(&mut self, audio_seconds: f64, compute: Duration) {
        self.audio_seconds += audio_seconds;
        self.compute_seconds += compute.as_secs_f64();
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Timing) {
        self.audio_seconds += other.audio_seconds;
        self.compute_seconds += other.compute_seconds;
    }

    /// Real-time factor: time spent over audio heard, below 1 is faster than speech; 0 when
    /// nothing was heard.
    pub fn rtf(&self) -> f64 {
        if self.audio_seconds > 0.0 { self.compute_seconds / self.audio_seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_time_over_audio() {
        let mut timing = Timing::default();
        assert_eq!(timing.rtf(), 0.0);
        timing.add(4.0, Duration::from_millis(100));
        timing.merge(&Timing { audio_seconds: 6.0, compute_seconds: 0.4 });
        assert!((timing.rtf() - 0.05).abs() < 1e-12);
    }
}
