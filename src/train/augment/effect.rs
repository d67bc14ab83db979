//! The interface of effects of waveform augmentation: a table of settings, their ranges, and a function
//! that changes samples.

use std::sync::Arc;

use rand_pcg::Pcg64Mcg;

use crate::error::{Error, Result, Stage};

/// Data that effects use.
#[derive(Clone, Debug)]
pub struct Materials {
    /// Sample rate of the recordings here and of the utterances, Hz.
    pub sample_rate: u32,
    /// Recordings of noise.
    pub noises: Arc<Vec<Vec<f32>>>,
    /// Recordings of speech, for babble.
    pub voices: Arc<Vec<Vec<f32>>>,
    /// Seed for data generated once for each run, such as simulated rooms.
    pub seed: u64,
}

impl Materials {
    /// Materials with a sample rate and no recordings.
    pub fn at(sample_rate: u32) -> Self {
        Self { sample_rate, noises: Arc::default(), voices: Arc::default(), seed: 0 }
    }
}

/// Changes one utterance (mono, full scale ±1) with settings of the effect drawn from the generator.
pub type Apply = Box<dyn Fn(&mut Vec<f32>, &mut Pcg64Mcg) + Send + Sync>;

/// The probability of an effect; implemented along with its settings.
pub trait Probability {
    /// The probability that an utterance gets the effect, 0 to 1.
    fn probability(&self) -> f32;

    /// Sets the probability.
    fn set_probability(&mut self, probability: f32);
}

/// An effect: its settings (a table of the recipe's `[augment]`) and its implementation.
pub trait Effect: Probability {
    /// The numeric settings with their limits.
    fn ranges(&self) -> Vec<Range>;

    /// The function that applies the effect; `None` if the materials that it needs are missing.
    fn build(&self, materials: &Materials) -> Option<Apply>;
}

/// A setting and its limits.
#[derive(Clone, Debug)]
pub struct Range {
    name: &'static str,
    value: [f32; 2],
    limits: [f32; 2],
    /// For a count: the name of the counted things.
    things: Option<&'static str>,
}

impl Range {
    /// A pair `[lowest, highest]` that is drawn from uniformly.
    pub fn new(name: &'static str, value: [f32; 2], limits: [f32; 2]) -> Self {
        Self { name, value, limits, things: None }
    }

    /// A number of `things`.
    pub fn count(name: &'static str, things: &'static str, count: usize, limits: [usize; 2]) -> Self {
        let limits = limits.map(|limit| limit as f32);
        Self { name, value: [count as f32; 2], limits, things: Some(things) }
    }

    /// Checks that the pair is in order and within its limits.
    ///
    /// # Errors
    /// Names the setting, prefixed by `table`.
    pub fn check(&self, table: &str) -> Result<()> {
        let ([low, high], [least, most]) = (self.value, self.limits);
        // A value that is not a number fails every comparison.
        if least <= low && low <= high && high <= most {
            return Ok(());
        }
        let problem = match self.things {
            Some(things) => format!("expected {least} to {most} {things}, found {low}"),
            None => format!("expected [low, high] in order, from {least} to {most}, found {:?}", self.value),
        };
        Err(Error::new(Stage::Train, problem).at(format!("{table}: {}", self.name)))
    }
}

/// Checks that a number is a probability.
pub(super) fn check_probability(place: &str, value: f32) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::new(Stage::Train, format!("expected a probability from 0 to 1, found {value}")).at(place))
}

/// Defines the settings of one effect: a structure with its probability (0, off, by default) and its
/// parameters with their defaults.
macro_rules! effect {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty = $default:expr),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// Probability that an utterance gets this effect, 0 to 1.
            pub probability: f32,
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { probability: 0.0, $($field: $default),* }
            }
        }

        impl super::effect::Probability for $name {
            fn probability(&self) -> f32 {
                self.probability
            }

            fn set_probability(&mut self, probability: f32) {
                self.probability = probability;
            }
        }
    };
}
pub(super) use effect;
