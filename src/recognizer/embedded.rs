//! The model inside the program: spoken English digits.

use std::sync::OnceLock;

use super::packing::unpack;

/// A static, not a constant: the program is to hold the bytes once.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/digits.packed"));

/// The bytes of `models/digits/digits.onnx`.
pub fn digits() -> &'static [u8] {
    static DIGITS: OnceLock<Vec<u8>> = OnceLock::new();
    DIGITS.get_or_init(|| unpack(PACKED))
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_the_file_of_the_repository() {
        let file = include_bytes!("../../models/digits/digits.onnx");
        assert!(super::digits() == file, "the model inside is another");
        assert!(super::PACKED.len() < file.len() * 3 / 5, "its weights are to be halves");
    }
}
