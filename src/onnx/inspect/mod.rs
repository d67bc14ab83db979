//! What a person wants to know of an ONNX file before trusting it, ours or anybody's: inputs,
//! outputs, states, sizes, arithmetic, and which systems would load it.

mod drawing;
mod operators;
mod sizes;
mod verdicts;

use serde::Serialize;

use super::proto::{self, DimensionProto, GraphProto, NodeProto, ValueInfoProto};
use super::state_pairs::{find_states, guess_note};
use super::states::StateSpec;
use crate::error::Result;
use crate::features::FbankOptions;
use sizes::{layers, multiply_adds, total};
use verdicts::verdicts;

/// No window of a foreign model may be longer than this many frames, or samples.
pub const MAX_WINDOW: usize = 1 << 20;

/// A tensor that goes in or comes out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Port {
    pub name: String,
    /// `float32`, `int64` …
    pub r#type: String,
    /// Lengths, symbols, or `?`.
    pub shape: Vec<String>,
}

/// A state that is carried from call to call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatePair {
    pub input: String,
    pub output: String,
    /// Shape for one stream.
    pub shape: Vec<usize>,
    pub batch_axis: usize,
    pub is_i64: bool,
}

/// The weights of one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerSize {
    pub name: String,
    pub parameters: u64,
    /// As stored.
    pub bytes: u64,
    /// Products of a weight and an activation in one step (for convolutions and what is before
    /// the stacking, in the frames of one step); `None` where that depends on more than the weights.
    pub multiply_adds: Option<u64>,
}

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
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub states: Vec<StatePair>,
    /// The input that carries the features, where the recurrent nodes tell.
    #[serde(skip)]
    pub features_input: Option<String>,
    /// How the states were found.
    pub states_found: String,
    /// Where states of the same shape could be told apart by nothing, what was guessed.
    #[serde(skip)]
    pub states_note: Option<String>,
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

impl Description {
    /// The value of a metadata key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The states as engines take them.
    pub fn state_specs(&self) -> Vec<StateSpec> {
        let spec = |s: &StatePair| StateSpec {
            input: s.input.clone(),
            output: s.output.clone(),
            shape: s.shape.clone(),
            batch_axis: s.batch_axis,
        };
        self.states.iter().map(spec).collect()
    }
}

/// The graph's inputs without those that are constants.
pub(crate) fn real_inputs(graph: &GraphProto) -> Vec<&ValueInfoProto> {
    let constants: Vec<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    graph.input.iter().filter(|i| !constants.contains(&i.name.as_str())).collect()
}

fn ports(values: &[&ValueInfoProto]) -> Vec<Port> {
    let port = |value: &&ValueInfoProto| {
        let (kind, dims) = value.tensor().unwrap_or((0, &[]));
        Port { name: value.name.clone(), r#type: type_name(kind), shape: dims.iter().map(dim_text).collect() }
    };
    values.iter().map(port).collect()
}

/// Type and shape of an input or output: `float32 [N, 4*U, 80]`.
pub(crate) fn tensor_text(value: &ValueInfoProto) -> String {
    match value.tensor() {
        Some((kind, dims)) => {
            let dims: Vec<String> = dims.iter().map(dim_text).collect();
            format!("{} [{}]", type_name(kind), dims.join(", "))
        }
        None => "no tensor".into(),
    }
}

pub(crate) fn dim_text(dim: &DimensionProto) -> String {
    match (&dim.dim_param, dim.dim_value) {
        (Some(symbol), _) if !symbol.is_empty() => symbol.clone(),
        (_, Some(n)) if n >= 0 => n.to_string(),
        _ => "?".into(),
    }
}

/// The name of a `TensorProto.DataType`.
pub(crate) fn type_name(kind: i32) -> String {
    let names = [
        "unknown",
        "float32",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "float64",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
    ];
    names.get(kind as usize).map_or_else(|| format!("type {kind}"), |n| n.to_string())
}

/// Bytes of one element as stored; 0 for what has no fixed size.
pub(crate) fn element_bytes(kind: i32) -> u64 {
    match kind {
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        1 | 6 | 12 => 4,
        7 | 11 | 13 => 8,
        _ => 0,
    }
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

/// The nodes that a drawing tells apart by their effect.
pub(crate) fn is_plumbing(node: &NodeProto) -> bool {
    ["Transpose", "Squeeze", "Unsqueeze", "Reshape", "Identity", "Cast"].contains(&node.op_type.as_str())
}
