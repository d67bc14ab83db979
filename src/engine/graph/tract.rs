//! Graphs on Sonos' tract, which is written in Rust and compiled in.

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

use super::{Graph, array, one_line};
use crate::engine::{StateTensor, TensorData};
use crate::error::{Error, Result, Stage, catch_panic};
use crate::onnx::OnnxFile;
use crate::onnx::interface::real_inputs;

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

/// Runs tract's code; a panic in it becomes an error, since tract panics on some graphs that it does not support.
fn no_panic<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T> {
    catch_panic(work)
        .unwrap_or_else(|| bail!("tract failed on this graph without giving a reason"))
        .map_err(failed)
}

/// A graph loaded into tract.
pub struct TractGraph {
    model: Arc<TypedRunnableModel>,
    /// Names of the inputs, in the graph's order.
    inputs: Vec<String>,
}

impl TractGraph {
    /// Loads a file's graph.
    ///
    /// # Errors
    /// When tract cannot run it.
    pub fn new(file: &OnnxFile) -> Result<Self> {
        let inputs = real_inputs(file.graph()).into_iter().map(|input| input.name.clone()).collect();
        Ok(Self { model: runnable(file.bytes())?, inputs })
    }
}

impl Graph for TractGraph {
    fn run(&self, inputs: &[(&str, &StateTensor)]) -> Result<Vec<StateTensor>> {
        let mut values: TVec<TValue> = tvec![];
        for name in &self.inputs {
            let missing =
                || Error::new(Stage::Engine, format!("expected a tensor for the input `{name}`, found none"));
            let (_, tensor) = inputs.iter().find(|(given, _)| given == name).ok_or_else(missing)?;
            let value = match &tensor.data {
                TensorData::F32(all) => Tensor::from(array(name, tensor, all)?.to_owned()),
                TensorData::I64(all) => Tensor::from(array(name, tensor, all)?.to_owned()),
            };
            values.push(value.into());
        }
        let outputs = no_panic(|| self.model.run(values))?;
        let tensor = |value: &TValue| -> Result<StateTensor> {
            match value.to_plain_array_view::<f32>() {
                Ok(all) => Ok(StateTensor::from(all)),
                Err(_) => Ok(StateTensor::from(value.to_plain_array_view::<i64>().map_err(failed)?)),
            }
        };
        outputs.iter().map(tensor).collect()
    }
}

/// Imports the RNN operator with its activation; tract's own importer always uses tanh.
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

/// Converts tract's error: the root of its chain of causes, and the node named in the chain.
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
