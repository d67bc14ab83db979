//! Recurrent cells, a file a cell: its equations, a step of it, the step's gradients, and those of its
//! parameters. [`super::recurrent`] runs them over time.
//!
//! In the equations x_t is the input of step t, s_t the state and output, U the weights of the input (ONNX's
//! W), W those of the state (ONNX's R), b the sum of the two biases, ∘ the product element by element and L
//! the loss. A further cell is a file here that implements [`Cell`], a kind with its row in the table below,
//! and a row in that of `onnx::build::cells`.

mod cell;
mod gru;
mod lstm;
mod rnn;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::kernels::Kernels;

pub use cell::{Cell, CellParameters, CellShape, MAX_STATES, Step, StepBackward, Sums};

/// The kind of a recurrent cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellKind {
    /// s_t = tanh(U x_t + W s_(t-1) + b).
    RnnTanh,
    /// s_t = max(0, U x_t + W s_(t-1) + b).
    RnnRelu,
    /// Gated recurrent unit, reset gate after the matrix product (ONNX `linear_before_reset=1`,
    /// the form of cuDNN and PyTorch).
    Gru,
    /// Gated recurrent unit, reset gate before the matrix product (ONNX `linear_before_reset=0`,
    /// Cho et al. 2014).
    GruResetBefore,
    /// Long short-term memory without peepholes.
    Lstm,
}

/// How a layer's cell is made of its parameters.
type Layout<T> = fn(&CellParameters<'_, T>) -> Arc<dyn Cell<T>>;

impl CellKind {
    /// The table of cells.
    fn entry<T: Kernels>(self) -> (CellShape, Layout<T>) {
        match self {
            CellKind::RnnTanh => (rnn::SHAPE, rnn::tanh),
            CellKind::RnnRelu => (rnn::SHAPE, rnn::relu),
            CellKind::Gru => (gru::RESET_AFTER, gru::reset_after),
            CellKind::GruResetBefore => (gru::RESET_BEFORE, gru::reset_before),
            CellKind::Lstm => (lstm::SHAPE, lstm::lstm),
        }
    }

    /// What is the same for all layers of this kind.
    pub fn shape(self) -> CellShape {
        self.entry::<f32>().0
    }

    /// A layer's cell with its weights laid out.
    pub fn lay_out<T: Kernels>(self, parameters: &CellParameters<'_, T>) -> Arc<dyn Cell<T>> {
        self.entry().1(parameters)
    }

    /// Row blocks of H in the weights: 1 (rnn), 3 (gru: z, r, c), 4 (lstm: i, o, f, g).
    pub fn gates(self) -> usize {
        self.shape().gates
    }

    /// State vectors carried per layer: 1, or 2 for lstm (its output and its cell).
    pub fn states(self) -> usize {
        self.shape().states
    }

    /// The part of a parameter's name: `rnn`, `gru` or `lstm`.
    pub fn family(self) -> &'static str {
        self.shape().family
    }
}
