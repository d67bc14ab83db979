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

/// The bits of the nearest IEEE 754 half; ties go to the even one, what is too great to infinity.
pub(super) fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude >= 0x7f80_0000 {
        let quiet = if magnitude > 0x7f80_0000 { 0x0200 } else { 0 };
        return sign | 0x7c00 | quiet;
    }
    let exponent = (magnitude >> 23) as i32 - 127;
    if exponent < -25 {
        return sign;
    }
    // Below 2^-14 halves are multiples of 2^-24.
    let (significand, shift, base) = if exponent < -14 {
        ((magnitude & 0x007f_ffff) | 0x0080_0000, (-1 - exponent) as u32, 0)
    } else {
        (magnitude & 0x007f_ffff, 13, ((exponent + 15) as u32) << 10)
    };
    let kept = significand >> shift;
    let rest = significand & ((1 << shift) - 1);
    let half = 1 << (shift - 1);
    let up = u32::from(rest > half || (rest == half && kept & 1 == 1));
    // A carry out of the significand is the next exponent's beginning, or infinity.
    sign | (base + kept + up).min(0x7c00) as u16
}

/// Rows of `columns` values as integers of -levels..=levels and a scale for each row:
/// value ≈ integer × scale.
pub(super) fn quantise_rows(data: &[f32], columns: usize, levels: f32) -> (Vec<i8>, Vec<f32>) {
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

    fn value(bits: u16) -> f64 {
        let (e, m) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
        let magnitude = if e == 0 { m * 2f64.powi(-24) } else { (1024.0 + m) * 2f64.powi(e - 25) };
        if bits & 0x8000 != 0 { -magnitude } else { magnitude }
    }

    #[test]
    fn halves_are_the_nearest() {
        for (value, bits) in [
            (0.0, 0),
            (-0.0, 0x8000),
            (1.0, 0x3c00),
            (-2.0, 0xc000),
            (65504.0, 0x7bff),
            (65520.0, 0x7c00),
            (65519.0, 0x7bff),
            (1e9, 0x7c00),
            (2f32.powi(-24), 1),
            (2f32.powi(-25), 0),
            (1.5 * 2f32.powi(-25), 1),
            (2f32.powi(-14), 0x0400),
            (1.0 + 2f32.powi(-11), 0x3c00),
            (1.0 + 3.0 * 2f32.powi(-11), 0x3c02),
        ] {
            assert_eq!(f16_bits(value), bits, "{value}");
        }
        // Every finite half comes back, and halfway to the next lies no nearer one.
        for bits in 0..0x7c00u16 {
            let exact = value(bits) as f32;
            assert_eq!(f16_bits(exact), bits);
            assert_eq!(f16_bits(-exact), bits | 0x8000);
            let next = value(bits + 1);
            if bits + 1 < 0x7c00 {
                let middle = ((value(bits) + next) / 2.0) as f32;
                assert_eq!(f16_bits(middle) & 1, 0, "ties go to even at {bits:#x}");
                assert_eq!(f16_bits(f32::from_bits(middle.to_bits() + 1)), bits + 1);
            }
        }
    }

    #[test]
    fn rows_come_back_within_half_a_step() {
        let data = [0.5, -1.0, 0.25, 0.0, 0.0, 0.0, 100.0, -3.0, 0.2];
        let (integers, scales) = quantise_rows(&data, 3, 127.0);
        for (i, (&q, &v)) in integers.iter().zip(&data).enumerate() {
            assert!((f32::from(q) * scales[i / 3] - v).abs() <= 0.5001 * scales[i / 3], "{i}");
        }
        assert_eq!(integers[1], -127);
    }
}
