//! ONNX: the one file that carries a model.

mod body;
pub mod check;
pub mod describe;
mod drawing;
pub mod export;
pub mod graph;
pub mod import;
pub mod load;
pub mod metadata;
mod operators;
pub mod precision;
pub mod proto;
pub mod recurrent;
mod sizes;
mod state_flow;
mod state_pairs;
pub mod states;
pub mod targets;
mod verdicts;

pub use export::{write, write_file};
pub use load::{read, read_file};
pub use metadata::Metadata;

pub use crate::decode::{DecoderOptions, Pronunciation};
pub use precision::Precision;
pub use states::StateSpec;
pub use targets::{Export, ExportOptions, Target};
