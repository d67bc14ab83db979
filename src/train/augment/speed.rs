//! Speed perturbation: tempo, pitch and formants together.

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::{dot, uniform};

effect! {
    /// Speed perturbation: changes tempo, pitch and formants together, as of shorter (children's) or longer
    /// vocal tracts.
    Speed {
        /// Factor of speed; above 1 is faster and higher.
        factor: [f32; 2] = [0.85, 1.15],
    }
}

impl Effect for Speed {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::new("factor", self.factor, [0.5, 2.0])]
    }

    fn build(&self, _: &Materials) -> Option<Apply> {
        let factor = self.factor;
        Some(Box::new(move |samples, rng| *samples = change_speed(samples, uniform(rng, factor))))
    }
}

/// Denominator of speed factors, which are multiples of 1/200, so that all phases of the interpolation are
/// exact and in a small table.
const PHASES: usize = 200;

/// Number of zero crossings of the windowed sinc on each side.
const HALF_TAPS: usize = 12;

/// Changes the speed by `factor` (rounded to 1/200) by resampling: the length is divided by the factor,
/// pitch and formants are multiplied by it. Windowed-sinc interpolation, band-limited below the lower of
/// the two Nyquist frequencies.
fn change_speed(samples: &[f32], factor: f32) -> Vec<f32> {
    let step = (factor * PHASES as f32).round().clamp(PHASES as f32 / 4.0, PHASES as f32 * 4.0) as usize;
    if step == PHASES || samples.is_empty() {
        return samples.to_vec();
    }
    let cutoff = (PHASES as f64 / step as f64).min(1.0) * 0.96;
    let half = (HALF_TAPS as f64 / cutoff).ceil() as usize;
    // A multiple of 8, for the lanes of the dot product.
    let taps = (2 * half).next_multiple_of(8);
    let table = sinc_table(cutoff, half as f64, taps);
    let center = taps / 2 - 1;
    let length = samples.len() * PHASES / step;
    let mut padded = vec![0f32; samples.len() + 2 * taps];
    padded[center..center + samples.len()].copy_from_slice(samples);
    (0..length)
        .map(|n| {
            let (whole, phase) = (n * step / PHASES, n * step % PHASES);
            dot(&padded[whole..whole + taps], &table[phase * taps..(phase + 1) * taps])
        })
        .collect()
}

/// The interpolation filters `[PHASES][taps]`: for each fraction of a sample, the Hann-windowed sinc around
/// it.
fn sinc_table(cutoff: f64, half: f64, taps: usize) -> Vec<f32> {
    use std::f64::consts::PI;
    let center = (taps / 2 - 1) as f64;
    let mut table = Vec::with_capacity(PHASES * taps);
    for phase in 0..PHASES {
        let fraction = phase as f64 / PHASES as f64;
        let start = table.len();
        for tap in 0..taps {
            let x = tap as f64 - center - fraction;
            let window = if x.abs() < half { 0.5 + 0.5 * (PI * x / half).cos() } else { 0.0 };
            let sinc = if x.abs() < 1e-9 { cutoff } else { (PI * cutoff * x).sin() / (PI * x) };
            table.push((window * sinc) as f32);
        }
        // Unit gain at 0 Hz for every phase.
        let sum: f32 = table[start..].iter().sum();
        table[start..].iter_mut().for_each(|x| *x /= sum);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::level::power;
    use super::super::testing::{sine, tone_share};
    use super::*;

    #[test]
    fn speed_moves_pitch_and_length() {
        let tone = sine(1000.0, 0.5, 16_000);
        for factor in [0.75, 0.9, 1.1, 1.3] {
            let out = change_speed(&tone, factor);
            assert!((out.len() as f32 - 16_000.0 / factor).abs() <= 1.0);
            assert!(tone_share(&out, 1000.0 * factor) > 0.99, "factor {factor}");
            assert!((power(&out) / power(&tone) - 1.0).abs() < 0.02);
        }
    }

    #[test]
    fn faster_does_not_alias() {
        let out = change_speed(&sine(7500.0, 0.5, 16_000), 1.3);
        assert!(power(&out) < 1e-4, "7.5 kHz would become 9.75 kHz: {}", power(&out));
    }

    #[test]
    fn short_and_empty_inputs_pass() {
        assert!(change_speed(&[], 1.2).is_empty());
        assert_eq!(change_speed(&[0.1; 7], 1.3).len(), 5);
    }
}
