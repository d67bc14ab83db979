//! The language model of hearken's model of English, as a file in the program; the crate `hearken` reads it.

/// A 3-gram language model in the format of `hearken lm` (CC BY 4.0).
// A static and not a constant, so that the bytes are in a program only once.
pub static LANGUAGE_MODEL: &[u8] = include_bytes!("english.lm");
