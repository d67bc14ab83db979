//! Spectral features: samples in, log mel frames out.

pub mod options;

pub use options::FbankOptions;
