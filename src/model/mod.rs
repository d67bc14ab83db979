//! Networks: cells, layers, their gradients, and what a stream carries.

mod average;
pub mod cells;
pub mod config;
pub mod forward;
pub mod kernels;
pub mod network;
pub mod norm;
pub mod packed;
pub mod real;
pub mod recurrent;
pub mod steps;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use cells::CellKind;
pub use config::{AuxiliaryConfig, LayerConfig, NetworkConfig};
pub use forward::{States, Weights, Workspace};
pub use kernels::Kernels;
pub use network::{Network, Parameter};
pub use real::Real;
pub use steps::Steps;
