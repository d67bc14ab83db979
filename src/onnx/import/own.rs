//! Import of the files that hearken exported: for any target, at any precision, with any cells. The weights are read by
//! their names, and the configuration is derived from the graph; then the network is exported in the same way again, and
//! the two graphs are compared, node by node and constant by constant. So the network computes exactly what the file
//! describes.

use super::constant::{Constant, Numbers};
use crate::error::{Error, Result, Stage};
use crate::model::network::parameter_shapes;
use crate::model::{Network, NetworkConfig, Parameter};
use crate::onnx::build::cells::block_kind;
use crate::onnx::build::layers::half_name;
use crate::onnx::load::{SizesOfGraph, Tensors, compare, derive_config, tensors_by_name};
use crate::onnx::metadata::Metadata;
use crate::onnx::precision::Precision;
use crate::onnx::proto::{self, GraphProto, TensorProto};
use crate::onnx::targets::{self, ExportOptions, PRECISION_KEY, TARGET_KEY, Target, target_of};
use crate::onnx::{OnnxFile, export};

/// Whether hearken wrote the graph, by the name of the graph.
pub(super) fn is_own(file: &OnnxFile) -> bool {
    file.graph().name == "hearken"
}

/// Whether the graph has layers that hearken alone writes, so that nothing else can read them.
pub(super) fn has_own_layers(file: &OnnxFile) -> bool {
    file.graph().node.iter().any(|node| block_kind(&node.name).is_some())
}

/// Reads the network of a file.
///
/// # Errors
/// Names the first node or tensor that hearken would have written differently.
pub(super) fn read(file: &OnnxFile) -> Result<Network<f32>> {
    let graph = file.graph();
    let stored = Stored { tensors: tensors_by_name(graph)? };
    let shape = |name: &str| stored.shape(name);
    let state_rows = |layer: usize, number: usize| state_rows(graph, &stored.tensors, layer, number);
    let sizes = SizesOfGraph { shape: &shape, state_rows: &state_rows };
    let (columns, features) = (sizes.axis("input.weight", 2, 1)?, sizes.axis("mean", 1, 0)?);
    let subsampling = columns.checked_div(features).filter(|s| s * features == columns);
    let subsampling = subsampling.ok_or_else(|| {
        Error::new(Stage::Model, format!("expected a multiple of the {features} features, found {columns}"))
            .at("tensor input.weight")
    })?;
    let config = derive_config(graph, subsampling, &sizes)?;
    let network = stored.network(config)?;
    export::check(&network)?;
    compare(graph, &expected(file, &network)?)?;
    Ok(network)
}

/// The graph that the file would have if hearken exported the network in the same way.
fn expected(file: &OnnxFile, network: &Network<f32>) -> Result<GraphProto> {
    let config = &network.config;
    if file.value(TARGET_KEY).is_none() {
        let halves = file.graph().initializer.iter().any(|tensor| tensor.data_type == proto::FLOAT16);
        let precision = if halves { Precision::Float16 } else { Precision::Float32 };
        return Ok(export::build(config, Some(network), precision));
    }
    let unknown = |key: &str| {
        let found = file.value(key).unwrap_or_default().chars().take(60).collect::<String>();
        Error::new(Stage::Model, format!("expected a name that this version knows, found {found:?}"))
            .at(format!("metadata {key}"))
    };
    let target = target_of(file).ok_or_else(|| unknown(TARGET_KEY))?;
    let precision = match file.value(PRECISION_KEY) {
        None => Precision::Float32,
        Some(name) => {
            let known = Precision::ALL.into_iter().find(|precision| precision.name() == name);
            known.ok_or_else(|| unknown(PRECISION_KEY))?
        }
    };
    // Part of the graph for sherpa-onnx only, whose metadata have it.
    let chunk_frames = match target {
        Target::SherpaOnnx => file.value("T").and_then(|frames| frames.parse().ok()).unwrap_or(0),
        _ => config.subsampling,
    };
    let with_frontend = file.graph().input.iter().any(|input| input.name == "pcm");
    let options = ExportOptions { precision, with_frontend, chunk_frames, ..ExportOptions::new(target) };
    let metadata = Metadata::from_entries(file.entries())?;
    let export = targets::export(network, &metadata, &options)?;
    let bytes = export.files.into_iter().next().map(|file| file.bytes).unwrap_or_default();
    Ok(proto::decode(&bytes)?.graph.unwrap_or_default())
}

/// The number of rows of a layer's state: that of the graph's input, whose batch axis has no fixed length; in a graph for
/// whole recordings, which has no states, that of the zeros in its place.
fn state_rows(graph: &GraphProto, tensors: &Tensors<'_>, layer: usize, number: usize) -> usize {
    let names = [format!("state.{number}"), format!("cached_key_{layer}")];
    let length = match graph.input.iter().find(|input| names.contains(&input.name)) {
        Some(input) => input.tensor().and_then(|(_, dims)| dims.iter().find_map(|dim| dim.dim_value)),
        None => {
            let repeats = tensors.get(format!("layers.{layer}.state.0.repeats").as_str());
            repeats.and_then(|repeats| repeats.to_i64().ok()?.1.first().copied())
        }
    };
    length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0)
}

/// How a parameter is stored.
enum Form<'a> {
    Plain(&'a TensorProto),
    Halves(&'a TensorProto),
    /// Integers and the scales of their rows.
    Integers(&'a TensorProto, &'a TensorProto),
    /// The transposed integers of a linear layer that is computed in integers.
    Transposed(&'a TensorProto, &'a TensorProto),
}

/// The tensors of a file by name.
struct Stored<'a> {
    tensors: Tensors<'a>,
}

impl<'a> Stored<'a> {
    fn form(&self, name: &str) -> Option<Form<'a>> {
        let get = |name: &str| self.tensors.get(name).copied();
        // W of a cell whose zero state is held until the first sample gets a column, and is stored without it.
        let plain = name.strip_suffix(".W").map(|prefix| format!("{prefix}.plain.W"));
        [Some(name), plain.as_deref()].into_iter().flatten().find_map(|name| {
            if let Some(tensor) = get(name) {
                return Some(Form::Plain(tensor));
            }
            if let Some(tensor) = get(&half_name(name)) {
                return Some(Form::Halves(tensor));
            }
            let (integers, scale) = (get(&format!("{name}.int8"))?, get(&format!("{name}.scale"))?);
            Some(match scale.dims.len() {
                1 => Form::Transposed(integers, scale),
                _ => Form::Integers(integers, scale),
            })
        })
    }

    fn shape(&self, name: &str) -> Option<Result<Vec<usize>>> {
        Some(match self.form(name)? {
            Form::Plain(tensor) | Form::Halves(tensor) | Form::Integers(tensor, _) => tensor.shape(),
            Form::Transposed(tensor, _) => tensor.shape().map(|shape| shape.into_iter().rev().collect()),
        })
    }

    /// The values of a parameter as float32, row-major.
    fn values(&self, name: &str) -> Result<Vec<f32>> {
        let missing = || Error::new(Stage::Model, "expected it, found none").at(format!("tensor {name}"));
        match self.form(name).ok_or_else(missing)? {
            Form::Plain(tensor) => Ok(tensor.to_f32()?.1),
            Form::Halves(tensor) => tensor.to_f16(),
            Form::Integers(tensor, scale) => {
                let (shape, integers) = integers(tensor)?;
                let columns = shape.last().copied().unwrap_or(1).max(1);
                let scales = scale.to_f32()?.1;
                let rows = integers.chunks(columns).zip(&scales);
                Ok(rows.flat_map(|(row, scale)| row.iter().map(move |v| v * scale)).collect())
            }
            Form::Transposed(tensor, scale) => {
                let (shape, integers) = integers(tensor)?;
                let scales = scale.to_f32()?.1;
                let &[inner, outer] = &shape[..] else {
                    return Err(Error::new(Stage::Model, format!("expected two axes, found {shape:?}"))
                        .at(format!("tensor {name}.int8")));
                };
                let row = |(o, scale): (usize, f32)| {
                    let integers = &integers;
                    (0..inner).map(move |i| integers[i * outer + o] * scale)
                };
                Ok(scales.into_iter().enumerate().take(outer).flat_map(row).collect())
            }
        }
    }

    fn network(&self, config: NetworkConfig) -> Result<Network<f32>> {
        let parameter =
            |(name, shape): (String, Vec<usize>)| Ok(Parameter { data: self.values(&name)?, name, shape });
        let parameters = parameter_shapes(&config).into_iter().map(parameter).collect::<Result<Vec<_>>>()?;
        Ok(Network { mean: self.values("mean")?, scale: self.values("scale")?, parameters, config })
    }
}

/// Shape and values of a tensor of int8.
fn integers(tensor: &TensorProto) -> Result<(Vec<usize>, Vec<f32>)> {
    match Constant::read(tensor)? {
        Constant { shape, numbers: Numbers::I64(values) } => {
            Ok((shape, values.into_iter().map(|v| v as f32).collect()))
        }
        Constant { .. } => {
            Err(Error::new(Stage::Model, "expected integers").at(format!("tensor {}", tensor.name)))
        }
    }
}
