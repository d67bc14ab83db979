//! Which outputs of a graph answer which inputs: the states that are carried from call to call.

use serde_json::Value;

use super::describe::{StatePair, dim_text, real_inputs};
use super::proto::{self, DimensionProto, GraphProto, ModelProto, ValueInfoProto};
use crate::error::{Error, Result, Stage};

/// The outputs that only count (`processed_lens`): states that are integers.
pub(super) fn integer_states(model: &ModelProto) -> Vec<String> {
    let Some(graph) = &model.graph else { return Vec::new() };
    let metadata: Vec<(String, String)> =
        model.metadata_props.iter().map(|e| (e.key.clone(), e.value.clone())).collect();
    let states = find_states(graph, &metadata, &[]).map(|found| found.0).unwrap_or_default();
    states.into_iter().filter(|s| s.is_i64).map(|s| s.output).collect()
}

/// The pairs of states: as they are named, else as the metadata list them, else by names that
/// differ in a word such as `next`, `new`, `out`, else by type and shape, in the graph's order.
pub(super) fn find_states(
    graph: &GraphProto,
    metadata: &[(String, String)],
    named: &[(String, String)],
) -> Result<(Vec<StatePair>, &'static str)> {
    let inputs = real_inputs(graph);
    let outputs: Vec<&ValueInfoProto> = graph.output.iter().collect();
    if !named.is_empty() {
        return Ok((named_pairs(named, &inputs, &outputs)?, "as they were named"));
    }
    if let Some((_, text)) = metadata.iter().find(|(key, _)| key == "states") {
        let listed = serde_json::from_str::<Vec<Value>>(text).unwrap_or_default();
        let pairs: Option<Vec<StatePair>> = listed.iter().map(|v| listed_pair(v, &inputs)).collect();
        if let Some(pairs) = pairs {
            let there = |p: &StatePair| graph.output.iter().any(|o| o.name == p.output);
            if pairs.iter().all(there) {
                return Ok((pairs, "in the metadata"));
            }
        }
    }
    let mut pairs: Vec<StatePair> = Vec::new();
    for input in inputs.iter().skip(1) {
        let free = |o: &&&ValueInfoProto| !pairs.iter().any(|p| p.output == o.name);
        let fits = |o: &&&ValueInfoProto| alike(input, o) && core_name(&o.name) == core_name(&input.name);
        let found = outputs.iter().filter(free).find(fits).and_then(|output| pair(input, output));
        pairs.extend(found);
    }
    if !pairs.is_empty() {
        return Ok((pairs, "by their names"));
    }
    let pairs = pairs_by_shape(&inputs, &outputs);
    let found = if pairs.is_empty() { "none found" } else { "by their shapes" };
    Ok((pairs, found))
}

fn named_pairs(
    named: &[(String, String)],
    inputs: &[&ValueInfoProto],
    outputs: &[&ValueInfoProto],
) -> Result<Vec<StatePair>> {
    let find = |values: &[&ValueInfoProto], name: &str, kind: &str| {
        values.iter().copied().find(|v| v.name == name).cloned().ok_or_else(|| {
            let names: Vec<&str> = values.iter().map(|v| v.name.as_str()).collect();
            let problem = format!("the graph has no {kind} `{name}`, but {}", names.join(", "));
            Error::new(Stage::Usage, problem)
        })
    };
    let one = |(input, output): &(String, String)| {
        let (input, output) = (find(inputs, input, "input")?, find(outputs, output, "output")?);
        let unfit = || {
            let (a, b) = (shape_text(&input), shape_text(&output));
            let problem = format!("expected a state of one unknown length at most, found {a} and {b}");
            Error::new(Stage::Model, problem).at(format!("state {}={}", input.name, output.name))
        };
        if !alike(&input, &output) {
            return Err(unfit());
        }
        pair(&input, &output).ok_or_else(unfit)
    };
    named.iter().map(one).collect()
}

fn shape_text(value: &ValueInfoProto) -> String {
    let dims = value.tensor().map(|t| t.1.iter().map(dim_text).collect::<Vec<_>>()).unwrap_or_default();
    format!("[{}]", dims.join(", "))
}

/// A state's name without what tells its input from its output.
fn core_name(name: &str) -> String {
    // `stateN`, as `hn` is h after the last step.
    let name = match name.strip_suffix('N') {
        Some(front) if front.ends_with(|c: char| c.is_ascii_lowercase()) => front,
        _ => name,
    };
    let words = name.split(['_', '.', '/', '-']).filter(|w| {
        !["next", "new", "out", "output", "in", "input", "prev", "previous", "initial", ""].contains(w)
    });
    let joined = words.collect::<Vec<_>>().join(" ").to_lowercase();
    // h0 and hn, as PyTorch's examples have them; hN and h_n.
    match joined.as_str() {
        "h0" | "hn" | "h n" | "h 0" => "h".into(),
        "c0" | "cn" | "c n" | "c 0" => "c".into(),
        _ => joined,
    }
}

/// Every input but the first and those of fewer than two axes (rates, lengths) with the first
/// output, but the very first, that is of its type and shape and still free; all or none.
fn pairs_by_shape(inputs: &[&ValueInfoProto], outputs: &[&ValueInfoProto]) -> Vec<StatePair> {
    let mut pairs: Vec<StatePair> = Vec::new();
    for input in inputs.iter().skip(1).filter(|i| i.tensor().is_some_and(|t| t.1.len() > 1)) {
        let free = |o: &&&ValueInfoProto| !pairs.iter().any(|p| p.output == o.name);
        let found = outputs.iter().skip(1).filter(free).find(|o| alike(input, o));
        match found.and_then(|output| pair(input, output)) {
            Some(pair) => pairs.push(pair),
            None => return Vec::new(),
        }
    }
    pairs
}

fn listed_pair(value: &Value, inputs: &[&ValueInfoProto]) -> Option<StatePair> {
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
    Some(StatePair { input, output, shape: shape?, batch_axis: axis, is_i64 })
}

/// Same type, same rank, and the same lengths where both are numbers.
fn alike(a: &ValueInfoProto, b: &ValueInfoProto) -> bool {
    let (Some(a), Some(b)) = (a.tensor(), b.tensor()) else { return false };
    let fits = |x: &DimensionProto, y: &DimensionProto| match (x.dim_value, y.dim_value) {
        (Some(x), Some(y)) => x == y,
        _ => true,
    };
    a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().zip(b.1).all(|(x, y)| fits(x, y))
}

/// A pair whose one unknown length, or else a length of 1, counts streams.
fn pair(input: &ValueInfoProto, output: &ValueInfoProto) -> Option<StatePair> {
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
    Some(StatePair {
        input: input.name.clone(),
        output: output.name.clone(),
        shape: lengths.into_iter().map(|l| l.unwrap_or(1)).collect(),
        batch_axis,
        is_i64: kind == proto::INT64,
    })
}
