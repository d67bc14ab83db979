//! The architecture of a network as data.

use serde::{Deserialize, Serialize};

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

impl CellKind {
    /// Row blocks of H in the weights: 1 (rnn), 3 (gru: z, r, h), 4 (lstm: i, o, f, c).
    pub fn gates(self) -> usize {
        match self {
            CellKind::RnnTanh | CellKind::RnnRelu => 1,
            CellKind::Gru | CellKind::GruResetBefore => 3,
            CellKind::Lstm => 4,
        }
    }

    /// State vectors carried per layer: 1 (h), 2 for lstm (h and c).
    pub fn states(self) -> usize {
        if self == CellKind::Lstm { 2 } else { 1 }
    }

    /// The part of a parameter's name: `rnn`, `gru` or `lstm`.
    pub fn family(self) -> &'static str {
        match self {
            CellKind::RnnTanh | CellKind::RnnRelu => "rnn",
            CellKind::Gru | CellKind::GruResetBefore => "gru",
            CellKind::Lstm => "lstm",
        }
    }
}

/// One recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerConfig {
    pub cell: CellKind,
    /// Width H of the state.
    pub hidden: usize,
}

/// normalise → stack → linear → layer norm → L × (cell → layer norm → residual) → linear →
/// log-softmax.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// F, features a frame.
    pub num_features: usize,
    /// S, frames stacked into one step.
    pub subsampling: usize,
    /// D, width of the input layer.
    pub input_size: usize,
    /// The recurrent layers, first to last.
    pub layers: Vec<LayerConfig>,
    /// Layer normalisation after the input layer and after each cell.
    pub layer_norm: bool,
    /// Adds a layer's input to its output where the widths agree.
    pub residual: bool,
    /// V, tokens with the blank.
    pub num_tokens: usize,
    /// A second output, for training only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auxiliary: Option<AuxiliaryConfig>,
}

/// A second output on top of one of the layers, from which the layers below learn too. It is left
/// out of the model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuxiliaryConfig {
    /// The layer it stands on, from 0.
    pub layer: usize,
    /// A, its tokens with the blank.
    pub num_tokens: usize,
}
