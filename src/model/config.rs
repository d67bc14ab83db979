//! The architecture of a network as data.

use serde::{Deserialize, Serialize};

use super::cells::CellKind;

/// One recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerConfig {
    pub cell: CellKind,
    /// Width H of the state.
    pub hidden: usize,
}

/// normalize → stack → linear → layer norm → L × (cell → layer norm → residual) → linear →
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
    /// Layer normalization after the input layer and after each cell.
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
