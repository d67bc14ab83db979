//! Text drawing of a graph: one line for each layer, from the input downward, with the states that it reads
//! and writes at its side.

use std::collections::{HashMap, HashSet};

use super::sizes::layer_name;
use crate::onnx::interface::is_rearranging;
use crate::onnx::proto::{GraphProto, NodeProto};

/// Maximum number of lines; the number of those left out is printed.
const MAX_LINES: usize = 200;

/// Consecutive nodes of one layer.
struct Block {
    name: String,
    operators: Vec<String>,
    from: Vec<String>,
    to: Vec<String>,
}

/// Draws a graph, as lines of text.
pub(super) fn draw(graph: &GraphProto) -> Vec<String> {
    let constants = constants(graph);
    let inputs: Vec<&str> =
        graph.input.iter().map(|i| i.name.as_str()).filter(|n| !constants.contains(n)).collect();
    let outputs: HashSet<&str> = graph.output.iter().map(|o| o.name.as_str()).collect();
    // The graph input that a value is a mere rearrangement of.
    let mut origin: HashMap<&str, &str> = inputs.iter().map(|&i| (i, i)).collect();
    let mut blocks: Vec<Block> = Vec::new();
    for node in &graph.node {
        if node.output.iter().all(|o| constants.contains(o.as_str())) {
            continue;
        }
        let from: Vec<&str> = node.input.iter().filter_map(|i| origin.get(i.as_str()).copied()).collect();
        let is_pass_through = is_rearranging(node) || node.op_type == "Split";
        if let ([source], true) =
            (&from[..], is_pass_through && !node.output.iter().any(|o| outputs.contains(o.as_str())))
        {
            for output in &node.output {
                origin.insert(output, source);
            }
        }
        add(&mut blocks, node, from, &outputs, is_pass_through);
    }
    let mut lines = Vec::new();
    if let Some(first) = inputs.first() {
        lines.push(first.to_string());
    }
    let width = blocks.iter().map(|b| b.name.chars().count()).max().unwrap_or(0).min(40);
    for block in blocks.iter().filter(|b| !b.operators.is_empty()) {
        let from: Vec<&String> =
            block.from.iter().filter(|f| Some(f.as_str()) != inputs.first().copied()).collect();
        let list = |arrow: &str, names: &[&String]| match names {
            [] => String::new(),
            names => {
                let names: Vec<&str> = names.iter().map(|n| n.as_str()).collect();
                format!("  {arrow} {}", names.join(", "))
            }
        };
        let to: Vec<&String> = block.to.iter().collect();
        let (name, operators) = (&block.name, block.operators.join(", "));
        lines.push(format!("  │ {name:width$}  {operators}{}{}", list("◄", &from), list("►", &to)));
    }
    if lines.len() > MAX_LINES {
        let more = lines.len() - MAX_LINES;
        lines.truncate(MAX_LINES);
        lines.push(format!("  ⋮ {more} more"));
    }
    if let Some(last) = graph.output.first() {
        lines.push(last.name.clone());
    }
    lines
}

/// Adds a node to the last block if it belongs to the same layer, else begins a new block.
fn add(
    blocks: &mut Vec<Block>,
    node: &NodeProto,
    from: Vec<&str>,
    outputs: &HashSet<&str>,
    is_pass_through: bool,
) {
    let name = match node.name.as_str() {
        "" => layer_name(node.output.first().map_or("", String::as_str)),
        name => layer_name(name),
    };
    let continues = blocks.last().is_some_and(|b| b.name == name || is_pass_through);
    if !continues {
        blocks.push(Block { name, operators: Vec::new(), from: Vec::new(), to: Vec::new() });
    }
    let Some(block) = blocks.last_mut() else { return };
    let given = node.output.iter().filter(|o| outputs.contains(o.as_str()));
    block.to.extend(given.cloned());
    if is_rearranging(node) || node.op_type == "Split" {
        return;
    }
    block.operators.push(node.op_type.clone());
    for name in from {
        if !block.from.iter().any(|f| f == name) {
            block.from.push(name.into());
        }
    }
}

/// Names of the initializers and of the values computed from them only.
fn constants(graph: &GraphProto) -> HashSet<&str> {
    let mut constants: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    for node in &graph.node {
        if node.input.iter().all(|i| i.is_empty() || constants.contains(i.as_str())) {
            constants.extend(node.output.iter().map(String::as_str));
        }
    }
    constants
}
