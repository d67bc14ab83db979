//! How the weights of an exported file are stored.

use std::fmt;

/// How the weights of an exported file are stored. States, inputs and outputs are float32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are trained.
    #[default]
    Float32,
    /// Matrices as float16, cast back where they are used: half the size. Runtimes fold the
    /// cast when they load, so the arithmetic and its speed are those of float32.
    Float16,
    /// Matrices as int8 with a scale for each row, multiplied back where they are used: a quarter
    /// of the size, arithmetic in float32. A stream's result depends on nothing but the stream.
    Int8,
    /// As [`Precision::Int8`], and the linear layers are computed in integers
    /// (`DynamicQuantizeLinear`, `MatMulInteger`): their inputs are rounded to 256 steps between
    /// the least and the greatest value of the *call*, so results change a little with the size
    /// of the chunks and with what other streams are in the batch.
    Int8Dynamic,
}

impl Precision {
    /// All of them.
    pub const ALL: [Precision; 4] =
        [Precision::Float32, Precision::Float16, Precision::Int8, Precision::Int8Dynamic];

    /// As it is named on the command line and in metadata.
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

/// Rows of `columns` values as integers of -levels..=levels and a scale for each row:
/// value ≈ integer × scale.
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
