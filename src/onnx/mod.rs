//! ONNX, the file format of models: reading, writing, export for other systems, and import of foreign
//! graphs.

pub mod build;
pub mod check;
pub mod element_types;
pub mod export;
mod file;
pub mod import;
pub mod inspect;
pub mod interface;
pub mod load;
pub mod metadata;
pub mod precision;
pub mod proto;
pub mod sequence;
mod state_flow;
mod state_pairs;
pub mod states;
pub mod streamable;
pub mod targets;

pub use crate::decode::{DecoderOptions, Pronunciation};
pub use export::{write, write_file};
pub use file::OnnxFile;
pub use interface::StatePort;
pub use load::{read, read_file};
pub use metadata::Metadata;
pub use precision::Precision;
pub use targets::{Export, ExportOptions, Target};
