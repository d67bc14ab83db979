//! Writes a network as an ONNX file: opset 17, IR 8, standard operators only, layout 0, initial states
//! always connected, so that every onnxruntime since 1.17 loads it.
//!
//! ```text
//! x [N, S*U, F] ─► Sub mean ─► Mul scale ─► Reshape [N, U, S*F] ─► Transpose [U, N, S*F]
//!   ─► MatMul, Add ─► LayerNormalization
//!   ─► L × (RNN | GRU | LSTM ─► Squeeze ─► LayerNormalization ─► Add its input)
//!      (others: see `build::mingru`, `build::conv` and their siblings)
//!   ─► MatMul, Add ─► Transpose [N, U, V] ─► LogSoftmax ─► log_probs
//! state.0 ─► Split ─► initial_h of each layer, Y_h of each layer ─► Concat ─► next_state.0
//! ```
//!
//! The initializers have the names of the parameters (see [`Network`]); `W`, `R` and `B` have a leading
//! direction axis of length 1, as ONNX requires.

use std::path::Path;

use half::f16;
use prost::Message;

use super::build::graph::Dim;
use super::build::layers::{Body, frames, is_matrix};
use super::metadata::Metadata;
use super::precision::Precision;
use super::proto::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};
use super::states::state_specs;
use crate::error::{Error, Result, Stage, io};
use crate::fs;
use crate::model::network::parameter_shapes;
use crate::model::{Network, NetworkConfig};

/// The ONNX operator set of the files that hearken writes.
pub const OPSET: i64 = 17;
/// The version of ONNX's file format (IR) of the files that hearken writes.
pub const IR_VERSION: i64 = 8;

/// Encodes a model as the bytes of an ONNX file. The same network and metadata always produce the same
/// bytes. A network whose matrices are exactly representable in 16-bit floats
/// ([`Network::round_to_halves`]) is stored in them.
///
/// # Errors
/// When the network's parameters do not fit its configuration or are not finite, or the metadata do not fit
/// the network.
pub fn write(network: &Network<f32>, metadata: &Metadata) -> Result<Vec<u8>> {
    write_as(network, metadata, lossless_precision(network))
}

/// Encodes a model with matrices stored at the given precision; see [`write()`].
///
/// # Errors
/// As [`write()`].
pub(super) fn write_as(network: &Network<f32>, metadata: &Metadata, precision: Precision) -> Result<Vec<u8>> {
    check(network)?;
    metadata.check(&network.config)?;
    let graph = build(&network.config, Some(network), precision);
    Ok(encode(graph, metadata.to_entries(&network.config)?))
}

/// The smallest precision that loses nothing: 16-bit floats if they represent every number of the matrices
/// exactly, else 32-bit floats.
fn lossless_precision(network: &Network<f32>) -> Precision {
    let is_half = |&value: &f32| f16::from_f32(value).to_f32() == value;
    let mut matrices = network.parameters.iter().filter(|parameter| is_matrix(&parameter.name));
    if matrices.all(|matrix| matrix.data.iter().all(is_half)) {
        Precision::Float16
    } else {
        Precision::Float32
    }
}

/// Encodes a graph and metadata entries as the bytes of an ONNX file.
pub(super) fn encode(graph: GraphProto, entries: Vec<(String, String)>) -> Vec<u8> {
    let entry = |(key, value)| StringStringEntryProto { key, value };
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: "hearken".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: Some(OPSET) }],
        metadata_props: entries.into_iter().map(entry).collect(),
        ..Default::default()
    };
    model.encode_to_vec()
}

/// Writes a model file atomically.
///
/// # Errors
/// As [`write()`], and when the file cannot be written.
pub fn write_file(path: &Path, network: &Network<f32>, metadata: &Metadata) -> Result<()> {
    let bytes = write(network, metadata).map_err(|e| e.in_file(path))?;
    fs::write(path, &bytes).map_err(|e| io(Stage::Model, path, e))
}

/// Checks that a network is complete: all sizes above zero, and every parameter of the configuration
/// present, in order, of the right shape, and finite.
///
/// # Errors
/// Names the parameter.
pub fn check(network: &Network<f32>) -> Result<()> {
    let error = |name: &str, problem: String| Err(Error::new(Stage::Model, problem).at(name.to_string()));
    let config = &network.config;
    let widths = [config.num_features, config.subsampling, config.input_size, config.num_tokens];
    if widths.contains(&0) || config.layers.is_empty() || config.layers.iter().any(|l| l.hidden == 0) {
        return error("network", "expected sizes above zero and at least one layer".into());
    }
    for (i, layer) in config.layers.iter().enumerate() {
        if let Some(problem) = layer.problem() {
            return error(&format!("layer {i}"), problem);
        }
    }
    if config.auxiliary.is_some() {
        return error("auxiliary", "expected no auxiliary output, which is used in training only".into());
    }
    let shapes = parameter_shapes(config);
    if shapes.len() != network.parameters.len() {
        let (expected, found) = (shapes.len(), network.parameters.len());
        return error("network", format!("expected {expected} parameters, found {found}"));
    }
    for (parameter, (name, shape)) in network.parameters.iter().zip(&shapes) {
        if parameter.name != *name || parameter.shape != *shape {
            let (found, shape_found) = (&parameter.name, &parameter.shape);
            return error(found, format!("expected {name} {shape:?}, found {found} {shape_found:?}"));
        }
    }
    let f = vec![config.num_features];
    let tensors = [("mean", &network.mean, &f), ("scale", &network.scale, &f)]
        .into_iter()
        .chain(network.parameters.iter().map(|p| (p.name.as_str(), &p.data, &p.shape)));
    for (name, data, shape) in tensors {
        let expected: usize = shape.iter().product();
        if data.len() != expected {
            return error(name, format!("expected {expected} values, found {}", data.len()));
        }
        if let Some(i) = data.iter().position(|v| !v.is_finite()) {
            return error(name, format!("expected finite values, found {} at index {i}", data[i]));
        }
    }
    Ok(())
}

/// Builds the graph of an architecture; without weights the initializers are empty, for comparison with a
/// file's graph.
pub(super) fn build(
    config: &NetworkConfig,
    weights: Option<&Network<f32>>,
    precision: Precision,
) -> GraphProto {
    let mut body = Body::new(config, weights);
    body.precision = precision;
    declare(&mut body);
    let x = body.normalize("x");
    let x = body.stack(&x);
    let x = body.input_layer(&x);
    let specs = state_specs(config);
    let inputs: Vec<String> = specs.iter().map(|s| s.input.clone()).collect();
    let outputs: Vec<String> = specs.iter().map(|s| s.output.clone()).collect();
    let initial = body.split_states(&inputs);
    let x = body.recurrent_layers(x, &initial, &outputs);
    let logits = body.linear("output", &x);
    body.log_probs(&logits);
    body.graph.finish()
}

/// Declares the inputs and outputs: x and the states; log_probs and the new states.
fn declare(body: &mut Body) {
    let n = || Dim::symbol("N");
    let config = body.config;
    let (frames, output_frames) = frames(config);
    body.graph.input("x", &[n(), frames, config.num_features.into()]);
    body.graph.output("log_probs", &[n(), output_frames, config.num_tokens.into()]);
    declare_states(body);
}

/// Declares the states: the inputs before and the outputs after.
pub(super) fn declare_states(body: &mut Body) {
    for state in state_specs(body.config) {
        let mut shape: Vec<Dim> = state.shape.iter().map(|&d| d.into()).collect();
        shape[state.batch_axis] = Dim::symbol("N");
        body.graph.input(&state.input, &shape);
        body.graph.output(&state.output, &shape);
    }
}
