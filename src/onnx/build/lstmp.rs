//! An LSTM with a recurrent projection in a graph. ONNX's operator has none, so it keeps the cell's output m as its state, and
//! its recurrent weights are the product of those of the projected output and the projection, which runtimes compute once.
//!
//! ```text
//! state [2, N, M] ─► Split ─► c, m
//! R [4M, H], P [H, M] ─► MatMul ─► Unsqueeze ─┐
//! x [U, N, in] ─► LSTM (from m, c) ◄──────────┘
//!                  ├─► m of all steps ─► Squeeze ─► MatMul with Pᵀ ─► output [U, N, H]
//!                  └─► last c, m ─► Concat ─► final state
//! ```

use super::block::{Block, SizesInFile};
use super::body::{Body, Ends, SATURATED};
use super::graph::{int, ints};
use crate::error::Result;
use crate::model::{CellKind, LayerConfig};

pub(super) const LSTMP: Block = Block { add, sizes };

/// Adds the nodes of a layer.
fn add(body: &mut Body<'_>, layer: &LayerConfig, prefix: &str, ends: &Ends<'_>) -> String {
    let name = |part: &str| format!("{prefix}.{part}");
    let weight = name("projection.weight");
    for parameter in [&name("W"), &name("R"), &name("B"), &weight] {
        body.parameter(parameter, false);
    }
    let (x, w) = held_input(body, layer, prefix, ends.x);
    let projected = body.graph.chain("MatMul", &name("projected"), &[&name("R"), &weight], vec![]);
    let (first, second) = (body.index(0), body.index(1));
    let [w, r, b] = [("W", w), ("R", projected), ("B", name("B"))].map(|(part, value)| {
        body.graph.chain("Unsqueeze", &name(&format!("one.{part}")), &[&value, &first], vec![])
    });
    body.graph.i64s(&name("one_each"), &[2], &[1; 2]);
    let [cell, inner, y, last_inner, last_cell] = ["first_cell", "first_inner", "Y", "Y_h", "Y_c"].map(name);
    let parts = [cell.as_str(), &inner];
    let split = [ends.state, &name("one_each")];
    body.graph.node("Split", &name("split_state"), &split, &parts, vec![int("axis", 0)]);
    let inputs = [x.as_str(), &w, &r, &b, "", &inner, &cell];
    let outputs = [y.as_str(), &last_inner, &last_cell];
    let attributes = vec![int("hidden_size", layer.cell_dim as i64)];
    body.graph.node("LSTM", prefix, &inputs, &outputs, attributes);
    body.graph.chain("Concat", ends.last, &[&last_cell, &last_inner], vec![int("axis", 0)]);
    let inner = body.graph.chain("Squeeze", &name("inner"), &[&y, &second], vec![]);
    let transposed = name("projection.weight_transposed");
    body.graph.chain("Transpose", &transposed, &[&weight], vec![ints("perm", &[1, 0])]);
    body.graph.chain("MatMul", &name("output"), &[&inner, &transposed], vec![])
}

/// The inputs and W; where the initial state is held, with a further input that closes the input gate, so that zeros stay
/// zeros.
fn held_input(body: &mut Body<'_>, layer: &LayerConfig, prefix: &str, x: &str) -> (String, String) {
    let name = |part: &str| format!("{prefix}.{part}");
    let Some(hold) = body.hold.clone() else { return (x.to_string(), name("W")) };
    let rows = 4 * layer.cell_dim;
    let column: Vec<f32> = (0..rows).map(|row| if row < layer.cell_dim { -SATURATED } else { 0.0 }).collect();
    body.graph.f32s(&name("hold"), &[rows, 1], &column);
    let last_axis = || vec![int("axis", -1)];
    let w = body.graph.chain("Concat", &name("held.W"), &[&name("W"), &name("hold")], last_axis());
    (body.graph.chain("Concat", &name("held_input"), &[x, &hold], last_axis()), w)
}

/// The configuration of a layer in a file.
fn sizes(file: &SizesInFile<'_>) -> Result<LayerConfig> {
    let hidden = file.axis("projection.weight", 2, 0)?;
    let cell_dim = file.axis("projection.weight", 2, 1)?;
    Ok(LayerConfig { cell_dim, ..LayerConfig::new(CellKind::Lstmp, hidden) })
}
