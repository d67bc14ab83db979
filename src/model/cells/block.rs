//! The interface of a layer that is computed for all steps at once, because its state is not the result of the step
//! before but the values of the last steps.

use std::fmt::Debug;

use crate::model::norm::NormTrace;
use crate::model::packed_sequence::PackedSequence;

/// Sizes of a block. Those that it does not have are 0.
#[derive(Clone, Copy, Debug)]
pub struct BlockSizes {
    /// Width of the input.
    pub inputs: usize,
    /// H, width of the output.
    pub hidden: usize,
    /// K, the number of steps in the kernel.
    pub kernel_size: usize,
    /// h, the number of heads of `attention` and `rglru`, which divides H.
    pub num_heads: usize,
    /// L, the number of earlier steps that a step attends to.
    pub left_context: usize,
    /// Width of the hidden layer of the feed-forward part.
    pub dim_feedforward: usize,
    /// Width between the two factors.
    pub bottleneck_dim: usize,
    /// Distance of the two steps that a factor depends on.
    pub time_stride: usize,
    /// Width of the cell before its projection.
    pub cell_dim: usize,
}

/// Names and shapes of a block's parameters, in order.
pub type ParameterShapes = Vec<(&'static str, Vec<usize>)>;

/// Properties of a kind of block.
#[derive(Clone, Copy, Debug)]
pub struct BlockShape {
    /// The block's part of parameter names.
    pub family: &'static str,
    /// Names and shapes of the parameters, in order.
    pub parameters: fn(&BlockSizes) -> ParameterShapes,
    /// The state of a stream: the number of earlier steps that it holds, and the width of their values.
    pub state: fn(&BlockSizes) -> [usize; 2],
}

/// A fixed number of buffers, which a block fills in its forward pass and reads in its backward pass.
#[derive(Clone, Debug, Default)]
pub struct Buffers<B>(Vec<B>);

impl<B: Default> Buffers<B> {
    /// The buffers of a forward pass, with the contents of the pass before.
    pub fn prepare<const N: usize>(&mut self) -> &mut [B; N] {
        self.0.resize_with(N, B::default);
        let Ok(buffers) = self.0.as_mut_slice().try_into() else { unreachable!("resized to N") };
        buffers
    }

    /// The buffers filled by a forward pass of the same block.
    pub fn filled<const N: usize>(&self) -> &[B; N] {
        let Ok(buffers) = self.0.as_slice().try_into() else {
            unreachable!("a backward pass follows a forward pass of the same block")
        };
        buffers
    }
}

/// The output of a block's forward pass over R rows, and what its backward pass needs.
#[derive(Clone, Debug, Default)]
pub struct BlockTrace<T> {
    /// The outputs, `[R, H]`.
    pub output: Vec<T>,
    /// The gates after their activation functions, of a block that has k gates: `[k, R, H]`, divided into heads as the block
    /// is computed, which is `[kH]` for one row.
    pub gates: Vec<T>,
    /// Further activations.
    pub values: Buffers<Vec<T>>,
    /// The results of layer normalizations.
    pub norms: Buffers<NormTrace<T>>,
}

/// Arguments of a block's backward pass.
pub struct BlockBackward<'a, T> {
    /// The layout of the rows.
    pub steps: &'a PackedSequence,
    /// The results of the forward pass.
    pub trace: &'a BlockTrace<T>,
    /// The gradient of the outputs, `[R, H]`.
    pub dy: &'a [T],
    /// On entry the gradient of the last state, on return that of the first, `[B, rows * width]`.
    pub dstate: &'a mut [T],
    /// Accumulators for the gradients of the parameters, in their order.
    pub gradients: &'a mut [Vec<T>],
}

/// A block with its weights.
pub trait Block<T>: Debug + Send + Sync {
    /// Runs the block over `x [R, in]`, starting from `state [B, rows * width]`, which is replaced by that after each
    /// stream's last step. A row's output does not depend, bit for bit, on how a stream is divided into calls.
    fn forward(&self, x: &[T], steps: &PackedSequence, state: &mut [T], trace: &mut BlockTrace<T>);

    /// Computes the gradients; `dx [R, in]` is replaced by that of the inputs.
    fn backward(&self, pass: BlockBackward<'_, T>, dx: &mut Vec<T>);
}
