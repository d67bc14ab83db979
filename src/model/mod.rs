//! Recurrent networks: cells, layers, their gradients, and the states of streams.

#[cfg(target_arch = "x86_64")]
mod amx;
mod average;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
#[cfg(target_arch = "x86_64")]
mod bf16;
#[cfg(target_arch = "x86_64")]
mod bf16_pairs;
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

/// The matrix products alone, for `tools/bench/kernels.rs`.
#[doc(hidden)]
pub mod benchmark {
    pub use super::kernels::{add_weight_gradient, multiply_add};
    pub use super::packed::Packed;
}

pub use cells::{CellKind, Recurrence, alibi_slopes, constrain_tdnnf};
pub use config::{
    AuxiliaryConfig, KERNEL_SIZE, LEFT_CONTEXT, LayerConfig, NUM_HEADS, NetworkConfig, TIME_STRIDE,
};
pub use forward::{PackedWeights, States, Workspace};
pub use gradient_flow::{Decay, GradientFlow, gradient_flow};
pub use jacobian::{JacobianValues, jacobian_values};
pub use kernels::Kernels;
pub use network::{Network, Parameter};
pub use packed::{Precision, Purpose};
pub use packed_sequence::PackedSequence;
pub use real::Real;
pub use singular_values::singular_values;
