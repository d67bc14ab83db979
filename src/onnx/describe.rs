//! What a person wants to know of an ONNX file before trusting it, ours or anybody's: inputs,
//! outputs, states, sizes, arithmetic, and which systems would load it.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::import::ImportOptions;
use super::proto::{self, DimensionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use super::states::StateSpec;
use super::targets::SHERPA_METADATA;
use crate::error::{Error, Result, Stage};
use crate::features::FbankOptions;

/// A tensor that goes in or comes out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Port {
    pub name: String,
    /// `float32`, `int64` …
    pub r#type: String,
    /// Lengths, symbols, or `?`.
    pub shape: Vec<String>,
}

/// A state that is carried from call to call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatePair {
    pub input: String,
    pub output: String,
    /// Shape for one stream.
    pub shape: Vec<usize>,
    pub batch_axis: usize,
    pub is_i64: bool,
}

/// The weights of one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerSize {
    pub name: String,
    pub parameters: u64,
    /// As stored.
    pub bytes: u64,
    /// Products of a weight and an activation in one step (for convolutions and what is before
    /// the stacking, in the frames of one step).
    pub multiply_adds: u64,
}

/// Whether a system would load the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    pub system: &'static str,
    pub loads: bool,
    /// Why not, or with what.
    pub reason: String,
}

/// A file described.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    pub producer: String,
    pub ir_version: i64,
    /// Domain (empty for ONNX's own) and version.
    pub opsets: Vec<(String, i64)>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub states: Vec<StatePair>,
    /// How the states were found.
    pub states_found: &'static str,
    /// How many nodes of each operator, by name.
    pub operators: Vec<(String, usize)>,
    pub layers: Vec<LayerSize>,
    pub parameters: u64,
    pub bytes: u64,
    /// Where the metadata say how long a step is.
    pub multiply_adds_per_second: Option<f64>,
    pub metadata: Vec<(String, String)>,
    pub targets: Vec<Verdict>,
    pub drawing: Vec<String>,
}

/// Describes a file's bytes.
///
/// # Errors
/// When they are not an ONNX file.
pub fn describe(bytes: &[u8]) -> Result<Description> {
    describe_with(bytes, &[])
}

/// Describes a file's bytes; `states` are names of state inputs and outputs, where the file does
/// not tell them.
///
/// # Errors
/// When they are not an ONNX file, or the named states are not in it.
pub fn describe_with(bytes: &[u8], states: &[(String, String)]) -> Result<Description> {
    let named = states;
    let model = proto::decode(bytes)?;
    let empty = GraphProto::default();
    let graph = model.graph.as_ref().unwrap_or(&empty);
    let metadata: Vec<(String, String)> =
        model.metadata_props.iter().map(|e| (e.key.clone(), e.value.clone())).collect();
    let inputs = ports(&real_inputs(graph));
    let outputs = ports(&graph.output.iter().collect::<Vec<_>>());
    let (states, states_found) = find_states(graph, &metadata, named)?;
    let layers = layers(graph, frames_per_step(&metadata));
    let per_step = total(layers.iter().map(|l| l.multiply_adds));
    let mut description = Description {
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().into(),
        ir_version: model.ir_version.unwrap_or_default(),
        opsets: model
            .opset_import
            .iter()
            .map(|o| (o.domain.clone(), o.version.unwrap_or_default()))
            .collect(),
        states,
        states_found,
        operators: operators(graph),
        parameters: total(layers.iter().map(|l| l.parameters)),
        bytes: bytes.len() as u64,
        multiply_adds_per_second: steps_per_second(&metadata).map(|s| s * per_step as f64),
        layers,
        inputs,
        outputs,
        metadata,
        targets: Vec::new(),
        drawing: super::drawing::draw(graph),
    };
    description.targets = verdicts(bytes, &model, &description);
    Ok(description)
}

impl Description {
    /// The value of a metadata key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The states as engines take them.
    pub fn state_specs(&self) -> Vec<StateSpec> {
        let spec = |s: &StatePair| StateSpec {
            input: s.input.clone(),
            output: s.output.clone(),
            shape: s.shape.clone(),
            batch_axis: s.batch_axis,
        };
        self.states.iter().map(spec).collect()
    }
}

/// The outputs that only count (`processed_lens`): states that are integers.
pub(super) fn integer_states(model: &ModelProto) -> Vec<String> {
    let Some(graph) = &model.graph else { return Vec::new() };
    let metadata: Vec<(String, String)> =
        model.metadata_props.iter().map(|e| (e.key.clone(), e.value.clone())).collect();
    let states = find_states(graph, &metadata, &[]).map(|found| found.0).unwrap_or_default();
    states.into_iter().filter(|s| s.is_i64).map(|s| s.output).collect()
}

/// The graph's inputs without those that are constants.
fn real_inputs(graph: &GraphProto) -> Vec<&ValueInfoProto> {
    let constants: Vec<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    graph.input.iter().filter(|i| !constants.contains(&i.name.as_str())).collect()
}

fn ports(values: &[&ValueInfoProto]) -> Vec<Port> {
    let port = |value: &&ValueInfoProto| {
        let (kind, dims) = value.tensor().unwrap_or((0, &[]));
        Port { name: value.name.clone(), r#type: type_name(kind), shape: dims.iter().map(dim_text).collect() }
    };
    values.iter().map(port).collect()
}

fn dim_text(dim: &DimensionProto) -> String {
    match (&dim.dim_param, dim.dim_value) {
        (Some(symbol), _) if !symbol.is_empty() => symbol.clone(),
        (_, Some(n)) if n >= 0 => n.to_string(),
        _ => "?".into(),
    }
}

fn type_name(kind: i32) -> String {
    let names = [
        "unknown", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool",
        "float16", "float64", "uint32", "uint64",
    ];
    names.get(kind as usize).map_or_else(|| format!("type {kind}"), |n| n.to_string())
}

/// Bytes of one element as stored; 0 for what has no fixed size.
fn element_bytes(kind: i32) -> u64 {
    match kind {
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        1 | 6 | 12 => 4,
        7 | 11 | 13 => 8,
        _ => 0,
    }
}

fn operators(graph: &GraphProto) -> Vec<(String, usize)> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for node in &graph.node {
        let name = match node.domain.as_str() {
            "" | "ai.onnx" => node.op_type.clone(),
            domain => format!("{domain}.{}", node.op_type),
        };
        match counts.iter_mut().find(|(n, _)| *n == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.sort();
    counts
}

/// The pairs of states: as they are named, else as the metadata list them, else by names that
/// differ in a word such as `next`, `new`, `out`, else by type and shape, in the graph's order.
fn find_states(
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

fn features(metadata: &[(String, String)]) -> Option<FbankOptions> {
    let (_, text) = metadata.iter().find(|(key, _)| key == "features")?;
    serde_json::from_str(text).ok()
}

fn frames_per_step(metadata: &[(String, String)]) -> u64 {
    let entry = metadata.iter().find(|(key, _)| key == "subsampling");
    entry.and_then(|(_, value)| value.parse().ok()).unwrap_or(1)
}

fn steps_per_second(metadata: &[(String, String)]) -> Option<f64> {
    let shift = f64::from(features(metadata)?.frame_shift_ms);
    Some(1000.0 / (shift * frames_per_step(metadata) as f64))
}

/// The layer that a tensor belongs to: its name without the last part, and without the parts
/// that say how it is stored.
pub(super) fn layer_name(name: &str) -> String {
    let mut parts: Vec<&str> = name.split(['.', '/']).filter(|p| !p.is_empty()).collect();
    while parts.len() > 1
        && ["int8", "fp16", "scale", "plain", "float", "unquantised"].contains(parts.last().unwrap_or(&""))
    {
        parts.pop();
    }
    if parts.len() > 1 {
        parts.pop();
    }
    parts.retain(|p| *p != "plain");
    parts.join(".")
}

/// Parameters, bytes and products of the constants, layer by layer in the file's order: initialisers,
/// those of `Constant` nodes, and those in the bodies of other nodes. What a body computes depends on
/// the input, so its products are not counted.
fn layers(graph: &GraphProto, frames: u64) -> Vec<LayerSize> {
    let mut layers = Vec::new();
    add_layers(graph, &weights_in_use(graph, frames), 0, &mut layers);
    layers
}

/// Bodies inside bodies that are looked into.
const MAX_DEPTH: usize = 4;

fn add_layers(graph: &GraphProto, used: &HashMap<&str, u64>, depth: usize, layers: &mut Vec<LayerSize>) {
    for tensor in &graph.initializer {
        add_tensor(&tensor.name, tensor, used, layers);
    }
    for node in &graph.node {
        let name = node.output.first().map_or("", String::as_str);
        for attribute in &node.attribute {
            if let Some(tensor) = attribute.t.as_deref().filter(|_| node.op_type == "Constant") {
                add_tensor(name, tensor, used, layers);
            }
            let bodies = attribute.g.iter().chain(&attribute.graphs).filter(|_| depth < MAX_DEPTH);
            for body in bodies.filter_map(|bytes| proto::decode_graph(bytes).ok()) {
                add_layers(&body, &HashMap::new(), depth + 1, layers);
            }
        }
    }
}

fn add_tensor(name: &str, tensor: &TensorProto, used: &HashMap<&str, u64>, layers: &mut Vec<LayerSize>) {
    let Ok(shape) = tensor.shape() else { return };
    if tensor.data_type == proto::INT64 || shape.is_empty() {
        // Shapes, axes and single numbers are no parameters.
        return;
    }
    let count = shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
    let layer = layer_name(name);
    let at = layers.iter().position(|l| l.name == layer).unwrap_or_else(|| {
        layers.push(LayerSize { name: layer, parameters: 0, bytes: 0, multiply_adds: 0 });
        layers.len() - 1
    });
    let size = &mut layers[at];
    size.parameters = size.parameters.saturating_add(count);
    size.bytes = size.bytes.saturating_add(count.saturating_mul(element_bytes(tensor.data_type)));
    let times = used.get(name).copied().unwrap_or(0);
    size.multiply_adds = size.multiply_adds.saturating_add(count.saturating_mul(times));
}

/// The sum; a file may claim more than numbers hold.
fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// How often in a step each weight is multiplied: once for cells and products behind the
/// stacking, `frames` times for those before it; not at all for constants of other operators.
fn weights_in_use(graph: &GraphProto, frames: u64) -> HashMap<&str, u64> {
    let constants: HashMap<&str, &TensorProto> =
        graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
    // Constants behind casts, scales, transpositions.
    let mut stored: HashMap<&str, &str> = constants.keys().map(|&name| (name, name)).collect();
    let mut used = HashMap::new();
    for node in &graph.node {
        if let ("Constant", Some(output)) = (node.op_type.as_str(), node.output.first()) {
            stored.insert(output, output);
        }
        let is_constant = |name: &String| name.is_empty() || stored.contains_key(name.as_str());
        if !node.input.is_empty() && node.input.iter().all(is_constant) {
            let source = node.input.iter().find_map(|name| stored.get(name.as_str())).copied();
            if let (Some(source), Some(output)) = (source, node.output.first()) {
                stored.insert(output, source);
            }
            continue;
        }
        let (places, times): (&[usize], u64) = match node.op_type.as_str() {
            "RNN" | "GRU" | "LSTM" => (&[1, 2], 1),
            "MatMul" | "Gemm" | "MatMulInteger" => (&[0, 1], 1),
            "Conv" => (&[1], frames),
            _ => continue,
        };
        let names = places.iter().filter_map(|&i| node.input.get(i));
        for source in names.filter_map(|name| stored.get(name.as_str())) {
            let before_stacking = node.op_type == "MatMul" && source.starts_with("fbank.");
            used.insert(*source, if before_stacking { frames } else { times });
        }
    }
    used
}

/// Which systems would load the file, and why others would not.
fn verdicts(bytes: &[u8], model: &ModelProto, description: &Description) -> Vec<Verdict> {
    let verdict = |system, result: std::result::Result<String, String>| Verdict {
        system,
        loads: result.is_ok(),
        reason: result.unwrap_or_else(|reason| reason),
    };
    let native = super::read(bytes).map(|_| "hearken's own layout".to_string()).map_err(|e| e.to_string());
    let import = match &native {
        Ok(_) => Ok("it is hearken's already".to_string()),
        Err(_) => super::import::import(bytes, &ImportOptions::default())
            .map(|i| {
                format!("{} layers, {} parameters", i.network.config.layers.len(), i.network.num_parameters())
            })
            .map_err(|e| e.to_string()),
    };
    let onnxruntime =
        super::check::check(model).map_err(|e| e.to_string()).and_then(|()| runs_in_onnxruntime(description));
    vec![
        verdict("hearken (native)", native),
        verdict("hearken import", import),
        verdict("onnxruntime", onnxruntime),
        verdict("sherpa-onnx", runs_in_sherpa(model, description)),
        verdict("triton", runs_in_triton(description)),
    ]
}

fn runs_in_onnxruntime(d: &Description) -> std::result::Result<String, String> {
    let foreign: Vec<&str> = d
        .opsets
        .iter()
        .map(|(domain, _)| domain.as_str())
        .filter(|domain| !["", "ai.onnx", "ai.onnx.ml", "com.microsoft"].contains(domain))
        .collect();
    if !foreign.is_empty() {
        return Err(format!("operators of {} need a library of their own", foreign.join(", ")));
    }
    let opset = d.opsets.iter().find(|(domain, _)| domain.is_empty()).map_or(0, |(_, version)| *version);
    // Released with these operator sets and versions of the format: onnxruntime's "Compatibility" page.
    let by_opset = match opset {
        ..=19 => 0,
        20 | 21 => 1,
        22 => 2,
        23 => 3,
        _ => 4,
    };
    let by_format = match d.ir_version {
        ..=9 => 0,
        10 => 1,
        11 => 3,
        _ => 4,
    };
    let releases = ["1.17 and later", "1.18 and later", "1.20 and later", "1.22 and later", "new releases"];
    let since = releases[by_opset.max(by_format)];
    Ok(format!("opset {opset}, IR {}: {since}", d.ir_version))
}

fn runs_in_sherpa(model: &ModelProto, d: &Description) -> std::result::Result<String, String> {
    let missing: Vec<&str> = SHERPA_METADATA.into_iter().filter(|key| d.value(key).is_none()).collect();
    let windows = d.value("T").is_some() && d.value("decode_chunk_len").is_some() && !d.states.is_empty();
    if windows && d.outputs.first().is_some_and(|o| o.name == "encoder_out") {
        let family = d.value("model_type").unwrap_or("unknown");
        return Ok(format!("the encoder of a streaming transducer, {family}"));
    }
    for (key, part) in [("context_size", "decoder"), ("joiner_dim", "joiner")] {
        if d.value(key).is_some() && d.states.is_empty() {
            return Ok(format!("the {part} of a transducer"));
        }
    }
    if missing.len() == SHERPA_METADATA.len() {
        let hint = "`hearken export --for sherpa-onnx` writes one from hearken's own file";
        return Err(format!("no streaming zipformer2-CTC metadata; {hint}"));
    }
    if !missing.is_empty() {
        return Err(format!("missing metadata: {}", missing.join(", ")));
    }
    let lists: Option<Vec<u64>> = d
        .value("num_encoder_layers")
        .map(|v| v.split(',').map(|n| n.trim().parse::<u64>().ok()).collect())
        .unwrap_or_default();
    let layers = total(lists.ok_or("num_encoder_layers: expected numbers")?.into_iter());
    let expected = layers.saturating_mul(6).saturating_add(3);
    let (inputs, outputs) = (d.inputs.len() as u64, d.outputs.len() as u64);
    if inputs != expected || outputs != expected {
        return Err(format!("expected {expected} inputs and outputs, found {inputs} and {outputs}"));
    }
    let rank = model.graph.as_ref().and_then(|g| g.output.first()?.tensor().map(|t| t.1.len()));
    if rank != Some(3) {
        return Err("expected a first output declared with three axes".into());
    }
    if d.ir_version > 12 || d.opsets.iter().any(|(domain, v)| domain.is_empty() && *v > 24) {
        return Err(format!("IR {} or its opset is too new for the releases known", d.ir_version));
    }
    let releases = if d.ir_version <= 9 && d.opsets.iter().all(|o| o.1 <= 19) {
        "all releases"
    } else {
        "1.12.26 and later"
    };
    let (window, shift) = (d.value("T").unwrap_or_default(), d.value("decode_chunk_len").unwrap_or_default());
    Ok(format!("zipformer2-CTC, windows of {window} frames moved by {shift}; {releases}"))
}

fn runs_in_triton(d: &Description) -> std::result::Result<String, String> {
    if d.states.is_empty() {
        return Ok("no states: an ordinary batched model".into());
    }
    let others: Vec<&str> = d.states.iter().filter(|s| s.batch_axis != 0).map(|s| s.input.as_str()).collect();
    if others.is_empty() {
        return Ok(
            "every state counts streams on its first axis: sequence batching with implicit state".into()
        );
    }
    Err(format!(
        "{} counts streams on another axis than the first, which allows no batches; \
         `hearken export --for triton` writes one that does",
        others.join(", ")
    ))
}

/// The nodes that a drawing tells apart by their effect.
pub(super) fn is_plumbing(node: &NodeProto) -> bool {
    ["Transpose", "Squeeze", "Unsqueeze", "Reshape", "Identity", "Cast"].contains(&node.op_type.as_str())
}
