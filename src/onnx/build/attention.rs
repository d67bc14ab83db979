//! A layer of the Transformer encoder in a graph, with its keys and values as state. The scores of a call's U queries and
//! L + U keys are computed as a band: a bias of -10000 excludes keys that are later than the query or more than L steps
//! before it.
//!
//! ```text
//! x [U, N, in] ─► LayerNormalization ─► MatMul, Add ─► Split ─┬─► q [N, h, U, d] ─► Mul 1/sqrt(d) ──────┐
//!                     state [L, N, 2H] ─► Concat ◄── k and v ─┘                                         │
//!                                           ├─► Slice ─► next state                                     │
//!                                           └─► Split ─┬─► keys [N, h, d, L+U] ─────────────► MatMul ◄──┘
//!                                                      │            Add bias [h, U, L+U] ─► Softmax ─┐
//!                                                      └─► values [N, h, L+U, d] ─────────► MatMul ◄─┘
//! ─► [U, N, H] ─► MatMul, Add ─► a; Add x ─► LayerNormalization ─► MatMul, Add ─► Relu ─► MatMul, Add ─► Add a
//! ```

use super::block::{Block, SizesInFile};
use super::body::{Body, Ends};
use super::graph::{int, ints};
use crate::error::Result;
use crate::model::{CellKind, LayerConfig, alibi_slopes};
use crate::onnx::proto::FLOAT;

/// Added to the scores of keys that a query does not attend to. It is finite, so that no difference is NaN.
const EXCLUDED: f32 = -1e4;

pub(super) const ATTENTION: Block = Block { add, sizes };

/// Adds the nodes of a layer.
fn add(body: &mut Body<'_>, layer: &LayerConfig, prefix: &str, ends: &Ends<'_>) -> String {
    let h = layer.hidden;
    let name = |part: &str| format!("{prefix}.{part}");
    let input = body.layer_norm(&name("norm1"), ends.x);
    let projected = body.linear(&name("in_proj"), &input);
    body.graph.i64s(&name("widths"), &[2], &[h as i64, 2 * h as i64]);
    let [query, pair] = ["query", "key_and_value"].map(name);
    let parts = [query.as_str(), &pair];
    body.graph.node("Split", &name("split"), &[&projected, &name("widths")], &parts, vec![int("axis", -1)]);
    let history = body.history(prefix, &pair, layer.left_context, ends);
    body.graph.i64s(&name("halves"), &[2], &[h as i64; 2]);
    let [keys, values] = ["keys", "values"].map(name);
    let parts = [keys.as_str(), &values];
    let inputs = [history, name("halves")];
    let inputs = inputs.each_ref().map(String::as_str);
    body.graph.node("Split", &name("split_history"), &inputs, &parts, vec![int("axis", -1)]);
    let attend = if body.is_whole { attend_in_blocks } else { attend };
    let mixed = attend(body, layer, prefix, &Attended { query: &query, keys: &keys, values: &values });
    let attended = body.linear(&name("out_proj"), &mixed);
    let sum = match ends.inputs == h {
        true => body.graph.chain("Add", &name("sum"), &[&attended, ends.x], vec![]),
        false => attended.clone(),
    };
    let normal = body.layer_norm(&name("norm2"), &sum);
    let inner = body.linear(&name("linear1"), &normal);
    let inner = body.graph.chain("Relu", &name("relu"), &[&inner], vec![]);
    let outer = body.linear(&name("linear2"), &inner);
    body.graph.chain("Add", &name("output"), &[&outer, &attended], vec![])
}

/// The names of the values of an attention.
struct Attended<'a> {
    /// `[U, N, H]`
    query: &'a str,
    /// `[L + U, N, H]` each.
    keys: &'a str,
    values: &'a str,
}

/// Adds nodes that divide the last axis of `x` into heads and then move the axes.
fn by_head(body: &mut Body<'_>, layer: &LayerConfig, x: &str, order: &[i64]) -> String {
    let (heads, width) = (layer.num_heads as i64, (layer.hidden / layer.num_heads) as i64);
    let [divided, moved] = ["divided", "by_head"].map(|end| format!("{x}.{end}"));
    // With the axes of [U, N, H], or of [N, U, H] with U in blocks of L.
    let shape = match order.len() {
        4 => vec![0, 0, heads, width],
        _ => vec![0, -1, layer.left_context as i64, heads, width],
    };
    body.graph.i64s(&format!("{divided}.shape"), &[shape.len()], &shape);
    body.graph.chain("Reshape", &divided, &[x, &format!("{divided}.shape")], vec![]);
    body.graph.chain("Transpose", &moved, &[&divided], vec![ints("perm", order)])
}

/// Adds the attention of all heads over all queries and keys of a call. Returns the name of its result, `[U, N, H]`.
fn attend(body: &mut Body<'_>, layer: &LayerConfig, prefix: &str, of: &Attended<'_>) -> String {
    let name = |part: &str| format!("{prefix}.{part}");
    let steps = steps(body, of.query);
    let bias = band(body, layer, &steps);
    let query = by_head(body, layer, of.query, &[1, 2, 0, 3]);
    let keys = by_head(body, layer, of.keys, &[1, 2, 3, 0]);
    let values = by_head(body, layer, of.values, &[1, 2, 0, 3]);
    let mixed = products(body, layer, prefix, &[&query, &keys, &values, &bias]);
    let order = vec![ints("perm", &[2, 0, 1, 3])];
    let mixed = body.graph.chain("Transpose", &name("mixed.time_first"), &[&mixed], order);
    body.graph.i64s(&name("joined_shape"), &[3], &[0, 0, layer.hidden as i64]);
    body.graph.chain("Reshape", &name("mixed.joined"), &[&mixed, &name("joined_shape")], vec![])
}

/// The same for a graph of whole recordings: each block of L queries attends to the 2L keys of its own block and the
/// one before it, so that time and memory are proportional to the number of steps.
fn attend_in_blocks(body: &mut Body<'_>, layer: &LayerConfig, prefix: &str, of: &Attended<'_>) -> String {
    let (context, last) = (layer.left_context as i64, i64::MAX);
    let name = |part: &str| format!("{prefix}.{part}");
    let common = format!("attention.blocks.{context}");
    let steps = steps(body, of.query);
    let [axis_0, one_block] = [0, context].map(|value| body.index(value));
    let rest = body.index(context - 1);
    let whole = format!("{common}.whole");
    if !body.graph.has_node(&whole) {
        let graph = &mut body.graph;
        graph.chain("Unsqueeze", &format!("{common}.steps"), &[&steps, &axis_0], vec![]);
        graph.chain("Add", &format!("{common}.more"), &[&format!("{common}.steps"), &rest], vec![]);
        graph.chain("Div", &format!("{common}.count"), &[&format!("{common}.more"), &one_block], vec![]);
        graph.chain("Mul", &whole, &[&format!("{common}.count"), &one_block], vec![]);
    }
    // A block of zeros.
    let first = body.slice(&name("first_query"), of.query, 0, 1);
    body.graph.scalar(&name("nothing"), 0.0);
    let zero = body.graph.chain("Mul", &name("zero_step"), &[&first, &name("nothing")], vec![]);
    body.graph.i64s(&name("zero_repeats"), &[3], &[context, 1, 1]);
    let zeros = body.graph.chain("Tile", &name("zero_block"), &[&zero, &name("zero_repeats")], vec![]);
    let filled = |body: &mut Body<'_>, x: &str| {
        let longer = body.graph.chain("Concat", &format!("{x}.longer"), &[x, &zeros], vec![int("axis", 0)]);
        body.graph.chain("Slice", &format!("{x}.filled"), &[&longer, &axis_0, &whole, &axis_0], vec![])
    };
    let blocks = |body: &mut Body<'_>, x: &str, order: &[i64]| {
        let streams_first = format!("{x}.streams_first");
        body.graph.chain("Transpose", &streams_first, &[x], vec![ints("perm", &[1, 0, 2])]);
        by_head(body, layer, &streams_first, order)
    };
    let with_block_before = |body: &mut Body<'_>, x: &str, order: &[i64], axis: i64| {
        let own = body.slice(&format!("{x}.own"), x, context, last);
        let own = filled(body, &own);
        let before = body.slice(&format!("{x}.state"), x, 0, context);
        let before = body.graph.chain("Concat", &format!("{x}.all"), &[&before, &own], vec![int("axis", 0)]);
        let before = body.slice(&format!("{x}.before"), &before, 0, -context);
        let parts = [blocks(body, &before, order), blocks(body, &own, order)];
        let parts = parts.each_ref().map(String::as_str);
        body.graph.chain("Concat", &format!("{x}.pairs"), &parts, vec![int("axis", axis)])
    };
    let query = filled(body, of.query);
    let query = blocks(body, &query, &[0, 1, 3, 2, 4]);
    let keys = with_block_before(body, of.keys, &[0, 1, 3, 4, 2], 4);
    let values = with_block_before(body, of.values, &[0, 1, 3, 2, 4], 3);
    let count = format!("{common}.queries");
    if !body.graph.has_tensor(&count) {
        body.graph.i64s(&count, &[], &[context]);
    }
    let bias = band(body, layer, &count);
    let mixed = products(body, layer, prefix, &[&query, &keys, &values, &bias]);
    let graph = &mut body.graph;
    let order = vec![ints("perm", &[0, 1, 3, 2, 4])];
    let mixed = graph.chain("Transpose", &name("mixed.by_step"), &[&mixed], order);
    graph.i64s(&name("joined_shape"), &[3], &[0, -1, layer.hidden as i64]);
    let joined = graph.chain("Reshape", &name("mixed.joined"), &[&mixed, &name("joined_shape")], vec![]);
    let order = vec![ints("perm", &[1, 0, 2])];
    let joined = graph.chain("Transpose", &name("mixed.time_first"), &[&joined], order);
    let end = format!("{common}.steps");
    graph.chain("Slice", &name("mixed.steps"), &[&joined, &axis_0, &end, &axis_0], vec![])
}

/// Adds softmax(query keys / sqrt(d) + bias) values, for the names of these four.
fn products(body: &mut Body<'_>, layer: &LayerConfig, prefix: &str, of: &[&str; 4]) -> String {
    let [query, keys, values, bias] = *of;
    let (heads, width) = (layer.num_heads, layer.hidden / layer.num_heads);
    let name = |part: &str| format!("{prefix}.{part}");
    let graph = &mut body.graph;
    // One for each head, so that a file shows the number of heads.
    graph.f32s(&name("scale"), &[heads, 1, 1], &vec![1.0 / (width as f32).sqrt(); heads]);
    let query = graph.chain("Mul", &name("scaled_query"), &[query, &name("scale")], vec![]);
    let products = graph.chain("MatMul", &name("products"), &[&query, keys], vec![]);
    let scores = graph.chain("Add", &name("scores"), &[&products, bias], vec![]);
    let weights = graph.chain("Softmax", &name("weights"), &[&scores], vec![int("axis", -1)]);
    graph.chain("MatMul", &name("mixed"), &[&weights, values], vec![])
}

/// Adds U, the number of steps of `x [U, N, …]`, once a graph.
fn steps(body: &mut Body<'_>, x: &str) -> String {
    let steps = "attention.steps";
    if !body.graph.has_node(steps) {
        body.graph.i64s("attention.time_axis", &[], &[0]);
        body.graph.chain("Shape", "attention.shape", &[x], vec![]);
        body.graph.chain("Gather", steps, &["attention.shape", "attention.time_axis"], vec![int("axis", 0)]);
    }
    steps.into()
}

/// Adds the bias of each head for a number of queries (the name of a scalar) and L more keys, `[h, queries, L +
/// queries]`, once for all layers with the same sizes. Positions are counted within a call and are exact in float32.
fn band(body: &mut Body<'_>, layer: &LayerConfig, queries: &str) -> String {
    let (context, heads) = (layer.left_context, layer.num_heads);
    let name = |part: &str| format!("attention.{context}.{heads}.{part}");
    if body.graph.has_node(&name("bias")) {
        return name("bias");
    }
    let [axis_0, axis_1] = [0, 1].map(|axis| body.index(axis));
    let graph = &mut body.graph;
    let slopes: Vec<f32> = alibi_slopes(heads).into_iter().map(|slope| -slope as f32).collect();
    graph.f32s(&name("slopes"), &[heads, 1, 1], &slopes);
    graph.scalar(&name("context"), context as f32);
    graph.scalar(&name("nearest"), 0.0);
    graph.scalar(&name("excluded"), EXCLUDED);
    for (constant, value) in [("zero", 0), ("one", 1), ("keys_before", context as i64)] {
        graph.i64s(&name(constant), &[], &[value]);
    }
    let keys = graph.chain("Add", &name("keys"), &[queries, &name("keys_before")], vec![]);
    let mut positions = |part: &str, count: &str, axis: &str| {
        let [range, float, positions] =
            ["range", "float", "positions"].map(|end| name(&format!("{part}.{end}")));
        graph.chain("Range", &range, &[&name("zero"), count, &name("one")], vec![]);
        graph.chain("Cast", &float, &[&range], vec![int("to", FLOAT.into())]);
        graph.chain("Unsqueeze", &positions, &[&float, axis], vec![])
    };
    let queries = positions("queries", queries, &axis_1);
    let keys = positions("keys", &keys, &axis_0);
    graph.chain("Add", &name("own_keys"), &[&queries, &name("context")], vec![]);
    let distance = graph.chain("Sub", &name("distance"), &[&name("own_keys"), &keys], vec![]);
    graph.chain("GreaterOrEqual", &name("not_later"), &[&distance, &name("nearest")], vec![]);
    graph.chain("LessOrEqual", &name("not_too_early"), &[&distance, &name("context")], vec![]);
    graph.chain("And", &name("inside"), &[&name("not_later"), &name("not_too_early")], vec![]);
    graph.chain("Unsqueeze", &name("inside_of_heads"), &[&name("inside"), &axis_0], vec![]);
    graph.chain("Unsqueeze", &name("distance_of_heads"), &[&distance, &axis_0], vec![]);
    graph.chain("Mul", &name("falling"), &[&name("distance_of_heads"), &name("slopes")], vec![]);
    let choice = [name("inside_of_heads"), name("falling"), name("excluded")];
    graph.chain("Where", &name("bias"), &choice.each_ref().map(String::as_str), vec![])
}

/// The configuration of a layer in a file.
fn sizes(file: &SizesInFile<'_>) -> Result<LayerConfig> {
    let hidden = file.axis("out_proj.weight", 2, 0)?;
    Ok(LayerConfig {
        num_heads: file.axis("scale", 3, 0)?,
        left_context: file.state_rows,
        dim_feedforward: file.axis("linear1.weight", 2, 0)?,
        ..LayerConfig::new(CellKind::Attention, hidden)
    })
}
