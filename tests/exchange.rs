//! Out and in again: exports to every target run and agree with the model, come back as the same
//! model, and the commands tell what is so.
//!
//! Needs onnxruntime where graphs are run: `ORT_DYLIB_PATH` or the Python environment of
//! `VIRTUAL_ENV`; without it those tests are skipped, visibly.

#[path = "common/networks.rs"]
mod networks;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use hearken::audio::{WavEncoding, write_wav};
use hearken::engine::verify::{Runners, compare};
use hearken::engine::{Engine, EngineOptions, LibrarySearch, NativeEngine};
use hearken::features::FbankOptions;
use hearken::model::{CellKind, Network, NetworkConfig};
use hearken::onnx::describe::describe;
use hearken::onnx::import::{ImportOptions, import};
use hearken::onnx::{ExportOptions, Metadata, Precision, Target, read, targets, write};
use hearken::recognizer::Recognizer;
use networks::{CELLS, Numbers, config, metadata, random};
use serde_json::Value;

fn options() -> Option<EngineOptions> {
    let ort_library = LibrarySearch {
        explicit: std::env::var_os("ORT_DYLIB_PATH").map(Into::into),
        executable_dir: None,
        python_roots: std::env::var_os("VIRTUAL_ENV").map(Into::into).into_iter().collect(),
    };
    if !cfg!(feature = "ort") || ort_library.candidates().is_empty() {
        eprintln!("skipped: no onnxruntime; set ORT_DYLIB_PATH or activate a Python environment with it");
        return None;
    }
    Some(EngineOptions { ort_library, ..EngineOptions::default() })
}

/// Stacks of every cell and depth, and a mixed one.
fn stacks() -> Vec<NetworkConfig> {
    let mut stacks: Vec<NetworkConfig> = CELLS
        .iter()
        .zip([1, 2, 3, 2, 1])
        .map(|(&cell, n)| config(&vec![(cell, 8); n], n != 2, true))
        .collect();
    stacks.push(config(&[(CellKind::Lstm, 8); 3], true, true));
    let mixed = [(CellKind::Gru, 8), (CellKind::Lstm, 5), (CellKind::RnnRelu, 5)];
    stacks.push(config(&mixed, true, false));
    // sherpa-onnx's features, which have 80 bins.
    stacks.iter_mut().for_each(|s| s.num_features = 80);
    stacks
}

/// The model's file of an export.
fn exported(network: &Network<f32>, metadata: &Metadata, options: &ExportOptions) -> Vec<u8> {
    targets::export(network, metadata, options).expect("exported").files.remove(0).bytes
}

fn frames(config: &NetworkConfig, steps: usize, seed: u64) -> Vec<f32> {
    let numbers = Numbers(seed).vec(steps * config.subsampling * config.num_features, 3.0);
    numbers.into_iter().map(|v| v - 6.0).collect()
}

#[test]
fn every_target_and_precision_agrees_with_the_model() {
    let Some(engines) = options() else { return };
    for (seed, config) in stacks().iter().enumerate() {
        let (network, metadata) = (random(config, seed as u64), metadata(config));
        let streams: Vec<Vec<f32>> =
            [13, 9, 4, 7].iter().enumerate().map(|(i, &n)| frames(config, n, 50 + i as u64)).collect();
        let own = Runners::of_own(&write(&network, &metadata).expect("written"), &network, &engines);
        let expected = compare(&own.runners[..1], &streams, -15.9).expect("runs").remove(0).log_probs;
        let targets = [Target::OnnxRuntime, Target::SherpaOnnx, Target::Triton, Target::Whole];
        let exact = targets.map(|t| (t, Precision::Float32, 1e-4, 1e-4));
        let rounded = [(Precision::Float16, 0.05), (Precision::Int8, 0.6)];
        let rounded = rounded.map(|(p, most)| (Target::OnnxRuntime, p, most, 1e-4));
        let dynamic = (Target::OnnxRuntime, Precision::Int8Dynamic, 3.0, 3.0);
        for (target, precision, most, among) in exact.into_iter().chain(rounded).chain([dynamic]) {
            let name = format!("{:?} for {target}, {precision}", config.layers);
            let bytes =
                exported(&network, &metadata, &ExportOptions { precision, ..ExportOptions::new(target) });
            let description = describe(&bytes).expect("described");
            let runners = Runners::of_graph(&bytes, &description, config.num_features, &engines);
            let refused: Vec<String> = runners.refused.iter().map(|r| r.1.to_string()).collect();
            assert!(!runners.runners.is_empty(), "{name}: {refused:?}");
            let rows = compare(&runners.runners, &streams, -15.9).expect("runs");
            assert_eq!(
                rows.len(),
                runners.runners.len() * if target == Target::Whole { 2 } else { 4 },
                "{name}"
            );
            for row in &rows {
                assert!(row.difference <= among, "{name}: {} {}: {}", row.calls, row.streams, row.difference);
            }
            let pairs = rows[0].log_probs.iter().zip(&expected);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // sherpa-onnx's windows are filled up with silence.
            let longer = rows[0].log_probs.len().checked_sub(expected.len());
            assert!(longer == Some(0) || target == Target::SherpaOnnx, "{name}: {longer:?}");
            assert!(worst <= most, "{name}: {worst} from the model");
        }
    }
}

#[test]
fn samples_in_give_what_features_give_one_delay_later() {
    let Some(engines) = options() else { return };
    let config = NetworkConfig { num_features: 80, ..config(&[(CellKind::Gru, 8); 2], true, true) };
    let (network, metadata) = (random(&config, 3), metadata(&config));
    let samples: Vec<f32> = (0..640 * 12)
        .zip(Numbers(4).vec(640 * 12, 0.02))
        .map(|(i, noise)| 0.2 * (i as f32 * 0.05).sin() * (i as f32 * 0.0007).sin() + noise)
        .collect();
    let mut features = Vec::new();
    let mut fbank = hearken::features::Fbank::new(&metadata.features).expect("good settings");
    fbank.push(&samples, &mut features);
    fbank.finish(&mut features);
    let own = Runners::of_own(&write(&network, &metadata).expect("written"), &network, &engines);
    let expected = compare(&own.runners[..1], &[features], -15.9).expect("runs").remove(0).log_probs;
    let with_frontend = |target| ExportOptions { with_frontend: true, ..ExportOptions::new(target) };
    for (target, file) in [(Target::OnnxRuntime, 0), (Target::Triton, 0)] {
        let export = targets::export(&network, &metadata, &with_frontend(target)).expect("exported");
        let bytes = &export.files[file].bytes;
        let runners = Runners::of_graph(bytes, &describe(bytes).expect("described"), 80, &engines);
        assert!(runners.takes_samples);
        let longer = [samples.clone(), vec![0.0; 640]].concat();
        let rows = compare(&runners.runners, &[longer, samples[..640 * 5].to_vec()], 0.0).expect("runs");
        assert!(rows.iter().all(|row| row.difference < 1e-3), "{target}");
        let (v, found) = (config.num_tokens, &rows[0].log_probs);
        // The first step is before the beginning; the last frame's end is mirrored in one only.
        let pairs = found[v..].iter().zip(&expected[..expected.len() - v]);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-3, "{target}: {worst}");
    }
    for target in [Target::SherpaOnnx, Target::Whole] {
        let error =
            targets::export(&network, &metadata, &with_frontend(target)).expect_err("no samples there");
        assert!(error.to_string().contains("--with-frontend"), "{error}");
    }
}

#[test]
fn exports_come_back_as_the_model_and_go_out_as_the_same_bytes() {
    for (seed, config) in stacks().iter().enumerate() {
        let (network, metadata) = (random(config, seed as u64), metadata(config));
        let own = write(&network, &metadata).expect("written");
        for target in [Target::OnnxRuntime, Target::SherpaOnnx, Target::Triton] {
            let name = format!("{:?} for {target}", config.layers);
            let options = ExportOptions::new(target);
            let bytes = exported(&network, &metadata, &options);
            let back = import(&bytes, &ImportOptions::default()).expect(&name);
            assert_eq!(back.network, network, "{name}");
            assert_eq!(back.metadata, metadata, "{name}");
            assert_eq!(write(&back.network, &back.metadata).expect("written"), own, "{name}");
            assert_eq!(exported(&back.network, &back.metadata, &options), bytes, "{name}");
        }
        for (precision, most) in [(Precision::Float16, 1e-3), (Precision::Int8, 1e-2)] {
            let options = ExportOptions { precision, ..ExportOptions::new(Target::OnnxRuntime) };
            let bytes = exported(&network, &metadata, &options);
            let back = import(&bytes, &ImportOptions::default()).expect("imported");
            assert_eq!(back.metadata, metadata);
            for (a, b) in back.network.parameters.iter().zip(&network.parameters) {
                let worst = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst <= most, "{precision}: {} by {worst}", a.name);
            }
        }
    }
}

/// Of networks that are not tiny: what a file unfolds to must fit.
#[test]
fn every_target_and_precision_is_imported_again() {
    for (seed, cell) in [CellKind::Gru, CellKind::Lstm, CellKind::RnnTanh].into_iter().enumerate() {
        let config =
            NetworkConfig { num_features: 80, input_size: 96, ..config(&[(cell, 96); 2], true, true) };
        let (network, metadata) = (random(&config, seed as u64), metadata(&config));
        let heard = frames(&config, 40, 7);
        let log_probs = |network: &Network<f32>| {
            let engine = NativeEngine::new(network.clone()).expect("whole");
            let (mut state, mut log_probs) = (engine.zero_state(), Vec::new());
            engine.run(&[&heard], &mut [&mut state], &mut [&mut log_probs]).expect("runs");
            log_probs
        };
        let expected = log_probs(&network);
        for target in [Target::OnnxRuntime, Target::SherpaOnnx, Target::Triton] {
            for (precision, most) in [
                (Precision::Float32, 0.0),
                (Precision::Float16, 0.02),
                (Precision::Int8, 0.2),
                (Precision::Int8Dynamic, 0.3),
            ] {
                let name = format!("{cell:?} for {target}, {precision}");
                let bytes =
                    exported(&network, &metadata, &ExportOptions { precision, ..ExportOptions::new(target) });
                let back =
                    import(&bytes, &ImportOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
                assert_eq!(back.metadata, metadata, "{name}");
                assert_eq!(back.network.config, config, "{name}");
                let found = log_probs(&back.network);
                let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst <= most, "{name}: {worst}");
                let dynamic = precision == Precision::Int8Dynamic;
                assert_eq!(back.notes.iter().any(|n| n.contains("in integers")), dynamic, "{name}");
            }
        }
    }
}

#[test]
fn an_export_never_goes_over_its_model_nor_where_it_cannot() {
    let place = Place::new();
    let before = fs::read(place.path("model.onnx")).expect("read");
    fs::create_dir_all(place.path("triton/m/1")).expect("made");
    fs::copy(place.path("model.onnx"), place.path("triton/m/1/model.onnx")).expect("copied");
    for precision in Precision::ALL.map(Precision::name) {
        for target in ["onnxruntime", "sherpa-onnx", "whole"] {
            for out in ["model.onnx", ".", "triton/../model.onnx"] {
                let (code, error) = place.bad(&[
                    "export",
                    "model.onnx",
                    "--for",
                    target,
                    "--precision",
                    precision,
                    "-o",
                    out,
                ]);
                assert!(code == 2 && error.contains("written over the model"), "{target} {out}: {error}");
            }
        }
        let model = "triton/m/1/model.onnx";
        let (code, error) = place.bad(&[
            "export",
            model,
            "--for",
            "triton",
            "--name",
            "m",
            "--precision",
            precision,
            "-o",
            "triton",
        ]);
        assert!(code == 2 && error.contains("written over the model"), "{error}");
        assert_eq!(fs::read(place.path(model)).expect("read"), before);
    }
    assert_eq!(fs::read(place.path("model.onnx")).expect("read"), before);
    let (code, error) = place.bad(&["export", "model.onnx", "--for", "whole", "-o", "-"]);
    assert!(code == 2 && error.contains("standard output"), "{error}");
    for (target, option, value) in [
        ("onnxruntime", "--name", "n"),
        ("sherpa-onnx", "--name", "n"),
        ("whole", "--chunk-frames", "32"),
        ("onnxruntime", "--chunk-frames", "32"),
    ] {
        let (code, error) = place.bad(&["export", "model.onnx", "--for", target, "-o", "out", option, value]);
        assert!(code == 2 && error.contains(option) && error.contains(target), "{error}");
    }
    place.good(&["export", "model.onnx", "--for", "triton", "--name", "m", "-o", "out"]);
    let (_, error) = place.bad(&["export", "out/m/1/model.onnx", "--for", "whole", "-o", "again"]);
    assert!(error.contains("export of hearken's for triton") && error.contains("import it first"), "{error}");
}

#[test]
fn a_description_says_who_would_load_what() {
    let config = NetworkConfig { num_features: 80, ..config(&[(CellKind::Gru, 8); 2], true, true) };
    let (network, metadata) = (random(&config, 1), metadata(&config));
    for (target, loads) in [
        (Target::OnnxRuntime, ["hearken (native)", "hearken import", "onnxruntime"].as_slice()),
        (Target::SherpaOnnx, &["hearken import", "onnxruntime", "sherpa-onnx"]),
        (Target::Triton, &["hearken import", "onnxruntime", "triton"]),
        (Target::Whole, &["onnxruntime", "triton"]),
    ] {
        let description =
            describe(&exported(&network, &metadata, &ExportOptions::new(target))).expect("good");
        let found: Vec<&str> = description.targets.iter().filter(|t| t.loads).map(|t| t.system).collect();
        assert_eq!(found, loads, "{target}");
        assert!(description.targets.iter().all(|t| !t.reason.is_empty()));
        assert_eq!(description.states.len(), [1, 8, 1, 0][target as usize], "{target}");
        assert!(description.drawing.iter().any(|line| line.contains("GRU")), "{target}");
        // Two layers of GRU: 3 gates of 8 rows of 8 inputs and 8 recurrent values.
        let gru = description.layers.iter().find(|l| l.name == "layers.1.gru").expect("by name");
        assert_eq!((gru.parameters, gru.multiply_adds), (3 * 8 * 16 + 48, Some(3 * 8 * 16)), "{target}");
    }
}

/// A folder with a model that speaks, `model.onnx`, and `a.wav`.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        let config = NetworkConfig { num_features: 80, ..config(&[(CellKind::Gru, 12); 2], true, false) };
        let metadata = metadata(&config);
        let mut network = random(&config, 2);
        for parameter in network.parameters.iter_mut().filter(|p| p.name == "output.weight") {
            parameter.data.iter_mut().for_each(|x| *x *= 8.0);
        }
        hearken::onnx::write_file(&place.path("model.onnx"), &network, &metadata).expect("written");
        write_wav(&place.path("a.wav"), &signal(), 16_000, WavEncoding::Pcm16).expect("written");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::cargo_bin("hearken").expect("built");
        let output = command.current_dir(self.0.path()).args(arguments).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
        output
    }

    /// Standard output of a command that succeeds.
    fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Exit code and standard error of a command that fails.
    fn bad(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        (output.status.code().expect("a code"), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn signal() -> Vec<f32> {
    let mut numbers = Numbers(1);
    (0..32_000).map(|i| numbers.next() * 0.4 * (i as f32 / 1500.0).sin().powi(2)).collect()
}

#[test]
fn exported_files_hear_the_same_from_the_command_line() {
    if options().is_none() {
        return;
    }
    let place = Place::new();
    let text = place.good(&["transcribe", "--model", "model.onnx", "a.wav"]);
    assert!(text.split(' ').count() > 3, "the model speaks: {text:?}");
    place.good(&["export", "model.onnx", "--for", "sherpa-onnx", "-o", "sherpa"]);
    place.good(&["export", "model.onnx", "--for", "triton", "--name", "m", "-o", "triton"]);
    place.good(&["export", "model.onnx", "--for", "onnxruntime", "--precision", "fp16", "-o", "half.onnx"]);
    for model in ["sherpa", "sherpa/model.onnx", "triton/m/1/model.onnx"] {
        assert_eq!(place.good(&["transcribe", "--model", model, "a.wav"]), text, "{model}");
    }
    let config = fs::read_to_string(place.path("triton/m/config.pbtxt")).expect("written");
    assert!(config.contains("name: \"m\"") && config.contains("zero_data: true"), "{config}");
    let (code, error) = place.bad(&["transcribe", "--model", "half.onnx", "--engine", "native", "a.wav"]);
    assert!(code == 2 && error.contains("native engine runs hearken's own"), "{error}");
    place.good(&["export", "model.onnx", "--for", "whole", "-o", "whole.onnx"]);
    let (_, error) = place.bad(&["transcribe", "--model", "whole.onnx", "a.wav"]);
    assert!(error.contains("no states"), "{error}");
    fs::remove_file(place.path("sherpa/tokens.txt")).expect("removed");
    let (_, error) = place.bad(&["transcribe", "--model", "sherpa", "a.wav"]);
    assert!(error.contains("tokens.txt"), "{error}");
}

#[test]
fn verify_tells_differences_and_its_exit_code_says_whether_they_are_allowed() {
    let place = Place::new();
    let table = place.good(&["verify", "model.onnx", "--audio", "a.wav"]);
    assert!(table.contains("native") && table.contains("chunks") && table.contains("allowed"), "{table}");
    let (code, error) = place.bad(&["verify", "a.wav"]);
    assert!(code == 1 && error.contains("a.wav"), "{error}");
    if options().is_none() {
        return;
    }
    let line = place.good(&["verify", "model.onnx", "--json"]);
    let report: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(report["passed"], true);
    let rows = report["rows"].as_array().expect("rows");
    assert!(
        rows.iter().any(|r| r["engine"] == "ort" && r["calls"] == "chunks" && r["streams"] == 4),
        "{line}"
    );
    // Two engines never agree to the last bit.
    assert_eq!(place.run(&["verify", "model.onnx", "--tolerance", "0"]).status.code(), Some(1));
    // Time first, streams first; whole outputs without states.
    for (name, found) in [
        ("torch-dynamo-gru-2", "by their names"),
        ("torch-script-lstm-2", "by their names"),
        ("keras-gru", "none"),
    ] {
        let foreign = format!("{}/tests/data/import/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
        let table = place.good(&["verify", &foreign]);
        assert!(table.contains(found) && table.contains("tokens unknown"), "{table}");
        // One stream and four, by onnxruntime and by tract where that is in the build.
        let in_chunks = if found == "none" { 0 } else { 2 + 2 * usize::from(cfg!(feature = "tract")) };
        assert_eq!(table.matches("chunks").count(), in_chunks, "{table}");
    }
}

#[test]
fn verify_compares_a_file_with_the_model_it_was_made_of() {
    if options().is_none() {
        return;
    }
    let place = Place::new();
    let export = |out: &str, more: &[&str]| {
        place.good(&[&["export", "model.onnx", "--for"], more, &["-o", out]].concat());
    };
    export("half.onnx", &["onnxruntime", "--precision", "fp16"]);
    export("bytes.onnx", &["onnxruntime", "--precision", "int8"]);
    export("dynamic.onnx", &["onnxruntime", "--precision", "int8-dynamic"]);
    export("pcm.onnx", &["onnxruntime", "--with-frontend"]);
    export("whole.onnx", &["whole"]);
    export("sherpa", &["sherpa-onnx"]);
    for (file, allowed) in [
        ("model.onnx", 1e-4),
        ("half.onnx", 5e-2),
        ("bytes.onnx", 1.0),
        ("dynamic.onnx", 3.0),
        ("pcm.onnx", 5e-3),
        ("whole.onnx", 1e-4),
        ("sherpa", 1e-4),
        ("sherpa/model.onnx", 1e-4),
    ] {
        let verify = ["verify", file, "--audio", "a.wav", "--against", "model.onnx", "--json"];
        let report: Value = serde_json::from_str(&place.good(&verify)).expect("JSON");
        let against = &report["against"];
        assert!((against["tolerance"].as_f64().expect("a number") - allowed).abs() < 1e-6, "{file}");
        assert!(against["engines"].as_array().is_some_and(|all| !all.is_empty()), "{file}");
        assert!(report["opsets"][0][1].as_i64() == Some(17), "{file}: {report}");
        assert!(report["inputs"][0]["shape"][0] == "N" && report["outputs"].is_array(), "{file}");
        let strict = [&verify[..], &["--tolerance", "1e-9"]].concat();
        assert_eq!(place.run(&strict).status.code(), Some(1), "{file}");
    }
    let table = place.good(&["verify", "half.onnx", "--audio", "a.wav", "--against", "model.onnx"]);
    assert!(table.contains("against") && table.contains("on the native engine"), "{table}");
    // Another model, and no model.
    let (mut network, metadata) = hearken::onnx::read_file(&place.path("model.onnx")).expect("ours");
    network.parameters[0].data[0] += 0.5;
    hearken::onnx::write_file(&place.path("other.onnx"), &network, &metadata).expect("written");
    let other = place.run(&["verify", "model.onnx", "--against", "other.onnx"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&other.stdout).contains("exceeded"));
    let (_, error) = place.bad(&["verify", "model.onnx", "--against", "half.onnx"]);
    assert!(error.contains("import it first"), "{error}");
    for tolerance in ["-1", "nan", "inf", "x"] {
        let (code, error) = place.bad(&["verify", "model.onnx", &format!("--tolerance={tolerance}")]);
        assert!(code == 2 && error.contains("tolerance"), "{error}");
    }
}

/// PyTorch's graph with outputs that are called and ordered as if to mislead.
fn misleading() -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import/torch-script-lstm-2.onnx");
    let mut model = hearken::onnx::proto::decode(&fs::read(file).expect("a golden")).expect("a model");
    let graph = model.graph.as_mut().expect("a graph");
    for (from, to) in [("hn", "p"), ("cn", "q"), ("h", "a"), ("c", "b")] {
        for node in &mut graph.node {
            let names = node.input.iter_mut().chain(&mut node.output);
            names.filter(|n| *n == from).for_each(|n| *n = to.into());
        }
        let ports = graph.input.iter_mut().chain(&mut graph.output);
        ports.filter(|p| p.name == from).for_each(|p| p.name = to.into());
    }
    graph.output.swap(1, 2);
    prost_bytes(&model)
}

#[test]
fn states_are_told_by_the_cells_and_not_by_their_order() {
    let place = Place::new();
    fs::write(place.path("foreign.onnx"), misleading()).expect("written");
    let text = place.good(&["inspect", "foreign.onnx", "--json"]);
    let described: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(described["states_found"], "by the cells that read and write them");
    let pair = |i: usize| (described["states"][i]["input"].clone(), described["states"][i]["output"].clone());
    assert_eq!((pair(0), pair(1)), (("a".into(), "p".into()), ("b".into(), "q".into())));
    // The rest of what is named is found; nothing is named twice.
    let named = place.good(&["inspect", "foreign.onnx", "--state", "b=q"]);
    assert!(named.contains("as they were named, the rest by the cells"), "{named}");
    for states in [["a=p", "a=q"], ["a=p", "b=p"]] {
        let (code, error) =
            place.bad(&["inspect", "foreign.onnx", "--state", states[0], "--state", states[1]]);
        assert!(code == 2 && error.contains("twice"), "{error}");
    }
    if options().is_none() {
        return;
    }
    let verified = place.run(&["verify", "foreign.onnx"]);
    assert!(verified.status.success() && !String::from_utf8_lossy(&verified.stderr).contains("note:"));
    // Tokens beside the file, or given.
    let tokens = |n: usize| (0..n).map(|i| format!("t{i} {i}\n")).collect::<String>();
    fs::write(place.path("tokens.txt"), tokens(5)).expect("written");
    let table = place.good(&["verify", "foreign.onnx"]);
    assert!(!table.contains("tokens unknown"), "{table}");
    fs::write(place.path("few.txt"), tokens(4)).expect("written");
    for command in [
        ["verify", "foreign.onnx", "--tokens", "few.txt"].as_slice(),
        &["transcribe", "--model", "foreign.onnx", "--tokens", "few.txt", "a.wav"],
        &["import", "foreign.onnx", "--tokens", "few.txt", "-o", "x.onnx"],
    ] {
        let (_, error) = place.bad(command);
        assert!(error.contains("few.txt: expected 5 tokens") && error.contains("found 4"), "{error}");
    }
    fs::remove_file(place.path("tokens.txt")).expect("removed");
    let (_, error) = place.bad(&["transcribe", "--model", "foreign.onnx", "a.wav"]);
    assert!(error.contains("--tokens FILE") && error.contains("hearken import"), "{error}");
}

#[test]
fn what_cannot_stream_or_would_be_computed_otherwise_is_left_out_by_name() {
    use hearken::onnx::graph::float;
    use hearken::onnx::proto::AttributeProto;
    if options().is_none() {
        return;
    }
    let place = Place::new();
    let with = |name: &str, attribute: AttributeProto| {
        let mut model = hearken::onnx::proto::decode(&misleading()).expect("a model");
        let nodes = &mut model.graph.as_mut().expect("a graph").node;
        let node = nodes.iter_mut().find(|n| n.op_type == "LSTM").expect("a cell");
        node.attribute.retain(|a| a.name != attribute.name);
        node.attribute.push(attribute);
        fs::write(place.path(name), prost_bytes(&model)).expect("written");
    };
    let backwards = Some("reverse".as_bytes().into());
    with(
        "reverse.onnx",
        AttributeProto { name: "direction".into(), s: backwards, r#type: 3, ..Default::default() },
    );
    let (_, error) = place.bad(&["verify", "reverse.onnx"]);
    assert!(error.contains("(LSTM): its direction is reverse"), "{error}");
    with("clip.onnx", float("clip", 0.5));
    let verified = place.run(&["verify", "clip.onnx"]);
    let (out, err) = (String::from_utf8_lossy(&verified.stdout), String::from_utf8_lossy(&verified.stderr));
    assert!(verified.status.success(), "{err}");
    if cfg!(feature = "tract") {
        assert!(err.contains("(LSTM): tract does not compute clip 0.5"), "{err}");
        assert!(out.contains("ort alone ran the file"), "{out}");
    }
    assert!(!err.contains("the native engine runs without"), "{err}");
}

#[test]
fn whole_recordings_are_never_longer_than_their_frames() {
    use hearken::engine::{EngineKind, StateTensor, TensorData, graph};
    let Some(engines) = options() else { return };
    let config = NetworkConfig { num_features: 80, ..config(&[(CellKind::Gru, 8)], true, true) };
    let bytes = exported(&random(&config, 1), &metadata(&config), &ExportOptions::new(Target::Whole));
    for kind in [EngineKind::Ort, EngineKind::Tract].into_iter().filter(|k| k.is_compiled_in()) {
        let graph = graph::open(kind, &bytes, &engines).expect("opened");
        let x = StateTensor { shape: vec![4, 40, 80], data: TensorData::F32(vec![0.0; 4 * 40 * 80]) };
        let lengths = StateTensor { shape: vec![4], data: TensorData::I64(vec![0, 5, 40, 1000]) };
        let outputs = graph.run(&[("x", &x), ("lengths", &lengths)]).expect("runs");
        assert_eq!(outputs[1].data, TensorData::I64(vec![0, 2, 10, 10]), "{kind}");
    }
}

#[test]
fn verdicts_know_what_onnxruntime_and_triton_take() {
    use hearken::onnx::proto::{ModelProto, decode};
    let verdict = |system: &str, change: &dyn Fn(&mut ModelProto)| {
        let mut model = decode(&misleading()).expect("a model");
        change(&mut model);
        let described = describe(&prost_bytes(&model)).expect("described");
        let verdict = described.targets.into_iter().find(|t| t.system == system).expect("known");
        (verdict.loads, verdict.reason)
    };
    assert!(verdict("onnxruntime", &|_| {}).0);
    type Change = dyn Fn(&mut ModelProto);
    let cases: [(&str, &Change); 6] = [
        ("does not say its opset", &|m| m.opset_import.clear()),
        ("opset 99", &|m| m.opset_import[0].version = Some(99)),
        ("IR 99", &|m| m.ir_version = Some(99)),
        ("no operator Frobnicate", &|m| {
            m.graph.as_mut().expect("a graph").node[0].op_type = "Frobnicate".into()
        }),
        ("type 77", &|m| {
            m.graph.as_mut().expect("a graph").initializer[0].data_type = 77;
        }),
        ("library of their own", &|m| m.opset_import[0].domain = "com.foo".into()),
    ];
    for (word, change) in cases {
        let (loads, reason) = verdict("onnxruntime", change);
        assert!(!loads && reason.contains(word), "{word}: {reason}");
    }
    let (loads, reason) = verdict("triton", &|_| {});
    assert!(!loads && reason.contains("a, b count streams"), "{reason}");
    let config = NetworkConfig { num_features: 80, ..config(&[(CellKind::Gru, 8)], true, true) };
    let bytes = exported(&random(&config, 1), &metadata(&config), &ExportOptions::new(Target::Triton));
    let mut model = decode(&bytes).expect("a model");
    let x =
        model.graph.as_mut().and_then(|g| g.input[0].r#type.as_mut()?.tensor_type.as_mut()?.shape.as_mut());
    x.expect("a shape").dim[0] = hearken::onnx::proto::DimensionProto { dim_value: Some(1), dim_param: None };
    let described = describe(&prost_bytes(&model)).expect("described");
    let triton = described.targets.iter().find(|t| t.system == "triton").expect("known");
    assert!(!triton.loads && triton.reason.contains("first axis open"), "{}", triton.reason);
}

#[test]
fn inspect_describes_anybodys_file() {
    let place = Place::new();
    let own = place.good(&["inspect", "model.onnx"]);
    for part in ["multiply-adds a second", "layers.1.gru", "sherpa-onnx", "state.0 → next_state.0", "GRU"] {
        assert!(own.contains(part), "{part}: {own}");
    }
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import/torch-script-lstm-2.onnx");
    let foreign = foreign.to_str().expect("UTF-8");
    let text = place.good(&["inspect", foreign]);
    assert!(text.contains("LSTM") && text.contains("hearken import"), "{text}");
    let json: Value = serde_json::from_str(&place.good(&["inspect", foreign, "--json"])).expect("JSON");
    assert!(json["targets"].as_array().is_some_and(|t| t.len() >= 5), "{json}");
    let (code, error) = place.bad(&["inspect", foreign, "--state", "nothing=nowhere"]);
    assert!(code == 2 && error.contains("`nothing`"), "{error}");
    place.good(&["export", "model.onnx", "--for", "sherpa-onnx", "-o", "sherpa"]);
    let layers = json["layers"].as_array().expect("layers");
    assert!(layers.iter().any(|l| l["name"] == "/cells/LSTM_1" && l["multiply_adds"] == 512), "{json}");
    let sums: [u64; 3] = ["parameters", "bytes", "multiply_adds"]
        .map(|key| layers.iter().filter_map(|l| l[key].as_u64()).sum());
    let all = text.lines().find(|l| l.starts_with("all ")).expect("a row of sums");
    let row: Vec<u64> = all.split_whitespace().skip(1).map(|n| n.parse().expect("a number")).collect();
    assert_eq!(row, sums);
    let looped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/keras/gru-after.onnx");
    let looped = place.good(&["inspect", looped.to_str().expect("UTF-8")]);
    assert!(looped.lines().any(|l| l.starts_with("all ") && l.ends_with("unknown")), "{looped}");
    fs::create_dir(place.path("two")).expect("made");
    for name in ["two/a.onnx", "two/b.onnx"] {
        fs::copy(place.path("model.onnx"), place.path(name)).expect("copied");
    }
    let two: Value = serde_json::from_str(&place.good(&["inspect", "two", "--json"])).expect("one object");
    assert!(two["files"].as_array().is_some_and(|f| f.len() == 2 && f[1]["file"] == "two/b.onnx"), "{two}");
    let folder = place.good(&["inspect", "sherpa"]);
    assert!(folder.starts_with("sherpa/model.onnx") && folder.contains("zipformer2-CTC"), "{folder}");
    let (code, error) = place.bad(&["inspect", "a.wav"]);
    assert!(code == 1 && error.contains("a.wav"), "{error}");
}

#[test]
fn an_imported_model_hears_learns_and_goes_out_again() {
    let place = Place::new();
    // hearken's own graph as a foreign one: without its metadata.
    let (network, _) = read(&fs::read(place.path("model.onnx")).expect("read")).expect("ours");
    let bytes = fs::read(place.path("model.onnx")).expect("read");
    let mut model = hearken::onnx::proto::decode(&bytes).expect("a model");
    model.metadata_props.clear();
    fs::write(place.path("foreign.onnx"), prost_bytes(&model)).expect("written");
    let tokens: String = ["<blk>", "▁a", "▁b", "▁c", "▁d", "▁e", "▁f"]
        .iter()
        .enumerate()
        .map(|(i, t)| format!("{t} {i}\n"))
        .collect();
    fs::write(place.path("letters.txt"), tokens).expect("written");
    let told = place.good(&["import", "foreign.onnx", "--tokens", "letters.txt", "-o", "new/mine.onnx"]);
    fs::rename(place.path("new/mine.onnx"), place.path("mine.onnx")).expect("a folder was made");
    assert!(told.contains("gru 12 + gru 12"), "{told}");
    // The table that is told is the one to train on with.
    let table = &told[told.find("[network]").expect("a table")..];
    let (before, after) = RECIPE.split_once("[network]").expect("a table");
    let after = &after[after.find("[optimizer]").expect("a table")..];
    let recipe = format!("{before}{table}{after}");
    let text = place.good(&["transcribe", "--model", "mine.onnx", "a.wav"]);
    assert!(text.split_whitespace().all(|word| "abcdef".contains(word)), "{text}");
    fs::write(place.path("train.jsonl"), "{\"audio_filepath\": \"a.wav\", \"text\": \"a b\"}\n")
        .expect("written");
    fs::write(place.path("recipe.toml"), recipe).expect("written");
    place.good(&["train", "recipe.toml", "--from", "mine.onnx", "--out", "run", "--threads", "1"]);
    let learnt = Recognizer::open(place.path("run/last.onnx")).expect("trained on");
    assert_eq!(learnt.metadata().tokens.len(), 7);
    let (after, _) = hearken::onnx::read_file(&place.path("run/last.onnx")).expect("ours");
    assert_eq!(after.config, network.config);
    let moved = after.parameters.iter().zip(&network.parameters).any(|(a, b)| a.data != b.data);
    assert!(moved, "it has learnt");
    let near = after
        .parameters
        .iter()
        .zip(&network.parameters)
        .all(|(a, b)| a.data.iter().zip(&b.data).all(|(a, b)| (a - b).abs() < 0.1));
    assert!(near, "and has begun from the imported weights");
    place.good(&["export", "run/last.onnx", "--for", "sherpa-onnx", "-o", "again"]);
    assert!(place.path("again/tokens.txt").is_file());
}

const RECIPE: &str = r#"
[data]
words = ["a", "b", "c", "d", "e", "f"]
[[data.recordings]]
manifest = "train.jsonl"
weight = 1.0
[[data.dev]]
manifest = "train.jsonl"
weight = 1.0
[network]
cells = ["gru"]
hidden = [12, 12]
input_size = 8
residual = false
[optimizer]
learning_rate = 1e-3
[schedule]
steps = 4
warmup_steps = 1
[run]
seed = 1
batch_size = 1
eval_interval = 4
checkpoint_interval = 4
log_interval = 1
"#;

fn prost_bytes(model: &hearken::onnx::proto::ModelProto) -> Vec<u8> {
    use prost::Message;
    model.encode_to_vec()
}

#[test]
fn decoder_options_inside_the_graph_do_not_count_twice() {
    let Some(engines) = options() else { return };
    let place = Place::new();
    let (network, mut metadata) = hearken::onnx::read_file(&place.path("model.onnx")).expect("ours");
    metadata.decoder.filler = vec!["▁4".into()];
    let text_with = |bias: f32| {
        let mut metadata = metadata.clone();
        metadata.decoder.blank_bias = bias;
        metadata.decoder.filler_bias = bias / 4.0;
        hearken::onnx::write_file(&place.path("biased.onnx"), &network, &metadata).expect("written");
        let recognizer = Recognizer::open(place.path("biased.onnx")).expect("ours");
        recognizer.transcribe(&signal()).expect("heard")
    };
    // One that would read differently if it counted twice, or not at all.
    let plain = text_with(0.0);
    let telling = |bias: &f32| text_with(*bias) != plain && text_with(2.0 * bias) != text_with(*bias);
    let bias = (1..40).map(|i| i as f32 * 0.5).flat_map(|b| [b, -b]).find(telling).expect("one of so many");
    let text = text_with(bias);
    place.good(&["export", "biased.onnx", "--for", "sherpa-onnx", "-o", "sherpa"]);
    let open = |path: &str| Recognizer::open_any(place.path(path), None, None, &engines).expect("opened");
    for path in ["sherpa", "sherpa/model.onnx"] {
        assert_eq!(open(path).transcribe(&signal()).expect("heard"), text, "{path}");
    }
}

#[test]
fn features_that_sherpa_onnx_does_not_compute_are_refused() {
    let config = NetworkConfig { num_features: 80, ..config(&[(CellKind::Gru, 8)], true, true) };
    let mut metadata = metadata(&config);
    metadata.features = FbankOptions { low_freq: 0.0, ..metadata.features };
    let refused = targets::export(&random(&config, 1), &metadata, &ExportOptions::new(Target::SherpaOnnx));
    let error = refused.expect_err("other features").to_string();
    assert!(error.contains("low_freq"), "{error}");
}
