//! An ONNX file, decoded once for all readers.

use std::io::Read as _;
use std::path::Path;

use prost::bytes::Bytes;

use super::interface::Interface;
use super::proto::{self, GraphProto, MAX_FILE_BYTES, ModelProto};
use super::state_pairs::find_interface;
use crate::error::{Error, Result, Stage, io};

/// A decoded ONNX file.
#[derive(Clone, Debug)]
pub struct OnnxFile {
    bytes: Bytes,
    model: ModelProto,
    graph: GraphProto,
    entries: Vec<(String, String)>,
}

impl OnnxFile {
    /// Reads a file of bounded length.
    ///
    /// # Errors
    /// When it is not a regular file, cannot be read, is too long, or is not an ONNX file; names the file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_bytes(read_bytes(path)?).map_err(|e| e.in_file(path))
    }

    /// Decodes the bytes of a file.
    ///
    /// # Errors
    /// When the bytes are not an ONNX file.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        let bytes = bytes.into();
        let mut model = proto::decode_shared(bytes.clone())?;
        let graph = model.graph.take().unwrap_or_default();
        let entries = model.metadata_props.iter().map(|e| (e.key.clone(), e.value.clone())).collect();
        Ok(Self { bytes, model, graph, entries })
    }

    /// The bytes of the whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The decoded `ModelProto` without its graph.
    pub fn model(&self) -> &ModelProto {
        &self.model
    }

    /// The graph.
    pub fn graph(&self) -> &GraphProto {
        &self.graph
    }

    /// The metadata, in the file's order.
    pub fn entries(&self) -> &[(String, String)] {
        &self.entries
    }

    /// The value of a metadata key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// The operator sets: domain (empty for the standard domain) and version.
    pub fn opsets(&self) -> Vec<(String, i64)> {
        let opsets = self.model.opset_import.iter();
        opsets.map(|o| (o.domain.clone(), o.version.unwrap_or_default())).collect()
    }

    /// The version of the file format (IR); 0 if absent.
    pub fn ir_version(&self) -> i64 {
        self.model.ir_version.unwrap_or_default()
    }

    /// Whether the file has hearken's metadata, complete or not.
    pub fn is_hearken_model(&self) -> bool {
        self.entries.iter().any(|(key, _)| key.starts_with("hearken."))
    }

    /// Finds inputs, outputs and states; `named` are pairs of state input and output, for files that do not
    /// declare them.
    ///
    /// # Errors
    /// When the named states are not in the graph.
    pub fn interface(&self, named: &[(String, String)]) -> Result<Interface> {
        find_interface(&self.graph, &self.entries, named)
    }
}

/// Reads a regular file of at most [`MAX_FILE_BYTES`].
fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let failed = |e| io(Stage::Model, path, e);
    let found = std::fs::metadata(path).map_err(failed)?;
    if !found.is_file() {
        return Err(
            Error::new(Stage::Model, "expected a model file, found a folder or a special file").in_file(path)
        );
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let problem = format!("expected a model file of at most {MAX_FILE_BYTES} bytes, found a longer one");
        return Err(Error::new(Stage::Model, problem).in_file(path));
    }
    Ok(bytes)
}
