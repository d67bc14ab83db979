//! Graphs under construction: the builder, the layers that all of them share, and a row for each cell.

pub(super) mod cells;
pub mod graph;
pub(super) mod layers;
