//! The second stage of a stream: feature frames to log-probabilities, state carried.

use std::sync::Arc;

use crate::engine::{Engine, SharedScratch, State};
use crate::error::Result;
use crate::onnx::Metadata;

/// Frames that go through the network in one call at the most: some ten seconds. It bounds the
/// memory of a call, however much is pushed at once.
const MAX_FRAMES: usize = 1024;

/// Steps before the last call that can be heard again.
const MAX_AGAIN: usize = 64;

/// What one stream has before the network: frames that wait, and the state.
pub struct Stepper {
    engine: Arc<dyn Engine>,
    state: State,
    /// `[T, F]`.
    waiting: Vec<f32>,
    /// The features of digital silence: the logarithm of the energy floor.
    silence: f32,
    /// The last frames that were moved on by, for [`Stepper::forget`]; kept on request.
    heard: Option<Vec<f32>>,
    /// Steps that are run a second time, and need not be decoded.
    known: usize,
}

impl Stepper {
    /// A stream that has heard nothing.
    pub fn new(engine: Arc<dyn Engine>, metadata: &Metadata) -> Self {
        let state = engine.zero_state();
        let silence = metadata.features.energy_floor.ln();
        Self { engine, state, waiting: Vec::new(), silence, heard: None, known: 0 }
    }

    /// Keeps what [`Stepper::forget`] needs.
    pub fn remembering(mut self, on: bool) -> Self {
        self.heard = on.then(Vec::new);
        self
    }

    /// Forgets all that the network has heard up to `steps` before the end of the last call: the
    /// state is a new stream's, and the frames of those steps wait to be heard again. So do those
    /// of the `again` steps in front of them, of which what is heard is known already.
    pub fn forget(&mut self, steps: usize, again: usize) {
        self.clear_state();
        let spec = self.engine.spec();
        let size = spec.shift * spec.num_features;
        if let Some(heard) = &mut self.heard {
            let there = (heard.len() / size.max(1)).saturating_sub(steps);
            self.known = again.min(there);
            let from = heard.len().saturating_sub((steps + self.known) * size);
            self.waiting.splice(..0, heard.drain(from..));
        }
    }

    /// Of the next `steps` steps, how many are known already.
    pub(super) fn take_known(&mut self, steps: usize) -> usize {
        let known = self.known.min(steps);
        self.known -= known;
        known
    }

    /// Where the front end puts its frames.
    pub fn frames_mut(&mut self) -> &mut Vec<f32> {
        &mut self.waiting
    }

    /// What is carried from step to step.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// V, values of an output frame.
    pub fn num_tokens(&self) -> usize {
        self.engine.spec().num_tokens
    }

    /// Steps that could be run now.
    pub fn ready(&self) -> usize {
        let spec = self.engine.spec();
        let frames = self.waiting.len() / spec.num_features.max(1);
        if frames < spec.window { 0 } else { (frames - spec.window) / spec.shift.max(1) + 1 }
    }

    /// No more frames will come: fills up the last window with digital silence, so that every
    /// frame is heard.
    pub fn finish(&mut self) {
        let spec = self.engine.spec();
        let frames = self.waiting.len() / spec.num_features.max(1);
        // Frames that were seen as look-ahead only are still to be heard as themselves.
        let steps = frames.div_ceil(spec.shift.max(1));
        if steps > 0 {
            let wanted = spec.window + (steps - 1) * spec.shift;
            self.waiting.resize(wanted.max(frames) * spec.num_features, self.silence);
        }
    }

    /// Runs what is ready of this stream alone and appends `[U, V]` to `log_probs`.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn run(&mut self, log_probs: &mut Vec<f32>) -> Result<()> {
        while self.ready() > 0 {
            run_batch(&mut [self], &mut [log_probs])?;
        }
        Ok(())
    }

    /// Lends the room that calls compute in, or takes it back.
    pub fn swap_scratch(&mut self, scratch: &mut SharedScratch) {
        scratch.swap(&mut self.state);
    }

    /// A new stream's state, in which the room stays that calls compute in.
    fn clear_state(&mut self) {
        let mut scratch = SharedScratch::default();
        scratch.swap(&mut self.state);
        self.state = self.engine.zero_state();
        scratch.swap(&mut self.state);
    }

    /// Begins a new stream.
    pub fn reset(&mut self) {
        self.clear_state();
        self.waiting.clear();
        self.known = 0;
        if let Some(heard) = &mut self.heard {
            heard.clear();
        }
    }
}

/// One call of the engine for all steppers, each of which must be ready: as many steps as the
/// least ready one has. Appends to `log_probs[n]`; gives the number of steps.
///
/// # Errors
/// When the engine fails.
pub fn run_batch(steppers: &mut [&mut Stepper], log_probs: &mut [&mut Vec<f32>]) -> Result<usize> {
    let Some(engine) = steppers.first().map(|s| Arc::clone(&s.engine)) else { return Ok(0) };
    let spec = engine.spec();
    let longest = (MAX_FRAMES.saturating_sub(spec.window) / spec.shift.max(1)) + 1;
    let steps = steppers.iter().map(|s| s.ready()).min().unwrap_or(0).min(longest);
    if steps == 0 {
        return Ok(0);
    }
    let values = (spec.window + (steps - 1) * spec.shift) * spec.num_features;
    let mut frames = Vec::with_capacity(steppers.len());
    let mut states = Vec::with_capacity(steppers.len());
    for stepper in steppers.iter_mut() {
        let Stepper { waiting, state, .. } = &mut **stepper;
        frames.push(&waiting[..values]);
        states.push(state);
    }
    engine.run(&frames, &mut states, log_probs)?;
    let used = steps * spec.shift * spec.num_features;
    for stepper in steppers {
        let used = stepper.waiting.drain(..used.min(stepper.waiting.len()));
        if let Some(heard) = &mut stepper.heard {
            let kept = MAX_AGAIN * spec.shift * spec.num_features;
            heard.drain(..heard.len().saturating_sub(kept));
            heard.extend(used);
        }
    }
    Ok(steps)
}
