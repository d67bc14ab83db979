//! The description of an ONNX file that `hearken inspect` prints.

use serde::Serialize;

use super::sizes::LayerSize;
use crate::onnx::interface::Interface;

/// Whether a system could load the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compatibility {
    /// Name of the system, such as `onnxruntime`.
    pub system: &'static str,
    /// Whether it could load and run the file.
    pub loads: bool,
    /// The reason why not, or the details of how it would run.
    pub reason: String,
}

/// The description of a file.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// Name and version of the program that wrote the file.
    pub producer: String,
    /// Version of the file format (IR).
    pub ir_version: i64,
    /// The operator sets: domain (empty for the standard domain) and version.
    pub opsets: Vec<(String, i64)>,
    /// Inputs, outputs and states.
    #[serde(flatten)]
    pub interface: Interface,
    /// Number of nodes of each operator, sorted by name.
    pub operators: Vec<(String, usize)>,
    /// The weights of each layer.
    pub layers: Vec<LayerSize>,
    /// Number of parameters of all layers.
    pub parameters: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Multiply-adds for one second of audio; `None` if the metadata do not contain the length of a step.
    pub multiply_adds_per_second: Option<f64>,
    /// The metadata entries, in the file's order.
    pub metadata: Vec<(String, String)>,
    /// Whether each known system could load the file.
    pub targets: Vec<Compatibility>,
    /// The lines of the text drawing of the graph.
    pub drawing: Vec<String>,
}

impl Description {
    /// The value of a metadata key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}
