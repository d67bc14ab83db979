//! A noise gate.

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::{level_frame, ms, power, power_to_db, uniform};

effect! {
    /// A noise gate, which leaves digital silence between words.
    NoiseGate {
        /// Position of the threshold between the noise floor (0) and the loudest frame (1), in dB.
        threshold: [f32; 2] = [0.15, 0.45],
        /// Time for which the gate remains open after the last loud frame, ms.
        hold_ms: [f32; 2] = [20.0, 120.0],
    }
}

impl Effect for NoiseGate {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::new("threshold", self.threshold, [0.0, 1.0]),
            Range::new("hold_ms", self.hold_ms, [0.0, 2000.0]),
        ]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let (Self { threshold, hold_ms, .. }, rate) = (self.clone(), materials.sample_rate);
        Some(Box::new(move |samples, rng| {
            let threshold = uniform(rng, threshold);
            noise_gate(samples, threshold, uniform(rng, hold_ms), rate);
        }))
    }
}

/// Replaces weak frames with digital silence. The threshold is at the fraction `threshold` (in dB) between
/// the clip's noise floor and its loudest frame; the gate remains open for `hold_ms` after the last loud
/// frame, opens 10 ms early, and its edges are ramps of 2 ms.
fn noise_gate(samples: &mut [f32], threshold: f32, hold_ms: f32, sample_rate: u32) {
    let (frame_length, ramp) = (level_frame(sample_rate), ms(2, sample_rate).max(1));
    let levels: Vec<f32> = samples.chunks(frame_length).map(|f| power_to_db(power(f))).collect();
    if levels.is_empty() {
        return;
    }
    let mut sorted = levels.clone();
    sorted.sort_unstable_by(f32::total_cmp);
    let top = sorted[sorted.len() - 1];
    let floor = sorted[sorted.len() / 10].max(top - 60.0);
    let limit = floor + threshold * (top - floor);
    let hold = (hold_ms / 10.0).round() as usize;
    let mut open = vec![false; levels.len()];
    for (frame, _) in levels.iter().enumerate().filter(|(_, level)| **level >= limit) {
        let end = (frame + hold + 1).min(open.len());
        open[frame.saturating_sub(1)..end].fill(true);
    }
    for (i, frame) in samples.chunks_mut(frame_length).enumerate() {
        if !open[i] {
            frame.fill(0.0);
            continue;
        }
        if i > 0 && !open[i - 1] {
            frame.iter_mut().take(ramp).enumerate().for_each(|(k, x)| *x *= k as f32 / ramp as f32);
        }
        if i + 1 < open.len() && !open[i + 1] {
            frame.iter_mut().rev().take(ramp).enumerate().for_each(|(k, x)| *x *= k as f32 / ramp as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{RATE, speech_like};
    use super::*;

    #[test]
    fn the_gate_silences_pauses_and_keeps_speech() {
        let clean = speech_like(2.0);
        let mut gated = clean.clone();
        noise_gate(&mut gated, 0.35, 30.0, RATE);
        let silent = gated.iter().filter(|x| **x == 0.0).count() as f32 / gated.len() as f32;
        assert!((0.2..0.6).contains(&silent), "{silent}");
        assert!(power(&gated) > 0.99 * power(&clean));
        noise_gate(&mut [], 0.3, 10.0, RATE);
    }
}
