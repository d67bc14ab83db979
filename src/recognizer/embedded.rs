//! The model inside the program.

use crate::error::Result;

/// The bytes of the model of spoken English digits.
///
/// # Errors
/// When this build has none (feature `embedded-model`).
#[cfg(feature = "embedded-model")]
pub fn digits() -> Result<&'static [u8]> {
    Ok(include_bytes!("../../models/digits/digits.onnx"))
}

/// The bytes of the model of spoken English digits.
///
/// # Errors
/// Always: this build has none (feature `embedded-model`).
#[cfg(not(feature = "embedded-model"))]
pub fn digits() -> Result<&'static [u8]> {
    use crate::error::{Error, Stage};
    let problem = "this build of hearken has no model inside";
    Err(Error::new(Stage::Usage, problem).hint("name one with `--model FILE.onnx`"))
}
