//! Running a network, three ways: `native` (our own kernels), `tract`, `ort` (onnxruntime).
//! Features in, log-probabilities out, states carried.

pub mod graph;
pub mod graph_engine;
pub mod load;
pub mod native;
pub mod sherpa;
mod state_tensors;
mod stateful_graph;
mod transducer;
pub mod verify;

use crate::error::Result;
pub use crate::onnx::StatePort;
pub use graph::Graph;
pub use graph::ort_library::{self, LibrarySearch};
pub use graph_engine::GraphEngine;
pub use load::{EngineKind, EngineOptions, load};
pub use native::NativeEngine;

/// The values of one tensor that is carried from step to step.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    F32(Vec<f32>),
    I64(Vec<i64>),
}

/// One state tensor of one stream: the file's shape with the batch axis at 1.
#[derive(Clone, Debug, PartialEq)]
pub struct StateTensor {
    pub shape: Vec<usize>,
    pub data: TensorData,
}

/// All that one stream carries from step to step, in the order of [`EngineSpec::states`].
#[derive(Clone, Debug, Default)]
pub struct State {
    pub tensors: Vec<StateTensor>,
    /// Room that an engine may reuse from call to call; holds nothing of the stream.
    pub(crate) scratch: Option<Box<native::Scratch>>,
}

/// The room that calls compute in, of streams that step together: it is lent to the first of them
/// for a call, so that there is one for all and not one for each.
#[derive(Default)]
pub struct SharedScratch(Option<Box<native::Scratch>>);

impl SharedScratch {
    /// Lends it to a state, or takes it back.
    pub fn swap(&mut self, state: &mut State) {
        std::mem::swap(&mut self.0, &mut state.scratch);
    }
}

/// What an engine needs and gives.
#[derive(Clone, Debug)]
pub struct EngineSpec {
    /// `native`, `tract` or `ort`.
    pub name: &'static str,
    /// F, features a frame.
    pub num_features: usize,
    /// S, feature frames an output frame.
    pub subsampling: usize,
    /// Frames the network must see at once; equals `shift` unless it looks ahead.
    pub window: usize,
    /// Frames it moves on by; a call takes `window + k * shift` frames.
    pub shift: usize,
    /// V, tokens with the blank.
    pub num_tokens: usize,
    pub states: Vec<StatePort>,
}

/// A network that can be stepped. Immutable and shared: all that changes is in [`State`].
pub trait Engine: Send + Sync {
    /// What it needs and gives.
    fn spec(&self) -> &EngineSpec;

    /// The state of a stream that has heard nothing.
    fn zero_state(&self) -> State;

    /// One step of N streams together: `frames[n]` is `[T, F]` with the same T (a multiple of
    /// `shift`, where `window == shift`) for all; appends `[T / S, V]` log-probabilities to
    /// `log_probs[n]` and moves `states[n]` on.
    ///
    /// # Errors
    /// When the lengths do not fit, or the runtime fails.
    fn run(
        &self,
        frames: &[&[f32]],
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> Result<()>;
}
