//! The engines agree: log-probabilities and states to 1e-4, for every cell, alone and in batches,
//! whole and in chunks.
//!
//! onnxruntime is searched in `ORT_DYLIB_PATH` and in the Python environment of `VIRTUAL_ENV`;
//! without it these comparisons are skipped with a message.

use crate::common::networks::{CELLS, Numbers, config, metadata, random};
use hearken::engine::{Engine, EngineKind, EngineOptions, LibrarySearch, State, TensorData, load};
use hearken::model::{CellKind, NetworkConfig};
use hearken::onnx::{OnnxFile, write};

const TOLERANCE: f32 = 1e-4;

fn options() -> EngineOptions {
    EngineOptions {
        ort_library: LibrarySearch {
            explicit: std::env::var_os("ORT_DYLIB_PATH").map(Into::into),
            executable_dir: None,
            python_roots: std::env::var_os("VIRTUAL_ENV").map(Into::into).into_iter().collect(),
        },
        ..EngineOptions::default()
    }
}

/// All engines of this build that are available on this machine.
fn engines(config: &NetworkConfig, seed: u64) -> Vec<Box<dyn Engine>> {
    let network = random(config, seed);
    let bytes = write(&network, &metadata(config)).expect("a good network");
    let file = OnnxFile::from_bytes(bytes).expect("an ONNX file");
    let options = options();
    let mut engines = Vec::new();
    for kind in EngineKind::ALL {
        if !kind.is_compiled_in() {
            eprintln!("skipped: the engine {kind} is not in this build");
        } else if kind == EngineKind::Ort && options.ort_library.candidates().is_empty() {
            eprintln!("skipped: no onnxruntime; set ORT_DYLIB_PATH or activate a Python environment with it");
        } else {
            engines.push(load(kind, &file, network.clone(), &options).expect("the engine loads"));
        }
    }
    engines
}

fn frames(config: &NetworkConfig, streams: usize, steps: usize, seed: u64) -> Vec<Vec<f32>> {
    let n = steps * config.subsampling * config.num_features;
    (0..streams).map(|i| Numbers(seed * 100 + i as u64).vec(n, 2.0)).collect()
}

/// Log-probabilities and last states of the streams, which are run alternately in `chunks`, numbers of
/// steps.
fn run(
    engine: &dyn Engine,
    frames: &[Vec<f32>],
    chunks: &[usize],
    steps: usize,
) -> (Vec<Vec<f32>>, Vec<State>) {
    let spec = engine.spec();
    let per_step = spec.subsampling * spec.num_features;
    let mut states: Vec<State> = frames.iter().map(|_| engine.zero_state()).collect();
    let mut outputs = vec![Vec::new(); frames.len()];
    let (mut at, mut turn) = (0, 0);
    while at < steps {
        let n = chunks[turn % chunks.len()].min(steps - at);
        let part: Vec<&[f32]> = frames.iter().map(|f| &f[at * per_step..(at + n) * per_step]).collect();
        let mut states: Vec<&mut State> = states.iter_mut().collect();
        let mut outputs: Vec<&mut Vec<f32>> = outputs.iter_mut().collect();
        engine.run(&part, &mut states, &mut outputs).expect("runs");
        at += n;
        turn += 1;
    }
    (outputs, states)
}

fn assert_close(name: &str, what: &str, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "{name}: {what}");
    let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= TOLERANCE, "{name}: {what} differ by {worst}");
    worst
}

fn values(state: &State) -> Vec<f32> {
    let data = state.tensors.iter().flat_map(|t| match &t.data {
        TensorData::F32(v) => v.clone(),
        TensorData::I64(_) => panic!("our networks have no integer states"),
    });
    data.collect()
}

/// Runs all engines over a network in several ways and compares them with the native engine, which processes
/// each stream separately in one call.
fn compare(name: &str, config: &NetworkConfig, seed: u64) {
    const STEPS: usize = 11;
    let engines = engines(config, seed);
    let frames = frames(config, 3, STEPS, seed);
    let reference: Vec<_> =
        frames.iter().map(|f| run(engines[0].as_ref(), std::slice::from_ref(f), &[STEPS], STEPS)).collect();
    let varied = reference[0].0[0].iter().zip(&reference[1].0[0]).any(|(a, b)| (a - b).abs() > 0.01);
    assert!(varied, "{name}: the output does not depend on the input");
    let mut worst = 0f32;
    for engine in &engines {
        for streams in [1, 3] {
            for chunks in [&[STEPS][..], &[1], &[2, 1, 5]] {
                let name = format!("{name}, {}, {streams} streams, chunks {chunks:?}", engine.spec().name);
                let (outputs, states) = run(engine.as_ref(), &frames[..streams], chunks, STEPS);
                for i in 0..streams {
                    let (expected, expected_states) = (&reference[i].0[0], &reference[i].1[0]);
                    worst = worst.max(assert_close(&name, "log-probabilities", &outputs[i], expected));
                    worst = worst.max(assert_close(
                        &name,
                        "states",
                        &values(&states[i]),
                        &values(expected_states),
                    ));
                }
            }
        }
    }
    let names: Vec<&str> = engines.iter().map(|e| e.spec().name).collect();
    eprintln!("{name}: {names:?} within {worst:.1e}");
}

#[test]
fn engines_agree_on_every_cell() {
    for cell in CELLS {
        for layers in 1..=3 {
            let (layer_norm, residual) = (layers != 2, layers != 1);
            let config = config(&vec![(cell, 8); layers], layer_norm, residual);
            compare(&format!("{cell:?} x {layers}"), &config, layers as u64);
        }
    }
}

#[test]
fn engines_agree_on_mixed_stacks_and_other_subsampling() {
    let mixed =
        [(CellKind::Lstm, 8), (CellKind::Gru, 8), (CellKind::RnnRelu, 5), (CellKind::GruResetBefore, 5)];
    let more = [(CellKind::MinGru, 8), (CellKind::Gru, 8), (CellKind::MinGru, 5), (CellKind::MinGru, 5)];
    let blocks = [
        (CellKind::Conv, 8),
        (CellKind::MinGru, 8),
        (CellKind::Attention, 8),
        (CellKind::Attention, 4),
        (CellKind::Conv, 5),
        (CellKind::Lstm, 5),
    ];
    let factorized = [
        (CellKind::Tdnnf, 8),
        (CellKind::RgLru, 8),
        (CellKind::Tdnnf, 8),
        (CellKind::RgLru, 6),
        (CellKind::Lstmp, 6),
        (CellKind::MinGru, 6),
    ];
    for (layer_norm, residual) in [(true, true), (false, false)] {
        // Six layers of small random weights without residual connections lose the input.
        compare("mixed with blocks", &config(&blocks, layer_norm, true), 11);
        compare("mixed", &config(&mixed, layer_norm, residual), 7);
        compare("factorized", &config(&factorized, layer_norm, true), 12);
        compare("mixed with mingru", &config(&more, layer_norm, residual), 10);
    }
    compare("widths", &config(&[(CellKind::Gru, 8), (CellKind::Gru, 6)], true, true), 8);
    for subsampling in [1, 3] {
        let config = NetworkConfig { subsampling, ..config(&[(CellKind::Gru, 9); 2], true, true) };
        compare(&format!("every {subsampling}"), &config, 9);
    }
}

#[test]
fn the_two_gru_variants_differ_as_they_should() {
    let [after, before] = [CellKind::Gru, CellKind::GruResetBefore].map(|cell| {
        let config = config(&[(cell, 8)], false, false);
        let frames = frames(&config, 1, 3, 5);
        run(engines(&config, 4)[0].as_ref(), &frames, &[3], 3).0.remove(0)
    });
    let worst = after.iter().zip(&before).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst > 1e-3, "the same weights gave the same with both reset gates: {worst}");
}

#[test]
fn wrong_calls_are_errors_and_leave_the_state_alone() {
    let config = config(&[(CellKind::Gru, 8)], true, true);
    for engine in engines(&config, 1) {
        let per_frame = config.num_features;
        let mut state = engine.zero_state();
        let good = vec![0.5; 4 * per_frame];
        for bad in [&good[..per_frame], &good[..per_frame - 1]] {
            let mut out = Vec::new();
            assert!(engine.run(&[bad], &mut [&mut state], &mut [&mut out]).is_err());
            assert!(out.is_empty());
        }
        let mut foreign = State::default();
        let mut out = Vec::new();
        assert!(engine.run(&[&good], &mut [&mut foreign], &mut [&mut out]).is_err());
        assert!(engine.run(&[&good, &good[..0]], &mut [&mut state, &mut foreign], &mut [&mut out]).is_err());
        assert_eq!(state.tensors, engine.zero_state().tensors);
        engine.run(&[], &mut [], &mut []).expect("no streams are no work");
        engine.run(&[&[]], &mut [&mut state], &mut [&mut out]).expect("no frames are no work");
        assert_eq!(state.tensors, engine.zero_state().tensors);
        engine.run(&[&good], &mut [&mut state], &mut [&mut out]).expect("a good call");
        assert_eq!(out.len(), config.num_tokens);
        assert_ne!(state.tensors, engine.zero_state().tensors);
    }
}
