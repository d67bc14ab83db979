//! Reads the files that [`super::export`] writes. The configuration is derived from the graph: sizes from
//! the tensors, cells from the recurrent nodes. Then the graph of that configuration is built and compared
//! with the file's, node by node, so that the native engine computes exactly what the file describes.

use std::collections::HashMap;
use std::path::Path;

use super::OnnxFile;
use super::build::block::SizesInFile;
use super::build::cells::{block_of, cell_of};
use super::build::layers::half_name;
use super::export::{self, IR_VERSION, OPSET, build};
use super::interface::{tensor_text, type_name};
use super::metadata::{self, Metadata};
use super::precision::Precision;
use super::proto::{self, GraphProto, MAX_FILE_BYTES, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use super::targets::is_of_export;
use crate::error::{Error, Result, Stage};
use crate::model::network::parameter_shapes;
use crate::model::{LayerConfig, Network, NetworkConfig, Parameter};

/// Maximum number of layers.
const MAX_LAYERS: usize = 1000;

/// Maximum relative difference of two constants that count as equal: those of an export at a reduced precision are
/// computed from weights that were rounded already.
const SAME: f32 = 1e-5;

const OUTPUT_WEIGHT: &str = "output.weight";

/// Reads a model file's bytes.
///
/// # Errors
/// When the bytes are not an ONNX file, are truncated, contain another graph than hearken writes, lack
/// metadata, or contain weights that do not fit or are not finite. Names the node, tensor or key.
pub fn read(bytes: &[u8]) -> Result<(Network<f32>, Metadata)> {
    read_model(&OnnxFile::from_bytes(bytes.to_vec())?)
}

/// Reads a decoded model file; see [`read`].
///
/// # Errors
/// As [`read`].
pub fn read_model(file: &OnnxFile) -> Result<(Network<f32>, Metadata)> {
    let mut metadata = Metadata::from_entries(file.entries())?;
    check_versions(file.model())?;
    let graph = file.graph();
    let tensors = tensors_by_name(graph)?;
    let shape = |name: &str| {
        let tensor = tensors.get(name).or_else(|| tensors.get(half_name(name).as_str()))?;
        Some(tensor.shape())
    };
    let sizes = SizesOfGraph { shape: &shape, state_rows: &|_, number| state_rows(graph, number) };
    let config = derive_config(graph, metadata::subsampling(file.entries())?, &sizes)?;
    let halves = tensors.contains_key(half_name(OUTPUT_WEIGHT).as_str());
    let precision = if halves { Precision::Float16 } else { Precision::Float32 };
    compare(graph, &build(&config, None, precision))?;
    let network = assemble(config, &tensors)?;
    export::check(&network)?;
    metadata.check(&network.config)?;
    if metadata.to_entries(&network.config)?.iter().any(|e| e.0 == "states" && !file.entries().contains(e)) {
        return Err(
            Error::new(Stage::Model, "expected the states of the graph, found others").at("metadata states")
        );
    }
    // A file exported at half precision is a model as well; the export's entries are dropped.
    metadata.other.retain(|(key, _)| !is_of_export(key));
    Ok((network, metadata))
}

/// Reads a model file; see [`read`].
///
/// # Errors
/// As [`read`], with the file named; and when it cannot be opened or is too long.
pub fn read_file(path: &Path) -> Result<(Network<f32>, Metadata)> {
    read_model(&OnnxFile::read(path)?).map_err(|e| e.in_file(path))
}

fn check_versions(model: &ModelProto) -> Result<()> {
    let opsets: Vec<(&str, Option<i64>)> =
        model.opset_import.iter().map(|o| (o.domain.as_str(), o.version)).collect();
    if opsets != [("", Some(OPSET))] {
        let name = |domain: &str| if domain.is_empty() { "ai.onnx".into() } else { domain.to_string() };
        let found = opsets.iter().map(|(domain, v)| format!("{} {}", name(domain), v.unwrap_or(0)));
        let found: Vec<String> = found.collect();
        return Err(Error::new(
            Stage::Model,
            format!("expected only the operator set {OPSET}, found {}", found.join(", ")),
        ));
    }
    if model.ir_version != Some(IR_VERSION) {
        let found = model.ir_version.unwrap_or_default();
        return Err(Error::new(Stage::Model, format!("expected IR version {IR_VERSION}, found {found}")));
    }
    if !model.functions.is_empty() || !model.training_info.is_empty() {
        return Err(Error::new(
            Stage::Model,
            "functions and training graphs inside a model are not supported",
        ));
    }
    Ok(())
}

pub(super) type Tensors<'a> = HashMap<&'a str, &'a TensorProto>;

/// The constants of a graph.
pub(super) fn tensors_by_name(graph: &GraphProto) -> Result<Tensors<'_>> {
    if !graph.sparse_initializer.is_empty() || !graph.quantization_annotation.is_empty() {
        return Err(Error::new(Stage::Model, "sparse and quantized tensors are not supported"));
    }
    let mut tensors = HashMap::with_capacity(graph.initializer.len());
    for tensor in &graph.initializer {
        if tensors.insert(tensor.name.as_str(), tensor).is_some() {
            return Err(
                Error::new(Stage::Model, "the tensor occurs twice").at(format!("tensor {}", tensor.name))
            );
        }
    }
    Ok(tensors)
}

/// The tensors and states of a graph that a configuration is derived from.
pub(super) struct SizesOfGraph<'a> {
    /// The shape of a tensor by its name as a parameter; `None` if there is none.
    pub shape: &'a dyn Fn(&str) -> Option<Result<Vec<usize>>>,
    /// The number of rows of a state: the index of its layer, its number among all states.
    pub state_rows: &'a dyn Fn(usize, usize) -> usize,
}

impl SizesOfGraph<'_> {
    /// The length of an axis of a tensor, which must have `rank` axes.
    pub fn axis(&self, name: &str, rank: usize, axis: usize) -> Result<usize> {
        let shape = (self.shape)(name).ok_or_else(|| {
            Error::new(Stage::Model, format!("expected a tensor `{name}`, found none"))
                .hint("is it a model that hearken trained or imported?")
        })??;
        if shape.len() != rank {
            return Err(Error::new(Stage::Model, format!("expected {rank} axes, found {shape:?}"))
                .at(format!("tensor {name}")));
        }
        // No axis longer than the largest file can hold, so that the product of two lengths cannot
        // overflow.
        if shape[axis] as u64 > MAX_FILE_BYTES / 4 {
            return Err(Error::new(
                Stage::Model,
                format!("expected a shape that fits into a file, found {shape:?}"),
            )
            .at(format!("tensor {name}")));
        }
        Ok(shape[axis])
    }
}

/// The configuration of a graph that hearken wrote: sizes by the tensors, layers by the nodes.
pub(super) fn derive_config(
    graph: &GraphProto,
    subsampling: usize,
    sizes: &SizesOfGraph<'_>,
) -> Result<NetworkConfig> {
    let axis = |name: &str, rank: usize, axis: usize| sizes.axis(name, rank, axis);
    let mut layers = Vec::new();
    for node in &graph.node {
        if let Some((_, block)) = block_of(layers.len(), &node.name) {
            let number = layers.iter().map(|l: &LayerConfig| l.cell.states()).sum();
            let state_rows = (sizes.state_rows)(layers.len(), number);
            let layer = (block.sizes)(&SizesInFile { prefix: &node.name, state_rows, axis: &axis })?;
            if let Some(problem) = layer.problem() {
                return Err(Error::new(Stage::Model, problem).at(node.name.clone()));
            }
            layers.push(layer);
        } else if let Some(cell) = cell_of(&node.op_type, &node.attribute) {
            let hidden = axis(&format!("layers.{}.{}.R", layers.len(), cell.family()), 3, 2)?;
            layers.push(LayerConfig::new(cell, hidden));
        }
        if layers.len() > MAX_LAYERS {
            return Err(Error::new(
                Stage::Model,
                format!("expected at most {MAX_LAYERS} layers, found more"),
            ));
        }
    }
    if subsampling as u64 > MAX_FILE_BYTES / 4 {
        return Err(Error::new(
            Stage::Model,
            format!("expected a subsampling of at most {}, found {subsampling}", MAX_FILE_BYTES / 4),
        )
        .at("metadata subsampling"));
    }
    Ok(NetworkConfig {
        num_features: axis("mean", 1, 0)?,
        subsampling,
        input_size: axis("input.weight", 2, 0)?,
        layers,
        layer_norm: (sizes.shape)("input_norm.gain").is_some(),
        residual: graph.node.iter().any(|n| n.name.ends_with(".residual")),
        num_tokens: axis(OUTPUT_WEIGHT, 2, 0)?,
        auxiliary: None,
    })
}

/// The declared length of the first axis of state tensor `number`; 0 if there is none.
fn state_rows(graph: &GraphProto, number: usize) -> usize {
    let input = graph.input.iter().find(|input| input.name == format!("state.{number}"));
    let length = input.and_then(|input| input.tensor()?.1.first()?.dim_value);
    length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0)
}

/// Compares the file's graph with the one that hearken would write: nodes, inputs, outputs, and names,
/// types and shapes of the tensors. Values are compared where the expected graph has some, which are all but those of the
/// parameters in a graph built without weights.
pub(super) fn compare(found: &GraphProto, expected: &GraphProto) -> Result<()> {
    let other = |place: String, problem: String| {
        Err(Error::new(Stage::Model, problem).at(place).hint("this is not a graph that hearken writes"))
    };
    for (kind, found, expected) in
        [("input", &found.input, &expected.input), ("output", &found.output, &expected.output)]
    {
        compare_values(kind, found, expected)?;
    }
    for (i, want) in expected.node.iter().enumerate() {
        let Some(node) = found.node.get(i) else {
            return other(format!("node {}", want.name), format!("expected {}, found none", want.op_type));
        };
        // Documentation does not change the computation, and optimizers and editors add it.
        let mut node = node.clone();
        node.doc_string.clear();
        if node != *want {
            let problem =
                format!("expected {}, found {} or other attributes", node_text(want), node_text(&node));
            return other(format!("node {}", node.name), problem);
        }
    }
    if let Some(node) = found.node.get(expected.node.len()) {
        return other(
            format!("node {}", node.name),
            format!("expected no more nodes, found {}", node.op_type),
        );
    }
    let known: HashMap<&str, &TensorProto> =
        expected.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
    for tensor in &found.initializer {
        let place = format!("tensor {}", tensor.name);
        let Some(want) = known.get(tensor.name.as_str()) else {
            return other(place, "expected no such tensor".into());
        };
        if tensor.dims != want.dims || tensor.data_type != want.data_type {
            let text = |t: &TensorProto| format!("{} {:?}", type_name(t.data_type), t.dims);
            return other(place, format!("expected {}, found {}", text(want), text(tensor)));
        }
        if want.raw_data.as_ref().is_some_and(|data| !data.is_empty()) && !have_same_values(tensor, want)? {
            return other(place, "expected other values".into());
        }
    }
    let missing = expected.initializer.iter().find(|t| !found.initializer.iter().any(|f| f.name == t.name));
    match missing {
        Some(tensor) => other(format!("tensor {}", tensor.name), "expected it, found none".into()),
        None => Ok(()),
    }
}

fn have_same_values(found: &TensorProto, want: &TensorProto) -> Result<bool> {
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= SAME * a.abs().max(b.abs());
    Ok(match want.data_type {
        proto::FLOAT => found.to_f32()?.1.iter().zip(&want.to_f32()?.1).all(close),
        proto::INT64 => found.to_i64()? == want.to_i64()?,
        _ => found.raw_data == want.raw_data,
    })
}

/// A node in words: `GRU of x, W into Y`.
fn node_text(node: &NodeProto) -> String {
    format!("{} of {} into {}", node.op_type, node.input.join(", "), node.output.join(", "))
}

fn compare_values(kind: &str, found: &[ValueInfoProto], expected: &[ValueInfoProto]) -> Result<()> {
    for (i, want) in expected.iter().enumerate() {
        let place = format!("{kind} {}", want.name);
        match found.get(i) {
            Some(value) if value.name == want.name && value.tensor() == want.tensor() => {}
            Some(value) => {
                let (expected, found) = (tensor_text(want), tensor_text(value));
                let problem = format!("expected {} {expected}, found {} {found}", want.name, value.name);
                return Err(Error::new(Stage::Model, problem).at(place));
            }
            None => {
                return Err(Error::new(Stage::Model, format!("the graph's {kind} is missing")).at(place));
            }
        }
    }
    match found.get(expected.len()) {
        Some(value) => {
            Err(Error::new(Stage::Model, format!("expected no such {kind}"))
                .at(format!("{kind} {}", value.name)))
        }
        None => Ok(()),
    }
}

fn assemble(config: NetworkConfig, tensors: &Tensors) -> Result<Network<f32>> {
    let values = |name: &str| -> Result<Vec<f32>> {
        if let Some(tensor) = tensors.get(half_name(name).as_str()) {
            return tensor.to_f16();
        }
        let tensor = tensors.get(name).ok_or_else(|| {
            Error::new(Stage::Model, "expected it, found none").at(format!("tensor {name}"))
        })?;
        Ok(tensor.to_f32()?.1)
    };
    let parameters = parameter_shapes(&config)
        .into_iter()
        .map(|(name, shape)| Ok(Parameter { data: values(&name)?, name, shape }))
        .collect::<Result<Vec<_>>>()?;
    Ok(Network { mean: values("mean")?, scale: values("scale")?, parameters, config })
}
