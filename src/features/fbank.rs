//! One frame: mean, pre-emphasis, window, FFT, power, mel filters, logarithm.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::mel::MelBank;
use super::options::{FbankOptions, Resolved};
use super::window::window;
use crate::error::Result;

/// What turns the samples of one frame into its features; all its memory is taken at construction.
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
    /// A frame whose samples all lie within this has no energy above the floor.
    silent_peak: f32,
}

impl FrameComputer {
    /// # Errors
    /// An unknown window, or a mel filter without an FFT bin.
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
        let fft = RealFftPlanner::<f32>::new().plan_fft_forward(fft_size);
        // |sum of y w| <= N max|y|, and removing the mean and pre-emphasis each double at most. Half
        // of the exact bound leaves room for rounding.
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

    /// How many features a frame has.
    pub(super) fn num_mel_bins(&self) -> usize {
        self.mel.num_bins()
    }

    /// The features of as many frames as fit into `features`, frame i at sample `i * shift` of
    /// `samples`; finite and not subnormal.
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
            // Digital silence and what comes near it: nothing reaches the floor, and the arithmetic
            // would crawl among subnormal numbers.
            features.fill(ln(self.energy_floor));
            return;
        }
        self.condition(frame, mean);
        // It fails for wrong lengths only, and these were made by the FFT itself.
        let transformed =
            self.fft.process_with_scratch(&mut self.padded, &mut self.spectrum, &mut self.scratch);
        debug_assert!(transformed.is_ok());
        // The bin at the Nyquist frequency belongs to no filter.
        for (p, s) in self.power[..self.padded.len() / 2].iter_mut().zip(&self.spectrum) {
            *p = s.re * s.re + s.im * s.im;
        }
        self.mel.energies(&self.power, features);
        for feature in features {
            *feature = ln(feature.max(self.energy_floor));
        }
    }

    /// Mean removal, pre-emphasis, window, padding: `frame` into `padded`.
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

/// How many frames' means are computed side by side.
const GROUP: usize = 4;

/// The means of frames of the same length. Each is summed in the order of its samples, as Kaldi does:
/// where an offset is large, the sum's rounding shows in the features, so they should share it. Such
/// a sum waits for each addition; a group of them hides the waiting.
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

/// How many partial results run side by side in [`peak`].
const LANES: usize = 16;

/// The greatest magnitude.
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

/// The natural logarithm of a positive, finite, normal number, within 2e-7 of its value or 1e-7.
///
/// x = 2^e m with m in [sqrt(1/2), sqrt(2)), and ln m = 2 artanh(s) with s = (m - 1) / (m + 1), whose
/// series ends after s^9 (|s| < 0.1716, the next term is below 1e-9). Free of branches and tables, so
/// that the compiler makes vectors of it.
#[inline(always)]
fn ln(x: f32) -> f32 {
    const SQRT_HALF: i32 = 0x3f35_04f3;
    // ln 2 in two parts; the first has so few digits that its product with e is exact.
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
    fn the_logarithm_is_right_everywhere() {
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
    fn reductions_take_every_sample() {
        let x: Vec<f32> = (1..=403).map(|i| if i % 2 == 0 { i as f32 } else { -(i as f32) }).collect();
        let y = vec![2.0; 403];
        assert_eq!(means([&x, &y, &x, &y]), [-202.0 / 403.0, 2.0, -202.0 / 403.0, 2.0]);
        assert_eq!(peak(&x), 403.0);
        assert_eq!(peak(&x[..17]), 17.0);
    }
}
