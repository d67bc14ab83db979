//! Import of arithmetic operators: linear layers, normalization, softmax.

use std::rc::Rc;

use super::constant::{Constant, broadcast};
use super::node::{Node, unsupported};
use super::quantized::combined_scale;
use super::value::{Axis, Moment, Operation, Sequence, Unrolled, Value};
use super::walk::Walker;
use crate::error::Result;
use crate::model::network::LAYER_NORM_EPSILON;

impl Walker {
    /// `Add`, `Sub`, `Mul`, `Div`. The meaning depends on the kinds of both operands: arithmetic of
    /// constants, a scale or shift of a sequence, a residual connection, or a part of an expanded layer
    /// normalization.
    pub(super) fn binary(&mut self, node: &Node, values: &[Value]) -> Result<Value> {
        let [a, b] = values else { return Err(unsupported(node)) };
        let op = node.proto.op_type.as_str();
        match (a, b) {
            (Value::Constant(a), Value::Constant(b)) => {
                // The broadcast shape; a scale for each row does not make it larger than the matrix.
                let shape = broadcast(&a.shape, &b.shape)
                    .ok_or_else(|| node.error("the shapes of the constants cannot be broadcast"))?;
                let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
                self.charge_budget(node, count)?;
                let c = a
                    .elementwise(b, op)
                    .ok_or_else(|| node.error("the shapes of the constants cannot be broadcast"))?;
                Ok(Value::Constant(Rc::new(c)))
            }
            (Value::Sequence(s), Value::Constant(c)) => self.affine(node, s, c, false),
            (Value::Constant(c), Value::Sequence(s)) => self.affine(node, s, c, true),
            (Value::Sequence(x), Value::Moment { of, kind: Moment::Mean })
                if op == "Sub" && x.stage == of.stage =>
            {
                Ok(Value::Moment { of: x.clone(), kind: Moment::Centered })
            }
            (Value::Sequence(a), Value::Sequence(b)) if op == "Add" => self.residual(node, a, b),
            (Value::Moment { of, kind }, Value::Moment { of: other, kind: second })
                if of.stage == other.stage =>
            {
                match (op, kind, second) {
                    ("Mul", Moment::Centered, Moment::Centered) => {
                        Ok(Value::Moment { of: of.clone(), kind: Moment::Square })
                    }
                    ("Div", Moment::Centered, Moment::Deviation(epsilon))
                    | ("Mul", Moment::Centered, Moment::Inverse(epsilon))
                    | ("Mul", Moment::Inverse(epsilon), Moment::Centered) => {
                        self.norm(node, of, *epsilon, vec![1.0; of.width], vec![0.0; of.width])
                    }
                    _ => Err(unsupported(node)),
                }
            }
            (Value::Moment { of, kind: Moment::Variance }, Value::Constant(c))
            | (Value::Constant(c), Value::Moment { of, kind: Moment::Variance })
                if op == "Add" && c.len() == 1 =>
            {
                let epsilon = c.to_f32()[0];
                Ok(Value::Moment { of: of.clone(), kind: Moment::Stabilized(epsilon) })
            }
            (Value::Constant(c), Value::Moment { of, kind: Moment::Deviation(e) })
                if op == "Div" && c.len() == 1 && c.to_f32()[0] == 1.0 =>
            {
                Ok(Value::Moment { of: of.clone(), kind: Moment::Inverse(*e) })
            }
            (Value::Lengths { lengths, scalar }, _) | (_, Value::Lengths { lengths, scalar }) => {
                let n = lengths.len();
                let product = self.product(op, a, b);
                Ok(Value::Lengths {
                    lengths: product.unwrap_or_else(|| vec![super::value::Length::Unknown; n]),
                    scalar: *scalar,
                })
            }
            (Value::Quantized(a), Value::Quantized(b)) if op == "Mul" => self.dequantized_product(node, a, b),
            (Value::Quantized(r), Value::Constant(c)) | (Value::Constant(c), Value::Quantized(r))
                if op == "Mul" =>
            {
                combined_scale(node, r, c)
            }
            (Value::Unrolled(a), Value::Unrolled(b)) if op == "Add" => self.sum(node, a, b),
            (Value::Unrolled(u), Value::Constant(c)) | (Value::Constant(c), Value::Unrolled(u))
                if op == "Add" =>
            {
                with_bias(node, u, c)
            }
            _ => Err(unsupported(node)),
        }
    }

    /// Arithmetic on symbolic lengths, as far as they are known.
    fn product(&self, op: &str, a: &Value, b: &Value) -> Option<Vec<super::value::Length>> {
        use super::value::Length::{Known, Outer, Unknown};
        let (a, b) = (super::walk::lengths_of(a)?, super::walk::lengths_of(b)?);
        let one = |a, b| match (op, a, b) {
            ("Mul", Known(a), Known(b)) => a.checked_mul(b).map_or(Unknown, Known),
            ("Mul", Known(1), x) | ("Mul" | "Div", x, Known(1)) => x,
            ("Div", Known(a), Known(b)) => a.checked_div(b).map_or(Unknown, Known),
            ("Div", Outer { axis, over }, Known(b)) if b > 0 => {
                over.checked_mul(b).map_or(Unknown, |over| Outer { axis, over })
            }
            ("Add", Known(a), Known(b)) => a.checked_add(b).map_or(Unknown, Known),
            ("Sub", Known(a), Known(b)) => a.checked_sub(b).map_or(Unknown, Known),
            _ => Unknown,
        };
        (a.len() == b.len()).then(|| a.into_iter().zip(b).map(|(a, b)| one(a, b)).collect())
    }

    pub(super) fn affine(
        &mut self,
        node: &Node,
        s: &Sequence,
        c: &Constant,
        constant_first: bool,
    ) -> Result<Value> {
        let values = per_feature(s, c).ok_or_else(|| {
            node.error(format!(
                "a constant of the shape {:?} cannot be broadcast over {} features",
                c.shape, s.width
            ))
        })?;
        let (ones, zeros) = (vec![1.0; s.width], vec![0.0; s.width]);
        let minus = |v: &[f32]| v.iter().map(|v| -v).collect::<Vec<f32>>();
        let (scale, shift) = match (node.proto.op_type.as_str(), constant_first) {
            ("Add", _) => (ones, values),
            ("Sub", false) => (ones, minus(&values)),
            ("Sub", true) => (minus(&ones), values),
            ("Mul", _) => (values, zeros),
            ("Div", false) => (values.iter().map(|v| 1.0 / v).collect(), zeros),
            _ => return Err(unsupported(node)),
        };
        Ok(Value::Sequence(self.push(node, s, Operation::Affine { scale, shift }, s.width)))
    }

    fn residual(&mut self, node: &Node, a: &Sequence, b: &Sequence) -> Result<Value> {
        if a.axes != b.axes || a.width != b.width || a.over != b.over {
            return Err(node.error("sequences with different axes or widths are added"));
        }
        // For a layer and its input the later stage is the layer.
        let (main, skip) = if a.stage >= b.stage { (a, b) } else { (b, a) };
        Ok(Value::Sequence(self.push(node, main, Operation::Residual { skip: skip.stage }, main.width)))
    }

    pub(super) fn matmul(&mut self, node: &Node, values: &[Value]) -> Result<Value> {
        match values {
            [Value::Sequence(s), Value::Constant(c)] => self.linear(node, s, c),
            [Value::Zeros | Value::Initial, Value::Constant(c)] => {
                Ok(Value::Unrolled(Unrolled::Recurrent { run: None, at: 0, weight: c.clone(), bias: None }))
            }
            [Value::Unrolled(Unrolled::State { run, at }), Value::Constant(c)] => {
                Ok(Value::Unrolled(Unrolled::Recurrent { run: Some(*run), at: *at, weight: c.clone(), bias: None }))
            }
            [Value::Last { .. }, _] => Err(node.error("only the last state is used, so there is one output for the whole input: the model does not stream")),
            _ => Err(unsupported(node)),
        }
    }

    /// A product with `c [in, out]` over the last axis.
    pub(super) fn linear(&mut self, node: &Node, s: &Sequence, c: &Constant) -> Result<Value> {
        let (&[inner, out], Some(Axis::Features)) = (c.shape.as_slice(), s.axes.last()) else {
            return Err(node.error(format!(
                "expected a matrix that multiplies the features, found the shape {:?}",
                c.shape
            )));
        };
        if inner != s.width || out == 0 {
            return Err(
                node.error(format!("expected a matrix for {} features, found {:?}", s.width, c.shape))
            );
        }
        self.charge_budget(node, Some(c.len()))?;
        let weight = c.transposed(&[1, 0]).to_f32();
        Ok(Value::Sequence(self.push(node, s, Operation::Linear { weight }, out)))
    }

    pub(super) fn gemm(&mut self, node: &Node, inputs: &[Option<Value>]) -> Result<Value> {
        let (Some(Some(Value::Sequence(s))), Some(Some(Value::Constant(w)))) =
            (inputs.first(), inputs.get(1))
        else {
            return Err(unsupported(node));
        };
        let plain =
            node.float("alpha").is_none_or(|v| v == 1.0) && node.float("beta").is_none_or(|v| v == 1.0);
        if !plain || node.int("transA").unwrap_or(0) != 0 || w.shape.len() != 2 {
            return Err(unsupported(node));
        }
        self.charge_budget(node, Some(w.len()))?;
        let w = if node.int("transB").unwrap_or(0) != 0 { w.transposed(&[1, 0]) } else { (**w).clone() };
        let Value::Sequence(y) = self.linear(node, s, &w)? else { return Err(unsupported(node)) };
        match inputs.get(2).and_then(Option::as_ref) {
            None => Ok(Value::Sequence(y)),
            Some(Value::Constant(c)) => {
                let shift = per_feature(&y, c)
                    .ok_or_else(|| node.error("its C cannot be broadcast over the product"))?;
                Ok(Value::Sequence(self.push(
                    node,
                    &y,
                    Operation::Affine { scale: vec![1.0; y.width], shift },
                    y.width,
                )))
            }
            Some(_) => Err(unsupported(node)),
        }
    }

    pub(super) fn layer_norm(&mut self, node: &Node, inputs: &[Option<Value>]) -> Result<Value> {
        let Some(Some(Value::Sequence(s))) = inputs.first() else { return Err(unsupported(node)) };
        let axis = node.axis(node.int("axis").unwrap_or(-1), s.axes.len())?;
        let vector = |k: usize, default: f32| -> Result<Vec<f32>> {
            match inputs.get(k).and_then(Option::as_ref) {
                None => Ok(vec![default; s.width]),
                Some(Value::Constant(c)) => per_feature(s, c)
                    .ok_or_else(|| node.error("scale or bias has another width than the features")),
                Some(_) => Err(unsupported(node)),
            }
        };
        if axis + 1 != s.axes.len() {
            return Err(node.error("expected a normalization over the features only"));
        }
        self.norm(node, s, node.float("epsilon").unwrap_or(1e-5), vector(1, 1.0)?, vector(2, 0.0)?)
    }

    fn norm(
        &mut self,
        node: &Node,
        s: &Sequence,
        epsilon: f32,
        gain: Vec<f32>,
        bias: Vec<f32>,
    ) -> Result<Value> {
        if s.axes.last() != Some(&Axis::Features) {
            return Err(node.error("expected a normalization over the features only"));
        }
        if epsilon.is_nan() || (epsilon - LAYER_NORM_EPSILON).abs() > 1e-3 * LAYER_NORM_EPSILON {
            return Err(node.error(format!(
                "expected layer normalization with epsilon {LAYER_NORM_EPSILON}, found {epsilon}"
            )));
        }
        Ok(Value::Sequence(self.push(node, s, Operation::Norm { gain, bias }, s.width)))
    }

    /// `ReduceMean`, `Pow`, `Sqrt`, `Reciprocal`: the parts of a layer normalization.
    pub(super) fn moment(&mut self, node: &Node, values: &[Value]) -> Result<Value> {
        let over_last = |s: &Sequence| -> bool {
            let axes = match values.get(1) {
                Some(Value::Constant(c)) => c.as_i64().map(<[i64]>::to_vec),
                _ => node.ints("axes").map(<[i64]>::to_vec),
            };
            let last = s.axes.len() as i64 - 1;
            node.int("keepdims").unwrap_or(1) == 1
                && matches!(axes.as_deref(), Some([a]) if *a == -1 || *a == last)
        };
        let (of, kind) = match (node.proto.op_type.as_str(), &values[0]) {
            ("ReduceMean", Value::Sequence(s)) if over_last(s) => (s, Moment::Mean),
            ("ReduceMean", Value::Moment { of, kind: Moment::Square }) if over_last(of) => {
                (of, Moment::Variance)
            }
            ("Pow", Value::Moment { of, kind: Moment::Centered }) => match values.get(1) {
                Some(Value::Constant(c)) if c.len() == 1 && c.to_f32()[0] == 2.0 => (of, Moment::Square),
                _ => return Err(unsupported(node)),
            },
            ("Sqrt", Value::Moment { of, kind: Moment::Stabilized(e) }) => (of, Moment::Deviation(*e)),
            ("Reciprocal", Value::Moment { of, kind: Moment::Deviation(e) }) => (of, Moment::Inverse(*e)),
            _ => return Err(unsupported(node)),
        };
        Ok(Value::Moment { of: of.clone(), kind })
    }

    pub(super) fn softmax(&mut self, node: &Node, value: &Value) -> Result<Value> {
        let Value::Sequence(s) = value else { return Err(unsupported(node)) };
        if node.proto.op_type == "Log" {
            return match self.stages.get(s.stage).map(|stage| &stage.operation) {
                Some(Operation::Softmax) => {
                    let source = Sequence { stage: self.stages[s.stage].source, ..s.clone() };
                    Ok(Value::Sequence(self.push(node, &source, Operation::LogSoftmax, s.width)))
                }
                _ => Err(unsupported(node)),
            };
        }
        let default = if self.opset < 13 { 1 } else { -1 };
        let axis = node.axis(node.int("axis").unwrap_or(default), s.axes.len())?;
        if s.axes[axis] != Axis::Features || axis + 1 != s.axes.len() {
            return Err(node.error("expected a softmax over the tokens"));
        }
        let operation =
            if node.proto.op_type == "Softmax" { Operation::Softmax } else { Operation::LogSoftmax };
        Ok(Value::Sequence(self.push(node, s, operation, s.width)))
    }
}

/// The value of a constant for each feature; `None` if it is not constant along the other axes.
pub(super) fn per_feature(s: &Sequence, c: &Constant) -> Option<Vec<f32>> {
    let values = c.to_f32();
    if values.len() == 1 && c.shape.len() <= s.axes.len() {
        return Some(vec![values[0]; s.width]);
    }
    let lead = s.axes.len().checked_sub(c.shape.len())?;
    let fits = c
        .shape
        .iter()
        .zip(&s.axes[lead..])
        .all(|(&d, &axis)| d == 1 || (axis == Axis::Features && d == s.width));
    (fits && values.len() == s.width).then_some(values)
}

fn with_bias(node: &Node, unrolled: &Unrolled, c: &Rc<Constant>) -> Result<Value> {
    let once = || node.error("a second bias in an unrolled recurrence");
    match unrolled.clone() {
        Unrolled::Recurrent { run, at, weight, bias: None } => {
            Ok(Value::Unrolled(Unrolled::Recurrent { run, at, weight, bias: Some(c.clone()) }))
        }
        Unrolled::Sum { run, at, weight, bias: None, input, axis } => {
            Ok(Value::Unrolled(Unrolled::Sum { run, at, weight, bias: Some(c.clone()), input, axis }))
        }
        _ => Err(once()),
    }
}
