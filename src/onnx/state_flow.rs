//! Finds states by data flow: an input of the graph that a recurrent node takes as its initial state is
//! paired with the output that the node's final state reaches, whatever their names.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::proto::{self, GraphProto, NodeProto, ValueInfoProto};
use super::streamable::is_recurrent;

/// Operators that rearrange a state without changing its values.
const REARRANGING: [&str; 9] =
    ["Identity", "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Slice", "Split", "Gather", "Cast"];

/// Maximum number of recurrent nodes that are traced, each of which may lead through the whole graph.
const MAX_CELLS: usize = 1000;

/// Positions of a recurrent node's initial state (input) and final state (output): h, then the c of LSTM.
const STATE_PORTS: [(usize, usize); 2] = [(5, 1), (6, 2)];

/// Pairs of state inputs and outputs. An input whose state reaches several outputs, or an output reached
/// from several inputs, is not paired. `compatible` is whether type and shape of an input and an output match.
pub(super) fn pairs_by_flow<'a>(
    graph: &'a GraphProto,
    inputs: &[&'a str],
    compatible: impl Fn(&str, &str) -> bool,
) -> Vec<(&'a str, &'a str)> {
    let flow = Flow::new(graph);
    let mut edges: BTreeSet<(&str, &str)> = BTreeSet::new();
    for node in graph.node.iter().filter(|n| is_recurrent(n)).take(MAX_CELLS) {
        for (from, to) in STATE_PORTS {
            let (Some(initial), Some(last)) = (node.input.get(from), node.output.get(to)) else { continue };
            let Some(input) = flow.source(initial).filter(|i| inputs.contains(i)) else { continue };
            let outputs = flow.outputs(last);
            edges.extend(outputs.into_iter().filter(|o| compatible(input, o)).map(|output| (input, output)));
        }
    }
    let (mut by_input, mut by_output) = (HashMap::<&str, usize>::new(), HashMap::<&str, usize>::new());
    for (input, output) in &edges {
        *by_input.entry(input).or_default() += 1;
        *by_output.entry(output).or_default() += 1;
    }
    let alone = |edge: &(&str, &str)| by_input.get(edge.0) == Some(&1) && by_output.get(edge.1) == Some(&1);
    let mut pairs: Vec<(&str, &str)> = edges.into_iter().filter(alone).collect();
    pairs.sort_by_key(|(input, _)| inputs.iter().position(|i| i == input));
    pairs
}

/// The input of features: the float input from which X of the first recurrent node is computed, whatever
/// the order of the inputs. `None` without such a node.
pub(super) fn features_input<'a>(graph: &'a GraphProto, inputs: &[&'a ValueInfoProto]) -> Option<&'a str> {
    let x = graph.node.iter().find(|n| is_recurrent(n))?.input.first()?;
    let mut producers: HashMap<&str, &NodeProto> = HashMap::new();
    for node in &graph.node {
        producers.extend(node.output.iter().map(|o| (o.as_str(), node)));
    }
    let (mut seen, mut next) = (HashSet::from([x.as_str()]), vec![x.as_str()]);
    while let Some(name) = next.pop() {
        let Some(node) = producers.get(name) else { continue };
        // The other inputs of rearranging operators are shapes and positions.
        let data = if REARRANGING.contains(&node.op_type.as_str()) { 1 } else { node.input.len() };
        let sources = node.input.iter().take(if node.op_type == "Shape" { 0 } else { data });
        next.extend(sources.map(String::as_str).filter(|source| !source.is_empty() && seen.insert(source)));
    }
    let rank = |input: &&&ValueInfoProto| match input.tensor() {
        Some((proto::FLOAT | proto::FLOAT16 | proto::DOUBLE, dims)) => dims.len(),
        _ => 0,
    };
    let reached = || inputs.iter().filter(|input| seen.contains(input.name.as_str()));
    // Three axes are features, two are samples.
    let found = reached().find(|i| rank(i) == 3).or_else(|| reached().find(|i| rank(i) == 2));
    found.map(|input| input.name.as_str())
}

/// The producer and the consumers of each value.
struct Flow<'a> {
    producers: HashMap<&'a str, &'a NodeProto>,
    consumers: HashMap<&'a str, Vec<&'a NodeProto>>,
    outputs: HashSet<&'a str>,
}

impl<'a> Flow<'a> {
    fn new(graph: &'a GraphProto) -> Self {
        let (mut producers, mut consumers) = (HashMap::new(), HashMap::<&str, Vec<&NodeProto>>::new());
        for node in &graph.node {
            producers.extend(node.output.iter().filter(|o| !o.is_empty()).map(|o| (o.as_str(), node)));
            // Only the first input of a rearranging operator is data; all inputs of a concatenation are.
            let data = if node.op_type == "Concat" { node.input.len() } else { 1 };
            let is_followed = node.op_type == "Concat" || REARRANGING.contains(&node.op_type.as_str());
            for input in node.input.iter().take(if is_followed { data } else { 0 }) {
                consumers.entry(input).or_default().push(node);
            }
        }
        Self { producers, consumers, outputs: graph.output.iter().map(|o| o.name.as_str()).collect() }
    }

    /// The value that this one is a rearrangement of, if it is an input.
    fn source(&self, name: &'a str) -> Option<&'a str> {
        let mut name = name;
        // The graph may not have been checked yet and may contain a cycle.
        for _ in 0..=self.producers.len() {
            match self.producers.get(name) {
                None => return Some(name),
                Some(node) if REARRANGING.contains(&node.op_type.as_str()) => name = node.input.first()?,
                Some(_) => return None,
            }
        }
        None
    }

    /// The outputs of the graph that are rearrangements of a value.
    fn outputs(&self, name: &'a str) -> BTreeSet<&'a str> {
        let (mut found, mut seen, mut next) = (BTreeSet::new(), HashSet::from([name]), vec![name]);
        while let Some(name) = next.pop() {
            if self.outputs.contains(name) {
                found.insert(name);
            }
            for output in self.consumers.get(name).into_iter().flatten().flat_map(|node| &node.output) {
                if !output.is_empty() && seen.insert(output) {
                    next.push(output);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        let names = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
        NodeProto { op_type: op.into(), input: names(inputs), output: names(outputs), ..Default::default() }
    }

    fn graph(nodes: Vec<NodeProto>, outputs: &[&str]) -> GraphProto {
        let port = |name: &&str| ValueInfoProto { name: name.to_string(), ..Default::default() };
        GraphProto { node: nodes, output: outputs.iter().map(port).collect(), ..Default::default() }
    }

    #[test]
    fn states_are_traced_through_the_cells() {
        let cell = |i: &str, h: &str, c: &str, ho: &str, co: &str| {
            node("LSTM", &[i, "w", "r", "", "", h, c], &["y", ho, co])
        };
        // The order of the outputs is not that of the inputs.
        let graph = graph(
            vec![
                node("Split", &["a"], &["a0", "a1"]),
                node("Identity", &["b"], &["b_"]),
                node("Slice", &["b_", "x0", "x1"], &["b0"]),
                node("Gather", &["b_", "x2"], &["b1"]),
                cell("x", "a0", "b0", "h0", "c0"),
                cell("y0", "a1", "b1", "h1", "c1"),
                node("Concat", &["c0", "c1"], &["p"]),
                node("Concat", &["h0", "h1"], &["q_"]),
                node("Transpose", &["q_"], &["q"]),
            ],
            &["y", "p", "q"],
        );
        let all = |_: &str, _: &str| true;
        assert_eq!(pairs_by_flow(&graph, &["x", "a", "b"], all), [("a", "q"), ("b", "p")]);
        assert_eq!(pairs_by_flow(&graph, &["x", "b"], all), [("b", "p")]);
        assert!(pairs_by_flow(&graph, &["x", "a", "b"], |_, _| false).is_empty());
    }

    #[test]
    fn one_state_for_two_outputs_is_not_paired() {
        let graph = graph(
            vec![
                node("GRU", &["x", "w", "r", "", "", "a"], &["y", "h"]),
                node("Identity", &["h"], &["p"]),
                node("Identity", &["h"], &["q"]),
                // A cycle.
                node("Identity", &["z1"], &["z0"]),
                node("Identity", &["z0"], &["z1"]),
                node("GRU", &["y", "w", "r", "", "", "z0"], &["y1", "z2"]),
            ],
            &["p", "q"],
        );
        assert!(pairs_by_flow(&graph, &["x", "a"], |_, _| true).is_empty());
        assert_eq!(pairs_by_flow(&graph, &["x", "a"], |_, o| o == "q"), [("a", "q")]);
    }
}
