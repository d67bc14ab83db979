//! Levels (powers, decibels) and the random draws of effects.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// Number of samples summed in single precision before the sum is added in double precision.
const SUMMED: usize = 160;

/// Number of samples of the frames in which levels are measured: 10 ms.
pub(super) fn level_frame(sample_rate: u32) -> usize {
    (sample_rate as usize / 100).max(1)
}

/// Converts milliseconds to samples, rounding down.
pub(super) fn ms(milliseconds: usize, sample_rate: u32) -> usize {
    milliseconds * sample_rate as usize / 1000
}

/// The speech level assumed for digital silence: -26 dBFS.
const NOMINAL_RMS: f32 = 0.05;

/// Converts decibels to an amplitude factor: `10^(db/20)`.
pub fn db_to_amplitude(db: f32) -> f32 {
    10f32.powf(db / 20.0)
}

/// Converts a power (mean square) to decibels relative to full scale, at least -120.
pub fn power_to_db(power: f32) -> f32 {
    10.0 * power.max(1e-12).log10()
}

/// The dot product over the common length of `a` and `b`, in eight lanes so that it vectorizes.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    let (mut a8, mut b8) = (a.chunks_exact(8), b.chunks_exact(8));
    for (x, y) in a8.by_ref().zip(b8.by_ref()) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let whole = a.len().min(b.len()) / 8 * 8;
    let rest: f32 = a[whole..].iter().zip(&b[whole..]).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + rest
}

/// The mean square of `samples`; 0 if there are none.
pub fn power(samples: &[f32]) -> f32 {
    if samples.is_empty() {
        return 0.0;
    }
    // Double precision is accurate even for minutes of samples.
    let sum: f64 = samples.chunks(SUMMED).map(|frame| f64::from(dot(frame, frame))).sum();
    (sum / samples.len() as f64) as f32
}

/// The level of the speech without the silence around it (similar to ITU-T P.56): the mean square over the
/// 10 ms frames within 30 dB of the loudest.
pub fn active_power(samples: &[f32], sample_rate: u32) -> f32 {
    let powers = || samples.chunks(level_frame(sample_rate)).map(power);
    let floor = powers().fold(0f32, f32::max) * 1e-3;
    let (sum, frames) =
        powers().filter(|&p| p >= floor).fold((0f64, 0usize), |(sum, n), p| (sum + f64::from(p), n + 1));
    if frames == 0 { 0.0 } else { (sum / frames as f64) as f32 }
}

/// The [`active_power`], or a nominal speech level for digital silence.
fn reference_power(samples: &[f32], sample_rate: u32) -> f32 {
    match active_power(samples, sample_rate) {
        p if p > 1e-10 => p,
        _ => NOMINAL_RMS * NOMINAL_RMS,
    }
}

/// Adds `noise` (at least as long as `samples`) so that the speech level (see [`active_power`]) is `snr_db`
/// above the noise's mean power.
pub(super) fn mix_at_snr(samples: &mut [f32], noise: &[f32], snr_db: f32, sample_rate: u32) {
    add_scaled(samples, noise, power(&noise[..noise.len().min(samples.len())]), snr_db, sample_rate);
}

/// Adds `noise` of the given power so that the speech level is `snr_db` above it.
pub(super) fn add_scaled(
    samples: &mut [f32],
    noise: &[f32],
    noise_power: f32,
    snr_db: f32,
    sample_rate: u32,
) {
    if noise_power <= 1e-14 {
        return;
    }
    let gain = (reference_power(samples, sample_rate) / noise_power).sqrt() * 10f32.powf(-snr_db / 20.0);
    for (x, n) in samples.iter_mut().zip(noise) {
        *x += gain * n;
    }
}

/// The maximum magnitude.
pub fn peak(samples: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    let mut chunks = samples.chunks_exact(8);
    for chunk in chunks.by_ref() {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            let x = x.abs();
            *lane = if x > *lane { x } else { *lane };
        }
    }
    chunks.remainder().iter().chain(&lanes).fold(0f32, |m, x| m.max(x.abs()))
}

/// Multiplies all samples by a factor.
pub(super) fn scale(samples: &mut [f32], factor: f32) {
    samples.iter_mut().for_each(|x| *x *= factor);
}

/// Draws a number uniformly from `range[0]..=range[1]`.
pub(super) fn uniform(rng: &mut Pcg64Mcg, range: [f32; 2]) -> f32 {
    range[0] + (range[1] - range[0]) * rng.random::<f32>()
}

/// Returns true with the given probability. Draws no random number if the result is certain.
pub(super) fn chance(rng: &mut Pcg64Mcg, probability: f32) -> bool {
    probability > 0.0 && (probability >= 1.0 || rng.random::<f32>() < probability)
}

/// Draws an index below `len` (which must not be 0).
pub(super) fn index(rng: &mut Pcg64Mcg, len: usize) -> usize {
    rng.random_range(0..len.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_of_a_square_wave_is_its_square() {
        let wave: Vec<f32> = (0..1003).map(|i| if i % 2 == 0 { 0.5 } else { -0.5 }).collect();
        assert!((power(&wave) - 0.25).abs() < 1e-6);
        assert_eq!(peak(&wave), 0.5);
        assert_eq!(power(&[]), 0.0);
        assert_eq!(active_power(&[], 16_000), 0.0);
    }

    #[test]
    fn active_power_ignores_silence() {
        let mut samples = vec![0.5f32; 3200];
        let loud = active_power(&samples, 16_000);
        samples.extend(vec![0f32; 32000]);
        assert!((active_power(&samples, 16_000) - loud).abs() < 1e-4);
        assert!(power(&samples) < 0.1 * loud);
    }
}
