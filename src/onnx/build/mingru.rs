//! The minimal gated recurrent unit in a graph. ONNX has no operator for it: its products are a `MatMul` over all steps,
//! and a `Scan` computes the recurrence.
//!
//! ```text
//! x [U, N, in] ─► MatMul W, Add B ─► Split ─► Sigmoid ─► z ─┐
//!                                          └───────────► c ─┴─► Scan from h0: h + z (c - h) ─► output [U, N, H]
//! ```

use super::body::Ends;
use super::graph::{GraphBuilder, graph, int, ints};
use crate::onnx::proto::AttributeProto;

/// The attributes of the `Scan`. The axes of the body's values are not declared, so that it is the same for every width.
pub(super) fn scan_attributes() -> Vec<AttributeProto> {
    let mut step = GraphBuilder::new("mingru");
    for input in ["h", "z", "c"] {
        step.input_of_any_shape(input);
    }
    step.chain("Sub", "difference", &["c", "h"], vec![]);
    step.chain("Mul", "change", &["z", "difference"], vec![]);
    step.chain("Add", "next", &["h", "change"], vec![]);
    step.chain("Identity", "output", &["next"], vec![]);
    for output in ["next", "output"] {
        step.output_of_any_shape(output);
    }
    vec![graph("body", step.finish()), int("num_scan_inputs", 2)]
}

/// Adds the nodes of a cell of width `hidden` whose parameters are `prefix.W` and `prefix.B`. Returns the name of its
/// outputs `[U, N, H]`.
pub(super) fn add(graph: &mut GraphBuilder, prefix: &str, hidden: usize, ends: &Ends<'_>) -> String {
    let name = |part: &str| format!("{prefix}.{part}");
    graph.i64s(&name("widths"), &[2], &[hidden as i64; 2]);
    graph.i64s(&name("layer_axis"), &[1], &[0]);
    graph.chain("Transpose", &name("W_transposed"), &[&name("W")], vec![ints("perm", &[1, 0])]);
    graph.chain("MatMul", &name("product"), &[ends.x, &name("W_transposed")], vec![]);
    graph.chain("Add", &name("sum"), &[&name("product"), &name("B")], vec![]);
    let [update_sum, update, candidate] = ["update_sum", "update", "candidate"].map(name);
    let gates = [update_sum.as_str(), candidate.as_str()];
    graph.node("Split", &name("split"), &[&name("sum"), &name("widths")], &gates, vec![int("axis", -1)]);
    graph.chain("Sigmoid", &update, &[&update_sum], vec![]);
    let first = graph.chain("Squeeze", &name("first"), &[ends.state, &name("layer_axis")], vec![]);
    let output = name("output");
    let outputs = [name("final"), output.clone()];
    let outputs = outputs.each_ref().map(String::as_str);
    graph.node("Scan", prefix, &[&first, &update, &candidate], &outputs, scan_attributes());
    graph.chain("Unsqueeze", ends.last, &[&name("final"), &name("layer_axis")], vec![]);
    output
}
