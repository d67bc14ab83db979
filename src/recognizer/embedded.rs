//! The model inside the program: spoken English digits.

use crate::error::Result;

/// A static, not a constant: the program is to hold the bytes once.
#[cfg(feature = "digits")]
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/digits.packed"));

/// The bytes of `models/digits/digits.onnx`.
///
/// # Errors
/// When this build has no model inside.
#[cfg(feature = "digits")]
pub fn digits() -> Result<&'static [u8]> {
    static DIGITS: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    Ok(DIGITS.get_or_init(|| super::packing::unpack(PACKED)))
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

#[cfg(all(test, feature = "digits"))]
mod tests {
    #[test]
    fn it_is_the_file_of_the_repository() {
        let file = include_bytes!("../../models/digits/digits.onnx");
        assert!(super::digits().expect("a model") == file, "the model inside is another");
        assert!(super::PACKED.len() < file.len() * 3 / 5, "its weights are to be halves");
    }
}
