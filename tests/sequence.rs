//! Networks for other sequences than speech: short trainings of every kind of input and output, resumed runs, and model
//! files on the engines that are available.

use std::path::{Path, PathBuf};
use std::process::Command;

use hearken::engine::graph::{self, Graph};
use hearken::engine::{EngineKind, EngineOptions, StateTensor, TensorData};
use hearken::model::CellKind;
use hearken::onnx::OnnxFile;
use hearken::train::sequence::{
    Example, Input, Inputs, Output, PairConfig, PairExample, PairTrainer, SequenceConfig, Targets, Trainer,
};

use crate::common::networks::Numbers;
use crate::common::place;

const STEPS: u64 = 40;

/// A name, a network and a batch that it can learn.
type Task = (&'static str, SequenceConfig, Vec<Example>);

fn tasks() -> Vec<Task> {
    let mut numbers = Numbers(5);
    let mut tokens = |n: usize| (0..n).map(|_| (numbers.next_u64() % 4) as u32).collect::<Vec<u32>>();
    // The token two steps before; whether the first token was 0; the sum and the difference of two numbers.
    let text = |tokens: Vec<u32>| {
        let targets = (0..tokens.len()).map(|t| t.checked_sub(2).map(|t| tokens[t])).collect();
        Example { inputs: Inputs::Tokens(tokens), targets: Targets::Tokens(targets) }
    };
    let end = |tokens: Vec<u32>| {
        let targets = Targets::at_end(u32::from(tokens[0] == 0), tokens.len());
        Example { inputs: Inputs::Tokens(tokens), targets }
    };
    let [text, end]: [Vec<Example>; 2] =
        [(5..13).map(|n| text(tokens(n))).collect(), (3..11).map(|n| end(tokens(n))).collect()];
    let mut numbers = Numbers(6);
    let mut series = |steps: usize, target: fn(f32, f32) -> Vec<f32>| {
        let x = numbers.vec(2 * steps, 3.0);
        let targets = x.chunks_exact(2).flat_map(|x| target(x[0], x[1])).map(Some).collect();
        Example { inputs: Inputs::Numbers(x), targets: Targets::Numbers(targets) }
    };
    let squares = (4..10).map(|n| series(n, |a, b| vec![a + b, a - b])).collect();
    let quantiles = (4..10).map(|n| series(n, |a, b| vec![a + b])).collect();
    let config = |input, output, cell| {
        let mut config = SequenceConfig::new(input, output, cell, &[16, 16], STEPS);
        config.optimizer.learning_rate = 1e-2;
        config.threads = 2;
        config.dropout = 0.1;
        config
    };
    let (token, number) = (Input::Tokens(4), Input::Numbers(2));
    vec![
        ("tokens", config(token, Output::Tokens(4), CellKind::Gru), text),
        ("one token at the end", config(token, Output::Tokens(2), CellKind::Lstm), end),
        ("numbers", config(number, Output::Numbers(2), CellKind::RnnTanh), squares),
        ("quantiles", config(number, Output::Quantiles(vec![0.1, 0.5, 0.9]), CellKind::MinGru), quantiles),
    ]
}

fn train(config: &SequenceConfig, batch: &[&Example]) -> (Trainer, f64) {
    let mut trainer = Trainer::new(config.clone()).expect("a good configuration");
    if config.input == Input::Numbers(2) {
        trainer.normalize(&batch.iter().map(|e| &e.inputs).collect::<Vec<_>>()).expect("numbers");
    }
    let first = trainer.update(batch).expect("an update");
    (trainer, first)
}

#[test]
fn every_kind_of_output_is_learned_and_runs_are_resumed_exactly() {
    for (name, config, examples) in tasks() {
        let batch: Vec<&Example> = examples.iter().collect();
        let folder = tempfile::tempdir().expect("a folder");
        let (mut trainer, first) = train(&config, &batch);
        while trainer.step() < STEPS / 2 {
            trainer.update(&batch).expect("an update");
        }
        trainer.save(folder.path()).expect("saved");
        let mut resumed = Trainer::resume(config.clone(), folder.path()).expect("the checkpoint");
        while trainer.step() < STEPS {
            let losses = [&mut trainer, &mut resumed].map(|t| t.update(&batch).expect("an update"));
            assert_eq!(losses[0].to_bits(), losses[1].to_bits(), "{name}");
        }
        let last = trainer.model().and_then(|model| model.loss(&batch)).expect("a loss");
        assert!(last < 0.8 * first, "{name}: {first} before, {last} after");
        let other = SequenceConfig { seed: 9, ..config };
        assert!(Trainer::resume(other, folder.path()).is_err(), "{name}: of another configuration");
    }
}

#[test]
fn sequences_that_do_not_fit_are_refused() {
    let (_, config, examples) = tasks().swap_remove(0);
    let (mut trainer, _) = train(&config, &[&examples[0]]);
    for (inputs, targets) in [
        (Inputs::Tokens(vec![4]), Targets::Tokens(vec![Some(0)])),
        (Inputs::Tokens(vec![0]), Targets::Tokens(vec![Some(4)])),
        (Inputs::Tokens(vec![0]), Targets::Tokens(vec![None, None])),
        (Inputs::Tokens(vec![0]), Targets::Numbers(vec![Some(0.0)])),
        (Inputs::Numbers(vec![0.0]), Targets::Tokens(vec![Some(0)])),
    ] {
        assert!(trainer.update(&[&Example { inputs, targets }]).is_err());
    }
}

/// The file's graph on each engine that is available.
fn graphs(path: &Path) -> Vec<(EngineKind, Box<dyn Graph>)> {
    let file = OnnxFile::read(path).expect("an ONNX file");
    let options = |kind| match kind {
        EngineKind::Ort => place::options(),
        _ => Some(EngineOptions::default()),
    };
    let open = |kind| {
        let options = options(kind)?;
        Some((kind, graph::open(kind, &file, &options).expect("the engine loads the file")))
    };
    graph::kinds().filter_map(open).collect()
}

fn tensor(shape: &[usize], data: Vec<f32>) -> StateTensor {
    StateTensor { shape: shape.to_vec(), data: TensorData::F32(data) }
}

fn ids(tokens: &[u32]) -> StateTensor {
    let data = TensorData::I64(tokens.iter().map(|&token| i64::from(token)).collect());
    StateTensor { shape: vec![1, tokens.len()], data }
}

fn floats(tensor: &StateTensor) -> &[f32] {
    match &tensor.data {
        TensorData::F32(values) => values,
        TensorData::I64(_) => panic!("expected float32"),
    }
}

fn assert_close(what: &str, a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "{what}");
    let worst =
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |worst, d| if d <= worst { worst } else { d });
    assert!(worst <= 1e-4, "{what}: differ by {worst}");
}

/// Zero states of a graph of ours, by name.
fn zero_states(model: &SequenceConfig) -> Vec<(String, StateTensor)> {
    let specs = hearken::onnx::states::state_specs(&model.network());
    let zeros = |shape: &[usize]| tensor(shape, vec![0.0; shape.iter().product()]);
    specs.into_iter().map(|spec| (spec.input, zeros(&spec.shape))).collect()
}

/// A sequence in two pieces, as inputs of a graph.
fn pieces(inputs: &Inputs, cut: usize) -> [(&'static str, StateTensor); 2] {
    match inputs {
        Inputs::Tokens(tokens) => [&tokens[..cut], &tokens[cut..]].map(|part| ("tokens", ids(part))),
        Inputs::Numbers(numbers) => [&numbers[..2 * cut], &numbers[2 * cut..]]
            .map(|part| ("x", tensor(&[1, part.len() / 2, 2], part.to_vec()))),
    }
}

/// Runs a graph over the pieces of a sequence, with the states carried.
fn run(graph: &dyn Graph, config: &SequenceConfig, parts: &[(&str, StateTensor)]) -> Vec<f32> {
    let mut states = zero_states(config);
    let mut outputs = Vec::new();
    for (name, part) in parts {
        let mut all = vec![(*name, part)];
        all.extend(states.iter().map(|(name, state)| (name.as_str(), state)));
        let mut results = graph.run(&all).expect("the graph runs");
        outputs.extend_from_slice(floats(&results[0]));
        let next = results.split_off(1);
        states.iter_mut().zip(next).for_each(|((_, state), next)| *state = next);
    }
    outputs
}

#[test]
fn model_files_give_the_same_results_on_the_engines() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, config, examples) in tasks() {
        let (trainer, _) = train(&config, &examples.iter().collect::<Vec<_>>());
        let model = trainer.model().expect("a model");
        let path = folder.path().join("model.onnx");
        model.write(&path, &[("note", "a test")]).expect("written");
        assert_eq!(OnnxFile::read(&path).expect("a file").value("note"), Some("a test"));
        for (kind, graph) in graphs(&path) {
            for example in &examples {
                let expected = model.run(&example.inputs, &mut model.zero_states()).expect("outputs");
                let found = run(graph.as_ref(), model.config(), &pieces(&example.inputs, 2));
                assert_close(&format!("{name}, {kind}"), &found, &expected);
            }
        }
    }
}

#[test]
fn an_encoder_and_a_decoder_reverse_a_word_also_on_the_engines() {
    let mut numbers = Numbers(8);
    let mut word = || -> Vec<u32> {
        let length = 2 + numbers.next_u64() % 3;
        (0..length).map(|_| 1 + (numbers.next_u64() % 3) as u32).collect()
    };
    let examples: Vec<PairExample> = (0..12)
        .map(|_| word())
        .map(|source| PairExample { target: source.iter().rev().copied().collect(), source })
        .collect();
    let mut config = PairConfig::new(4, 4, CellKind::Gru, &[24], 80);
    config.change(|network| {
        network.optimizer.learning_rate = 1e-2;
        network.threads = 2;
    });
    let batch: Vec<&PairExample> = examples.iter().collect();
    let mut trainer = PairTrainer::new(config.clone()).expect("a good configuration");
    let first = trainer.update(&batch).expect("an update");
    let folder = tempfile::tempdir().expect("a folder");
    trainer.save(folder.path()).expect("saved");
    let mut trainer = PairTrainer::resume(config, folder.path()).expect("the checkpoint");
    let last = (1..80).map(|_| trainer.update(&batch).expect("an update")).last().unwrap_or(f64::NAN);
    assert!(last < 0.3 * first, "{first} before, {last} after");
    assert!(trainer.update(&[&PairExample { source: vec![], target: vec![1] }]).is_err());
    assert!(trainer.update(&[&PairExample { source: vec![1], target: vec![0] }]).is_err());

    let model = trainer.model().expect("a model");
    let [encoder, decoder] = ["encoder.onnx", "decoder.onnx"].map(|name| folder.path().join(name));
    model.write(&encoder, &decoder, &[]).expect("written");
    for ((kind, encoder), (_, decoder)) in graphs(&encoder).into_iter().zip(graphs(&decoder)) {
        for example in &examples {
            let (expected, looks) = model.translate(&example.source, 6).expect("a translation");
            let state = tensor(&[1, 1, 24], vec![0.0; 24]);
            let encoded =
                encoder.run(&[("tokens", &ids(&example.source)), ("state.0", &state)]).expect("runs");
            let [memory, state] = encoded.as_slice() else { panic!("two outputs of the encoder") };
            let (mut state, mut last, mut found) = (state.clone(), 0, Vec::new());
            for look in &looks {
                let inputs = [("tokens", &ids(&[last])), ("state.0", &state), ("memory", memory)];
                let mut outputs = decoder.run(&inputs).expect("runs");
                assert_close(&format!("{kind}: attention"), floats(&outputs[2]), look);
                let log_probs = floats(&outputs[0]);
                let best = (0..4).max_by(|&a, &b| log_probs[a].total_cmp(&log_probs[b]));
                last = best.unwrap_or(0) as u32;
                found.push(last);
                state = outputs.swap_remove(1);
            }
            found.retain(|&token| token != 0);
            assert_eq!(found, expected, "{kind}");
        }
    }
}

/// The program of `examples/sequences`, which `cargo test` builds beside the tests.
fn example_program() -> Option<PathBuf> {
    let tests = std::env::current_exe().ok()?;
    let name = format!("sequences{}", std::env::consts::EXE_SUFFIX);
    Some(tests.parent()?.parent()?.join("examples").join(name)).filter(|path| path.exists())
}

/// Random inputs of a network, in two pieces.
fn random_pieces(config: &SequenceConfig) -> [(&'static str, StateTensor); 2] {
    let mut numbers = Numbers(9);
    [2, 3].map(|steps| match config.input {
        Input::Tokens(count) => {
            let tokens: Vec<u32> = (0..steps).map(|_| (numbers.next_u64() % count as u64) as u32).collect();
            ("tokens", ids(&tokens))
        }
        Input::Numbers(width) => ("x", tensor(&[1, steps, width], numbers.vec(steps * width, 3.0))),
    })
}

#[test]
fn the_examples_run_and_all_engines_compute_the_same_from_their_files() {
    let Some(program) = example_program() else {
        eprintln!("skipped: the example `sequences` is not built");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let book = folder.path().join("book.txt");
    let text = include_str!("../examples/sequences/data/books.txt");
    std::fs::write(&book, &text[..20_000]).expect("written");
    for name in ["text", "sentiment", "series", "music", "translation", "memory"] {
        let out = folder.path().join(name);
        let mut command = Command::new(&program);
        command.args([name, "--steps", "4", "--out"]).arg(&out);
        if name == "text" {
            command.arg("--data").arg(&book);
        }
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let picture = std::fs::read_to_string(out.join(format!("{name}.svg"))).expect("a picture");
        assert!(picture.contains("</svg>") && !picture.contains("NaN"), "{name}");
        assert!(name != "music" || ["music.mid", "music.wav"].iter().all(|file| out.join(file).exists()));
        let files = std::fs::read_dir(&out).expect("a folder").map(|entry| entry.expect("a file").path());
        let models: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
        assert!(!models.is_empty(), "{name}");
        for path in models {
            let file = OnnxFile::read(&path).expect("an ONNX file");
            let graphs = graphs(&path);
            // The parts of the translation have another test.
            let Ok(config) =
                serde_json::from_str::<SequenceConfig>(file.value("sequence").expect("a configuration"))
            else {
                assert_eq!(name, "translation");
                continue;
            };
            let results: Vec<Vec<f32>> = graphs
                .iter()
                .map(|(_, graph)| run(graph.as_ref(), &config, &random_pieces(&config)))
                .collect();
            for (found, (kind, _)) in results.iter().zip(&graphs) {
                assert_close(&format!("{}, {kind}", path.display()), found, &results[0]);
            }
        }
    }
}
