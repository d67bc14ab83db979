//! What to do to training audio, how often, and how strongly. All effects are off by default.

use serde::{Deserialize, Serialize};

use super::noise::NoiseColor;
use crate::{Error, Result, error::Stage};

/// An effect's table: its probability (0, off, by default) and its parameters.
macro_rules! effects {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty = $default:expr),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// How likely an utterance is to get this effect, 0 to 1.
            pub probability: f32,
            $($(#[$field_doc])* pub $field: $kind,)*
        }
        impl Default for $name {
            fn default() -> Self {
                Self { probability: 0.0, $($field: $default),* }
            }
        }
    )*};
}

effects! {
    /// Tempo, pitch and formants together, as for shorter (children's) or longer vocal tracts.
    Speed {
        /// Above 1 is faster and higher.
        factor: [f32; 2] = [0.85, 1.15],
    }
    /// Tempo with pitch and formants kept. After a speed change by 1/x, a tempo of x leaves a pure
    /// shift of pitch and formants.
    Tempo {
        /// Above 1 is faster.
        factor: [f32; 2] = [0.85, 1.2],
    }
    /// Simulated rooms.
    Reverb {
        /// Time to decay by 60 dB, seconds.
        rt60_s: [f32; 2] = [0.1, 0.7],
        /// How many different rooms are made for a run.
        rooms: usize = 64,
    }
    /// Recorded noise.
    Noise {
        /// Speech level over noise level, dB.
        snr_db: [f32; 2] = [5.0, 30.0],
    }
    /// Noise made by code.
    Color {
        /// Speech level over noise level, dB.
        snr_db: [f32; 2] = [10.0, 40.0],
        /// Which ones, each as likely.
        colors: Vec<NoiseColor> =
            vec![NoiseColor::White, NoiseColor::Pink, NoiseColor::Brown, NoiseColor::Hum],
    }
    /// Other people talking.
    Babble {
        /// Speech level over babble level, dB.
        snr_db: [f32; 2] = [8.0, 25.0],
        /// How many talk at once.
        voices: [usize; 2] = [3, 8],
    }
    /// Cries, bursts, knocks and beeps made by code.
    Sounds {
        /// Speech level over that of the loudest sounds, dB.
        snr_db: [f32; 2] = [0.0, 25.0],
    }
    /// Noise until a suppressor has learnt it: in full where the recording begins, then taken away.
    Suppression {
        /// Speech level over noise level at the beginning, dB.
        snr_db: [f32; 2] = [-5.0, 20.0],
        /// How long the noise stays in full, seconds.
        hold_s: [f32; 2] = [0.1, 1.5],
        /// How fast it falls then, dB a second.
        fall_db_s: [f32; 2] = [10.0, 150.0],
        /// How far it falls, dB.
        depth_db: [f32; 2] = [10.0, 40.0],
    }
    /// Rumble where consonants blow into the microphone.
    Breath {
        /// Its level over that of the speech, dB.
        level_db: [f32; 2] = [-15.0, 6.0],
        /// It ends there, Hz.
        cutoff_hz: [f32; 2] = [150.0, 1200.0],
    }
    /// Random colouring, as of small microphones: two shelves, two resonances.
    Equalizer {
        /// Of each of the four, dB.
        gain_db: [f32; 2] = [-8.0, 8.0],
    }
    /// Bass cut (order 4).
    HighPass {
        /// Where it is 3 dB down, Hz.
        cutoff_hz: [f32; 2] = [60.0, 400.0],
    }
    /// Treble cut (order 8).
    LowPass {
        /// Where it is 3 dB down, Hz.
        cutoff_hz: [f32; 2] = [2800.0, 7500.0],
    }
    /// Louder or softer; never beyond full scale.
    Gain {
        /// dB.
        gain_db: [f32; 2] = [-20.0, 10.0],
    }
    /// Hard overdrive; half the time left at full scale.
    Clipping {
        /// How far below the peak the tops are cut, dB.
        overdrive_db: [f32; 2] = [3.0, 18.0],
    }
    /// A constant added.
    DcOffset {
        /// Of full scale.
        offset: [f32; 2] = [-0.05, 0.05],
    }
    /// 300 to 3400 Hz through 8 kHz.
    Telephone {}
    /// G.711 mu-law or A-law, 8 bits.
    Companding {}
    /// Few bits a sample.
    Quantization {
        /// Of which the loudest sample uses all.
        bits: [u32; 2] = [7, 12],
    }
    /// A coder of low bit rate that drops weak spectral bins.
    SpectralHoles {
        /// Bins this far below the strongest of their band are dropped, dB.
        threshold_db: [f32; 2] = [8.0, 25.0],
        /// All above is dropped, Hz.
        bandwidth_hz: [f32; 2] = [3500.0, 8000.0],
    }
    /// Dropouts.
    PacketLoss {
        /// Lost share of the time.
        share: [f32; 2] = [0.005, 0.04],
        /// Length of one dropout, ms.
        burst_ms: [f32; 2] = [10.0, 40.0],
    }
    /// Digital silence between words.
    NoiseGate {
        /// Where the threshold lies between the floor (0) and the loudest frame (1), in dB.
        threshold: [f32; 2] = [0.15, 0.45],
        /// How long the gate stays open after the last loud frame, ms.
        hold_ms: [f32; 2] = [20.0, 120.0],
    }
}

/// Every effect of an [`Augmenter`](super::Augmenter), in the order in which they are applied.
/// A range is `[lowest, highest]`, drawn from evenly. The default does nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentOptions {
    pub speed: Speed,
    pub tempo: Tempo,
    pub reverb: Reverb,
    pub noise: Noise,
    pub color: Color,
    pub babble: Babble,
    pub sounds: Sounds,
    pub suppression: Suppression,
    pub breath: Breath,
    pub equalizer: Equalizer,
    pub high_pass: HighPass,
    pub low_pass: LowPass,
    pub gain: Gain,
    pub dc_offset: DcOffset,
    pub clipping: Clipping,
    pub telephone: Telephone,
    pub companding: Companding,
    pub quantization: Quantization,
    pub spectral_holes: SpectralHoles,
    pub packet_loss: PacketLoss,
    pub noise_gate: NoiseGate,
}

impl AugmentOptions {
    /// A broad mixture to start from: most utterances get two or three effects, some none.
    pub fn recommended() -> Self {
        let mut o = Self::default();
        o.speed.probability = 0.5;
        o.tempo.probability = 0.1;
        o.reverb.probability = 0.3;
        o.noise.probability = 0.35;
        o.color.probability = 0.2;
        o.babble.probability = 0.1;
        o.sounds.probability = 0.05;
        o.suppression.probability = 0.1;
        o.breath.probability = 0.1;
        o.equalizer.probability = 0.4;
        o.high_pass.probability = 0.1;
        o.low_pass.probability = 0.15;
        o.gain.probability = 0.6;
        o.dc_offset.probability = 0.03;
        o.clipping.probability = 0.12;
        o.telephone.probability = 0.08;
        o.companding.probability = 0.05;
        o.quantization.probability = 0.05;
        o.spectral_holes.probability = 0.12;
        o.packet_loss.probability = 0.05;
        o.noise_gate.probability = 0.12;
        o
    }

    /// Checks every probability and range.
    ///
    /// # Errors
    /// Names the first table whose value is not a number, out of order or out of bounds.
    pub fn validate(&self) -> Result<()> {
        self.validate_probabilities()?;
        for (name, range, limits) in [
            ("speed.factor", self.speed.factor, [0.5, 2.0]),
            ("tempo.factor", self.tempo.factor, [0.5, 2.0]),
            ("reverb.rt60_s", self.reverb.rt60_s, [0.05, 1.5]),
            ("noise.snr_db", self.noise.snr_db, [-20.0, 100.0]),
            ("color.snr_db", self.color.snr_db, [-20.0, 100.0]),
            ("babble.snr_db", self.babble.snr_db, [-20.0, 100.0]),
            ("babble.voices", self.babble.voices.map(|n| n as f32), [1.0, 100.0]),
            ("sounds.snr_db", self.sounds.snr_db, [-20.0, 100.0]),
            ("breath.level_db", self.breath.level_db, [-60.0, 40.0]),
            ("breath.cutoff_hz", self.breath.cutoff_hz, [20.0, 7900.0]),
            ("suppression.snr_db", self.suppression.snr_db, [-20.0, 100.0]),
            ("suppression.hold_s", self.suppression.hold_s, [0.0, 10.0]),
            ("suppression.fall_db_s", self.suppression.fall_db_s, [1.0, 1000.0]),
            ("suppression.depth_db", self.suppression.depth_db, [0.0, 100.0]),
            ("equalizer.gain_db", self.equalizer.gain_db, [-40.0, 40.0]),
            ("high_pass.cutoff_hz", self.high_pass.cutoff_hz, [10.0, 4000.0]),
            ("low_pass.cutoff_hz", self.low_pass.cutoff_hz, [500.0, 8000.0]),
            ("gain.gain_db", self.gain.gain_db, [-80.0, 60.0]),
            ("dc_offset.offset", self.dc_offset.offset, [-0.5, 0.5]),
            ("clipping.overdrive_db", self.clipping.overdrive_db, [0.0, 60.0]),
            ("quantization.bits", self.quantization.bits.map(|n| n as f32), [2.0, 24.0]),
            ("spectral_holes.threshold_db", self.spectral_holes.threshold_db, [0.0, 100.0]),
            ("spectral_holes.bandwidth_hz", self.spectral_holes.bandwidth_hz, [500.0, 8000.0]),
            ("packet_loss.share", self.packet_loss.share, [0.0, 0.5]),
            ("packet_loss.burst_ms", self.packet_loss.burst_ms, [1.0, 1000.0]),
            ("noise_gate.threshold", self.noise_gate.threshold, [0.0, 1.0]),
            ("noise_gate.hold_ms", self.noise_gate.hold_ms, [0.0, 2000.0]),
        ] {
            check_range(name, range, limits)?;
        }
        check_range("reverb.rooms", [self.reverb.rooms as f32; 2], [1.0, 1000.0])?;
        if self.color.probability > 0.0 && self.color.colors.is_empty() {
            return Err(problem("color.colors", "at least one of white, pink, brown, hum", "none"));
        }
        Ok(())
    }

    fn validate_probabilities(&self) -> Result<()> {
        for (name, probability) in [
            ("speed", self.speed.probability),
            ("tempo", self.tempo.probability),
            ("reverb", self.reverb.probability),
            ("noise", self.noise.probability),
            ("color", self.color.probability),
            ("babble", self.babble.probability),
            ("sounds", self.sounds.probability),
            ("suppression", self.suppression.probability),
            ("breath", self.breath.probability),
            ("equalizer", self.equalizer.probability),
            ("high_pass", self.high_pass.probability),
            ("low_pass", self.low_pass.probability),
            ("gain", self.gain.probability),
            ("dc_offset", self.dc_offset.probability),
            ("clipping", self.clipping.probability),
            ("telephone", self.telephone.probability),
            ("companding", self.companding.probability),
            ("quantization", self.quantization.probability),
            ("spectral_holes", self.spectral_holes.probability),
            ("packet_loss", self.packet_loss.probability),
            ("noise_gate", self.noise_gate.probability),
        ] {
            check_probability(&format!("{name}.probability"), probability)?;
        }
        Ok(())
    }
}

fn problem(name: &str, expected: &str, found: &str) -> Error {
    Error::new(Stage::Train, format!("expected {expected}, found {found}")).at(format!("augment: {name}"))
}

/// Expects a number from 0 to 1.
pub(super) fn check_probability(name: &str, value: f32) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(problem(name, "a probability from 0 to 1", &value.to_string()))
    }
}

/// Expects `limits[0] <= range[0] <= range[1] <= limits[1]`.
pub(super) fn check_range(name: &str, range: [f32; 2], limits: [f32; 2]) -> Result<()> {
    // Written so that a value that is not a number fails.
    if limits[0] <= range[0] && range[0] <= range[1] && range[1] <= limits[1] {
        Ok(())
    } else {
        let expected = format!("[low, high] in order, from {} to {}", limits[0], limits[1]);
        Err(problem(name, &expected, &format!("{range:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_read_as_tables() {
        let options: AugmentOptions = toml::from_str(
            "speed = { probability = 0.5, factor = [0.8, 1.3] }\n[color]\nprobability = 0.2\ncolors = ['pink']",
        )
        .unwrap();
        assert_eq!(options.speed.factor, [0.8, 1.3]);
        assert_eq!(options.color.colors, [NoiseColor::Pink]);
        options.validate().unwrap();
        assert!(toml::from_str::<AugmentOptions>("spede = { probability = 0.5 }").is_err());
        assert!(toml::from_str::<AugmentOptions>("speed = { probability = 0.5, x = 1 }").is_err());
    }

    #[test]
    fn wrong_values_are_named() {
        AugmentOptions::default().validate().unwrap();
        AugmentOptions::recommended().validate().unwrap();
        let mut options = AugmentOptions::default();
        options.gain.gain_db = [10.0, -10.0];
        assert!(options.validate().unwrap_err().to_string().contains("gain.gain_db"));
        let mut options = AugmentOptions::default();
        options.noise.probability = f32::NAN;
        assert!(options.validate().unwrap_err().to_string().contains("noise.probability"));
        let mut options = AugmentOptions::default();
        options.speed.factor = [f32::NAN, 1.0];
        assert!(options.validate().is_err());
    }

    #[test]
    fn recipe_round_trips() {
        let options = AugmentOptions::recommended();
        let text = toml::to_string(&options).unwrap();
        assert_eq!(toml::from_str::<AugmentOptions>(&text).unwrap(), options);
    }
}
