//! Signals and measurements for the tests of this folder.

use hearken_fft::forward;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

use super::color::{NoiseColor, colored_noise};
use super::level::{power, power_to_db};

/// Sample rate of all signals here, Hz.
pub const RATE: u32 = 16_000;

pub fn rng(seed: u64) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(seed)
}

pub fn sine(hz: f32, amplitude: f32, length: usize) -> Vec<f32> {
    let step = std::f64::consts::TAU * f64::from(hz) / 16_000.0;
    (0..length).map(|n| amplitude * (step * n as f64).sin() as f32).collect()
}

/// The fraction of the power that a sinusoid of this frequency explains, 0 to 1 (Hann window).
pub fn tone_share(samples: &[f32], hz: f32) -> f32 {
    let n = samples.len() as f64;
    let (mut re, mut im, mut total, mut sum_w) = (0f64, 0f64, 0f64, 0f64);
    for (i, &x) in samples.iter().enumerate() {
        let w = 0.5 - 0.5 * (std::f64::consts::TAU * (i as f64 + 0.5) / n).cos();
        let phase = std::f64::consts::TAU * f64::from(hz) * i as f64 / 16_000.0;
        re += w * f64::from(x) * phase.cos();
        im += w * f64::from(x) * phase.sin();
        total += w * f64::from(x) * f64::from(x);
        sum_w += w;
    }
    (2.0 * (re * re + im * im) / (sum_w * total)) as f32
}

/// Power between two frequencies, by one FFT over the whole signal.
pub fn band_power(samples: &[f32], low_hz: f32, high_hz: f32) -> f32 {
    let mut input = samples.to_vec();
    let plan = forward(input.len());
    let mut spectrum = plan.make_output_vec();
    plan.process(&mut input, &mut spectrum).unwrap();
    let hz = 16_000.0 / samples.len() as f32;
    let bins = spectrum.iter().enumerate().filter(|(k, _)| (low_hz..high_hz).contains(&(*k as f32 * hz)));
    2.0 * bins.map(|(_, c)| c.norm_sqr()).sum::<f32>() / (samples.len() as f32).powi(2)
}

/// A signal similar to speech: syllables of harmonics between hisses, with pauses of soft noise.
pub fn speech_like(seconds: f32) -> Vec<f32> {
    let length = (seconds * 16_000.0) as usize;
    let hiss = colored_noise(NoiseColor::White, length, RATE, &mut rng(77));
    (0..length)
        .map(|n| {
            let t = n as f32 / 16_000.0;
            let syllable = (std::f32::consts::PI * 3.0 * t).sin().max(0.0);
            let voice: f32 =
                (1..12).map(|k| (std::f32::consts::TAU * 130.0 * k as f32 * t).sin() / k as f32).sum();
            0.15 * syllable * voice + 0.0005 * hiss[n]
        })
        .collect()
}

/// The level of `clean` relative to what was added to it, dB.
pub fn snr_db(clean: &[f32], noisy: &[f32]) -> f32 {
    let noise: Vec<f32> = noisy.iter().zip(clean).map(|(n, c)| n - c).collect();
    power_to_db(power(clean)) - power_to_db(power(&noise))
}
