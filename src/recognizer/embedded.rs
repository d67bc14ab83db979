//! The model inside the program: spoken English digits.

/// A static, not a constant: the program is to hold the bytes once.
static DIGITS: &[u8] = include_bytes!("../../models/digits/digits.onnx");

/// The bytes of `models/digits/digits.onnx`.
#[inline(never)]
pub fn digits() -> &'static [u8] {
    DIGITS
}
