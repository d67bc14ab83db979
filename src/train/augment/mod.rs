//! Augmentation of training examples, in place, with a seeded generator: effects on the waveform in the
//! order of [`AugmentOptions`], then masks on the features ([`spec`]).
//!
//! ```text
//! words ─► compose ─► speed, tempo ─► reverb ─► noise … suppression ─► breath, equalizer, band limits
//!       ─► gain, offset, clipping ─► telephone, G.711, few bits, spectral holes, lost packets, gate
//!       ─► features ─► SpecAugment
//! ```
//!
//! The order is that of the physical signal path: mouth, room, other sounds, microphone, converter, codec,
//! receiver. The same samples, options and generator state produce the same bytes.
//!
//! To add an effect, write a file with its settings and its [`Effect`], and a line in the table below.

pub mod babble;
pub mod breath;
pub mod clipping;
pub mod color;
pub mod companding;
pub mod compose;
pub mod dc_offset;
pub mod effect;
pub mod equalizer;
mod filter;
pub mod gain;
pub mod high_pass;
mod level;
pub mod low_pass;
pub mod noise;
pub mod noise_gate;
pub mod packet_loss;
pub mod quantization;
pub mod reverb;
pub mod sounds;
pub mod spec;
pub mod spectral_holes;
pub mod speed;
pub mod suppression;
pub mod telephone;
pub mod tempo;
#[cfg(test)]
mod testing;
mod trim;

use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

pub use compose::{ComposeOptions, compose};
pub use effect::{Apply, Effect, Materials};
pub use spec::{SpecAugmentOptions, spec_augment};

use crate::error::Result;
use effect::check_probability;
use level::chance;

/// Defines the table of effects: the settings of each, in the order of application.
macro_rules! table {
    ($($name:ident: $kind:ty,)*) => {
        /// The settings of all effects of an [`Augmenter`], in the order of application. A range is
        /// `[lowest, highest]`, drawn from uniformly. By default no effect is applied.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct AugmentOptions {
            $(#[doc = concat!("Settings of the effect `", stringify!($name), "`.")] pub $name: $kind,)*
        }

        impl AugmentOptions {
            /// The names of all effects, in order.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// All effects with their names, in order.
            pub fn effects(&self) -> Vec<(&'static str, &dyn Effect)> {
                vec![$((stringify!($name), &self.$name as &dyn Effect)),*]
            }

            /// All effects with their names, in order, for modification.
            pub fn effects_mut(&mut self) -> Vec<(&'static str, &mut dyn Effect)> {
                vec![$((stringify!($name), &mut self.$name as &mut dyn Effect)),*]
            }
        }
    };
}

table! {
    speed: speed::Speed,
    tempo: tempo::Tempo,
    reverb: reverb::Reverb,
    noise: noise::Noise,
    color: color::Color,
    babble: babble::Babble,
    sounds: sounds::Sounds,
    suppression: suppression::Suppression,
    breath: breath::Breath,
    equalizer: equalizer::Equalizer,
    high_pass: high_pass::HighPass,
    low_pass: low_pass::LowPass,
    gain: gain::Gain,
    dc_offset: dc_offset::DcOffset,
    clipping: clipping::Clipping,
    telephone: telephone::Telephone,
    companding: companding::Companding,
    quantization: quantization::Quantization,
    spectral_holes: spectral_holes::SpectralHoles,
    packet_loss: packet_loss::PacketLoss,
    noise_gate: noise_gate::NoiseGate,
}

impl AugmentOptions {
    /// Options that give `probability` to the effects whose names `keep` accepts, and 0 to the others.
    pub fn with_probability(probability: f32, keep: impl Fn(&str) -> bool) -> Self {
        let mut options = Self::default();
        for (name, effect) in options.effects_mut() {
            effect.set_probability(if keep(name) { probability } else { 0.0 });
        }
        options
    }

    /// Checks every probability and range.
    ///
    /// # Errors
    /// Names the first setting that is not a number, out of order or out of bounds.
    pub fn validate(&self) -> Result<()> {
        for (name, effect) in self.effects() {
            check_probability(&format!("augment.{name}: probability"), effect.probability())?;
            effect.ranges().iter().try_for_each(|range| range.check(&format!("augment.{name}")))?;
        }
        Ok(())
    }
}

/// Applies [`AugmentOptions`]. It is immutable, so threads can share one, each with its own generator.
pub struct Augmenter {
    effects: Vec<(f32, Option<Apply>)>,
}

impl Augmenter {
    /// Checks the options and builds the effects with a probability above 0.
    ///
    /// # Errors
    /// See [`AugmentOptions::validate`].
    pub fn new(options: &AugmentOptions, materials: &Materials) -> Result<Self> {
        options.validate()?;
        let on = options.effects().into_iter().filter(|(_, effect)| effect.probability() > 0.0);
        Ok(Self { effects: on.map(|(_, effect)| (effect.probability(), effect.build(materials))).collect() })
    }

    /// Augments one utterance in place. If any effect is applied, the samples are limited to ±1.
    pub fn apply(&self, samples: &mut Vec<f32>, rng: &mut Pcg64Mcg) {
        if samples.is_empty() {
            return;
        }
        let mut changed = false;
        for (probability, apply) in &self.effects {
            // The draw comes first, so that missing materials do not change the draws of the next effects.
            if chance(rng, *probability)
                && let Some(apply) = apply
            {
                apply(samples, rng);
                changed = true;
            }
        }
        if changed {
            samples.iter_mut().for_each(|x| *x = x.clamp(-1.0, 1.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::testing::{RATE, rng, sine, speech_like};
    use super::*;

    fn augmenter(options: &AugmentOptions, sample_rate: u32) -> Augmenter {
        let materials = Materials {
            sample_rate,
            noises: Arc::new(vec![sine(700.0, 0.2, 9000), sine(90.0, 0.1, 90_000)]),
            voices: Arc::new(vec![speech_like(1.0); 3]),
            seed: 3,
        };
        Augmenter::new(options, &materials).unwrap()
    }

    #[test]
    fn all_off_is_identity() {
        let mut samples = speech_like(0.5);
        samples[100] = 1.5;
        let before = samples.clone();
        augmenter(&AugmentOptions::default(), RATE).apply(&mut samples, &mut rng(1));
        assert_eq!(samples, before);
    }

    #[test]
    fn every_effect_does_something_and_repeats_at_any_rate() {
        for sample_rate in [8_000, 11_025, 16_000, 48_000] {
            for &name in AugmentOptions::NAMES {
                let augmenter = augmenter(&AugmentOptions::with_probability(1.0, |n| n == name), sample_rate);
                let run = |seed| {
                    let mut samples = speech_like(1.3);
                    augmenter.apply(&mut samples, &mut rng(seed));
                    samples
                };
                let once = run(5);
                assert!(once == run(5), "{name} at {sample_rate} Hz");
                assert!(once != speech_like(1.3), "{name} at {sample_rate} Hz does nothing");
                assert!(once.iter().all(|x| x.is_finite() && x.abs() <= 1.0), "{name} at {sample_rate} Hz");
            }
        }
    }

    #[test]
    fn anything_stays_finite_and_within_bounds() {
        let inputs =
            [speech_like(1.3), vec![0.0; 4000], vec![0.3; 1], vec![-0.9; 5000], vec![], sine(50.0, 2.0, 333)];
        for (sample_rate, seed) in [(8_000, 6), (16_000, 7)] {
            let at = |probability| {
                augmenter(&AugmentOptions::with_probability(probability, |_| true), sample_rate)
            };
            let (mild, all) = (at(0.3), at(1.0));
            let mut rng = rng(seed);
            for round in 0..15 {
                for input in &inputs {
                    let mut samples = input.clone();
                    if round % 3 == 0 { &all } else { &mild }.apply(&mut samples, &mut rng);
                    // Unchanged samples may exceed full scale.
                    let bound = input.iter().fold(1f32, |bound, x| bound.max(x.abs()));
                    assert!(samples.iter().all(|x| x.is_finite() && x.abs() <= bound));
                }
            }
        }
    }

    #[test]
    fn speed_changes_the_length() {
        let mut options = AugmentOptions::with_probability(1.0, |name| name == "speed");
        options.speed.factor = [1.25, 1.25];
        let mut samples = speech_like(1.0);
        augmenter(&options, RATE).apply(&mut samples, &mut rng(1));
        assert_eq!(samples.len(), 12_800);
    }

    #[test]
    fn recipes_read_as_tables_and_come_back() {
        let options: AugmentOptions = toml::from_str(
            "speed = { probability = 0.5, factor = [0.8, 1.3] }\n[color]\nprobability = 0.2\ncolors = ['pink']",
        )
        .unwrap();
        assert_eq!(options.speed.factor, [0.8, 1.3]);
        assert_eq!(options.color.colors, [color::NoiseColor::Pink]);
        options.validate().unwrap();
        let text = toml::to_string(&options).unwrap();
        assert_eq!(toml::from_str::<AugmentOptions>(&text).unwrap(), options);
        assert!(toml::from_str::<AugmentOptions>("spede = { probability = 0.5 }").is_err());
        assert!(toml::from_str::<AugmentOptions>("speed = { probability = 0.5, x = 1 }").is_err());
    }

    #[test]
    fn wrong_values_are_named() {
        AugmentOptions::default().validate().unwrap();
        let problem = |change: fn(&mut AugmentOptions)| {
            let mut options = AugmentOptions::default();
            change(&mut options);
            options.validate().unwrap_err().to_string()
        };
        assert!(problem(|o| o.gain.gain_db = [10.0, -10.0]).contains("augment.gain: gain_db"));
        assert!(problem(|o| o.noise.probability = f32::NAN).contains("augment.noise: probability"));
        assert!(problem(|o| o.speed.factor = [f32::NAN, 1.0]).contains("augment.speed: factor"));
        assert!(problem(|o| o.color.colors.clear()).contains("expected 1 to 100 entries, found 0"));
    }

    #[test]
    fn every_effect_is_in_the_guide() {
        let guide = include_str!("../../../docs/train.md");
        let (_, tables) = guide.split_once("## `[augment]`").expect("a section on augmentation");
        let (tables, _) = tables.split_once("## ").expect("its end");
        let missing: Vec<_> =
            AugmentOptions::NAMES.iter().filter(|name| !tables.contains(&format!("`{name}`"))).collect();
        assert!(missing.is_empty(), "docs/train.md does not name {missing:?}");
    }
}
