//! Synthetic sounds other than speech: cries, chirps, bursts, knocks, beeps. They resemble dogs, birds,
//! tools and doors, in more variety than a collection of recordings.

use std::f32::consts::{PI, TAU};

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::color::{NoiseColor, colored_noise};
use super::effect::{Apply, Effect, Materials, Range, effect};
use super::equalizer::random_equalizer;
use super::level::{active_power, index, peak, scale, uniform};

effect! {
    /// Synthetic cries, bursts, knocks and beeps.
    Sounds {
        /// Signal-to-noise ratio of speech to the loudest sounds, dB.
        snr_db: [f32; 2] = [0.0, 25.0],
    }
}

impl Effect for Sounds {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::new("snr_db", self.snr_db, [-20.0, 100.0])]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let (snr_db, rate) = (self.snr_db, materials.sample_rate);
        Some(Box::new(move |samples, rng| {
            let snr_db = uniform(rng, snr_db);
            add(samples, snr_db, rate, rng);
        }))
    }
}

/// Minimum and maximum duration of a sound, seconds.
const DURATION_S: [f32; 2] = [0.04, 1.2];

/// Maximum frequency of harmonics, Hz: below half of the sample rate.
fn highest_hz(sample_rate: u32) -> f32 {
    0.46875 * sample_rate as f32
}

/// Generates `length` samples of silence with about one sound per second, each at most at full scale.
pub fn scene(length: usize, sample_rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let mut scene = vec![0f32; length];
    let most = 1 + length * 3 / (2 * sample_rate as usize);
    let mut repeated: Option<Vec<f32>> = None;
    for _ in 0..rng.random_range(1..=most) {
        // Dogs and engines repeat the same sound.
        let sound = match repeated.take().filter(|_| rng.random_bool(0.6)) {
            Some(sound) => sound,
            None => sound(sample_rate, rng),
        };
        let start = index(rng, length);
        let level = 10f32.powf(uniform(rng, [-0.7, 0.0]));
        scene[start..].iter_mut().zip(&sound).for_each(|(s, x)| *s += level * x);
        repeated = Some(sound);
    }
    scene
}

/// Adds a [`scene`] whose loudest parts are `snr_db` below the speech level.
fn add(samples: &mut [f32], snr_db: f32, sample_rate: u32, rng: &mut Pcg64Mcg) {
    let scene = scene(samples.len(), sample_rate, rng);
    let (speech, sounds) = (active_power(samples, sample_rate), active_power(&scene, sample_rate));
    if speech > 1e-10 && sounds > 1e-10 {
        let gain = (speech / sounds).sqrt() * 10f32.powf(-snr_db / 20.0);
        samples.iter_mut().zip(&scene).for_each(|(x, s)| *x += gain * s);
    }
}

/// One sound with a peak of 1.
fn sound(sample_rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let seconds = DURATION_S[0] * (DURATION_S[1] / DURATION_S[0]).powf(rng.random());
    let length = (seconds * sample_rate as f32) as usize;
    let mut sound = match rng.random_range(0..5) {
        0 | 1 => cry(length, sample_rate, rng),
        2 => burst(length, sample_rate, rng),
        3 => knocks(length, sample_rate, rng),
        _ => beep(length, sample_rate, rng),
    };
    random_equalizer(&mut sound, [-15.0, 15.0], sample_rate, rng);
    let top = peak(&sound);
    if top > 1e-6 {
        scale(&mut sound, top.recip());
    }
    sound
}

/// Harmonics of a gliding pitch with tremolo above that of most voices, with breath noise: dogs, roosters,
/// babies, birds.
fn cry(length: usize, sample_rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let first = 350.0 * 8f32.powf(rng.random());
    let pitches = [first, first * 2f32.powf(uniform(rng, [-0.8, 0.8])), first * uniform(rng, [0.6, 1.5])];
    let (tremble, depth) = (uniform(rng, [4.0, 60.0]), uniform(rng, [0.0, 0.06]));
    let tilt = uniform(rng, [0.3, 2.0]);
    let breath = uniform(rng, [0.0, 0.4]);
    let hiss = colored_noise(NoiseColor::White, length, sample_rate, rng);
    let envelope = envelope(length, rng);
    let mut phase = 0f32;
    (0..length)
        .map(|n| {
            let t = n as f32 / length as f32;
            let glide = if t < 0.5 {
                pitches[0] + (pitches[1] - pitches[0]) * 2.0 * t
            } else {
                pitches[1] + (pitches[2] - pitches[1]) * (2.0 * t - 1.0)
            };
            let pitch = glide * (1.0 + depth * (TAU * tremble * n as f32 / sample_rate as f32).sin());
            phase = (phase + TAU * pitch / sample_rate as f32) % TAU;
            let highest = ((highest_hz(sample_rate) / pitch) as usize).clamp(1, 12);
            let tone: f32 = (1..=highest).map(|k| (phase * k as f32).sin() / (k as f32).powf(tilt)).sum();
            envelope[n] * (tone + breath * hiss[n])
        })
        .collect()
}

/// Noise that rises and decays: sneezes, doors, cloth, water.
fn burst(length: usize, sample_rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let color = [NoiseColor::White, NoiseColor::Pink, NoiseColor::Brown][index(rng, 3)];
    let envelope = envelope(length, rng);
    let mut burst = colored_noise(color, length, sample_rate, rng);
    burst.iter_mut().zip(&envelope).for_each(|(b, e)| *b *= e);
    burst
}

/// Clicks that resonate at a random pitch, with a random period: doors, keys, engines, saws.
fn knocks(length: usize, sample_rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let pace_hz = 2.0 * 60f32.powf(rng.random());
    let period = sample_rate as f32 / pace_hz;
    let uneven = uniform(rng, [0.0, 0.3]);
    let ring_hz = 150.0 * 30f32.powf(rng.random());
    let decay = (-1.0 / (uniform(rng, [0.001, 0.03]) * sample_rate as f32)).exp();
    let noise = colored_noise(NoiseColor::White, length, sample_rate, rng);
    let mut knocks = vec![0f32; length];
    let (mut level, mut age, mut next) = (0f32, 0f32, 0f32);
    for (n, knock) in knocks.iter_mut().enumerate() {
        if n as f32 >= next {
            (level, age) = (uniform(rng, [0.5, 1.0]), 0.0);
            next += period * (1.0 + uneven * uniform(rng, [-1.0, 1.0])).max(0.1);
        }
        *knock = level * ((TAU * ring_hz * age / sample_rate as f32).sin() + 0.3 * noise[n]);
        level *= decay;
        age += 1.0;
    }
    knocks
}

/// One to three steady tones: telephones, alarms, music.
fn beep(length: usize, sample_rate: u32, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let tones: Vec<f32> = (0..rng.random_range(1..=3))
        .map(|_| TAU * 200.0 * 20f32.powf(rng.random()) / sample_rate as f32)
        .collect();
    let envelope = envelope(length, rng);
    (0..length).map(|n| envelope[n] * tones.iter().map(|w| (w * n as f32).sin()).sum::<f32>()).collect()
}

/// An envelope with a rise and a fall of random lengths.
fn envelope(length: usize, rng: &mut Pcg64Mcg) -> Vec<f32> {
    let rise = uniform(rng, [0.01, 0.5]);
    let fall = uniform(rng, [0.05, 1.0 - rise]);
    let half_sine = |share: f32| (PI * 0.5 * share.clamp(0.0, 1.0)).sin();
    (0..length)
        .map(|n| {
            let t = n as f32 / length as f32;
            half_sine(t / rise) * half_sine((1.0 - t) / fall)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::level::power_to_db;
    use super::super::testing::{RATE, rng, speech_like};
    use super::*;

    #[test]
    fn generated_sounds_are_finite_bounded_and_varied() {
        let mut rng = rng(1);
        let mut peaks = Vec::new();
        for length in [1, 100, 16_000, 64_000] {
            for _ in 0..50 {
                let scene = scene(length, RATE, &mut rng);
                assert_eq!(scene.len(), length);
                assert!(scene.iter().all(|x| x.is_finite()));
                peaks.push(peak(&scene));
            }
        }
        let long = &peaks[100..];
        assert!(long.iter().filter(|&&p| p > 0.1).count() > 90, "most are audible");
        assert_ne!(scene(16_000, RATE, &mut rng), scene(16_000, RATE, &mut rng));
    }

    #[test]
    fn added_sounds_have_the_level_asked_for() {
        let clean = speech_like(2.0);
        let mut noisy = clean.clone();
        add(&mut noisy, 10.0, RATE, &mut rng(2));
        let added: Vec<f32> = noisy.iter().zip(&clean).map(|(n, c)| n - c).collect();
        let snr = power_to_db(active_power(&clean, RATE)) - power_to_db(active_power(&added, RATE));
        assert!((snr - 10.0).abs() < 0.5, "{snr} dB");
        let mut silent = vec![0f32; 1000];
        add(&mut silent, 0.0, RATE, &mut rng(3));
        assert_eq!(silent, [0f32; 1000]);
    }
}
