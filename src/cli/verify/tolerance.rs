//! Default tolerances for differences of log-probabilities.

use super::subject::Subject;
use crate::engine::verify::Row;

/// The tolerance between results of the same file.
pub(super) fn default_tolerance(subject: &Subject, rows: &[Row]) -> f32 {
    match (subject.precision(), subject.runners.takes_samples) {
        (Some("int8-dynamic"), _) => 4.0,
        (_, true) => 5e-3,
        _ => rounding(rows),
    }
}

/// The tolerance between a file and the model that it was exported from, by the precision of its weights.
pub(super) fn default_distance(subject: &Subject, rows: &[Row]) -> f32 {
    match (subject.precision(), subject.runners.takes_samples) {
        (Some("int8-dynamic"), _) => 6.0,
        (Some("int8"), _) => 3.0,
        (Some("fp16"), _) => 5e-2,
        (_, true) => 5e-3,
        _ => rounding(rows),
    }
}

/// The tolerance for sums in float32 whose terms are added in different orders: 1e-3, which changes a probability
/// by a thousandth and no word. Log-probabilities of large networks are differences of large numbers and have larger
/// rounding errors: then it is 256 times the rounding error of the largest. Values beyond 1000 nats mark impossible
/// tokens, and are not counted.
fn rounding(rows: &[Row]) -> f32 {
    let all = rows.iter().flat_map(|row| &row.log_probs).filter(|log_prob| log_prob.abs() < 1000.0);
    let largest = all.fold(0.0, |largest: f32, log_prob| largest.max(log_prob.abs()));
    (256.0 * f32::EPSILON * largest).max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tolerance_grows_with_the_numbers_that_are_rounded() {
        let allowed = |log_probs: &[f32]| {
            let row = Row {
                engine: "native",
                calls: "whole",
                streams: 1,
                difference: 0.0,
                log_probs: log_probs.to_vec(),
            };
            rounding(&[row])
        };
        assert_eq!(allowed(&[]), 1e-3);
        assert_eq!(allowed(&[-0.1, -24.0]), 1e-3);
        assert!((allowed(&[-0.1, -80.0]) - 2.44e-3).abs() < 1e-5);
        for impossible in [f32::NEG_INFINITY, f32::NAN, -1e4] {
            assert_eq!(allowed(&[impossible, -1.0]), 1e-3, "what is impossible is not rounded");
        }
    }
}
