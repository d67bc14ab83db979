//! A graph of which nothing is known but the names of its inputs and outputs, on tract or
//! onnxruntime: what foreign models, detectors and transducers are run with.

use crate::engine::{EngineKind, EngineOptions, StateTensor};
use crate::error::{Error, Result, Stage};
#[cfg(feature = "tract")]
use crate::onnx::streamable;
use crate::onnx::{check, element_types, proto};

/// A graph that can be run. Immutable and shared.
pub trait Graph: Send + Sync {
    /// One call with a tensor for every input; gives every output, in the graph's order.
    ///
    /// # Errors
    /// When an input is missing or does not fit, an output is neither float32 nor int64, or the
    /// runtime fails.
    fn run(&self, inputs: &[(&str, &StateTensor)]) -> Result<Vec<StateTensor>>;
}

/// Opens a file's bytes on an engine that runs graphs.
///
/// # Errors
/// What [`check::check`] and [`element_types::check_ports`] refuse; [`Stage::Usage`] when the engine is not compiled in, or is the
/// native one; else when the runtime is not there or cannot run the graph.
pub fn open(kind: EngineKind, bytes: &[u8], options: &EngineOptions) -> Result<Box<dyn Graph>> {
    let model = proto::decode(bytes)?;
    check::check(&model)?;
    element_types::check_ports(&model)?;
    match kind {
        EngineKind::Native => {
            let problem = "the native engine runs hearken's own models only";
            Err(Error::new(Stage::Usage, problem).hint("use the engine ort or tract"))
        }
        EngineKind::Tract => open_tract(bytes),
        EngineKind::Ort => open_ort(bytes, element_types::uses_half(&model), options),
    }
}

/// The engines of this build that run any graph, the more capable first.
pub fn kinds() -> impl Iterator<Item = EngineKind> {
    [EngineKind::Ort, EngineKind::Tract].into_iter().filter(|kind| kind.is_compiled_in())
}

/// The engine that runs a graph where none is asked for: onnxruntime where its library is there, else
/// tract, and then why.
pub fn default_kind(options: &EngineOptions) -> (EngineKind, Option<Error>) {
    match find_ort(options) {
        Err(reason) if EngineKind::Tract.is_compiled_in() => (EngineKind::Tract, Some(reason)),
        _ => (EngineKind::Ort, None),
    }
}

#[cfg(feature = "ort")]
fn find_ort(options: &EngineOptions) -> Result<()> {
    crate::engine::ort::find_library(&options.ort_library)
}

#[cfg(not(feature = "ort"))]
fn find_ort(_: &EngineOptions) -> Result<()> {
    Err(crate::engine::load::not_compiled_in(EngineKind::Ort))
}

#[cfg(feature = "tract")]
fn open_tract(bytes: &[u8]) -> Result<Box<dyn Graph>> {
    streamable::check_for_tract(bytes)?;
    Ok(Box::new(crate::engine::tract::TractGraph::from_model(bytes)?))
}

#[cfg(not(feature = "tract"))]
fn open_tract(_: &[u8]) -> Result<Box<dyn Graph>> {
    Err(crate::engine::load::not_compiled_in(EngineKind::Tract))
}

#[cfg(feature = "ort")]
fn open_ort(bytes: &[u8], uses_half: bool, options: &EngineOptions) -> Result<Box<dyn Graph>> {
    Ok(Box::new(crate::engine::ort::OrtGraph::from_model(
        bytes,
        uses_half,
        &options.ort_library,
        options.threads,
    )?))
}

#[cfg(not(feature = "ort"))]
fn open_ort(_: &[u8], _: bool, _: &EngineOptions) -> Result<Box<dyn Graph>> {
    Err(crate::engine::load::not_compiled_in(EngineKind::Ort))
}
