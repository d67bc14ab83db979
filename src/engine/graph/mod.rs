//! Running arbitrary ONNX graphs on tract or onnxruntime: foreign models, voice activity detectors, transducers.

#[cfg(feature = "ort")]
mod ort;
pub mod ort_library;
#[cfg(feature = "tract")]
mod tract;

#[cfg(any(feature = "tract", feature = "ort"))]
use ndarray::ArrayViewD;

#[cfg(any(feature = "tract", feature = "ort"))]
use crate::engine::TensorData;
use crate::engine::{EngineKind, EngineOptions, StateTensor};
use crate::error::{Error, Result, Stage};
#[cfg(feature = "tract")]
use crate::onnx::streamable;
use crate::onnx::{OnnxFile, check, element_types};

/// A graph loaded into a runtime. Immutable and shared.
pub trait Graph: Send + Sync {
    /// Runs one call with a tensor for every input; returns every output, in the graph's order.
    ///
    /// # Errors
    /// When an input is missing or has another shape or type, an output is neither float32 nor int64, or the runtime
    /// fails.
    fn run(&self, inputs: &[(&str, &StateTensor)]) -> Result<Vec<StateTensor>>;
}

/// Converts an input to the array type of the runtimes.
#[cfg(any(feature = "tract", feature = "ort"))]
fn array<'a, T>(name: &str, tensor: &StateTensor, values: &'a [T]) -> Result<ArrayViewD<'a, T>> {
    ArrayViewD::from_shape(tensor.shape.as_slice(), values).map_err(|_| {
        let problem =
            format!("expected values of the shape {:?}, found {} values", tensor.shape, values.len());
        Error::new(Stage::Engine, problem).at(format!("input `{name}`"))
    })
}

#[cfg(any(feature = "tract", feature = "ort"))]
impl From<ArrayViewD<'_, f32>> for StateTensor {
    fn from(array: ArrayViewD<'_, f32>) -> Self {
        Self { shape: array.shape().to_vec(), data: TensorData::F32(array.iter().copied().collect()) }
    }
}

#[cfg(any(feature = "tract", feature = "ort"))]
impl From<ArrayViewD<'_, i64>> for StateTensor {
    fn from(array: ArrayViewD<'_, i64>) -> Self {
        Self { shape: array.shape().to_vec(), data: TensorData::I64(array.iter().copied().collect()) }
    }
}

/// Loads a file into tract or onnxruntime.
///
/// # Errors
/// When [`check::check`] or [`element_types::check_ports`] fails; [`Stage::Usage`] when `kind` is native or not
/// compiled in; when the runtime is not found or cannot run the graph.
pub fn open(kind: EngineKind, file: &OnnxFile, options: &EngineOptions) -> Result<Box<dyn Graph>> {
    check::check(file.graph())?;
    element_types::check_ports(file.graph())?;
    match kind {
        EngineKind::Native => {
            let problem = "the native engine can run only models of hearken";
            Err(Error::new(Stage::Usage, problem).hint("use the engine ort or tract"))
        }
        EngineKind::Tract => open_tract(file),
        EngineKind::Ort => open_ort(file, options),
    }
}

/// The engines of this build that can run arbitrary graphs, the most capable first.
pub fn kinds() -> impl Iterator<Item = EngineKind> {
    [EngineKind::Ort, EngineKind::Tract].into_iter().filter(|kind| kind.is_compiled_in())
}

/// The default engine for graphs: onnxruntime if its library is found, else tract with the reason.
pub fn default_kind(options: &EngineOptions) -> (EngineKind, Option<Error>) {
    match find_ort(options) {
        Err(reason) if EngineKind::Tract.is_compiled_in() => (EngineKind::Tract, Some(reason)),
        _ => (EngineKind::Ort, None),
    }
}

#[cfg(feature = "ort")]
fn find_ort(options: &EngineOptions) -> Result<()> {
    ort::find_library(&options.ort_library)
}

#[cfg(not(feature = "ort"))]
fn find_ort(_: &EngineOptions) -> Result<()> {
    Err(crate::engine::load::not_compiled_in(EngineKind::Ort))
}

#[cfg(feature = "tract")]
fn open_tract(file: &OnnxFile) -> Result<Box<dyn Graph>> {
    streamable::check_for_tract(file.graph())?;
    Ok(Box::new(tract::TractGraph::new(file)?))
}

#[cfg(not(feature = "tract"))]
fn open_tract(_: &OnnxFile) -> Result<Box<dyn Graph>> {
    Err(crate::engine::load::not_compiled_in(EngineKind::Tract))
}

#[cfg(feature = "ort")]
fn open_ort(file: &OnnxFile, options: &EngineOptions) -> Result<Box<dyn Graph>> {
    Ok(Box::new(ort::OrtGraph::new(file, &options.ort_library, options.threads)?))
}

#[cfg(not(feature = "ort"))]
fn open_ort(_: &OnnxFile, _: &EngineOptions) -> Result<Box<dyn Graph>> {
    Err(crate::engine::load::not_compiled_in(EngineKind::Ort))
}

/// A runtime's message on one line, with `; ` in place of line breaks and other control characters.
#[cfg(any(feature = "tract", feature = "ort"))]
fn one_line(message: &str) -> String {
    let parts: Vec<&str> =
        message.split(char::is_control).map(str::trim).filter(|part| !part.is_empty()).collect();
    parts.join("; ")
}
