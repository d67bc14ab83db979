//! Mel filters: triangles on the mel scale, stored sparsely.

use crate::error::{Error, Result, Stage};

/// Filters are padded with zero weights to a multiple of this many bins, for vectorized dot products.
const LANES: usize = 4;

/// Triangular filters, linear in mel and not in Hz, without area normalization (HTK's and Kaldi's).
#[derive(Clone, Debug)]
pub(crate) struct MelBank {
    /// For each filter, its first FFT bin and the end of its weights in `weights`.
    filters: Vec<Filter>,
    /// The weights of all filters, each padded to a multiple of [`LANES`].
    weights: Vec<f32>,
    /// The maximum over the filters of the sum of their weights.
    max_weight_sum: f32,
}

#[derive(Clone, Copy, Debug)]
struct Filter {
    first_bin: usize,
    weights_end: usize,
}

/// mel(f) = 1127 ln(1 + f / 700), f in Hz.
///
/// Computed in single precision, as in Kaldi: the rounding changes weights by up to a relative 1e-4, which is visible
/// for pure tones. The logarithm is computed in double precision, so that it is the same on all platforms.
fn mel_scale(hz: f32) -> f32 {
    1127.0 * f64::from(1.0 + hz / 700.0).ln() as f32
}

impl MelBank {
    /// Creates `num_bins` filters from `low_freq` to `high_freq` (Hz) over the FFT bins 0..`fft_size` / 2 of a
    /// signal at `sample_rate` Hz.
    ///
    /// # Errors
    /// When a filter contains no FFT bin.
    pub(crate) fn new(
        num_bins: usize,
        low_freq: f32,
        high_freq: f32,
        sample_rate: f32,
        fft_size: usize,
    ) -> Result<Self> {
        let low = mel_scale(low_freq);
        let step = (mel_scale(high_freq) - low) / (num_bins + 1) as f32;
        let bin_width = sample_rate / fft_size as f32;
        let bin_mels: Vec<f32> = (0..fft_size / 2).map(|b| mel_scale(bin_width * b as f32)).collect();
        let mut bank =
            Self { filters: Vec::with_capacity(num_bins), weights: Vec::new(), max_weight_sum: 0.0 };
        for m in 0..num_bins {
            let edge = |k: usize| low + (m + k) as f32 * step;
            let (left, center, right) = (edge(0), edge(1), edge(2));
            let weight = |mu: f32| {
                if mu <= center { (mu - left) / (center - left) } else { (right - mu) / (right - center) }
            };
            let first_bin = bin_mels.partition_point(|&mu| mu <= left);
            let end_bin = bin_mels.partition_point(|&mu| mu < right);
            if first_bin >= end_bin {
                return Err(Error::new(
                    Stage::Features,
                    format!("num_mel_bins: filter {m} of {num_bins} is too narrow: it contains no FFT bin"),
                )
                .hint("use fewer mel bins, longer frames or a wider band"));
            }
            let triangle: Vec<f32> = bin_mels[first_bin..end_bin].iter().map(|&mu| weight(mu)).collect();
            bank.add(first_bin, &triangle);
        }
        Ok(bank)
    }

    fn add(&mut self, first_bin: usize, triangle: &[f32]) {
        self.max_weight_sum = self.max_weight_sum.max(triangle.iter().sum());
        self.weights.extend_from_slice(triangle);
        self.weights.resize(self.weights.len().next_multiple_of(LANES), 0.0);
        self.filters.push(Filter { first_bin, weights_end: self.weights.len() });
    }

    /// The number of filters.
    pub(crate) fn num_bins(&self) -> usize {
        self.filters.len()
    }

    /// Each filter's first bin and its weights from there (the last ones may be zeros).
    pub(crate) fn filters(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let begins = std::iter::once(0).chain(self.filters.iter().map(|f| f.weights_end));
        self.filters.iter().zip(begins).map(|(f, begin)| (f.first_bin, &self.weights[begin..f.weights_end]))
    }

    /// The maximum sum of one filter's weights: no energy exceeds this times the maximum power.
    pub(crate) fn max_weight_sum(&self) -> f32 {
        self.max_weight_sum
    }

    /// The required length of the power spectrum for an FFT of `fft_size`: the zero weights that pad a filter may
    /// extend past the last bin.
    pub(crate) fn power_len(fft_size: usize) -> usize {
        fft_size / 2 + LANES
    }

    /// Computes the filters' energies from a power spectrum of [`Self::power_len`] finite values.
    pub(crate) fn energies(&self, power: &[f32], energies: &mut [f32]) {
        let mut begin = 0;
        for (energy, filter) in energies.iter_mut().zip(&self.filters) {
            let weights = &self.weights[begin..filter.weights_end];
            begin = filter.weights_end;
            let power = &power[filter.first_bin..filter.first_bin + weights.len()];
            let mut sums = [0.0f32; LANES];
            for (w, p) in weights.as_chunks::<LANES>().0.iter().zip(power.as_chunks::<LANES>().0) {
                for lane in 0..LANES {
                    sums[lane] += w[lane] * p[lane];
                }
            }
            *energy = (sums[0] + sums[2]) + (sums[1] + sums[3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First bins of kaldi-native-fbank's filters with default options.
    const FIRST_BINS: [usize; 80] = [
        1, 2, 3, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 22, 23, 24, 26, 27, 29, 30,
        32, 33, 35, 37, 39, 40, 42, 44, 46, 48, 51, 53, 55, 58, 60, 62, 65, 68, 70, 73, 76, 79, 82, 85, 89,
        92, 96, 99, 103, 107, 111, 115, 119, 123, 128, 132, 137, 142, 147, 152, 158, 163, 169, 175, 181, 187,
        193, 200, 206, 213, 221, 228,
    ];
    const BIN_COUNTS: [usize; 80] = [
        2, 1, 1, 2, 2, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 2, 2, 3, 3, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 3, 3, 4,
        4, 4, 5, 5, 4, 5, 5, 4, 5, 6, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 7, 8, 8, 8, 8, 8, 9, 9, 9, 10, 10, 10,
        11, 11, 11, 12, 12, 12, 12, 13, 13, 13, 15, 15, 15, 16,
    ];

    fn triangle(bank: &MelBank, m: usize) -> (usize, Vec<f32>) {
        let begin = if m == 0 { 0 } else { bank.filters[m - 1].weights_end };
        let weights = bank.weights[begin..bank.filters[m].weights_end].iter().copied().filter(|&w| w > 0.0);
        (bank.filters[m].first_bin, weights.collect())
    }

    #[test]
    fn filters_equal_those_of_kaldi() {
        let bank = MelBank::new(80, 20.0, 7600.0, 16000.0, 512).unwrap();
        let (first, w) = triangle(&bank, 0);
        assert_eq!((first, w.len()), (1, 2));
        assert!((w[0] - 0.513_686_1).abs() < 2e-5 && (w[1] - 0.099_831_55).abs() < 2e-5, "{w:?}");
        let (first, w) = triangle(&bank, 40);
        assert_eq!((first, w.len()), (55, 5));
        assert!((w[2] - 0.993_228_9).abs() < 2e-5);
        let (first, w) = triangle(&bank, 79);
        assert_eq!((first, w.len()), (228, 16));
        assert!((w[15] - 0.024_958_26).abs() < 2e-5);
        let firsts: Vec<usize> = bank.filters.iter().map(|f| f.first_bin).collect();
        let counts: Vec<usize> = (0..80).map(|m| triangle(&bank, m).1.len()).collect();
        assert_eq!(firsts, FIRST_BINS);
        assert_eq!(counts, BIN_COUNTS);
    }

    #[test]
    fn energies_are_the_weighted_sums() {
        let bank = MelBank::new(80, 20.0, 7600.0, 16000.0, 512).unwrap();
        let power: Vec<f32> = (0..MelBank::power_len(512)).map(|b| ((b * 37) % 101) as f32).collect();
        let mut energies = [0.0; 80];
        bank.energies(&power, &mut energies);
        for (m, &energy) in energies.iter().enumerate() {
            let (first, w) = triangle(&bank, m);
            let expected: f32 = w.iter().zip(&power[first..]).map(|(w, p)| w * p).sum();
            assert!((energy - expected).abs() <= 1e-6 * expected, "filter {m}: {energy} {expected}");
        }
    }

    #[test]
    fn a_filter_without_a_bin_is_refused() {
        let message = MelBank::new(200, 20.0, 7600.0, 16000.0, 512).unwrap_err().to_string();
        assert!(message.contains("of 200") && message.contains("fewer mel bins"), "{message}");
    }
}
