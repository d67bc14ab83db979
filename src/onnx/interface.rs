//! What goes into a graph and comes out of it: tensors, states, and the types of their numbers.

use serde::Serialize;

use super::proto::{DimensionProto, GraphProto, NodeProto, ValueInfoProto};

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

/// A state that is carried from call to call: an input, and the output that answers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatePort {
    /// Name of the graph's input.
    pub input: String,
    /// Name of the graph's output.
    pub output: String,
    /// Shape for one stream.
    pub shape: Vec<usize>,
    /// Which axis counts streams.
    pub batch_axis: usize,
    /// Its numbers are int64 and not float32.
    pub is_i64: bool,
}

/// What goes into a graph and comes out of it, and which of it are states.
#[derive(Clone, Debug, Serialize)]
pub struct Interface {
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub states: Vec<StatePort>,
    /// The input that carries the features, where the recurrent nodes tell.
    #[serde(skip)]
    pub features_input: Option<String>,
    /// How the states were found.
    pub states_found: String,
    /// Where states of the same shape could be told apart by nothing, what was guessed.
    #[serde(skip)]
    pub states_note: Option<String>,
}

/// The graph's inputs without those that are constants.
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

/// The nodes that a drawing tells apart by their effect.
pub(crate) fn is_plumbing(node: &NodeProto) -> bool {
    ["Transpose", "Squeeze", "Unsqueeze", "Reshape", "Identity", "Cast"].contains(&node.op_type.as_str())
}
