//! Graphs on Microsoft's onnxruntime, whose shared library is found and loaded at run time (see
//! [`super::ort_library`]).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;

use super::ort_library::{LibrarySearch, check_file};
use super::{Graph, array, one_line};
use crate::engine::{StateTensor, TensorData};
use crate::error::{Error, Result, Stage};
use crate::onnx::OnnxFile;
use crate::onnx::element_types::uses_half;

fn session(
    bytes: &[u8],
    optimizations: GraphOptimizationLevel,
    search: &LibrarySearch,
    threads: usize,
) -> Result<Session> {
    let environment = load_library(search)?;
    Session::builder(&environment)
        .and_then(|b| Ok(b.with_optimization_level(optimizations)?))
        .and_then(|b| Ok(b.with_intra_threads(threads.max(1))?.with_inter_threads(1)?))
        .and_then(|b| Ok(b.with_log_level(LogLevel::Fatal)?))
        .and_then(|mut b| b.commit_from_memory(bytes))
        .map_err(failed)
}

/// A graph loaded into onnxruntime.
pub struct OrtGraph {
    // onnxruntime can run a session from many threads at once, its Rust binding cannot. The lock costs little, since
    // streams that are ready at the same time are run as one batch.
    session: Mutex<Session>,
    outputs: Vec<String>,
}

impl OrtGraph {
    /// Loads a file's graph; `threads` is the number of threads for an operator.
    ///
    /// # Errors
    /// When the library of onnxruntime is not found or too old, or cannot run the graph.
    pub fn new(file: &OnnxFile, search: &LibrarySearch, threads: usize) -> Result<Self> {
        // The layout optimizer of onnxruntime 1.32 (part of level 3) crashes on a float16 matrix product after a
        // transposition.
        let optimizations = match uses_half(file.graph()) {
            true => GraphOptimizationLevel::Level2,
            false => GraphOptimizationLevel::All,
        };
        let session = session(file.bytes(), optimizations, search, threads)?;
        let outputs = session.outputs().iter().map(|o| o.name().to_string()).collect();
        Ok(Self { session: Mutex::new(session), outputs })
    }
}

impl Graph for OrtGraph {
    fn run(&self, inputs: &[(&str, &StateTensor)]) -> Result<Vec<StateTensor>> {
        let mut values: Vec<(&str, SessionInputValue)> = Vec::with_capacity(inputs.len());
        for (name, tensor) in inputs {
            let value: SessionInputValue = match &tensor.data {
                TensorData::F32(all) => {
                    TensorRef::from_array_view(array(name, tensor, all)?).map_err(failed)?.into()
                }
                TensorData::I64(all) => {
                    TensorRef::from_array_view(array(name, tensor, all)?).map_err(failed)?.into()
                }
            };
            values.push((name, value));
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = |e| failed(e).hint("to see the graph's inputs").remedy("inspect");
        let outputs = session.run(values).map_err(refused)?;
        let tensor = |name: &String| -> Result<StateTensor> {
            let value = outputs.get(name).ok_or_else(|| {
                Error::new(Stage::Engine, format!("onnxruntime did not return the output `{name}`"))
            })?;
            match value.try_extract_array::<f32>() {
                Ok(all) => Ok(StateTensor::from(all)),
                Err(_) => Ok(StateTensor::from(value.try_extract_array::<i64>().map_err(failed)?)),
            }
        };
        self.outputs.iter().map(tensor).collect()
    }
}

/// The library loaded by this process. A process can load only one onnxruntime: the Rust binding keeps the
/// library and its environment in globals and rejects a second one.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// Loads onnxruntime's library, which stays loaded.
///
/// # Errors
/// When none is found, or none is usable.
pub fn find_library(search: &LibrarySearch) -> Result<()> {
    load_library(search).map(|_| ())
}

/// Loads the first usable library that the search finds.
fn load_library(search: &LibrarySearch) -> Result<Environment> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut refused = None;
    for path in search.candidates() {
        let result = check_file(&path).and_then(|()| match &*loaded {
            Some((same, environment)) if *same == path => Ok(environment.clone()),
            Some((other, _)) => Err(Error::new(
                Stage::Engine,
                format!("this process has already loaded {} and cannot load a second one", other.display()),
            )
            .in_file(&path)),
            None => initialize(&path),
        });
        match result {
            Ok(environment) => {
                *loaded = Some((path, environment.clone()));
                return Ok(environment);
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(search.not_found(refused.as_ref()))
}

/// Loads a library; the binding checks its version before it calls anything else.
fn initialize(path: &Path) -> Result<Environment> {
    let builder = ort::init_from(path)
        .map_err(|e| Error::new(Stage::Engine, e.to_string()).in_file(path))?
        .with_name("hearken")
        .with_telemetry(false);
    let environment = builder.build().map_err(|e| failed(e).in_file(path))?;
    // By default it prints warnings that users cannot act on, and errors that are returned as well, to standard
    // error.
    environment.set_log_level(LogLevel::Fatal);
    Ok(environment)
}

fn failed(error: ort::Error) -> Error {
    Error::new(Stage::Engine, one_line(&error.to_string())).at("engine ort")
}
