//! Export of a graph for whole recordings in one call: no states, but lengths.
//!
//! ```text
//! x [N, S*U, F], lengths [N] (frames) ─► log_probs [N, U, V], output_lengths [N]
//! ```
//!
//! Frames from `lengths[n]` on are replaced by digital silence, so that a recording has the same result in
//! any batch; its last step is padded with silence as hearken pads it. Rows of `log_probs` from
//! `output_lengths[n]` on must be ignored; `log_probs` has at least `output_lengths[n]` rows.

use super::{Export, ExportFile, ExportOptions, decoder_notes, model_bytes};
use crate::error::Result;
use crate::model::Network;
use crate::onnx::build::graph::{Dim, int};
use crate::onnx::build::layers::{Body, frames};
use crate::onnx::metadata::Metadata;
use crate::onnx::proto::FLOAT;
use crate::onnx::states::state_specs;

pub(super) fn export(network: &Network<f32>, metadata: &Metadata, options: &ExportOptions) -> Result<Export> {
    let mut notes = Vec::new();
    decoder_notes(options.target, metadata, &mut notes);
    let s = network.config.subsampling;
    if s > 1 {
        notes.push(format!("the number of frames in a batch must be a multiple of {s}; lengths may be any"));
    }
    let graph = build(network, metadata, options);
    let bytes = model_bytes(graph, network, metadata, options, &[], vec![])?;
    Ok(Export { files: vec![ExportFile { path: "model.onnx".into(), bytes }], notes })
}

fn build(
    network: &Network<f32>,
    metadata: &Metadata,
    options: &ExportOptions,
) -> crate::onnx::proto::GraphProto {
    let config = &network.config;
    let mut body = Body::new(config, Some(network));
    body.precision = options.precision;
    body.is_whole = true;
    let (frames, output_frames) = frames(config);
    body.graph.input("x", &[Dim::symbol("N"), frames, config.num_features.into()]);
    body.graph.input_i64("lengths", &[Dim::symbol("N")]);
    body.graph.output("log_probs", &[Dim::symbol("N"), output_frames, config.num_tokens.into()]);
    body.graph.output_i64("output_lengths", &[Dim::symbol("N")]);
    let x = silence_rest(&mut body, metadata.features.energy_floor.ln());
    let x = body.normalize(&x);
    let x = body.stack(&x);
    let x = body.input_layer(&x);
    let initial = zero_states(&mut body);
    let last: Vec<String> = (0..state_specs(config).len()).map(|i| format!("last_state.{i}")).collect();
    let x = body.recurrent_layers(x, &initial, &last);
    let logits = body.linear("output", &x);
    body.log_probs(&logits);
    output_lengths(&mut body);
    body.graph.finish()
}

/// Replaces the frames of x from `lengths` on with silence.
fn silence_rest(body: &mut Body, silence: f32) -> String {
    let graph = &mut body.graph;
    graph.chain("Shape", "x_shape", &["x"], vec![]);
    graph.i64s("axis_0", &[], &[0]);
    graph.i64s("axis_1", &[], &[1]);
    graph.i64s("axes_1_2", &[2], &[1, 2]);
    graph.chain("Gather", "num_frames", &["x_shape", "axis_1"], vec![int("axis", 0)]);
    graph.chain("Range", "frame_numbers", &["axis_0", "num_frames", "axis_1"], vec![]);
    graph.i64s("frame_axes", &[2], &[0, 2]);
    graph.chain("Unsqueeze", "frame_numbers_of_all", &["frame_numbers", "frame_axes"], vec![]);
    graph.chain("Unsqueeze", "lengths_of_all", &["lengths", "axes_1_2"], vec![]);
    graph.chain("Less", "is_heard", &["frame_numbers_of_all", "lengths_of_all"], vec![]);
    graph.scalar("silence", silence);
    graph.chain("Where", "heard", &["is_heard", "x", "silence"], vec![])
}

/// Adds the initial states of each layer, zeros of `[rows, N, width]`. They are connected because not every
/// runtime supplies them. Each is a product of its own, of zeros that depend on an input: tract takes constants, and parts
/// of one tensor, as states of one stream, and fails if an LSTM shares its state with another layer.
fn zero_states(body: &mut Body) -> Vec<Vec<String>> {
    let config = body.config;
    body.direction_axis();
    let graph = &mut body.graph;
    graph.chain("Sub", "zero_lengths", &["lengths", "lengths"], vec![]);
    graph.chain("Cast", "zeros", &["zero_lengths"], vec![int("to", FLOAT.into())]);
    graph.chain("Unsqueeze", "zeros_of_streams", &["zeros", "frame_axes"], vec![]);
    let mut initial = Vec::new();
    let mut number = 0.0;
    for (i, layer) in config.layers.iter().enumerate() {
        let mut states = Vec::new();
        for (k, [rows, width]) in layer.state_shapes().into_iter().enumerate() {
            let state = format!("layers.{i}.state.{k}");
            let [factor, zero, repeats] = ["factor", "zero", "repeats"].map(|part| format!("{state}.{part}"));
            number += 1.0;
            graph.scalar(&factor, number);
            graph.chain("Mul", &zero, &["zeros_of_streams", &factor], vec![]);
            graph.i64s(&repeats, &[3], &[rows as i64, 1, width as i64]);
            states.push(graph.chain("Tile", &state, &[&zero, &repeats], vec![]));
        }
        initial.push(states);
    }
    initial
}

/// Adds ceil(lengths / S), at most the number of output frames. It counts the frames that are not replaced:
/// in tract a value derived from a shape is not int64, so the minimum of lengths and shape would have the
/// wrong type.
fn output_lengths(body: &mut Body) {
    let s = body.config.subsampling as i64;
    let graph = &mut body.graph;
    graph.i64s("subsampling", &[], &[s]);
    graph.i64s("subsampling_less_one", &[], &[s - 1]);
    graph.chain("Where", "ones_where_heard", &["is_heard", "axis_1", "axis_0"], vec![]);
    graph.chain("ReduceSum", "heard_frames", &["ones_where_heard", "axes_1_2"], vec![int("keepdims", 0)]);
    graph.chain("Add", "lengths_rounded", &["heard_frames", "subsampling_less_one"], vec![]);
    graph.chain("Div", "output_lengths", &["lengths_rounded", "subsampling"], vec![]);
}
