//! The engine of Sonos' tract: pure Rust, compiled in.

use std::io::Cursor;
use std::sync::Arc;

use tract_onnx::model::ParsingContext;
use tract_onnx::ops::rec::common::CommonRec;
use tract_onnx::ops::rec::rnn::RNN;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::nn::leaky_relu;
use tract_onnx::tract_hir::internal::{InferenceOp, bail, expand};
use tract_onnx::tract_hir::ops::math::tanh;

use super::batch::{batch_shape, check_call, split_f32, split_i64, split_outputs, stack, zero_state};
use super::graph_io::GraphIo;
use super::{Engine, EngineSpec, Graph, State, StateTensor, TensorData, one_line};
use crate::error::{Error, Result, Stage, catch_panic};

/// tract, running the file's graph.
pub struct TractEngine {
    spec: EngineSpec,
    io: GraphIo,
    model: Arc<TypedRunnableModel>,
}

impl TractEngine {
    /// An engine of a model file's bytes; `spec` says how its inputs and outputs pair up.
    ///
    /// # Errors
    /// When tract cannot run the graph, or the spec's names are not in it.
    pub fn from_model(bytes: &[u8], spec: EngineSpec) -> Result<Self> {
        let io = GraphIo::find(bytes, &spec)?;
        let model = runnable(bytes)?;
        Ok(Self { spec: EngineSpec { name: "tract", ..spec }, io, model })
    }

    fn inputs(&self, frames: &[&[f32]], t: usize, states: &[&mut State]) -> Result<TVec<TValue>> {
        let n = frames.len();
        let x = frames.concat();
        let x = Tensor::from_shape(&[n, t, self.spec.num_features], &x).map_err(failed)?;
        let mut inputs: Vec<Option<TValue>> = vec![None; self.io.inputs.len()];
        inputs[self.io.x] = Some(x.into());
        for (i, (spec, place)) in self.spec.states.iter().zip(&self.io.states).enumerate() {
            let shape = batch_shape(spec, n);
            let tensor = match stack(spec, i, states)? {
                TensorData::F32(all) => Tensor::from_shape(&shape, &all),
                TensorData::I64(all) => Tensor::from_shape(&shape, &all),
            };
            inputs[place.0] = Some(tensor.map_err(failed)?.into());
        }
        Ok(inputs.into_iter().flatten().collect())
    }
}

fn runnable(bytes: &[u8]) -> Result<Arc<TypedRunnableModel>> {
    no_panic(|| {
        let mut importer = tract_onnx::onnx();
        importer.op_register.insert("RNN", rnn);
        importer
            .model_for_read(&mut Cursor::new(bytes))
            .and_then(|model| model.into_optimized())
            .and_then(|model| model.into_runnable())
    })
}

/// Runs tract's code; a panic in it becomes an error. It meets graphs of any shape, and unwraps on
/// some that it does not expect.
fn no_panic<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T> {
    catch_panic(work)
        .unwrap_or_else(|| bail!("tract failed on this graph without giving a reason"))
        .map_err(failed)
}

/// Any graph that tract can run.
pub struct TractGraph {
    model: Arc<TypedRunnableModel>,
    /// In the graph's order.
    inputs: Vec<String>,
}

impl TractGraph {
    /// A graph of a file's bytes.
    ///
    /// # Errors
    /// When tract cannot run it.
    pub fn from_model(bytes: &[u8]) -> Result<Self> {
        let graph = crate::onnx::proto::decode(bytes)?.graph.unwrap_or_default();
        let is_constant = |name: &str| graph.initializer.iter().any(|t| t.name == name);
        let inputs = graph.input.iter().map(|i| i.name.clone()).filter(|n| !is_constant(n)).collect();
        Ok(Self { model: runnable(bytes)?, inputs })
    }
}

impl Graph for TractGraph {
    fn run(&self, inputs: &[(&str, &StateTensor)]) -> Result<Vec<StateTensor>> {
        let mut values: TVec<TValue> = tvec![];
        for name in &self.inputs {
            let missing = || Error::new(Stage::Engine, format!("nothing was given for the input `{name}`"));
            let (_, tensor) = inputs.iter().find(|(given, _)| given == name).ok_or_else(missing)?;
            let value = match &tensor.data {
                TensorData::F32(all) => Tensor::from_shape(&tensor.shape, all),
                TensorData::I64(all) => Tensor::from_shape(&tensor.shape, all),
            };
            values.push(value.map_err(failed)?.into());
        }
        let outputs = no_panic(|| self.model.run(values))?;
        let tensor = |value: &TValue| -> Result<StateTensor> {
            let shape = value.shape().to_vec();
            let data = match to_vec::<f32>(value) {
                Ok(all) => TensorData::F32(all),
                Err(_) => TensorData::I64(to_vec::<i64>(value)?),
            };
            Ok(StateTensor { shape, data })
        };
        outputs.iter().map(tensor).collect()
    }
}

impl Engine for TractEngine {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn zero_state(&self) -> State {
        zero_state(&self.spec.states)
    }

    fn run(
        &self,
        frames: &[&[f32]],
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> Result<()> {
        let t = check_call(&self.spec, frames, states, log_probs.len())?;
        if t == 0 {
            return Ok(());
        }
        let inputs = self.inputs(frames, t, states)?;
        let outputs = no_panic(|| self.model.run(inputs))?;
        let output = |index: usize| {
            outputs.get(index).ok_or_else(|| Error::new(Stage::Engine, "tract gave too few outputs"))
        };
        for (i, (spec, place)) in self.spec.states.iter().zip(&self.io.states).enumerate() {
            let value = output(place.1)?;
            if self.io.is_i64[i] {
                split_i64(spec, i, &to_vec::<i64>(value)?, states)?;
            } else {
                split_f32(spec, i, &to_vec::<f32>(value)?, states)?;
            }
        }
        split_outputs(&self.spec, &to_vec::<f32>(output(self.io.log_probs)?)?, log_probs)
    }
}

/// Imports the RNN operator: tract's own importer takes tanh whatever the node's activation is.
fn rnn(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let activations: Vec<String> = node.get_attr_opt_vec("activations")?.unwrap_or_default();
    let activation = || -> TractResult<Box<dyn tract_onnx::tract_core::ops::TypedOp>> {
        match activations.first().map(String::as_str) {
            None | Some("Tanh") => Ok(Box::new(tanh())),
            Some("Relu") => Ok(Box::new(leaky_relu(0.0))),
            Some(other) => bail!("the activation {other} of RNN is not supported"),
        }
    };
    let body = RNN { fore: activation()?, back: activation()? };
    let cell = CommonRec::from_node_and_options(node, 3, 0, Box::new(body))?;
    Ok((expand(cell), vec![]))
}

fn to_vec<T: Datum + Copy>(value: &TValue) -> Result<Vec<T>> {
    let view = value.to_plain_array_view::<T>().map_err(failed)?;
    Ok(view.iter().copied().collect())
}

/// The root of tract's chain of causes, and the node that the chain names.
fn failed(error: TractError) -> Error {
    let named = |cause: &(dyn std::error::Error + 'static)| {
        let text = cause.to_string();
        let (_, after) = text.split_once("node #")?;
        let name = after.split('"').nth(1)?;
        (!name.is_empty()).then(|| name.to_string())
    };
    let place = match error.chain().find_map(named) {
        Some(node) => format!("engine tract, node {node}"),
        None => "engine tract".into(),
    };
    Error::new(Stage::Engine, one_line(&error.root_cause().to_string())).at(place)
}
