//! Quantization to few bits.

use rand::RngExt;

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::peak;

effect! {
    /// Quantization to few bits per sample.
    Quantization {
        /// Number of bits, scaled so that the loudest sample uses all.
        bits: [u32; 2] = [7, 12],
    }
}

impl Effect for Quantization {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::new("bits", self.bits.map(|n| n as f32), [2.0, 24.0])]
    }

    fn build(&self, _: &Materials) -> Option<Apply> {
        let [low, high] = self.bits;
        Some(Box::new(move |samples, rng| quantize(samples, rng.random_range(low..=high))))
    }
}

/// Quantizes to `bits` bits, scaled so that the loudest sample uses all.
fn quantize(samples: &mut [f32], bits: u32) {
    let top = peak(samples);
    if top <= 0.0 {
        return;
    }
    let steps = (1u32 << (bits.clamp(2, 24) - 1)) as f32 / top;
    let step = steps.recip();
    samples.iter_mut().for_each(|x| *x = (*x * steps).round_ties_even() * step);
}

#[cfg(test)]
mod tests {
    use super::super::testing::{sine, snr_db};
    use super::*;

    #[test]
    fn the_snr_grows_by_six_decibels_per_bit() {
        let clean = sine(441.3, 0.2, 16_000);
        let snr = |bits| {
            let mut coded = clean.clone();
            quantize(&mut coded, bits);
            snr_db(&clean, &coded)
        };
        for bits in [5, 8, 11] {
            assert!((snr(bits) - (6.02 * bits as f32 + 1.76)).abs() < 1.5, "{bits}: {}", snr(bits));
        }
    }
}
