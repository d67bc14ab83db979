//! A DC offset, as of inexpensive converters.

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::uniform;

effect! {
    /// A constant added to all samples.
    DcOffset {
        /// The offset as a fraction of full scale.
        offset: [f32; 2] = [-0.05, 0.05],
    }
}

impl Effect for DcOffset {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::new("offset", self.offset, [-0.5, 0.5])]
    }

    fn build(&self, _: &Materials) -> Option<Apply> {
        let range = self.offset;
        Some(Box::new(move |samples, rng| {
            let offset = uniform(rng, range);
            samples.iter_mut().for_each(|x| *x += offset);
        }))
    }
}
