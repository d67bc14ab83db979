//! ONNX: the one file that carries a model.

pub mod metadata;

pub use metadata::{DecoderOptions, Metadata};
