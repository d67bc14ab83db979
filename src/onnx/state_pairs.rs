//! Finds the states of a graph: the pairs of inputs and outputs that are carried from call to call.

use serde_json::Value;

use super::interface::{Interface, StatePort, ports, real_inputs, tensor_text};
use super::proto::{self, DimensionProto, GraphProto, ValueInfoProto};
use super::state_flow;
use crate::error::{Error, Result, Stage};

/// Finds the inputs, outputs and states of a graph.
///
/// # Errors
/// When a named state is not in the graph.
pub(super) fn find_interface(
    graph: &GraphProto,
    metadata: &[(String, String)],
    named: &[(String, String)],
) -> Result<Interface> {
    let found = find_states(graph, metadata, named)?;
    Ok(Interface {
        inputs: ports(&real_inputs(graph)),
        outputs: ports(&graph.output.iter().collect::<Vec<_>>()),
        states_note: guess_note(&found),
        states: found.pairs,
        features_input: found.features,
        states_found: found.method,
    })
}

/// The states of a graph, and how they were found.
struct FoundStates {
    pub pairs: Vec<StatePort>,
    /// The input of features, if the recurrent nodes determine it.
    pub features: Option<String>,
    /// The methods that found states, in words.
    pub method: String,
    /// Inputs that were paired by shape although another one has the same shape.
    pub guessed: Vec<String>,
}

/// Finds the states: first those that the caller named; the others as listed in the metadata, else by names
/// that differ in a word such as `next`, `new`, `out`, else by the cells that read and write them, else by
/// type and shape in the graph's order.
fn find_states(
    graph: &GraphProto,
    metadata: &[(String, String)],
    named: &[(String, String)],
) -> Result<FoundStates> {
    let inputs = real_inputs(graph);
    let outputs: Vec<&ValueInfoProto> = graph.output.iter().collect();
    let features = state_flow::features_input(graph, &inputs);
    let mut search = Search { pairs: named_pairs(named, &inputs, &outputs)?, method: Vec::new(), features };
    if !search.pairs.is_empty() {
        search.method.push("as they were named");
    }
    // The metadata may also state that there are none.
    if let Some(listed) = listed_pairs(metadata, &inputs, graph) {
        if !search.add("in the metadata", listed) && search.method.is_empty() {
            search.method.push("in the metadata");
        }
        return Ok(search.finish(Vec::new()));
    }
    let mut by_names = Vec::new();
    for input in search.free_inputs(&inputs) {
        let used = |o: &ValueInfoProto| by_names.iter().any(|p: &StatePort| p.output == o.name);
        let fits =
            |o: &&&ValueInfoProto| compatible(input, o) && core_name(&o.name) == core_name(&input.name);
        let free = search.free_outputs(&outputs);
        let found = free.iter().filter(|o| !used(o)).find(fits).and_then(|output| pair(input, output));
        by_names.extend(found);
    }
    let has_names = search.add("by their names", by_names);
    // A cell never reads the features as its initial state, so the features need not be excluded here.
    let by_flow = pairs_by_flow(graph, &search.free(&inputs), &search.free_outputs(&outputs));
    search.add("by the cells that read and write them", by_flow);
    // If states were paired by name, unpaired inputs are not states; shapes are used only when no name
    // matched.
    if has_names {
        return Ok(search.finish(Vec::new()));
    }
    let free = search.free_inputs(&inputs);
    let by_shape = pairs_by_shape(&free, &search.free_outputs(&outputs));
    let shape = |name: &str| free.iter().find(|i| i.name == name).map(|i| tensor_text(i));
    let is_doubtful =
        |p: &&StatePort| by_shape.iter().filter(|o| shape(&o.input) == shape(&p.input)).take(2).count() > 1;
    let guessed = by_shape.iter().filter(is_doubtful).map(|p| p.input.clone()).collect();
    search.add("by their shapes", by_shape);
    Ok(search.finish(guessed))
}

/// The note to the user if states were paired by guessing.
fn guess_note(found: &FoundStates) -> Option<String> {
    let (first, second) = (found.guessed.first()?, found.guessed.get(1)?);
    let output =
        |input: &str| found.pairs.iter().find(|p| p.input == input).map_or("", |p| p.output.as_str());
    Some(format!(
        "states of the same shape were paired in the graph's order, which is a guess: {first} with {}, {second} with {}{}; \
         name the pairs as states, INPUT=OUTPUT, if it is wrong",
        output(first),
        output(second),
        if found.guessed.len() > 2 { ", and so on" } else { "" }
    ))
}

/// The states found so far.
struct Search<'a> {
    pairs: Vec<StatePort>,
    method: Vec<&'static str>,
    /// The input of features, if the recurrent nodes determine it.
    features: Option<&'a str>,
}

impl Search<'_> {
    /// Adds pairs whose input and output are both still free. Returns whether there were any.
    fn add(&mut self, method: &'static str, found: Vec<StatePort>) -> bool {
        let before = self.pairs.len();
        for pair in found {
            if !self.pairs.iter().any(|p| p.input == pair.input || p.output == pair.output) {
                self.pairs.push(pair);
            }
        }
        if self.pairs.len() > before {
            self.method.push(method);
        }
        self.pairs.len() > before
    }

    fn free<'a>(&self, inputs: &[&'a ValueInfoProto]) -> Vec<&'a ValueInfoProto> {
        let is_free = |i: &&&ValueInfoProto| !self.pairs.iter().any(|p| p.input == i.name);
        inputs.iter().filter(is_free).copied().collect()
    }

    /// The inputs that may still be states: all except the features, assumed to be the first input if the
    /// recurrent nodes do not determine them.
    fn free_inputs<'a>(&self, inputs: &[&'a ValueInfoProto]) -> Vec<&'a ValueInfoProto> {
        let mut free = self.free(inputs);
        let features = self.features.and_then(|name| free.iter().position(|i| i.name == name));
        if !free.is_empty() {
            free.remove(features.unwrap_or(0));
        }
        free
    }

    fn free_outputs<'a>(&self, outputs: &[&'a ValueInfoProto]) -> Vec<&'a ValueInfoProto> {
        let is_free = |o: &&&ValueInfoProto| !self.pairs.iter().any(|p| p.output == o.name);
        outputs.iter().filter(is_free).copied().collect()
    }

    fn finish(self, guessed: Vec<String>) -> FoundStates {
        let method = match self.method.is_empty() {
            true => "none found".into(),
            false => self.method.join(", the rest "),
        };
        let features = self.features.map(str::to_string);
        FoundStates { pairs: self.pairs, features, method, guessed }
    }
}

/// The states listed in the metadata; `None` unless all of them are in the graph.
fn listed_pairs(
    metadata: &[(String, String)],
    inputs: &[&ValueInfoProto],
    graph: &GraphProto,
) -> Option<Vec<StatePort>> {
    let (_, text) = metadata.iter().find(|(key, _)| key == "states")?;
    let listed = serde_json::from_str::<Vec<Value>>(text).ok()?;
    let pairs: Vec<StatePort> = listed.iter().map(|v| listed_pair(v, inputs)).collect::<Option<_>>()?;
    let there = |p: &StatePort| graph.output.iter().any(|o| o.name == p.output);
    pairs.iter().all(there).then_some(pairs)
}

fn pairs_by_flow(
    graph: &GraphProto,
    inputs: &[&ValueInfoProto],
    outputs: &[&ValueInfoProto],
) -> Vec<StatePort> {
    let port =
        |ports: &[&ValueInfoProto], name: &str| ports.iter().find(|p| p.name == name).map(|p| (*p).clone());
    let ports = |input: &str, output: &str| Some((port(inputs, input)?, port(outputs, output)?));
    let can = |input: &str, output: &str| ports(input, output).is_some_and(|(a, b)| compatible(&a, &b));
    let names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).collect();
    let found = state_flow::pairs_by_flow(graph, &names, can);
    found
        .into_iter()
        .filter_map(|(input, output)| ports(input, output))
        .filter_map(|(a, b)| pair(&a, &b))
        .collect()
}

fn named_pairs(
    named: &[(String, String)],
    inputs: &[&ValueInfoProto],
    outputs: &[&ValueInfoProto],
) -> Result<Vec<StatePort>> {
    let find = |values: &[&ValueInfoProto], name: &str, kind: &str| {
        values.iter().copied().find(|v| v.name == name).cloned().ok_or_else(|| {
            let names: Vec<&str> = values.iter().map(|v| v.name.as_str()).collect();
            let problem = format!("the graph has no {kind} `{name}`; it has {}", names.join(", "));
            Error::new(Stage::Usage, problem)
        })
    };
    for (i, (input, output)) in named.iter().enumerate() {
        for (kind, name, again) in [
            ("input", input, named[..i].iter().any(|pair| pair.0 == *input)),
            ("output", output, named[..i].iter().any(|pair| pair.1 == *output)),
        ] {
            if again {
                let problem = format!("the {kind} `{name}` is named for two states; a state has one of each");
                return Err(Error::new(Stage::Usage, problem).hint("name each pair once").remedy("states"));
            }
        }
    }
    let one = |(input, output): &(String, String)| {
        let (input, output) = (find(inputs, input, "input")?, find(outputs, output, "output")?);
        let unfit = || {
            let (a, b) = (tensor_text(&input), tensor_text(&output));
            let problem = format!("expected a state with at most one unknown length, found {a} and {b}");
            Error::new(Stage::Model, problem).at(format!("state {}={}", input.name, output.name))
        };
        if !compatible(&input, &output) {
            return Err(unfit());
        }
        pair(&input, &output).ok_or_else(unfit)
    };
    named.iter().map(one).collect()
}

/// A state's name without the words that distinguish its input from its output.
fn core_name(name: &str) -> String {
    // `stateN` is the state after the last step, like `hn` for h.
    let name = match name.strip_suffix('N') {
        Some(front) if front.ends_with(|c: char| c.is_ascii_lowercase()) => front,
        _ => name,
    };
    let words = name.split(['_', '.', '/', '-']).filter(|w| {
        !["next", "new", "out", "output", "in", "input", "prev", "previous", "initial", ""].contains(w)
    });
    let joined = words.collect::<Vec<_>>().join(" ").to_lowercase();
    // h0 and hn as in PyTorch's examples; hN and h_n.
    match joined.as_str() {
        "h0" | "hn" | "h n" | "h 0" => "h".into(),
        "c0" | "cn" | "c n" | "c 0" => "c".into(),
        _ => joined,
    }
}

/// Pairs every input with two or more axes (others are rates or lengths) with the first free output of its
/// type and shape, except the very first output, which is the graph's result. Returns all pairs or none.
fn pairs_by_shape(inputs: &[&ValueInfoProto], outputs: &[&ValueInfoProto]) -> Vec<StatePort> {
    let mut pairs: Vec<StatePort> = Vec::new();
    for input in inputs.iter().filter(|i| i.tensor().is_some_and(|t| t.1.len() > 1)) {
        let free = |o: &&&ValueInfoProto| !pairs.iter().any(|p| p.output == o.name);
        let found = outputs.iter().skip(1).filter(free).find(|o| compatible(input, o));
        match found.and_then(|output| pair(input, output)) {
            Some(pair) => pairs.push(pair),
            None => return Vec::new(),
        }
    }
    pairs
}

fn listed_pair(value: &Value, inputs: &[&ValueInfoProto]) -> Option<StatePort> {
    let text = |key: &str| value[key].as_str().map(str::to_string);
    let (input, output) = (text("input")?, text("output")?);
    let declared = inputs.iter().find(|i| i.name == input)?;
    let axis = usize::try_from(value["batch_axis"].as_u64()?).ok()?;
    let shape: Option<Vec<usize>> = value["shape"]
        .as_array()?
        .iter()
        .map(|d| if d == "N" { Some(1) } else { usize::try_from(d.as_u64()?).ok() })
        .collect();
    let is_i64 = declared.tensor().is_some_and(|t| t.0 == proto::INT64);
    Some(StatePort { input, output, shape: shape?, batch_axis: axis, is_i64 })
}

/// Whether type, rank and all known lengths of two tensors are equal.
fn compatible(a: &ValueInfoProto, b: &ValueInfoProto) -> bool {
    let (Some(a), Some(b)) = (a.tensor(), b.tensor()) else { return false };
    let fits = |x: &DimensionProto, y: &DimensionProto| match (x.dim_value, y.dim_value) {
        (Some(x), Some(y)) => x == y,
        _ => true,
    };
    a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().zip(b.1).all(|(x, y)| fits(x, y))
}

/// Makes a pair whose batch axis is its only unknown length, or else an axis of length 1.
fn pair(input: &ValueInfoProto, output: &ValueInfoProto) -> Option<StatePort> {
    let (kind, dims) = input.tensor()?;
    let lengths: Vec<Option<usize>> =
        dims.iter().map(|d| d.dim_value.and_then(|n| usize::try_from(n).ok())).collect();
    let unknown: Vec<usize> = (0..lengths.len()).filter(|&i| lengths[i].is_none()).collect();
    let batch_axis = match unknown[..] {
        [axis] => axis,
        [] if lengths.get(1) == Some(&Some(1)) => 1,
        [] => lengths.iter().position(|l| *l == Some(1)).unwrap_or(0),
        _ => return None,
    };
    Some(StatePort {
        input: input.name.clone(),
        output: output.name.clone(),
        shape: lengths.into_iter().map(|l| l.unwrap_or(1)).collect(),
        batch_axis,
        is_i64: kind == proto::INT64,
    })
}
