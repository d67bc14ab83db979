//! Shared code of the engines: checking the arguments of a call, stacking the states of N streams along their
//! batch axis, and splitting them again.
#![cfg_attr(not(any(feature = "tract", feature = "ort")), allow(dead_code))]

use super::{EngineSpec, State, StatePort, StateTensor, TensorData};
use crate::error::{Error, Result, Stage};

/// Checks the arguments of [`super::Engine::run`].
pub(super) fn check_call(
    spec: &EngineSpec,
    frames: &[&[f32]],
    states: &[&mut State],
    outputs: usize,
) -> Result<()> {
    let error = |problem: String| Err(Error::new(Stage::Engine, problem).at(format!("engine {}", spec.name)));
    if frames.len() != states.len() || frames.len() != outputs {
        let (n, s) = (frames.len(), states.len());
        return error(format!(
            "expected as many states and outputs as streams, found {n} streams, {s} states and {outputs} outputs"
        ));
    }
    let Some(first) = frames.first() else { return Ok(()) };
    if let Some(other) = frames.iter().find(|f| f.len() != first.len()) {
        let (a, b) = (first.len(), other.len());
        return error(format!(
            "expected the same number of frames for each stream, found {a} and {b} values"
        ));
    }
    if !first.len().is_multiple_of(spec.num_features) {
        let (f, n) = (spec.num_features, first.len());
        return error(format!("expected frames of {f} features, found {n} values"));
    }
    let t = first.len() / spec.num_features.max(1);
    let (window, shift) = (spec.window, spec.shift.max(1));
    let fits = if window == shift {
        t.is_multiple_of(shift)
    } else {
        t >= window && (t - window).is_multiple_of(shift)
    };
    if !fits {
        return error(format!("expected {window} frames plus a multiple of {shift}, found {t}"));
    }
    // Otherwise a state of another engine would be an obscure error of the runtime, or wrong output.
    for state in states {
        let shapes = state.tensors.iter().map(|t| &t.shape);
        if !shapes.eq(spec.states.iter().map(|s| &s.shape)) {
            return error("expected a state of this engine, found one of another engine".into());
        }
    }
    Ok(())
}

/// A state of zeros.
pub(super) fn zero_state(specs: &[StatePort]) -> State {
    let zeros = |spec: &StatePort| {
        let n = spec.shape.iter().product();
        let data = if spec.is_i64 { TensorData::I64(vec![0; n]) } else { TensorData::F32(vec![0.0; n]) };
        StateTensor { shape: spec.shape.clone(), data }
    };
    State { tensors: specs.iter().map(zeros).collect(), scratch: None }
}

/// The shape of a state for `streams` streams.
pub(super) fn batch_shape(spec: &StatePort, streams: usize) -> Vec<usize> {
    let mut shape = spec.shape.clone();
    if let Some(axis) = shape.get_mut(spec.batch_axis) {
        *axis *= streams;
    }
    shape
}

/// Stacks state `i` of all streams along the batch axis.
pub(super) fn stack(spec: &StatePort, i: usize, states: &[&mut State]) -> Result<TensorData> {
    let kind = || {
        Error::new(Stage::Engine, "expected states of the same type, float32 or int64").at(spec.input.clone())
    };
    match states.first().and_then(|s| s.tensors.get(i)).map(|t| &t.data) {
        Some(TensorData::I64(_)) => {
            let parts = states.iter().map(|s| match &s.tensors[i].data {
                TensorData::I64(v) => Ok(v.as_slice()),
                TensorData::F32(_) => Err(kind()),
            });
            Ok(TensorData::I64(interleave(spec, &parts.collect::<Result<Vec<_>>>()?)))
        }
        Some(TensorData::F32(_)) => {
            let parts = states.iter().map(|s| match &s.tensors[i].data {
                TensorData::F32(v) => Ok(v.as_slice()),
                TensorData::I64(_) => Err(kind()),
            });
            Ok(TensorData::F32(interleave(spec, &parts.collect::<Result<Vec<_>>>()?)))
        }
        None => Err(kind()),
    }
}

/// Copies each stream's part of the stacked state `i` into its state.
pub(super) fn split_f32(spec: &StatePort, i: usize, all: &[f32], states: &mut [&mut State]) -> Result<()> {
    check_split(spec, all.len(), states.len())?;
    let streams = states.len();
    for (n, state) in states.iter_mut().enumerate() {
        if let TensorData::F32(part) = &mut state.tensors[i].data {
            take(spec, all, n, streams, part);
        }
    }
    Ok(())
}

/// As [`split_f32`], for integers.
pub(super) fn split_i64(spec: &StatePort, i: usize, all: &[i64], states: &mut [&mut State]) -> Result<()> {
    check_split(spec, all.len(), states.len())?;
    let streams = states.len();
    for (n, state) in states.iter_mut().enumerate() {
        if let TensorData::I64(part) = &mut state.tensors[i].data {
            take(spec, all, n, streams, part);
        }
    }
    Ok(())
}

fn check_split(spec: &StatePort, found: usize, streams: usize) -> Result<()> {
    let expected = spec.shape.iter().product::<usize>() * streams;
    if found == expected {
        return Ok(());
    }
    Err(Error::new(Stage::Engine, format!("expected a new state of {expected} values, found {found}"))
        .at(spec.output.clone()))
}

/// Number of contiguous values of one stream: the product of the axes from the batch axis on.
fn run_length(spec: &StatePort) -> usize {
    spec.shape.iter().skip(spec.batch_axis).product::<usize>()
}

fn interleave<T: Copy>(spec: &StatePort, parts: &[&[T]]) -> Vec<T> {
    let run = run_length(spec);
    let mut all = Vec::with_capacity(parts.iter().map(|p| p.len()).sum());
    let rows = parts.first().map_or(0, |p| p.len()) / run.max(1);
    for row in 0..rows {
        for part in parts {
            all.extend_from_slice(&part[row * run..(row + 1) * run]);
        }
    }
    all
}

fn take<T: Copy>(spec: &StatePort, all: &[T], n: usize, streams: usize, part: &mut [T]) {
    let run = run_length(spec).max(1);
    for (row, values) in part.chunks_exact_mut(run).enumerate() {
        let from = (row * streams + n) * run;
        values.copy_from_slice(&all[from..from + run]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: &[usize], batch_axis: usize) -> StatePort {
        StatePort {
            input: "s".into(),
            output: "next_s".into(),
            shape: shape.to_vec(),
            batch_axis,
            is_i64: false,
        }
    }

    fn state(data: TensorData, shape: &[usize]) -> State {
        State { tensors: vec![StateTensor { shape: shape.to_vec(), data }], scratch: None }
    }

    #[test]
    fn states_are_stacked_and_split_on_their_batch_axis() {
        let spec = spec(&[2, 1, 3], 1);
        let mut a = state(TensorData::F32((0..6).map(|v| v as f32).collect()), &spec.shape);
        let mut b = state(TensorData::F32((10..16).map(|v| v as f32).collect()), &spec.shape);
        let (a2, b2) = (a.tensors.clone(), b.tensors.clone());
        let all = stack(&spec, 0, &[&mut a, &mut b]).expect("alike");
        let TensorData::F32(all) = all else { panic!("the type changed") };
        assert_eq!(all, [0., 1., 2., 10., 11., 12., 3., 4., 5., 13., 14., 15.]);
        assert_eq!(batch_shape(&spec, 2), [2, 2, 3]);
        let mut c = zero_state(std::slice::from_ref(&spec));
        let mut d = zero_state(std::slice::from_ref(&spec));
        split_f32(&spec, 0, &all, &mut [&mut c, &mut d]).expect("fits");
        assert_eq!((c.tensors, d.tensors), (a2, b2));
    }

    #[test]
    fn integer_states_and_batch_first() {
        let spec = spec(&[1], 0);
        let mut a = state(TensorData::I64(vec![7]), &spec.shape);
        let mut b = state(TensorData::I64(vec![8]), &spec.shape);
        let all = stack(&spec, 0, &[&mut a, &mut b]).expect("alike");
        assert_eq!(all, TensorData::I64(vec![7, 8]));
        split_i64(&spec, 0, &[1, 2], &mut [&mut a, &mut b]).expect("fits");
        assert_eq!(b.tensors[0].data, TensorData::I64(vec![2]));
        assert!(split_i64(&spec, 0, &[1], &mut [&mut a, &mut b]).is_err());
    }
}
