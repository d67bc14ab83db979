//! Data of hearken's model of English, as files in the program; the crate `hearken` reads them.

// Statics and not constants, so that the bytes are in a program only once.

/// The network of the phones of English, an ONNX file (CC BY 4.0).
pub static NETWORK: &[u8] = include_bytes!("english.onnx");

/// The CMU Pronouncing Dictionary (BSD-2-Clause) and a model learned from it that guesses other words, in the format of
/// `hearken pronounce`.
pub static PRONUNCIATIONS: &[u8] = include_bytes!("english.pron");
