//! ONNX: the one file that carries a model.

mod body;
pub mod check;
pub mod element_types;
pub mod export;
pub mod graph;
pub mod import;
pub mod inspect;
pub mod load;
pub mod metadata;
pub mod precision;
pub mod proto;
mod state_flow;
mod state_pairs;
pub mod states;
pub mod streamable;
pub mod targets;

pub use export::{write, write_file};
pub use load::{read, read_file};
pub use metadata::Metadata;

pub use crate::decode::{DecoderOptions, Pronunciation};
pub use precision::Precision;
pub use states::StateSpec;
pub use targets::{Export, ExportOptions, Target};
