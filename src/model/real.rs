//! Number types of networks: f32 for inference and training, f64 to check gradients.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use half::{bf16, f16};

/// A floating-point type of which the layers are generic.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;

    /// Rounds to this type.
    fn from_f64(x: f64) -> Self;
    /// Converts exactly.
    fn to_f64(self) -> f64;
    /// `self * a + b`, rounded once if `FMA`, else twice.
    fn madd<const FMA: bool>(self, a: Self, b: Self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// exp(x); for f32 a fast approximation to a relative 4e-7, with x clamped to -87..88.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// 1 / (1 + exp(-x)), by the same exponential.
    fn sigmoid(self) -> Self;
    /// Hyperbolic tangent; for f32 by the same exponential.
    fn tanh(self) -> Self;
    /// The same value as a 16-bit float, for f32, if there is one.
    fn exact_half(self) -> Option<f16>;
    /// Rounds to bf16, for f32.
    fn bf16(self) -> Option<u16>;
    /// Replaces tiny values by 0: they would decay to subnormals, which are slow.
    fn flush(self) -> Self;
}

/// exp(x) by range reduction and a polynomial of degree 6, to a relative 4e-7. It has no branches, so that loops
/// over it are vectorized, unlike the exact one of the C library.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let x = x.clamp(-87.0, 88.0);
    let n = x * std::f32::consts::LOG2_E + MAGIC;
    let whole = n - MAGIC;
    let r = (x - whole * 0.693_359_4) - whole * -2.121_944_4e-4;
    let p = 1.987_569_1e-4_f32;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let two_to_n = f32::from_bits((n.to_bits().wrapping_add(127)) << 23);
    p * two_to_n
}

impl Real for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn madd<const FMA: bool>(self, a: Self, b: Self) -> Self {
        if FMA { self.mul_add(a, b) } else { self * a + b }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn exp(self) -> Self {
        exp_f32(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        self.ln()
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + exp_f32(-self))
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        2.0 / (1.0 + exp_f32(-2.0 * self)) - 1.0
    }
    fn bf16(self) -> Option<u16> {
        Some(bf16::from_f32(self).to_bits())
    }
    #[inline(always)]
    fn exact_half(self) -> Option<f16> {
        Some(f16::from_f32(self)).filter(|half| half.to_f32() == self)
    }
    #[inline(always)]
    fn flush(self) -> Self {
        if self.abs() < 1e-30 { 0.0 } else { self }
    }
}

impl Real for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn madd<const FMA: bool>(self, a: Self, b: Self) -> Self {
        if FMA { self.mul_add(a, b) } else { self * a + b }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn exp(self) -> Self {
        self.exp()
    }
    #[inline(always)]
    fn ln(self) -> Self {
        self.ln()
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + (-self).exp())
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        self.tanh()
    }
    fn bf16(self) -> Option<u16> {
        None
    }
    #[inline(always)]
    fn exact_half(self) -> Option<f16> {
        None
    }
    #[inline(always)]
    fn flush(self) -> Self {
        if self.abs() < 1e-300 { 0.0 } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_functions_agree_with_the_exact_ones() {
        for i in -9000..=9000 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x.clamp(-87.0, 88.0)).exp();
            assert!((f64::from(exp_f32(x)) / exact - 1.0).abs() < 4e-7, "exp({x})");
            assert!((f64::from(Real::tanh(x)) - f64::from(x).tanh()).abs() < 3e-7, "tanh({x})");
            let sigmoid = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(Real::sigmoid(x)) - sigmoid).abs() < 2e-7, "sigmoid({x})");
        }
    }
}
