//! Choosing an engine by name.

use std::fmt;

use super::graph::ort_library::LibrarySearch;
use super::{Engine, EngineSpec, GraphEngine, native};
use crate::error::Result;
use crate::model::{Network, NetworkConfig};
use crate::onnx::OnnxFile;
use crate::onnx::states::state_specs;

/// Which engine runs the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineKind {
    /// Our own kernels.
    #[default]
    Native,
    /// Sonos' tract, compiled in with the feature `tract`.
    Tract,
    /// Microsoft's onnxruntime, loaded at run time with the feature `ort`.
    Ort,
}

impl EngineKind {
    /// All engines, compiled in or not.
    pub const ALL: [EngineKind; 3] = [EngineKind::Native, EngineKind::Tract, EngineKind::Ort];

    /// `native`, `tract` or `ort`.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Native => "native",
            EngineKind::Tract => "tract",
            EngineKind::Ort => "ort",
        }
    }

    /// Whether this build of hearken can run it (onnxruntime's library is another question).
    pub fn is_compiled_in(self) -> bool {
        match self {
            EngineKind::Native => true,
            EngineKind::Tract => cfg!(feature = "tract"),
            EngineKind::Ort => cfg!(feature = "ort"),
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(not(all(feature = "ort", feature = "tract")))]
pub(super) fn not_compiled_in(kind: EngineKind) -> crate::error::Error {
    crate::error::Error::new(
        crate::error::Stage::Usage,
        format!("the engine {kind} is not in this build of hearken"),
    )
    .hint(format!("build hearken with the feature `{kind}`, or use the engine native"))
}

/// What some engines need beside the model.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where to look for onnxruntime.
    pub ort_library: LibrarySearch,
    /// Threads that one operator of onnxruntime may use.
    pub threads: usize,
    /// Names of state inputs and the outputs that answer them, for foreign graphs that do not tell.
    pub states: Vec<(String, String)>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { ort_library: LibrarySearch::default(), threads: 1, states: Vec::new() }
    }
}

/// An engine of a model file that [`crate::onnx::read`] has read: the file, whose graph tract and
/// onnxruntime run, and its network, which the native engine runs.
///
/// # Errors
/// [`Stage::Usage`](crate::error::Stage::Usage) when the engine is not compiled in; else when it cannot
/// run the graph or, for `ort`, the library is not found or too old.
pub fn load(
    kind: EngineKind,
    file: &OnnxFile,
    network: Network<f32>,
    options: &EngineOptions,
) -> Result<Box<dyn Engine>> {
    if kind == EngineKind::Native {
        return Ok(Box::new(native::NativeEngine::new(network)?));
    }
    let engine = GraphEngine::open(kind, file, &file.interface(&[])?, network.config.num_features, options);
    Ok(Box::new(engine.map_err(|e| e.hint_if_none(format!("the native engine runs without {kind}")))?))
}

impl EngineSpec {
    /// What an engine of a network of ours needs and gives.
    pub fn of(config: &NetworkConfig, name: &'static str) -> Self {
        Self {
            name,
            num_features: config.num_features,
            subsampling: config.subsampling,
            window: config.subsampling,
            shift: config.subsampling,
            num_tokens: config.num_tokens,
            states: state_specs(config),
        }
    }
}
