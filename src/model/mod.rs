//! Networks: cells, layers, their gradients, and what a stream carries.

pub mod config;
pub mod network;

pub use config::{CellKind, LayerConfig, NetworkConfig};
pub use network::{Network, Parameter};
