//! Low-bit-rate codecs, which leave holes in the spectrum.

use std::sync::Arc;

use hearken_fft::{Complex, ComplexToReal, RealToComplex, forward, inverse};
use rand_pcg::Pcg64Mcg;

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::{index, ms, uniform};

effect! {
    /// A low-bit-rate codec that drops weak spectral bins.
    SpectralHoles {
        /// Level below the strongest bin of a band at which bins are dropped, dB.
        threshold_db: [f32; 2] = [8.0, 25.0],
        /// Frequency above which everything is dropped, Hz.
        bandwidth_hz: [f32; 2] = [3500.0, 8000.0],
    }
}

impl Effect for SpectralHoles {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::new("threshold_db", self.threshold_db, [0.0, 100.0]),
            Range::new("bandwidth_hz", self.bandwidth_hz, [500.0, 8000.0]),
        ]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let coder = Coder::new(materials.sample_rate);
        let Self { threshold_db, bandwidth_hz, .. } = self.clone();
        Some(Box::new(move |samples, rng| {
            let threshold_db = uniform(rng, threshold_db);
            coder.apply(samples, threshold_db, uniform(rng, bandwidth_hz), rng);
        }))
    }
}

/// Length of a codec frame, ms; frames overlap by half.
const FRAME_MS: usize = 32;
/// Number of bins in the bands in which bins are compared: 500 Hz in frames of 32 ms.
const BAND: usize = 16;
/// The bin at 2 kHz in frames of 32 ms.
const TWO_KHZ: usize = 64;

/// A simulated low-bit-rate codec: in frames of 32 ms it drops bins much weaker than the strongest of their
/// band, and everything above a random bandwidth.
struct Coder {
    sample_rate: u32,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    /// Sine window, applied before and after: the squares of two overlapping halves add up to one.
    window: Vec<f32>,
}

impl Coder {
    fn new(sample_rate: u32) -> Self {
        // Even, so that half a frame is a whole number of samples.
        let length = (ms(FRAME_MS, sample_rate) / 2).max(8) * 2;
        let window =
            (0..length).map(|i| (std::f32::consts::PI * (i as f32 + 0.5) / length as f32).sin()).collect();
        let (forward, inverse) = (forward(length), inverse(length));
        Self { sample_rate, forward, inverse, window }
    }

    /// Drops bins more than `threshold_db` below the strongest of their band, and all above `bandwidth_hz`.
    /// In one of eight frames a whole band above 2 kHz is dropped, too.
    fn apply(&self, samples: &mut [f32], threshold_db: f32, bandwidth_hz: f32, rng: &mut Pcg64Mcg) {
        let length = self.window.len();
        let bins = length / 2 + 1;
        let keep = 10f32.powf(-threshold_db / 10.0);
        let last = ((bandwidth_hz * length as f32 / self.sample_rate as f32) as usize).clamp(1, bins);
        let mut out = vec![0f32; samples.len() + length];
        let mut frame = vec![0f32; length];
        let mut spectrum = vec![Complex::new(0f32, 0.0); bins];
        let mut scratch =
            vec![Complex::new(0f32, 0.0); self.forward.get_scratch_len().max(self.inverse.get_scratch_len())];
        // The first frame starts half a frame early, so that every sample is in two frames.
        for start in (0..samples.len() + length / 2).step_by(length / 2) {
            self.load(samples, start, &mut frame);
            let ok = self.forward.process_with_scratch(&mut frame, &mut spectrum, &mut scratch).is_ok();
            debug_assert!(ok, "lengths are fixed");
            spectrum[last..].fill(Complex::new(0.0, 0.0));
            drop_weak_bins(&mut spectrum[..last], keep);
            if index(rng, 8) == 0 {
                let from = uniform(rng, [TWO_KHZ.min(bins) as f32, bins as f32]) as usize;
                let to = (from + BAND).min(bins);
                spectrum[from.min(to)..to].fill(Complex::new(0.0, 0.0));
            }
            spectrum[0].im = 0.0;
            spectrum[bins - 1].im = 0.0;
            let ok = self.inverse.process_with_scratch(&mut spectrum, &mut frame, &mut scratch).is_ok();
            debug_assert!(ok, "lengths are fixed");
            for ((o, x), w) in out[start..].iter_mut().zip(&frame).zip(&self.window) {
                *o += x * w / length as f32;
            }
        }
        samples.copy_from_slice(&out[length / 2..length / 2 + samples.len()]);
    }

    /// Loads the windowed frame that starts half a frame before `start`, with zeros beyond the ends.
    fn load(&self, samples: &[f32], start: usize, frame: &mut [f32]) {
        for (i, (x, w)) in frame.iter_mut().zip(&self.window).enumerate() {
            let at = (start + i).checked_sub(self.window.len() / 2);
            *x = w * at.and_then(|at| samples.get(at)).copied().unwrap_or(0.0);
        }
    }
}

/// Zeroes the bins whose power is less than `keep` times the maximum of their band.
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
    use super::super::color::{NoiseColor, colored_noise};
    use super::super::level::power;
    use super::super::testing::{RATE, band_power, rng, snr_db, speech_like};
    use super::*;

    #[test]
    fn holes_cut_the_band_and_keep_the_speech() {
        let clean = speech_like(2.0);
        let mut coded = clean.clone();
        Coder::new(RATE).apply(&mut coded, 12.0, 4000.0, &mut rng(6));
        assert!(snr_db(&clean, &coded) > 8.0, "{}", snr_db(&clean, &coded));
        let noise = colored_noise(NoiseColor::White, 32_000, RATE, &mut rng(7));
        let mut coded = noise.clone();
        Coder::new(RATE).apply(&mut coded, 6.0, 4000.0, &mut rng(6));
        assert!(band_power(&coded, 4200.0, 8000.0) < 1e-3 * band_power(&noise, 4200.0, 8000.0));
        assert!(power(&coded) > 0.2 * power(&noise));
    }

    #[test]
    fn without_holes_nothing_changes() {
        let clean = speech_like(0.5);
        let coder = Coder::new(RATE);
        let (mut frame, mut coded) = (vec![0f32; 512], vec![0f32; clean.len() + 512]);
        for start in (0..clean.len() + 512 / 2).step_by(512 / 2) {
            coder.load(&clean, start, &mut frame);
            for i in 0..512 {
                if start + i < coded.len() {
                    coded[start + i] += frame[i] * coder.window[i];
                }
            }
        }
        assert!(snr_db(&clean, &coded[512 / 2..512 / 2 + clean.len()]) > 80.0);
    }
}
