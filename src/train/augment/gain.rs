//! Gain.

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::{db_to_amplitude, peak, scale, uniform};

effect! {
    /// A gain, limited so that the peak does not exceed full scale.
    Gain {
        /// The gain, dB.
        gain_db: [f32; 2] = [-20.0, 10.0],
    }
}

impl Effect for Gain {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::new("gain_db", self.gain_db, [-80.0, 60.0])]
    }

    fn build(&self, _: &Materials) -> Option<Apply> {
        let gain_db = self.gain_db;
        Some(Box::new(move |samples, rng| {
            let wanted = db_to_amplitude(uniform(rng, gain_db));
            // Full scale is not exceeded here: clipping is a separate effect.
            let most = peak(samples).max(1e-6).recip();
            scale(samples, wanted.min(most));
        }))
    }
}
