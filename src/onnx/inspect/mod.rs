//! What a person wants to know of an ONNX file before trusting it, ours or anybody's: inputs,
//! outputs, states, sizes, arithmetic, and which systems would load it.

mod description;
mod drawing;
mod operators;
mod sizes;
mod verdicts;

use super::interface::{ports, real_inputs};
use super::proto::{self, GraphProto};
use super::state_pairs::{find_states, guess_note};
use crate::error::Result;
use crate::features::FbankOptions;
use sizes::{layers, multiply_adds, total};
use verdicts::verdicts;

pub use description::{Description, Verdict};
pub use sizes::LayerSize;

/// Describes a file's bytes.
///
/// # Errors
/// When they are not an ONNX file.
pub fn describe(bytes: &[u8]) -> Result<Description> {
    describe_with(bytes, &[])
}

/// Describes a file's bytes; `states` are names of state inputs and outputs, where the file does
/// not tell them.
///
/// # Errors
/// When they are not an ONNX file, or the named states are not in it.
pub fn describe_with(bytes: &[u8], states: &[(String, String)]) -> Result<Description> {
    let named = states;
    let model = proto::decode(bytes)?;
    let empty = GraphProto::default();
    let graph = model.graph.as_ref().unwrap_or(&empty);
    let metadata: Vec<(String, String)> =
        model.metadata_props.iter().map(|e| (e.key.clone(), e.value.clone())).collect();
    let inputs = ports(&real_inputs(graph));
    let outputs = ports(&graph.output.iter().collect::<Vec<_>>());
    let found = find_states(graph, &metadata, named)?;
    let is_ours = metadata.iter().any(|(key, _)| key.starts_with("hearken."));
    let layers = layers(graph, frames_per_step(&metadata), is_ours);
    let per_step = multiply_adds(&layers);
    let mut description = Description {
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().into(),
        ir_version: model.ir_version.unwrap_or_default(),
        opsets: model
            .opset_import
            .iter()
            .map(|o| (o.domain.clone(), o.version.unwrap_or_default()))
            .collect(),
        states_note: guess_note(&found),
        states: found.pairs,
        features_input: found.features,
        states_found: found.how,
        operators: operators(graph),
        parameters: total(layers.iter().map(|l| l.parameters)),
        bytes: bytes.len() as u64,
        multiply_adds_per_second: steps_per_second(&metadata).zip(per_step).map(|(s, n)| s * n as f64),
        layers,
        inputs,
        outputs,
        metadata,
        targets: Vec::new(),
        drawing: drawing::draw(graph),
    };
    description.targets = verdicts(bytes, &model, &description);
    Ok(description)
}

/// What was guessed of a file's states, where states of the same shape could be told apart by nothing.
///
/// # Errors
/// As [`describe_with`].
pub fn states_note(bytes: &[u8], states: &[(String, String)]) -> Result<Option<String>> {
    let model = proto::decode(bytes)?;
    let graph = model.graph.unwrap_or_default();
    let metadata: Vec<(String, String)> =
        model.metadata_props.into_iter().map(|e| (e.key, e.value)).collect();
    Ok(guess_note(&find_states(&graph, &metadata, states)?))
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
