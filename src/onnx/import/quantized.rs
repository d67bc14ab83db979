//! Import of quantized models: weights stored as integers, and linear layers computed in integers
//! (`DynamicQuantizeLinear`, `MatMulInteger`). The imported model computes them in float32.

use std::rc::Rc;

use super::constant::Constant;
use super::node::{Node, unsupported};
use super::value::{Quantized, Value};
use super::walk::Walker;
use crate::error::Result;

impl Walker {
    /// `DequantizeLinear` of a constant: (x - zero) · scale, with one zero and scale for the whole tensor
    /// or for each position of an axis.
    pub(super) fn dequantized(&mut self, node: &Node, inputs: &[Option<Value>]) -> Result<Value> {
        let constant = |k: usize| match inputs.get(k).and_then(Option::as_ref) {
            Some(Value::Constant(c)) => Ok(Some(c)),
            None => Ok(None),
            Some(_) => Err(unsupported(node)),
        };
        let (Some(x), Some(scale)) = (constant(0)?, constant(1)?) else { return Err(unsupported(node)) };
        if node.int("block_size").unwrap_or(0) != 0 {
            return Err(node.error("blocked quantization is not supported"));
        }
        let along = |c: &Constant| -> Result<Constant> {
            if c.len() == 1 {
                return c.reshaped(vec![]).map(|c| c.cast(true));
            }
            let axis = node.axis(node.int("axis").unwrap_or(1), x.shape.len())?;
            let mut shape = vec![1; x.shape.len()];
            shape[axis] = c.len();
            c.reshaped(shape).map(|c| c.cast(true))
        };
        let unfit = || node.error("scale and zero point cannot be broadcast over the tensor");
        self.charge_budget(node, x.len().checked_mul(3))?;
        let mut values = x.cast(true);
        if let Some(zero) = constant(2)? {
            let zero = along(zero).map_err(|e| e.at(node.place()))?;
            values = values.elementwise(&zero, "Sub").filter(|v| v.shape == x.shape).ok_or_else(unfit)?;
        }
        let scale = along(scale).map_err(|e| e.at(node.place()))?;
        let values = values.elementwise(&scale, "Mul").filter(|v| v.shape == x.shape).ok_or_else(unfit)?;
        Ok(Value::Constant(Rc::new(values)))
    }

    /// `MatMulInteger` of a quantized sequence and constant integers.
    pub(super) fn integer_product(&mut self, node: &Node, inputs: &[Option<Value>]) -> Result<Value> {
        let input = |k: usize| inputs.get(k).and_then(Option::as_ref);
        let (Some(Value::Quantized(Quantized::Bytes(s))), Some(Value::Constant(weight))) =
            (input(0), input(1))
        else {
            return Err(unsupported(node));
        };
        match input(2) {
            Some(Value::Quantized(Quantized::Zero { of })) if *of == s.stage => {}
            _ => return Err(node.error("expected the zero point of the quantized sequence")),
        }
        if !input(3).is_none_or(|zero| matches!(zero, Value::Constant(c) if c.is_zero())) {
            return Err(node.error("weights with a zero point other than 0 are not supported"));
        }
        match self.linear(node, s, weight)? {
            Value::Sequence(sequence) => Ok(Value::Quantized(Quantized::Product { sequence, of: s.stage })),
            _ => Err(unsupported(node)),
        }
    }

    /// `Mul` of an integer product and its scale, which completes the linear layer.
    pub(super) fn dequantized_product(&mut self, node: &Node, a: &Quantized, b: &Quantized) -> Result<Value> {
        match (a, b) {
            (Quantized::Product { sequence, of }, Quantized::Scale { of: scaled, times })
            | (Quantized::Scale { of: scaled, times }, Quantized::Product { sequence, of })
                if of == scaled =>
            {
                match times {
                    Some(scale) => self.affine(node, sequence, scale, false),
                    None => Ok(Value::Sequence(sequence.clone())),
                }
            }
            _ => Err(unsupported(node)),
        }
    }

    /// `DynamicQuantizeLinear` of a sequence: its bytes, scale and zero point.
    pub(super) fn dynamic_quantize(&self, node: &Node, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let Some(Some(Value::Sequence(s))) = inputs.first() else { return Err(unsupported(node)) };
        let scale = Quantized::Scale { of: s.stage, times: None };
        let parts = [Quantized::Bytes(s.clone()), scale, Quantized::Zero { of: s.stage }];
        Ok(parts.into_iter().map(Value::Quantized).collect())
    }
}

/// `Mul` of the scale of a quantized sequence and that of the weights.
pub(super) fn combined_scale(node: &Node, quantized: &Quantized, weights: &Rc<Constant>) -> Result<Value> {
    match quantized {
        Quantized::Scale { of, times: None } => {
            Ok(Value::Quantized(Quantized::Scale { of: *of, times: Some(weights.clone()) }))
        }
        _ => Err(unsupported(node)),
    }
}
