//! Export of a model repository for NVIDIA Triton, with sequence batching and implicit state. Triton
//! batches on the first axis of every tensor, so the states are `[N, L, H]`.

use std::path::Path;

use super::batch_first::{batch_first_layers, batch_first_states};
use super::front_end::PcmGraph;
use super::tokens::tokens_txt;
use super::{Export, ExportFile, ExportOptions, decoder_notes, model_bytes};
use crate::error::{Error, Result, Stage};
use crate::model::Network;
use crate::onnx::build::graph::Dim;
use crate::onnx::build::layers::{Body, frames};
use crate::onnx::interface::StatePort;
use crate::onnx::metadata::Metadata;

pub(super) fn export(network: &Network<f32>, metadata: &Metadata, options: &ExportOptions) -> Result<Export> {
    check_name(&options.name)?;
    let mut notes = Vec::new();
    decoder_notes(options.target, metadata, &mut notes);
    let config = &network.config;
    let steps = options.chunk_frames / config.subsampling;
    let (graph, states, more, input) = if options.with_frontend {
        let graph = PcmGraph::new(network, metadata, options.precision)?;
        notes.push(graph.note());
        let input = ("pcm", vec![steps * graph.step_samples()]);
        let (states, more) = (graph.states(true), graph.metadata());
        (graph.build(true), states, more, input)
    } else {
        let states = batch_first_states(config);
        let input = ("x", vec![options.chunk_frames, config.num_features]);
        (build(network, options, &states), states, vec![], input)
    };
    let bytes = model_bytes(graph, network, metadata, options, &states, more)?;
    let folder = Path::new(&options.name);
    let text = config_pbtxt(&options.name, input, &[steps, config.num_tokens], &states);
    Ok(Export {
        files: vec![
            ExportFile { path: folder.join("1").join("model.onnx"), bytes },
            ExportFile { path: folder.join("config.pbtxt"), bytes: text.into_bytes() },
            ExportFile { path: folder.join("tokens.txt"), bytes: tokens_txt(&metadata.tokens)? },
        ],
        notes,
    })
}

fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(good) {
        let problem = format!("expected a name of letters, digits, `_`, `-` and `.`, found {name:?}");
        return Err(Error::new(Stage::Usage, problem).hint("set another name").remedy("name"));
    }
    Ok(())
}

fn build(
    network: &Network<f32>,
    options: &ExportOptions,
    states: &[StatePort],
) -> crate::onnx::proto::GraphProto {
    let config = &network.config;
    let mut body = Body::new(config, Some(network));
    body.precision = options.precision;
    let (frames, output_frames) = frames(config);
    body.graph.input("x", &[Dim::symbol("N"), frames, config.num_features.into()]);
    body.graph.output("log_probs", &[Dim::symbol("N"), output_frames, config.num_tokens.into()]);
    let x = body.normalize("x");
    let x = body.stack(&x);
    let x = body.input_layer(&x);
    let x = batch_first_layers(&mut body, x, states);
    let logits = body.linear("output", &x);
    body.log_probs(&logits);
    body.graph.finish()
}

/// The model's configuration. The strategy `oldest` batches requests of different sequences, but never two
/// of the same one. States begin as zeros (without `initial_state` Triton leaves the memory uninitialized).
fn config_pbtxt(name: &str, input: (&str, Vec<usize>), output: &[usize], states: &[StatePort]) -> String {
    let dims = |dims: &[usize]| dims.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let states: Vec<String> = states
        .iter()
        .map(|state| {
            let StatePort { input, output, shape, .. } = state;
            let (dims, kind) = (dims(&shape[1..]), if state.is_i64 { "INT64" } else { "FP32" });
            format!(
                "    {{\n      input_name: \"{input}\"\n      output_name: \"{output}\"\n      \
                 data_type: TYPE_{kind}\n      dims: [ {dims} ]\n      \
                 initial_state: {{ name: \"zero\" data_type: TYPE_{kind} dims: [ {dims} ] zero_data: true }}\n    }}"
            )
        })
        .collect();
    format!(
        "name: \"{name}\"\nbackend: \"onnxruntime\"\nmax_batch_size: 64\n\
         input [ {{ name: \"{}\" data_type: TYPE_FP32 dims: [ {} ] }} ]\n\
         output [ {{ name: \"log_probs\" data_type: TYPE_FP32 dims: [ {} ] }} ]\n\
         sequence_batching {{\n  max_sequence_idle_microseconds: 30000000\n  \
         oldest {{ max_candidate_sequences: 256 max_queue_delay_microseconds: 2000 }}\n  \
         state [\n{}\n  ]\n}}\n",
        input.0,
        dims(&input.1),
        dims(output),
        states.join(",\n")
    )
}
