//! ONNX: the one file that carries a model.

pub mod export;
pub mod graph;
pub mod import;
pub mod load;
pub mod metadata;
pub mod proto;
pub mod states;

pub use export::{write, write_file};
pub use load::{read, read_file};
pub use metadata::{DecoderOptions, Metadata};
pub use states::StateSpec;
