//! Clipping of an overdriven input.

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::{chance, db_to_amplitude, peak, scale, uniform};

effect! {
    /// Hard clipping; with probability 1/2 the clipped signal is at full scale.
    Clipping {
        /// Clipping level below the peak, dB.
        overdrive_db: [f32; 2] = [3.0, 18.0],
    }
}

impl Effect for Clipping {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::new("overdrive_db", self.overdrive_db, [0.0, 60.0])]
    }

    fn build(&self, _: &Materials) -> Option<Apply> {
        let range = self.overdrive_db;
        Some(Box::new(move |samples, rng| {
            let overdrive_db = uniform(rng, range);
            clip(samples, overdrive_db, chance(rng, 0.5));
        }))
    }
}

/// Clips hard at `overdrive_db` below the peak. With `to_full_scale` the signal is then scaled so that the
/// flat tops are at ±1, as in an overdriven converter.
fn clip(samples: &mut [f32], overdrive_db: f32, to_full_scale: bool) {
    let limit = peak(samples) * db_to_amplitude(-overdrive_db);
    if limit <= 0.0 {
        return;
    }
    samples.iter_mut().for_each(|x| *x = x.clamp(-limit, limit));
    if to_full_scale {
        scale(samples, limit.recip());
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::sine;
    use super::*;

    #[test]
    fn clipping_flattens_the_tops() {
        let mut samples = sine(100.0, 0.4, 1600);
        clip(&mut samples, 6.0206, false);
        assert!((peak(&samples) - 0.2).abs() < 1e-4);
        assert!(samples.iter().filter(|x| x.abs() > 0.1999).count() > 1000);
        clip(&mut samples, 3.0, true);
        assert_eq!(peak(&samples), 1.0);
        clip(&mut [0.0; 4], 3.0, true);
    }
}
