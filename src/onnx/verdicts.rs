//! Which systems would load a file, and why others would not.

use super::describe::{Description, Verdict};
use super::import::ImportOptions;
use super::proto::ModelProto;
use super::sizes::total;
use super::targets::SHERPA_METADATA;

/// Which systems would load the file, and why others would not.
pub(super) fn verdicts(bytes: &[u8], model: &ModelProto, description: &Description) -> Vec<Verdict> {
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
