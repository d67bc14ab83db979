//! Breath on the microphone: speakers close to a phone blow into it at "s", "f", "th", "p" and "t", which
//! causes a rumble below the voice.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::color::{NoiseColor, colored_noise};
use super::effect::{Apply, Effect, Materials, Range, effect};
use super::filter::low_pass;
use super::level::{active_power, db_to_amplitude, level_frame, power, uniform};

effect! {
    /// Rumble of consonants that blow into the microphone.
    Breath {
        /// Level relative to the speech, dB.
        level_db: [f32; 2] = [-15.0, 6.0],
        /// Upper cutoff frequency of the rumble, Hz.
        cutoff_hz: [f32; 2] = [150.0, 1200.0],
    }
}

impl Effect for Breath {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::new("level_db", self.level_db, [-60.0, 40.0]),
            Range::new("cutoff_hz", self.cutoff_hz, [20.0, 7900.0]),
        ]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let (Self { level_db, cutoff_hz, .. }, rate) = (self.clone(), materials.sample_rate);
        Some(Box::new(move |samples, rng| {
            let (level_db, cutoff_hz) = (uniform(rng, level_db), uniform(rng, cutoff_hz));
            add(samples, level_db, cutoff_hz, rate, rng);
        }))
    }
}

/// Fractions of a frame's power at high frequencies: above the first a sound begins to blow, above the
/// second it blows fully. Vowels have less than the first, white noise has one half.
const HISS_SHARE: [f32; 2] = [0.12, 0.4];
/// Minimum power of a frame that blows, relative to the loudest hiss.
const MIN_POWER: f32 = 1e-4;
/// Maximum decay factor of a puff from frame to frame.
const MAX_DECAY: f32 = 0.85;

/// Adds puffs below `cutoff_hz` where the speech hisses, at `level_db` relative to the speech level.
fn add(samples: &mut [f32], level_db: f32, cutoff_hz: f32, sample_rate: u32, rng: &mut Pcg64Mcg) {
    let frame = level_frame(sample_rate);
    let strengths = strengths(samples, frame, rng);
    let mut puffs = colored_noise(NoiseColor::Brown, samples.len(), sample_rate, rng);
    low_pass(&mut puffs, cutoff_hz, sample_rate);
    let mut last = 0f32;
    for (puffs, &strength) in puffs.chunks_mut(frame).zip(&strengths) {
        let rise = (strength - last) / frame as f32;
        for (n, puff) in puffs.iter_mut().enumerate() {
            *puff *= last + rise * n as f32;
        }
        last = strength;
    }
    let (speech, blown) = (active_power(samples, sample_rate), active_power(&puffs, sample_rate));
    if speech > 1e-10 && blown > 1e-10 {
        let gain = (speech / blown).sqrt() * db_to_amplitude(level_db);
        samples.iter_mut().zip(&puffs).for_each(|(x, puff)| *x += gain * puff);
    }
}

/// The strength of the puff in each frame: it follows the hiss, varies randomly from sound to sound, and
/// decays afterwards.
fn strengths(samples: &[f32], frame: usize, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let hisses: Vec<[f32; 2]> = samples.chunks(frame).map(hiss).collect();
    let loudest = hisses.iter().map(|&[power, _]| power).fold(0f32, f32::max);
    let decay = uniform(rng, [0.4, MAX_DECAY]);
    let (mut strength, mut variation, mut blows) = (0f32, 1f32, false);
    let mut strengths = Vec::with_capacity(hisses.len());
    for [power, share] in hisses {
        let open = ((share - HISS_SHARE[0]) / (HISS_SHARE[1] - HISS_SHARE[0])).clamp(0.0, 1.0);
        let now = if power > MIN_POWER * loudest { open * (power / loudest).sqrt().sqrt() } else { 0.0 };
        if now > 0.0 && !blows {
            variation = rng.random::<f32>();
        }
        blows = now > 0.0;
        strength = (strength * decay).max(now * variation);
        strengths.push(strength);
    }
    strengths
}

/// The power of a frame's first difference, in which hiss dominates, and its fraction of that power plus
/// the power of the sums of adjacent samples, in which the voice dominates.
fn hiss(frame: &[f32]) -> [f32; 2] {
    let pairs = |f: fn(f32, f32) -> f32| -> Vec<f32> { frame.windows(2).map(|w| f(w[0], w[1])).collect() };
    let (high, low) = (power(&pairs(|a, b| b - a)), power(&pairs(|a, b| b + a)));
    [high, high / (high + low).max(1e-12)]
}

#[cfg(test)]
mod tests {
    use super::super::level::power_to_db;
    use super::super::testing::{RATE, band_power, rng, sine, speech_like};
    use super::*;

    #[test]
    fn breath_noise_is_added_to_fricatives_and_not_to_vowels() {
        let vowel = sine(300.0, 0.3, 16_000);
        let mut rng = rng(1);
        let hiss: Vec<f32> =
            colored_noise(NoiseColor::White, 4800, RATE, &mut rng).iter().map(|x| 0.05 * x).collect();
        let clean = [&vowel[..], &hiss, &vowel].concat();
        let mut blown = clean.clone();
        add(&mut blown, 0.0, 400.0, RATE, &mut rng);
        let added: Vec<f32> = blown.iter().zip(&clean).map(|(b, c)| b - c).collect();
        assert_eq!(power(&added[..15_000]), 0.0, "before the hiss");
        assert!(power_to_db(power(&added[16_000..20_800])) > -40.0);
        assert!(power(&added[30_000..]) < 1e-3 * power(&added[16_000..20_800]), "it has died away");
        let (low, high) = (band_power(&added, 20.0, 450.0), band_power(&added, 1000.0, 8000.0));
        assert!(low > 100.0 * high, "{low} {high}");
    }

    #[test]
    fn anything_stays_finite() {
        let mut rng = rng(2);
        for samples in [vec![], vec![0.3], vec![0.0; 5000], speech_like(1.0)] {
            let mut blown = samples.clone();
            add(&mut blown, 6.0, 200.0, RATE, &mut rng);
            assert!(blown.iter().all(|x| x.is_finite()));
        }
    }
}
