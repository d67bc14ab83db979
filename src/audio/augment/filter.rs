//! Second-order filters: band limits, the colouring of small microphones, the telephone.

use rand_pcg::Pcg64Mcg;

use super::level::{dot, uniform};
use crate::units::SAMPLE_RATE;

/// A second-order section, normalised to a0 = 1. Designs follow R. Bristow-Johnson, "Cookbook
/// formulae for audio EQ biquad filter coefficients".
#[derive(Clone, Copy, Debug)]
pub struct Biquad {
    b: [f32; 3],
    a: [f32; 2],
}

impl Biquad {
    fn normalised(b: [f64; 3], a: [f64; 3]) -> Self {
        Self { b: b.map(|x| (x / a[0]) as f32), a: [(a[1] / a[0]) as f32, (a[2] / a[0]) as f32] }
    }

    /// Cosine of the angular frequency, and the cookbook's alpha. Frequencies are kept below the
    /// Nyquist frequency.
    fn angles(hz: f32, q: f32) -> (f64, f64) {
        let hz = f64::from(hz.clamp(1.0, SAMPLE_RATE as f32 * 0.49));
        let w = std::f64::consts::TAU * hz / f64::from(SAMPLE_RATE);
        (w.cos(), w.sin() / (2.0 * f64::from(q)))
    }

    /// Passes below `hz`, -12 dB an octave above.
    pub fn low_pass(hz: f32, q: f32) -> Self {
        let (c, alpha) = Self::angles(hz, q);
        Self::normalised([(1.0 - c) / 2.0, 1.0 - c, (1.0 - c) / 2.0], [1.0 + alpha, -2.0 * c, 1.0 - alpha])
    }

    /// Passes above `hz`, -12 dB an octave below.
    pub fn high_pass(hz: f32, q: f32) -> Self {
        let (c, alpha) = Self::angles(hz, q);
        Self::normalised([(1.0 + c) / 2.0, -1.0 - c, (1.0 + c) / 2.0], [1.0 + alpha, -2.0 * c, 1.0 - alpha])
    }

    /// Raises (or lowers) a band around `hz` by `gain_db`.
    pub fn peaking(hz: f32, q: f32, gain_db: f32) -> Self {
        let (c, alpha) = Self::angles(hz, q);
        let a = 10f64.powf(f64::from(gain_db) / 40.0);
        Self::normalised(
            [1.0 + alpha * a, -2.0 * c, 1.0 - alpha * a],
            [1.0 + alpha / a, -2.0 * c, 1.0 - alpha / a],
        )
    }

    /// Raises (or lowers) everything below `hz` by `gain_db`.
    pub fn low_shelf(hz: f32, gain_db: f32) -> Self {
        Self::shelf(hz, gain_db, 1.0)
    }

    /// Raises (or lowers) everything above `hz` by `gain_db`.
    pub fn high_shelf(hz: f32, gain_db: f32) -> Self {
        Self::shelf(hz, gain_db, -1.0)
    }

    /// Both shelves: the high one is the low one with the sign of the cosine turned.
    fn shelf(hz: f32, gain_db: f32, side: f64) -> Self {
        let (c, alpha) = Self::angles(hz, std::f32::consts::FRAC_1_SQRT_2);
        let a = 10f64.powf(f64::from(gain_db) / 40.0);
        let (c, root) = (c * side, 2.0 * a.sqrt() * alpha);
        let (up, down) = (a + 1.0, a - 1.0);
        Self::normalised(
            [a * (up - down * c + root), side * 2.0 * a * (down - up * c), a * (up - down * c - root)],
            [up + down * c + root, side * -2.0 * (down + up * c), up + down * c - root],
        )
    }
}

/// The Q of each section of a Butterworth filter of order `2 N`.
fn butterworth_q<const N: usize>() -> [f32; N] {
    std::array::from_fn(|k| {
        let angle = std::f64::consts::PI * (2 * k + 1) as f64 / (4 * N) as f64;
        (0.5 / angle.cos()) as f32
    })
}

/// Runs sections one after another, in place (transposed direct form II, all sections in one
/// pass, so that they overlap in the processor's pipeline).
pub fn filter<const N: usize>(samples: &mut [f32], sections: &[Biquad; N]) {
    let mut state = [[0f32; 2]; N];
    for chunk in samples.chunks_mut(256) {
        for sample in chunk {
            let mut x = *sample;
            for (section, s) in sections.iter().zip(&mut state) {
                let y = section.b[0] * x + s[0];
                s[0] = section.b[1] * x - section.a[0] * y + s[1];
                s[1] = section.b[2] * x - section.a[1] * y;
                x = y;
            }
            *sample = x;
        }
        // Rings that die in digital silence would become subnormal, and slow.
        for s in state.iter_mut().flatten() {
            if s.abs() < 1e-15 {
                *s = 0.0;
            }
        }
    }
}

/// Butterworth high-pass of order 4.
pub fn high_pass(samples: &mut [f32], hz: f32) {
    filter(samples, &butterworth_q::<2>().map(|q| Biquad::high_pass(hz, q)));
}

/// Butterworth low-pass of order 8.
pub fn low_pass(samples: &mut [f32], hz: f32) {
    filter(samples, &butterworth_q::<4>().map(|q| Biquad::low_pass(hz, q)));
}

/// A random colouring, as rooms of a phone's or laptop's case give it: two shelves and two
/// resonances, each with a gain drawn from the range.
pub fn random_equalizer(samples: &mut [f32], gain_db: [f32; 2], rng: &mut Pcg64Mcg) {
    // Frequencies are drawn evenly by octaves.
    let mut octaves = |low: f32, high: f32| uniform(rng, [low.log2(), high.log2()]).exp2();
    let places =
        [octaves(100.0, 500.0), octaves(2000.0, 6000.0), octaves(200.0, 1500.0), octaves(1000.0, 6500.0)];
    let widths = [octaves(0.7, 4.0), octaves(0.7, 4.0)];
    let mut gain = || uniform(rng, gain_db);
    let sections = [
        Biquad::low_shelf(places[0], gain()),
        Biquad::high_shelf(places[1], gain()),
        Biquad::peaking(places[2], widths[0], gain()),
        Biquad::peaking(places[3], widths[1], gain()),
    ];
    filter(samples, &sections);
}

/// Taps on each side of the half-band interpolator.
const HALF_BAND: usize = 12;

/// The telephone: 300 to 3400 Hz, carried at 8 kHz and brought back to 16 kHz.
pub fn telephone(samples: &mut [f32]) {
    let low = butterworth_q::<4>().map(|q| Biquad::low_pass(3400.0, q));
    let high = butterworth_q::<2>().map(|q| Biquad::high_pass(300.0, q));
    let sections = [low[0], low[1], low[2], low[3], high[0], high[1]];
    filter(samples, &sections);
    // Down: keep every second sample. Up: those stay, the ones between are interpolated.
    let mut kept = vec![0f32; samples.len().div_ceil(2) + 2 * HALF_BAND];
    for (k, pair) in kept[HALF_BAND..].iter_mut().zip(samples.chunks(2)) {
        *k = pair[0];
    }
    let taps = half_band_taps();
    for (i, pair) in samples.chunks_exact_mut(2).enumerate() {
        pair[1] = dot(&kept[i + 1..i + 1 + 2 * HALF_BAND], &taps);
    }
}

/// The windowed sinc half-way between two samples.
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
    use super::super::level::{power, power_to_db};
    use super::super::noise::{NoiseColor, colored_noise};
    use super::super::testing::{band_power, rng, sine};
    use super::*;

    /// The gain at a frequency, dB, once the filter has settled.
    fn gain_db(hz: f32, effect: impl Fn(&mut [f32])) -> f32 {
        let mut samples = sine(hz, 0.5, 16_000);
        let before = power(&samples[8000..]);
        effect(&mut samples);
        power_to_db(power(&samples[8000..]) / before)
    }

    #[test]
    fn butterworth_edges_are_3_db_down() {
        assert!((gain_db(1000.0, |s| low_pass(s, 1000.0)) + 3.0).abs() < 0.1);
        assert!(gain_db(2000.0, |s| low_pass(s, 1000.0)) < -45.0);
        assert!(gain_db(500.0, |s| low_pass(s, 1000.0)).abs() < 0.1);
        assert!((gain_db(300.0, |s| high_pass(s, 300.0)) + 3.0).abs() < 0.1);
        assert!(gain_db(150.0, |s| high_pass(s, 300.0)) < -22.0);
    }

    #[test]
    fn shelves_and_peaks_have_their_gain() {
        let with = |section: Biquad| move |s: &mut [f32]| filter(s, &[section]);
        assert!((gain_db(40.0, with(Biquad::low_shelf(800.0, 6.0))) - 6.0).abs() < 0.2);
        assert!(gain_db(7000.0, with(Biquad::low_shelf(800.0, 6.0))).abs() < 0.2);
        assert!((gain_db(7500.0, with(Biquad::high_shelf(2000.0, -9.0))) + 9.0).abs() < 0.3);
        assert!(gain_db(100.0, with(Biquad::high_shelf(2000.0, -9.0))).abs() < 0.2);
        assert!((gain_db(1000.0, with(Biquad::peaking(1000.0, 2.0, 8.0))) - 8.0).abs() < 0.1);
    }

    #[test]
    fn telephone_keeps_its_band_only() {
        let mut noise = colored_noise(NoiseColor::White, 64_000, &mut rng(5));
        let before = noise.clone();
        telephone(&mut noise);
        let change = |low, high| power_to_db(band_power(&noise, low, high) / band_power(&before, low, high));
        assert!(change(600.0, 3000.0).abs() < 1.0, "{}", change(600.0, 3000.0));
        assert!(change(20.0, 120.0) < -25.0);
        assert!(change(4600.0, 7900.0) < -35.0, "{}", change(4600.0, 7900.0));
    }

    #[test]
    fn telephone_takes_odd_and_empty_lengths() {
        for n in [0, 1, 2, 3, 25] {
            let mut samples = vec![0.1; n];
            telephone(&mut samples);
            assert!(samples.len() == n && samples.iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    fn a_dying_filter_leaves_no_subnormals() {
        let mut samples = vec![0f32; 64_000];
        samples[0] = 1.0;
        high_pass(&mut samples, 60.0);
        assert!(samples[48_000..].iter().all(|x| !x.is_subnormal()));
    }
}
