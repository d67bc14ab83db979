//! Recordings with transcripts: manifests and what is made of them.

pub mod check;
pub mod manifest;

pub use manifest::{Entry, ReadOptions};
