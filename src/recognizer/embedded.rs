//! The embedded model of spoken English digits.

use crate::error::Result;

/// A static and not a constant, so that the bytes are in the program only once.
#[cfg(feature = "digits")]
static DIGITS: &[u8] = include_bytes!("../../models/digits/digits.onnx");

/// The bytes of the embedded model, `models/digits/digits.onnx`.
///
/// # Errors
/// When this build has no embedded model.
#[cfg(feature = "digits")]
pub fn digits() -> Result<&'static [u8]> {
    Ok(DIGITS)
}

/// The bytes of the embedded model, `models/digits/digits.onnx`.
///
/// # Errors
/// When this build has no embedded model.
#[cfg(not(feature = "digits"))]
pub fn digits() -> Result<&'static [u8]> {
    use crate::error::{Error, Stage};
    let problem = "this build of hearken has no embedded model";
    Err(Error::new(Stage::Usage, problem).hint("name a model, or build with the feature `digits`"))
}
