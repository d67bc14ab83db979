//! Number of parameters, bytes and multiply-adds of each layer of a graph.

use std::collections::HashMap;

use serde::Serialize;

use crate::onnx::interface::element_bytes;
use crate::onnx::proto::{self, GraphProto, TensorProto};

/// The weights of one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerSize {
    /// Name of the layer: the common part of its tensors' names, or the name of its node.
    pub name: String,
    /// Number of weights.
    pub parameters: u64,
    /// Size in bytes as stored.
    pub bytes: u64,
    /// Products of a weight and an activation for one step of the network (for layers before frame
    /// stacking: in all frames of the step). `None` if it depends on more than the weights.
    pub multiply_adds: Option<u64>,
}

/// The layer that a tensor belongs to: its name without the last part and without the parts that describe
/// how it is stored.
pub(super) fn layer_name(name: &str) -> String {
    let mut parts: Vec<&str> = name.split(['.', '/']).filter(|p| !p.is_empty()).collect();
    while parts.len() > 1
        && ["int8", "fp16", "scale", "plain", "float", "unquantised"].contains(parts.last().unwrap_or(&""))
    {
        parts.pop();
    }
    if parts.len() > 1 {
        parts.pop();
    }
    parts.retain(|p| *p != "plain");
    parts.join(".")
}

/// Parameters, bytes and products of each layer in the file's order, counting initializers, `Constant`
/// nodes and the constants in subgraphs. In hearken's own files the tensors' names determine the layer; in
/// others, whose names may be arbitrary, the node that multiplies with the tensor does. How often a
/// subgraph runs depends on the input, so its products are unknown.
pub(super) fn layers(graph: &GraphProto, frames: u64, is_hearken_model: bool) -> Vec<LayerSize> {
    let mut layers = Vec::new();
    let uses = weights_in_use(graph, is_hearken_model.then_some(frames));
    add_layers(graph, &uses, 0, &mut layers);
    layers
}

/// The multiply-adds of all layers; `None` if one is unknown.
pub(super) fn multiply_adds(layers: &[LayerSize]) -> Option<u64> {
    layers.iter().try_fold(0u64, |n, layer| Some(n.saturating_add(layer.multiply_adds?)))
}

/// Maximum nesting of subgraphs that are examined.
const MAX_DEPTH: usize = 4;

fn add_layers(graph: &GraphProto, uses: &Uses, depth: usize, layers: &mut Vec<LayerSize>) {
    for tensor in &graph.initializer {
        add_tensor(&tensor.name, tensor, uses, layers);
    }
    for node in &graph.node {
        let name = node.output.first().map_or("", String::as_str);
        for attribute in &node.attribute {
            if let Some(tensor) = attribute.t.as_deref().filter(|_| node.op_type == "Constant") {
                add_tensor(name, tensor, uses, layers);
            }
            let bodies = attribute.g.iter().chain(&attribute.graphs).filter(|_| depth < MAX_DEPTH);
            for body in bodies.filter_map(|bytes| proto::decode_graph(bytes).ok()) {
                add_layers(&body, &Uses { by_name: HashMap::new(), in_body: true }, depth + 1, layers);
            }
        }
    }
}

fn add_tensor(name: &str, tensor: &TensorProto, uses: &Uses, layers: &mut Vec<LayerSize>) {
    let Ok(shape) = tensor.shape() else { return };
    if tensor.data_type == proto::INT64 || shape.is_empty() {
        // Shapes, axes and scalars are not parameters.
        return;
    }
    let count = shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
    let found = uses.by_name.get(name);
    let layer = found.and_then(|u| u.layer.clone()).unwrap_or_else(|| layer_name(name));
    let at = layers.iter().position(|l| l.name == layer).unwrap_or_else(|| {
        layers.push(LayerSize { name: layer, parameters: 0, bytes: 0, multiply_adds: Some(0) });
        layers.len() - 1
    });
    let size = &mut layers[at];
    size.parameters = size.parameters.saturating_add(count);
    size.bytes = size.bytes.saturating_add(count.saturating_mul(element_bytes(tensor.data_type)));
    // Vectors are biases or scales and need no products.
    let is_matrix = shape.iter().filter(|&&d| d > 1).count() > 1;
    let times = match found {
        Some(found) => found.times,
        None if uses.in_body => None,
        None => Some(0),
    };
    let products = times.or((!is_matrix).then_some(0));
    let sum =
        size.multiply_adds.zip(products).map(|(n, times)| n.saturating_add(count.saturating_mul(times)));
    size.multiply_adds = sum;
}

/// The sum, which saturates because a damaged file may declare any size.
pub(super) fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// How the constants of a graph are used.
struct Uses<'a> {
    by_name: HashMap<&'a str, Use>,
    /// Whether the graph is a subgraph, which runs as often as the input determines.
    in_body: bool,
}

struct Use {
    /// Number of multiplications for each element in one step, if known.
    times: Option<u64>,
    /// The name of the node that it belongs to; `None` if the tensor's name determines the layer.
    layer: Option<String>,
}

/// Operators that do not multiply with their constant inputs, or at most once for each element.
const NO_PRODUCTS: [&str; 16] = [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Concat",
    "Gather",
    "Where",
    "Expand",
    "Slice",
    "Pow",
    "Reshape",
    "Equal",
    "Less",
    "Max",
    "Min",
    "LayerNormalization",
];

/// Number of multiplications with each weight in one step: 1 for cells and products after frame stacking,
/// `frames` for those before it (known for hearken's own files only), 0 for constants of operators that do
/// not multiply; unknown for all others.
fn weights_in_use(graph: &GraphProto, frames: Option<u64>) -> Uses<'_> {
    // The stored tensor behind each constant, through casts, scales and transpositions.
    let mut stored: HashMap<&str, &str> =
        graph.initializer.iter().map(|t| (t.name.as_str(), t.name.as_str())).collect();
    let mut by_name = HashMap::new();
    for (number, node) in graph.node.iter().enumerate() {
        if let ("Constant", Some(output)) = (node.op_type.as_str(), node.output.first()) {
            stored.insert(output, output);
        }
        let is_constant = |name: &String| name.is_empty() || stored.contains_key(name.as_str());
        if !node.input.is_empty() && node.input.iter().all(is_constant) {
            let source = node.input.iter().find_map(|name| stored.get(name.as_str())).copied();
            if let (Some(source), Some(output)) = (source, node.output.first()) {
                stored.insert(output, source);
            }
            continue;
        }
        let (weights, others): (&[usize], &[usize]) = match node.op_type.as_str() {
            "RNN" | "GRU" | "LSTM" => (&[1, 2], &[3, 7]),
            "MatMul" | "MatMulInteger" => (&[0, 1], &[]),
            "Gemm" => (&[0, 1], &[2]),
            "Conv" => (&[1], &[2]),
            op if NO_PRODUCTS.contains(&op) => continue,
            _ => {
                for source in node.input.iter().filter_map(|name| stored.get(name.as_str())) {
                    by_name.entry(*source).or_insert(Use { times: None, layer: None });
                }
                continue;
            }
        };
        let source = |i: &usize| stored.get(node.input.get(*i)?.as_str()).copied();
        let layer = || match (frames, node.name.as_str()) {
            (Some(_), _) => None,
            (None, "") => Some(format!("node {number} ({})", node.op_type)),
            (None, name) => Some(name.to_string()),
        };
        for source in weights.iter().filter_map(source) {
            let times = match (frames, node.op_type.as_str()) {
                (None, "Conv") => None,
                (Some(frames), "Conv") => Some(frames),
                (Some(frames), "MatMul") if source.starts_with("fbank.") => Some(frames),
                _ => Some(1),
            };
            by_name.insert(source, Use { times, layer: layer() });
        }
        for source in others.iter().filter_map(source) {
            by_name.insert(source, Use { times: Some(0), layer: layer() });
        }
    }
    Uses { by_name, in_body: false }
}
