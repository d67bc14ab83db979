//! The discounts of modified Kneser-Ney smoothing (Chen and Goodman, 1998).

/// The amounts subtracted from adjusted counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Discounts {
    /// The discounts for the counts 1, 2, and 3 and more.
    pub values: [f64; 3],
    /// Whether they are the fallback values, because the text is too small to estimate them.
    pub fallback: bool,
}

/// Discounts for texts from which none can be estimated, such as lists or a few sentences.
const FALLBACK: [f64; 3] = [0.5, 1.0, 1.5];

impl Discounts {
    /// Estimates discounts from the numbers of n-grams with the adjusted counts 1 to 4.
    pub fn estimate(counts_of_counts: [u64; 4]) -> Self {
        let t = counts_of_counts.map(|t| t as f64);
        let fallback = Self { values: FALLBACK, fallback: true };
        if t[..3].contains(&0.0) {
            return fallback;
        }
        let y = t[0] / (t[0] + 2.0 * t[1]);
        let values = [0, 1, 2].map(|k| (k + 1) as f64 - (k + 2) as f64 * y * t[k + 1] / t[k]);
        let in_range = values.iter().zip(1..).all(|(d, k)| (0.0..=f64::from(k)).contains(d));
        if in_range { Self { values, fallback: false } } else { fallback }
    }

    /// The discount of an adjusted count.
    pub fn of(&self, count: u32) -> f64 {
        match count {
            0 => 0.0,
            count => self.values[count.min(3) as usize - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_texts_have_fallback_discounts() {
        assert!(Discounts::estimate([3, 2, 0, 1]).fallback);
        // So many counts of 4 that D3 would be negative.
        assert!(Discounts::estimate([10, 10, 1, 50]).fallback);
        let usual = Discounts::estimate([100, 40, 20, 10]);
        assert!(!usual.fallback);
        assert_eq!(usual.of(0), 0.0);
        assert_eq!(usual.of(7), usual.values[2]);
    }
}
