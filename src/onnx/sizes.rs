//! Parameters, bytes and multiply-adds of a graph, layer by layer.

use std::collections::HashMap;

use super::describe::{LayerSize, element_bytes};
use super::proto::{self, GraphProto, TensorProto};

/// The layer that a tensor belongs to: its name without the last part, and without the parts
/// that say how it is stored.
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

/// Parameters, bytes and products of the constants, layer by layer in the file's order: initialisers,
/// those of `Constant` nodes, and those in the bodies of other nodes. What a body computes depends on
/// the input, so its products are not counted.
pub(super) fn layers(graph: &GraphProto, frames: u64) -> Vec<LayerSize> {
    let mut layers = Vec::new();
    add_layers(graph, &weights_in_use(graph, frames), 0, &mut layers);
    layers
}

/// Bodies inside bodies that are looked into.
const MAX_DEPTH: usize = 4;

fn add_layers(graph: &GraphProto, used: &HashMap<&str, u64>, depth: usize, layers: &mut Vec<LayerSize>) {
    for tensor in &graph.initializer {
        add_tensor(&tensor.name, tensor, used, layers);
    }
    for node in &graph.node {
        let name = node.output.first().map_or("", String::as_str);
        for attribute in &node.attribute {
            if let Some(tensor) = attribute.t.as_deref().filter(|_| node.op_type == "Constant") {
                add_tensor(name, tensor, used, layers);
            }
            let bodies = attribute.g.iter().chain(&attribute.graphs).filter(|_| depth < MAX_DEPTH);
            for body in bodies.filter_map(|bytes| proto::decode_graph(bytes).ok()) {
                add_layers(&body, &HashMap::new(), depth + 1, layers);
            }
        }
    }
}

fn add_tensor(name: &str, tensor: &TensorProto, used: &HashMap<&str, u64>, layers: &mut Vec<LayerSize>) {
    let Ok(shape) = tensor.shape() else { return };
    if tensor.data_type == proto::INT64 || shape.is_empty() {
        // Shapes, axes and single numbers are no parameters.
        return;
    }
    let count = shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
    let layer = layer_name(name);
    let at = layers.iter().position(|l| l.name == layer).unwrap_or_else(|| {
        layers.push(LayerSize { name: layer, parameters: 0, bytes: 0, multiply_adds: 0 });
        layers.len() - 1
    });
    let size = &mut layers[at];
    size.parameters = size.parameters.saturating_add(count);
    size.bytes = size.bytes.saturating_add(count.saturating_mul(element_bytes(tensor.data_type)));
    let times = used.get(name).copied().unwrap_or(0);
    size.multiply_adds = size.multiply_adds.saturating_add(count.saturating_mul(times));
}

/// The sum; a file may claim more than numbers hold.
pub(super) fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// How often in a step each weight is multiplied: once for cells and products behind the
/// stacking, `frames` times for those before it; not at all for constants of other operators.
fn weights_in_use(graph: &GraphProto, frames: u64) -> HashMap<&str, u64> {
    let constants: HashMap<&str, &TensorProto> =
        graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
    // Constants behind casts, scales, transpositions.
    let mut stored: HashMap<&str, &str> = constants.keys().map(|&name| (name, name)).collect();
    let mut used = HashMap::new();
    for node in &graph.node {
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
        let (places, times): (&[usize], u64) = match node.op_type.as_str() {
            "RNN" | "GRU" | "LSTM" => (&[1, 2], 1),
            "MatMul" | "Gemm" | "MatMulInteger" => (&[0, 1], 1),
            "Conv" => (&[1], frames),
            _ => continue,
        };
        let names = places.iter().filter_map(|&i| node.input.get(i));
        for source in names.filter_map(|name| stored.get(name.as_str())) {
            let before_stacking = node.op_type == "MatMul" && source.starts_with("fbank.");
            used.insert(*source, if before_stacking { frames } else { times });
        }
    }
    used
}
