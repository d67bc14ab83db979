//! Telephone bandwidth.

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::filter::{Biquad, butterworth_q, filter};
use super::level::dot;

effect! {
    /// Band limitation of a telephone line, 300 to 3400 Hz.
    Telephone {}
}

impl Effect for Telephone {
    fn ranges(&self) -> Vec<Range> {
        Vec::new()
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let rate = materials.sample_rate;
        Some(Box::new(move |samples, _| telephone(samples, rate)))
    }
}

/// Number of taps on each side of the half-band interpolator.
const HALF_BAND: usize = 12;

/// Limits the band to 300 to 3400 Hz; audio at 16 kHz is also resampled to 8 kHz and back.
fn telephone(samples: &mut [f32], sample_rate: u32) {
    let low = butterworth_q::<4>().map(|q| Biquad::low_pass(3400.0, q, sample_rate));
    let high = butterworth_q::<2>().map(|q| Biquad::high_pass(300.0, q, sample_rate));
    let sections = [low[0], low[1], low[2], low[3], high[0], high[1]];
    filter(samples, &sections);
    if sample_rate != 16_000 {
        return;
    }
    // Downsampling keeps every second sample; upsampling interpolates the others.
    let mut kept = vec![0f32; samples.len().div_ceil(2) + 2 * HALF_BAND];
    for (k, pair) in kept[HALF_BAND..].iter_mut().zip(samples.chunks(2)) {
        *k = pair[0];
    }
    let taps = half_band_taps();
    for (i, pair) in samples.chunks_exact_mut(2).enumerate() {
        pair[1] = dot(&kept[i + 1..i + 1 + 2 * HALF_BAND], &taps);
    }
}

/// The windowed sinc halfway between two samples.
fn half_band_taps() -> [f32; 2 * HALF_BAND] {
    use std::f32::consts::PI;
    std::array::from_fn(|i| {
        let x = i as f32 - HALF_BAND as f32 + 0.5;
        let window = 0.5 + 0.5 * (PI * x / (HALF_BAND as f32 + 0.5)).cos();
        window * (PI * x).sin() / (PI * x)
    })
}

#[cfg(test)]
mod tests {
    use super::super::color::{NoiseColor, colored_noise};
    use super::super::level::power_to_db;
    use super::super::testing::{RATE, band_power, rng};
    use super::*;

    #[test]
    fn telephone_keeps_its_band_only() {
        let mut noise = colored_noise(NoiseColor::White, 64_000, RATE, &mut rng(5));
        let before = noise.clone();
        telephone(&mut noise, RATE);
        let change = |low, high| power_to_db(band_power(&noise, low, high) / band_power(&before, low, high));
        assert!(change(600.0, 3000.0).abs() < 1.0, "{}", change(600.0, 3000.0));
        assert!(change(20.0, 120.0) < -25.0);
        assert!(change(4600.0, 7900.0) < -35.0, "{}", change(4600.0, 7900.0));
    }

    #[test]
    fn telephone_takes_odd_and_empty_lengths() {
        for n in [0, 1, 2, 3, 25] {
            let mut samples = vec![0.1; n];
            telephone(&mut samples, RATE);
            assert!(samples.len() == n && samples.iter().all(|x| x.is_finite()));
        }
    }
}
