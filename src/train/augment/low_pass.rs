//! A treble cut.

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::filter::low_pass;
use super::level::uniform;

effect! {
    /// Treble cut (order 8).
    LowPass {
        /// Where it is 3 dB down, Hz; beyond half of the sample rate it is taken as that.
        cutoff_hz: [f32; 2] = [2800.0, 7500.0],
    }
}

impl Effect for LowPass {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::new("cutoff_hz", self.cutoff_hz, [500.0, 8000.0])]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let (cutoff_hz, rate) = (self.cutoff_hz, materials.sample_rate);
        Some(Box::new(move |samples, rng| low_pass(samples, uniform(rng, cutoff_hz), rate)))
    }
}
