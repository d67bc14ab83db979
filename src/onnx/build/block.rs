//! The interface between a block (a layer that ONNX has no operator for, and that is no single node) and the graph.

use super::body::{Body, Ends};
use crate::error::Result;
use crate::model::LayerConfig;

/// The nodes of a block. One of them has the name of the layer, which is the beginning of its parameters' names.
pub(in crate::onnx) struct Block {
    /// Adds the nodes of a layer whose parameters begin with a prefix. Returns the name of its outputs `[U, N, H]`.
    pub add: fn(&mut Body<'_>, &LayerConfig, &str, &Ends<'_>) -> String,
    /// Reads the configuration of a layer.
    pub sizes: fn(&SizesInFile<'_>) -> Result<LayerConfig>,
}

/// The lengths of axes of the tensors in a file.
pub(in crate::onnx) struct SizesInFile<'a> {
    /// The beginning of the layer's names.
    pub prefix: &'a str,
    /// The declared length of the first axis of the layer's state; 0 if there is none.
    pub state_rows: usize,
    /// The length of an axis of a tensor: its name, its number of axes, the axis.
    pub axis: &'a dyn Fn(&str, usize, usize) -> Result<usize>,
}

impl SizesInFile<'_> {
    /// The length of an axis of a tensor of the layer, which must have `rank` axes.
    pub fn axis(&self, name: &str, rank: usize, axis: usize) -> Result<usize> {
        (self.axis)(&format!("{}.{name}", self.prefix), rank, axis)
    }
}
