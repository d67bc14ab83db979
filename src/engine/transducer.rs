//! A streaming transducer (encoder, decoder, joiner; Graves 2012, with the stateless decoder of Ghodsi et al.
//! 2020) as an engine, decoded by greedy search with at most one symbol per frame, as icefall's models are.
//!
//! A recognizer decodes CTC log-probabilities. So each encoder frame becomes two output frames: the
//! log-probabilities of its symbol, then a frame in which the blank has probability 1. As there is a blank between
//! any two symbols, equal ones are not merged, and the best CTC path is the result of the greedy search.

use super::graph::Graph;
use super::graph_engine::rows;
use super::state_tensors::check_call;
use super::stateful_graph::{StatefulGraph, Streams};
use super::{Engine, EngineSpec, State, StatePort, StateTensor, TensorData};
use crate::error::{Error, Result, Stage};
use crate::model::forward::log_softmax;
use crate::units::counted;

/// Log-probability of all other symbols in a frame in which the blank has probability 1.
const LOG_ZERO: f32 = -1e4;

/// Id of the blank, fixed by icefall.
const BLANK: usize = 0;

/// The graph of the decoder or the joiner with the names of its inputs.
pub(super) struct Part {
    pub graph: Box<dyn Graph>,
    pub inputs: Vec<String>,
}

impl Part {
    fn run(&self, inputs: &[&StateTensor]) -> Result<(Vec<usize>, Vec<f32>)> {
        let named: Vec<(&str, &StateTensor)> =
            self.inputs.iter().map(String::as_str).zip(inputs.iter().copied()).collect();
        match self.graph.run(&named)?.into_iter().next() {
            Some(StateTensor { shape, data: TensorData::F32(values) }) => Ok((shape, values)),
            _ => Err(Error::new(Stage::Model, "expected a float32 output of the decoder and the joiner")),
        }
    }
}

/// The engine of a transducer.
pub struct TransducerEngine {
    encoder: StatefulGraph,
    decoder: Part,
    joiner: Part,
    spec: EngineSpec,
    /// D, the width of an encoder frame.
    width: usize,
    /// Number of previous symbols that the decoder uses.
    context: usize,
    /// Id of `<unk>`, which is treated as a blank.
    unknown: Option<usize>,
}

impl TransducerEngine {
    /// Creates an engine; the number of tokens is determined by running the graphs on zeros.
    ///
    /// # Errors
    /// When the shapes of the three graphs do not match.
    pub(super) fn new(
        name: &'static str,
        encoder: StatefulGraph,
        decoder: Part,
        joiner: Part,
        context: usize,
        unknown: Option<usize>,
    ) -> Result<Self> {
        let zeros = vec![0.0; encoder.window * encoder.num_features];
        let output = encoder.run(&[&zeros], &mut [&mut encoder.zero_state()])?;
        let width = output.shape.last().copied().unwrap_or(0);
        let (steps, frames) = rows(output, 1, width)?;
        if !encoder.shift.is_multiple_of(2 * steps) {
            let (steps, shift) = (counted(steps, "encoder frame"), counted(encoder.shift, "frame"));
            let problem = format!("{steps} for windows that move by {shift}");
            return Err(Error::new(Stage::Model, problem)
                .hint("2 or a multiple of 2 frames per encoder frame are supported"));
        }
        // The decoder's context is a state of the stream too. It comes last: the encoder uses the first tensors.
        let mut states = encoder.states.clone();
        let shape = vec![1, context];
        states.push(StatePort {
            input: "context".into(),
            output: "context".into(),
            shape,
            batch_axis: 0,
            is_i64: true,
        });
        let spec = EngineSpec {
            name,
            num_features: encoder.num_features,
            subsampling: encoder.shift / (2 * steps),
            window: encoder.window,
            shift: encoder.shift,
            num_tokens: 0,
            states,
        };
        // Only the joiner's output shows how many tokens there are.
        let mut engine = Self { encoder, decoder, joiner, spec, width, context, unknown };
        let predicted = engine.predict(&[&mut engine.zero_state()])?;
        engine.spec.num_tokens = engine.join(frames[..width].to_vec(), &predicted, 1)?.len();
        if engine.spec.num_tokens < 2 {
            return Err(Error::new(Stage::Model, "expected a joiner with at least 2 outputs, found fewer"));
        }
        Ok(engine)
    }

    /// The decoder's output for the last symbols of each stream, `[N, D]`.
    fn predict(&self, states: &[&mut State]) -> Result<StateTensor> {
        let mut symbols = Vec::with_capacity(states.len() * self.context);
        for state in states {
            match state.tensors.last().map(|t| &t.data) {
                Some(TensorData::I64(last)) => symbols.extend_from_slice(last),
                _ => {
                    return Err(Error::new(
                        Stage::Engine,
                        "expected the last symbols in the state of a stream",
                    ));
                }
            }
        }
        let symbols = StateTensor { shape: vec![states.len(), self.context], data: TensorData::I64(symbols) };
        let (_, values) = self.decoder.run(&[&symbols])?;
        let width = values.len() / states.len().max(1);
        Ok(StateTensor { shape: vec![states.len(), width], data: TensorData::F32(values) })
    }

    /// The joiner's logits `[N, V]` for one encoder frame of each stream, `frames [N, D]`.
    fn join(&self, frames: Vec<f32>, predicted: &StateTensor, streams: usize) -> Result<Vec<f32>> {
        let frames = StateTensor { shape: vec![streams, self.width], data: TensorData::F32(frames) };
        let (_, logits) = self.joiner.run(&[&frames, predicted])?;
        if logits.is_empty() || !logits.len().is_multiple_of(streams) {
            let problem =
                format!("expected logits of {streams} streams from the joiner, found {}", logits.len());
            return Err(Error::new(Stage::Model, problem));
        }
        Ok(logits)
    }

    /// Greedy search over `steps` encoder frames of each stream, `encoded [N, steps, D]`.
    fn search(
        &self,
        encoded: &[f32],
        steps: usize,
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> Result<()> {
        let (streams, width, tokens) = (states.len(), self.width, self.spec.num_tokens);
        let mut predicted = self.predict(states)?;
        for step in 0..steps {
            let frame = |n: usize| &encoded[(n * steps + step) * width..][..width];
            let frames: Vec<f32> = (0..streams).flat_map(frame).copied().collect();
            let mut logits = self.join(frames, &predicted, streams)?;
            if logits.len() != streams * tokens {
                return Err(Error::new(Stage::Model, "the joiner's number of outputs changed"));
            }
            let mut emitted = false;
            for ((row, state), out) in logits.chunks_exact_mut(tokens).zip(&mut *states).zip(&mut *log_probs)
            {
                let best = argmax(row);
                if best == BLANK || Some(best) == self.unknown {
                    blank(tokens, out);
                } else {
                    log_softmax(row, row.len());
                    out.extend_from_slice(row);
                    if let Some(TensorData::I64(last)) = state.tensors.last_mut().map(|t| &mut t.data) {
                        last.rotate_left(1);
                        last[self.context - 1] = best as i64;
                    }
                    emitted = true;
                }
                blank(tokens, out);
            }
            // The decoder's input changes only with a new symbol, so it is not run after blanks.
            if emitted && step + 1 < steps {
                predicted = self.predict(states)?;
            }
        }
        Ok(())
    }
}

/// Index of the maximum, the first if there are several.
fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = i;
        }
    }
    best
}

/// Appends a frame in which the blank has probability 1.
fn blank(tokens: usize, out: &mut Vec<f32>) {
    let begin = out.len();
    out.resize(begin + tokens, LOG_ZERO);
    out[begin + BLANK] = 0.0;
}

impl Engine for TransducerEngine {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn zero_state(&self) -> State {
        let mut state = self.encoder.zero_state();
        // Initial context as in sherpa-onnx: -1 for no symbol, and the blank last.
        let mut last = vec![-1; self.context];
        if let Some(newest) = last.last_mut() {
            *newest = BLANK as i64;
        }
        state.tensors.push(StateTensor { shape: vec![1, self.context], data: TensorData::I64(last) });
        state
    }

    fn run(
        &self,
        frames: &[&[f32]],
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> Result<()> {
        check_call(&self.spec, frames, states, log_probs.len())?;
        let streams = Streams { frames, states, log_probs };
        self.encoder.run_windows(streams, |output, states, log_probs| {
            let (steps, encoded) = rows(output, states.len(), self.width)?;
            self.search(&encoded, steps, states, log_probs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph_engine::tests::{Function, decoded, f32s, file, floats};
    use super::*;
    use crate::onnx::build::graph::{Dim, GraphBuilder};

    /// A transducer of frames with one feature. The encoder returns every fourth frame, which is the id of a symbol.
    /// The decoder returns its two symbols as one number. The joiner prefers the encoder's symbol (modulo 6), or the
    /// blank for the value 9 if the last symbol was 3.
    fn engine(unknown: Option<usize>) -> TransducerEngine {
        let declare = |graph: &mut GraphBuilder| {
            let n = || Dim::symbol("N");
            graph.input("x", &[n(), 8.into(), 1.into()]);
            graph.input("s", &[n(), 1.into()]);
            graph.output("encoder_out", &[n(), 2.into(), 1.into()]);
            graph.output("new_s", &[n(), 1.into()]);
        };
        let described = decoded(file(declare, &[("T", "8"), ("decode_chunk_len", "8")]));
        let interface = described.interface(&[]).expect("its own");
        let encode = |input: &dyn Fn(&str) -> StateTensor| {
            let (x, s) = (input("x"), floats(&input("s")));
            let out: Vec<f32> = floats(&x).chunks_exact(4).map(|frames| frames[0]).collect();
            let s = s.iter().map(|s| s + 1.0).collect();
            vec![f32s(&[x.shape[0], 2, 1], out), f32s(&[x.shape[0], 1], s)]
        };
        let predict = |input: &dyn Fn(&str) -> StateTensor| {
            let y = input("y");
            assert_eq!(y.shape[1], 2);
            vec![f32s(
                &[y.shape[0], 1],
                floats(&y).chunks_exact(2).map(|last| last[1] + 100.0 * last[0]).collect(),
            )]
        };
        let join = |input: &dyn Fn(&str) -> StateTensor| {
            let (e, d) = (floats(&input("e")), floats(&input("d")));
            let row = |(e, d): (&f32, &f32)| {
                let last = d.rem_euclid(100.0);
                let wanted = if *e == 9.0 && last == 3.0 { 0.0 } else { *e % 6.0 };
                (0..6).map(move |i| if i as f32 == wanted { 5.0 } else { 0.0 }).collect::<Vec<f32>>()
            };
            vec![f32s(&[e.len(), 6], e.iter().zip(&d).flat_map(row).collect())]
        };
        let windows = StatefulGraph::from_graph(Box::new(Function(encode)), &described, &interface, 1, 1)
            .expect("understood");
        let decoder = Part { graph: Box::new(Function(predict)), inputs: vec!["y".into()] };
        let joiner = Part { graph: Box::new(Function(join)), inputs: vec!["e".into(), "d".into()] };
        TransducerEngine::new("test", windows, decoder, joiner, 2, unknown).expect("they fit")
    }

    /// Frames that produce these symbols.
    fn frames(symbols: &[f32]) -> Vec<f32> {
        symbols.iter().flat_map(|s| [*s; 4]).collect()
    }

    /// CTC's best path.
    fn best_path(log_probs: &[f32]) -> Vec<usize> {
        let mut path: Vec<usize> = log_probs.chunks_exact(6).map(argmax).collect();
        path.dedup();
        path.retain(|s| *s != BLANK);
        path
    }

    #[test]
    fn the_best_path_is_that_of_greedy_search_with_repeats() {
        let engine = engine(Some(5));
        let spec = engine.spec();
        assert_eq!((spec.subsampling, spec.window, spec.num_tokens, spec.states.len()), (2, 8, 6, 2));
        let (mut state, mut out) = (engine.zero_state(), Vec::new());
        assert_eq!(state.tensors[1].data, TensorData::I64(vec![-1, 0]));
        let x = frames(&[1.0, 1.0, 0.0, 2.0, 5.0, 3.0]);
        engine.run(&[&x], &mut [&mut state], &mut [&mut out]).expect("runs");
        assert_eq!(best_path(&out), [1, 1, 2, 3], "5 is `<unk>`");
        assert_eq!(out.len(), 12 * 6);
        assert_eq!(state.tensors[1].data, TensorData::I64(vec![2, 3]));
        // The decoder's context is kept from call to call.
        let x = frames(&[9.0, 4.0]);
        engine.run(&[&x], &mut [&mut state], &mut [&mut out]).expect("runs");
        assert_eq!(best_path(&out), [1, 1, 2, 3, 4]);
        let sum: f32 = out[..6].iter().map(|v| v.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5);
    }

    #[test]
    fn batched_streams_equal_single_streams() {
        let engine = engine(None);
        let streams = [frames(&[3.0, 9.0, 1.0, 4.0]), frames(&[5.0, 9.0, 0.0, 2.0])];
        let mut alone = Vec::new();
        for x in &streams {
            let (mut state, mut out) = (engine.zero_state(), Vec::new());
            engine.run(&[x], &mut [&mut state], &mut [&mut out]).expect("runs");
            alone.push(out);
        }
        assert_ne!(alone[0], alone[1]);
        let (mut a, mut b, mut out_a, mut out_b) =
            (engine.zero_state(), engine.zero_state(), Vec::new(), Vec::new());
        engine
            .run(&[&streams[0], &streams[1]], &mut [&mut a, &mut b], &mut [&mut out_a, &mut out_b])
            .expect("runs");
        assert_eq!([out_a, out_b], [alone.remove(0), alone.remove(0)]);
    }
}
