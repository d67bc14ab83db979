//! The minimal gated recurrent unit in a graph.
//!
//! ```text
//! x [U, N, in] ─► MatMul W, Add B ─► Split ─► Sigmoid ─► z ─┐
//!                                          └───────────► c ─┴─► Scan from the state: h + z (c - h) ─► output [U, N, H]
//! ```

use super::block::{Block, SizesInFile};
use super::body::{Body, Ends};
use super::graph::{int, ints};
use super::scan;
use crate::error::Result;
use crate::model::{CellKind, LayerConfig};

pub(super) const MINGRU: Block = Block { add, sizes };

/// Adds the nodes of a layer.
fn add(body: &mut Body<'_>, layer: &LayerConfig, prefix: &str, ends: &Ends<'_>) -> String {
    let name = |part: &str| format!("{prefix}.{part}");
    body.parameter(&name("W"), false);
    body.parameter(&name("B"), false);
    let graph = &mut body.graph;
    graph.i64s(&name("widths"), &[2], &[layer.hidden as i64; 2]);
    graph.chain("Transpose", &name("W_transposed"), &[&name("W")], vec![ints("perm", &[1, 0])]);
    graph.chain("MatMul", &name("product"), &[ends.x, &name("W_transposed")], vec![]);
    graph.chain("Add", &name("sum"), &[&name("product"), &name("B")], vec![]);
    let parts = ["update_sum", "candidate"].map(name);
    let outputs = parts.each_ref().map(String::as_str);
    graph.node("Split", &name("split"), &[&name("sum"), &name("widths")], &outputs, vec![int("axis", -1)]);
    let update = graph.chain("Sigmoid", &name("update"), &[&parts[0]], vec![]);
    // Zeros that are replaced by zeros are held.
    let candidate = body.unless_held(&name("held"), &parts[1]);
    let attributes = scan::attributes("mingru", ["z", "c"], |step| {
        step.chain("Sub", "difference", &["c", "h"], vec![]);
        step.chain("Mul", "change", &["z", "difference"], vec![]);
        step.chain("Add", "next", &["h", "change"], vec![]);
    });
    scan::add(body, prefix, ends, [&update, &candidate], attributes)
}

/// The configuration of a layer in a file.
fn sizes(file: &SizesInFile<'_>) -> Result<LayerConfig> {
    Ok(LayerConfig::new(CellKind::MinGru, file.axis("W", 2, 0)? / 2))
}
