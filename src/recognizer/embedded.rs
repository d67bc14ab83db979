//! The model inside the program: spoken English digits.

use crate::error::Result;

/// A static, not a constant: the program is to hold the bytes once.
#[cfg(feature = "digits")]
static DIGITS: &[u8] = include_bytes!("../../models/digits/digits.onnx");

/// The bytes of `models/digits/digits.onnx`.
///
/// # Errors
/// When this build has no model inside.
#[cfg(feature = "digits")]
pub fn digits() -> Result<&'static [u8]> {
    Ok(DIGITS)
}

/// The bytes of `models/digits/digits.onnx`.
///
/// # Errors
/// When this build has no model inside.
#[cfg(not(feature = "digits"))]
pub fn digits() -> Result<&'static [u8]> {
    use crate::error::{Error, Stage};
    let problem = "this build of hearken has no model inside";
    Err(Error::new(Stage::Usage, problem).hint("name a model, or build with the feature `digits`"))
}
