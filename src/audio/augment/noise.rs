//! Additive noise: recorded clips, colours made by code, mains hum, babble.

use rand::{Rng, RngExt};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use super::level::{active_power, db_to_amplitude, index, power, reference_power, scale, uniform};
use crate::units::SAMPLE_RATE;

/// Noise made by code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseColor {
    /// Equal power a hertz.
    White,
    /// Equal power an octave.
    Pink,
    /// Falling by 6 dB an octave above 30 Hz.
    Brown,
    /// The mains, 50 or 60 Hz, with harmonics.
    Hum,
}

/// Adds `noise` (as long as `samples` or longer) so that the speech level (see
/// [`active_power`]) stands `snr_db` above the noise's mean power.
pub fn mix_at_snr(samples: &mut [f32], noise: &[f32], snr_db: f32) {
    add_scaled(samples, noise, power(&noise[..noise.len().min(samples.len())]), snr_db);
}

pub(super) fn add_scaled(samples: &mut [f32], noise: &[f32], noise_power: f32, snr_db: f32) {
    if noise_power <= 1e-14 {
        return;
    }
    let gain = (reference_power(samples) / noise_power).sqrt() * 10f32.powf(-snr_db / 20.0);
    for (x, n) in samples.iter_mut().zip(noise) {
        *x += gain * n;
    }
}

/// `length` samples of `clip` from a random place, going round at its end.
pub fn random_cut(clip: &[f32], length: usize, rng: &mut Pcg64Mcg) -> Vec<f32> {
    if clip.is_empty() {
        return vec![0.0; length];
    }
    let start =
        if clip.len() > length { index(rng, clip.len() - length + 1) } else { index(rng, clip.len()) };
    let mut cut = Vec::with_capacity(length);
    let mut from = start;
    while cut.len() < length {
        let n = (clip.len() - from).min(length - cut.len());
        cut.extend_from_slice(&clip[from..from + n]);
        from = 0;
    }
    cut
}

/// Adds a random stretch of a recorded noise clip at the given SNR. A stretch that is nearly
/// silent (between two barks of a dog) is not blown up: it counts as no less than 1/100 of its
/// clip's power.
pub fn add_clip(samples: &mut [f32], clip: &[f32], snr_db: f32, rng: &mut Pcg64Mcg) {
    let cut = random_cut(clip, samples.len(), rng);
    let noise_power = power(&cut).max(0.01 * active_power(clip));
    add_scaled(samples, &cut, noise_power, snr_db);
}

/// Adds `voices` random stretches of speech, each at the same level, together at the given SNR.
pub fn add_babble(samples: &mut [f32], speech: &[Vec<f32>], voices: usize, snr_db: f32, rng: &mut Pcg64Mcg) {
    if speech.is_empty() {
        return;
    }
    let mut babble = vec![0f32; samples.len()];
    for _ in 0..voices {
        let clip = &speech[index(rng, speech.len())];
        let cut = random_cut(clip, samples.len(), rng);
        let level = active_power(&cut);
        if level > 1e-10 {
            let gain = level.sqrt().recip();
            babble.iter_mut().zip(&cut).for_each(|(b, x)| *b += gain * x);
        }
    }
    mix_at_snr(samples, &babble, snr_db);
}

/// Adds coloured noise at the given SNR.
pub fn add_color(samples: &mut [f32], color: NoiseColor, snr_db: f32, rng: &mut Pcg64Mcg) {
    let noise = colored_noise(color, samples.len(), rng);
    mix_at_snr(samples, &noise, snr_db);
}

/// Makes `noise` what a suppressor leaves of it that has to learn it first: in full for `hold_s`
/// seconds, then falling by `fall_db_s` decibels a second, by no more than `depth_db`.
pub fn suppress(noise: &mut [f32], hold_s: f32, fall_db_s: f32, depth_db: f32) {
    let hold = (hold_s.max(0.0) * SAMPLE_RATE as f32) as usize;
    let (factor, least) =
        (db_to_amplitude(-fall_db_s / SAMPLE_RATE as f32), db_to_amplitude(-depth_db.max(0.0)));
    let mut gain = 1f32;
    for sample in noise.iter_mut().skip(hold) {
        gain = (gain * factor).max(least);
        *sample *= gain;
    }
}

/// `length` samples of noise with mean power near 1.
pub fn colored_noise(color: NoiseColor, length: usize, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let mut noise = match color {
        NoiseColor::White => white(length, rng),
        NoiseColor::Pink => pink(length, rng),
        NoiseColor::Brown => brown(length, rng),
        NoiseColor::Hum => hum(length, rng),
    };
    let level = power(&noise);
    if level > 1e-14 {
        scale(&mut noise, level.sqrt().recip());
    }
    noise
}

/// Nearly Gaussian: the sum of the four 16-bit quarters of each random word, variance 1.
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

/// White noise through three first-order sections whose poles and zeros alternate at equal ratios
/// (each pole a factor 10^(1/2) below its zero, sections a decade apart): -10 dB a decade from
/// some 10 Hz to 5 kHz within about a decibel.
fn pink(length: usize, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let mut noise = white(length, rng);
    let place = |hz: f32| (-std::f32::consts::TAU * hz / SAMPLE_RATE as f32).exp();
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

/// White noise through a leaky integrator with its corner at 30 Hz.
fn brown(length: usize, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let mut noise = white(length, rng);
    let keep = (-std::f32::consts::TAU * 30.0 / SAMPLE_RATE as f32).exp();
    let mut sum = 0f32;
    for sample in &mut noise {
        sum = keep * sum + *sample;
        *sample = sum;
    }
    noise
}

/// 50 or 60 Hz and up to twelve harmonics of random, falling strength.
fn hum(length: usize, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let mains = if rng.random::<bool>() { 50.0 } else { 60.0 };
    let partials: Vec<(f32, f32)> = (1..=12)
        .map(|k| {
            let strength = uniform(rng, [0.1, 1.0]) / (k as f32).powf(0.7);
            (strength, uniform(rng, [0.0, std::f32::consts::TAU]))
        })
        .collect();
    // 50 ms hold a whole number of periods of either, so the rest is repetition.
    let period = SAMPLE_RATE as usize / 20 * 2;
    let wave: Vec<f32> = (0..period.min(length))
        .map(|n| {
            let phase = std::f32::consts::TAU * mains * n as f32 / SAMPLE_RATE as f32;
            partials.iter().enumerate().map(|(k, (a, p))| a * (phase * (k + 1) as f32 + p).sin()).sum()
        })
        .collect();
    wave.iter().copied().cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::super::level::power_to_db;
    use super::super::testing::{band_power, rng, sine, tone_share};
    use super::*;

    fn snr(clean: &[f32], noisy: &[f32]) -> f32 {
        let noise: Vec<f32> = noisy.iter().zip(clean).map(|(n, c)| n - c).collect();
        power_to_db(power(clean)) - power_to_db(power(&noise))
    }

    #[test]
    fn snr_is_as_asked() {
        let clean = sine(300.0, 0.3, 32_000);
        let mut rng = rng(1);
        for color in [NoiseColor::White, NoiseColor::Pink, NoiseColor::Brown, NoiseColor::Hum] {
            for wanted in [0.0, 12.0, 30.0] {
                let mut noisy = clean.clone();
                add_color(&mut noisy, color, wanted, &mut rng);
                assert!((snr(&clean, &noisy) - wanted).abs() < 0.5, "{color:?} {wanted}");
            }
        }
        let clip = colored_noise(NoiseColor::White, 5000, &mut rng);
        let mut noisy = clean.clone();
        add_clip(&mut noisy, &clip, 7.0, &mut rng);
        assert!((snr(&clean, &noisy) - 7.0).abs() < 0.5);
        let speech = vec![sine(200.0, 0.1, 9000), sine(250.0, 0.9, 50_000)];
        let mut noisy = clean.clone();
        add_babble(&mut noisy, &speech, 5, 3.0, &mut rng);
        assert!((snr(&clean, &noisy) - 3.0).abs() < 0.5);
    }

    #[test]
    fn a_suppressor_takes_noise_away_by_and_by() {
        let mut noise = vec![1f32; 3 * SAMPLE_RATE as usize];
        suppress(&mut noise, 0.5, 20.0, 30.0);
        let level = |s: f32| 20.0 * noise[(s * SAMPLE_RATE as f32) as usize].log10();
        assert_eq!(level(0.49), 0.0);
        assert!((level(1.0) + 10.0).abs() < 0.1, "{}", level(1.0));
        assert!((level(2.9) + 30.0).abs() < 0.1, "{}", level(2.9));
    }

    #[test]
    fn colors_have_their_slopes() {
        let mut rng = rng(2);
        // Power in the octaves around 250 Hz and 2 kHz, three octaves apart.
        for (color, wanted) in [(NoiseColor::White, 9.0), (NoiseColor::Pink, 0.0), (NoiseColor::Brown, -9.0)]
        {
            let noise = colored_noise(color, 160_000, &mut rng);
            let rise = power_to_db(band_power(&noise, 1414.0, 2828.0))
                - power_to_db(band_power(&noise, 177.0, 354.0));
            assert!((rise - wanted).abs() < 1.5, "{color:?}: {rise} dB in three octaves");
        }
    }

    #[test]
    fn hum_is_harmonic() {
        let noise = colored_noise(NoiseColor::Hum, 16_000, &mut rng(3));
        let harmonics = |mains: f32| (1..=12).map(|k| tone_share(&noise, mains * k as f32)).sum::<f32>();
        assert!(harmonics(50.0).max(harmonics(60.0)) > 0.95);
    }

    #[test]
    fn clips_go_round_and_empty_ones_are_silent() {
        let mut rng = rng(4);
        let cut = random_cut(&[1.0, 2.0, 3.0], 8, &mut rng);
        assert_eq!(cut.len(), 8);
        assert!(cut.windows(2).all(|w| w[1] == w[0] % 3.0 + 1.0));
        assert_eq!(random_cut(&[], 3, &mut rng), [0.0; 3]);
        let mut samples = sine(100.0, 0.1, 100);
        let before = samples.clone();
        add_clip(&mut samples, &[], 0.0, &mut rng);
        add_babble(&mut samples, &[], 3, 0.0, &mut rng);
        assert_eq!(samples, before);
    }
}
