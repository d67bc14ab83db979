//! The engine that runs hearken's own kernels, the same code as in training.

use super::state_tensors::{check_call, zero_state};
use super::{Engine, EngineSpec, State, TensorData};
use crate::error::{Error, Result, Stage};
use crate::model::forward::log_softmax;
use crate::model::{LayerConfig, Network, PackedSequence, PackedWeights, Purpose, States, Workspace};
use crate::onnx::export;
use crate::onnx::states::{StatePlace, state_places};

/// Maximum number of steps computed at once, so that memory does not grow with the length of a call and
/// activations fit the cache.
const MAX_STEPS: usize = 32;

/// The engine of hearken's own kernels.
pub struct NativeEngine {
    spec: EngineSpec,
    weights: PackedWeights<f32>,
    places: Vec<Vec<StatePlace>>,
    /// The size of a stream's states of each layer.
    sizes: Vec<usize>,
}

/// Buffers of a call, reused by the next; they contain no state of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    workspace: Workspace<f32>,
    /// The states of the call's streams as a batch.
    states: States<f32>,
    x: Vec<f32>,
    logits: Vec<f32>,
}

impl NativeEngine {
    /// Creates an engine for a network.
    ///
    /// # Errors
    /// When the network's parameters do not match its configuration.
    pub fn new(network: Network<f32>) -> Result<Self> {
        export::check(&network)?;
        let weights = PackedWeights::new(&network, Purpose::Inference)
            .ok_or_else(|| Error::new(Stage::Model, "the network lacks a parameter"))?;
        Ok(Self {
            spec: EngineSpec::from_config(&network.config, "native"),
            places: state_places(&network.config),
            sizes: network.config.layers.iter().map(state_size).collect(),
            weights,
        })
    }

    /// Copies the states of the streams into a batch.
    fn gather(&self, states: &[&mut State], all: &mut States<f32>) -> Result<()> {
        let depth = self.places.len();
        all.hidden.resize(depth, Vec::new());
        all.cell.resize(depth, Vec::new());
        for (i, (places, &size)) in self.places.iter().zip(&self.sizes).enumerate() {
            for (place, all) in places.iter().zip([&mut all.hidden[i], &mut all.cell[i]]) {
                all.clear();
                for state in states {
                    all.extend_from_slice(vector(state, *place, size)?);
                }
            }
        }
        Ok(())
    }

    /// Copies the batched states back into each stream's state.
    fn scatter(&self, all: &States<f32>, states: &mut [&mut State]) {
        for (i, places) in self.places.iter().enumerate() {
            for (place, all) in places.iter().zip([&all.hidden[i], &all.cell[i]]) {
                let size = all.len() / states.len().max(1);
                for (state, own) in states.iter_mut().zip(all.chunks_exact(size.max(1))) {
                    if let TensorData::F32(values) = &mut state.tensors[place.tensor].data {
                        values[place.row * size..(place.row + 1) * size].copy_from_slice(own);
                    }
                }
            }
        }
    }
}

/// The size of each state of a stream; those of a layer have the same.
fn state_size(layer: &LayerConfig) -> usize {
    layer.state_shapes().first().map_or(0, |[rows, width]| rows * width)
}

/// A layer's state of one stream.
fn vector(state: &State, place: StatePlace, size: usize) -> Result<&[f32]> {
    let values = state.tensors.get(place.tensor).and_then(|tensor| match &tensor.data {
        TensorData::F32(values) => values.get(place.row * size..(place.row + 1) * size),
        TensorData::I64(_) => None,
    });
    values.ok_or_else(|| {
        Error::new(Stage::Engine, "expected a state of this engine, found one of another engine")
    })
}

impl Engine for NativeEngine {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn zero_state(&self) -> State {
        zero_state(&self.spec.states)
    }

    fn run(
        &self,
        frames: &[&[f32]],
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> Result<()> {
        check_call(&self.spec, frames, states, log_probs.len())?;
        let streams = frames.len();
        let width = self.spec.shift * self.spec.num_features;
        let steps = frames.first().map_or(0, |f| f.len() / width);
        if steps == 0 {
            return Ok(());
        }
        let mut scratch = states[0].scratch.take().unwrap_or_default();
        let Scratch { workspace, states: all, x, logits } = &mut *scratch;
        self.gather(states, all)?;
        for first in (0..steps).step_by(MAX_STEPS) {
            let count = MAX_STEPS.min(steps - first);
            x.clear();
            for t in first..first + count {
                for frames in frames {
                    x.extend_from_slice(&frames[t * width..(t + 1) * width]);
                }
            }
            self.weights.forward(x, &PackedSequence::uniform(streams, count), all, workspace, None);
            self.weights.logits(workspace, 0, logits);
            log_softmax(logits, self.spec.num_tokens);
            for (row, values) in logits.chunks_exact(self.spec.num_tokens).enumerate() {
                log_probs[row % streams].extend_from_slice(values);
            }
        }
        self.scatter(all, states);
        states[0].scratch = Some(scratch);
        Ok(())
    }
}
