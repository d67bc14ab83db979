//! A streaming transducer (encoder, decoder, joiner; Graves 2012, with the stateless decoder of
//! Ghodsi et al. 2020) as an engine, by greedy search with one symbol a frame at the most, as
//! icefall's models are decoded.
//!
//! A recogniser decodes the log-probabilities of CTC. So each encoder frame comes out as two: the
//! log-probabilities of its symbol, then a sure blank. Between two symbols there is always a blank,
//! thus none is merged with its like, and CTC's best path is the transducer's.

use super::batch::check_call;
use super::foreign::{log_softmax, rows};
use super::graph::Graph;
use super::windows::Windows;
use super::{Engine, EngineSpec, State, StateSpec, StateTensor, TensorData};
use crate::error::{Error, Result, Stage};

/// The log-probability of what a sure blank excludes.
const NEVER: f32 = -1e4;

/// The id of the blank, which icefall fixes.
const BLANK: usize = 0;

/// A graph with the names of its inputs.
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
            _ => {
                Err(Error::new(Stage::Model, "expected an output of float32 from the decoder and the joiner"))
            }
        }
    }
}

/// An engine of three graphs.
pub struct TransducerEngine {
    encoder: Windows,
    decoder: Part,
    joiner: Part,
    spec: EngineSpec,
    /// D, the width of an encoder frame.
    width: usize,
    /// Symbols that the decoder looks back at.
    context: usize,
    /// A symbol that is taken for a blank (`<unk>`).
    unknown: Option<usize>,
}

impl TransducerEngine {
    /// # Errors
    /// When the three do not fit together.
    pub(super) fn new(
        name: &'static str,
        encoder: Windows,
        decoder: Part,
        joiner: Part,
        context: usize,
        unknown: Option<usize>,
    ) -> Result<Self> {
        let zeros = vec![0.0; encoder.window * encoder.num_features];
        let output = encoder.run(&[&zeros], &mut [&mut encoder.zero_state()])?;
        let width = output.shape.last().copied().unwrap_or(0);
        let (steps, frames) = rows(output, 1, width)?;
        if encoder.shift % (2 * steps) != 0 {
            let problem = format!("{steps} encoder frames for windows that move by {} frames", encoder.shift);
            return Err(Error::new(Stage::Model, problem).hint("an odd number of frames is not supported"));
        }
        let mut states = encoder.states.clone();
        let shape = vec![1, context];
        states.push(StateSpec { input: "context".into(), output: "context".into(), shape, batch_axis: 0 });
        let spec = EngineSpec {
            name,
            num_features: encoder.num_features,
            subsampling: encoder.shift / (2 * steps),
            window: encoder.window,
            shift: encoder.shift,
            num_tokens: 0,
            states,
        };
        let mut engine = Self { encoder, decoder, joiner, spec, width, context, unknown };
        let predicted = engine.predict(&[&mut engine.zero_state()])?;
        engine.spec.num_tokens = engine.join(frames[..width].to_vec(), &predicted, 1)?.len();
        if engine.spec.num_tokens < 2 {
            return Err(Error::new(Stage::Model, "the joiner knows no symbols"));
        }
        Ok(engine)
    }

    /// What the decoder makes of the last symbols of each stream, `[N, D]`.
    fn predict(&self, states: &[&mut State]) -> Result<StateTensor> {
        let mut symbols = Vec::with_capacity(states.len() * self.context);
        for state in states {
            match state.tensors.last().map(|t| &t.data) {
                Some(TensorData::I64(last)) => symbols.extend_from_slice(last),
                _ => return Err(Error::new(Stage::Engine, "expected the last symbols of a stream")),
            }
        }
        let symbols = StateTensor { shape: vec![states.len(), self.context], data: TensorData::I64(symbols) };
        let (_, values) = self.decoder.run(&[&symbols])?;
        let width = values.len() / states.len().max(1);
        Ok(StateTensor { shape: vec![states.len(), width], data: TensorData::F32(values) })
    }

    /// `[N, V]` logits of one encoder frame `[N, D]` of each stream.
    fn join(&self, frames: Vec<f32>, predicted: &StateTensor, streams: usize) -> Result<Vec<f32>> {
        let frames = StateTensor { shape: vec![streams, self.width], data: TensorData::F32(frames) };
        let (_, logits) = self.joiner.run(&[&frames, predicted])?;
        if logits.is_empty() || logits.len() % streams != 0 {
            let problem =
                format!("expected logits of {streams} streams from the joiner, found {}", logits.len());
            return Err(Error::new(Stage::Model, problem));
        }
        Ok(logits)
    }

    /// Greedy search through `steps` encoder frames of each stream, `[N, steps, D]`.
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
                return Err(Error::new(Stage::Model, "the joiner's number of symbols changes"));
            }
            let mut emitted = false;
            for ((row, state), out) in logits.chunks_exact_mut(tokens).zip(&mut *states).zip(&mut *log_probs)
            {
                let best = argmax(row);
                if best == BLANK || Some(best) == self.unknown {
                    blank(tokens, out);
                } else {
                    log_softmax(row);
                    out.extend_from_slice(row);
                    if let Some(TensorData::I64(last)) = state.tensors.last_mut().map(|t| &mut t.data) {
                        last.rotate_left(1);
                        last[self.context - 1] = best as i64;
                    }
                    emitted = true;
                }
                blank(tokens, out);
            }
            if emitted && step + 1 < steps {
                predicted = self.predict(states)?;
            }
        }
        Ok(())
    }

    fn run_group(
        &self,
        frames: &[&[f32]],
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> Result<()> {
        for i in 0..self.encoder.calls(frames[0].len() / self.spec.num_features) {
            let parts: Vec<&[f32]> = frames.iter().map(|f| self.encoder.part(f, i)).collect();
            let (steps, encoded) = rows(self.encoder.run(&parts, states)?, frames.len(), self.width)?;
            self.search(&encoded, steps, states, log_probs)?;
        }
        Ok(())
    }
}

/// The first of the greatest.
fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = i;
        }
    }
    best
}

/// Appends a frame in which there is surely nothing.
fn blank(tokens: usize, out: &mut Vec<f32>) {
    let begin = out.len();
    out.resize(begin + tokens, NEVER);
    out[begin + BLANK] = 0.0;
}

impl Engine for TransducerEngine {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn zero_state(&self) -> State {
        let mut state = self.encoder.zero_state();
        // No symbol was said: -1, and the blank last, as sherpa-onnx begins.
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
        let t = check_call(&self.spec, frames, states, log_probs.len())?;
        if t == 0 {
            return Ok(());
        }
        if !self.encoder.single {
            return self.run_group(frames, states, log_probs);
        }
        for ((frames, state), out) in frames.iter().zip(states).zip(log_probs) {
            self.run_group(&[frames], &mut [state], &mut [out])?;
        }
        Ok(())
    }
}
