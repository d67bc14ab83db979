//! Corpora of recordings with transcripts, described by manifests.

pub mod check;
#[cfg(feature = "train")]
pub mod import;
pub mod manifest;
pub mod split;

pub use manifest::{Entry, ReadOptions, TextRule};
