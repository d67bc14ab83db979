//! Helpers of the tests of exchange with other systems: onnxruntime if it is installed, exports, and a folder
//! to run commands in.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use hearken::audio::{WavEncoding, write_wav};
use hearken::engine::{EngineOptions, LibrarySearch};
use hearken::model::{CellKind, Network, NetworkConfig};
use hearken::onnx::{ExportOptions, Metadata, targets};

use super::networks::{Numbers, config, metadata, random};

pub fn options() -> Option<EngineOptions> {
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

/// The bytes of an export's model file.
pub fn exported(network: &Network<f32>, metadata: &Metadata, options: &ExportOptions) -> Vec<u8> {
    targets::export(network, metadata, options).expect("exported").files.remove(0).bytes
}

/// A folder with `model.onnx`, whose texts are not empty, and `a.wav`.
pub struct Place(pub tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
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

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(&[], arguments)
    }

    /// Like [`Place::run`], with changed environment variables.
    pub fn run_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = Command::cargo_bin("hearken").expect("built");
        command.current_dir(self.0.path()).args(arguments).envs(environment.iter().copied());
        let output = command.output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
        output
    }

    /// Standard output of a command that succeeds.
    pub fn stdout_of(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Exit code and standard error of a command that fails.
    pub fn error_of(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        (output.status.code().expect("a code"), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

pub fn signal() -> Vec<f32> {
    let mut numbers = Numbers(1);
    (0..32_000).map(|i| numbers.next() * 0.4 * (i as f32 / 1500.0).sin().powi(2)).collect()
}

/// A graph of PyTorch whose outputs have misleading names and another order.
pub fn misleading() -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import/torch-script-lstm-2.onnx");
    let mut model = hearken::onnx::proto::decode(&std::fs::read(file).expect("a golden")).expect("a model");
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

pub fn prost_bytes(model: &hearken::onnx::proto::ModelProto) -> Vec<u8> {
    use prost::Message;
    model.encode_to_vec()
}

/// A golden of PyTorch in half precision, as exported from `model.half()`.
pub fn half_precision(name: &str) -> hearken::onnx::proto::ModelProto {
    use hearken::onnx::proto::{FLOAT, FLOAT16, TensorProto};
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/import/{name}.onnx"));
    let mut model = hearken::onnx::proto::decode(&std::fs::read(file).expect("a golden")).expect("a model");
    let graph = model.graph.as_mut().expect("a graph");
    let to_half = |tensor: &mut TensorProto| {
        if tensor.data_type == FLOAT {
            let (_, values) = tensor.to_f32().expect("numbers");
            let halves = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes());
            tensor.raw_data = Some(halves.collect::<Vec<u8>>().into());
            tensor.float_data.clear();
            tensor.data_type = FLOAT16;
        }
    };
    graph.initializer.iter_mut().for_each(to_half);
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        attribute.t.iter_mut().for_each(|tensor| to_half(tensor));
    }
    for port in graph.input.iter_mut().chain(&mut graph.output) {
        let tensor = port.r#type.as_mut().and_then(|kind| kind.tensor_type.as_mut()).expect("a tensor");
        tensor.elem_type = if tensor.elem_type == FLOAT { FLOAT16 } else { tensor.elem_type };
    }
    model
}

/// The same graph with inputs and outputs of float32.
pub fn half_precision_inside(name: &str) -> hearken::onnx::proto::ModelProto {
    use hearken::onnx::build::graph::int;
    use hearken::onnx::proto::{FLOAT, FLOAT16, NodeProto};
    let mut model = half_precision(name);
    let graph = model.graph.as_mut().expect("a graph");
    let cast = |from: &str, to: &str, kind: i32| NodeProto {
        op_type: "Cast".into(),
        input: vec![from.into()],
        output: vec![to.into()],
        attribute: vec![int("to", i64::from(kind))],
        ..Default::default()
    };
    let inputs: Vec<String> = graph.input.iter().map(|i| i.name.clone()).collect();
    let outputs: Vec<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    let inside = |name: &str| format!("{name}.half");
    for node in &mut graph.node {
        let names = node.input.iter_mut().chain(&mut node.output);
        names.filter(|n| inputs.contains(n) || outputs.contains(n)).for_each(|n| *n = inside(n));
    }
    let before = inputs.iter().map(|name| cast(name, &inside(name), FLOAT16));
    let after = outputs.iter().map(|name| cast(&inside(name), name, FLOAT));
    let nodes = std::mem::take(&mut graph.node);
    graph.node = before.chain(nodes).chain(after.collect::<Vec<_>>()).collect();
    for port in graph.input.iter_mut().chain(&mut graph.output) {
        if let Some(tensor) = port.r#type.as_mut().and_then(|kind| kind.tensor_type.as_mut()) {
            tensor.elem_type = FLOAT;
        }
    }
    model
}
