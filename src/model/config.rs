//! Configuration of a network's architecture.

use serde::{Deserialize, Serialize};

use super::cells::{BlockSizes, CellForm, CellKind};

/// Configuration of one layer. A size that the cell does not have is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerConfig {
    /// Kind of the cell.
    pub cell: CellKind,
    /// H, the width of the output; also that of the state of a recurrent cell.
    pub hidden: usize,
    /// K, the number of steps in the kernel of `conv`, its own included.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kernel_size: usize,
}

/// The default of [`LayerConfig::kernel_size`].
pub const KERNEL_SIZE: usize = 5;
/// Maximum of [`LayerConfig::kernel_size`].
const MAX_KERNEL_SIZE: usize = 1024;

fn is_zero(size: &usize) -> bool {
    *size == 0
}

impl LayerConfig {
    /// A layer of this width, with the default sizes of its cell.
    pub fn new(cell: CellKind, hidden: usize) -> Self {
        let plain = Self { cell, hidden, kernel_size: 0 };
        match cell {
            CellKind::Conv => Self { kernel_size: KERNEL_SIZE, ..plain },
            _ => plain,
        }
    }

    /// What is wrong with the sizes that only some cells have; `None` if nothing is.
    pub fn problem(&self) -> Option<String> {
        let (what, found, max) = match self.cell {
            CellKind::Conv => ("kernel_size", self.kernel_size, MAX_KERNEL_SIZE),
            _ => return None,
        };
        let good = (2..=max).contains(&found);
        (!good).then(|| format!("expected a {what} from 2 to {max}, found {found}"))
    }

    /// All sizes of a block, for inputs of the width `inputs`.
    pub(super) fn sizes(&self, inputs: usize) -> BlockSizes {
        let &Self { hidden, kernel_size, .. } = self;
        BlockSizes { inputs, hidden, kernel_size }
    }

    /// Names and shapes of the layer's parameters, in order, for inputs of the width `inputs`.
    pub fn parameters(&self, inputs: usize) -> Vec<(&'static str, Vec<usize>)> {
        match self.cell.form::<f32>() {
            CellForm::Recurrent { shape, .. } => shape.parameters(inputs, self.hidden),
            CellForm::Block { shape, .. } => (shape.parameters)(&self.sizes(inputs)),
        }
    }

    /// The shapes of a stream's states: the number of steps that a state holds, and the width of their values.
    pub fn state_shapes(&self) -> Vec<[usize; 2]> {
        match self.cell.form::<f32>() {
            CellForm::Recurrent { shape, .. } => vec![[1, self.hidden]; shape.states],
            CellForm::Block { shape, .. } => vec![(shape.state)(&self.sizes(0))],
        }
    }
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
    /// The layers, in order.
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
