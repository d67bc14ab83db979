//! Noise that a noise suppressor removes after a while.

use rand_pcg::Pcg64Mcg;

use super::color::{NoiseColor, colored_noise};
use super::effect::{Apply, Effect, Materials, Range, effect};
use super::equalizer::random_equalizer;
use super::level::{active_power, add_scaled, chance, db_to_amplitude, index, uniform};
use super::noise::random_cut;

effect! {
    /// Noise with a noise suppressor that adapts: full at the start of the recording, then attenuated.
    Suppression {
        /// Signal-to-noise ratio at the start, dB.
        snr_db: [f32; 2] = [-5.0, 20.0],
        /// Time for which the noise keeps its full level, seconds.
        hold_s: [f32; 2] = [0.1, 1.5],
        /// Rate of attenuation after that, dB per second.
        fall_db_s: [f32; 2] = [10.0, 150.0],
        /// Maximum attenuation, dB.
        depth_db: [f32; 2] = [10.0, 40.0],
    }
}

impl Effect for Suppression {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::new("snr_db", self.snr_db, [-20.0, 100.0]),
            Range::new("hold_s", self.hold_s, [0.0, 10.0]),
            Range::new("fall_db_s", self.fall_db_s, [1.0, 1000.0]),
            Range::new("depth_db", self.depth_db, [0.0, 100.0]),
        ]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let (options, rate, clips) = (self.clone(), materials.sample_rate, materials.noises.clone());
        Some(Box::new(move |samples, rng| options.add_to(samples, &clips, rate, rng)))
    }
}

impl Suppression {
    /// Adds a recorded clip or synthetic noise that is suppressed after a while.
    fn add_to(&self, samples: &mut [f32], clips: &[Vec<f32>], sample_rate: u32, rng: &mut Pcg64Mcg) {
        let mut noise = if clips.is_empty() || chance(rng, 0.5) {
            let color = [NoiseColor::White, NoiseColor::Pink, NoiseColor::Brown][index(rng, 3)];
            let mut noise = colored_noise(color, samples.len(), sample_rate, rng);
            random_equalizer(&mut noise, [-15.0, 15.0], sample_rate, rng);
            noise
        } else {
            random_cut(&clips[index(rng, clips.len())], samples.len(), rng)
        };
        let snr_db = uniform(rng, self.snr_db);
        let level = active_power(&noise, sample_rate);
        let [hold_s, fall_db_s, depth_db] =
            [self.hold_s, self.fall_db_s, self.depth_db].map(|range| uniform(rng, range));
        suppress(&mut noise, hold_s, fall_db_s, depth_db, sample_rate);
        add_scaled(samples, &noise, level, snr_db, sample_rate);
    }
}

/// Simulates a noise suppressor that must adapt first: `noise` keeps its full level for `hold_s` seconds,
/// then is attenuated by `fall_db_s` decibels per second, up to `depth_db`.
fn suppress(noise: &mut [f32], hold_s: f32, fall_db_s: f32, depth_db: f32, sample_rate: u32) {
    let hold = (hold_s.max(0.0) * sample_rate as f32) as usize;
    let (factor, least) =
        (db_to_amplitude(-fall_db_s / sample_rate as f32), db_to_amplitude(-depth_db.max(0.0)));
    let mut gain = 1f32;
    for sample in noise.iter_mut().skip(hold) {
        gain = (gain * factor).max(least);
        *sample *= gain;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::RATE;
    use super::*;

    #[test]
    fn a_suppressor_takes_noise_away_after_a_while() {
        let mut noise = vec![1f32; 3 * RATE as usize];
        suppress(&mut noise, 0.5, 20.0, 30.0, RATE);
        let level = |s: f32| 20.0 * noise[(s * RATE as f32) as usize].log10();
        assert_eq!(level(0.49), 0.0);
        assert!((level(1.0) + 10.0).abs() < 0.1, "{}", level(1.0));
        assert!((level(2.9) + 30.0).abs() < 0.1, "{}", level(2.9));
    }
}
