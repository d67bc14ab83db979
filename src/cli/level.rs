//! The level of a microphone between two drawings of a meter.

/// Length of digital silence after which a warning is printed, seconds.
const MUTE_SECONDS: f64 = 5.0;

/// Peak of the recent samples.
#[derive(Default)]
pub(super) struct Level {
    peak: f32,
    /// Samples other than zero were received.
    sound: bool,
    /// The warning about digital silence was printed.
    warned: bool,
}

impl Level {
    pub fn add(&mut self, samples: &[f32]) {
        self.peak = samples.iter().fold(self.peak, |peak, x| peak.max(x.abs()));
        self.sound |= self.peak > 0.0;
    }

    /// Whether to print the warning about digital silence, once, after `seconds` of audio.
    pub fn muted(&mut self, seconds: f64) -> bool {
        let warns = !self.sound && !self.warned && seconds > MUTE_SECONDS;
        self.warned |= warns;
        warns
    }

    /// Returns the peak to draw. It falls slowly, so that the meter is readable.
    pub fn peak(&mut self) -> f32 {
        let peak = self.peak;
        self.peak *= 0.7;
        peak
    }
}

/// The warning about digital silence.
pub(super) fn mute_warning(device: &str) -> String {
    format!("only digital silence is received from {device}: it may be muted, or the wrong device")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digital_silence_is_reported_once_and_the_peak_falls() {
        let mut level = Level::default();
        level.add(&[0.0; 4]);
        assert!(!level.muted(MUTE_SECONDS) && level.muted(MUTE_SECONDS + 0.1) && !level.muted(20.0));
        level.add(&[0.1, -0.5]);
        assert_eq!(level.peak(), 0.5);
        assert!(level.peak() < 0.4);
        let mut sound = Level::default();
        sound.add(&[0.1, 0.0]);
        assert!(!sound.muted(20.0));
        assert!(mute_warning("x").contains("from x"));
    }
}
