//! audio

pub mod augment;
