//! Import of recurrent nodes, and of recurrences that an exporter has unrolled step by step (PyTorch's
//! dynamo exporter unrolls `nn.RNN` for a fixed number of steps).

use std::rc::Rc;

use super::constant::Constant;
use super::node::{Node, unsupported};
use super::value::{Axis, CellWeights, Length, Operation, Sequence, Unrolled, Value, listed};
use super::walk::Walker;
use crate::error::{Error, Result};
use crate::model::CellKind;
use crate::onnx::build::cells::cell_of;

impl Walker {
    /// `RNN`, `GRU`, `LSTM`: the outputs Y, Y_h and Y_c.
    pub(super) fn recurrent(&mut self, node: &Node, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let kind = check_attributes(node)?;
        let Some(Some(Value::Sequence(x))) = inputs.first() else {
            return Err(node.error("expected X to be the sequence"));
        };
        let [Axis::Outer(time), Axis::Outer(batch), Axis::Features] = x.axes[..] else {
            return Err(
                node.error(format!("expected X as [time, batch, features], found {}", listed(&x.axes)))
            );
        };
        self.set_time(node, time)?;
        let weights = weights(node, kind, inputs, x.width)?;
        self.check_lengths(node, inputs.get(4).and_then(Option::as_ref), x, time)?;
        for input in [5, 6] {
            match inputs.get(input).and_then(Option::as_ref) {
                None | Some(Value::Zeros | Value::Initial) => {}
                Some(Value::Constant(c)) if c.is_zero() => {}
                Some(_) => {
                    return Err(
                        node.error("expected an initial state of zeros or one from an input of the graph")
                    );
                }
            }
        }
        match inputs.get(7).and_then(Option::as_ref) {
            None => {}
            Some(Value::Constant(c)) if c.is_zero() => {}
            Some(_) => return Err(node.error("peepholes are not supported")),
        }
        let hidden = weights.hidden;
        let mut y = self.push(node, x, Operation::Cell(weights), hidden);
        y.axes = vec![Axis::Outer(time), Axis::One, Axis::Outer(batch), Axis::Features];
        let last = Value::Last { of: vec![y.stage] };
        Ok(vec![Value::Sequence(y), last.clone(), last])
    }

    /// Refuses a `sequence_lens` that is not the whole length for every stream.
    fn check_lengths(&self, node: &Node, lengths: Option<&Value>, x: &Sequence, time: usize) -> Result<()> {
        let over = x.over[time].max(1);
        let declared = self.declared[time].map(|n| n / over);
        let whole = match lengths {
            None => true,
            Some(Value::Constant(c)) => c.as_i64().is_some_and(|v| v.iter().all(|&v| Some(v) == declared)),
            Some(Value::Filled(Length::Known(n))) => Some(*n) == declared,
            Some(Value::Filled(length)) => *length == Length::Outer { axis: time, over },
            Some(_) => false,
        };
        if whole {
            return Ok(());
        }
        Err(node
            .error("sequence_lens other than the whole length are not supported")
            .hint("the engine handles streams of different lengths; export the model without sequence_lens"))
    }

    /// `Add` of the recurrent product and a step of the input's product.
    pub(super) fn sum(&mut self, node: &Node, a: &Unrolled, b: &Unrolled) -> Result<Value> {
        match (a, b) {
            (Unrolled::Recurrent { run, at, weight, bias }, Unrolled::Step { sequence, axis, at: step })
            | (Unrolled::Step { sequence, axis, at: step }, Unrolled::Recurrent { run, at, weight, bias })
                if at == step =>
            {
                Ok(Value::Unrolled(Unrolled::Sum {
                    run: *run,
                    at: *at,
                    weight: weight.clone(),
                    bias: bias.clone(),
                    input: sequence.clone(),
                    axis: *axis,
                }))
            }
            _ => Err(unsupported(node)),
        }
    }

    /// `Tanh` or `Relu` in a step of an unrolled recurrence. The first step adds the cell; the later ones
    /// must have the same weights.
    pub(super) fn activation(&mut self, node: &Node, value: &Value) -> Result<Value> {
        let Value::Unrolled(Unrolled::Sum { run, at, weight, bias, input, axis }) = value else {
            return Err(unsupported(node));
        };
        let kind = if node.proto.op_type == "Tanh" { CellKind::RnnTanh } else { CellKind::RnnRelu };
        let hidden = input.width;
        if weight.shape != [hidden, hidden] || bias.as_ref().is_some_and(|b| b.len() != hidden) {
            return Err(node.error("expected a recurrent matrix and bias of the state's width"));
        }
        let r = weight.transposed(&[1, 0]).to_f32();
        let bias = bias.as_ref().map_or_else(|| vec![0.0; hidden], |b| b.to_f32());
        let b = [vec![0.0; hidden], bias].concat();
        match run {
            None => {
                self.set_time(node, *axis)?;
                self.charge_budget(node, Some(2 * hidden * hidden))?;
                let mut w = vec![0.0; hidden * hidden];
                w.iter_mut().step_by(hidden + 1).for_each(|v| *v = 1.0);
                let cell = CellWeights { kind, hidden, w, r, b };
                let y = self.push(node, input, Operation::Cell(cell), hidden);
                Ok(Value::Unrolled(Unrolled::State { run: y.stage, at: 1 }))
            }
            Some(run) => {
                let stage = self.stages.get(*run).ok_or_else(|| unsupported(node))?;
                let same = match &stage.operation {
                    Operation::Cell(c) => {
                        c.kind == kind && c.r == r && c.b == b && stage.source == input.stage
                    }
                    _ => false,
                };
                if !same {
                    return Err(node.error("the steps of the recurrence have different weights"));
                }
                Ok(Value::Unrolled(Unrolled::State { run: *run, at: at + 1 }))
            }
        }
    }

    /// `Concat` of all states of a recurrence, or of the final states of several layers.
    pub(super) fn cell_of_unrolled(&mut self, node: &Node, values: &[Value]) -> Result<Value> {
        let state = |v: &Value| match v {
            Value::Unrolled(Unrolled::State { run, at }) => Ok((*run, *at)),
            _ => Err(unsupported(node)),
        };
        let states = values.iter().map(state).collect::<Result<Vec<_>>>()?;
        let Some(&(run, _)) = states.first() else { return Err(unsupported(node)) };
        let time = self.time.unwrap_or(0);
        let steps = self.declared[time];
        if states.windows(2).all(|s| s[0].0 < s[1].0) && states.iter().all(|&(_, at)| Some(at) == steps) {
            return Ok(Value::Last { of: states.into_iter().map(|(run, _)| run).collect() });
        }
        let in_order = states.iter().enumerate().all(|(k, &(r, at))| r == run && at == k as i64 + 1);
        if !in_order || node.int("axis") != Some(0) || steps != Some(states.len() as i64) {
            return Err(node.error("expected the states of all steps of a recurrence, in their order"));
        }
        let width = self.stages.get(run).map_or(0, |s| s.width);
        let axes = vec![Axis::Outer(time), Axis::Outer(1 - time), Axis::Features];
        Ok(Value::Sequence(Sequence { stage: run, axes, width, over: [1, 1] }))
    }
}

/// Refuses attributes that hearken's cells do not support, by name.
fn check_attributes(node: &Node) -> Result<CellKind> {
    let mut activations = Vec::new();
    for attribute in &node.proto.attribute {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match attribute.name.as_str() {
            "hidden_size" | "linear_before_reset" => {}
            "output_sequence" => {}
            "direction" => match text(attribute.s.as_deref().unwrap_or(b"forward")).as_str() {
                "forward" => {}
                other => return Err(node.error(format!("the direction {other} does not stream"))),
            },
            "layout" if attribute.i.unwrap_or(0) != 0 => return Err(node.error("layout 1 is not supported")),
            "input_forget" if attribute.i.unwrap_or(0) != 0 => {
                return Err(node.error("input_forget is not supported"));
            }
            "layout" | "input_forget" => {}
            "activations" => activations = attribute.strings.iter().map(|s| text(s)).collect(),
            other => return Err(node.error(format!("{other} is not supported"))),
        }
    }
    cell_of(&node.proto.op_type, &node.proto.attribute)
        .ok_or_else(|| node.error(format!("the activations {} are not supported", activations.join(", "))))
}

/// W, R and B without their direction axis.
fn weights(node: &Node, kind: CellKind, inputs: &[Option<Value>], width: usize) -> Result<CellWeights> {
    let constant = |k: usize, name: &str| -> Result<&Rc<Constant>> {
        match inputs.get(k).and_then(Option::as_ref) {
            Some(Value::Constant(c)) => Ok(c),
            _ => Err(node.error(format!("expected {name} to be constant"))),
        }
    };
    let (w, r) = (constant(1, "W")?, constant(2, "R")?);
    let hidden = r.shape.last().copied().unwrap_or(0);
    let bad = |name: &str, c: &Constant, expected: String| -> Error {
        node.error(format!("expected {name} of the shape {expected}, found {:?}", c.shape))
    };
    let Some(rows) = hidden.checked_mul(kind.gates()).filter(|&r| r > 0) else {
        return Err(bad("R", r, "[1, gates × hidden, hidden]".into()));
    };
    if r.shape != [1, rows, hidden] {
        return Err(bad("R", r, format!("[1, {rows}, {hidden}]")));
    }
    if w.shape != [1, rows, width] {
        return Err(bad("W", w, format!("[1, {rows}, {width}]")));
    }
    if node.int("hidden_size").is_some_and(|h| h != hidden as i64) {
        return Err(node.error(format!("expected the hidden_size of R, {hidden}")));
    }
    let b = match node.has(3) {
        false => vec![0.0; 2 * rows],
        true => {
            let b = constant(3, "B")?;
            if b.shape != [1, 2 * rows] {
                return Err(bad("B", b, format!("[1, {}]", 2 * rows)));
            }
            b.to_f32()
        }
    };
    Ok(CellWeights { kind, hidden, w: w.to_f32(), r: r.to_f32(), b })
}
