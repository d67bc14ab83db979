//! What the networks are compared with: an n-gram model, and regression by least squares.

use hearken::Result;
use hearken::text::ngram::{END, EstimateOptions, Estimator, TrieBuilder};

/// Ids below this are those of hearken's n-gram models themselves.
const FIRST: u32 = 3;

/// Estimates an n-gram model (interpolated modified Kneser-Ney) on sequences of token ids, and returns its mean
/// negative log-likelihood of a token of `test` in nats; of their ends as well if `with_end`.
pub fn ngram(
    train: &[Vec<u32>],
    test: &[Vec<u32>],
    tokens: usize,
    order: usize,
    with_end: bool,
) -> Result<f64> {
    let options = EstimateOptions { order, ..EstimateOptions::default() };
    let mut estimator = Estimator::new(tokens + FIRST as usize, &options)?;
    for sequence in train {
        estimator.add(&sequence.iter().map(|token| token + FIRST).collect::<Vec<_>>())?;
    }
    let mut builder = TrieBuilder::default();
    estimator.finish(&mut builder)?;
    let model = builder.finish();
    let (mut sum, mut count) = (0.0, 0);
    for sequence in test {
        let mut state = model.begin_state();
        let ends = with_end.then_some(END);
        for token in sequence.iter().map(|token| token + FIRST).chain(ends) {
            let (log10, next) = model.next(state, token);
            state = next;
            sum -= f64::from(log10) * std::f64::consts::LN_10;
            count += 1;
        }
    }
    Ok(sum / f64::from(count))
}

/// The weights that minimize the squared error of `rows · weights` and `targets`, by the normal equations with a
/// little regularization.
pub fn least_squares(rows: &[Vec<f64>], targets: &[f64]) -> Vec<f64> {
    let n = rows.first().map_or(0, Vec::len);
    let mut matrix = vec![vec![0.0; n + 1]; n];
    for (row, target) in rows.iter().zip(targets) {
        for (sums, x) in matrix.iter_mut().zip(row) {
            sums.iter_mut().zip(row.iter().chain([target])).for_each(|(sum, y)| *sum += x * y);
        }
    }
    for (i, row) in matrix.iter_mut().enumerate() {
        row[i] += 1e-6 * rows.len() as f64;
    }
    // The matrix is positive definite: elimination needs no exchange of rows.
    for i in 0..n {
        let (above, below) = matrix.split_at_mut(i + 1);
        for row in below {
            let factor = row[i] / above[i][i];
            row.iter_mut().zip(&above[i]).for_each(|(x, y)| *x -= factor * y);
        }
    }
    let mut weights = vec![0.0; n];
    for i in (0..n).rev() {
        let rest: f64 = (i + 1..n).map(|j| matrix[i][j] * weights[j]).sum();
        weights[i] = (matrix[i][n] - rest) / matrix[i][i];
    }
    weights
}

/// The value below which a share `level` of the values lies.
pub fn quantile(values: &[f64], level: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = level * (sorted.len().max(1) - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}
