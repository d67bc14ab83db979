//! Configuration of a network's architecture.

use serde::{Deserialize, Serialize};

use super::cells::CellKind;

/// Configuration of one recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerConfig {
    /// Kind of the cell.
    pub cell: CellKind,
    /// H, the width of the state.
    pub hidden: usize,
}

/// Configuration of a network: normalize → stack → linear → layer norm → L × (cell → layer norm → residual) →
/// linear → log-softmax.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// F, the number of features per frame.
    pub num_features: usize,
    /// S, the number of frames stacked into one step.
    pub subsampling: usize,
    /// D, the width of the input layer.
    pub input_size: usize,
    /// The recurrent layers, in order.
    pub layers: Vec<LayerConfig>,
    /// Whether there is layer normalization after the input layer and after each cell.
    pub layer_norm: bool,
    /// Whether a layer's input is added to its output where the widths are equal.
    pub residual: bool,
    /// V, the number of tokens including the blank.
    pub num_tokens: usize,
    /// A second output, used only in training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auxiliary: Option<AuxiliaryConfig>,
}

/// Configuration of a second output after one of the layers, whose loss trains the layers below as well. It is not
/// stored in the model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuxiliaryConfig {
    /// Index of the layer whose output it uses, from 0.
    pub layer: usize,
    /// A, the number of its tokens including the blank.
    pub num_tokens: usize,
}
