//! The cells without an operator of their own whose recurrence is elementwise. Their products are a `MatMul` over all
//! steps, and a `Scan` computes the recurrence.
//!
//! ```text
//! mingru: x [U, N, in] ─► MatMul W, Add B ─► Split ─► Sigmoid ─► z ─┐
//!                                                  └───────────► c ─┴─► Scan from h0: h + z (c - h) ─► output [U, N, H]
//!
//! rglru:  x [U, N, in] ─► MatMul W, Add B ─► Split ─► Sigmoid ─► r ─► Mul -8 softplus(Lambda), Exp ─► a ─────────┐
//!                                                  ├─► Sigmoid ─► i ─┐   sqrt(max(1 - a², 10⁻⁶)) ◄─┤             │
//!                                                  └───────────► v ──┴─► Mul ─► Mul ◄──────────────┘             │
//!                                                                                └─► b ─► Scan from h0: a h + b ◄─┘
//! ```

use super::body::{Body, Ends};
use super::graph::{GraphBuilder, graph, int, ints};
use crate::onnx::proto::AttributeProto;

/// The nodes of a cell.
#[derive(Debug)]
pub(in crate::onnx) struct ScanCell {
    /// The attributes of the `Scan`. The axes of the body's values are not declared, so that it is the same for every
    /// width.
    pub attributes: fn() -> Vec<AttributeProto>,
    /// The names of the gates' sums, in the order of their rows in W.
    sums: &'static [&'static str],
    /// Adds the nodes between these sums and the inputs of the `Scan`, whose names are returned.
    inputs: fn(&mut Body<'_>, &str, &[String]) -> [String; 2],
}

pub(super) static MINGRU: ScanCell =
    ScanCell { attributes: mingru_attributes, sums: &["update_sum", "candidate"], inputs: mingru_inputs };
pub(super) static RGLRU: ScanCell = ScanCell {
    attributes: rglru_attributes,
    sums: &["recurrence_sum", "input_sum", "value"],
    inputs: rglru_inputs,
};

/// The attributes of a `Scan` with the state `h` and two scanned inputs; `add_next` adds the nodes that compute `next`.
fn attributes(name: &str, inputs: [&str; 2], add_next: fn(&mut GraphBuilder)) -> Vec<AttributeProto> {
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

fn mingru_attributes() -> Vec<AttributeProto> {
    attributes("mingru", ["z", "c"], |step| {
        step.chain("Sub", "difference", &["c", "h"], vec![]);
        step.chain("Mul", "change", &["z", "difference"], vec![]);
        step.chain("Add", "next", &["h", "change"], vec![]);
    })
}

fn rglru_attributes() -> Vec<AttributeProto> {
    attributes("rglru", ["a", "b"], |step| {
        step.chain("Mul", "kept", &["a", "h"], vec![]);
        step.chain("Add", "next", &["kept", "b"], vec![]);
    })
}

fn mingru_inputs(body: &mut Body<'_>, prefix: &str, sums: &[String]) -> [String; 2] {
    [body.graph.chain("Sigmoid", &format!("{prefix}.update"), &[&sums[0]], vec![]), sums[1].clone()]
}

fn rglru_inputs(body: &mut Body<'_>, prefix: &str, sums: &[String]) -> [String; 2] {
    let name = |part: &str| format!("{prefix}.{part}");
    let graph = &mut body.graph;
    for (constant, value) in [("sharpness", -8.0), ("unit", 1.0), ("least_square", 1e-6)] {
        graph.scalar(&name(constant), value);
    }
    graph.chain("Softplus", &name("softplus"), &[&name("Lambda")], vec![]);
    graph.chain("Mul", &name("rate"), &[&name("softplus"), &name("sharpness")], vec![]);
    // 1 / (1 + exp(-x)): engines compute `Sigmoid` to an absolute error, which the root below magnifies where the gate closes.
    graph.chain("Neg", &name("recurrence_negative"), &[&sums[0]], vec![]);
    graph.chain("Exp", &name("recurrence_exp"), &[&name("recurrence_negative")], vec![]);
    graph.chain("Add", &name("recurrence_denominator"), &[&name("recurrence_exp"), &name("unit")], vec![]);
    graph.chain("Reciprocal", &name("recurrence"), &[&name("recurrence_denominator")], vec![]);
    graph.chain("Mul", &name("log_decay"), &[&name("recurrence"), &name("rate")], vec![]);
    let decay = graph.chain("Exp", &name("decay"), &[&name("log_decay")], vec![]);
    // 1 - a² = 2 t / (1 + t) with t = tanh(-log a): the difference would lose its digits where a is near 1.
    graph.chain("Neg", &name("decay_rate"), &[&name("log_decay")], vec![]);
    graph.chain("Tanh", &name("decay_tanh"), &[&name("decay_rate")], vec![]);
    graph.chain("Add", &name("decay_tanh_twice"), &[&name("decay_tanh"), &name("decay_tanh")], vec![]);
    graph.chain("Add", &name("decay_tanh_more"), &[&name("decay_tanh"), &name("unit")], vec![]);
    graph.chain("Div", &name("rest"), &[&name("decay_tanh_twice"), &name("decay_tanh_more")], vec![]);
    graph.chain("Max", &name("rest_limited"), &[&name("rest"), &name("least_square")], vec![]);
    graph.chain("Sqrt", &name("multiplier"), &[&name("rest_limited")], vec![]);
    graph.chain("Sigmoid", &name("input_gate"), &[&sums[1]], vec![]);
    graph.chain("Mul", &name("gated"), &[&name("input_gate"), &sums[2]], vec![]);
    [decay, graph.chain("Mul", &name("added"), &[&name("multiplier"), &name("gated")], vec![])]
}

impl ScanCell {
    /// Adds the nodes of a cell of width `hidden` whose parameters begin with `prefix`. Returns the name of its outputs
    /// `[U, N, H]`.
    pub(super) fn add(&self, body: &mut Body<'_>, prefix: &str, hidden: usize, ends: &Ends<'_>) -> String {
        let gates = self.sums.len();
        let name = |part: &str| format!("{prefix}.{part}");
        let graph = &mut body.graph;
        graph.i64s(&name("widths"), &[gates], &vec![hidden as i64; gates]);
        graph.i64s(&name("layer_axis"), &[1], &[0]);
        graph.chain("Transpose", &name("W_transposed"), &[&name("W")], vec![ints("perm", &[1, 0])]);
        graph.chain("MatMul", &name("product"), &[ends.x, &name("W_transposed")], vec![]);
        graph.chain("Add", &name("sum"), &[&name("product"), &name("B")], vec![]);
        let sums: Vec<String> = self.sums.iter().map(|sum| name(sum)).collect();
        let parts: Vec<&str> = sums.iter().map(String::as_str).collect();
        graph.node("Split", &name("split"), &[&name("sum"), &name("widths")], &parts, vec![int("axis", -1)]);
        let [a, b] = (self.inputs)(body, prefix, &sums);
        let graph = &mut body.graph;
        let first = graph.chain("Squeeze", &name("first"), &[ends.state, &name("layer_axis")], vec![]);
        let output = name("output");
        let outputs = [name("final"), output.clone()];
        let outputs = outputs.each_ref().map(String::as_str);
        graph.node("Scan", prefix, &[&first, &a, &b], &outputs, (self.attributes)());
        graph.chain("Unsqueeze", ends.last, &[&name("final"), &name("layer_axis")], vec![]);
        output
    }
}
