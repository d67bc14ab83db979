//! A low-pass filter.

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::filter::low_pass;
use super::level::uniform;

effect! {
    /// Butterworth low-pass filter of order 8.
    LowPass {
        /// Cutoff frequency (-3 dB), Hz; limited to half the sample rate.
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
