//! Analysis windows.

use std::f64::consts::TAU;

use crate::error::{Error, Result, Stage};

/// The names that [`window`] accepts.
const NAMES: &str = "`povey`, `hann`, `hanning`, `hamming` or `rectangular`";

/// The window `name` of `length` samples, as `kaldi-native-fbank` defines the names:
///
/// | name | w(j), j = 0..N-1 |
/// |---|---|
/// | `povey` | (0.5 - 0.5 cos(2 pi j / (N-1)))^0.85 |
/// | `hanning` | 0.5 - 0.5 cos(2 pi j / (N-1)), Kaldi's |
/// | `hann` | 0.5 - 0.5 cos(2 pi j / N), periodic, PyTorch's |
/// | `hamming` | 0.54 - 0.46 cos(2 pi j / (N-1)) |
/// | `rectangular` | 1 |
///
/// # Errors
/// When the name is unknown. `length` must be at least 2.
pub(crate) fn window(name: &str, length: usize) -> Result<Vec<f32>> {
    let symmetric = TAU / (length as f64 - 1.0);
    let periodic = TAU / length as f64;
    let shape: Box<dyn Fn(f64) -> f64> = match name {
        "povey" => Box::new(move |j| (0.5 - 0.5 * (symmetric * j).cos()).powf(0.85)),
        "hanning" => Box::new(move |j| 0.5 - 0.5 * (symmetric * j).cos()),
        "hann" => Box::new(move |j| 0.5 - 0.5 * (periodic * j).cos()),
        "hamming" => Box::new(move |j| 0.54 - 0.46 * (symmetric * j).cos()),
        "rectangular" => Box::new(|_| 1.0),
        other => {
            return Err(Error::new(Stage::Features, format!("window: expected {NAMES}, found `{other}`")));
        }
    };
    Ok((0..length).map(|j| shape(j as f64) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_the_expected_ends_and_centers() {
        for (name, first, last) in [
            ("povey", 0.0, 0.0),
            ("hanning", 0.0, 0.0),
            ("hamming", 0.08, 0.08),
            ("rectangular", 1.0, 1.0),
            ("hann", 0.0, 6.1683e-5),
        ] {
            let w = window(name, 400).unwrap();
            assert_eq!(w.len(), 400);
            assert!((w[0] - first).abs() < 1e-7, "{name}: {}", w[0]);
            assert!((w[399] - last).abs() < 1e-7, "{name}: {}", w[399]);
            assert!(w[200] > 0.9999 && w[200] <= 1.0, "{name}: {}", w[200]);
        }
    }

    #[test]
    fn an_unknown_window_is_named() {
        let message = window("kaiser", 400).unwrap_err().to_string();
        assert!(message.contains("kaiser") && message.contains("povey"), "{message}");
    }
}
