//! Corpora of recordings with transcripts, described by manifests.

pub mod check;
pub mod manifest;

pub use manifest::{Entry, ReadOptions};
