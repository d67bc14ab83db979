//! A layer of the factorized time-delay network in a graph. The two steps that a factor depends on, d apart, are slices of
//! the values behind the state, as in `build::conv`.
//!
//! ```text
//! state [d, N, 2b] ─► Split ─► p and b of the steps before
//! x [U, N, in] ─► MatMul ─► Split ─┬─► p ─► Concat behind p before ─► Slice without the last d ─┐
//!                                  └─► q ─► Add ◄────────────────────────────────────────────────┘
//!                                            └─► b ─► Concat behind b before ─► Slice without the last d ─┐
//!                                                └──► Concat ◄────────────────────────────────────────────┘
//!                                                      └─► MatMul, Add ─► Relu ─► output [U, N, H]
//! ```

use super::block::{Block, SizesInFile};
use super::body::{Body, Ends};
use super::graph::int;
use crate::error::Result;
use crate::model::{CellKind, LayerConfig};

pub(super) const TDNNF: Block = Block { add, sizes };

/// Adds the nodes of a layer.
fn add(body: &mut Body<'_>, layer: &LayerConfig, prefix: &str, ends: &Ends<'_>) -> String {
    let (b, apart) = (layer.bottleneck_dim as i64, layer.time_stride);
    let name = |part: &str| format!("{prefix}.{part}");
    let last_axis = || vec![int("axis", -1)];
    body.graph.i64s(&name("widths"), &[2], &[b; 2]);
    let [first_before, before] = ["first_before", "before"].map(name);
    let parts = [first_before.as_str(), &before];
    body.graph.node("Split", &name("split_state"), &[ends.state, &name("widths")], &parts, last_axis());
    let products = body.product(&name("linear"), ends.x);
    let products = body.unless_held(&name("held"), &products);
    let [first, second] = ["first", "second"].map(name);
    let parts = [first.as_str(), &second];
    body.graph.node("Split", &name("split"), &[&products, &name("widths")], &parts, last_axis());
    let [all_first, shifted] = ["first_history", "first_shifted"].map(name);
    body.graph.chain("Concat", &all_first, &[&first_before, &first], vec![int("axis", 0)]);
    body.slice(&shifted, &all_first, 0, -(apart as i64));
    let sum = body.graph.chain("Add", &name("bottleneck"), &[&second, &shifted], vec![]);
    let [all, shifted, spliced] = ["history", "shifted", "spliced"].map(name);
    body.graph.node("Concat", prefix, &[&before, &sum], &[&all], vec![int("axis", 0)]);
    body.slice(&shifted, &all, 0, -(apart as i64));
    body.graph.chain("Concat", &spliced, &[&shifted, &sum], last_axis());
    let affine = body.linear(&name("affine"), &spliced);
    let lasts = [("first_last", &all_first), ("last", &all)]
        .map(|(part, history)| body.slice(&name(part), history, -(apart as i64), i64::MAX));
    body.graph.chain("Concat", ends.last, &lasts.each_ref().map(String::as_str), last_axis());
    body.graph.chain("Relu", &name("output"), &[&affine], vec![])
}

/// The configuration of a layer in a file.
fn sizes(file: &SizesInFile<'_>) -> Result<LayerConfig> {
    let hidden = file.axis("affine.weight", 2, 0)?;
    Ok(LayerConfig {
        bottleneck_dim: file.axis("linear.weight", 2, 0)? / 2,
        time_stride: file.state_rows,
        ..LayerConfig::new(CellKind::Tdnnf, hidden)
    })
}
