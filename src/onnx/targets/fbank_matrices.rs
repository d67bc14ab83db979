//! The feature extraction as matrices, for graphs without FFT: everything from the samples of a frame to
//! its spectrum is linear.

use std::f64::consts::TAU;

use crate::error::Result;
use crate::features::mel::MelBank;
use crate::features::options::{FbankOptions, Resolved};
use crate::features::window::window;

/// The feature extraction for one set of options as matrices. With N samples in a frame, K FFT bins that
/// some mel filter uses, and F mel filters, the features of a frame x are
/// ```text
/// ln(max(mel · (spectrum · x)², energy_floor))      (squared element by element)
/// ```
#[derive(Clone, Debug)]
pub struct FbankMatrices {
    /// N, the number of samples in a frame.
    pub frame_length: usize,
    /// Number of samples from one frame to the next.
    pub frame_shift: usize,
    /// Frame k begins this number of samples before sample k × shift.
    pub lead: usize,
    /// Whether the signal is mirrored before its first sample (otherwise frame 0 begins with it).
    pub mirrored: bool,
    /// `[2 K, N]`: sample scale, mean removal, pre-emphasis, window and discrete Fourier transform; first
    /// the real parts of the bins, then the imaginary parts.
    pub spectrum: Vec<f32>,
    /// `[F, 2 K]`: the mel weights, each bin's once for its real and once for its imaginary part.
    pub mel: Vec<f32>,
    /// K, the number of FFT bins.
    pub num_bins: usize,
    /// F, the number of mel filters.
    pub num_mel_bins: usize,
}

impl FbankMatrices {
    /// Computes the matrices.
    ///
    /// # Errors
    /// As [`crate::features::Fbank::new`].
    pub fn new(options: &FbankOptions) -> Result<Self> {
        let resolved = Resolved::new(options)?;
        let (length, shift) = (resolved.frame_length, resolved.frame_shift);
        let fft_size = length.next_power_of_two();
        let bank = MelBank::new(
            options.num_mel_bins,
            options.low_freq,
            resolved.high_freq,
            options.sample_rate as f32,
            fft_size,
        )?;
        let filters: Vec<(usize, &[f32])> = bank.filters().collect();
        let first = filters.iter().map(|(bin, _)| *bin).min().unwrap_or(0);
        let end = filters.iter().map(|(bin, w)| bin + w.len()).max().unwrap_or(0).min(fft_size / 2);
        let num_bins = end.saturating_sub(first);
        let mut mel = vec![0.0; filters.len() * 2 * num_bins];
        for (row, (bin, weights)) in mel.chunks_exact_mut(2 * num_bins).zip(&filters) {
            for (i, &weight) in weights.iter().enumerate().take(end - bin) {
                row[bin - first + i] = weight;
                row[num_bins + bin - first + i] = weight;
            }
        }
        let window = window(&options.window, length)?;
        let mut spectrum = Vec::with_capacity(2 * num_bins * length);
        for wave in [|angle: f64| angle.cos(), |angle: f64| -angle.sin()] {
            for bin in first..end {
                // The phase modulo 2π, so that the angle remains small and exact.
                let phase = |j: usize| TAU * ((bin * j) % fft_size) as f64 / fft_size as f64;
                let row: Vec<f64> =
                    window.iter().enumerate().map(|(j, &w)| f64::from(w) * wave(phase(j))).collect();
                spectrum.extend(conditioned(&row, options).into_iter().map(|v| v as f32));
            }
        }
        Ok(Self {
            frame_length: length,
            frame_shift: shift,
            lead: if options.snip_edges { 0 } else { length / 2 - shift / 2 },
            mirrored: !options.snip_edges,
            spectrum,
            mel,
            num_bins,
            num_mel_bins: filters.len(),
        })
    }
}

/// Converts a row for the conditioned frame into a row for the raw one, by the transposes of pre-emphasis,
/// mean removal and sample scale.
fn conditioned(row: &[f64], options: &FbankOptions) -> Vec<f64> {
    let c = f64::from(options.preemphasis);
    let mut raw: Vec<f64> =
        (0..row.len()).map(|i| row[i] - c * row.get(i + 1).copied().unwrap_or(0.0)).collect();
    // Kaldi takes the first sample as its own predecessor.
    raw[0] -= c * row[0];
    let mean = if options.remove_dc_offset { raw.iter().sum::<f64>() / raw.len() as f64 } else { 0.0 };
    let scale = f64::from(options.sample_scale);
    raw.iter().map(|v| (v - mean) * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Fbank;

    /// The features of a frame, computed with the matrices.
    fn by_matrices(m: &FbankMatrices, frame: &[f32], floor: f32) -> Vec<f32> {
        let power: Vec<f64> = m
            .spectrum
            .chunks_exact(m.frame_length)
            .map(|row| row.iter().zip(frame).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>())
            .map(|v| v * v)
            .collect();
        m.mel
            .chunks_exact(2 * m.num_bins)
            .map(|row| row.iter().zip(&power).map(|(a, p)| f64::from(*a) * p).sum::<f64>())
            .map(|e| e.max(f64::from(floor)).ln() as f32)
            .collect()
    }

    #[test]
    fn the_matrices_are_the_filterbank() {
        let mut seed = 7u64;
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let signal: Vec<f32> = (0..4000).map(|i| 0.2 + 0.3 * next() * (i as f32 * 0.01).sin()).collect();
        let all = [
            FbankOptions::default(),
            FbankOptions { snip_edges: true, window: "hamming".into(), ..Default::default() },
            FbankOptions {
                remove_dc_offset: false,
                preemphasis: 0.0,
                sample_scale: 100.0,
                ..Default::default()
            },
        ];
        for options in all {
            let m = FbankMatrices::new(&options).expect("good options");
            let expected = Fbank::new(&options).expect("good options").compute(&signal);
            // Frame 2 lies completely inside the signal.
            let start = 2 * m.frame_shift - m.lead;
            let found = by_matrices(&m, &signal[start..start + m.frame_length], options.energy_floor);
            for (a, b) in found.iter().zip(&expected[2 * 80..]) {
                assert!((a - b).abs() < 1e-3, "{a} {b}");
            }
        }
    }
}
