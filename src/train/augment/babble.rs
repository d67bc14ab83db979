//! Background speech of several people.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::{active_power, index, mix_at_snr, uniform};
use super::noise::random_cut;

effect! {
    /// Background speech of several people, mixed from the training's own recordings.
    Babble {
        /// Signal-to-noise ratio of speech to babble, dB.
        snr_db: [f32; 2] = [8.0, 25.0],
        /// Number of simultaneous voices.
        voices: [usize; 2] = [3, 8],
    }
}

impl Effect for Babble {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::new("snr_db", self.snr_db, [-20.0, 100.0]),
            Range::new("voices", self.voices.map(|n| n as f32), [1.0, 100.0]),
        ]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let (Self { snr_db, voices, .. }, rate) = (self.clone(), materials.sample_rate);
        let speech = materials.voices.clone();
        if speech.is_empty() {
            return None;
        }
        Some(Box::new(move |samples, rng| {
            let voices = rng.random_range(voices[0]..=voices[1]);
            let snr_db = uniform(rng, snr_db);
            add_babble(samples, &speech, voices, snr_db, rate, rng);
        }))
    }
}

/// Adds `voices` random segments of speech, all at the same level, at the given SNR in total.
fn add_babble(
    samples: &mut [f32],
    speech: &[Vec<f32>],
    voices: usize,
    snr_db: f32,
    sample_rate: u32,
    rng: &mut Pcg64Mcg,
) {
    let mut babble = vec![0f32; samples.len()];
    for _ in 0..voices {
        let clip = &speech[index(rng, speech.len())];
        let cut = random_cut(clip, samples.len(), rng);
        let level = active_power(&cut, sample_rate);
        if level > 1e-10 {
            let gain = level.sqrt().recip();
            babble.iter_mut().zip(&cut).for_each(|(b, x)| *b += gain * x);
        }
    }
    mix_at_snr(samples, &babble, snr_db, sample_rate);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{RATE, rng, sine, snr_db};
    use super::*;

    #[test]
    fn the_snr_is_as_asked() {
        let clean = sine(300.0, 0.3, 32_000);
        let speech = vec![sine(200.0, 0.1, 9000), sine(250.0, 0.9, 50_000)];
        let mut noisy = clean.clone();
        add_babble(&mut noisy, &speech, 5, 3.0, RATE, &mut rng(1));
        assert!((snr_db(&clean, &noisy) - 3.0).abs() < 0.5);
    }
}
