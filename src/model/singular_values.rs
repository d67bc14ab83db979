//! Singular values of a matrix.

/// Maximum number of sweeps over all pairs of columns; fewer than ten are usual.
const MAX_SWEEPS: usize = 40;
/// Cosine of the angle between two columns below which they count as orthogonal.
const ORTHOGONAL: f64 = 1e-10;

/// The singular values of `matrix [rows, columns]` (row-major), largest first, by one-sided Jacobi rotations (Hestenes
/// 1958): pairs of columns are rotated until all are orthogonal; their lengths are the singular values.
pub fn singular_values(matrix: &[f64], columns: usize) -> Vec<f64> {
    if columns == 0 {
        return Vec::new();
    }
    let rows = matrix.len() / columns;
    let mut vectors: Vec<Vec<f64>> =
        (0..columns).map(|j| (0..rows).map(|i| matrix[i * columns + j]).collect()).collect();
    for _ in 0..MAX_SWEEPS {
        let mut rotated = false;
        for j in 1..columns {
            let (before, after) = vectors.split_at_mut(j);
            for a in before.iter_mut() {
                rotated |= orthogonalize(a, &mut after[0]);
            }
        }
        if !rotated {
            break;
        }
    }
    let mut values: Vec<f64> = vectors.iter().map(|v| v.iter().map(|x| x * x).sum::<f64>().sqrt()).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
}

/// Rotates two vectors in their plane so that they become orthogonal; returns whether they were not.
fn orthogonalize(a: &mut [f64], b: &mut [f64]) -> bool {
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b.iter()) {
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    if ab == 0.0 || ab.abs() <= ORTHOGONAL * (aa * bb).sqrt() {
        return false;
    }
    // The smaller of the two angles that make the product zero (Golub, Van Loan, "Matrix Computations", 8.5).
    let zeta = (bb - aa) / (2.0 * ab);
    let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
    let sine = cosine * tangent;
    for (x, y) in a.iter_mut().zip(b.iter_mut()) {
        (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_close(values: &[f64], expected: &[f64]) {
        assert_eq!(values.len(), expected.len());
        values.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-9, "{values:?}"));
    }

    #[test]
    fn singular_values_of_small_matrices_are_known() {
        is_close(&singular_values(&[3.0, 0.0, 0.0, -2.0], 2), &[3.0, 2.0]);
        // [[1, 1], [0, 1]] has the golden ratio and its inverse.
        let golden = (1.0 + 5f64.sqrt()) / 2.0;
        is_close(&singular_values(&[1.0, 1.0, 0.0, 1.0], 2), &[golden, 1.0 / golden]);
        is_close(&singular_values(&[1.0, 2.0, 2.0, 4.0], 2), &[5.0, 0.0]);
        is_close(&singular_values(&[0.0; 6], 3), &[0.0; 3]);
        is_close(&singular_values(&[], 0), &[]);
    }

    #[test]
    fn the_sum_of_their_squares_is_that_of_the_elements() {
        let matrix: Vec<f64> = (0..12 * 7).map(|i| f64::from((i * 37) % 19) / 7.0 - 1.0).collect();
        let values = singular_values(&matrix, 7);
        let squares = |all: &[f64]| all.iter().map(|x| x * x).sum::<f64>();
        assert!((squares(&values) - squares(&matrix)).abs() < 1e-9);
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]));
    }
}
