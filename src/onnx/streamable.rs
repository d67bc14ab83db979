//! Checks for features of recurrent nodes that prevent streaming or that tract does not support.

use super::proto::{self, AttributeProto, GraphProto, NodeProto};
use crate::error::{Error, Result, Stage};

/// Maximum nesting of subgraphs that are examined.
const MAX_DEPTH: usize = 8;

/// Whether a node is one of ONNX's recurrent operators.
pub(super) fn is_recurrent(node: &NodeProto) -> bool {
    matches!(node.domain.as_str(), "" | "ai.onnx") && ["RNN", "GRU", "LSTM"].contains(&node.op_type.as_str())
}

/// Refuses a graph that cannot stream because a layer runs backwards.
///
/// # Errors
/// Names the node.
pub fn check_streams(graph: &GraphProto) -> Result<()> {
    let forward = |node: &NodeProto| {
        let direction = text(node, "direction").unwrap_or_else(|| "forward".into());
        match direction.as_str() {
            "forward" => Ok(()),
            other => Err(at(node, format!("its direction is {other}: it needs the end of the audio first"))
                .hint("the model cannot process a stream; train it with forward layers only")),
        }
    };
    check_graph(graph, &forward, 0)
}

/// Refuses attributes that tract ignores silently, computing something else: clipping, other activations,
/// and coupled gates.
///
/// # Errors
/// Names the node and the attribute.
pub fn check_for_tract(graph: &GraphProto) -> Result<()> {
    let computed = |node: &NodeProto| {
        let refused =
            |what: String| Err(at(node, format!("tract does not compute {what}")).hint("use the engine ort"));
        if let Some(clip) = attribute(node, "clip").and_then(|a| a.f) {
            return refused(format!("clip {clip}"));
        }
        if attribute(node, "input_forget").and_then(|a| a.i).unwrap_or(0) != 0 {
            return refused("input_forget".into());
        }
        let activations = activations(node);
        let plain: &[&[&str]] = match node.op_type.as_str() {
            "RNN" => &[&["Tanh"], &["Relu"]],
            "GRU" => &[&["Sigmoid", "Tanh"]],
            _ => &[&["Sigmoid", "Tanh", "Tanh"]],
        };
        let is_plain = |kind: &&[&str]| {
            let both = [*kind, *kind].concat();
            activations == *kind || activations == both
        };
        if !activations.is_empty() && !plain.iter().any(is_plain) {
            return refused(format!("the activations {}", activations.join(", ")));
        }
        Ok(())
    };
    check_graph(graph, &computed, 0)
}

fn check_graph(graph: &GraphProto, check: &dyn Fn(&NodeProto) -> Result<()>, depth: usize) -> Result<()> {
    for node in &graph.node {
        if is_recurrent(node) {
            check(node)?;
        }
        let bodies = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
        for body in bodies.filter(|_| depth < MAX_DEPTH) {
            check_graph(&proto::decode_graph(body)?, check, depth + 1)?;
        }
    }
    Ok(())
}

fn at(node: &NodeProto, problem: String) -> Error {
    let name =
        if node.name.is_empty() { node.output.iter().find(|o| !o.is_empty()) } else { Some(&node.name) };
    let name = name.map_or("", String::as_str);
    Error::new(Stage::Model, problem).at(format!("node {name} ({})", node.op_type))
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

fn text(node: &NodeProto, name: &str) -> Option<String> {
    attribute(node, name)?.s.as_deref().map(|s| String::from_utf8_lossy(s).into_owned())
}

fn activations(node: &NodeProto) -> Vec<String> {
    let strings = attribute(node, "activations").map_or(&[][..], |a| &a.strings);
    strings.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::build::graph::{float, int, strings};

    fn graph(op: &str, attributes: Vec<AttributeProto>) -> GraphProto {
        let node =
            NodeProto { op_type: op.into(), name: "c".into(), attribute: attributes, ..Default::default() };
        GraphProto { node: vec![node], ..Default::default() }
    }

    #[test]
    fn backward_layers_cannot_stream() {
        let direction = |value: &'static str| {
            let s = Some(value.as_bytes().into());
            AttributeProto { name: "direction".into(), s, ..Default::default() }
        };
        check_streams(&graph("GRU", vec![direction("forward")])).expect("forward");
        check_streams(&graph("Conv", vec![direction("reverse")])).expect("no recurrent node");
        for other in ["reverse", "bidirectional"] {
            let error = check_streams(&graph("LSTM", vec![direction(other)])).expect_err(other).to_string();
            assert!(error.contains("node c (LSTM)") && error.contains(other), "{error}");
        }
    }

    #[test]
    fn attributes_that_tract_ignores_are_refused() {
        for (op, names) in [
            ("RNN", ["Relu"].as_slice()),
            ("RNN", &["Tanh", "Tanh"]),
            ("GRU", &["Sigmoid", "Tanh"]),
            ("LSTM", &["Sigmoid", "Tanh", "Tanh"]),
        ] {
            check_for_tract(&graph(op, vec![strings("activations", names)])).expect("as it computes them");
        }
        check_for_tract(&graph("LSTM", vec![int("input_forget", 0)])).expect("not coupled");
        for (op, attribute, word) in [
            ("LSTM", float("clip", 3.0), "clip 3"),
            ("LSTM", int("input_forget", 1), "input_forget"),
            ("LSTM", strings("activations", &["HardSigmoid", "Tanh", "Tanh"]), "HardSigmoid, Tanh, Tanh"),
            ("RNN", strings("activations", &["Tanh", "Relu"]), "Tanh, Relu"),
        ] {
            let error = check_for_tract(&graph(op, vec![attribute])).expect_err(word).to_string();
            assert!(error.contains(word) && error.contains("node c") && error.contains("ort"), "{error}");
        }
    }
}
