//! Second stage of a stream: runs the network on feature frames, carrying its state.

use std::sync::Arc;

use crate::engine::{Engine, SharedScratch, State};
use crate::error::Result;
use crate::onnx::Metadata;

/// Maximum number of frames per call of the network, about ten seconds. It bounds the memory of a call.
const MAX_FRAMES: usize = 1024;

/// Maximum number of steps before the last call that are kept for replay after a reset.
const MAX_REPLAY: usize = 64;

/// The waiting frames and the network's state of one stream.
pub struct StreamingNetwork {
    engine: Arc<dyn Engine>,
    state: State,
    /// Frames not yet processed, `[T, F]`.
    waiting: Vec<f32>,
    /// Feature value of digital silence, the logarithm of the energy floor.
    silence: f32,
    /// The last processed frames, for [`StreamingNetwork::reset_and_replay`]; `None` if not needed.
    history: Option<Vec<f32>>,
    /// Number of queued steps that are run a second time, whose output must not be decoded again.
    replayed: usize,
}

impl StreamingNetwork {
    /// Creates the state of a new stream.
    pub fn new(engine: Arc<dyn Engine>, metadata: &Metadata) -> Self {
        let state = engine.zero_state();
        let silence = metadata.features.energy_floor.ln();
        Self { engine, state, waiting: Vec::new(), silence, history: None, replayed: 0 }
    }

    /// Sets whether processed frames are kept, which [`StreamingNetwork::reset_and_replay`] needs.
    pub fn with_replay(mut self, on: bool) -> Self {
        self.history = on.then(Vec::new);
        self
    }

    /// Keeps processed frames from now on, as [`StreamingNetwork::with_replay`] does from the beginning.
    pub(super) fn keep_replay(&mut self) {
        self.history.get_or_insert_default();
    }

    /// Whether the network is that of an engine.
    pub(super) fn runs(&self, engine: &Arc<dyn Engine>) -> bool {
        Arc::ptr_eq(&self.engine, engine)
    }

    /// Resets the network's state to that of a new stream and queues the frames of the last `steps` steps again,
    /// preceded by those of the `replay` steps before them, whose output has been decoded already.
    pub fn reset_and_replay(&mut self, steps: usize, replay: usize) {
        self.clear_state();
        let spec = self.engine.spec();
        let size = spec.shift * spec.num_features;
        if let Some(history) = &mut self.history {
            let available = (history.len() / size.max(1)).saturating_sub(steps);
            self.replayed = replay.min(available);
            let from = history.len().saturating_sub((steps + self.replayed) * size);
            self.waiting.splice(..0, history.drain(from..));
        }
    }

    /// The number of the next `steps` steps that were decoded already; they are removed from the count.
    pub(super) fn take_replayed(&mut self, steps: usize) -> usize {
        let replayed = self.replayed.min(steps);
        self.replayed -= replayed;
        replayed
    }

    /// The queue of frames `[T, F]`, to which the front end appends.
    pub fn frames_mut(&mut self) -> &mut Vec<f32> {
        &mut self.waiting
    }

    /// The network's state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// V, the number of log-probabilities per output frame.
    pub fn num_tokens(&self) -> usize {
        self.engine.spec().num_tokens
    }

    /// Number of steps that can be run with the waiting frames.
    pub fn num_steps_ready(&self) -> usize {
        let spec = self.engine.spec();
        let frames = self.waiting.len() / spec.num_features.max(1);
        if frames < spec.window { 0 } else { (frames - spec.window) / spec.shift.max(1) + 1 }
    }

    /// Pads the last window with digital silence at the end of the stream, so that every frame is processed.
    pub fn finish(&mut self) {
        let spec = self.engine.spec();
        let frames = self.waiting.len() / spec.num_features.max(1);
        // Frames used only as future context so far need steps of their own.
        let steps = frames.div_ceil(spec.shift.max(1));
        if steps > 0 {
            let wanted = spec.window + (steps - 1) * spec.shift;
            self.waiting.resize(wanted.max(frames) * spec.num_features, self.silence);
        }
    }

    /// Runs all ready steps of this stream alone and appends `[U, V]` log-probabilities to `log_probs`.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn run(&mut self, log_probs: &mut Vec<f32>) -> Result<()> {
        while self.num_steps_ready() > 0 {
            run_batch(&mut [self], &mut [log_probs])?;
        }
        Ok(())
    }

    /// Swaps the scratch buffers of the state with shared ones, before and after a call.
    pub fn swap_scratch(&mut self, scratch: &mut SharedScratch) {
        scratch.swap(&mut self.state);
    }

    /// Resets the state, but keeps its scratch buffers.
    fn clear_state(&mut self) {
        let mut scratch = SharedScratch::default();
        scratch.swap(&mut self.state);
        self.state = self.engine.zero_state();
        scratch.swap(&mut self.state);
    }

    /// Resets the state for a new stream.
    pub fn reset(&mut self) {
        self.clear_state();
        self.waiting.clear();
        self.replayed = 0;
        if let Some(history) = &mut self.history {
            history.clear();
        }
    }
}

/// Runs one call of the engine for all streams, each of which must have ready steps: as many steps as all of them
/// have. Appends `[U, V]` log-probabilities to `log_probs[n]`; returns the number of steps.
///
/// # Errors
/// When the engine fails.
pub fn run_batch(networks: &mut [&mut StreamingNetwork], log_probs: &mut [&mut Vec<f32>]) -> Result<usize> {
    let Some(engine) = networks.first().map(|s| Arc::clone(&s.engine)) else { return Ok(0) };
    let spec = engine.spec();
    let longest = (MAX_FRAMES.saturating_sub(spec.window) / spec.shift.max(1)) + 1;
    let steps = networks.iter().map(|s| s.num_steps_ready()).min().unwrap_or(0).min(longest);
    if steps == 0 {
        return Ok(0);
    }
    let values = (spec.window + (steps - 1) * spec.shift) * spec.num_features;
    let mut frames = Vec::with_capacity(networks.len());
    let mut states = Vec::with_capacity(networks.len());
    for network in networks.iter_mut() {
        let StreamingNetwork { waiting, state, .. } = &mut **network;
        frames.push(&waiting[..values]);
        states.push(state);
    }
    engine.run(&frames, &mut states, log_probs)?;
    let used = steps * spec.shift * spec.num_features;
    for network in networks {
        let used = network.waiting.drain(..used.min(network.waiting.len()));
        if let Some(history) = &mut network.history {
            let kept = MAX_REPLAY * spec.shift * spec.num_features;
            history.drain(..history.len().saturating_sub(kept));
            history.extend(used);
        }
    }
    Ok(steps)
}
