//! Random frequency response.

use rand_pcg::Pcg64Mcg;

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::filter::{Biquad, filter};
use super::level::uniform;

effect! {
    /// Random frequency response, as of small microphones: two shelves, two resonances.
    Equalizer {
        /// Gain of each of the four filters, dB.
        gain_db: [f32; 2] = [-8.0, 8.0],
    }
}

impl Effect for Equalizer {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::new("gain_db", self.gain_db, [-40.0, 40.0])]
    }

    fn build(&self, materials: &Materials) -> Option<Apply> {
        let (gain_db, rate) = (self.gain_db, materials.sample_rate);
        Some(Box::new(move |samples, rng| random_equalizer(samples, gain_db, rate, rng)))
    }
}

/// Applies a random frequency response, as the cases of phones and laptops cause it: two shelves and two
/// resonances, each with a gain drawn from the range.
pub(super) fn random_equalizer(samples: &mut [f32], gain_db: [f32; 2], sample_rate: u32, rng: &mut Pcg64Mcg) {
    // Frequencies are drawn uniformly on a logarithmic scale.
    let mut octaves = |low: f32, high: f32| uniform(rng, [low.log2(), high.log2()]).exp2();
    let places =
        [octaves(100.0, 500.0), octaves(2000.0, 6000.0), octaves(200.0, 1500.0), octaves(1000.0, 6500.0)];
    let widths = [octaves(0.7, 4.0), octaves(0.7, 4.0)];
    let mut gain = || uniform(rng, gain_db);
    let sections = [
        Biquad::low_shelf(places[0], gain(), sample_rate),
        Biquad::high_shelf(places[1], gain(), sample_rate),
        Biquad::peaking(places[2], widths[0], gain(), sample_rate),
        Biquad::peaking(places[3], widths[1], gain(), sample_rate),
    ];
    filter(samples, &sections);
}
