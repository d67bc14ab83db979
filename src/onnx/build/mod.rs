//! Construction of ONNX graphs: the builder, the layers common to all targets, and the table of cells.

mod attention;
pub(super) mod block;
mod body;
pub(super) mod cells;
mod conv;
pub mod graph;
pub(super) mod layers;
mod lstmp;
mod mingru;
mod rglru;
mod scan;
mod tdnnf;
