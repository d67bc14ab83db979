//! The real-gated linear recurrent unit in a graph. The gates' matrices are block-diagonal: a batch of products, one for each
//! head.
//!
//! ```text
//! x [U, N, in] ─► MatMul, Add ─► v ─► Reshape, Transpose ─► [n, U, N, H/n] ─► MatMul, Add ─► Split
//!   r ─► Transpose, Reshape ─► logistic ─► Mul -8 softplus(Lambda), Exp ─► a ──────────────┐
//!   i ─► Transpose, Reshape ─► Sigmoid ─┐   sqrt(max(1 - a², 10⁻⁶)) ◄──────┤               │
//!   v ──────────────────────────────────┴─► Mul ─► Mul ◄───────────────────┘               │
//!                                                   └─► b ─► Scan from the state: a h + b ◄─┘
//! ```

use super::block::{Block, SizesInFile};
use super::body::{Body, Ends};
use super::graph::{int, ints};
use super::scan;
use crate::error::Result;
use crate::model::{CellKind, LayerConfig};
use crate::onnx::proto::AttributeProto;

pub(super) const RGLRU: Block = Block { add, sizes };

/// Adds the nodes of a layer.
fn add(body: &mut Body<'_>, layer: &LayerConfig, prefix: &str, ends: &Ends<'_>) -> String {
    let name = |part: &str| format!("{prefix}.{part}");
    let value = body.linear(&name("linear"), ends.x);
    let [recurrence, input] = gate_sums(body, layer, prefix, &value);
    // Nothing is added to a state that is held, and zeros stay zeros.
    let value = body.unless_held(&name("held"), &value);
    let decay = decay(body, prefix, &recurrence);
    let multiplier = multiplier(body, prefix);
    let graph = &mut body.graph;
    graph.chain("Sigmoid", &name("input_gate"), &[&input], vec![]);
    graph.chain("Mul", &name("gated"), &[&name("input_gate"), &value], vec![]);
    let added = graph.chain("Mul", &name("added"), &[&multiplier, &name("gated")], vec![]);
    scan::add(body, prefix, ends, [&decay, &added], attributes())
}

/// Adds the block-diagonal products of the gates r and i. Returns the names of their arguments, `[U, N, H]`.
fn gate_sums(body: &mut Body<'_>, layer: &LayerConfig, prefix: &str, value: &str) -> [String; 2] {
    let name = |part: &str| format!("{prefix}.{part}");
    let (heads, width) = (layer.num_heads as i64, (layer.hidden / layer.num_heads) as i64);
    body.parameter(&name("gates.weight"), false);
    body.parameter(&name("gates.bias"), false);
    let one = body.index(1);
    let graph = &mut body.graph;
    graph.i64s(&name("heads_shape"), &[4], &[0, 0, heads, width]);
    graph.i64s(&name("joined_shape"), &[3], &[0, 0, heads * width]);
    graph.i64s(&name("bias_shape"), &[4], &[heads, 1, 1, 2 * width]);
    graph.i64s(&name("widths"), &[2], &[width; 2]);
    graph.chain("Reshape", &name("divided"), &[value, &name("heads_shape")], vec![]);
    graph.chain("Transpose", &name("by_head"), &[&name("divided")], vec![ints("perm", &[2, 0, 1, 3])]);
    let perm = vec![ints("perm", &[0, 2, 1])];
    graph.chain("Transpose", &name("gates.transposed"), &[&name("gates.weight")], perm);
    graph.chain("Unsqueeze", &name("gates.matrices"), &[&name("gates.transposed"), &one], vec![]);
    graph.chain("MatMul", &name("gates.product"), &[&name("by_head"), &name("gates.matrices")], vec![]);
    graph.chain("Reshape", &name("gates.biases"), &[&name("gates.bias"), &name("bias_shape")], vec![]);
    graph.chain("Add", &name("gates.sum"), &[&name("gates.product"), &name("gates.biases")], vec![]);
    let parts = ["recurrence_by_head", "input_by_head"].map(name);
    let outputs = parts.each_ref().map(String::as_str);
    let inputs = [name("gates.sum"), name("widths")];
    let inputs = inputs.each_ref().map(String::as_str);
    graph.node("Split", &name("split"), &inputs, &outputs, vec![int("axis", -1)]);
    ["recurrence", "input"].map(|gate| {
        let [by_head, moved, sum] = ["by_head", "moved", "sum"].map(|part| name(&format!("{gate}_{part}")));
        graph.chain("Transpose", &moved, &[&by_head], vec![ints("perm", &[1, 2, 0, 3])]);
        graph.chain("Reshape", &sum, &[&moved, &name("joined_shape")], vec![])
    })
}

/// Adds the nodes from the argument of r to the decay a, whose name is returned.
fn decay(body: &mut Body<'_>, prefix: &str, sum: &str) -> String {
    let name = |part: &str| format!("{prefix}.{part}");
    body.parameter(&name("Lambda"), false);
    let graph = &mut body.graph;
    graph.scalar(&name("sharpness"), -8.0);
    graph.scalar(&name("unit"), 1.0);
    graph.chain("Softplus", &name("softplus"), &[&name("Lambda")], vec![]);
    graph.chain("Mul", &name("rate"), &[&name("softplus"), &name("sharpness")], vec![]);
    // 1 / (1 + exp(-x)): engines compute `Sigmoid` to an absolute error, which the root below magnifies where the gate closes.
    graph.chain("Neg", &name("recurrence_negative"), &[sum], vec![]);
    graph.chain("Exp", &name("recurrence_exp"), &[&name("recurrence_negative")], vec![]);
    graph.chain("Add", &name("recurrence_denominator"), &[&name("recurrence_exp"), &name("unit")], vec![]);
    graph.chain("Reciprocal", &name("recurrence"), &[&name("recurrence_denominator")], vec![]);
    graph.chain("Mul", &name("log_decay"), &[&name("recurrence"), &name("rate")], vec![]);
    graph.chain("Exp", &name("decay"), &[&name("log_decay")], vec![])
}

/// Adds the nodes from the logarithm of the decay to m, whose name is returned.
fn multiplier(body: &mut Body<'_>, prefix: &str) -> String {
    let name = |part: &str| format!("{prefix}.{part}");
    let graph = &mut body.graph;
    graph.scalar(&name("least_square"), 1e-6);
    // 1 - a² = 2 t / (1 + t) with t = tanh(-log a): the difference would lose its digits where a is near 1.
    graph.chain("Neg", &name("decay_rate"), &[&name("log_decay")], vec![]);
    graph.chain("Tanh", &name("decay_tanh"), &[&name("decay_rate")], vec![]);
    graph.chain("Add", &name("decay_tanh_twice"), &[&name("decay_tanh"), &name("decay_tanh")], vec![]);
    graph.chain("Add", &name("decay_tanh_more"), &[&name("decay_tanh"), &name("unit")], vec![]);
    graph.chain("Div", &name("rest"), &[&name("decay_tanh_twice"), &name("decay_tanh_more")], vec![]);
    graph.chain("Max", &name("rest_limited"), &[&name("rest"), &name("least_square")], vec![]);
    graph.chain("Sqrt", &name("multiplier"), &[&name("rest_limited")], vec![])
}

/// The attributes of the `Scan`.
fn attributes() -> Vec<AttributeProto> {
    scan::attributes("rglru", ["a", "b"], |step| {
        step.chain("Mul", "kept", &["a", "h"], vec![]);
        step.chain("Add", "next", &["kept", "b"], vec![]);
    })
}

/// The configuration of a layer in a file.
fn sizes(file: &SizesInFile<'_>) -> Result<LayerConfig> {
    let hidden = file.axis("linear.weight", 2, 0)?;
    let num_heads = file.axis("gates.weight", 3, 0)?;
    Ok(LayerConfig { num_heads, ..LayerConfig::new(CellKind::RgLru, hidden) })
}
