//! The engine of Microsoft's onnxruntime, whose shared library is looked for at run time (see
//! [`super::ort_library`]).

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, TensorRef};

use super::batch::{batch_shape, check_call, split_f32, split_i64, split_outputs, stack, zero_state};
use super::graph_io::GraphIo;
use super::ort_library::{LibrarySearch, check_file};
use super::{Engine, EngineSpec, Graph, State, StateTensor, TensorData, one_line};
use crate::error::{Error, Result, Stage};

/// onnxruntime, running the file's graph.
pub struct OrtEngine {
    spec: EngineSpec,
    io: GraphIo,
    // onnxruntime can run a session from many threads at once, its Rust binding cannot; streams
    // that are ready together go through it as one batch.
    session: Mutex<Session>,
}

impl OrtEngine {
    /// An engine of a model file's bytes; `spec` says how its inputs and outputs pair up,
    /// `threads` how many threads one operator may use.
    ///
    /// # Errors
    /// When no library of onnxruntime is found, it is too old, it cannot run the graph, or the
    /// spec's names are not in it.
    pub fn from_model(
        bytes: &[u8],
        spec: EngineSpec,
        search: &LibrarySearch,
        threads: usize,
    ) -> Result<Self> {
        let io = GraphIo::find(bytes, &spec)?;
        let session = session(bytes, GraphOptimizationLevel::All, search, threads)?;
        Ok(Self { spec: EngineSpec { name: "ort", ..spec }, io, session: Mutex::new(session) })
    }
}

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
    session: Mutex<Session>,
    outputs: Vec<String>,
}

impl OrtGraph {
    /// A graph of a file's bytes; `uses_half` says whether anything in it is in half precision,
    /// `threads` how many threads one operator may use.
    ///
    /// # Errors
    /// When no library of onnxruntime is found, it is too old, or it cannot run the graph.
    pub fn from_model(bytes: &[u8], uses_half: bool, search: &LibrarySearch, threads: usize) -> Result<Self> {
        // On a float16 matrix product behind a transposition the layout optimizer of onnxruntime 1.32
        // crashes; the levels below it are sound.
        let optimizations =
            if uses_half { GraphOptimizationLevel::Level2 } else { GraphOptimizationLevel::All };
        let session = session(bytes, optimizations, search, threads)?;
        let outputs = session.outputs().iter().map(|o| o.name().to_string()).collect();
        Ok(Self { session: Mutex::new(session), outputs })
    }
}

impl Graph for OrtGraph {
    fn run(&self, inputs: &[(&str, &StateTensor)]) -> Result<Vec<StateTensor>> {
        let mut values: Vec<(&str, SessionInputValue)> = Vec::with_capacity(inputs.len());
        for (name, tensor) in inputs {
            let shape = tensor.shape.clone();
            let value: SessionInputValue = match &tensor.data {
                TensorData::F32(all) => {
                    TensorRef::from_array_view((shape, all.as_slice())).map_err(failed)?.into()
                }
                TensorData::I64(all) => {
                    TensorRef::from_array_view((shape, all.as_slice())).map_err(failed)?.into()
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
            let lengths = |shape: &[i64]| shape.iter().map(|&d| d.max(0) as usize).collect();
            if let Ok((shape, all)) = value.try_extract_tensor::<f32>() {
                return Ok(StateTensor { shape: lengths(shape), data: TensorData::F32(all.to_vec()) });
            }
            let (shape, all) = value.try_extract_tensor::<i64>().map_err(failed)?;
            Ok(StateTensor { shape: lengths(shape), data: TensorData::I64(all.to_vec()) })
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
            None => initialise(&path),
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
fn initialise(path: &Path) -> Result<Environment> {
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

impl Engine for OrtEngine {
    fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    fn zero_state(&self) -> State {
        zero_state(&self.spec.states, |i| self.io.is_i64[i])
    }

    fn run(
        &self,
        frames: &[&[f32]],
        states: &mut [&mut State],
        log_probs: &mut [&mut Vec<f32>],
    ) -> Result<()> {
        let t = check_call(&self.spec, frames, states, log_probs.len())?;
        if t == 0 {
            return Ok(());
        }
        let n = frames.len();
        let x = if n == 1 { Cow::Borrowed(frames[0]) } else { Cow::Owned(frames.concat()) };
        let stacked: Vec<TensorData> =
            self.spec.states.iter().enumerate().map(|(i, s)| stack(s, i, states)).collect::<Result<_>>()?;
        let mut inputs: Vec<(&str, SessionInputValue)> = Vec::with_capacity(stacked.len() + 1);
        let shape = [n, t, self.spec.num_features];
        let tensor = TensorRef::from_array_view((shape, x.as_ref())).map_err(failed)?;
        inputs.push((&self.io.inputs[self.io.x], tensor.into()));
        for ((spec, place), data) in self.spec.states.iter().zip(&self.io.states).zip(&stacked) {
            let shape = batch_shape(spec, n);
            let value: SessionInputValue = match data {
                TensorData::F32(all) => {
                    TensorRef::from_array_view((shape, all.as_slice())).map_err(failed)?.into()
                }
                TensorData::I64(all) => {
                    TensorRef::from_array_view((shape, all.as_slice())).map_err(failed)?.into()
                }
            };
            inputs.push((&self.io.inputs[place.0], value));
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(inputs).map_err(failed)?;
        let output = |index: usize| -> Result<&DynValue> {
            let name = &self.io.outputs[index];
            outputs
                .get(name)
                .ok_or_else(|| Error::new(Stage::Engine, format!("onnxruntime gave no `{name}`")))
        };
        for (i, (spec, place)) in self.spec.states.iter().zip(&self.io.states).enumerate() {
            let value = output(place.1)?;
            if self.io.is_i64[i] {
                split_i64(spec, i, value.try_extract_tensor::<i64>().map_err(failed)?.1, states)?;
            } else {
                split_f32(spec, i, value.try_extract_tensor::<f32>().map_err(failed)?.1, states)?;
            }
        }
        let all = output(self.io.log_probs)?.try_extract_tensor::<f32>().map_err(failed)?.1;
        split_outputs(&self.spec, all, log_probs)
    }
}

fn failed(error: ort::Error) -> Error {
    Error::new(Stage::Engine, one_line(&error.to_string())).at("engine ort")
}
