//! What the tests of exchange with other systems share: onnxruntime where it is, exports, and a folder
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

/// The model's file of an export.
pub fn exported(network: &Network<f32>, metadata: &Metadata, options: &ExportOptions) -> Vec<u8> {
    targets::export(network, metadata, options).expect("exported").files.remove(0).bytes
}

/// A folder with a model that speaks, `model.onnx`, and `a.wav`.
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
        let mut command = Command::cargo_bin("hearken").expect("built");
        let output = command.current_dir(self.0.path()).args(arguments).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{arguments:?}: {errors}");
        output
    }

    /// Standard output of a command that succeeds.
    pub fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Exit code and standard error of a command that fails.
    pub fn bad(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        (output.status.code().expect("a code"), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

pub fn signal() -> Vec<f32> {
    let mut numbers = Numbers(1);
    (0..32_000).map(|i| numbers.next() * 0.4 * (i as f32 / 1500.0).sin().powi(2)).collect()
}

/// PyTorch's graph with outputs that are called and ordered as if to mislead.
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
