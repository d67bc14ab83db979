//! A layer with its weights: a recurrent cell that is run over time, or a block that is computed for all steps at once.

use std::sync::Arc;

use super::cells::{Block, BlockBackward, BlockTrace, CellForm, MAX_STATES};
use super::config::LayerConfig;
use super::kernels::Kernels;
use super::packed::Purpose;
use super::packed_sequence::PackedSequence;
use super::recurrent::{
    self, Backward, RecurrentGradient, RecurrentParameters, RecurrentScratch, RecurrentTrace,
    RecurrentWeights,
};

/// A layer's weights in the layout of the kernels.
#[derive(Clone, Debug)]
pub struct Layer<T> {
    weights: LayerWeights<T>,
    num_parameters: usize,
    /// Size of each state of a stream.
    states: [usize; MAX_STATES],
}

#[derive(Clone, Debug)]
enum LayerWeights<T> {
    Recurrent(Box<RecurrentWeights<T>>),
    Block(Arc<dyn Block<T>>),
}

/// Activations of a layer's forward pass, kept for the backward pass.
#[derive(Clone, Debug, Default)]
pub struct LayerTrace<T> {
    recurrent: RecurrentTrace<T>,
    block: BlockTrace<T>,
}

impl<T: Kernels> LayerTrace<T> {
    /// The gates after their activation functions, `[R, kH]` for a recurrent cell, `[kH]` of a single row for a block
    /// ([`BlockTrace::gates`]); empty for a cell without gates.
    pub fn gates(&self) -> &[T] {
        if self.block.gates.is_empty() { self.recurrent.gates() } else { &self.block.gates }
    }
}

/// Scratch buffers of backward passes, reused by all layers.
pub type LayerScratch<T> = RecurrentScratch<T>;

/// Inputs of a layer's backward pass.
pub struct LayerBackward<'a, T> {
    /// The inputs of the forward pass, `[R, in]`.
    pub x: &'a [T],
    /// The layout of the rows.
    pub steps: &'a PackedSequence,
    /// The activations of the forward pass.
    pub trace: &'a LayerTrace<T>,
    /// The gradient of the outputs, `[R, H]`.
    pub dy: &'a [T],
    /// On entry the gradients of the last states, on return those of the first; empty where there is none.
    pub dstates: [&'a mut [T]; MAX_STATES],
}

impl<T: Kernels> Layer<T> {
    /// Creates the layout of a layer's parameters, for inputs of the width `inputs`; with that for the backward pass if
    /// `training`.
    pub fn new(config: &LayerConfig, inputs: usize, parameters: &[&[T]], purpose: Purpose) -> Self {
        let weights = match config.cell.form() {
            CellForm::Recurrent { shape, layout } => {
                let (w, r, b) = match *parameters {
                    [w, r, b] => (w, r, b),
                    [w, b] => (w, &[][..], b),
                    _ => unreachable!("a recurrent cell has two or three parameters"),
                };
                let parameters = RecurrentParameters { w, r, b, purpose };
                let weights = RecurrentWeights::new(config.hidden, shape, layout, &parameters);
                LayerWeights::Recurrent(Box::new(weights))
            }
            CellForm::Block { layout, .. } => {
                LayerWeights::Block(layout(&config.sizes(inputs), parameters, purpose))
            }
        };
        let mut states = [0; MAX_STATES];
        for (size, [rows, width]) in states.iter_mut().zip(config.state_shapes()) {
            *size = rows * width;
        }
        Self { weights, num_parameters: parameters.len(), states }
    }

    /// Number of parameters of the layer.
    pub fn num_parameters(&self) -> usize {
        self.num_parameters
    }

    /// Size of state `k` of a stream; 0 if there is none.
    pub fn state_size(&self, k: usize) -> usize {
        self.states[k]
    }

    /// The outputs `[R, H]` of a forward pass.
    pub fn output<'t>(&self, trace: &'t LayerTrace<T>) -> &'t [T] {
        match self.weights {
            LayerWeights::Recurrent(_) => trace.recurrent.output(),
            LayerWeights::Block(_) => &trace.block.output,
        }
    }

    /// Runs the layer over `x [R, in]`, starting from `states` and updating them.
    pub fn forward(
        &self,
        x: &[T],
        steps: &PackedSequence,
        states: [&mut [T]; MAX_STATES],
        trace: &mut LayerTrace<T>,
    ) {
        match &self.weights {
            LayerWeights::Recurrent(weights) => {
                recurrent::forward(weights, x, steps, states, &mut trace.recurrent);
            }
            LayerWeights::Block(block) => {
                let [state, _] = states;
                block.forward(x, steps, state, &mut trace.block);
            }
        }
    }

    /// Backpropagation through time. The gradients of the parameters are added to `gradients`; `dx [R, in]` is replaced
    /// by the gradient of the inputs.
    pub fn backward(
        &self,
        pass: LayerBackward<'_, T>,
        gradients: &mut [Vec<T>],
        scratch: &mut LayerScratch<T>,
        dx: &mut Vec<T>,
    ) {
        let LayerBackward { x, steps, trace, dy, dstates } = pass;
        match &self.weights {
            LayerWeights::Recurrent(weights) => {
                let gradient = match gradients {
                    [w, r, b] => RecurrentGradient { w, r, b },
                    [w, b] => RecurrentGradient { w, r: &mut [], b },
                    _ => unreachable!("a recurrent cell has two or three parameters"),
                };
                let pass = Backward { x, steps, trace: &trace.recurrent, dy, dstates };
                recurrent::backward(weights, pass, gradient, scratch, dx);
            }
            LayerWeights::Block(block) => {
                let [dstate, _] = dstates;
                let trace = &trace.block;
                block.backward(BlockBackward { steps, trace, dy, dstate, gradients }, dx);
            }
        }
    }
}
