//! Construction of ONNX graphs: the builder, the layers common to all targets, and the table of cell
//! operators.

pub(super) mod cells;
pub mod graph;
pub(super) mod layers;
mod mingru;
