//! Inspection of an ONNX file, hearken's or foreign: inputs, outputs, states, sizes, arithmetic, and which
//! systems could load it.

mod compatibility;
mod description;
mod drawing;
mod operators;
mod sizes;

use super::OnnxFile;
use super::proto::GraphProto;
use crate::error::Result;
use crate::features::FbankOptions;
use compatibility::compatibility;
use sizes::{layers, multiply_adds, total};

pub use description::{Compatibility, Description};
pub use sizes::LayerSize;

/// Describes a file's bytes.
///
/// # Errors
/// When they are not an ONNX file.
pub fn describe(bytes: &[u8]) -> Result<Description> {
    describe_file(&OnnxFile::from_bytes(bytes.to_vec())?, &[])
}

/// Describes a file; `states` are names of state inputs and outputs, for files that do not declare them.
///
/// # Errors
/// When the named states are not in the graph.
pub fn describe_file(file: &OnnxFile, states: &[(String, String)]) -> Result<Description> {
    let (model, graph, metadata) = (file.model(), file.graph(), file.entries());
    let layers = layers(graph, frames_per_step(metadata), file.is_hearken_model());
    let per_step = multiply_adds(&layers);
    let mut description = Description {
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().into(),
        ir_version: file.ir_version(),
        opsets: file.opsets(),
        interface: file.interface(states)?,
        operators: operators(graph),
        parameters: total(layers.iter().map(|l| l.parameters)),
        bytes: file.bytes().len() as u64,
        multiply_adds_per_second: steps_per_second(metadata).zip(per_step).map(|(s, n)| s * n as f64),
        layers,
        metadata: metadata.to_vec(),
        targets: Vec::new(),
        drawing: drawing::draw(graph),
    };
    description.targets = compatibility(file, &description);
    Ok(description)
}

fn operators(graph: &GraphProto) -> Vec<(String, usize)> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for node in &graph.node {
        let name = match node.domain.as_str() {
            "" | "ai.onnx" => node.op_type.clone(),
            domain => format!("{domain}.{}", node.op_type),
        };
        match counts.iter_mut().find(|(n, _)| *n == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.sort();
    counts
}

fn features(metadata: &[(String, String)]) -> Option<FbankOptions> {
    let (_, text) = metadata.iter().find(|(key, _)| key == "features")?;
    serde_json::from_str(text).ok()
}

fn frames_per_step(metadata: &[(String, String)]) -> u64 {
    let entry = metadata.iter().find(|(key, _)| key == "subsampling");
    entry.and_then(|(_, value)| value.parse().ok()).unwrap_or(1)
}

fn steps_per_second(metadata: &[(String, String)]) -> Option<f64> {
    let shift = f64::from(features(metadata)?.frame_shift_ms);
    Some(1000.0 / (shift * frames_per_step(metadata) as f64))
}
