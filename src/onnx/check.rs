//! Structural checks of an ONNX file before a runtime loads it: topological order of the nodes (so no
//! cycles), tensors whose data match their shapes, no external data. The bodies of `If`, `Loop` and `Scan`
//! are checked as well.

use std::collections::HashSet;
use std::path::{Component, Path};

use super::proto::{self, AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use crate::error::{Error, Result, Stage};

/// Maximum nesting of subgraphs.
const MAX_DEPTH: usize = 8;

/// Maximum number of elements of an input or output by its declared shape.
const MAX_ELEMENTS: i64 = 1 << 31;

/// Checks a file's bytes.
///
/// # Errors
/// As [`check`], and when the bytes are not an ONNX file.
pub fn check_bytes(bytes: &[u8]) -> Result<()> {
    check(&proto::decode(bytes)?.graph.unwrap_or_default())
}

/// Checks a graph.
///
/// # Errors
/// Names a node that uses a value which no earlier node computes, a value that is computed twice, a tensor
/// whose shape is invalid, does not match its data or whose data are external, and an input or output with
/// a negative or huge shape.
pub fn check(graph: &GraphProto) -> Result<()> {
    for value in graph.input.iter().chain(&graph.output) {
        check_port(value)?;
    }
    check_graph(graph, &HashSet::new(), 0)
}

fn check_port(value: &ValueInfoProto) -> Result<()> {
    let Some((_, dims)) = value.tensor() else { return Ok(()) };
    let mut elements = 1i64;
    for dim in dims {
        let length = dim.dim_value.unwrap_or(1);
        // Some exporters write -1 for an unknown length.
        elements = match length {
            -1 => Some(elements),
            n if n < -1 => None,
            n => elements.checked_mul(n.max(1)).filter(|n| *n <= MAX_ELEMENTS),
        }
        .ok_or_else(|| {
            let lengths: Vec<i64> = dims.iter().map(|d| d.dim_value.unwrap_or(-1)).collect();
            Error::new(
                Stage::Model,
                format!(
                    "expected lengths of at least 0 and at most {MAX_ELEMENTS} elements, found {lengths:?}"
                ),
            )
            .at(format!("value {}", value.name))
        })?;
    }
    Ok(())
}

fn check_graph(graph: &GraphProto, outer: &HashSet<&str>, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::new(Stage::Model, format!("expected subgraphs nested at most {MAX_DEPTH} deep")));
    }
    let mut known = outer.clone();
    let declared = graph.input.iter().map(|i| i.name.as_str());
    known.extend(declared.chain(graph.initializer.iter().map(|t| t.name.as_str())));
    for tensor in &graph.initializer {
        check_tensor(tensor)?;
    }
    for (i, node) in graph.node.iter().enumerate() {
        check_node(node, i, &known, depth)?;
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            if !known.insert(output.as_str()) && !outer.contains(output.as_str()) {
                return Err(Error::new(Stage::Model, format!("the value `{output}` is computed twice"))
                    .at(place(node, i)));
            }
        }
    }
    match graph.output.iter().find(|o| !known.contains(o.name.as_str())) {
        Some(output) => Err(Error::new(Stage::Model, "expected a node that computes it, found none")
            .at(format!("output {}", output.name))),
        None => Ok(()),
    }
}

fn place(node: &NodeProto, number: usize) -> String {
    match node.name.as_str() {
        "" => format!("node {number} ({})", node.op_type),
        name => format!("node {name}"),
    }
}

fn check_node(node: &NodeProto, number: usize, known: &HashSet<&str>, depth: usize) -> Result<()> {
    if let Some(input) = node.input.iter().find(|i| !i.is_empty() && !known.contains(i.as_str())) {
        let problem = format!(
            "it uses `{input}`, which no earlier node computes: the graph has a cycle or is not in topological order"
        );
        return Err(Error::new(Stage::Model, problem).at(place(node, number)));
    }
    for attribute in &node.attribute {
        check_attribute(attribute, known, depth).map_err(|e| e.at(place(node, number)))?;
    }
    Ok(())
}

fn check_attribute(attribute: &AttributeProto, known: &HashSet<&str>, depth: usize) -> Result<()> {
    if let Some(tensor) = &attribute.t {
        check_tensor(tensor)?;
    }
    for body in attribute.g.iter().chain(&attribute.graphs) {
        check_graph(&proto::decode_graph(body)?, known, depth + 1)?;
    }
    Ok(())
}

fn check_tensor(tensor: &TensorProto) -> Result<()> {
    let error =
        |problem: String| Err(Error::new(Stage::Model, problem).at(format!("tensor {}", tensor.name)));
    if tensor.data_location != 0 || !tensor.external_data.is_empty() {
        let location = tensor.external_data.iter().find(|e| e.key == "location");
        let location = location.map_or("", |e| e.value.as_str());
        let inside = Path::new(location).components().all(|c| matches!(c, Component::Normal(_)));
        return error(if inside {
            format!("its data are in another file, {location:?}; expected a model in one file")
        } else {
            format!("its data are outside the model's folder, in {location:?}")
        });
    }
    let shape = tensor.shape()?;
    let elements: usize = shape.iter().product();
    let (bits, typed) = match tensor.data_type {
        proto::FLOAT => (32, tensor.float_data.len()),
        proto::INT64 => (64, tensor.int64_data.len()),
        11 => (64, tensor.double_data.len()),
        2 | 3 | 9 => (8, tensor.int32_data.len()),
        4 | 5 | 10 | 16 => (16, tensor.int32_data.len()),
        6 => (32, tensor.int32_data.len()),
        // Strings, complex numbers and newer types: left to the runtime.
        _ => return Ok(()),
    };
    let found = match &tensor.raw_data {
        Some(raw) => raw.len() / (bits / 8),
        None => typed,
    };
    if found == elements {
        return Ok(());
    }
    error(format!("expected {elements} values for the shape {shape:?}, found {found}"))
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost::bytes::Bytes;

    use super::*;
    use crate::onnx::proto::{
        DimensionProto, StringStringEntryProto, TensorShapeProto, TensorTypeProto, TypeProto,
    };

    fn node(inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto {
            op_type: "Add".into(),
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: outputs.iter().map(|s| s.to_string()).collect(),
            ..Default::default()
        }
    }

    fn port(name: &str, dims: &[i64]) -> ValueInfoProto {
        let dim = dims.iter().map(|&d| DimensionProto { dim_value: Some(d), dim_param: None }).collect();
        let tensor = TensorTypeProto { elem_type: proto::FLOAT, shape: Some(TensorShapeProto { dim }) };
        let kind = TypeProto { tensor_type: Some(tensor) };
        ValueInfoProto { name: name.into(), r#type: Some(kind), ..Default::default() }
    }

    fn refusal(change: impl FnOnce(&mut GraphProto)) -> String {
        let mut graph = GraphProto {
            input: vec![port("x", &[1, 2])],
            output: vec![port("y", &[1, 2])],
            node: vec![node(&["x", "x"], &["h"]), node(&["h", "x"], &["y"])],
            ..Default::default()
        };
        check(&graph).expect("the graph is good before the change");
        change(&mut graph);
        check(&graph).expect_err("the graph is bad").to_string()
    }

    fn tensor(change: impl FnOnce(&mut TensorProto)) -> TensorProto {
        let mut tensor = TensorProto {
            name: "w".into(),
            dims: vec![2],
            data_type: proto::FLOAT,
            raw_data: Some(Bytes::from(vec![0; 8])),
            ..Default::default()
        };
        change(&mut tensor);
        tensor
    }

    fn outside(location: &str) -> TensorProto {
        tensor(|t| {
            t.data_location = 1;
            t.external_data = vec![StringStringEntryProto { key: "location".into(), value: location.into() }];
        })
    }

    #[test]
    fn cycles_and_wrong_orders_are_refused_with_the_name_of_the_node() {
        assert!(refusal(|g| g.node[0].input[1] = "y".into()).contains("node 0 (Add): it uses `y`"));
        assert!(refusal(|g| g.node.swap(0, 1)).contains("uses `h`"));
        assert!(refusal(|g| g.node[1].output[0] = "h".into()).contains("computed twice"));
        assert!(refusal(|g| g.output[0].name = "z".into()).contains("output z"));
    }

    #[test]
    fn impossible_shapes_are_refused() {
        for dims in [[-2, 1], [1 << 40, 1], [1 << 20, 1 << 20], [i64::MIN, 1]] {
            assert!(refusal(|g| g.input[0] = port("x", &dims)).contains("value x"), "{dims:?}");
        }
        for dims in [vec![-1], vec![1 << 40], vec![1 << 40, 1 << 40], vec![3]] {
            let refused = refusal(|g| g.initializer.push(tensor(|t| t.dims = dims.clone())));
            assert!(refused.contains("tensor w"), "{dims:?}: {refused}");
        }
    }

    #[test]
    fn data_in_other_files_is_refused_also_inside_bodies() {
        for location in ["../w.bin", "/etc/passwd", "a/../../w"] {
            let refused = refusal(|g| g.initializer.push(outside(location)));
            assert!(refused.contains("outside the model's folder"), "{refused}");
        }
        let refused = refusal(|g| g.initializer.push(outside("w.bin")));
        assert!(refused.contains("another file, \"w.bin\""), "{refused}");
        let body = GraphProto { initializer: vec![outside("../w")], ..Default::default() };
        let refused = refusal(|g| {
            let body = Some(Bytes::from(body.encode_to_vec()));
            g.node[0].attribute.push(AttributeProto { g: body, ..Default::default() });
        });
        assert!(refused.contains("outside the model's folder"), "{refused}");
    }

    #[test]
    fn bodies_use_outer_values_and_their_nesting_is_bounded() {
        let mut body = GraphProto { node: vec![node(&["h", "x"], &["z"])], ..Default::default() };
        let inside = |body: &GraphProto| {
            let g = Some(Bytes::from(body.encode_to_vec()));
            AttributeProto { g, ..Default::default() }
        };
        refusal(|g| {
            g.node[0].attribute.push(inside(&body));
        });
        for _ in 0..20 {
            let mut around = node(&[], &["q"]);
            around.attribute.push(inside(&body));
            body = GraphProto { node: vec![around], ..Default::default() };
        }
        let refused = refusal(|g| g.node[1].attribute.push(inside(&body)));
        assert!(refused.contains("deep"), "{refused}");
    }
}
