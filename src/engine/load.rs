//! Kinds of engines and their options.

use std::fmt;

use super::graph::ort_library::LibrarySearch;
use super::{Engine, EngineSpec, GraphEngine, native};
use crate::error::Result;
use crate::model::{Network, NetworkConfig};
use crate::onnx::OnnxFile;
use crate::onnx::states::state_specs;

/// The kind of an inference engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineKind {
    /// hearken's own kernels.
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

    /// Name: `native`, `tract` or `ort`.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Native => "native",
            EngineKind::Tract => "tract",
            EngineKind::Ort => "ort",
        }
    }

    /// Whether the engine is compiled in. For `ort` this does not mean that the library is installed.
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

/// Options for engines that run graphs; the native engine has none.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Where to look for onnxruntime.
    pub ort_library: LibrarySearch,
    /// Number of threads for an operator of onnxruntime.
    pub threads: usize,
    /// Names of state inputs and their outputs, for foreign graphs whose states are not found automatically.
    pub states: Vec<(String, String)>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { ort_library: LibrarySearch::default(), threads: 1, states: Vec::new() }
    }
}

/// Creates an engine for a model that [`crate::onnx::read`] has read. The native engine runs its `network`; tract and
/// onnxruntime run the graph in `file`.
///
/// # Errors
/// [`Stage::Usage`](crate::error::Stage::Usage) when the engine is not compiled in; another stage when it cannot
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
    /// The specification of an engine called `name` for a network of hearken.
    pub fn from_config(config: &NetworkConfig, name: &'static str) -> Self {
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
