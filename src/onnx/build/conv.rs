//! The convolution module in a graph. The depthwise convolution is a sum of shifted values and not a `Conv`, because that
//! is the same arithmetic for any division of a stream, and faster in the runtimes for short kernels.
//!
//! ```text
//! x [U, N, in] ─► LayerNormalization ─► MatMul, Add ─► Split ─┬──────────► Mul ─► Concat behind state [K-1, N, H]
//!                                                             └─► Sigmoid ──┘       ├─► Slice ─► next state
//! K × (Slice ─► Mul kernel) ─► Add ─► LayerNormalization ─► Mul its Sigmoid ─► MatMul, Add ◄┘
//! ```

use super::block::{Block, SizesInFile};
use super::body::{Body, Ends};
use super::graph::int;
use crate::error::Result;
use crate::model::{CellKind, LayerConfig};

pub(super) const CONV: Block = Block { add, sizes };

/// Adds the nodes of a layer.
fn add(body: &mut Body<'_>, layer: &LayerConfig, prefix: &str, ends: &Ends<'_>) -> String {
    let (h, taps) = (layer.hidden, layer.kernel_size);
    let name = |part: &str| format!("{prefix}.{part}");
    let input = body.layer_norm(&name("norm1"), ends.x);
    let sums = body.linear(&name("pointwise1"), &input);
    body.graph.i64s(&name("widths"), &[2], &[h as i64; 2]);
    let [value, gate_sum] = ["value", "gate_sum"].map(name);
    let halves = [value.as_str(), &gate_sum];
    body.graph.node("Split", &name("split"), &[&sums, &name("widths")], &halves, vec![int("axis", -1)]);
    let gate = body.graph.chain("Sigmoid", &name("gate"), &[&gate_sum], vec![]);
    let gated = body.graph.chain("Mul", &name("gated"), &[&value, &gate], vec![]);
    let history = body.history(prefix, &gated, taps - 1, ends);
    let mut sum = depthwise(body, prefix, &history, taps);
    body.parameter(&name("depthwise.bias"), false);
    sum = body.graph.chain("Add", &name("depthwise.sum"), &[&sum, &name("depthwise.bias")], vec![]);
    let normal = body.layer_norm(&name("norm2"), &sum);
    let sigmoid = body.graph.chain("Sigmoid", &name("sigmoid"), &[&normal], vec![]);
    let swish = body.graph.chain("Mul", &name("swish"), &[&normal, &sigmoid], vec![]);
    body.linear(&name("pointwise2"), &swish)
}

/// Adds the products with the rows of the kernel, and their sum.
fn depthwise(body: &mut Body<'_>, prefix: &str, history: &str, taps: usize) -> String {
    let name = |part: &str| format!("{prefix}.depthwise.{part}");
    body.parameter(&name("kernel"), false);
    body.graph.i64s(&name("rows"), &[taps], &vec![1; taps]);
    let rows: Vec<String> = (0..taps).map(|m| name(&format!("kernel.{m}"))).collect();
    let outputs: Vec<&str> = rows.iter().map(String::as_str).collect();
    let inputs = [name("kernel"), name("rows")];
    let inputs = inputs.each_ref().map(String::as_str);
    body.graph.node("Split", &name("split"), &inputs, &outputs, vec![int("axis", 0)]);
    let mut sum = String::new();
    for (m, row) in rows.iter().enumerate() {
        let behind = m as i64 + 1 - taps as i64;
        let end = if behind == 0 { i64::MAX } else { behind };
        let shifted = body.slice(&name(&format!("steps.{m}")), history, m as i64, end);
        let product = body.graph.chain("Mul", &name(&format!("product.{m}")), &[&shifted, row], vec![]);
        sum = match m {
            0 => product,
            _ => body.graph.chain("Add", &name(&format!("sum.{m}")), &[&sum, &product], vec![]),
        };
    }
    sum
}

/// The configuration of a layer in a file.
fn sizes(file: &SizesInFile<'_>) -> Result<LayerConfig> {
    let kernel = |axis| file.axis("depthwise.kernel", 2, axis);
    let (kernel_size, hidden) = (kernel(0)?, kernel(1)?);
    Ok(LayerConfig { kernel_size, ..LayerConfig::new(CellKind::Conv, hidden) })
}
