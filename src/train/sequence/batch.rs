//! Packing of sequences into ragged batches, and the buffers of a thread.

use super::Inputs;
use crate::model::{Kernels, PackedSequence, Workspace};
use crate::train::update;

/// The buffers of one thread for one network.
#[derive(Debug, Default)]
pub(super) struct Buffers<T> {
    pub workspace: Workspace<T>,
    /// Inputs of the first layer, `[R, F]`.
    pub x: Vec<T>,
    /// Outputs, then their gradients, `[R, V]`.
    pub outputs: Vec<T>,
}

/// The order of sequences by their numbers of steps, longest first, as [`PackedSequence`] needs them.
pub(super) fn longest_first(steps: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..steps.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(steps[i]));
    order
}

/// Packs the inputs from step `first` on, as many steps as `steps` has, each `width` wide; tokens become a one among
/// zeros.
pub(super) fn pack<T: Kernels>(
    inputs: &[&Inputs],
    steps: &PackedSequence,
    first: usize,
    width: usize,
    x: &mut Vec<T>,
) {
    let numbers: Vec<&[f32]> = inputs
        .iter()
        .filter_map(|inputs| match inputs {
            Inputs::Numbers(numbers) => Some(numbers.get(first * width..).unwrap_or_default()),
            Inputs::Tokens(_) => None,
        })
        .collect();
    if !numbers.is_empty() {
        return update::pack(&numbers, steps, width, x);
    }
    x.clear();
    x.resize(steps.rows() * width, T::ZERO);
    for t in 0..steps.len() {
        for (b, inputs) in inputs[..steps.width(t)].iter().enumerate() {
            if let Inputs::Tokens(tokens) = inputs {
                x[steps.row(t, b) * width + tokens[first + t] as usize] = T::ONE;
            }
        }
    }
}
