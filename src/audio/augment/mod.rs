//! Augmentation of training audio: mono f32 at 16 kHz, in place, from a seeded generator.
//!
//! ```text
//! words ─► compose ─► speed ─► tempo ─► reverb ─► noise, colour, babble, sounds, suppression
//!       ─► breath, equaliser, band limits ─► gain ─► offset ─► clipping ─► telephone ─► G.711, few bits,
//!       spectral holes ─► lost packets ─► gate ─► features (and there SpecAugment)
//! ```
//!
//! The order is that of the world: a mouth, a room, other sounds, a microphone, a converter, a
//! coder, a receiver. The same samples, options and generator state give the same bytes.

pub mod breath;
pub mod codec;
pub mod compose;
pub mod damage;
pub mod filter;
pub mod level;
pub mod noise;
pub mod options;
pub mod reverb;
pub mod sounds;
pub mod speed;
#[cfg(test)]
mod testing;
pub mod trim;

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

pub use compose::{ComposeOptions, compose};
pub use options::AugmentOptions;
pub use trim::trim_silence;

use codec::SpectralHoles;
use level::{chance, db_to_amplitude, index, peak, scale, uniform};
use noise::NoiseColor;
use reverb::ImpulseResponses;

use crate::Result;

/// Applies [`AugmentOptions`]. Immutable after it is made: threads share one, each with its own
/// generator.
pub struct Augmenter {
    options: AugmentOptions,
    noises: Arc<Vec<Vec<f32>>>,
    voices: Arc<Vec<Vec<f32>>>,
    rooms: ImpulseResponses,
    holes: SpectralHoles,
}

impl Augmenter {
    /// Checks the options and makes the rooms from `seed`. `noises` are clips at 16 kHz; without
    /// any, the `noise` effect does nothing.
    ///
    /// # Errors
    /// See [`AugmentOptions::validate`].
    pub fn new(options: AugmentOptions, noises: Arc<Vec<Vec<f32>>>, seed: u64) -> Result<Self> {
        options.validate()?;
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let rooms = if options.reverb.probability > 0.0 { options.reverb.rooms } else { 0 };
        let rooms = ImpulseResponses::simulate(rooms, options.reverb.rt60_s, &mut rng);
        Ok(Self { options, noises, voices: Arc::default(), rooms, holes: SpectralHoles::default() })
    }

    /// Gives the speech from which babble is mixed (training utterances at 16 kHz); without any,
    /// the `babble` effect does nothing.
    pub fn with_babble(mut self, voices: Arc<Vec<Vec<f32>>>) -> Self {
        self.voices = voices;
        self
    }

    /// The options in use.
    pub fn options(&self) -> &AugmentOptions {
        &self.options
    }

    /// Augments one utterance in place. Returns the new duration over the old one (1 unless speed
    /// or tempo changed): times inside the utterance are to be multiplied by it. If any effect
    /// changed the samples they end within ±1.
    pub fn apply(&self, samples: &mut Vec<f32>, rng: &mut Pcg64Mcg) -> f64 {
        if samples.is_empty() {
            return 1.0;
        }
        let before = samples.len();
        let mut changed = self.mouth(samples, rng);
        let ratio = samples.len() as f64 / before as f64;
        changed |= self.room(samples, rng);
        changed |= self.microphone(samples, rng);
        changed |= self.converter(samples, rng);
        changed |= self.line(samples, rng);
        if changed {
            samples.iter_mut().for_each(|x| *x = x.clamp(-1.0, 1.0));
        }
        ratio
    }

    /// Speed and tempo.
    fn mouth(&self, samples: &mut Vec<f32>, rng: &mut Pcg64Mcg) -> bool {
        let o = &self.options;
        let speed = chance(rng, o.speed.probability);
        if speed {
            *samples = speed::change_speed(samples, uniform(rng, o.speed.factor));
        }
        let tempo = chance(rng, o.tempo.probability);
        if tempo {
            *samples = speed::change_tempo(samples, uniform(rng, o.tempo.factor));
        }
        speed | tempo
    }

    /// Reverberation and the sounds around.
    fn room(&self, samples: &mut [f32], rng: &mut Pcg64Mcg) -> bool {
        let o = &self.options;
        let reverb = chance(rng, o.reverb.probability);
        if reverb {
            self.rooms.apply_random(samples, rng);
        }
        let noise = chance(rng, o.noise.probability) && !self.noises.is_empty();
        if noise {
            let clip = &self.noises[index(rng, self.noises.len())];
            let snr_db = uniform(rng, o.noise.snr_db);
            noise::add_clip(samples, clip, snr_db, rng);
        }
        let color = chance(rng, o.color.probability);
        if color {
            let kind = o.color.colors[index(rng, o.color.colors.len())];
            let snr_db = uniform(rng, o.color.snr_db);
            noise::add_color(samples, kind, snr_db, rng);
        }
        let babble = chance(rng, o.babble.probability) && !self.voices.is_empty();
        if babble {
            let voices = rng.random_range(o.babble.voices[0]..=o.babble.voices[1]);
            let snr_db = uniform(rng, o.babble.snr_db);
            noise::add_babble(samples, &self.voices, voices, snr_db, rng);
        }
        let events = chance(rng, o.sounds.probability);
        if events {
            sounds::add(samples, uniform(rng, o.sounds.snr_db), rng);
        }
        let suppression = chance(rng, o.suppression.probability);
        if suppression {
            self.suppressed_noise(samples, rng);
        }
        reverb | noise | color | babble | events | suppression
    }

    /// Noise of a recorded clip or made by code, which goes after a while.
    fn suppressed_noise(&self, samples: &mut [f32], rng: &mut Pcg64Mcg) {
        let o = &self.options.suppression;
        let mut noise = if self.noises.is_empty() || chance(rng, 0.5) {
            let color = [NoiseColor::White, NoiseColor::Pink, NoiseColor::Brown][index(rng, 3)];
            let mut noise = noise::colored_noise(color, samples.len(), rng);
            filter::random_equalizer(&mut noise, [-15.0, 15.0], rng);
            noise
        } else {
            noise::random_cut(&self.noises[index(rng, self.noises.len())], samples.len(), rng)
        };
        let snr_db = uniform(rng, o.snr_db);
        let level = level::active_power(&noise);
        let [hold_s, fall_db_s, depth_db] =
            [o.hold_s, o.fall_db_s, o.depth_db].map(|range| uniform(rng, range));
        noise::suppress(&mut noise, hold_s, fall_db_s, depth_db);
        noise::add_scaled(samples, &noise, level, snr_db);
    }

    /// Breath, colouring and band limits.
    fn microphone(&self, samples: &mut [f32], rng: &mut Pcg64Mcg) -> bool {
        let o = &self.options;
        let breath = chance(rng, o.breath.probability);
        if breath {
            breath::add(samples, uniform(rng, o.breath.level_db), uniform(rng, o.breath.cutoff_hz), rng);
        }
        let equalizer = chance(rng, o.equalizer.probability);
        if equalizer {
            filter::random_equalizer(samples, o.equalizer.gain_db, rng);
        }
        let high = chance(rng, o.high_pass.probability);
        if high {
            filter::high_pass(samples, uniform(rng, o.high_pass.cutoff_hz));
        }
        let low = chance(rng, o.low_pass.probability);
        if low {
            filter::low_pass(samples, uniform(rng, o.low_pass.cutoff_hz));
        }
        breath | equalizer | high | low
    }

    /// Level, offset, overdrive.
    fn converter(&self, samples: &mut [f32], rng: &mut Pcg64Mcg) -> bool {
        let o = &self.options;
        let gain = chance(rng, o.gain.probability);
        if gain {
            let wanted = db_to_amplitude(uniform(rng, o.gain.gain_db));
            // Beyond full scale is the business of clipping, which has its own probability.
            scale(samples, wanted.min(peak(samples).max(1e-6).recip()));
        }
        let offset = chance(rng, o.dc_offset.probability);
        if offset {
            damage::dc_offset(samples, uniform(rng, o.dc_offset.offset));
        }
        let clipping = chance(rng, o.clipping.probability);
        if clipping {
            let overdrive_db = uniform(rng, o.clipping.overdrive_db);
            damage::clip(samples, overdrive_db, chance(rng, 0.5));
        }
        gain | offset | clipping
    }

    /// Coders, lost packets, gates.
    fn line(&self, samples: &mut [f32], rng: &mut Pcg64Mcg) -> bool {
        let o = &self.options;
        let telephone = chance(rng, o.telephone.probability);
        if telephone {
            filter::telephone(samples);
        }
        let companding = chance(rng, o.companding.probability);
        if companding {
            codec::companding(samples, chance(rng, 0.5));
        }
        let quantization = chance(rng, o.quantization.probability);
        if quantization {
            let [low, high] = o.quantization.bits;
            codec::quantize(samples, rng.random_range(low..=high));
        }
        let holes = chance(rng, o.spectral_holes.probability);
        if holes {
            let threshold_db = uniform(rng, o.spectral_holes.threshold_db);
            let bandwidth_hz = uniform(rng, o.spectral_holes.bandwidth_hz);
            self.holes.apply(samples, threshold_db, bandwidth_hz, rng);
        }
        let loss = chance(rng, o.packet_loss.probability);
        if loss {
            let share = uniform(rng, o.packet_loss.share);
            damage::packet_loss(samples, share, o.packet_loss.burst_ms, rng);
        }
        let gate = chance(rng, o.noise_gate.probability);
        if gate {
            let threshold = uniform(rng, o.noise_gate.threshold);
            damage::noise_gate(samples, threshold, uniform(rng, o.noise_gate.hold_ms));
        }
        telephone | companding | quantization | holes | loss | gate
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{rng, sine, speech_like};
    use super::*;

    fn augmenter(options: AugmentOptions) -> Augmenter {
        let noises = Arc::new(vec![sine(700.0, 0.2, 9000), sine(90.0, 0.1, 90_000)]);
        Augmenter::new(options, noises, 3).unwrap().with_babble(Arc::new(vec![speech_like(1.0); 3]))
    }

    /// The recommended mixture with every effect as likely as `probability`.
    fn all_at(probability: f32) -> AugmentOptions {
        let mut value = toml::Value::try_from(AugmentOptions::recommended()).unwrap();
        for (_, effect) in value.as_table_mut().unwrap() {
            effect["probability"] = toml::Value::Float(f64::from(probability));
        }
        value.try_into().unwrap()
    }

    #[test]
    fn all_off_is_identity() {
        let mut samples = speech_like(0.5);
        samples[100] = 1.5;
        let before = samples.clone();
        assert_eq!(augmenter(AugmentOptions::default()).apply(&mut samples, &mut rng(1)), 1.0);
        assert_eq!(samples, before);
    }

    #[test]
    fn same_seed_same_bytes() {
        let run = || {
            let augmenter = augmenter(AugmentOptions::recommended());
            let mut rng = rng(5);
            (0..20)
                .flat_map(|_| {
                    let mut samples = speech_like(0.7);
                    augmenter.apply(&mut samples, &mut rng);
                    samples
                })
                .map(f32::to_bits)
                .collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn anything_stays_finite_and_within_bounds() {
        let (mild, all) = (augmenter(all_at(0.3)), augmenter(all_at(1.0)));
        let inputs =
            [speech_like(1.3), vec![0.0; 4000], vec![0.3; 1], vec![-0.9; 5000], vec![], sine(50.0, 2.0, 333)];
        let mut rng = rng(6);
        for round in 0..30 {
            for input in &inputs {
                let mut samples = input.clone();
                let ratio = if round % 3 == 0 { &all } else { &mild }.apply(&mut samples, &mut rng);
                assert!(samples.iter().all(|x| x.is_finite() && x.abs() <= 1.0));
                assert!((samples.len() as f64 - ratio * input.len() as f64).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn speed_reports_the_new_duration() {
        let mut options = AugmentOptions::default();
        options.speed.probability = 1.0;
        options.speed.factor = [1.25, 1.25];
        let mut samples = speech_like(1.0);
        let ratio = augmenter(options).apply(&mut samples, &mut rng(1));
        assert!((ratio - 0.8).abs() < 1e-3 && samples.len() == 12_800);
    }

    #[test]
    fn wrong_options_are_refused() {
        let mut options = AugmentOptions::default();
        options.reverb.rt60_s = [0.7, 0.1];
        assert!(Augmenter::new(options, Arc::default(), 1).is_err());
    }
}
