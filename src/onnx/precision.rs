//! Precision of the weights in an exported file.

use std::fmt;

/// Precision of the weights in an exported file. States, inputs and outputs are always float32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As trained.
    #[default]
    Float32,
    /// Matrices as float16, cast to float32 where they are used: half the size. Runtimes fold the cast when
    /// they load the file, so results and speed are those of float32 arithmetic.
    Float16,
    /// Matrices as int8 with a scale for each row, dequantized where they are used: a quarter of the size,
    /// arithmetic in float32. A stream's result does not depend on other streams in the batch.
    Int8,
    /// As [`Precision::Int8`], with the linear layers computed in integers (`DynamicQuantizeLinear`,
    /// `MatMulInteger`). Their inputs are quantized to 256 levels between the minimum and maximum of the
    /// whole *call*, so results vary slightly with the size of the chunks and with the other streams in the
    /// batch.
    Int8Dynamic,
}

impl Precision {
    /// All precisions.
    pub const ALL: [Precision; 4] =
        [Precision::Float32, Precision::Float16, Precision::Int8, Precision::Int8Dynamic];

    /// The name used on the command line and in metadata.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Float32 => "fp32",
            Precision::Float16 => "fp16",
            Precision::Int8 => "int8",
            Precision::Int8Dynamic => "int8-dynamic",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Quantizes rows of `columns` values to integers in -levels..=levels with a scale for each row: value ≈
/// integer × scale.
pub(super) fn quantize_rows(data: &[f32], columns: usize, levels: f32) -> (Vec<i8>, Vec<f32>) {
    let mut integers = Vec::with_capacity(data.len());
    let mut scales = Vec::with_capacity(data.len() / columns.max(1));
    for row in data.chunks(columns.max(1)) {
        let peak = row.iter().fold(0.0f32, |peak, v| peak.max(v.abs()));
        let scale = if peak > 0.0 { peak / levels } else { 1.0 };
        scales.push(scale);
        integers.extend(row.iter().map(|v| (v / scale).round().clamp(-levels, levels) as i8));
    }
    (integers, scales)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_within_half_a_step() {
        let data = [0.5, -1.0, 0.25, 0.0, 0.0, 0.0, 100.0, -3.0, 0.2];
        let (integers, scales) = quantize_rows(&data, 3, 127.0);
        for (i, (&q, &v)) in integers.iter().zip(&data).enumerate() {
            assert!((f32::from(q) * scales[i / 3] - v).abs() <= 0.5001 * scales[i / 3], "{i}");
        }
        assert_eq!(integers[1], -127);
    }
}
