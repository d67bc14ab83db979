//! Which systems could load a file, and the reasons why others could not.

use super::description::{Compatibility, Description};
use super::operators;
use super::sizes::total;
use crate::onnx::import::{ImportOptions, import_file};
use crate::onnx::interface::{MAX_WINDOW, Port, type_name};
use crate::onnx::proto::GraphProto;
use crate::onnx::targets::SHERPA_METADATA;
use crate::onnx::{OnnxFile, check, element_types, load, streamable};
use crate::units::counted;

/// Determines which systems could load the file, and why the others could not.
pub(super) fn compatibility(file: &OnnxFile, description: &Description) -> Vec<Compatibility> {
    let graph = file.graph();
    let compatibility = |system, result: std::result::Result<String, String>| Compatibility {
        system,
        loads: result.is_ok(),
        reason: result.unwrap_or_else(|reason| reason),
    };
    let native =
        load::read_model(file).map(|_| "hearken's own layout".to_string()).map_err(|e| e.to_string());
    let import = match &native {
        Ok(_) => Ok("it is already hearken's own layout".to_string()),
        Err(_) => import_file(file, &ImportOptions::default())
            .map(|i| {
                let layers = counted(i.network.config.layers.len(), "layer");
                format!("{layers}, {} parameters", i.network.num_parameters())
            })
            .map_err(|e| e.to_string()),
    };
    let onnxruntime =
        check::check(graph).map_err(|e| e.to_string()).and_then(|()| runs_in_onnxruntime(graph, description));
    vec![
        compatibility("hearken (native)", native),
        compatibility("hearken (graph)", runs_as_it_is(graph, description)),
        compatibility("hearken (imported)", import),
        compatibility("onnxruntime", onnxruntime),
        compatibility("sherpa-onnx", runs_in_sherpa(graph, description)),
        compatibility("triton", runs_in_triton(description)),
    ]
}

/// Whether hearken's engines ort and tract can run the graph as a stream.
fn runs_as_it_is(graph: &GraphProto, d: &Description) -> std::result::Result<String, String> {
    check::check(graph)
        .and_then(|()| element_types::check_ports(graph))
        .and_then(|()| streamable::check_streams(graph))
        .map_err(|e| e.to_string())?;
    match d.interface.states.len() {
        0 => Err("no states: it processes whole recordings, not a stream in chunks".into()),
        states => Ok(format!("by ort or tract: {}, {}", counted(states, "state"), d.interface.states_found)),
    }
}

/// The newest file format (IR) that onnxruntime 1.32 loads.
const MAX_IR_VERSION: i64 = 14;
/// The newest operator set that onnxruntime 1.32 loads.
const MAX_OPSET: i64 = 28;

fn runs_in_onnxruntime(graph: &GraphProto, d: &Description) -> std::result::Result<String, String> {
    let foreign: Vec<&str> = d
        .opsets
        .iter()
        .map(|(domain, _)| domain.as_str())
        .filter(|domain| !["", "ai.onnx", "ai.onnx.ml", "com.microsoft"].contains(domain))
        .collect();
    if !foreign.is_empty() {
        return Err(format!("operators of the domain {} need an additional library", foreign.join(", ")));
    }
    let own = d.opsets.iter().find(|(domain, _)| matches!(domain.as_str(), "" | "ai.onnx"));
    let opset = match own.map(|o| o.1) {
        None => return Err("the file does not declare its opset".into()),
        Some(opset) if !(1..=MAX_OPSET).contains(&opset) => {
            return Err(format!("opset {opset}: onnxruntime 1.32 supports 1 to {MAX_OPSET}"));
        }
        Some(opset) => opset,
    };
    if d.ir_version > MAX_IR_VERSION {
        return Err(format!(
            "IR {}: onnxruntime 1.32 supports versions up to {MAX_IR_VERSION}",
            d.ir_version
        ));
    }
    if let Some(reason) = unknown_parts(graph, opset) {
        return Err(reason);
    }
    if element_types::transposes_half_products(graph) {
        return Err("matrix products in half precision after a Transpose: onnxruntime 1.32 crashes when \
                    it optimizes the layout, as it does by default; export the model in float32"
            .into());
    }
    // The releases that introduced these operator sets and formats, by onnxruntime's page "Compatibility".
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

/// The first tensor of an unsupported type or node of an unknown operator, as a message.
fn unknown_parts(graph: &GraphProto, opset: i64) -> Option<String> {
    // Types 1 to 23 (float4) except complex numbers, which no operator supports.
    let is_known = |kind: i32| (1..=23).contains(&kind) && ![14, 15].contains(&kind);
    let ports =
        graph.input.iter().chain(&graph.output).filter_map(|p| Some((p.name.as_str(), p.tensor()?.0)));
    let mut tensors = ports.chain(graph.initializer.iter().map(|t| (t.name.as_str(), t.data_type)));
    if let Some((name, kind)) = tensors.find(|(_, kind)| !is_known(*kind)) {
        return Some(format!("`{name}`: onnxruntime does not support tensors of {}", type_name(kind)));
    }
    graph.node.iter().enumerate().find_map(|(i, node)| {
        let place = if node.name.is_empty() { i.to_string() } else { node.name.clone() };
        operators::unknown(node, opset).map(|why| format!("node {place}: {why}"))
    })
}

/// Length and shift of the windows of a streaming model in frames, within the bounds of hearken's reader.
fn windows(d: &Description) -> std::result::Result<(usize, usize), String> {
    let number = |key: &str| {
        let text = d.value(key).unwrap_or_default();
        text.trim().parse::<usize>().map_err(|_| format!("metadata {key}: expected a number, found {text:?}"))
    };
    let (window, shift) = (number("T")?, number("decode_chunk_len")?);
    if shift == 0 || shift > window || window > MAX_WINDOW {
        return Err(format!(
            "expected windows of at most {MAX_WINDOW} frames and a shift from 1 to the window's length, found {window} and {shift}"
        ));
    }
    Ok((window, shift))
}

fn runs_in_sherpa(graph: &GraphProto, d: &Description) -> std::result::Result<String, String> {
    // The metadata determine the kind of model, as in sherpa-onnx's own loader.
    let missing: Vec<&str> = SHERPA_METADATA.into_iter().filter(|key| d.value(key).is_none()).collect();
    let takes_windows =
        d.value("T").is_some() && d.value("decode_chunk_len").is_some() && !d.interface.states.is_empty();
    if takes_windows && d.interface.outputs.first().is_some_and(|o| o.name == "encoder_out") {
        windows(d)?;
        let family = d.value("model_type").unwrap_or("unknown");
        return Ok(format!("the encoder of a streaming transducer, {family}"));
    }
    for (key, part) in [("context_size", "decoder"), ("joiner_dim", "joiner")] {
        if d.value(key).is_some() && d.interface.states.is_empty() {
            return Ok(format!("the {part} of a transducer"));
        }
    }
    if missing.len() == SHERPA_METADATA.len() {
        let hint = "hearken's own models can be exported with it";
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
    // Six states for each layer, two for the whole encoder, and the features or log-probabilities.
    let expected = layers.saturating_mul(6).saturating_add(3);
    let (inputs, outputs) = (d.interface.inputs.len() as u64, d.interface.outputs.len() as u64);
    if inputs != expected || outputs != expected {
        return Err(format!("expected {expected} inputs and outputs, found {inputs} and {outputs}"));
    }
    let rank = graph.output.first().and_then(|output| output.tensor().map(|t| t.1.len()));
    if rank != Some(3) {
        return Err("expected a first output declared with three axes".into());
    }
    if d.ir_version > 12 || d.opsets.iter().any(|(domain, v)| domain.is_empty() && *v > 24) {
        return Err(format!("IR {} or its opset is too new for the known releases", d.ir_version));
    }
    let releases = if d.ir_version <= 9 && d.opsets.iter().all(|o| o.1 <= 19) {
        "all releases"
    } else {
        "1.12.26 and later"
    };
    let (window, shift) = windows(d)?;
    Ok(format!("zipformer2-CTC, windows of {window} frames shifted by {shift}; {releases}"))
}

fn runs_in_triton(d: &Description) -> std::result::Result<String, String> {
    let hint = "in an export of hearken's own model for Triton it is the first";
    let others: Vec<&str> =
        d.interface.states.iter().filter(|s| s.batch_axis != 0).map(|s| s.input.as_str()).collect();
    if !others.is_empty() {
        let have = if others.len() == 1 { "has" } else { "have" };
        return Err(format!(
            "{} {have} the batch on another axis than the first, which prevents batching; {hint}",
            others.join(", ")
        ));
    }
    let ports = || d.interface.inputs.iter().chain(&d.interface.outputs);
    let is_open = |p: &&Port| p.shape.first().is_some_and(|axis| axis.parse::<u64>().is_err());
    if let Some(port) = ports().find(|p| !is_open(p)) {
        let shape = port.shape.join(", ");
        return Err(format!(
            "{} [{shape}] has a fixed first axis instead of a batch axis, which prevents batching; {hint}",
            port.name
        ));
    }
    // Symbols with different names are different lengths; tf2onnx names each unknown length `unk__…`.
    let mut symbols: Vec<&str> = ports()
        .filter_map(|p| p.shape.first())
        .map(String::as_str)
        .filter(|s| *s != "?" && !s.starts_with("unk__"))
        .collect();
    symbols.sort_unstable();
    symbols.dedup();
    if symbols.len() > 1 {
        let found = symbols.join(", ");
        return Err(format!("the first axes are {found}, of which only one can be the batch axis; {hint}"));
    }
    Ok(match d.interface.states.is_empty() {
        true => "no states: an ordinary batched model".into(),
        false => "every state has its batch axis first: sequence batching with implicit state".into(),
    })
}
