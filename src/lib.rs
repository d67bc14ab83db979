//! **hearken**: a streaming speech recogniser that people train on their own recordings and
//! carry anywhere as one ONNX file.
//!
//! ```text
//! WAV, FLAC… ─► Source ─► Fbank ─► Network (state carried) ─► Decoder ─► Events
//! recordings ─► manifest ─► Source ─► augment ─► Fbank ─► Network ─► CTC ─► BPTT ─► AdamW ─► model.onnx
//! ```
//!
//! A module uses only those above it in the list below; see ARCHITECTURE.md for the invariants.

pub mod error;
pub mod fs;
pub mod units;

pub mod audio;
pub mod features;
pub mod model;
pub mod text;

pub mod decode;
pub mod engine;
pub mod eval;
pub mod onnx;

pub mod corpus;
pub mod recognizer;
pub mod train;

pub mod output;

#[cfg(feature = "serve")]
pub mod serve;

pub mod cli;

pub use error::{Error, Result};
