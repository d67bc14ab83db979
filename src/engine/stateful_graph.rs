//! A graph that processes windows of frames (or samples) and has states: the roles of its inputs and outputs, and
//! calls for N streams.

use super::graph::{self, Graph};
use super::state_tensors::{batch_shape, split_f32, split_i64, stack, zero_state};
use super::{EngineKind, EngineOptions, State, StatePort, StateTensor, TensorData};
use crate::error::{Error, Result, Stage};
use crate::onnx::interface::{Interface, MAX_WINDOW, Port};
use crate::onnx::{OnnxFile, streamable};

/// Maximum number of values of a stream's state.
const MAX_STATE: usize = 1 << 24;

/// Metadata keys for the length of a window and its shift, of sherpa-onnx and NeMo.
const WINDOW_KEYS: [(&str, &str); 2] = [("T", "decode_chunk_len"), ("window_size", "chunk_shift")];

/// A graph with the roles of its inputs and outputs.
pub(super) struct StatefulGraph {
    graph: Box<dyn Graph>,
    /// Name of the input of features or samples.
    x: String,
    /// Whether x is samples `[N, T]` instead of features `[N, T, F]`.
    pub takes_samples: bool,
    /// Whether x is `[T, N, F]` and the output `[T', N, V]`.
    time_first: bool,
    /// F, the number of features per frame; 1 for samples.
    pub num_features: usize,
    /// Number of frames per window.
    pub window: usize,
    /// Number of frames by which the window moves.
    pub shift: usize,
    /// Whether a call takes exactly one window.
    pub fixed: bool,
    /// Whether a call takes exactly one stream.
    pub single: bool,
    /// Name of the input `[N]` for the number of frames of each stream.
    lengths: Option<String>,
    /// Inputs that are the same in every call.
    constants: Vec<(String, StateTensor)>,
    /// The states.
    pub states: Vec<StatePort>,
    /// Index of each state's output.
    places: Vec<usize>,
    /// Index of the output of log-probabilities, logits or encoder frames.
    result: usize,
}

/// The arguments of [`Engine::run`](super::Engine::run), one of each for every stream.
pub(super) struct Streams<'a, 's, 'o> {
    pub frames: &'a [&'a [f32]],
    pub states: &'a mut [&'s mut State],
    pub log_probs: &'a mut [&'o mut Vec<f32>],
}

/// The size of an axis, if the graph fixes it.
fn fixed(port: &Port, axis: usize) -> Option<usize> {
    port.shape.get(axis)?.parse().ok()
}

impl StatefulGraph {
    /// Opens a graph. `num_features` is F if the graph does not fix it, `window` the number of frames of a call if
    /// neither the graph nor the metadata do.
    pub fn open(
        kind: EngineKind,
        file: &OnnxFile,
        interface: &Interface,
        num_features: usize,
        window: usize,
        options: &EngineOptions,
    ) -> Result<Self> {
        if !interface.states.is_empty() {
            streamable::check_streams(file.graph())?;
        }
        Self::from_graph(graph::open(kind, file, options)?, file, interface, num_features, window)
    }

    /// As [`StatefulGraph::open`], for an opened graph.
    pub fn from_graph(
        graph: Box<dyn Graph>,
        file: &OnnxFile,
        interface: &Interface,
        num_features: usize,
        window: usize,
    ) -> Result<Self> {
        let states = &interface.states;
        let is_state = |port: &Port| states.iter().any(|s| s.input == port.name);
        let others: Vec<&Port> = interface.inputs.iter().filter(|i| !is_state(i)).collect();
        let is_x = |port: &&&Port| port.r#type == "float32" && matches!(port.shape.len(), 2 | 3);
        let named = others.iter().find(|port| interface.features_input.as_ref() == Some(&port.name));
        let x = *named.filter(|port| is_x(port)).or_else(|| others.iter().find(is_x)).ok_or_else(|| {
            Error::new(
                Stage::Model,
                "expected a float32 input of frames [N, T, F] or samples [N, T], found none",
            )
        })?;
        let takes_samples = x.shape.len() == 2;
        let num_features = if takes_samples { 1 } else { fixed(x, 2).unwrap_or(num_features) };
        let (lengths, constants) = other_inputs(&others, x, file)?;
        let time_first = is_time_first(interface, x);
        let (window, shift, is_fixed) = window_of(file, x, usize::from(!time_first), window)?;
        let result =
            interface.outputs.iter().position(|o| !states.iter().any(|s| s.output == o.name)).ok_or_else(
                || Error::new(Stage::Model, "expected an output other than the states, found none"),
            )?;
        // Either the input or a state may fix the number of streams at 1.
        let single = fixed(x, usize::from(time_first)) == Some(1)
            || states.iter().any(|s| fixes_streams(interface, s));
        let mut windows = Self {
            graph,
            x: x.name.clone(),
            takes_samples,
            time_first,
            num_features,
            window,
            shift,
            fixed: is_fixed,
            single,
            lengths,
            constants,
            states: states.clone(),
            places: Vec::new(),
            result,
        };
        windows.places = windows.find_places(interface)?;
        windows.check_sizes()?;
        Ok(windows)
    }

    fn find_places(&self, interface: &Interface) -> Result<Vec<usize>> {
        let place = |spec: &StatePort| {
            let missing = || Error::new(Stage::Model, format!("the graph has no output `{}`", spec.output));
            interface.outputs.iter().position(|o| o.name == spec.output).ok_or_else(missing)
        };
        self.states.iter().map(place).collect()
    }

    fn check_sizes(&self) -> Result<()> {
        for spec in &self.states {
            let size = spec.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            if size.is_none_or(|n| n > MAX_STATE) || spec.batch_axis >= spec.shape.len() {
                let problem = format!(
                    "expected a state of at most {MAX_STATE} values, found the shape {:?}",
                    spec.shape
                );
                return Err(Error::new(Stage::Model, problem).at(format!("state {}", spec.input)));
            }
        }
        if self.window == 0 || self.shift == 0 || self.window > MAX_WINDOW || self.shift > self.window {
            let (window, shift) = (self.window, self.shift);
            let problem = format!(
                "expected a window of 1 to {MAX_WINDOW} frames and a shift of at least 1 and at most the window, \
                 found a window of {window} and a shift of {shift}"
            );
            return Err(Error::new(Stage::Model, problem));
        }
        if self.num_features == 0 || self.num_features > 1 << 16 {
            let problem =
                format!("expected 1 to {} features per frame, found {}", 1 << 16, self.num_features);
            return Err(Error::new(Stage::Model, problem));
        }
        Ok(())
    }

    /// The state at the start of a stream.
    pub fn zero_state(&self) -> State {
        zero_state(&self.states)
    }

    /// Runs all windows of a call of [`Engine::run`](super::Engine::run), in order; `take` gets each output with the
    /// states and log-probabilities of its streams. Streams form one batch if the graph allows it.
    pub fn run_windows(
        &self,
        streams: Streams,
        mut take: impl FnMut(StateTensor, &mut [&mut State], &mut [&mut Vec<f32>]) -> Result<()>,
    ) -> Result<()> {
        let Streams { frames, states, log_probs } = streams;
        let group = if self.single { 1 } else { frames.len().max(1) };
        let streams = frames.chunks(group).zip(states.chunks_mut(group)).zip(log_probs.chunks_mut(group));
        for ((frames, states), log_probs) in streams {
            for i in 0..self.num_calls(frames[0].len() / self.num_features) {
                let window: Vec<&[f32]> = frames.iter().map(|f| self.part(f, i)).collect();
                take(self.run(&window, states)?, states, log_probs)?;
            }
        }
        Ok(())
    }

    /// Number of calls needed for `frames` frames; the windows of consecutive calls are `shift` frames apart.
    pub fn num_calls(&self, frames: usize) -> usize {
        match (self.fixed, frames >= self.window) {
            (_, false) => 0,
            (false, true) => 1,
            (true, true) => (frames - self.window) / self.shift + 1,
        }
    }

    /// The part of a stream's frames for call `i` of [`StatefulGraph::num_calls`].
    pub fn part<'a>(&self, frames: &'a [f32], i: usize) -> &'a [f32] {
        if !self.fixed {
            return frames;
        }
        let from = i * self.shift * self.num_features;
        &frames[from..from + self.window * self.num_features]
    }

    /// Whether there is an input for the number of frames of each stream.
    pub fn takes_lengths(&self) -> bool {
        self.lengths.is_some()
    }

    /// Runs one call for N streams with the same number of frames and returns the output, `[N, T', V]`. The graph's
    /// states are the first tensors of each [`State`]; further tensors are not changed.
    pub fn run(&self, frames: &[&[f32]], states: &mut [&mut State]) -> Result<StateTensor> {
        let t = frames.first().map_or(0, |f| f.len()) / self.num_features;
        self.run_padded(frames, &vec![t; frames.len()], states)
    }

    /// As [`StatefulGraph::run`], where only the first `lengths[n]` frames of stream n are valid.
    pub fn run_padded(
        &self,
        frames: &[&[f32]],
        lengths: &[usize],
        states: &mut [&mut State],
    ) -> Result<StateTensor> {
        let (n, t) = (frames.len(), frames.first().map_or(0, |f| f.len()) / self.num_features);
        let f = self.num_features;
        let x = match (self.takes_samples, self.time_first) {
            (true, _) => StateTensor { shape: vec![n, t], data: TensorData::F32(frames.concat()) },
            (_, false) => StateTensor { shape: vec![n, t, f], data: TensorData::F32(frames.concat()) },
            (_, true) => {
                let step = |i: usize| frames.iter().flat_map(move |stream| &stream[i * f..(i + 1) * f]);
                let x = (0..t).flat_map(step).copied().collect();
                StateTensor { shape: vec![t, n, f], data: TensorData::F32(x) }
            }
        };
        // States of separate streams are stacked for the call and split after it, so that streams can join and leave
        // a batch at any call.
        let lengths = lengths.iter().map(|&l| l as i64).collect();
        let lengths = StateTensor { shape: vec![n], data: TensorData::I64(lengths) };
        let mut stacked = Vec::with_capacity(self.states.len());
        for (i, spec) in self.states.iter().enumerate() {
            stacked.push(StateTensor { shape: batch_shape(spec, n), data: stack(spec, i, states)? });
        }
        let mut inputs: Vec<(&str, &StateTensor)> = vec![(&self.x, &x)];
        inputs.extend(self.states.iter().map(|s| s.input.as_str()).zip(&stacked));
        inputs.extend(self.lengths.as_deref().map(|name| (name, &lengths)));
        inputs.extend(self.constants.iter().map(|(name, tensor)| (name.as_str(), tensor)));
        let mut outputs = self.graph.run(&inputs)?;
        for (i, (spec, &place)) in self.states.iter().zip(&self.places).enumerate() {
            match outputs.get(place).map(|t| &t.data) {
                Some(TensorData::I64(all)) => split_i64(spec, i, all, states)?,
                Some(TensorData::F32(all)) => split_f32(spec, i, all, states)?,
                None => {
                    return Err(Error::new(
                        Stage::Engine,
                        format!("the graph did not return the output `{}`", spec.output),
                    ));
                }
            }
        }
        if self.result >= outputs.len() {
            return Err(Error::new(Stage::Engine, "the graph returned too few outputs"));
        }
        let result = outputs.swap_remove(self.result);
        Ok(if self.time_first { streams_first(result) } else { result })
    }
}

/// Transposes `[T, N, V]` to `[N, T, V]`; returns anything else unchanged.
fn streams_first(tensor: StateTensor) -> StateTensor {
    match (&tensor.shape[..], &tensor.data) {
        (&[t, n, v], TensorData::F32(values)) if values.len() == t * n * v => {
            let row = |(n_, t_): (usize, usize)| &values[(t_ * n + n_) * v..][..v];
            let order = (0..n).flat_map(|n_| (0..t).map(move |t_| (n_, t_)));
            let values = order.flat_map(row).copied().collect();
            StateTensor { shape: vec![n, t, v], data: TensorData::F32(values) }
        }
        _ => tensor,
    }
}

/// Whether x is time-major: its second axis is the batch axis of a state, or is fixed at 1 while the first is not.
fn is_time_first(interface: &Interface, x: &Port) -> bool {
    if x.shape.len() != 3 || x.shape[0] == x.shape[1] {
        return false;
    }
    let streams = |state: &StatePort| {
        let port = interface.inputs.iter().find(|i| i.name == state.input);
        port.and_then(|p| p.shape.get(state.batch_axis)) == Some(&x.shape[1])
    };
    let is_symbol = x.shape[1].parse::<usize>().is_err() && x.shape[1] != "?";
    match is_symbol {
        true => interface.states.iter().any(streams),
        false => fixed(x, 1) == Some(1) && x.shape[0] != "1",
    }
}

/// Whether all axes of a state are fixed, so that its number of streams is too.
fn fixes_streams(interface: &Interface, state: &StatePort) -> bool {
    let port = interface.inputs.iter().find(|i| i.name == state.input);
    port.is_some_and(|port| (0..port.shape.len()).all(|axis| fixed(port, axis).is_some()))
}

/// The inputs that are neither x nor states: lengths, and constants such as the sample rate.
#[allow(clippy::type_complexity)]
fn other_inputs(
    others: &[&Port],
    x: &Port,
    file: &OnnxFile,
) -> Result<(Option<String>, Vec<(String, StateTensor)>)> {
    let (mut lengths, mut constants) = (None, Vec::new());
    for port in others.iter().filter(|p| p.name != x.name) {
        let is_i64 = port.r#type == "int64";
        match port.shape.len() {
            1 if is_i64 && lengths.is_none() && port.name.contains("len") => {
                lengths = Some(port.name.clone())
            }
            0 | 1 if is_i64 && ["sr", "sample_rate"].contains(&port.name.as_str()) => {
                let rate = file.value("sample_rate").and_then(|v| v.parse().ok()).unwrap_or(16_000);
                let shape = vec![1; port.shape.len()];
                constants.push((port.name.clone(), StateTensor { shape, data: TensorData::I64(vec![rate]) }));
            }
            _ => {
                let (name, kind, shape) = (&port.name, &port.r#type, port.shape.join(", "));
                let problem = format!("found no output that belongs to the input `{name}`, {kind} [{shape}]");
                return Err(Error::new(Stage::Model, problem)
                    .hint("if it is a state, name the pair")
                    .remedy("states"));
            }
        }
    }
    Ok((lengths, constants))
}

/// Window, shift, and whether a call takes exactly one window; `otherwise` is the window if nothing fixes it.
fn window_of(file: &OnnxFile, x: &Port, axis: usize, otherwise: usize) -> Result<(usize, usize, bool)> {
    let number = |key: &str| match file.value(key) {
        None => Ok(None),
        Some(text) => text.trim().parse::<usize>().map(Some).map_err(|_| {
            Error::new(Stage::Model, format!("expected a number, found {text:?}"))
                .at(format!("metadata {key}"))
        }),
    };
    let declared = fixed(x, axis);
    for (window, shift) in WINDOW_KEYS {
        if let Some(window) = number(window)? {
            let shift = number(shift)?.unwrap_or(window);
            if declared.is_some_and(|d| d != window) {
                let declared = &x.shape[axis];
                let problem = format!("the graph takes {declared} frames, but its metadata specify {window}");
                return Err(Error::new(Stage::Model, problem));
            }
            return Ok((window, shift, true));
        }
    }
    match declared {
        Some(window) => Ok((window, window, true)),
        // hearken declares the axis as a multiple of the subsampling, such as `4*U`.
        None => {
            let multiple = x.shape[axis].split_once('*').and_then(|(n, _)| n.parse().ok());
            let window = multiple.unwrap_or(otherwise);
            Ok((window, window, false))
        }
    }
}
