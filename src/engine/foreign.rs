//! Any ONNX graph with recurrent state as an engine: features in, log-probabilities out, the states
//! found, zeroed and carried.
//!
//! ```text
//! x [N, T, F] float32, states ─► log-probabilities or logits [N, T', V] float32, new states
//! ```
//!
//! States are those that the metadata list, else inputs and outputs whose names differ in a word
//! such as `new`, else those of equal shapes, in order (see [`crate::onnx::describe`]). An axis of a
//! state that the graph leaves open counts streams; where it leaves none open, streams go through
//! one at a time.

use super::batch::check_call;
use super::windows::Windows;
use super::{Engine, EngineKind, EngineOptions, EngineSpec, State, StateTensor, TensorData};
use crate::error::{Error, Result, Stage};
use crate::onnx::describe::Description;

/// Frames that are tried to find out how many of them an output frame takes.
const TRIED_FRAMES: usize = 64;

/// An engine of a graph that hearken did not write for itself.
pub struct ForeignEngine {
    windows: Windows,
    spec: EngineSpec,
    /// The graph gives logits.
    gives_logits: bool,
}

impl ForeignEngine {
    /// An engine of a file's bytes, described; `num_features` is F where the graph leaves it open.
    ///
    /// # Errors
    /// When an input is neither features nor a state, states are too great, the runtime cannot run
    /// the graph, or what comes out is not `[N, T', V]`.
    pub fn open(
        kind: EngineKind,
        bytes: &[u8],
        description: &Description,
        num_features: usize,
        options: &EngineOptions,
    ) -> Result<Self> {
        let own = description.value("subsampling").and_then(|v| v.parse().ok()).filter(|&s| s > 0);
        let open = |window| Windows::open(kind, bytes, description, num_features, window, options);
        let mut windows = open(own.unwrap_or(TRIED_FRAMES))?;
        let tried = try_window(&windows)?;
        if !windows.fixed && own.is_none() && !windows.takes_samples {
            // As many frames as an output frame takes are enough.
            windows.window = TRIED_FRAMES / tried.steps;
            windows.shift = windows.window;
            if try_window(&windows)?.steps != 1 {
                let problem = "output frames do not follow from the number of input frames";
                return Err(Error::new(Stage::Model, problem).at("output"));
            }
        }
        let tried = try_window(&windows)?;
        if windows.shift % tried.steps != 0 {
            let problem =
                format!("{} output frames for windows that move by {} frames", tried.steps, windows.shift);
            return Err(Error::new(Stage::Model, problem));
        }
        let spec = EngineSpec {
            name: kind.name(),
            num_features: windows.num_features,
            subsampling: windows.shift / tried.steps,
            window: windows.window,
            shift: windows.shift,
            num_tokens: tried.tokens,
            states: windows.states.clone(),
        };
        Ok(Self { windows, spec, gives_logits: tried.gives_logits })
    }

    /// Whether it takes samples instead of features; then a frame is one sample.
    pub fn takes_samples(&self) -> bool {
        self.windows.takes_samples
    }

    /// Whether it carries anything from call to call.
    pub fn has_states(&self) -> bool {
        !self.spec.states.is_empty()
    }

    /// Whether it takes one stream at a time.
    pub fn takes_one_stream(&self) -> bool {
        self.windows.single
    }

    /// Whether it is told how many frames each stream has.
    pub fn takes_lengths(&self) -> bool {
        self.windows.takes_lengths()
    }

    /// Whole recordings in one call: `[T, F]` frames padded to the same T, of which the first
    /// `lengths[n]` count. Gives the log-probabilities of all of T.
    ///
    /// # Errors
    /// When the runtime fails.
    pub fn run_padded(&self, frames: &[&[f32]], lengths: &[usize]) -> Result<Vec<Vec<f32>>> {
        let mut states: Vec<State> = frames.iter().map(|_| self.windows.zero_state()).collect();
        let mut states: Vec<&mut State> = states.iter_mut().collect();
        let output = self.windows.run_padded(frames, lengths, &mut states)?;
        let (steps, mut values) = rows(output, frames.len(), self.spec.num_tokens)?;
        if self.gives_logits {
            values.chunks_exact_mut(self.spec.num_tokens).for_each(log_softmax);
        }
        Ok(values.chunks_exact(steps * self.spec.num_tokens).map(<[f32]>::to_vec).collect())
    }

    /// Runs streams together that a call can take together.
    fn run_group(
        &self,
        frames: &[&[f32]],
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> Result<()> {
        for i in 0..self.windows.calls(frames[0].len() / self.spec.num_features) {
            let parts: Vec<&[f32]> = frames.iter().map(|f| self.windows.part(f, i)).collect();
            let (_, mut values) =
                rows(self.windows.run(&parts, states)?, frames.len(), self.spec.num_tokens)?;
            if self.gives_logits {
                values.chunks_exact_mut(self.spec.num_tokens).for_each(log_softmax);
            }
            let size = values.len() / frames.len();
            for (part, out) in values.chunks_exact(size.max(1)).zip(log_probs.iter_mut()) {
                out.extend_from_slice(part);
            }
        }
        Ok(())
    }
}

impl Engine for ForeignEngine {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn zero_state(&self) -> State {
        self.windows.zero_state()
    }

    fn run(
        &self,
        frames: &[&[f32]],
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> Result<()> {
        let t = check_call(&self.spec, frames, states, log_probs.len())?;
        if t == 0 {
            return Ok(());
        }
        if !self.windows.single {
            return self.run_group(frames, states, log_probs);
        }
        for ((frames, state), out) in frames.iter().zip(states).zip(log_probs) {
            self.run_group(&[frames], &mut [state], &mut [out])?;
        }
        Ok(())
    }
}

/// What a window of zeros gave.
struct Tried {
    /// T'.
    steps: usize,
    /// V.
    tokens: usize,
    gives_logits: bool,
}

fn try_window(windows: &Windows) -> Result<Tried> {
    let zeros = vec![0.0; windows.window * windows.num_features];
    let output = windows.run(&[&zeros], &mut [&mut windows.zero_state()])?;
    let tokens = output.shape.last().copied().unwrap_or(0);
    let (steps, values) = rows(output, 1, tokens)?;
    let sum = |row: &[f32]| row.iter().map(|v| f64::from(*v).exp()).sum::<f64>();
    let gives_logits = values.chunks_exact(tokens).any(|row| (sum(row) - 1.0).abs() > 1e-3);
    Ok(Tried { steps, tokens, gives_logits })
}

/// T' and the values of an output `[N, T', V]`.
pub(super) fn rows(output: StateTensor, streams: usize, width: usize) -> Result<(usize, Vec<f32>)> {
    let found = |shape: &[usize]| {
        let problem = format!("expected an output [{streams}, T, {width}] of float32, found {shape:?}");
        Error::new(Stage::Model, problem)
    };
    match (&output.shape[..], output.data) {
        (&[n, steps, w], TensorData::F32(values)) if n == streams && w == width && steps * w > 0 => {
            Ok((steps, values))
        }
        (shape, _) => Err(found(shape)),
    }
}

/// In place, with the greatest value taken out first.
pub(super) fn log_softmax(row: &mut [f32]) {
    let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = row.iter().map(|v| (v - greatest).exp()).sum();
    let log = greatest + sum.ln();
    row.iter_mut().for_each(|v| *v -= log);
}
