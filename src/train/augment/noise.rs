//! Recorded noise.

use rand_pcg::Pcg64Mcg;

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::{active_power, add_scaled, index, power, uniform};

effect! {
    /// Recorded noise; no effect without recordings of noise.
    Noise {
        /// Signal-to-noise ratio, dB.
        snr_db: [f32; 2] = [5.0, 30.0],
    }
}

impl Effect for Noise {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::new("snr_db", self.snr_db, [-20.0, 100.0])]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let (snr_db, rate, clips) = (self.snr_db, materials.sample_rate, materials.noises.clone());
        if clips.is_empty() {
            return None;
        }
        Some(Box::new(move |samples, rng| {
            let clip = &clips[index(rng, clips.len())];
            let snr_db = uniform(rng, snr_db);
            add_clip(samples, clip, snr_db, rate, rng);
        }))
    }
}

/// Cuts `length` samples of `clip` from a random position, continuing at its start after its end.
pub(super) fn random_cut(clip: &[f32], length: usize, rng: &mut Pcg64Mcg) -> Vec<f32> {
    if clip.is_empty() {
        return vec![0.0; length];
    }
    let start =
        if clip.len() > length { index(rng, clip.len() - length + 1) } else { index(rng, clip.len()) };
    let mut cut = Vec::with_capacity(length);
    let mut from = start;
    while cut.len() < length {
        let n = (clip.len() - from).min(length - cut.len());
        cut.extend_from_slice(&clip[from..from + n]);
        from = 0;
    }
    cut
}

/// Adds a random segment of a recorded noise clip at the given SNR. A nearly silent segment (between two
/// barks of a dog) is not amplified to that SNR: its power is taken as at least 1/100 of its clip's.
fn add_clip(samples: &mut [f32], clip: &[f32], snr_db: f32, sample_rate: u32, rng: &mut Pcg64Mcg) {
    let cut = random_cut(clip, samples.len(), rng);
    let noise_power = power(&cut).max(0.01 * active_power(clip, sample_rate));
    add_scaled(samples, &cut, noise_power, snr_db, sample_rate);
}

#[cfg(test)]
mod tests {
    use super::super::color::{NoiseColor, colored_noise};
    use super::super::testing::{RATE, rng, sine, snr_db};
    use super::*;

    #[test]
    fn the_snr_is_as_asked() {
        let clean = sine(300.0, 0.3, 32_000);
        let mut rng = rng(1);
        let clip = colored_noise(NoiseColor::White, 5000, RATE, &mut rng);
        let mut noisy = clean.clone();
        add_clip(&mut noisy, &clip, 7.0, RATE, &mut rng);
        assert!((snr_db(&clean, &noisy) - 7.0).abs() < 0.5);
    }

    #[test]
    fn clips_go_round_and_empty_ones_are_silent() {
        let mut rng = rng(4);
        let cut = random_cut(&[1.0, 2.0, 3.0], 8, &mut rng);
        assert_eq!(cut.len(), 8);
        assert!(cut.windows(2).all(|w| w[1] == w[0] % 3.0 + 1.0));
        assert_eq!(random_cut(&[], 3, &mut rng), [0.0; 3]);
        let mut samples = sine(100.0, 0.1, 100);
        let before = samples.clone();
        add_clip(&mut samples, &[], 0.0, RATE, &mut rng);
        assert_eq!(samples, before);
    }
}
