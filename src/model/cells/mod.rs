//! The cells, one file for each: its equations, its step, and the gradients of the step and the parameters.
//! [`super::recurrent`] runs recurrent cells over time; a [`Block`] is computed for all steps at once.
//!
//! In the equations x_t is the input of step t, s_t the state and output, U the weights of the input (ONNX's
//! W), W those of the state (ONNX's R), b the sum of the two biases, ∘ the elementwise product and L the
//! loss. To add a cell: implement [`Cell`] or [`Block`] in a new file, add a kind and its row in the table below, and a row in the
//! table of `onnx::build::cells`.

mod attention;
mod block;
mod cell;
mod conv;
mod gru;
mod history;
mod lstm;
mod lstmp;
mod mingru;
mod rglru;
mod rnn;
mod tdnnf;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::kernels::Kernels;
use super::packed::Purpose;

pub use attention::alibi_slopes;
pub use block::{Block, BlockBackward, BlockShape, BlockSizes, BlockTrace};
pub use cell::{Cell, CellParameters, CellShape, MAX_STATES, Recurrence, Step, StepBackward, Sums};
pub use rglru::first_lambda;
pub use tdnnf::constrain as constrain_tdnnf;

/// The kind of a layer's cell.
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
    /// Minimal gated recurrent unit, whose gates depend on the input alone (Feng et al. 2024).
    #[serde(rename = "mingru")]
    MinGru,
    /// Real-gated linear recurrent unit: a diagonal linear recurrence whose decay depends on the input (De et al. 2024).
    #[serde(rename = "rglru")]
    RgLru,
    /// Convolution over the last steps, the module of the Conformer (Gulati et al. 2020).
    Conv,
    /// Self-attention over the last steps, a layer of the Transformer encoder (Vaswani et al. 2017).
    Attention,
    /// Factorized time-delay layer: two linear layers with a bottleneck between them, each over two steps (Povey et al.
    /// 2018).
    Tdnnf,
    /// Long short-term memory with a recurrent projection (Sak et al. 2014).
    Lstmp,
}

/// Constructor of a recurrent cell from its parameters.
pub type CellLayout<T> = fn(&CellParameters<'_, T>) -> Arc<dyn Cell<T>>;

/// Constructor of a block from its sizes and parameters; the last argument is whether gradients will be computed.
pub type BlockLayout<T> = fn(&BlockSizes, &[&[T]], Purpose) -> Arc<dyn Block<T>>;

/// How a kind of cell is computed.
pub enum CellForm<T> {
    /// Step by step.
    Recurrent {
        /// Its properties.
        shape: CellShape,
        /// Its constructor.
        layout: CellLayout<T>,
    },
    /// All steps at once.
    Block {
        /// Its properties.
        shape: BlockShape,
        /// Its constructor.
        layout: BlockLayout<T>,
    },
}

const fn recurrent<T>(shape: CellShape, layout: CellLayout<T>) -> CellForm<T> {
    CellForm::Recurrent { shape, layout }
}

const fn block<T>(shape: BlockShape, layout: BlockLayout<T>) -> CellForm<T> {
    CellForm::Block { shape, layout }
}

impl CellKind {
    /// All kinds of cells.
    pub const ALL: [Self; 11] = [
        Self::RnnTanh,
        Self::RnnRelu,
        Self::Gru,
        Self::GruResetBefore,
        Self::Lstm,
        Self::MinGru,
        Self::RgLru,
        Self::Conv,
        Self::Attention,
        Self::Tdnnf,
        Self::Lstmp,
    ];

    /// The name in recipes and model files.
    pub fn name(self) -> &'static str {
        match self {
            Self::RnnTanh => "rnn-tanh",
            Self::RnnRelu => "rnn-relu",
            Self::Gru => "gru",
            Self::GruResetBefore => "gru-reset-before",
            Self::Lstm => "lstm",
            Self::MinGru => "mingru",
            Self::RgLru => "rglru",
            Self::Conv => "conv",
            Self::Attention => "attention",
            Self::Tdnnf => "tdnnf",
            Self::Lstmp => "lstmp",
        }
    }

    /// The names of the weights of the state, one `[H, H]` for each gate, in the order of their rows in W; none if no
    /// gate depends on the state.
    pub fn gate_names(self) -> &'static [&'static str] {
        match self {
            Self::RnnTanh | Self::RnnRelu => &["W"],
            Self::Gru | Self::GruResetBefore => &["W_z", "W_r", "W_c"],
            Self::Lstm => &["W_i", "W_o", "W_f", "W_g"],
            Self::MinGru | Self::RgLru | Self::Conv | Self::Attention | Self::Tdnnf | Self::Lstmp => &[],
        }
    }

    /// The table of cells.
    pub fn form<T: Kernels>(self) -> CellForm<T> {
        match self {
            CellKind::RnnTanh => recurrent(CellShape::SIMPLE, rnn::tanh),
            CellKind::RnnRelu => recurrent(CellShape::SIMPLE, rnn::relu),
            CellKind::Gru => recurrent(gru::RESET_AFTER, gru::reset_after),
            CellKind::GruResetBefore => recurrent(gru::RESET_BEFORE, gru::reset_before),
            CellKind::Lstm => recurrent(lstm::SHAPE, lstm::lstm),
            CellKind::MinGru => recurrent(mingru::SHAPE, mingru::mingru),
            CellKind::RgLru => block(rglru::SHAPE, rglru::rglru),
            CellKind::Conv => block(conv::SHAPE, conv::conv),
            CellKind::Attention => block(attention::SHAPE, attention::attention),
            CellKind::Tdnnf => block(tdnnf::SHAPE, tdnnf::tdnnf),
            CellKind::Lstmp => block(lstmp::SHAPE, lstmp::lstmp),
        }
    }

    /// Properties of a recurrent cell; `None` for a block.
    pub fn shape(self) -> Option<CellShape> {
        match self.form::<f32>() {
            CellForm::Recurrent { shape, .. } => Some(shape),
            CellForm::Block { .. } => None,
        }
    }

    /// Number of gates, which are blocks of H rows in the weights: 1 (rnn), 2 (mingru: z, c), 3 (gru: z, r, c)
    /// or 4 (lstm: i, o, f, g); 0 for a block.
    pub fn gates(self) -> usize {
        self.shape().map_or(0, |shape| shape.gates)
    }

    /// Number of state tensors per layer: 1, or 2 for lstm (output and cell).
    pub fn states(self) -> usize {
        self.shape().map_or(1, |shape| shape.states)
    }

    /// The factor of the layer's input in the network's residual connection.
    pub fn residual_scale(self) -> f64 {
        match self {
            Self::Tdnnf => tdnnf::RESIDUAL_SCALE,
            _ => 1.0,
        }
    }

    /// The cell's part of parameter names, such as `rnn` or `lstm`.
    pub fn family(self) -> &'static str {
        match self.form::<f32>() {
            CellForm::Recurrent { shape, .. } => shape.family,
            CellForm::Block { shape, .. } => shape.family,
        }
    }
}
