//! The minimal gated recurrent unit in a graph. ONNX has no operator for it: its products are a `MatMul` over all steps,
//! and a `Scan` computes the recurrence.
//!
//! ```text
//! x [U, N, in] ─► MatMul W, Add B ─► Split ─► Sigmoid ─► z ─┐
//!                                          └───────────► c ─┴─► Scan from h0: h + z (c - h) ─► output [U, N, H]
//! ```

use super::graph::{GraphBuilder, graph, int, ints};
use super::layers::Body;
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

impl Body<'_> {
    /// Adds cell `i`, a minimal gated unit, over all steps of `x [U, N, in]`. `state` is the name of its initial state
    /// `[1, N, H]`, `last` that of its final state. Returns the name of its outputs `[U, N, H]`.
    pub(super) fn mingru(&mut self, i: usize, x: &str, state: &str, last: &str) -> String {
        let (prefix, h) = (self.cell_prefix(i), self.config.layers[i].hidden as i64);
        let name = |part: &str| format!("{prefix}.{part}");
        let graph = &mut self.graph;
        graph.i64s(&name("widths"), &[2], &[h, h]);
        graph.i64s(&name("layer_axis"), &[1], &[0]);
        graph.chain("Transpose", &name("W_transposed"), &[&name("W")], vec![ints("perm", &[1, 0])]);
        graph.chain("MatMul", &name("product"), &[x, &name("W_transposed")], vec![]);
        graph.chain("Add", &name("sum"), &[&name("product"), &name("B")], vec![]);
        let [update_sum, update, candidate] = ["update_sum", "update", "candidate"].map(name);
        let outputs = [update_sum.as_str(), candidate.as_str()];
        graph.node(
            "Split",
            &name("split"),
            &[&name("sum"), &name("widths")],
            &outputs,
            vec![int("axis", -1)],
        );
        graph.chain("Sigmoid", &update, &[&update_sum], vec![]);
        let first = graph.chain("Squeeze", &name("first"), &[state, &name("layer_axis")], vec![]);
        let output = name("output");
        graph.node(
            "Scan",
            &prefix,
            &[&first, &update, &candidate],
            &[&name("final"), &output],
            scan_attributes(),
        );
        graph.chain("Unsqueeze", last, &[&name("final"), &name("layer_axis")], vec![]);
        output
    }
}
