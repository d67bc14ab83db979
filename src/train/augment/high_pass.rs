//! A bass cut.

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::filter::high_pass;
use super::level::uniform;

effect! {
    /// Bass cut (order 4).
    HighPass {
        /// Where it is 3 dB down, Hz; beyond half of the sample rate it is taken as that.
        cutoff_hz: [f32; 2] = [60.0, 400.0],
    }
}

impl Effect for HighPass {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::new("cutoff_hz", self.cutoff_hz, [10.0, 4000.0])]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let (cutoff_hz, rate) = (self.cutoff_hz, materials.sample_rate);
        Some(Box::new(move |samples, rng| high_pass(samples, uniform(rng, cutoff_hz), rate)))
    }
}
