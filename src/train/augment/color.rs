//! Synthetic noise: white, pink, brown, mains hum.

use rand::{Rng, RngExt};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::{index, mix_at_snr, power, scale, uniform};

effect! {
    /// Synthetic noise.
    Color {
        /// Signal-to-noise ratio, dB.
        snr_db: [f32; 2] = [10.0, 40.0],
        /// The colors, chosen with equal probability.
        colors: Vec<NoiseColor> =
            vec![NoiseColor::White, NoiseColor::Pink, NoiseColor::Brown, NoiseColor::Hum],
    }
}

impl Effect for Color {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::new("snr_db", self.snr_db, [-20.0, 100.0]),
            Range::count("colors", "entries", self.colors.len(), [1, 100]),
        ]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let (Self { snr_db, colors, .. }, rate) = (self.clone(), materials.sample_rate);
        Some(Box::new(move |samples, rng| {
            let color = colors[index(rng, colors.len())];
            let snr_db = uniform(rng, snr_db);
            add_color(samples, color, snr_db, rate, rng);
        }))
    }
}

/// The color of synthetic noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseColor {
    /// Equal power per hertz.
    White,
    /// Equal power per octave.
    Pink,
    /// Falling by 6 dB per octave above 30 Hz.
    Brown,
    /// Mains hum, 50 or 60 Hz with harmonics.
    Hum,
}

/// Adds colored noise at the given SNR.
fn add_color(samples: &mut [f32], color: NoiseColor, snr_db: f32, sample_rate: u32, rng: &mut Pcg64Mcg) {
    let noise = colored_noise(color, samples.len(), sample_rate, rng);
    mix_at_snr(samples, &noise, snr_db, sample_rate);
}

/// Generates `length` samples of noise with a mean power near 1.
pub fn colored_noise(color: NoiseColor, length: usize, sample_rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let mut noise = match color {
        NoiseColor::White => white(length, rng),
        NoiseColor::Pink => pink(length, sample_rate, rng),
        NoiseColor::Brown => brown(length, sample_rate, rng),
        NoiseColor::Hum => hum(length, sample_rate, rng),
    };
    let level = power(&noise);
    if level > 1e-14 {
        scale(&mut noise, level.sqrt().recip());
    }
    noise
}

/// White noise, nearly Gaussian with variance 1: the sum of the four 16-bit quarters of each random word.
fn white(length: usize, rng: &mut Pcg64Mcg) -> Vec<f32> {
    // The variance of an even 16-bit number is 2^32/12; of four, 2^32/3.
    let unit = 3f32.sqrt() / 65536.0;
    let mut one = || {
        let word = rng.next_u64();
        let sum = (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48);
        (sum as f32 - 131_070.0) * unit
    };
    (0..length).map(|_| one()).collect()
}

/// White noise filtered by three first-order sections whose poles and zeros alternate at equal ratios (each
/// pole a factor 10^(1/2) below its zero, sections a decade apart): -10 dB per decade from about 10 Hz to 5
/// kHz (at 16 kHz) within about a decibel.
fn pink(length: usize, sample_rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let mut noise = white(length, rng);
    let place = |hz: f32| (-std::f32::consts::TAU * hz / sample_rate as f32).exp();
    let sections: [(f32, f32); 3] =
        [18.0, 180.0, 1800.0].map(|pole| (place(pole), place(pole * 10f32.sqrt())));
    let mut state = [(0f32, 0f32); 3];
    for sample in &mut noise {
        let mut x = *sample;
        for ((pole, zero), (last_in, last_out)) in sections.iter().zip(&mut state) {
            let y = x - zero * *last_in + pole * *last_out;
            (*last_in, *last_out) = (x, y);
            x = y;
        }
        *sample = x;
    }
    noise
}

/// White noise filtered by a leaky integrator with its corner at 30 Hz.
fn brown(length: usize, sample_rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let mut noise = white(length, rng);
    let keep = (-std::f32::consts::TAU * 30.0 / sample_rate as f32).exp();
    let mut sum = 0f32;
    for sample in &mut noise {
        sum = keep * sum + *sample;
        *sample = sum;
    }
    noise
}

/// 50 or 60 Hz and up to twelve harmonics with random, decreasing strengths.
fn hum(length: usize, sample_rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let mains = if rng.random::<bool>() { 50.0 } else { 60.0 };
    let partials: Vec<(f32, f32)> = (1..=12)
        .map(|k| {
            let strength = uniform(rng, [0.1, 1.0]) / (k as f32).powf(0.7);
            (strength, uniform(rng, [0.0, std::f32::consts::TAU]))
        })
        .collect();
    // 50 ms contain a whole number of periods of both, so the wave is repeated.
    let period = sample_rate as usize / 20 * 2;
    let wave: Vec<f32> = (0..period.min(length))
        .map(|n| {
            let phase = std::f32::consts::TAU * mains * n as f32 / sample_rate as f32;
            partials.iter().enumerate().map(|(k, (a, p))| a * (phase * (k + 1) as f32 + p).sin()).sum()
        })
        .collect();
    wave.iter().copied().cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::super::level::power_to_db;
    use super::super::testing::{RATE, band_power, rng, sine, snr_db, tone_share};
    use super::*;

    #[test]
    fn the_snr_is_as_asked() {
        let clean = sine(300.0, 0.3, 32_000);
        let mut rng = rng(1);
        for color in [NoiseColor::White, NoiseColor::Pink, NoiseColor::Brown, NoiseColor::Hum] {
            for wanted in [0.0, 12.0, 30.0] {
                let mut noisy = clean.clone();
                add_color(&mut noisy, color, wanted, RATE, &mut rng);
                assert!((snr_db(&clean, &noisy) - wanted).abs() < 0.5, "{color:?} {wanted}");
            }
        }
    }

    #[test]
    fn colors_have_their_slopes() {
        let mut rng = rng(2);
        // Power in the octaves around 250 Hz and 2 kHz, three octaves apart.
        for (color, wanted) in [(NoiseColor::White, 9.0), (NoiseColor::Pink, 0.0), (NoiseColor::Brown, -9.0)]
        {
            let noise = colored_noise(color, 160_000, RATE, &mut rng);
            let rise = power_to_db(band_power(&noise, 1414.0, 2828.0))
                - power_to_db(band_power(&noise, 177.0, 354.0));
            assert!((rise - wanted).abs() < 1.5, "{color:?}: {rise} dB in three octaves");
        }
    }

    #[test]
    fn hum_is_harmonic() {
        let noise = colored_noise(NoiseColor::Hum, 16_000, RATE, &mut rng(3));
        let harmonics = |mains: f32| (1..=12).map(|k| tone_share(&noise, mains * k as f32)).sum::<f32>();
        assert!(harmonics(50.0).max(harmonics(60.0)) > 0.95);
    }
}
