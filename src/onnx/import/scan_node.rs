//! Import of the minimal gated recurrent unit, which hearken writes as a product, a `Split` into gates and a `Scan`.

use super::node::{Node, unsupported};
use super::value::{Axis, CellWeights, Gate, Operation, Sequence, Value, listed};
use super::walk::Walker;
use crate::error::Result;
use crate::onnx::build::cells::cell_of;

impl Walker {
    /// `Split` of a sequence's features into gates.
    pub(super) fn gates(&self, node: &Node, of: &Sequence, sizes: Option<&Value>) -> Result<Vec<Value>> {
        let axis = node.axis(node.int("axis").unwrap_or(0), of.axes.len())?;
        let (Axis::Features, Some(Value::Constant(sizes))) = (of.axes[axis], sizes) else {
            return Err(unsupported(node));
        };
        let (mut start, mut gates) = (0usize, Vec::new());
        for &size in sizes.as_i64().unwrap_or(&[]) {
            let width = usize::try_from(size).ok().filter(|width| *width <= of.width - start);
            let Some(width) = width else {
                return Err(node.error("its parts are longer than the axis"));
            };
            gates.push(Value::Gate(Gate { of: of.clone(), start, width, sigmoid: false }));
            start += width;
        }
        Ok(gates)
    }

    /// `Sigmoid` of a gate.
    pub(super) fn sigmoid(&self, node: &Node, value: &Value) -> Result<Value> {
        match value {
            Value::Gate(gate) if !gate.sigmoid => Ok(Value::Gate(Gate { sigmoid: true, ..gate.clone() })),
            _ => Err(unsupported(node)),
        }
    }

    /// `Scan` over the gates: the final state, then the outputs of all steps.
    ///
    /// # Errors
    /// When its body is not that of a cell, or its inputs are not the gates of a linear layer.
    pub(super) fn scan(&mut self, node: &Node, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let kind = cell_of(&node.proto.op_type, &node.proto.attribute)
            .ok_or_else(|| node.error("its body is not that of a cell of hearken's"))?;
        let [Some(state), Some(Value::Gate(update)), Some(Value::Gate(candidate))] = inputs else {
            return Err(node.error("expected a state and two gates as inputs"));
        };
        match state {
            Value::Zeros | Value::Initial => {}
            Value::Constant(c) if c.is_zero() => {}
            _ => {
                return Err(
                    node.error("expected an initial state of zeros or one from an input of the graph")
                );
            }
        }
        let (sums, hidden) = (&update.of, update.width);
        let is_pair = candidate.of == *sums && update.start == 0 && candidate.start == hidden;
        let is_whole = candidate.width == hidden && sums.width == 2 * hidden;
        if !(is_pair && is_whole && update.sigmoid && !candidate.sigmoid) {
            return Err(node.error("expected the two halves of a sequence, the first after a Sigmoid"));
        }
        let [Axis::Outer(time), Axis::Outer(_), Axis::Features] = sums.axes[..] else {
            let found = listed(&sums.axes);
            return Err(node.error(format!("expected its inputs as [time, batch, features], found {found}")));
        };
        self.set_time(node, time)?;
        let (x, w, b) = self.linear_below(node, sums)?;
        let cell = CellWeights { kind, hidden, w, r: Vec::new(), b };
        let y = self.push(node, &x, Operation::Cell(cell), hidden);
        Ok(vec![Value::Last { of: vec![y.stage] }, Value::Sequence(y)])
    }

    /// The input, weights and biases of the linear layer that computes a sequence.
    fn linear_below(&mut self, node: &Node, sums: &Sequence) -> Result<(Sequence, Vec<f32>, Vec<f32>)> {
        let (mut at, mut bias) = (sums.stage, vec![0.0; sums.width]);
        if let Operation::Affine { scale, shift } = &self.stages[at].operation
            && scale.iter().all(|&s| s == 1.0)
        {
            bias.clone_from(shift);
            at = self.stages[at].source;
        }
        let Operation::Linear { weight } = &self.stages[at].operation else {
            return Err(node.error("expected the gates to be computed by a linear layer"));
        };
        let (weight, below) = (weight.clone(), self.stages[at].source);
        self.charge_budget(node, Some(weight.len()))?;
        let width = self.stages[below].width;
        Ok((Sequence { stage: below, width, ..sums.clone() }, weight, bias))
    }
}
