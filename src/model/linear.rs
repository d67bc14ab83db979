//! A linear layer: y = W x + b.

use super::kernels::{self, Kernels};
use super::packed::{Packed, Purpose};

/// A linear layer's weights in the layout of the kernels.
#[derive(Clone, Debug)]
pub struct Linear<T> {
    forward: Packed<T>,
    backward: Option<Packed<T>>,
    bias: Vec<T>,
}

impl<T: Kernels> Linear<T> {
    /// Creates the layout of `weight [out, in]` and `bias [out]`, with that for the backward pass in training.
    pub fn new(weight: &[T], bias: &[T], purpose: Purpose) -> Self {
        let (out, inner) = (bias.len(), weight.len() / bias.len().max(1));
        Self {
            forward: Packed::transposed(weight, out, inner, purpose),
            backward: Packed::backward(weight, out, inner, purpose),
            bias: bias.to_vec(),
        }
    }

    /// Computes `y [R, out]` from `x [R, in]`.
    pub fn apply(&self, x: &[T], y: &mut Vec<T>) {
        let rows = x.len() / self.forward.inputs();
        y.resize(rows * self.bias.len(), T::ZERO);
        self.apply_to(x, y);
    }

    /// Computes `y [R, out]` from `x [R, in]`, in place.
    pub fn apply_to(&self, x: &[T], y: &mut [T]) {
        kernels::multiply(x, &self.forward, &self.bias, y);
    }

    /// Adds the gradients of weight and bias, for the gradient `dy [R, out]` of the outputs.
    pub fn add_gradients(&self, x: &[T], dy: &[T], dw: &mut [T], db: &mut [T]) {
        kernels::add_weight_gradient(&self.forward, dy, x, dw);
        kernels::add_rows(dy, db);
    }

    /// Adds the gradient of the inputs to `dx [R, in]`; nothing if the layer was not created for training.
    pub fn add_input_gradient(&self, dy: &[T], dx: &mut [T]) {
        if let Some(packed) = &self.backward {
            kernels::multiply_add(dy, packed, dx, packed.outputs());
        }
    }

    /// Replaces `dx` by the gradient of the inputs, `[R, in]`.
    pub fn input_gradient(&self, dy: &[T], dx: &mut Vec<T>) {
        dx.clear();
        dx.resize(dy.len() / self.bias.len() * self.forward.inputs(), T::ZERO);
        self.add_input_gradient(dy, dx);
    }
}
