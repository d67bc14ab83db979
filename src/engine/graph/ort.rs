//! Graphs on Microsoft's onnxruntime, whose shared library is looked for at run time (see
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

/// Any graph.
pub struct OrtGraph {
    // onnxruntime can run a session from many threads at once, its Rust binding cannot; streams
    // that are ready together go through it as one batch.
    session: Mutex<Session>,
    outputs: Vec<String>,
}

impl OrtGraph {
    /// A file's graph; `threads` is how many threads one operator may use.
    ///
    /// # Errors
    /// When no library of onnxruntime is found, it is too old, or it cannot run the graph.
    pub fn new(file: &OnnxFile, search: &LibrarySearch, threads: usize) -> Result<Self> {
        // On a float16 matrix product behind a transposition the layout optimizer of onnxruntime 1.32
        // crashes; the levels below it are sound.
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
        let refused = |e| failed(e).hint("`hearken inspect` shows what the graph takes");
        let outputs = session.run(values).map_err(refused)?;
        let tensor = |name: &String| -> Result<StateTensor> {
            let value = outputs
                .get(name)
                .ok_or_else(|| Error::new(Stage::Engine, format!("onnxruntime gave no `{name}`")))?;
            match value.try_extract_array::<f32>() {
                Ok(all) => Ok(StateTensor::from(all)),
                Err(_) => Ok(StateTensor::from(value.try_extract_array::<i64>().map_err(failed)?)),
            }
        };
        self.outputs.iter().map(tensor).collect()
    }
}

/// The library that this process has loaded. A process can have one onnxruntime only, once: its
/// binding keeps both the library and its environment in globals of its own, and refuses a second.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// Loads onnxruntime's library, which the process then keeps.
///
/// # Errors
/// When none is found, or none will do.
pub fn find_library(search: &LibrarySearch) -> Result<()> {
    load_library(search).map(|_| ())
}

/// Loads the first library that the search finds and that will do.
fn load_library(search: &LibrarySearch) -> Result<Environment> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut refused = None;
    for path in search.candidates() {
        let result = check_file(&path).and_then(|()| match &*loaded {
            Some((same, environment)) if *same == path => Ok(environment.clone()),
            Some((other, _)) => Err(Error::new(
                Stage::Engine,
                format!("this process has loaded {} already and can have no second", other.display()),
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

/// Loads a library; its version is asked before anything else of it is used.
fn initialize(path: &Path) -> Result<Environment> {
    let builder = ort::init_from(path)
        .map_err(|e| Error::new(Stage::Engine, e.to_string()).in_file(path))?
        .with_name("hearken")
        .with_telemetry(false);
    let environment = builder.build().map_err(|e| failed(e).in_file(path))?;
    // Else it warns on standard error of things that are none of the user's, and tells errors there
    // that are given back as well.
    environment.set_log_level(LogLevel::Fatal);
    Ok(environment)
}

fn failed(error: ort::Error) -> Error {
    Error::new(Stage::Engine, one_line(&error.to_string())).at("engine ort")
}
