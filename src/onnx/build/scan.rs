//! The recurrence of cells that ONNX has no operator for and whose steps are elementwise: a `Scan` over values that are
//! computed for all steps at once.

use super::body::{Body, Ends};
use super::graph::{GraphBuilder, graph, int};
use crate::onnx::proto::AttributeProto;

/// The attributes of a `Scan` with the state `h` and two scanned inputs; `add_next` adds the nodes that compute `next`.
/// The axes of the body's values are not declared, so that it is the same for every width.
pub(super) fn attributes(
    name: &str,
    inputs: [&str; 2],
    add_next: fn(&mut GraphBuilder),
) -> Vec<AttributeProto> {
    let mut step = GraphBuilder::new(name);
    for input in ["h", inputs[0], inputs[1]] {
        step.input_of_any_shape(input);
    }
    add_next(&mut step);
    step.chain("Identity", "output", &["next"], vec![]);
    for output in ["next", "output"] {
        step.output_of_any_shape(output);
    }
    vec![graph("body", step.finish()), int("num_scan_inputs", 2)]
}

/// Adds the `Scan` over the values `a` and `b`, `[U, N, H]` each, from the layer's state, and its final state. Returns the
/// name of its outputs, `[U, N, H]`.
pub(super) fn add(
    body: &mut Body<'_>,
    prefix: &str,
    ends: &Ends<'_>,
    [a, b]: [&str; 2],
    attributes: Vec<AttributeProto>,
) -> String {
    let name = |part: &str| format!("{prefix}.{part}");
    let axis = body.index(0);
    let graph = &mut body.graph;
    let first = graph.chain("Squeeze", &name("first"), &[ends.state, &axis], vec![]);
    let outputs = ["final", "output"].map(name);
    graph.node("Scan", prefix, &[&first, a, b], &outputs.each_ref().map(String::as_str), attributes);
    graph.chain("Unsqueeze", ends.last, &[&name("final"), &axis], vec![]);
    name("output")
}
