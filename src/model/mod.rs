//! Recurrent networks: cells, layers, their gradients, and the states of streams.

mod average;
mod cells;
mod config;
pub mod forward;
mod gradient_flow;
mod jacobian;
pub(crate) mod kernels;
mod layer;
mod linear;
pub mod network;
mod norm;
mod packed;
mod packed_sequence;
mod real;
mod recurrent;
mod singular_values;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use cells::{CellKind, alibi_slopes};
pub use config::{AuxiliaryConfig, KERNEL_SIZE, LEFT_CONTEXT, LayerConfig, NUM_HEADS, NetworkConfig};
pub use forward::{PackedWeights, States, Workspace};
pub use gradient_flow::{Decay, GradientFlow, gradient_flow};
pub use jacobian::{JacobianValues, jacobian_values};
pub use kernels::Kernels;
pub use network::{Network, Parameter};
pub use packed_sequence::PackedSequence;
pub use real::Real;
pub use singular_values::singular_values;
