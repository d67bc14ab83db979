//! What coders leave of a signal: G.711, few bits, spectral holes.

use std::sync::Arc;

use rand_pcg::Pcg64Mcg;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex, num_complex::Complex};

use super::level::{index, peak, uniform};
use crate::units::SAMPLE_RATE;

/// One sample through G.711 mu-law and back: 8 bits, 14-bit range.
fn mu_law(x: f32) -> f32 {
    // The standard adds 33, so that segments begin at powers of two.
    let magnitude = ((x.abs() * 8159.0) as u32).min(8158) + 33;
    let segment = 26 - magnitude.leading_zeros();
    let step = magnitude >> (segment + 1) & 0xf;
    let decoded = ((2 * step + 33) << segment) - 33;
    (decoded as f32 / 8159.0).copysign(x)
}

/// One sample through G.711 A-law and back: 8 bits, 13-bit range.
fn a_law(x: f32) -> f32 {
    let magnitude = ((x.abs() * 4096.0) as u32).min(4095);
    // The two lowest segments share a step of 2; from 64 on it doubles with each octave.
    let shift = (28 - magnitude.max(32).leading_zeros()).saturating_sub(1).max(1);
    let decoded = ((magnitude >> shift << 1) + 1) << shift >> 1;
    (decoded as f32 / 4096.0).copysign(x)
}

/// G.711 in one of its two forms. The samples are brought near full scale for it and back, as a
/// line's level control does.
pub fn companding(samples: &mut [f32], use_mu_law: bool) {
    let top = peak(samples);
    if top <= 0.0 {
        return;
    }
    let (up, down) = (0.5 / top, top / 0.5);
    if use_mu_law {
        samples.iter_mut().for_each(|x| *x = mu_law(*x * up) * down);
    } else {
        samples.iter_mut().for_each(|x| *x = a_law(*x * up) * down);
    }
}

/// Rounds to `bits` bits, of which the loudest sample uses all.
pub fn quantize(samples: &mut [f32], bits: u32) {
    let top = peak(samples);
    if top <= 0.0 {
        return;
    }
    let steps = (1u32 << (bits.clamp(2, 24) - 1)) as f32 / top;
    let step = steps.recip();
    samples.iter_mut().for_each(|x| *x = (*x * steps).round_ties_even() * step);
}

/// Samples of a coder's frame (32 ms), half overlapped.
const FRAME: usize = 512;
const BINS: usize = FRAME / 2 + 1;
/// Bins of the bands in which coders decide what is worth bits (500 Hz).
const BAND: usize = 16;

/// A coder of low bit rate: in frames of 32 ms, bins much weaker than the strongest of their band
/// are dropped, and everything above a random bandwidth.
pub struct SpectralHoles {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    /// Sine window, applied before and after: the squares of two halves add to one.
    window: Vec<f32>,
}

impl Default for SpectralHoles {
    fn default() -> Self {
        let mut planner = RealFftPlanner::new();
        let window =
            (0..FRAME).map(|i| (std::f32::consts::PI * (i as f32 + 0.5) / FRAME as f32).sin()).collect();
        Self { forward: planner.plan_fft_forward(FRAME), inverse: planner.plan_fft_inverse(FRAME), window }
    }
}

impl SpectralHoles {
    /// Drops bins more than `threshold_db` below their band's strongest, and all above
    /// `bandwidth_hz`. Now and then (one frame in eight) a whole band above 2 kHz goes too.
    pub fn apply(&self, samples: &mut [f32], threshold_db: f32, bandwidth_hz: f32, rng: &mut Pcg64Mcg) {
        let keep = 10f32.powf(-threshold_db / 10.0);
        let last = ((bandwidth_hz * FRAME as f32 / SAMPLE_RATE as f32) as usize).clamp(1, BINS);
        let mut out = vec![0f32; samples.len() + FRAME];
        let mut frame = vec![0f32; FRAME];
        let mut spectrum = vec![Complex::new(0f32, 0.0); BINS];
        let mut scratch =
            vec![Complex::new(0f32, 0.0); self.forward.get_scratch_len().max(self.inverse.get_scratch_len())];
        // The first frame starts half a frame early, so that every sample is in two.
        for start in (0..samples.len() + FRAME / 2).step_by(FRAME / 2) {
            self.load(samples, start, &mut frame);
            let ok = self.forward.process_with_scratch(&mut frame, &mut spectrum, &mut scratch).is_ok();
            debug_assert!(ok, "lengths are fixed");
            spectrum[last..].fill(Complex::new(0.0, 0.0));
            drop_weak_bins(&mut spectrum[..last], keep);
            if index(rng, 8) == 0 {
                let from = uniform(rng, [64.0, BINS as f32]) as usize;
                let to = (from + BAND).min(BINS);
                spectrum[from.min(to)..to].fill(Complex::new(0.0, 0.0));
            }
            spectrum[0].im = 0.0;
            spectrum[BINS - 1].im = 0.0;
            let ok = self.inverse.process_with_scratch(&mut spectrum, &mut frame, &mut scratch).is_ok();
            debug_assert!(ok, "lengths are fixed");
            for ((o, x), w) in out[start..].iter_mut().zip(&frame).zip(&self.window) {
                *o += x * w / FRAME as f32;
            }
        }
        samples.copy_from_slice(&out[FRAME / 2..FRAME / 2 + samples.len()]);
    }

    /// The windowed frame that starts at `start - FRAME / 2`, zeros beyond the ends.
    fn load(&self, samples: &[f32], start: usize, frame: &mut [f32]) {
        for (i, (x, w)) in frame.iter_mut().zip(&self.window).enumerate() {
            let at = (start + i).checked_sub(FRAME / 2);
            *x = w * at.and_then(|at| samples.get(at)).copied().unwrap_or(0.0);
        }
    }
}

/// Zeroes the bins whose power is less than `keep` times their band's greatest.
fn drop_weak_bins(spectrum: &mut [Complex<f32>], keep: f32) {
    for band in spectrum.chunks_mut(BAND) {
        let floor = keep * band.iter().map(Complex::norm_sqr).fold(0f32, f32::max);
        for bin in band {
            if bin.norm_sqr() < floor {
                *bin = Complex::new(0.0, 0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::level::{power, power_to_db};
    use super::super::noise::{NoiseColor, colored_noise};
    use super::super::testing::{band_power, rng, sine, speech_like};
    use super::*;

    fn distortion_db(clean: &[f32], coded: &[f32]) -> f32 {
        let error: Vec<f32> = clean.iter().zip(coded).map(|(a, b)| a - b).collect();
        power_to_db(power(clean)) - power_to_db(power(&error))
    }

    #[test]
    fn g711_has_its_values() {
        // Decoded magnitudes of the standard's tables, on its own scale.
        let mu = |v: f32| (mu_law((v + 0.5) / 8159.0) * 8159.0).round();
        assert_eq!([mu(0.0), mu(1.0), mu(31.0), mu(95.0), mu(8158.0)], [0.0, 2.0, 33.0, 99.0, 8031.0]);
        let a = |v: f32| (a_law((v + 0.5) / 4096.0) * 4096.0).round();
        assert_eq!([a(0.0), a(2.0), a(63.0), a(64.0), a(4095.0)], [1.0, 3.0, 63.0, 66.0, 4032.0]);
        for law in [mu_law, a_law] {
            let mut codes: Vec<u32> = (-9000..=9000).map(|i| law(i as f32 / 9000.0).to_bits()).collect();
            codes.sort_unstable();
            codes.dedup();
            assert!((250..=258).contains(&codes.len()), "{} levels", codes.len());
        }
    }

    #[test]
    fn companding_keeps_35_db() {
        for use_mu_law in [true, false] {
            let clean = sine(440.0, 0.2, 16_000);
            let mut coded = clean.clone();
            companding(&mut coded, use_mu_law);
            let snr = distortion_db(&clean, &coded);
            assert!((32.0..45.0).contains(&snr), "{snr}");
        }
    }

    #[test]
    fn six_decibels_a_bit() {
        let clean = sine(441.3, 0.2, 16_000);
        let snr = |bits| {
            let mut coded = clean.clone();
            quantize(&mut coded, bits);
            distortion_db(&clean, &coded)
        };
        for bits in [5, 8, 11] {
            assert!((snr(bits) - (6.02 * bits as f32 + 1.76)).abs() < 1.5, "{bits}: {}", snr(bits));
        }
    }

    #[test]
    fn holes_cut_the_band_and_keep_the_speech() {
        let clean = speech_like(2.0);
        let mut coded = clean.clone();
        SpectralHoles::default().apply(&mut coded, 12.0, 4000.0, &mut rng(6));
        assert!(distortion_db(&clean, &coded) > 8.0, "{}", distortion_db(&clean, &coded));
        let noise = colored_noise(NoiseColor::White, 32_000, &mut rng(7));
        let mut coded = noise.clone();
        SpectralHoles::default().apply(&mut coded, 6.0, 4000.0, &mut rng(6));
        assert!(band_power(&coded, 4200.0, 8000.0) < 1e-3 * band_power(&noise, 4200.0, 8000.0));
        assert!(power(&coded) > 0.2 * power(&noise));
    }

    #[test]
    fn without_holes_nothing_changes() {
        let clean = speech_like(0.5);
        let holes = SpectralHoles::default();
        let (mut frame, mut coded) = (vec![0f32; FRAME], vec![0f32; clean.len() + FRAME]);
        for start in (0..clean.len() + FRAME / 2).step_by(FRAME / 2) {
            holes.load(&clean, start, &mut frame);
            for i in 0..FRAME {
                if start + i < coded.len() {
                    coded[start + i] += frame[i] * holes.window[i];
                }
            }
        }
        assert!(distortion_db(&clean, &coded[FRAME / 2..FRAME / 2 + clean.len()]) > 80.0);
    }
}
