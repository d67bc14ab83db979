//! Verification of a model: its output must not depend on the engine, on the division into chunks, or on the
//! streams in a batch.

use super::{Engine, EngineKind, EngineOptions, GraphEngine, NativeEngine, State, graph, load, sherpa};
use crate::error::{Error, Result, Stage};
use crate::model::Network;
use crate::onnx::OnnxFile;
use crate::onnx::interface::Interface;
use crate::onnx::metadata::Metadata;
use std::path::Path;

/// Numbers of steps of successive calls when a stream is divided into chunks.
const CHUNKS: [usize; 4] = [1, 3, 2, 7];

/// An engine to be verified.
pub enum Runner {
    /// Processes streams chunk by chunk.
    Streaming(Box<dyn Engine>),
    /// Processes whole recordings, as it has no states.
    Offline(Box<GraphEngine>),
}

impl Runner {
    /// The engine.
    pub fn engine(&self) -> &dyn Engine {
        match self {
            Runner::Streaming(engine) => engine.as_ref(),
            Runner::Offline(engine) => engine.as_ref(),
        }
    }
}

/// The engines that can run a file, and why the others cannot.
#[derive(Default)]
pub struct Runners {
    /// The engines that can run the file.
    pub runners: Vec<Runner>,
    /// The engines that cannot, and the reasons.
    pub refused: Vec<(EngineKind, Error)>,
    /// Whether the graph takes samples instead of features.
    pub takes_samples: bool,
    /// Whether a call can process only one stream.
    pub takes_one_stream: bool,
}

impl Runners {
    /// Engines for a model of hearken.
    pub fn for_model(file: &OnnxFile, network: &Network<f32>, options: &EngineOptions) -> Self {
        let mut all = Self::default();
        for kind in EngineKind::ALL {
            match load::load(kind, file, network.clone(), options) {
                Ok(engine) => all.runners.push(Runner::Streaming(engine)),
                Err(error) => all.refused.push((kind, error)),
            }
        }
        all
    }

    /// Engines for another graph; `num_features` is F if the graph does not fix it.
    pub fn for_graph(
        file: &OnnxFile,
        interface: &Interface,
        num_features: usize,
        options: &EngineOptions,
    ) -> Self {
        let mut all = Self::default();
        for kind in graph::kinds() {
            match GraphEngine::open(kind, file, interface, num_features, options) {
                Ok(engine) => {
                    all.takes_samples = engine.takes_samples();
                    all.takes_one_stream = engine.takes_one_stream();
                    all.runners.push(if engine.has_states() {
                        Runner::Streaming(Box::new(engine))
                    } else {
                        Runner::Offline(Box::new(engine))
                    });
                }
                Err(error) => all.refused.push((kind, error)),
            }
        }
        all
    }

    /// Engines for a folder of sherpa-onnx, and its metadata if an engine can open it.
    pub fn for_folder(folder: &Path, options: &EngineOptions) -> (Self, Option<Metadata>) {
        let (mut all, mut found) = (Self::default(), None);
        for kind in graph::kinds() {
            match sherpa::open(folder, kind, options) {
                Ok((engine, metadata)) => {
                    all.runners.push(Runner::Streaming(engine));
                    found = Some(metadata);
                }
                Err(error) => all.refused.push((kind, error)),
            }
        }
        (all, found)
    }
}

/// Result of one way of running, compared with the first engine's run over each whole stream by itself.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the engine.
    pub engine: &'static str,
    /// `whole` or `chunks`.
    pub calls: &'static str,
    /// Number of streams per call.
    pub streams: usize,
    /// Maximum difference of log-probabilities.
    pub difference: f32,
    /// Log-probabilities of the first stream, `[T', V]`.
    pub log_probs: Vec<f32>,
}

/// Runs all engines in all ways over `streams`, `[T, F]` frames of different lengths; `silence` is a feature value of
/// digital silence, with which streams are padded to whole windows.
///
/// # Errors
/// When an engine fails.
pub fn compare(runners: &[Runner], streams: &[Vec<f32>], silence: f32) -> Result<Vec<Row>> {
    let Some(first) = runners.first() else {
        return Err(Error::new(Stage::Engine, "no engine of this build can run the file"));
    };
    let frames: Vec<Vec<f32>> =
        streams.iter().map(|s| padded_to_window(s, first.engine(), silence)).collect();
    let mut reference: Vec<Vec<f32>> = Vec::new();
    let mut rows = Vec::new();
    for runner in runners {
        for (calls, chunks) in [("whole", &[usize::MAX][..]), ("chunks", &CHUNKS)] {
            for together in [false, true] {
                let outputs = match runner {
                    Runner::Offline(_) if calls == "chunks" => continue,
                    Runner::Offline(engine) => whole(engine, &frames, together)?,
                    Runner::Streaming(engine) if together => stream(engine.as_ref(), &frames, chunks)?,
                    Runner::Streaming(engine) => {
                        let mut outputs = Vec::new();
                        for frames in &frames {
                            outputs.extend(stream(engine.as_ref(), std::slice::from_ref(frames), chunks)?);
                        }
                        outputs
                    }
                };
                if reference.is_empty() {
                    reference.clone_from(&outputs);
                }
                rows.push(Row {
                    engine: runner.engine().spec().name,
                    calls,
                    streams: if together { frames.len() } else { 1 },
                    difference: difference(&reference, &outputs),
                    log_probs: outputs.into_iter().next().unwrap_or_default(),
                });
            }
        }
    }
    Ok(rows)
}

/// The log-probabilities `[T', V]` of a network on the native engine, over `[T, F]` frames.
///
/// # Errors
/// When the network's parameters do not match its configuration.
pub fn reference_log_probs(network: Network<f32>, frames: &[f32], silence: f32) -> Result<Vec<f32>> {
    let engine = NativeEngine::new(network)?;
    let frames = padded_to_window(frames, &engine, silence);
    let outputs = stream(&engine, std::slice::from_ref(&frames), &[usize::MAX])?;
    Ok(outputs.into_iter().next().unwrap_or_default())
}

/// Maximum difference between two outputs `[T', V]`. `found` begins `delay` steps later, may be longer, and may
/// lack up to `max_missing` steps at the end; if it lacks more, the difference is infinite.
pub fn difference_from(
    expected: &[f32],
    found: &[f32],
    num_tokens: usize,
    delay: usize,
    max_missing: usize,
) -> f32 {
    let found = found.get(delay * num_tokens..).unwrap_or(&[]);
    let needed = (expected.len() / num_tokens.max(1)).saturating_sub(max_missing) * num_tokens;
    if needed == 0 || found.len() < needed {
        return f32::INFINITY;
    }
    difference(&[expected[..needed].to_vec()], &[found[..needed].to_vec()])
}

/// The frames, padded so that all of them are in a whole window.
fn padded_to_window(frames: &[f32], engine: &dyn Engine, silence: f32) -> Vec<f32> {
    let spec = engine.spec();
    let steps = (frames.len() / spec.num_features).div_ceil(spec.shift).max(1);
    let mut padded = frames.to_vec();
    padded.resize((spec.window + (steps - 1) * spec.shift) * spec.num_features, silence);
    padded
}

/// Runs streams as one batch in calls of `chunks` steps, cyclically; a stream leaves the batch when it has ended.
fn stream(engine: &dyn Engine, frames: &[Vec<f32>], chunks: &[usize]) -> Result<Vec<Vec<f32>>> {
    let spec = engine.spec();
    let steps_of = |f: &Vec<f32>| (f.len() / spec.num_features - spec.window) / spec.shift + 1;
    let totals: Vec<usize> = frames.iter().map(steps_of).collect();
    let mut states: Vec<State> = frames.iter().map(|_| engine.zero_state()).collect();
    let mut outputs = vec![Vec::new(); frames.len()];
    let (mut at, mut turn) = (0, 0);
    while let Some(left) = totals.iter().filter(|&&t| t > at).map(|t| t - at).min() {
        let now = left.min(chunks[turn % chunks.len()]);
        let (from, values) = (at * spec.shift, spec.window + (now - 1) * spec.shift);
        let active = |n: &usize| totals[*n] > at;
        let parts: Vec<&[f32]> = (0..frames.len())
            .filter(active)
            .map(|n| &frames[n][from * spec.num_features..][..values * spec.num_features])
            .collect();
        let mut states: Vec<&mut State> =
            states.iter_mut().enumerate().filter(|(n, _)| active(n)).map(|(_, s)| s).collect();
        let mut outputs: Vec<&mut Vec<f32>> =
            outputs.iter_mut().enumerate().filter(|(n, _)| active(n)).map(|(_, o)| o).collect();
        engine.run(&parts, &mut states, &mut outputs)?;
        at += now;
        turn += 1;
    }
    Ok(outputs)
}

/// Runs whole recordings, each in a call of its own or all in one call with their lengths.
fn whole(engine: &GraphEngine, frames: &[Vec<f32>], together: bool) -> Result<Vec<Vec<f32>>> {
    let spec = engine.spec();
    let length = |f: &Vec<f32>| f.len() / spec.num_features;
    if !together || !engine.takes_lengths() {
        let mut outputs = Vec::new();
        for frames in frames {
            outputs.extend(engine.run_padded(&[frames], &[length(frames)])?);
        }
        return Ok(outputs);
    }
    let lengths: Vec<usize> = frames.iter().map(length).collect();
    let longest = frames.iter().map(Vec::len).max().unwrap_or(0);
    // An arbitrary padding value: frames after the end of a recording must not affect the output.
    let pad = |f: &Vec<f32>| f.iter().copied().chain(std::iter::repeat(7.0)).take(longest).collect();
    let padded: Vec<Vec<f32>> = frames.iter().map(pad).collect();
    let padded: Vec<&[f32]> = padded.iter().map(Vec::as_slice).collect();
    let mut outputs = engine.run_padded(&padded, &lengths)?;
    for (output, length) in outputs.iter_mut().zip(lengths) {
        output.truncate(length.div_ceil(spec.subsampling) * spec.num_tokens);
    }
    Ok(outputs)
}

/// The logarithm of the smallest normal number. An engine that takes the logarithm of probabilities, as tract does, returns
/// minus infinity below it, where others return -100: the same for every use.
const LEAST_LOG_PROB: f32 = -87.3;

fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    // Not `max`, which would hide what is no number.
    let limited = |log_prob: f32| if log_prob < LEAST_LOG_PROB { LEAST_LOG_PROB } else { log_prob };
    let mut largest = 0f32;
    for (a, b) in a.iter().zip(b) {
        if a.len() != b.len() {
            return f32::INFINITY;
        }
        for (&x, &y) in a.iter().zip(b) {
            let between = (limited(x) - limited(y)).abs();
            largest = if between.is_nan() { f32::INFINITY } else { largest.max(between) };
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_that_vanish_are_equal_and_what_is_no_number_is_not() {
        let of = |a: f32, b: f32| difference(&[vec![-1.0, a]], &[vec![-1.0, b]]);
        assert_eq!(of(-2.0, -2.5), 0.5);
        assert_eq!((of(f32::NEG_INFINITY, -120.0), of(f32::NEG_INFINITY, f32::NEG_INFINITY)), (0.0, 0.0));
        assert!(of(f32::NEG_INFINITY, -80.0) > 7.0);
        assert_eq!((of(f32::NAN, -1.0), of(-1.0, f32::NAN)), (f32::INFINITY, f32::INFINITY));
        assert_eq!(difference(&[vec![0.0]], &[vec![0.0, 0.0]]), f32::INFINITY);
    }
}
