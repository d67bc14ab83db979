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
    /// The number of heads of `attention` and of blocks in the gates of `rglru`, which divides H.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub num_heads: usize,
    /// L, the number of earlier steps that a step of `attention` depends on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_context: usize,
    /// Width of the hidden layer in the feed-forward part of `attention`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dim_feedforward: usize,
    /// Width between the two factors of `tdnnf`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bottleneck_dim: usize,
    /// Distance, in steps, of the two steps that a factor of `tdnnf` depends on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub time_stride: usize,
    /// Width of the cell of `lstmp`, whose output is projected to H.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cell_dim: usize,
}

/// The default of [`LayerConfig::kernel_size`].
pub const KERNEL_SIZE: usize = 5;
/// The default of [`LayerConfig::num_heads`], if it divides the width.
pub const NUM_HEADS: usize = 4;
/// The default of [`LayerConfig::left_context`].
pub const LEFT_CONTEXT: usize = 50;
/// The default of [`LayerConfig::dim_feedforward`], divided by the width (Vaswani et al. 2017).
const FEEDFORWARD_FACTOR: usize = 4;
/// The default of [`LayerConfig::bottleneck_dim`]: the width, divided by this.
const BOTTLENECK_FACTOR: usize = 2;
/// The default of [`LayerConfig::time_stride`].
pub const TIME_STRIDE: usize = 1;
/// The default of [`LayerConfig::cell_dim`], divided by the width.
const CELL_FACTOR: usize = 2;
/// Maximum of [`LayerConfig::kernel_size`].
const MAX_KERNEL_SIZE: usize = 1024;
/// Maximum of [`LayerConfig::left_context`].
const MAX_LEFT_CONTEXT: usize = 16_384;
/// Maximum of [`LayerConfig::dim_feedforward`].
const MAX_FEEDFORWARD: usize = 65_536;
/// Maximum of [`LayerConfig::bottleneck_dim`].
const MAX_BOTTLENECK: usize = 16_384;
/// Maximum of [`LayerConfig::time_stride`].
const MAX_TIME_STRIDE: usize = 1024;
/// Maximum of [`LayerConfig::cell_dim`].
const MAX_CELL_DIM: usize = 16_384;

fn is_zero(size: &usize) -> bool {
    *size == 0
}

impl LayerConfig {
    /// A layer of this width, with the default sizes of its cell.
    pub fn new(cell: CellKind, hidden: usize) -> Self {
        let plain = Self {
            cell,
            hidden,
            kernel_size: 0,
            num_heads: 0,
            left_context: 0,
            dim_feedforward: 0,
            bottleneck_dim: 0,
            time_stride: 0,
            cell_dim: 0,
        };
        let num_heads = if hidden.is_multiple_of(NUM_HEADS) { NUM_HEADS } else { 1 };
        match cell {
            CellKind::Conv => Self { kernel_size: KERNEL_SIZE, ..plain },
            CellKind::RgLru => Self { num_heads, ..plain },
            CellKind::Attention => Self {
                num_heads,
                left_context: LEFT_CONTEXT,
                dim_feedforward: FEEDFORWARD_FACTOR * hidden,
                ..plain
            },
            CellKind::Tdnnf => {
                Self { bottleneck_dim: hidden.div_ceil(BOTTLENECK_FACTOR), time_stride: TIME_STRIDE, ..plain }
            }
            CellKind::Lstmp => Self { cell_dim: CELL_FACTOR * hidden, ..plain },
            _ => plain,
        }
    }

    /// The sizes that only some cells have, with their names.
    fn own_sizes(&mut self) -> [(&'static str, &mut usize); 7] {
        [
            ("kernel_size", &mut self.kernel_size),
            ("num_heads", &mut self.num_heads),
            ("left_context", &mut self.left_context),
            ("dim_feedforward", &mut self.dim_feedforward),
            ("bottleneck_dim", &mut self.bottleneck_dim),
            ("time_stride", &mut self.time_stride),
            ("cell_dim", &mut self.cell_dim),
        ]
    }

    /// The layer with the default of its cell for each size that is 0.
    ///
    /// # Errors
    /// Names a size that is not 0 and that the cell does not have.
    pub fn with_defaults(mut self) -> Result<Self, &'static str> {
        let mut defaults = Self::new(self.cell, self.hidden);
        for ((name, size), (_, default)) in self.own_sizes().into_iter().zip(defaults.own_sizes()) {
            match (*size, *default) {
                (0, default) => *size = default,
                (_, 0) => return Err(name),
                _ => {}
            }
        }
        Ok(self)
    }

    /// What is wrong with the sizes that only some cells have; `None` if nothing is.
    pub fn problem(&self) -> Option<String> {
        let within = |name: &str, found: usize, min: usize, max: usize| {
            let good = (min..=max).contains(&found);
            (!good).then(|| format!("expected a {name} from {min} to {max}, found {found}"))
        };
        let &Self { hidden, num_heads: heads, .. } = self;
        match self.cell {
            CellKind::Conv => within("kernel_size", self.kernel_size, 2, MAX_KERNEL_SIZE),
            CellKind::Attention | CellKind::RgLru if heads == 0 || !hidden.is_multiple_of(heads) => {
                Some(format!("expected num_heads that divides the width {hidden}, found {heads}"))
            }
            CellKind::Attention => within("left_context", self.left_context, 1, MAX_LEFT_CONTEXT)
                .or_else(|| within("dim_feedforward", self.dim_feedforward, 1, MAX_FEEDFORWARD)),
            CellKind::Tdnnf => within("bottleneck_dim", self.bottleneck_dim, 1, MAX_BOTTLENECK)
                .or_else(|| within("time_stride", self.time_stride, 1, MAX_TIME_STRIDE)),
            CellKind::Lstmp => within("cell_dim", self.cell_dim, 1, MAX_CELL_DIM),
            _ => None,
        }
    }

    /// All sizes of a block, for inputs of the width `inputs`.
    pub(super) fn sizes(&self, inputs: usize) -> BlockSizes {
        let &Self { hidden, kernel_size, num_heads, left_context, dim_feedforward, .. } = self;
        let &Self { bottleneck_dim, time_stride, cell_dim, .. } = self;
        BlockSizes {
            inputs,
            hidden,
            kernel_size,
            num_heads,
            left_context,
            dim_feedforward,
            bottleneck_dim,
            time_stride,
            cell_dim,
        }
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
    /// Whether a layer's input is added to its output where the widths are equal ([`CellKind::residual_scale`]).
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
