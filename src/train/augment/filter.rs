//! Second-order filters, and low-pass and high-pass filters composed of them.

/// A second-order section, normalized to a0 = 1, with coefficients by R. Bristow-Johnson, "Cookbook
/// formulae for audio EQ biquad filter coefficients".
#[derive(Clone, Copy, Debug)]
pub struct Biquad {
    b: [f32; 3],
    a: [f32; 2],
}

impl Biquad {
    fn normalized(b: [f64; 3], a: [f64; 3]) -> Self {
        Self { b: b.map(|x| (x / a[0]) as f32), a: [(a[1] / a[0]) as f32, (a[2] / a[0]) as f32] }
    }

    /// Cosine of the angular frequency, and the cookbook's alpha. Frequencies are limited to below the
    /// Nyquist frequency.
    fn angles(hz: f32, q: f32, sample_rate: u32) -> (f64, f64) {
        let hz = f64::from(hz.clamp(1.0, sample_rate as f32 * 0.49));
        let w = std::f64::consts::TAU * hz / f64::from(sample_rate);
        (w.cos(), w.sin() / (2.0 * f64::from(q)))
    }

    /// A low-pass filter with cutoff `hz`, -12 dB per octave above.
    pub fn low_pass(hz: f32, q: f32, sample_rate: u32) -> Self {
        let (c, alpha) = Self::angles(hz, q, sample_rate);
        Self::normalized([(1.0 - c) / 2.0, 1.0 - c, (1.0 - c) / 2.0], [1.0 + alpha, -2.0 * c, 1.0 - alpha])
    }

    /// A high-pass filter with cutoff `hz`, -12 dB per octave below.
    pub fn high_pass(hz: f32, q: f32, sample_rate: u32) -> Self {
        let (c, alpha) = Self::angles(hz, q, sample_rate);
        Self::normalized([(1.0 + c) / 2.0, -1.0 - c, (1.0 + c) / 2.0], [1.0 + alpha, -2.0 * c, 1.0 - alpha])
    }

    /// A peaking filter: raises (or lowers) a band around `hz` by `gain_db`.
    pub fn peaking(hz: f32, q: f32, gain_db: f32, sample_rate: u32) -> Self {
        let (c, alpha) = Self::angles(hz, q, sample_rate);
        let a = 10f64.powf(f64::from(gain_db) / 40.0);
        Self::normalized(
            [1.0 + alpha * a, -2.0 * c, 1.0 - alpha * a],
            [1.0 + alpha / a, -2.0 * c, 1.0 - alpha / a],
        )
    }

    /// A low shelf: raises (or lowers) the frequencies below `hz` by `gain_db`.
    pub fn low_shelf(hz: f32, gain_db: f32, sample_rate: u32) -> Self {
        Self::shelf(hz, gain_db, 1.0, sample_rate)
    }

    /// A high shelf: raises (or lowers) the frequencies above `hz` by `gain_db`.
    pub fn high_shelf(hz: f32, gain_db: f32, sample_rate: u32) -> Self {
        Self::shelf(hz, gain_db, -1.0, sample_rate)
    }

    /// Both shelves: the high shelf is the low one with the sign of the cosine inverted.
    fn shelf(hz: f32, gain_db: f32, side: f64, sample_rate: u32) -> Self {
        let (c, alpha) = Self::angles(hz, std::f32::consts::FRAC_1_SQRT_2, sample_rate);
        let a = 10f64.powf(f64::from(gain_db) / 40.0);
        let (c, root) = (c * side, 2.0 * a.sqrt() * alpha);
        let (up, down) = (a + 1.0, a - 1.0);
        Self::normalized(
            [a * (up - down * c + root), side * 2.0 * a * (down - up * c), a * (up - down * c - root)],
            [up + down * c + root, side * -2.0 * (down + up * c), up + down * c - root],
        )
    }
}

/// The Q of each section of a Butterworth filter of order `2 N`.
pub(super) fn butterworth_q<const N: usize>() -> [f32; N] {
    std::array::from_fn(|k| {
        let angle = std::f64::consts::PI * (2 * k + 1) as f64 / (4 * N) as f64;
        (0.5 / angle.cos()) as f32
    })
}

/// Filters in place by sections in sequence (transposed direct form II, all sections in one pass, so that
/// they overlap in the processor's pipeline).
pub fn filter<const N: usize>(samples: &mut [f32], sections: &[Biquad; N]) {
    let mut state = [[0f32; 2]; N];
    for chunk in samples.chunks_mut(256) {
        for sample in chunk {
            let mut x = *sample;
            for (section, s) in sections.iter().zip(&mut state) {
                let y = section.b[0] * x + s[0];
                s[0] = section.b[1] * x - section.a[0] * y + s[1];
                s[1] = section.b[2] * x - section.a[1] * y;
                x = y;
            }
            *sample = x;
        }
        // The ringing in digital silence would decay into subnormal numbers, which are slow.
        for s in state.iter_mut().flatten() {
            if s.abs() < 1e-15 {
                *s = 0.0;
            }
        }
    }
}

/// Butterworth high-pass of order 4.
pub fn high_pass(samples: &mut [f32], hz: f32, sample_rate: u32) {
    filter(samples, &butterworth_q::<2>().map(|q| Biquad::high_pass(hz, q, sample_rate)));
}

/// Butterworth low-pass of order 8.
pub fn low_pass(samples: &mut [f32], hz: f32, sample_rate: u32) {
    filter(samples, &butterworth_q::<4>().map(|q| Biquad::low_pass(hz, q, sample_rate)));
}

#[cfg(test)]
mod tests {
    use super::super::level::{power, power_to_db};
    use super::super::testing::{RATE, sine};
    use super::*;

    /// The gain at a frequency, dB, once the filter has settled.
    fn gain_db(hz: f32, effect: impl Fn(&mut [f32])) -> f32 {
        let mut samples = sine(hz, 0.5, 16_000);
        let before = power(&samples[8000..]);
        effect(&mut samples);
        power_to_db(power(&samples[8000..]) / before)
    }

    #[test]
    fn butterworth_edges_are_3_db_down() {
        assert!((gain_db(1000.0, |s| low_pass(s, 1000.0, RATE)) + 3.0).abs() < 0.1);
        assert!(gain_db(2000.0, |s| low_pass(s, 1000.0, RATE)) < -45.0);
        assert!(gain_db(500.0, |s| low_pass(s, 1000.0, RATE)).abs() < 0.1);
        assert!((gain_db(300.0, |s| high_pass(s, 300.0, RATE)) + 3.0).abs() < 0.1);
        assert!(gain_db(150.0, |s| high_pass(s, 300.0, RATE)) < -22.0);
    }

    #[test]
    fn shelves_and_peaks_have_their_gain() {
        let with = |section: Biquad| move |s: &mut [f32]| filter(s, &[section]);
        assert!((gain_db(40.0, with(Biquad::low_shelf(800.0, 6.0, RATE))) - 6.0).abs() < 0.2);
        assert!(gain_db(7000.0, with(Biquad::low_shelf(800.0, 6.0, RATE))).abs() < 0.2);
        assert!((gain_db(7500.0, with(Biquad::high_shelf(2000.0, -9.0, RATE))) + 9.0).abs() < 0.3);
        assert!(gain_db(100.0, with(Biquad::high_shelf(2000.0, -9.0, RATE))).abs() < 0.2);
        assert!((gain_db(1000.0, with(Biquad::peaking(1000.0, 2.0, 8.0, RATE))) - 8.0).abs() < 0.1);
    }

    #[test]
    fn a_dying_filter_leaves_no_subnormals() {
        let mut samples = vec![0f32; 64_000];
        samples[0] = 1.0;
        high_pass(&mut samples, 60.0, RATE);
        assert!(samples[48_000..].iter().all(|x| !x.is_subnormal()));
    }
}
