//! Walks over a foreign graph in topological order and interprets each value. A value that is not
//! understood is an error only if the output depends on it.

use std::collections::HashMap;
use std::rc::Rc;

use super::constant::{Constant, is_float};
use super::node::{Node, unsupported};
use super::value::{Axis, Length, Operation, Sequence, StageOf, Value};
use crate::error::{Error, Result, Stage};
use crate::onnx::interface::real_inputs;
use crate::onnx::proto::{GraphProto, NodeProto, ValueInfoProto};

/// The computation of a graph, stage by stage.
pub(super) struct Walker {
    values: HashMap<String, Value>,
    pub stages: Vec<StageOf>,
    /// The outer axis of the input that is time, once a recurrent node determined it.
    pub time: Option<usize>,
    /// The declared lengths of the outer axes.
    pub declared: [Option<i64>; 2],
    /// Version of the nodes' operator set.
    pub opset: i64,
    /// Number of elements that constant folding may still allocate. A weight stored as bytes needs four
    /// copies: a cast, a scaling, a transposition and that of the layer.
    budget: usize,
}

impl Walker {
    /// Walks over the graph; `features` is the name of the input of features, `budget` the maximum number
    /// of elements that constant folding may allocate.
    ///
    /// # Errors
    /// When the number of features is unknown. A tensor that cannot be read is an error only where it is
    /// used.
    pub fn walk(graph: &GraphProto, features: &str, opset: i64, budget: usize) -> Result<Self> {
        let mut walker = Self {
            values: HashMap::new(),
            stages: Vec::new(),
            time: None,
            declared: [None, None],
            opset,
            budget,
        };
        for tensor in &graph.initializer {
            let value = match Constant::read(tensor) {
                Ok(constant) => Value::Constant(Rc::new(constant)),
                Err(error) => Value::Refused(error),
            };
            walker.define(&tensor.name, value, "initializer")?;
        }
        walker.inputs(graph, features)?;
        for (index, proto) in graph.node.iter().enumerate() {
            walker.node(&Node::new(proto, index))?;
        }
        Ok(walker)
    }

    /// The value called `name`.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    fn define(&mut self, name: &str, value: Value, place: &str) -> Result<()> {
        if !name.is_empty() && self.values.insert(name.into(), value).is_some() {
            return Err(Error::new(Stage::Model, format!("the value `{name}` is computed twice")).at(place));
        }
        Ok(())
    }

    /// Defines the graph's inputs: `features` is the name of the features; other inputs of floats can be
    /// initial states.
    fn inputs(&mut self, graph: &GraphProto, features: &str) -> Result<()> {
        for input in real_inputs(graph) {
            let value = match input.tensor() {
                Some(_) if input.name == features => self.features(input)?,
                Some((kind, _)) if is_float(i64::from(kind)) => Value::Initial,
                _ => Value::Refused(
                    Error::new(Stage::Model, "expected a constant or a state, found an input of the graph")
                        .at(format!("input {}", input.name)),
                ),
            };
            self.define(&input.name, value, "input")?;
        }
        Ok(())
    }

    fn features(&mut self, input: &ValueInfoProto) -> Result<Value> {
        let dims = input.tensor().map_or(&[][..], |t| t.1);
        let known: Vec<Option<i64>> = dims.iter().map(|d| d.dim_value.filter(|&v| v > 0)).collect();
        // The last axis is the feature axis, unless only the axis before it has a known length.
        let at = if known[2].is_none() && known[1].is_some() { 1 } else { 2 };
        let width = known[at].and_then(|w| usize::try_from(w).ok()).filter(|&w| w <= 1 << 20);
        let Some(width) = width else {
            return Err(Error::new(Stage::Model, "expected a known number of features on the last axis")
                .at(format!("input {}", input.name)));
        };
        let mut axes = vec![Axis::Outer(0), Axis::Outer(1)];
        axes.insert(at, Axis::Features);
        let outer: Vec<Option<i64>> = (0..3).filter(|&k| k != at).map(|k| known[k]).collect();
        self.declared = [outer[0], outer[1]];
        self.stages.push(StageOf {
            operation: Operation::Input,
            source: 0,
            width,
            place: format!("input {}", input.name),
        });
        Ok(Value::Sequence(Sequence { stage: 0, axes, width, over: [1, 1] }))
    }

    fn node(&mut self, node: &Node) -> Result<()> {
        let outputs = match node.proto.op_type.as_str() {
            // Its condition compares counters, which are not values of the importer, so its inputs are not
            // evaluated here.
            "Loop" => self.loop_node(node),
            _ => self.inputs_of(node.proto, node).and_then(|inputs| self.evaluate(node, inputs)),
        };
        let outputs = match outputs {
            Ok(outputs) => outputs,
            Err(error) => vec![Value::Refused(error); node.proto.output.len()],
        };
        let none = Value::Refused(node.error("this output of the node is not supported"));
        for (k, name) in node.proto.output.iter().enumerate() {
            let value = outputs.get(k).cloned().unwrap_or_else(|| none.clone());
            self.define(name, value, &node.place())?;
        }
        Ok(())
    }

    /// The values of a node's inputs; `None` for an omitted optional input.
    fn inputs_of(&self, proto: &NodeProto, node: &Node) -> Result<Vec<Option<Value>>> {
        let value = |name: &String| {
            match self.values.get(name) {
            _ if name.is_empty() => Ok(None),
            Some(Value::Refused(error)) => Err(error.clone()),
            Some(value) => Ok(Some(value.clone())),
            None => Err(node.error(format!(
                "no earlier node computes its input `{name}`: the graph has a cycle or is not in topological order"
            ))),
        }
        };
        proto.input.iter().map(value).collect()
    }

    /// The values of a node's outputs, given those of its inputs.
    pub(super) fn evaluate(&mut self, node: &Node, inputs: Vec<Option<Value>>) -> Result<Vec<Value>> {
        if !matches!(node.proto.domain.as_str(), "" | "ai.onnx") {
            return Err(
                node.error(format!("operators of the domain {} are not supported", node.proto.domain))
            );
        }
        // Operators that need to know which of their optional inputs are present come first.
        let op = node.proto.op_type.as_str();
        let one = |value: Value| Ok(vec![value]);
        let values: Vec<Value> = inputs.iter().flatten().cloned().collect();
        match op {
            "RNN" | "GRU" | "LSTM" => return self.recurrent(node, &inputs),
            "Constant" => return one(Value::Constant(Rc::new(Constant::from_node(node)?))),
            "Split" => return self.split(node, &inputs),
            "LayerNormalization" => return one(self.layer_norm(node, &inputs)?),
            "Gemm" => return one(self.gemm(node, &inputs)?),
            "DequantizeLinear" => return one(self.dequantized(node, &inputs)?),
            "DynamicQuantizeLinear" => return self.dynamic_quantize(node, &inputs),
            "MatMulInteger" => return one(self.integer_product(node, &inputs)?),
            _ => {}
        }
        let Some(first) = values.first() else { return Err(unsupported(node)) };
        match op {
            "Identity" | "Dropout" => one(first.clone()),
            "Cast" => one(self.cast(node, first)?),
            "Shape" => one(self.shape(node, first)?),
            "Transpose" => one(self.transpose(node, first)?),
            "Squeeze" | "Unsqueeze" => one(self.squeeze(node, &values)?),
            "Reshape" | "Flatten" => one(self.reshape(node, &values)?),
            "Slice" => one(self.slice(node, &inputs)?),
            "Gather" => one(self.gather(node, &values)?),
            "Concat" => one(self.concat(node, &values)?),
            "Expand" | "Tile" => one(self.expand(node, &values)?),
            "ConstantOfShape" => one(self.constant_of_shape(node, first)?),
            "Add" | "Sub" | "Mul" | "Div" => one(self.binary(node, &values)?),
            "MatMul" => one(self.matmul(node, &values)?),
            "Pow" | "Sqrt" | "Reciprocal" | "ReduceMean" => one(self.moment(node, &values)?),
            "Tanh" | "Relu" => one(self.activation(node, first)?),
            "Softmax" | "LogSoftmax" | "Log" => one(self.softmax(node, first)?),
            _ => Err(unsupported(node)),
        }
    }

    /// Adds a stage on top of a sequence.
    pub fn push(&mut self, node: &Node, source: &Sequence, operation: Operation, width: usize) -> Sequence {
        self.stages.push(StageOf { operation, source: source.stage, width, place: node.place() });
        Sequence { stage: self.stages.len() - 1, width, ..source.clone() }
    }

    /// Records which outer axis is time.
    pub fn set_time(&mut self, node: &Node, axis: usize) -> Result<()> {
        match self.time {
            Some(time) if time != axis => {
                Err(node.error("time runs along another axis than elsewhere in the graph"))
            }
            _ => {
                self.time = Some(axis);
                Ok(())
            }
        }
    }

    /// Reserves `count` elements of the budget for a folded constant; `None` is a number that overflows.
    pub fn charge_budget(&mut self, node: &Node, count: Option<usize>) -> Result<()> {
        let left = count.and_then(|n| self.budget.checked_sub(n));
        self.budget = left.ok_or_else(|| {
            node.error("folding its constants needs far more memory than the file's size justifies")
        })?;
        Ok(())
    }

    fn cast(&mut self, node: &Node, value: &Value) -> Result<Value> {
        let float = node.int("to").is_some_and(is_float);
        Ok(match value {
            Value::Constant(c) => {
                self.charge_budget(node, Some(c.len()))?;
                Value::Constant(Rc::new(c.cast(float)))
            }
            other => other.clone(),
        })
    }
}

/// A value interpreted as a vector of lengths, if it is one.
pub(super) fn lengths_of(value: &Value) -> Option<Vec<Length>> {
    match value {
        Value::Lengths { lengths, .. } => Some(lengths.clone()),
        Value::Constant(c) if c.shape.len() <= 1 => {
            c.as_i64().map(|v| v.iter().map(|&v| Length::Known(v)).collect())
        }
        _ => None,
    }
}
