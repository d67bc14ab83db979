//! Companding by ITU-T G.711.

use super::effect::{Apply, Effect, Materials, Range, effect};
use super::level::{chance, peak};

effect! {
    /// G.711 mu-law or A-law with 8 bits, with equal probability.
    Companding {}
}

impl Effect for Companding {
    fn ranges(&self) -> Vec<Range> {
        Vec::new()
    }

    fn build(&self, _: &Materials) -> Option<Apply> {
        Some(Box::new(|samples, rng| companding(samples, chance(rng, 0.5))))
    }
}

/// Encodes and decodes one sample by G.711 mu-law: 8 bits, 14-bit range.
fn mu_law(x: f32) -> f32 {
    // The standard adds 33 so that segments begin at powers of two.
    let magnitude = ((x.abs() * 8159.0) as u32).min(8158) + 33;
    let segment = 26 - magnitude.leading_zeros();
    let step = magnitude >> (segment + 1) & 0xf;
    let decoded = ((2 * step + 33) << segment) - 33;
    (decoded as f32 / 8159.0).copysign(x)
}

/// Encodes and decodes one sample by G.711 A-law: 8 bits, 13-bit range.
fn a_law(x: f32) -> f32 {
    let magnitude = ((x.abs() * 4096.0) as u32).min(4095);
    // The two lowest segments have the same step of 2; from 64 on it doubles with each octave.
    let shift = (28 - magnitude.max(32).leading_zeros()).saturating_sub(1).max(1);
    let decoded = ((magnitude >> shift << 1) + 1) << shift >> 1;
    (decoded as f32 / 4096.0).copysign(x)
}

/// Applies G.711 mu-law or A-law. The samples are scaled near full scale before and back after, like the
/// level control of a line.
fn companding(samples: &mut [f32], use_mu_law: bool) {
    let top = peak(samples);
    if top <= 0.0 {
        return;
    }
    let (up, down) = (0.5 / top, top / 0.5);
    if use_mu_law {
        samples.iter_mut().for_each(|x| *x = mu_law(*x * up) * down);
    } else {
        samples.iter_mut().for_each(|x| *x = a_law(*x * up) * down);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{sine, snr_db};
    use super::*;

    #[test]
    fn g711_has_its_values() {
        // Decoded magnitudes of the standard's tables, on its own scale.
        let mu = |v: f32| (mu_law((v + 0.5) / 8159.0) * 8159.0).round();
        assert_eq!([mu(0.0), mu(1.0), mu(31.0), mu(95.0), mu(8158.0)], [0.0, 2.0, 33.0, 99.0, 8031.0]);
        let a = |v: f32| (a_law((v + 0.5) / 4096.0) * 4096.0).round();
        assert_eq!([a(0.0), a(2.0), a(63.0), a(64.0), a(4095.0)], [1.0, 3.0, 63.0, 66.0, 4032.0]);
        for law in [mu_law, a_law] {
            let mut codes: Vec<u32> = (-9000..=9000).map(|i| law(i as f32 / 9000.0).to_bits()).collect();
            codes.sort_unstable();
            codes.dedup();
            assert!((250..=258).contains(&codes.len()), "{} levels", codes.len());
        }
    }

    #[test]
    fn companding_keeps_35_db() {
        for use_mu_law in [true, false] {
            let clean = sine(440.0, 0.2, 16_000);
            let mut coded = clean.clone();
            companding(&mut coded, use_mu_law);
            let snr = snr_db(&clean, &coded);
            assert!((32.0..45.0).contains(&snr), "{snr}");
        }
    }
}
