//! What a person wants to know of an ONNX file, gathered.

use serde::Serialize;

use super::sizes::LayerSize;
use crate::onnx::interface::Interface;

/// Whether a system would load the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    pub system: &'static str,
    pub loads: bool,
    /// Why not, or with what.
    pub reason: String,
}

/// A file described.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    pub producer: String,
    pub ir_version: i64,
    /// Domain (empty for ONNX's own) and version.
    pub opsets: Vec<(String, i64)>,
    #[serde(flatten)]
    pub interface: Interface,
    /// How many nodes of each operator, by name.
    pub operators: Vec<(String, usize)>,
    pub layers: Vec<LayerSize>,
    pub parameters: u64,
    pub bytes: u64,
    /// Where the metadata say how long a step is.
    pub multiply_adds_per_second: Option<f64>,
    pub metadata: Vec<(String, String)>,
    pub targets: Vec<Verdict>,
    pub drawing: Vec<String>,
}

impl Description {
    /// The value of a metadata key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}
