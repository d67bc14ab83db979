//! An engine for any ONNX graph with recurrent states, hearken's own or another system's.
//!
//! ```text
//! x [N, T, F] float32, states ─► log-probabilities or logits [N, T', V] float32, new states
//! ```
//!
//! States are found by the metadata, else by inputs and outputs whose names differ in a word such as `new`, else
//! by the cell that reads and writes them, else by equal shapes, in order (see [`crate::onnx::interface`]). A
//! symbolic axis of a state is the batch axis; if a state has none, streams are run one at a time.

use super::state_tensors::check_call;
use super::stateful_graph::{StatefulGraph, Streams};
use super::{Engine, EngineKind, EngineOptions, EngineSpec, State, StateTensor, TensorData};
use crate::error::{Error, Result, Stage};
use crate::model::forward::log_softmax;
use crate::onnx::OnnxFile;
use crate::onnx::interface::Interface;
use crate::units::counted;

/// Number of frames in the first probe, by which the number of frames per output frame is determined.
const PROBE_FRAMES: usize = 64;

/// An engine that runs a graph on tract or onnxruntime.
pub struct GraphEngine {
    windows: StatefulGraph,
    spec: EngineSpec,
    /// Whether the graph's output is logits and not log-probabilities.
    gives_logits: bool,
}

impl GraphEngine {
    /// Opens a file; `num_features` is F if the graph does not fix it.
    ///
    /// # Errors
    /// When an input is neither features nor a state, a state is too large, the runtime cannot run the graph, or the
    /// output is not `[N, T', V]`.
    pub fn open(
        kind: EngineKind,
        file: &OnnxFile,
        interface: &Interface,
        num_features: usize,
        options: &EngineOptions,
    ) -> Result<Self> {
        let own = file.value("subsampling").and_then(|v| v.parse().ok()).filter(|&s| s > 0);
        let window = own.unwrap_or(PROBE_FRAMES);
        let windows = StatefulGraph::open(kind, file, interface, num_features, window, options)?;
        Self::from_graph(kind.name(), windows, own)
    }

    /// An engine over an opened graph; `own` is S according to hearken's metadata, if present.
    fn from_graph(name: &'static str, mut windows: StatefulGraph, own: Option<usize>) -> Result<Self> {
        let probe = probe_window(&windows)?;
        if !windows.fixed && own.is_none() && !windows.takes_samples {
            // The smallest window is the number of frames per output frame.
            windows.window = (windows.window / probe.steps).max(1);
            windows.shift = windows.window;
            if probe_window(&windows)?.steps != 1 {
                let problem = "output frames do not follow from the number of input frames";
                return Err(Error::new(Stage::Model, problem).at("output"));
            }
        }
        let probe = probe_window(&windows)?;
        if !windows.shift.is_multiple_of(probe.steps) {
            let problem = format!(
                "{} for windows that move by {}",
                counted(probe.steps, "output frame"),
                counted(windows.shift, "frame")
            );
            return Err(Error::new(Stage::Model, problem));
        }
        let spec = EngineSpec {
            name,
            num_features: windows.num_features,
            subsampling: windows.shift / probe.steps,
            window: windows.window,
            shift: windows.shift,
            num_tokens: probe.tokens,
            states: windows.states.clone(),
        };
        Ok(Self { windows, spec, gives_logits: probe.gives_logits })
    }

    /// Whether the input is samples instead of features; then a frame is one sample.
    pub fn takes_samples(&self) -> bool {
        self.windows.takes_samples
    }

    /// Whether the graph has states.
    pub fn has_states(&self) -> bool {
        !self.spec.states.is_empty()
    }

    /// Whether a call can process only one stream.
    pub fn takes_one_stream(&self) -> bool {
        self.windows.single
    }

    /// Whether the graph has an input for the number of frames of each stream.
    pub fn takes_lengths(&self) -> bool {
        self.windows.takes_lengths()
    }

    /// Runs whole recordings in one call: `frames[n]` is `[T, F]`, padded to the same T, of which the first
    /// `lengths[n]` frames are valid. Returns the log-probabilities for all of T, `[T', V]` each.
    ///
    /// # Errors
    /// When the runtime fails.
    pub fn run_padded(&self, frames: &[&[f32]], lengths: &[usize]) -> Result<Vec<Vec<f32>>> {
        let mut states: Vec<State> = frames.iter().map(|_| self.windows.zero_state()).collect();
        let mut states: Vec<&mut State> = states.iter_mut().collect();
        let output = self.windows.run_padded(frames, lengths, &mut states)?;
        let (steps, mut values) = rows(output, frames.len(), self.spec.num_tokens)?;
        if self.gives_logits {
            log_softmax(&mut values, self.spec.num_tokens);
        }
        Ok(values.chunks_exact(steps * self.spec.num_tokens).map(<[f32]>::to_vec).collect())
    }

    /// Appends the log-probabilities of one window, `[N, T', V]`, to those of its streams.
    fn append(&self, output: StateTensor, log_probs: &mut [&mut Vec<f32>]) -> Result<()> {
        let (_, mut values) = rows(output, log_probs.len(), self.spec.num_tokens)?;
        if self.gives_logits {
            log_softmax(&mut values, self.spec.num_tokens);
        }
        let size = values.len() / log_probs.len();
        for (part, out) in values.chunks_exact(size.max(1)).zip(log_probs) {
            out.extend_from_slice(part);
        }
        Ok(())
    }
}

impl Engine for GraphEngine {
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
        check_call(&self.spec, frames, states, log_probs.len())?;
        let streams = Streams { frames, states, log_probs };
        self.windows.run_windows(streams, |output, _, log_probs| self.append(output, log_probs))
    }
}

/// Result of running a window of zeros.
struct Probe {
    /// T'.
    steps: usize,
    /// V.
    tokens: usize,
    gives_logits: bool,
}

fn probe_window(windows: &StatefulGraph) -> Result<Probe> {
    let zeros = vec![0.0; windows.window * windows.num_features];
    let output = windows.run(&[&zeros], &mut [&mut windows.zero_state()])?;
    let tokens = output.shape.last().copied().unwrap_or(0);
    let (steps, values) = rows(output, 1, tokens)?;
    let sum = |row: &[f32]| row.iter().map(|v| f64::from(*v).exp()).sum::<f64>();
    let gives_logits = values.chunks_exact(tokens).any(|row| (sum(row) - 1.0).abs() > 1e-3);
    Ok(Probe { steps, tokens, gives_logits })
}

/// T' and the values of an output `[N, T', V]`, after checking its shape.
pub(super) fn rows(output: StateTensor, streams: usize, width: usize) -> Result<(usize, Vec<f32>)> {
    let found = |shape: &[usize]| {
        let problem = format!("expected a float32 output [{streams}, T, {width}], found {shape:?}");
        Error::new(Stage::Model, problem)
    };
    match (&output.shape[..], output.data) {
        (&[n, steps, w], TensorData::F32(values)) if n == streams && w == width && steps * w > 0 => {
            Ok((steps, values))
        }
        (shape, _) => Err(found(shape)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::Graph;
    use crate::onnx::build::graph::{Dim, GraphBuilder};
    use crate::onnx::proto::{ModelProto, StringStringEntryProto};
    use prost::Message;

    /// A graph implemented by a function of its inputs by name.
    pub struct Function<F>(pub F);

    impl<F: Fn(&dyn Fn(&str) -> StateTensor) -> Vec<StateTensor> + Send + Sync> Graph for Function<F> {
        fn run(&self, inputs: &[(&str, &StateTensor)]) -> Result<Vec<StateTensor>> {
            let input = |name: &str| {
                let found = inputs.iter().find(|(n, _)| *n == name);
                found.map(|(_, tensor)| (*tensor).clone()).expect("every input is given")
            };
            Ok((self.0)(&input))
        }
    }

    pub fn floats(tensor: &StateTensor) -> Vec<f32> {
        match &tensor.data {
            TensorData::F32(values) => values.clone(),
            TensorData::I64(values) => values.iter().map(|&v| v as f32).collect(),
        }
    }

    pub fn f32s(shape: &[usize], values: Vec<f32>) -> StateTensor {
        StateTensor { shape: shape.to_vec(), data: TensorData::F32(values) }
    }

    /// The bytes of a file that declares inputs and outputs, without nodes.
    pub fn file(declare: impl FnOnce(&mut GraphBuilder), metadata: &[(&str, &str)]) -> Vec<u8> {
        let mut graph = GraphBuilder::new("g");
        declare(&mut graph);
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: key.to_string(),
            value: value.to_string(),
        };
        let metadata_props = metadata.iter().map(entry).collect();
        ModelProto { graph: Some(graph.finish()), metadata_props, ..Default::default() }.encode_to_vec()
    }

    /// Decodes a file.
    pub fn decoded(bytes: Vec<u8>) -> OnnxFile {
        OnnxFile::from_bytes(bytes).expect("a file")
    }

    /// A graph implemented by a function, with the inputs and outputs of a file.
    fn from_graph<F>(function: F, file: &OnnxFile, window: usize) -> Result<StatefulGraph>
    where
        F: Fn(&dyn Fn(&str) -> StateTensor) -> Vec<StateTensor> + Send + Sync + 'static,
    {
        StatefulGraph::from_graph(Box::new(Function(function)), file, &file.interface(&[])?, 80, window)
    }

    fn n() -> Dim {
        Dim::symbol("N")
    }

    /// Declares frames of one feature to log-probabilities of two tokens, with two states: a sum of
    /// all frames, streams on axis 1, and a counter of calls.
    fn declare(graph: &mut GraphBuilder) {
        graph.input("x", &[n(), Dim::symbol("T"), 1.into()]);
        graph.input("sum", &[1.into(), n(), 1.into()]);
        graph.input_i64("calls_in", &[n()]);
        graph.output("y", &[n(), Dim::symbol("U"), 2.into()]);
        graph.output("new_sum", &[1.into(), n(), 1.into()]);
        graph.output_i64("calls_out", &[n()]);
    }

    /// One output frame for every two frames: logits [0, sum so far + calls before].
    fn compute(input: &dyn Fn(&str) -> StateTensor) -> Vec<StateTensor> {
        let x = input("x");
        let (streams, frames) = (x.shape[0], x.shape[1]);
        let (x, mut sums, mut calls) = (floats(&x), floats(&input("sum")), floats(&input("calls_in")));
        let mut y = Vec::new();
        for n in 0..streams {
            for pair in x[n * frames..(n + 1) * frames].chunks_exact(2) {
                sums[n] += pair[0] + pair[1];
                y.extend([0.0, sums[n] + calls[n]]);
            }
            calls[n] += 1.0;
        }
        let calls = calls.iter().map(|&c| c as i64).collect();
        vec![
            f32s(&[streams, frames / 2, 2], y),
            f32s(&[1, streams, 1], sums),
            StateTensor { shape: vec![streams], data: TensorData::I64(calls) },
        ]
    }

    fn engine(file: &OnnxFile) -> GraphEngine {
        let windows = from_graph(compute, file, PROBE_FRAMES);
        GraphEngine::from_graph("test", windows.expect("understood"), None).expect("it runs")
    }

    fn odds(log_probs: &[f32]) -> Vec<f32> {
        log_probs.chunks_exact(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn states_are_found_carried_and_kept_apart() {
        let file = decoded(file(declare, &[]));
        let interface = file.interface(&[]).expect("its own");
        assert_eq!((interface.states_found.as_str(), interface.states.len()), ("by their names", 2));
        let engine = engine(&file);
        let spec = engine.spec();
        assert_eq!((spec.num_features, spec.subsampling, spec.window, spec.num_tokens), (1, 2, 2, 2));
        let (mut a, mut b) = (engine.zero_state(), engine.zero_state());
        let (mut out_a, mut out_b) = (Vec::new(), Vec::new());
        engine.run(&[&[1.0, 2.0]], &mut [&mut a], &mut [&mut out_a]).expect("runs");
        engine
            .run(&[&[1.0; 4], &[10.0; 4]], &mut [&mut a, &mut b], &mut [&mut out_a, &mut out_b])
            .expect("runs");
        let close = |found: Vec<f32>, expected: &[f32]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}");
            assert_eq!(found.len(), expected.len());
        };
        close(odds(&out_a), &[3.0, 6.0, 8.0]);
        close(odds(&out_b), &[20.0, 40.0]);
        assert!((out_a[0].exp() + out_a[1].exp() - 1.0).abs() < 1e-5, "logits become log-probabilities");
        assert_eq!(b.tensors[1].data, TensorData::I64(vec![1]));
    }

    #[test]
    fn windows_with_look_ahead_are_moved_by_their_shift() {
        let metadata = [("T", "6"), ("decode_chunk_len", "4")];
        let described = decoded(file(declare, &metadata));
        let windows = from_graph(compute, &described, 1).expect("understood");
        assert_eq!((windows.num_calls(5), windows.num_calls(6), windows.num_calls(14)), (0, 1, 3));
        assert_eq!(windows.part(&[0., 1., 2., 3., 4., 5., 6., 7., 8., 9.], 1), [4., 5., 6., 7., 8., 9.]);
        // Three output frames do not divide four.
        assert!(GraphEngine::from_graph("test", windows, None).is_err());
        let metadata = [("T", "6"), ("decode_chunk_len", "x")];
        let described = decoded(file(declare, &metadata));
        let error = from_graph(compute, &described, 1).map(|_| ());
        assert!(error.expect_err("no number").to_string().contains("decode_chunk_len"));
    }

    #[test]
    fn a_graph_for_one_stream_runs_several_in_turn() {
        let fixed = |graph: &mut GraphBuilder| {
            graph.input("x", &[1.into(), 2.into(), 1.into()]);
            graph.input("sum", &[1.into(), 1.into(), 1.into()]);
            graph.input_i64("calls_in", &[1.into()]);
            graph.output("y", &[1.into(), 1.into(), 2.into()]);
            graph.output("new_sum", &[1.into(), 1.into(), 1.into()]);
            graph.output_i64("calls_out", &[1.into()]);
        };
        let compute_single = |input: &dyn Fn(&str) -> StateTensor| {
            assert_eq!(input("x").shape, [1, 2, 1]);
            compute(input)
        };
        let described = decoded(file(fixed, &[]));
        let windows = from_graph(compute_single, &described, 9).expect("understood");
        let engine = GraphEngine::from_graph("test", windows, None).expect("it runs");
        assert!(engine.takes_one_stream());
        let (mut a, mut b) = (engine.zero_state(), engine.zero_state());
        let (mut out_a, mut out_b) = (Vec::new(), Vec::new());
        engine
            .run(&[&[1.0; 4], &[5.0; 4]], &mut [&mut a, &mut b], &mut [&mut out_a, &mut out_b])
            .expect("runs");
        assert!(odds(&out_a).iter().zip([2.0, 5.0]).all(|(a, b)| (a - b).abs() < 1e-4));
        assert!(odds(&out_b).iter().zip([10.0, 21.0]).all(|(a, b)| (a - b).abs() < 1e-4));
    }

    #[test]
    fn the_time_axis_may_come_first() {
        let time_first = |graph: &mut GraphBuilder| {
            graph.input("x", &[Dim::symbol("T"), n(), 1.into()]);
            graph.input("sum", &[1.into(), n(), 1.into()]);
            graph.input_i64("calls_in", &[n()]);
            graph.output("y", &[Dim::symbol("U"), n(), 2.into()]);
            graph.output("new_sum", &[1.into(), n(), 1.into()]);
            graph.output_i64("calls_out", &[n()]);
        };
        let swapped = |tensor: StateTensor| {
            let (a, b, c) = (tensor.shape[0], tensor.shape[1], tensor.shape[2]);
            let values = floats(&tensor);
            let swapped =
                (0..b).flat_map(|j| (0..a).flat_map(move |i| (0..c).map(move |k| (i * b + j) * c + k)));
            f32s(&[b, a, c], swapped.map(|at| values[at]).collect())
        };
        let compute_time_first = move |input: &dyn Fn(&str) -> StateTensor| {
            let streams_first = |name: &str| if name == "x" { swapped(input("x")) } else { input(name) };
            let mut outputs = compute(&streams_first);
            outputs[0] = swapped(outputs[0].clone());
            outputs
        };
        let described = decoded(file(time_first, &[]));
        let windows = from_graph(compute_time_first, &described, 2).expect("understood");
        let time_first = GraphEngine::from_graph("test", windows, None).expect("it runs");
        let streams_first = engine(&decoded(file(declare, &[])));
        let run = |engine: &GraphEngine| {
            let (mut a, mut b) = (engine.zero_state(), engine.zero_state());
            let (mut out_a, mut out_b) = (Vec::new(), Vec::new());
            engine
                .run(&[&[1., 2., 3., 4.], &[0.5; 4]], &mut [&mut a, &mut b], &mut [&mut out_a, &mut out_b])
                .expect("runs");
            (out_a, out_b)
        };
        assert_eq!(run(&time_first), run(&streams_first));
    }

    #[test]
    fn states_can_be_named_and_unknown_inputs_are_refused_by_name() {
        let odd = |graph: &mut GraphBuilder| {
            graph.input("x", &[n(), Dim::symbol("T"), 1.into()]);
            graph.input("a", &[1.into(), n(), 1.into()]);
            graph.input("b", &[2.into(), n(), 1.into()]);
            graph.output("y", &[n(), Dim::symbol("U"), 2.into()]);
            graph.output("p", &[1.into(), n(), 1.into()]);
            graph.output("q", &[2.into(), n(), 1.into()]);
        };
        let states = |bytes: &Vec<u8>, named: &[(&str, &str)]| {
            let named: Vec<_> = named.iter().map(|(i, o)| (i.to_string(), o.to_string())).collect();
            decoded(bytes.clone()).interface(&named)
        };
        let bytes = file(odd, &[]);
        let found = states(&bytes, &[]).expect("a file");
        assert_eq!(found.states_found, "by their shapes");
        let pairs: Vec<_> = found.states.iter().map(|s| (s.input.as_str(), s.output.as_str())).collect();
        assert_eq!(pairs, [("a", "p"), ("b", "q")]);
        let error = states(&bytes, &[("a", "z")]).expect_err("no such output").to_string();
        assert!(error.contains("`z`; it has y, p, q"), "{error}");
        assert!(states(&bytes, &[("a", "q")]).is_err(), "the shapes differ");
        let one = states(&bytes, &[("a", "p")]).expect("named");
        let found = (one.states.len(), one.states_found.as_str());
        assert_eq!(found, (2, "as they were named, the rest by their shapes"));
        for (again, kind) in [(("a", "q"), "input"), (("b", "p"), "output")] {
            let error = states(&bytes, &[("a", "p"), again]).expect_err("twice");
            assert!(error.exit_code() == 2 && error.to_string().contains(kind), "{error}");
        }
        assert_eq!(states(&bytes, &[]).expect("a file").states_note, None, "the shapes are unambiguous");
        let alike = |graph: &mut GraphBuilder| {
            graph.input("x", &[n(), Dim::symbol("T"), 1.into()]);
            graph.output("y", &[n(), Dim::symbol("U"), 2.into()]);
            for (input, output) in [("a", "p"), ("b", "q")] {
                graph.input(input, &[1.into(), n(), 1.into()]);
                graph.output(output, &[1.into(), n(), 1.into()]);
            }
        };
        let alike = file(alike, &[]);
        let note = states(&alike, &[]).expect("a file").states_note.expect("a guess");
        assert!(note.contains("a with p") && note.contains("INPUT=OUTPUT"), "{note}");
        let with_names = states(&alike, &[("b", "p")]).expect("named");
        assert_eq!((with_names.states_note, with_names.states[1].output.as_str()), (None, "q"));
        let lacking = |graph: &mut GraphBuilder| {
            graph.input("x", &[n(), Dim::symbol("T"), 1.into()]);
            graph.input("a", &[1.into(), n(), 1.into()]);
            graph.input("b", &[2.into(), n(), 1.into()]);
            graph.output("y", &[n(), Dim::symbol("U"), 2.into()]);
            graph.output("p", &[1.into(), n(), 1.into()]);
        };
        let lacking = decoded(file(lacking, &[]));
        let one = lacking.interface(&[("a".into(), "p".into())]).expect("named");
        assert_eq!((one.states.len(), one.states_found.as_str()), (1, "as they were named"));
        let refused =
            StatefulGraph::from_graph(Box::new(Function(compute)), &lacking, &one, 80, 2).map(|_| ());
        assert!(refused.expect_err("b is nothing").to_string().contains("`b`"));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for (state, shape) in [("huge", [1 << 20, 1 << 12]), ("empty window", [1, 1])] {
            let bad = |graph: &mut GraphBuilder| {
                let frames = if state == "huge" { Dim::symbol("T") } else { 0.into() };
                graph.input("x", &[n(), frames, 1.into()]);
                graph.input("s", &[shape[0].into(), n(), shape[1].into()]);
                graph.output("y", &[n(), Dim::symbol("U"), 2.into()]);
                graph.output("new_s", &[shape[0].into(), n(), shape[1].into()]);
            };
            let described = decoded(file(bad, &[]));
            let refused = from_graph(compute, &described, 2);
            assert!(refused.is_err(), "{state}");
        }
    }
}
