//! The options that choose model, engine and chunk, alike in all commands.

use std::env;
use std::path::PathBuf;

use crate::engine::{EngineKind, EngineOptions, LibrarySearch};
use crate::error::Result;
use crate::recognizer::Recognizer;
use crate::recognizer::pipeline::DEFAULT_CHUNK_MS;
use crate::units::ms_to_samples;

#[derive(Debug, clap::Args)]
pub(super) struct ModelArgs {
    /// The model to hear with; without it the digits model inside the program.
    #[arg(long, value_name = "FILE.onnx")]
    pub model: Option<PathBuf>,

    /// What runs the network: native, tract or ort (onnxruntime, found by ORT_DYLIB_PATH, beside
    /// the program, or in a Python environment).
    #[arg(long, default_value = "native", value_name = "ENGINE")]
    pub engine: String,

    /// Milliseconds of audio that go through the recogniser at a time.
    #[arg(long, default_value_t = DEFAULT_CHUNK_MS, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub chunk_ms: u32,
}

impl ModelArgs {
    /// Opens the model.
    pub fn open(&self) -> Result<Recognizer> {
        let kind: EngineKind = self.engine.parse()?;
        // Looking for a library costs time that only onnxruntime is worth.
        let options = if kind == EngineKind::Ort { engine_options() } else { EngineOptions::default() };
        match &self.model {
            Some(path) => Recognizer::open_with(path, kind, &options),
            None => Recognizer::embedded(kind, &options),
        }
    }

    /// Samples of a chunk.
    pub fn chunk_samples(&self, recognizer: &Recognizer) -> usize {
        ms_to_samples(self.chunk_ms, recognizer.sample_rate()).max(1)
    }
}

/// Where the environment says that onnxruntime may be.
fn engine_options() -> EngineOptions {
    let folder = |name: &str| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = folder("HOME").map(|home| home.join(".local"));
    let executable_dir = env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from));
    let places = [folder("VIRTUAL_ENV"), folder("CONDA_PREFIX"), home];
    let system = [PathBuf::from("/usr/local"), PathBuf::from("/usr")];
    let ort_library = LibrarySearch {
        explicit: folder("ORT_DYLIB_PATH"),
        executable_dir,
        python_roots: places.into_iter().flatten().chain(system).collect(),
    };
    EngineOptions { ort_library, ..EngineOptions::default() }
}
