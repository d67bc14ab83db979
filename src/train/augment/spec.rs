//! SpecAugment (Park et al., 2019): masks over time and frequency, and a random channel and vocal tract
//! length (VTLP; Jaitly and Hinton, 2013), in place on log-mel features.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Stage};
use crate::features::FbankOptions;

/// Options of SpecAugment. By default nothing is masked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpecAugmentOptions {
    /// Maximum number of time masks; the number is drawn uniformly from 0.
    pub time_masks: usize,
    /// Maximum width of a time mask, in frames.
    pub time_mask_frames: usize,
    /// Maximum fraction of an utterance's frames covered by all time masks together, 0 to 1.
    pub time_mask_share: f32,
    /// Maximum number of frequency masks; the number is drawn uniformly from 0.
    pub frequency_masks: usize,
    /// Maximum width of a frequency mask, in mel bins.
    pub frequency_mask_bins: usize,
    /// Probability that a random smooth curve is added over an utterance's bins.
    pub channel_probability: f32,
    /// Maximum deviation of the curve, dB.
    pub channel_db: f32,
    /// Probability that an utterance's spectrum is stretched, as if the speaker's vocal tract were shorter
    /// (a child's) or longer; pitch and tempo do not change.
    pub warp_probability: f32,
    /// Factor by which frequencies are multiplied, `[lowest, highest]`.
    pub warp_factor: [f32; 2],
}

impl Default for SpecAugmentOptions {
    fn default() -> Self {
        Self {
            time_masks: 0,
            time_mask_frames: 0,
            time_mask_share: 0.0,
            frequency_masks: 0,
            frequency_mask_bins: 0,
            channel_probability: 0.0,
            channel_db: 0.0,
            warp_probability: 0.0,
            warp_factor: [0.85, 1.2],
        }
    }
}

impl SpecAugmentOptions {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first value that is not a number or out of bounds.
    pub fn validate(&self) -> Result<()> {
        for (name, value, most) in [
            ("time_mask_share", self.time_mask_share, 1.0),
            ("channel_probability", self.channel_probability, 1.0),
            ("channel_db", self.channel_db, 60.0),
            ("warp_probability", self.warp_probability, 1.0),
            ("warp_factor", self.warp_factor[1], 4.0),
            ("time_masks", self.time_masks as f32, 1000.0),
            ("time_mask_frames", self.time_mask_frames as f32, 1e6),
            ("frequency_masks", self.frequency_masks as f32, 1000.0),
            ("frequency_mask_bins", self.frequency_mask_bins as f32, 1e6),
        ] {
            if !(0.0..=most).contains(&value) {
                let problem = format!("expected a number from 0 to {most}, found {value}");
                return Err(Error::new(Stage::Train, problem).at(format!("specaugment: {name}")));
            }
        }
        let [lowest, highest] = self.warp_factor;
        if !(0.25 <= lowest && lowest <= highest) {
            let problem = format!("expected two factors from 0.25 to 4, found {lowest} and {highest}");
            return Err(Error::new(Stage::Train, problem).at("specaugment: warp_factor"));
        }
        Ok(())
    }
}

/// Augments `features` `[T, F]` (row-major, F = `mean.len()`, computed with `fbank`) in place. A masked
/// cell is set to the `mean` of its bin, which is zero after normalization. Values after the last complete
/// row are not changed.
pub fn spec_augment(
    features: &mut [f32],
    mean: &[f32],
    fbank: &FbankOptions,
    options: &SpecAugmentOptions,
    rng: &mut Pcg64Mcg,
) {
    let bins = mean.len();
    let frames = features.len().checked_div(bins).unwrap_or(0);
    if frames == 0 {
        return;
    }
    if options.channel_probability > 0.0 && rng.random::<f32>() < options.channel_probability {
        let curve = channel_curve(bins, options.channel_db, rng);
        for row in features.chunks_exact_mut(bins) {
            row.iter_mut().zip(&curve).for_each(|(x, c)| *x += c);
        }
    }
    if options.warp_probability > 0.0 && rng.random::<f32>() < options.warp_probability {
        let [lowest, highest] = options.warp_factor;
        warp(features, bins, band(fbank), rng.random_range(lowest..=highest));
    }
    for _ in 0..rng.random_range(0..=options.frequency_masks) {
        let width = rng.random_range(0..=options.frequency_mask_bins.min(bins / 2));
        let from = rng.random_range(0..=bins - width);
        for row in features.chunks_exact_mut(bins) {
            row[from..from + width].copy_from_slice(&mean[from..from + width]);
        }
    }
    let mut left = (options.time_mask_share * frames as f32) as usize;
    for _ in 0..rng.random_range(0..=options.time_masks) {
        let width = rng.random_range(0..=options.time_mask_frames.min(left).min(frames));
        let from = rng.random_range(0..=frames - width);
        for row in features[from * bins..(from + width) * bins].chunks_exact_mut(bins) {
            row.copy_from_slice(mean);
        }
        left -= width;
    }
}

/// The lower and upper frequency of the bins, Hz.
fn band(fbank: &FbankOptions) -> [f32; 2] {
    let nyquist = 0.5 * fbank.sample_rate as f32;
    let high = if fbank.high_freq > 0.0 { fbank.high_freq } else { nyquist + fbank.high_freq };
    [fbank.low_freq, high]
}

/// Moves the energy at frequency f to `factor * f`, with linear interpolation between bins. The bins are
/// equally spaced on Kaldi's mel scale between the limits of `band`.
fn warp(features: &mut [f32], bins: usize, band: [f32; 2], factor: f32) {
    let mel = |hz: f32| 1127.0 * (hz / 700.0).ln_1p();
    let hz = |mel: f32| 700.0 * (mel / 1127.0).exp_m1();
    let [low, high] = band.map(mel);
    let step = (high - low) / (bins + 1) as f32;
    let from: Vec<f32> = (0..bins)
        .map(|bin| {
            let center = hz(low + step * (bin + 1) as f32);
            ((mel(center / factor) - low) / step - 1.0).clamp(0.0, (bins - 1) as f32)
        })
        .collect();
    let mut old = vec![0.0; bins];
    for row in features.chunks_exact_mut(bins) {
        old.copy_from_slice(row);
        for (value, &at) in row.iter_mut().zip(&from) {
            let below = at as usize;
            let above = (below + 1).min(bins - 1);
            *value = old[below] + (old[above] - old[below]) * (at - below as f32);
        }
    }
}

/// A smooth curve over the bins, in natural-log power: a tilt and three cosines of random amplitude, in
/// total at most `max_db`.
fn channel_curve(bins: usize, max_db: f32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let nepers = max_db * std::f32::consts::LN_10 / 10.0;
    let mut signed = || 2.0 * rng.random::<f32>() - 1.0;
    let strengths: [f32; 4] = std::array::from_fn(|_| signed());
    let phases: [f32; 4] = std::array::from_fn(|_| std::f32::consts::PI * signed());
    let total = nepers * 0.25;
    (0..bins)
        .map(|bin| {
            let x = bin as f32 / bins as f32;
            let tilt = strengths[0] * (2.0 * x - 1.0);
            let waves =
                (1..4).map(|k| strengths[k] * (std::f32::consts::PI * k as f32 * x + phases[k]).cos());
            total * (tilt + waves.sum::<f32>())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const BINS: usize = 80;

    fn masks() -> SpecAugmentOptions {
        SpecAugmentOptions {
            time_masks: 4,
            time_mask_frames: 12,
            time_mask_share: 0.15,
            frequency_masks: 2,
            frequency_mask_bins: 16,
            ..SpecAugmentOptions::default()
        }
    }

    fn apply(x: &mut [f32], mean: &[f32], options: &SpecAugmentOptions, rng: &mut Pcg64Mcg) {
        spec_augment(x, mean, &FbankOptions::default(), options, rng);
    }

    fn features(frames: usize) -> (Vec<f32>, Vec<f32>) {
        ((0..frames * BINS).map(|i| 1.0 + i as f32).collect(), (0..BINS).map(|i| -(i as f32) - 1.0).collect())
    }

    #[test]
    fn off_is_identity() {
        let (mut x, mean) = features(50);
        let before = x.clone();
        apply(&mut x, &mean, &SpecAugmentOptions::default(), &mut Pcg64Mcg::seed_from_u64(1));
        assert_eq!(x, before);
    }

    #[test]
    fn masks_are_means_and_stay_within_their_share() {
        let options = masks();
        let mut rng = Pcg64Mcg::seed_from_u64(2);
        let mut masked = 0;
        for _ in 0..50 {
            let (mut x, mean) = features(100);
            let before = x.clone();
            apply(&mut x, &mean, &options, &mut rng);
            let changed = |t: usize, f: usize| x[t * BINS + f] != before[t * BINS + f];
            for t in 0..100 {
                for f in (0..BINS).filter(|f| changed(t, *f)) {
                    assert_eq!(x[t * BINS + f], mean[f]);
                    masked += 1;
                }
            }
            let whole_rows = (0..100).filter(|t| (0..BINS).all(|f| changed(*t, f))).count();
            let whole_bins = (0..BINS).filter(|f| (0..100).all(|t| changed(t, *f))).count();
            assert!(whole_rows <= 15 && whole_bins <= 32, "{whole_rows} rows, {whole_bins} bins");
        }
        assert!(masked > 0);
    }

    #[test]
    fn the_channel_is_one_smooth_curve() {
        let options = SpecAugmentOptions {
            channel_probability: 1.0,
            channel_db: 10.0,
            ..SpecAugmentOptions::default()
        };
        let mut rng = Pcg64Mcg::seed_from_u64(3);
        for _ in 0..20 {
            let mut x = vec![0f32; 3 * BINS];
            apply(&mut x, &[0.0; BINS], &options, &mut rng);
            assert_eq!(x[..BINS], x[2 * BINS..]);
            assert!(x.iter().all(|v| v.abs() <= 10.0 * std::f32::consts::LN_10 / 10.0));
            assert!(x[..BINS].windows(2).all(|w| (w[1] - w[0]).abs() < 0.15));
            assert!(x.iter().any(|v| v.abs() > 0.01));
        }
    }

    #[test]
    fn a_warp_moves_a_peak_by_its_factor() {
        let center = |bin: usize| {
            let mel = |hz: f32| 1127.0 * (hz / 700.0).ln_1p();
            let step = (mel(7600.0) - mel(20.0)) / 81.0;
            700.0 * ((mel(20.0) + step * (bin + 1) as f32) / 1127.0).exp_m1()
        };
        for factor in [0.8f32, 1.0, 1.25] {
            let mut x = vec![0f32; 2 * BINS];
            (x[30], x[BINS + 30]) = (1.0, 1.0);
            warp(&mut x, BINS, band(&FbankOptions::default()), factor);
            assert_eq!(x[..BINS], x[BINS..]);
            let peak = (0..BINS).max_by(|&a, &b| x[a].total_cmp(&x[b])).unwrap();
            let ratio = center(peak) / center(30);
            assert!((ratio / factor - 1.0).abs() < 0.04, "{factor}: the peak moved by {ratio}");
        }
    }

    #[test]
    fn odd_shapes_are_harmless() {
        let options = SpecAugmentOptions { channel_probability: 0.5, channel_db: 8.0, ..masks() };
        options.validate().unwrap();
        let mut rng = Pcg64Mcg::seed_from_u64(4);
        for (len, bins) in [(0, 80), (80, 80), (5, 0), (7, 3), (2, 1)] {
            let mut x = vec![1f32; len];
            apply(&mut x, &vec![0.0; bins], &options, &mut rng);
        }
        assert!(SpecAugmentOptions { channel_db: f32::NAN, ..options }.validate().is_err());
    }
}
