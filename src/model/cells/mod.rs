//! Recurrent cells, one file for each: its equations, its step, and the gradients of the step and the parameters.
//! [`super::recurrent`] runs them over time.
//!
//! In the equations x_t is the input of step t, s_t the state and output, U the weights of the input (ONNX's
//! W), W those of the state (ONNX's R), b the sum of the two biases, ∘ the elementwise product and L the
//! loss. To add a cell: implement [`Cell`] in a new file, add a kind and its row in the table below, and a row in the
//! table of `onnx::build::cells`.

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

/// Constructor of a cell from its parameters.
type Layout<T> = fn(&CellParameters<'_, T>) -> Arc<dyn Cell<T>>;

impl CellKind {
    /// All kinds of cells.
    pub const ALL: [Self; 5] = [Self::RnnTanh, Self::RnnRelu, Self::Gru, Self::GruResetBefore, Self::Lstm];

    /// The name in recipes and model files.
    pub fn name(self) -> &'static str {
        match self {
            Self::RnnTanh => "rnn-tanh",
            Self::RnnRelu => "rnn-relu",
            Self::Gru => "gru",
            Self::GruResetBefore => "gru-reset-before",
            Self::Lstm => "lstm",
        }
    }

    /// The names of the gates, in the order of their rows in W.
    pub fn gate_names(self) -> &'static [&'static str] {
        match self {
            Self::RnnTanh | Self::RnnRelu => &["W"],
            Self::Gru | Self::GruResetBefore => &["W_z", "W_r", "W_c"],
            Self::Lstm => &["W_i", "W_o", "W_f", "W_g"],
        }
    }

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

    /// Properties of this kind of cell.
    pub fn shape(self) -> CellShape {
        self.entry::<f32>().0
    }

    /// Creates a layer's cell with its weights in the layout of the kernels.
    pub fn lay_out<T: Kernels>(self, parameters: &CellParameters<'_, T>) -> Arc<dyn Cell<T>> {
        self.entry().1(parameters)
    }

    /// Number of gates, which are blocks of H rows in the weights: 1 (rnn), 3 (gru: z, r, c) or 4 (lstm: i, o, f, g).
    pub fn gates(self) -> usize {
        self.shape().gates
    }

    /// Number of state vectors per layer: 1, or 2 for lstm (output and cell).
    pub fn states(self) -> usize {
        self.shape().states
    }

    /// The cell's part of parameter names: `rnn`, `gru` or `lstm`.
    pub fn family(self) -> &'static str {
        self.shape().family
    }
}
