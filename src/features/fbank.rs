//! Features of one frame: mean removal, pre-emphasis, window, FFT, power spectrum, mel filters, logarithm.

use std::sync::Arc;

use hearken_fft::{Complex, RealToComplex};

use super::mel::MelBank;
use super::options::{FbankOptions, Resolved};
use super::window::window;
use crate::error::Result;

/// Computes the features of frames; all memory is allocated at construction.
#[derive(Clone)]
pub(super) struct FrameComputer {
    window: Vec<f32>,
    preemphasis: f32,
    remove_dc_offset: bool,
    energy_floor: f32,
    mel: MelBank,
    fft: Arc<dyn RealToComplex<f32>>,
    /// The frame, then zeros up to the FFT's size.
    padded: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    power: Vec<f32>,
    /// If no sample of a frame exceeds this magnitude, all its energies are below the floor.
    silent_peak: f32,
}

impl FrameComputer {
    /// # Errors
    /// When the window is unknown, or a mel filter contains no FFT bin.
    pub(super) fn new(options: &FbankOptions, resolved: &Resolved) -> Result<Self> {
        let length = resolved.frame_length;
        let fft_size = length.next_power_of_two();
        let mel = MelBank::new(
            options.num_mel_bins,
            options.low_freq,
            resolved.high_freq,
            options.sample_rate as f32,
            fft_size,
        )?;
        let fft = hearken_fft::forward(fft_size);
        // |sum of y w| <= N max|y|, and mean removal and pre-emphasis each at most double the magnitude. Half of
        // the exact bound allows for rounding.
        let gain = 4.0 * length as f32;
        let silent_peak = 0.5 * (options.energy_floor / mel.max_weight_sum()).sqrt() / gain;
        Ok(Self {
            window: window(&options.window, length)?,
            preemphasis: options.preemphasis,
            remove_dc_offset: options.remove_dc_offset,
            energy_floor: options.energy_floor,
            padded: vec![0.0; fft_size],
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            power: vec![0.0; MelBank::power_len(fft_size)],
            mel,
            fft,
            silent_peak,
        })
    }

    /// F, the number of features per frame.
    pub(super) fn num_mel_bins(&self) -> usize {
        self.mel.num_bins()
    }

    /// Fills `features [T, F]`, frame i from the samples at `i * shift`; the values are finite and not subnormal.
    pub(super) fn compute(&mut self, samples: &[f32], shift: usize, features: &mut [f32]) {
        let (length, bins) = (self.window.len(), self.num_mel_bins());
        for (g, features) in features.chunks_mut(GROUP * bins).enumerate() {
            let last = features.len() / bins - 1;
            let frames: [&[f32]; GROUP] = std::array::from_fn(|i| {
                let start = (g * GROUP + i.min(last)) * shift;
                &samples[start..start + length]
            });
            let means = if self.remove_dc_offset { means(frames) } else { [0.0; GROUP] };
            for ((frame, mean), features) in
                frames.into_iter().zip(means).zip(features.chunks_exact_mut(bins))
            {
                self.compute_frame(frame, mean, features);
            }
        }
    }

    fn compute_frame(&mut self, frame: &[f32], mean: f32, features: &mut [f32]) {
        if peak(frame) <= self.silent_peak {
            // Digital silence or close to it: the result is the floor, and computing it with subnormal numbers
            // would be slow.
            features.fill(ln(self.energy_floor));
            return;
        }
        self.condition(frame, mean);
        // It fails only for wrong lengths, and these buffers were allocated by the FFT itself.
        let transformed =
            self.fft.process_with_scratch(&mut self.padded, &mut self.spectrum, &mut self.scratch);
        debug_assert!(transformed.is_ok());
        // The bin at the Nyquist frequency is in no filter.
        for (p, s) in self.power[..self.padded.len() / 2].iter_mut().zip(&self.spectrum) {
            *p = s.re * s.re + s.im * s.im;
        }
        self.mel.energies(&self.power, features);
        for feature in features {
            *feature = ln(feature.max(self.energy_floor));
        }
    }

    /// Writes `frame` into `padded` after mean removal, pre-emphasis, windowing and zero padding.
    fn condition(&mut self, frame: &[f32], mean: f32) {
        let (y, padding) = self.padded.split_at_mut(frame.len());
        padding.fill(0.0);
        let c = self.preemphasis;
        let first = frame[0] - mean;
        y[0] = (first - c * first) * self.window[0];
        let pairs = frame.iter().zip(&frame[1..]);
        for ((y, w), (previous, x)) in y[1..].iter_mut().zip(&self.window[1..]).zip(pairs) {
            *y = ((x - mean) - c * (previous - mean)) * w;
        }
    }
}

/// Number of frames whose means are computed in parallel.
const GROUP: usize = 4;

/// The means of frames of the same length. Each sum is accumulated in the order of the samples, as in Kaldi: with a
/// large DC offset the rounding of the sum shows in the features. Such a sum is a chain of dependent additions;
/// several of them in parallel hide the latency.
fn means(frames: [&[f32]; GROUP]) -> [f32; GROUP] {
    let length = frames[0].len();
    let frames = frames.map(|frame| &frame[..length]);
    let mut sums = [0.0f32; GROUP];
    for j in 0..length {
        for (sum, frame) in sums.iter_mut().zip(frames) {
            *sum += frame[j];
        }
    }
    sums.map(|sum| sum / length as f32)
}

/// Number of partial results computed in parallel in [`peak`].
const LANES: usize = 16;

/// The maximum magnitude of `x`.
fn peak(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut peaks = [0.0f32; LANES];
    let greater = |a: f32, b: f32| if a > b { a } else { b };
    for chunk in chunks {
        for lane in 0..LANES {
            peaks[lane] = greater(chunk[lane].abs(), peaks[lane]);
        }
    }
    for (p, x) in peaks.iter_mut().zip(rest) {
        *p = greater(x.abs(), *p);
    }
    peaks.iter().fold(0.0, |a, &b| greater(a, b))
}

/// The natural logarithm of a positive, finite, normal number, to a relative error of 2e-7 or an absolute one of 1e-7.
///
/// x = 2^e m with m in [sqrt(1/2), sqrt(2)), and ln m = 2 artanh(s) with s = (m - 1) / (m + 1), whose series is
/// truncated after s^9 (|s| < 0.1716, the next term is below 1e-9). It has no branches or tables, so that loops over
/// it are vectorized.
#[inline(always)]
fn ln(x: f32) -> f32 {
    const SQRT_HALF: i32 = 0x3f35_04f3;
    // ln 2 in two parts; the first has few enough digits that its product with e is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = (std::f64::consts::LN_2 - LN_2_HIGH as f64) as f32;
    let bits = x.to_bits() as i32;
    let exponent = bits.wrapping_sub(SQRT_HALF) >> 23;
    let m = f32::from_bits(bits.wrapping_sub(exponent << 23) as u32);
    let e = exponent as f32;
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let tail = z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0))));
    let twice = s + s;
    e * LN_2_HIGH + (twice + (twice * tail + e * LN_2_LOW))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_logarithm_is_accurate_everywhere() {
        let mut worst = 0.0f64;
        let mut bits = f32::MIN_POSITIVE.to_bits();
        while bits < f32::INFINITY.to_bits() {
            let x = f32::from_bits(bits);
            let exact = f64::from(x).ln();
            worst = worst.max((f64::from(ln(x)) - exact).abs() / exact.abs().max(0.5));
            bits += 997;
        }
        assert!(worst < 2e-7, "{worst}");
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(f32::EPSILON), f32::EPSILON.ln());
    }

    #[test]
    fn reductions_include_every_sample() {
        let x: Vec<f32> = (1..=403).map(|i| if i % 2 == 0 { i as f32 } else { -(i as f32) }).collect();
        let y = vec![2.0; 403];
        assert_eq!(means([&x, &y, &x, &y]), [-202.0 / 403.0, 2.0, -202.0 / 403.0, 2.0]);
        assert_eq!(peak(&x), 403.0);
        assert_eq!(peak(&x[..17]), 17.0);
    }
}
