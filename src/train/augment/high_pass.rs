//! A high-pass filter.

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::filter::high_pass;
use super::level::uniform;

effect! {
    /// Butterworth high-pass filter of order 4.
    HighPass {
        /// Cutoff frequency (-3 dB), Hz; limited to half the sample rate.
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
