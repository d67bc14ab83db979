//! The element types of a graph's inputs, outputs and computations, and which of them the engines that run
//! graphs support.

use std::collections::HashSet;

use super::interface::{real_inputs, type_name};
use super::proto::{self, FLOAT, FLOAT16, GraphProto, INT64, NodeProto, TensorProto};
use crate::error::{Error, Result, Stage};

/// `TensorProto.DataType.BFLOAT16`.
const BFLOAT16: i32 = 16;

/// Maximum nesting of the bodies of `If`, `Loop` and `Scan` that are examined.
const MAX_DEPTH: usize = 8;

/// Refuses a graph with an input that the engines cannot feed or an output that they cannot read; they
/// support float32 and int64.
///
/// # Errors
/// Names the input or output and its type.
pub fn check_ports(graph: &GraphProto) -> Result<()> {
    let inputs = real_inputs(graph).into_iter().map(|value| ("input", value));
    let outputs = graph.output.iter().map(|value| ("output", value));
    for (kind, value) in inputs.chain(outputs) {
        let element = value.tensor().map_or(0, |(element, _)| element);
        // The type of an output may be omitted; the runtime infers it.
        if [FLOAT, INT64].contains(&element) || kind == "output" && element == 0 {
            continue;
        }
        let problem = format!("expected float32 or int64, found {}", type_name(element));
        let error = Error::new(Stage::Model, problem).at(format!("{kind} {}", value.name));
        return Err(match element {
            FLOAT16 | BFLOAT16 => error
                .hint(
                    "the engines tract and ort do not support half precision: export the model in float32 \
                     (PyTorch: `model.float()`), or convert it",
                )
                .remedy("import"),
            _ => error.hint("the engines tract and ort support only these two types"),
        });
    }
    Ok(())
}

/// Whether any tensor in a graph, stored or computed, is in half precision (float16 or bfloat16).
pub fn uses_half(graph: &GraphProto) -> bool {
    graph_uses_half(graph, 0)
}

fn is_half(element: i32) -> bool {
    [FLOAT16, BFLOAT16].contains(&element)
}

fn graph_uses_half(graph: &GraphProto, depth: usize) -> bool {
    let ports = graph.input.iter().chain(&graph.output).filter_map(|value| value.tensor());
    let mut elements = ports.map(|(element, _)| element).chain(graph.initializer.iter().map(|t| t.data_type));
    if elements.any(is_half) {
        return true;
    }
    graph.node.iter().flat_map(|node| &node.attribute).any(|attribute| {
        let is_cast = attribute.name == "to" && attribute.i.is_some_and(|to| [10, 16].contains(&to));
        let mut bodies = attribute.g.iter().chain(&attribute.graphs).filter(|_| depth < MAX_DEPTH);
        is_cast
            || attribute.t.as_ref().is_some_and(|t| is_half(t.data_type))
            || bodies.any(|body| proto::decode_graph(body).is_ok_and(|g| graph_uses_half(&g, depth + 1)))
    })
}

/// Whether a graph multiplies by matrices in half precision and transposes. onnxruntime (1.32) crashes with
/// a segmentation fault while it moves such a `Transpose`, unless layout optimization is turned off.
pub(super) fn transposes_half_products(graph: &GraphProto) -> bool {
    let stored = graph.initializer.iter().filter(|t| is_half(t.data_type)).map(|t| t.name.as_str());
    let is_constant = |t: &Option<Box<TensorProto>>| t.as_ref().is_some_and(|t| is_half(t.data_type));
    let constants = graph.node.iter().filter(|n| n.attribute.iter().any(|a| is_constant(&a.t)));
    let made = constants.flat_map(|n| n.output.iter().map(String::as_str));
    let half: HashSet<&str> = stored.chain(made).collect();
    let multiplies = |n: &NodeProto| ["MatMul", "Gemm"].contains(&n.op_type.as_str());
    let in_half = |n: &NodeProto| n.input.iter().any(|name| half.contains(name.as_str()));
    graph.node.iter().any(|n| multiplies(n) && in_half(n))
        && graph.node.iter().any(|n| n.op_type == "Transpose")
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost::bytes::Bytes;

    use super::*;
    use crate::onnx::proto::{AttributeProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto};

    fn port(name: &str, element: i32) -> ValueInfoProto {
        let tensor = TensorTypeProto { elem_type: element, shape: Some(TensorShapeProto::default()) };
        let kind = TypeProto { tensor_type: Some(tensor) };
        ValueInfoProto { name: name.into(), r#type: Some(kind), ..Default::default() }
    }

    fn model(change: impl FnOnce(&mut GraphProto)) -> GraphProto {
        let mut graph = GraphProto {
            input: vec![port("x", FLOAT), port("n", INT64)],
            output: vec![port("y", FLOAT)],
            ..Default::default()
        };
        change(&mut graph);
        graph
    }

    #[test]
    fn unsupported_inputs_and_outputs_are_refused_with_their_names() {
        check_ports(&model(|_| {})).expect("float32 and int64");
        for (element, name) in [(FLOAT16, "float16"), (16, "bfloat16"), (11, "float64"), (6, "int32")] {
            let error = check_ports(&model(|g| g.input[0] = port("x", element))).expect_err(name);
            assert!(error.to_string().contains("input x") && error.to_string().contains(name), "{error}");
            let error = check_ports(&model(|g| g.output[0] = port("y", element))).expect_err(name);
            assert!(error.to_string().contains("output y"), "{error}");
        }
        let constant = TensorProto { name: "w".into(), data_type: FLOAT16, ..Default::default() };
        let declared = model(|g| {
            g.input.push(port("w", FLOAT16));
            g.initializer.push(constant);
        });
        check_ports(&declared).expect("a constant is not fed");
    }

    #[test]
    fn half_precision_is_found_wherever_it_is() {
        let node = |attribute: AttributeProto| NodeProto { attribute: vec![attribute], ..Default::default() };
        let tensor = || TensorProto { data_type: FLOAT16, ..Default::default() };
        let cast = || AttributeProto { name: "to".into(), i: Some(10), ..Default::default() };
        assert!(!uses_half(&model(|_| {})));
        assert!(uses_half(&model(|g| g.input[0] = port("x", 16))));
        assert!(uses_half(&model(|g| g.initializer.push(tensor()))));
        assert!(uses_half(&model(|g| g.node.push(node(cast())))));
        let constant = AttributeProto { t: Some(Box::new(tensor())), ..Default::default() };
        assert!(uses_half(&model(|g| g.node.push(node(constant)))));
        let body = GraphProto { node: vec![node(cast())], ..Default::default() };
        let inside = AttributeProto { g: Some(Bytes::from(body.encode_to_vec())), ..Default::default() };
        assert!(uses_half(&model(|g| g.node.push(node(inside)))));
    }
}
