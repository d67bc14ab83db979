//! Inference engines: `native` (hearken's own kernels), `tract` and `ort` (onnxruntime). An engine computes
//! log-probabilities from features and carries the states of streams from call to call.

pub mod graph;
pub(crate) mod graph_engine;
pub(crate) mod load;
pub(crate) mod native;
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

/// Values of a tensor in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// ONNX type float32.
    F32(Vec<f32>),
    /// ONNX type int64.
    I64(Vec<i64>),
}

/// An input, output or state of a graph. For the state of one stream, the shape is that of the file with 1 for the
/// batch axis.
#[derive(Clone, Debug, PartialEq)]
pub struct StateTensor {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values, as many as the product of the dimensions.
    pub data: TensorData,
}

/// The states of one stream.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The state tensors, in the order of [`EngineSpec::states`].
    pub tensors: Vec<StateTensor>,
    /// Buffers that an engine reuses from call to call; they contain no state of the stream.
    pub(crate) scratch: Option<Box<native::Scratch>>,
}

/// Scratch buffers shared by streams that are batched together: they are moved into the first stream's state for
/// a call, so that not every stream allocates its own.
#[derive(Default)]
pub struct SharedScratch(Option<Box<native::Scratch>>);

impl SharedScratch {
    /// Swaps the buffers with those of a state; called before and after a call of the engine.
    pub fn swap(&mut self, state: &mut State) {
        std::mem::swap(&mut self.0, &mut state.scratch);
    }
}

/// The interface of an engine: sizes of its inputs, outputs and states.
#[derive(Clone, Debug)]
pub struct EngineSpec {
    /// Name of the engine, for messages.
    pub name: &'static str,
    /// F, the number of features per frame.
    pub num_features: usize,
    /// S, the number of feature frames per output frame.
    pub subsampling: usize,
    /// Minimum number of frames per call; equals `shift` unless the network uses future context.
    pub window: usize,
    /// Number of frames by which the window moves; a call takes `window + k * shift` frames.
    pub shift: usize,
    /// V, the number of tokens including the blank.
    pub num_tokens: usize,
    /// Names, shapes and batch axes of the states.
    pub states: Vec<StatePort>,
}

/// An acoustic model that processes streams chunk by chunk. It is immutable and shared; everything that changes is in
/// [`State`].
pub trait Engine: Send + Sync {
    /// Sizes of the inputs, outputs and states.
    fn spec(&self) -> &EngineSpec;

    /// The state at the start of a stream.
    fn zero_state(&self) -> State;

    /// Processes the next frames of N streams as a batch. `frames[n]` is `[T, F]` with the same T for all streams (a
    /// multiple of `shift` if `window == shift`, else `window + k * shift`). Appends log-probabilities `[T', V]` to
    /// `log_probs[n]`, where T' = ((T - `window`) / `shift` + 1) * `shift` / S, and updates `states[n]`.
    ///
    /// # Errors
    /// When numbers of streams or frames do not match, or the runtime fails.
    fn run(
        &self,
        frames: &[&[f32]],
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> Result<()>;
}
