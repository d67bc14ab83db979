//! A network as an ONNX file: opset 17, IR 8, standard operators only, layout 0, initial states
//! always wired, so that every runtime since onnxruntime 1.17 loads it.
//!
//! ```text
//! x [N, S*U, F] ─► Sub mean ─► Mul scale ─► Reshape [N, U, S*F] ─► Transpose [U, N, S*F]
//!   ─► MatMul, Add ─► LayerNormalization
//!   ─► L × (RNN | GRU | LSTM ─► Squeeze ─► LayerNormalization ─► Add its input)
//!   ─► MatMul, Add ─► Transpose [N, U, V] ─► LogSoftmax ─► log_probs
//! state.0 ─► Split ─► initial_h of each layer, Y_h of each layer ─► Concat ─► next_state.0
//! ```
//!
//! The initialisers bear the names of the parameters (see [`Network`]); `W`, `R` and `B` have a
//! leading direction axis of 1 as ONNX wants it.

use std::io::Write as _;
use std::path::Path;

use prost::Message;

use super::graph::{Dim, GraphBuilder, float, int, ints, strings};
use super::metadata::Metadata;
use super::proto::{AttributeProto, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};
use super::states::{is_stacked, state_places, state_specs};
use crate::error::{Error, Result, Stage, io};
use crate::model::network::{LAYER_NORM_EPSILON, parameter_shapes};
use crate::model::{CellKind, Network, NetworkConfig};

/// The operator set of the files that hearken writes.
pub const OPSET: i64 = 17;
/// The version of the file format itself.
pub const IR_VERSION: i64 = 8;

/// The bytes of a model file; the same network and metadata give the same bytes.
///
/// # Errors
/// When the network's parts do not fit its configuration, hold values that are not finite, or
/// the metadata does not fit the network.
pub fn write(network: &Network<f32>, metadata: &Metadata) -> Result<Vec<u8>> {
    check(network)?;
    metadata.check(&network.config)?;
    let entry = |(key, value)| StringStringEntryProto { key, value };
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: "hearken".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(build(&network.config, Some(network))),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: Some(OPSET) }],
        metadata_props: metadata.to_entries(&network.config)?.into_iter().map(entry).collect(),
        ..Default::default()
    };
    Ok(model.encode_to_vec())
}

/// Writes a model file: beside the final name, flushed to the disk, then renamed, so that there
/// is never half a model under `path`.
///
/// # Errors
/// As [`write()`], and when the file cannot be written.
pub fn write_file(path: &Path, network: &Network<f32>, metadata: &Metadata) -> Result<()> {
    let bytes = write(network, metadata).map_err(|e| e.in_file(path))?;
    let name = path.file_name().ok_or_else(|| {
        Error::new(Stage::Model, "expected the name of a file to write, found a directory").in_file(path)
    })?;
    let mut beside = name.to_os_string();
    beside.push(format!(".{}.part", std::process::id()));
    let beside = path.with_file_name(beside);
    let written = write_synced(&beside, &bytes).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|e| {
        let _ = std::fs::remove_file(&beside);
        io(Stage::Model, path, e)
    })
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Checks that a network is whole: widths above zero, every parameter of the configuration there
/// in order, of the right shape, finite.
///
/// # Errors
/// Names the parameter.
pub fn check(network: &Network<f32>) -> Result<()> {
    let error = |name: &str, problem: String| Err(Error::new(Stage::Model, problem).at(name.to_string()));
    let config = &network.config;
    let widths = [config.num_features, config.subsampling, config.input_size, config.num_tokens];
    if widths.contains(&0) || config.layers.is_empty() || config.layers.iter().any(|l| l.hidden == 0) {
        return error("network", format!("expected sizes above zero and a layer at least, found {config:?}"));
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

/// The graph of an architecture, with the weights, or with empty initialisers to compare a file's
/// graph with.
pub(super) fn build(config: &NetworkConfig, weights: Option<&Network<f32>>) -> GraphProto {
    Exporter { config, weights, graph: GraphBuilder::new("hearken") }.build()
}

/// The lengths of the axes of frames and of output frames: `S*U` and `U`, or `T` for both when
/// nothing is stacked. Written as a multiple, not as `T` and `T/S`, because tract reads the
/// symbols and refuses to divide a length that it does not know to be divisible.
fn frames(config: &NetworkConfig) -> (Dim, Dim) {
    match config.subsampling {
        1 => (Dim::symbol("T"), Dim::symbol("T")),
        s => (Dim::Symbol(format!("{s}*U")), Dim::symbol("U")),
    }
}

struct Exporter<'a> {
    config: &'a NetworkConfig,
    weights: Option<&'a Network<f32>>,
    graph: GraphBuilder,
}

impl Exporter<'_> {
    fn build(mut self) -> GraphProto {
        self.declare();
        let x = self.front();
        let mut x = self.linear("input", &x);
        x = self.norm("input_norm", x);
        let initial = self.initial_states();
        let mut next = Vec::new();
        let mut width = self.config.input_size;
        for (i, states) in initial.iter().enumerate() {
            let (y, outputs) = self.cell(i, &x, states);
            let y = self.norm(&format!("layers.{i}.norm"), y);
            let hidden = self.config.layers[i].hidden;
            x = if self.config.residual && hidden == width {
                self.graph.chain("Add", &format!("layers.{i}.residual"), &[&y, &x], vec![])
            } else {
                y
            };
            width = hidden;
            next.push(outputs);
        }
        self.next_states(&next);
        let logits = self.linear("output", &x);
        let logits = self.graph.chain("Transpose", "logits", &[&logits], vec![ints("perm", &[1, 0, 2])]);
        self.graph.chain("LogSoftmax", "log_probs", &[&logits], vec![int("axis", -1)]);
        self.graph.finish()
    }

    /// Inputs and outputs: x, then the states; log_probs, then the new states.
    fn declare(&mut self) {
        let n = || Dim::symbol("N");
        let config = self.config;
        let (frames, output_frames) = frames(config);
        self.graph.input("x", &[n(), frames, config.num_features.into()]);
        self.graph.output("log_probs", &[n(), output_frames, config.num_tokens.into()]);
        for state in state_specs(config) {
            let mut shape: Vec<Dim> = state.shape.iter().map(|&d| d.into()).collect();
            shape[state.batch_axis] = n();
            self.graph.input(&state.input, &shape);
            self.graph.output(&state.output, &shape);
        }
    }

    /// Normalises, stacks, and puts time first. A reshape stacks, because the frames of a stream
    /// lie one behind the other.
    fn front(&mut self) -> String {
        let config = self.config;
        let f = [config.num_features];
        let (mean, scale) = self.weights.map_or((&[][..], &[][..]), |w| (&w.mean, &w.scale));
        self.graph.f32s("mean", &f, mean);
        self.graph.f32s("scale", &f, scale);
        self.graph.chain("Sub", "centred", &["x", "mean"], vec![]);
        let mut x = self.graph.chain("Mul", "normalised", &["centred", "scale"], vec![]);
        if config.subsampling > 1 {
            let stacked = (config.subsampling * config.num_features) as i64;
            self.graph.i64s("stacked_shape", &[3], &[0, -1, stacked]);
            x = self.graph.chain("Reshape", "stacked", &[&x, "stacked_shape"], vec![]);
        }
        self.graph.chain("Transpose", "time_first", &[&x], vec![ints("perm", &[1, 0, 2])])
    }

    /// `prefix.weight` is `[out, in]`, as it is trained; runtimes fold the transposition.
    fn linear(&mut self, prefix: &str, x: &str) -> String {
        let (weight, bias) = (format!("{prefix}.weight"), format!("{prefix}.bias"));
        self.parameter(&weight, false);
        self.parameter(&bias, false);
        let transposed = format!("{weight}_transposed");
        self.graph.chain("Transpose", &transposed, &[&weight], vec![ints("perm", &[1, 0])]);
        let product = format!("{prefix}.product");
        self.graph.chain("MatMul", &product, &[x, &transposed], vec![]);
        self.graph.chain("Add", &format!("{prefix}.sum"), &[&product, &bias], vec![])
    }

    fn norm(&mut self, prefix: &str, x: String) -> String {
        if !self.config.layer_norm {
            return x;
        }
        let (gain, bias) = (format!("{prefix}.gain"), format!("{prefix}.bias"));
        self.parameter(&gain, false);
        self.parameter(&bias, false);
        let attributes = vec![int("axis", -1), float("epsilon", LAYER_NORM_EPSILON)];
        self.graph.chain("LayerNormalization", &format!("{prefix}.output"), &[&x, &gain, &bias], attributes)
    }

    /// Cell `i` over all steps: the name of its outputs `[T, N, H]`, and of its last states.
    fn cell(&mut self, i: usize, x: &str, states: &[String]) -> (String, Vec<String>) {
        let layer = self.config.layers[i];
        let prefix = format!("layers.{i}.{}", layer.cell.family());
        let [w, r, b] = ["W", "R", "B"].map(|s| format!("{prefix}.{s}"));
        for name in [&w, &r, &b] {
            self.parameter(name, true);
        }
        let (op_type, attributes) = cell_operator(layer.cell, layer.hidden);
        let y = format!("{prefix}.Y");
        let next: Vec<String> = if is_stacked(self.config) && self.config.layers.len() > 1 {
            ["Y_h", "Y_c"].iter().take(states.len()).map(|s| format!("{prefix}.{s}")).collect()
        } else {
            let specs = state_specs(self.config);
            state_places(self.config)[i].iter().map(|p| specs[p.tensor].output.clone()).collect()
        };
        let mut inputs = vec![x, &w, &r, &b, ""];
        inputs.extend(states.iter().map(String::as_str));
        let mut outputs = vec![y.as_str()];
        outputs.extend(next.iter().map(String::as_str));
        self.graph.node(op_type, &prefix, &inputs, &outputs, attributes);
        let squeezed =
            self.graph.chain("Squeeze", &format!("{prefix}.output"), &[&y, "direction_axis"], vec![]);
        (squeezed, next)
    }

    /// The names of the initial states of each layer, `[1, N, H]`.
    fn initial_states(&mut self) -> Vec<Vec<String>> {
        self.graph.i64s("direction_axis", &[1], &[1]);
        let (config, specs) = (self.config, state_specs(self.config));
        let layers = config.layers.len();
        if is_stacked(config) && layers > 1 {
            self.graph.i64s("one_each", &[layers], &vec![1; layers]);
            for spec in &specs {
                let parts: Vec<String> = (0..layers).map(|i| format!("{}.layers.{i}", spec.input)).collect();
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let name = format!("{}.split", spec.input);
                self.graph.node("Split", &name, &[&spec.input, "one_each"], &parts, vec![int("axis", 0)]);
            }
        }
        let name = |tensor: usize, row: usize| match is_stacked(config) && layers > 1 {
            true => format!("{}.layers.{row}", specs[tensor].input),
            false => specs[tensor].input.clone(),
        };
        let places = state_places(config);
        places.iter().map(|layer| layer.iter().map(|p| name(p.tensor, p.row)).collect()).collect()
    }

    /// Stacks the last states of the layers; where they are not stacked, the cells' outputs bear
    /// the final names already.
    fn next_states(&mut self, next: &[Vec<String>]) {
        if !is_stacked(self.config) || next.len() == 1 {
            return;
        }
        for (k, spec) in state_specs(self.config).iter().enumerate() {
            let parts: Vec<&str> = next.iter().map(|layer| layer[k].as_str()).collect();
            self.graph.chain("Concat", &spec.output, &parts, vec![int("axis", 0)]);
        }
    }

    fn parameter(&mut self, name: &str, direction_axis: bool) {
        let shapes = parameter_shapes(self.config);
        let Some((_, shape)) = shapes.into_iter().find(|(n, _)| n == name) else { return };
        let shape = if direction_axis { [&[1], shape.as_slice()].concat() } else { shape };
        let data = self.weights.and_then(|w| w.parameter(name)).map_or(&[][..], |p| &p.data);
        self.graph.f32s(name, &shape, data);
    }
}

/// The ONNX operator of a cell and its attributes.
fn cell_operator(cell: CellKind, hidden: usize) -> (&'static str, Vec<AttributeProto>) {
    let size = int("hidden_size", hidden as i64);
    match cell {
        CellKind::RnnTanh => ("RNN", vec![size, strings("activations", &["Tanh"])]),
        CellKind::RnnRelu => ("RNN", vec![size, strings("activations", &["Relu"])]),
        CellKind::Gru => ("GRU", vec![size, int("linear_before_reset", 1)]),
        CellKind::GruResetBefore => ("GRU", vec![size, int("linear_before_reset", 0)]),
        CellKind::Lstm => ("LSTM", vec![size]),
    }
}

/// The cell that a recurrent node of a file of ours is.
pub(super) fn cell_of(op_type: &str, attributes: &[AttributeProto]) -> Option<CellKind> {
    let attribute = |name: &str| attributes.iter().find(|a| a.name == name);
    match op_type {
        "RNN" => match attribute("activations")?.strings.first()?.as_ref() {
            b"Tanh" => Some(CellKind::RnnTanh),
            b"Relu" => Some(CellKind::RnnRelu),
            _ => None,
        },
        "GRU" => match attribute("linear_before_reset").and_then(|a| a.i) {
            Some(1) => Some(CellKind::Gru),
            _ => Some(CellKind::GruResetBefore),
        },
        "LSTM" => Some(CellKind::Lstm),
        _ => None,
    }
}
