//! The interface of a graph: its inputs, outputs and states, with their element types.

use serde::Serialize;

use super::proto::{DimensionProto, GraphProto, NodeProto, ValueInfoProto};

/// Maximum window of a foreign model, in frames or samples.
pub const MAX_WINDOW: usize = 1 << 20;

/// An input or output tensor of a graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Port {
    /// Name of the input or output.
    pub name: String,
    /// Element type: `float32`, `int64` …
    pub r#type: String,
    /// The axes: lengths, symbols, or `?` if unknown.
    pub shape: Vec<String>,
}

/// A state that is carried from call to call: an input, and the output with its next value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatePort {
    /// Name of the graph's input.
    pub input: String,
    /// Name of the graph's output.
    pub output: String,
    /// Shape for one stream.
    pub shape: Vec<usize>,
    /// The batch axis, along which streams are stacked.
    pub batch_axis: usize,
    /// Whether the elements are int64 instead of float32.
    pub is_i64: bool,
}

/// The inputs and outputs of a graph, and the states among them.
#[derive(Clone, Debug, Serialize)]
pub struct Interface {
    /// The inputs, including states, without constants.
    pub inputs: Vec<Port>,
    /// The outputs, including states.
    pub outputs: Vec<Port>,
    /// The pairs of inputs and outputs that are states.
    pub states: Vec<StatePort>,
    /// Name of the input of features or samples, if the recurrent nodes determine it.
    #[serde(skip)]
    pub features_input: Option<String>,
    /// How the states were found, in words.
    pub states_found: String,
    /// A note for the user if states of the same shape were paired by guessing.
    #[serde(skip)]
    pub states_note: Option<String>,
}

/// The graph's inputs that are not initializers.
pub(crate) fn real_inputs(graph: &GraphProto) -> Vec<&ValueInfoProto> {
    let constants: Vec<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    graph.input.iter().filter(|i| !constants.contains(&i.name.as_str())).collect()
}

pub(super) fn ports(values: &[&ValueInfoProto]) -> Vec<Port> {
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

/// Bytes of one element as stored; 0 for types without a fixed size.
pub(crate) fn element_bytes(kind: i32) -> u64 {
    match kind {
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        1 | 6 | 12 => 4,
        7 | 11 | 13 => 8,
        _ => 0,
    }
}

/// Whether a node only rearranges or converts its input, so that a drawing shows it only by its effect.
pub(crate) fn is_rearranging(node: &NodeProto) -> bool {
    ["Transpose", "Squeeze", "Unsqueeze", "Reshape", "Identity", "Cast"].contains(&node.op_type.as_str())
}
