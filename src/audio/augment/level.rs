//! Levels: powers, decibels, and the two random draws that every effect makes.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// Samples of the frames in which levels are measured: 10 ms at 16 kHz.
pub(super) const LEVEL_FRAME: usize = 160;

/// The speech level assumed where there is none to measure (digital silence): -26 dBFS.
const NOMINAL_RMS: f32 = 0.05;

/// Decibels as an amplitude factor: `10^(db/20)`.
pub fn db_to_amplitude(db: f32) -> f32 {
    10f32.powf(db / 20.0)
}

/// A power (mean square) in decibels relative to full scale, no less than -120.
pub fn power_to_db(power: f32) -> f32 {
    10.0 * power.max(1e-12).log10()
}

/// The dot product of the common length of `a` and `b`, in eight lanes so that it vectorises.
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

/// The mean square of `samples`; 0 for none.
pub fn power(samples: &[f32]) -> f32 {
    if samples.is_empty() {
        return 0.0;
    }
    // Summed by frames in f64: a minute of samples loses nothing.
    let sum: f64 = samples.chunks(LEVEL_FRAME).map(|frame| f64::from(dot(frame, frame))).sum();
    (sum / samples.len() as f64) as f32
}

/// The mean square over the 10 ms frames that lie within 30 dB of the loudest: the level of the
/// speech itself, whatever the silence around it (in the manner of ITU-T P.56).
pub fn active_power(samples: &[f32]) -> f32 {
    let powers = || samples.chunks(LEVEL_FRAME).map(power);
    let floor = powers().fold(0f32, f32::max) * 1e-3;
    let (sum, frames) =
        powers().filter(|&p| p >= floor).fold((0f64, 0usize), |(sum, n), p| (sum + f64::from(p), n + 1));
    if frames == 0 { 0.0 } else { (sum / frames as f64) as f32 }
}

/// [`active_power`], or a nominal speech level for digital silence.
pub(super) fn reference_power(samples: &[f32]) -> f32 {
    match active_power(samples) {
        p if p > 1e-10 => p,
        _ => NOMINAL_RMS * NOMINAL_RMS,
    }
}

/// The greatest magnitude.
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

/// Multiplies all samples.
pub(super) fn scale(samples: &mut [f32], factor: f32) {
    samples.iter_mut().for_each(|x| *x *= factor);
}

/// A number drawn evenly from `range[0]..=range[1]`.
pub(super) fn uniform(rng: &mut Pcg64Mcg, range: [f32; 2]) -> f32 {
    range[0] + (range[1] - range[0]) * rng.random::<f32>()
}

/// True with the given probability. Draws nothing where the answer is certain.
pub(super) fn chance(rng: &mut Pcg64Mcg, probability: f32) -> bool {
    probability > 0.0 && (probability >= 1.0 || rng.random::<f32>() < probability)
}

/// An index below `len` (which must not be 0).
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
        assert_eq!(active_power(&[]), 0.0);
    }

    #[test]
    fn active_power_ignores_silence() {
        let mut samples = vec![0.5f32; 3200];
        let loud = active_power(&samples);
        samples.extend(vec![0f32; 32000]);
        assert!((active_power(&samples) - loud).abs() < 1e-4);
        assert!(power(&samples) < 0.1 * loud);
    }
}
