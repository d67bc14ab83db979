//! Spectral features: samples in, log mel frames out.

pub mod options;
pub mod specaugment;

pub use options::FbankOptions;
pub use specaugment::{SpecAugmentOptions, spec_augment};
