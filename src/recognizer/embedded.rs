//! The model inside the program: spoken English digits.

/// The bytes of `models/digits/digits.onnx`.
pub fn digits() -> &'static [u8] {
    include_bytes!("../../models/digits/digits.onnx")
}
