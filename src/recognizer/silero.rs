//! Silero's voice activity detectors (the graphs of the Python package `silero-vad`, versions 4 to 6). Inputs are
//! 32 ms of samples, from version 5 on with the 4 ms before them, and the state; the output is a probability.

use std::path::Path;
use std::sync::Arc;

use crate::engine::{EngineKind, EngineOptions, Graph, StateTensor, TensorData, graph};
use crate::error::{Error, Result, Stage};
use crate::onnx::interface::Interface;
use crate::onnx::{OnnxFile, StatePort};

use super::detector::{DetectorFactory, SpeechDetector};

/// Number of samples per window at 16 kHz.
pub const WINDOW: usize = 512;
/// Number of samples before the window that newer versions take as context.
const CONTEXT: usize = 64;
/// The sample rate, Hz; the graphs' 8 kHz mode is not used.
const RATE: i64 = 16_000;

/// The graph, shared by all streams.
struct Model {
    graph: Box<dyn Graph>,
    /// Name of the input of samples.
    x: String,
    /// Name and number of axes of the input for the sample rate, if there is one.
    rate: Option<(String, usize)>,
    /// The states, with the index of each one's output.
    states: Vec<(StatePort, usize)>,
    /// Index of the output of the probability.
    probability: usize,
    /// Number of samples before the window that are passed as context.
    context: usize,
}

/// Whether a file is one of Silero's detectors, by its input of samples and states of width 64 or 128.
pub fn is_silero(file: &OnnxFile, interface: &Interface) -> bool {
    let x = interface.inputs.first();
    let samples = x.is_some_and(|x| x.r#type == "float32" && x.shape.len() == 2 && x.name == "input");
    let states = &interface.states;
    let widths = states.iter().all(|s| matches!(s.shape[..], [1 | 2, 1, 64 | 128]));
    samples && !states.is_empty() && widths && file.value("subsampling").is_none()
}

/// Opens a file of Silero's as a factory of detectors.
///
/// # Errors
/// When the file cannot be read or is not one of Silero's, or the engine is not available.
pub fn open(path: &Path, kind: EngineKind, options: &EngineOptions) -> Result<DetectorFactory> {
    let model =
        OnnxFile::read(path).and_then(|file| load(&file, kind, options)).map_err(|e| match e.stage() {
            Stage::Usage => e,
            _ => e.in_file(path),
        })?;
    let model = Arc::new(model);
    Ok(DetectorFactory::new(move || Ok(Box::new(Silero::new(Arc::clone(&model))))).at_rate(RATE as u32))
}

/// Creates one detector from a file of Silero's.
///
/// # Errors
/// As [`open`].
pub fn detector(
    file: &OnnxFile,
    kind: EngineKind,
    options: &EngineOptions,
) -> Result<Box<dyn SpeechDetector>> {
    Ok(Box::new(Silero::new(Arc::new(load(file, kind, options)?))))
}

fn load(file: &OnnxFile, kind: EngineKind, options: &EngineOptions) -> Result<Model> {
    let interface = file.interface(&options.states)?;
    if !is_silero(file, &interface) {
        let problem = "expected a voice activity detector of Silero, found another graph";
        return Err(Error::new(Stage::Model, problem)
            .hint("Silero's are in the Python package silero-vad; to see what the file is")
            .remedy("inspect"));
    }
    let place = |name: &String| interface.outputs.iter().position(|o| o.name == *name);
    let mut states = Vec::new();
    for state in &interface.states {
        let Some(place) = place(&state.output) else { continue };
        states.push((state.clone(), place));
    }
    let is_state = |name: &String| interface.states.iter().any(|s| s.input == *name || s.output == *name);
    let probability = interface.outputs.iter().position(|o| !is_state(&o.name));
    let rate = interface.inputs.iter().find(|i| i.name == "sr").map(|i| (i.name.clone(), i.shape.len()));
    let x = &interface.inputs[0];
    // Versions up to 4 have states h and c of width 64 and take no context.
    let context = if interface.states.iter().any(|s| s.shape.ends_with(&[64])) { 0 } else { CONTEXT };
    Ok(Model {
        graph: graph::open(kind, file, options)?,
        x: x.name.clone(),
        rate,
        states,
        probability: probability
            .ok_or_else(|| Error::new(Stage::Model, "expected an output of a probability, found none"))?,
        context,
    })
}

/// The detector of one stream.
struct Silero {
    model: Arc<Model>,
    states: Vec<StateTensor>,
    /// The context, then the window.
    samples: Vec<f32>,
}

impl Silero {
    fn new(model: Arc<Model>) -> Self {
        let mut silero = Self { model, states: Vec::new(), samples: Vec::new() };
        silero.reset();
        silero
    }
}

impl SpeechDetector for Silero {
    fn window_samples(&self) -> usize {
        WINDOW
    }

    fn speech(&mut self, window: &[f32]) -> Result<f32> {
        let model = &self.model;
        let length = self.samples.len();
        self.samples.drain(..length - model.context);
        self.samples.extend_from_slice(window);
        let data = TensorData::F32(self.samples.clone());
        let x = StateTensor { shape: vec![1, self.samples.len()], data };
        let mut inputs: Vec<(&str, &StateTensor)> = vec![(&model.x, &x)];
        inputs.extend(model.states.iter().map(|s| s.0.input.as_str()).zip(&self.states));
        let axes = model.rate.as_ref().map_or(0, |r| r.1);
        let rate = StateTensor { shape: vec![1; axes], data: TensorData::I64(vec![RATE]) };
        inputs.extend(model.rate.as_ref().map(|r| (r.0.as_str(), &rate)));
        let outputs = model.graph.run(&inputs)?;
        for (state, (port, place)) in self.states.iter_mut().zip(&model.states) {
            match outputs.get(*place) {
                Some(next) if next.shape == port.shape => *state = next.clone(),
                _ => {
                    return Err(
                        Error::new(Stage::Engine, "the shape of the state changed").at(port.input.clone())
                    );
                }
            }
        }
        match outputs.get(model.probability).map(|t| &t.data) {
            Some(TensorData::F32(values)) if values.len() == 1 => Ok(values[0]),
            _ => Err(Error::new(Stage::Engine, "expected one float32 value, the probability of the window")),
        }
    }

    fn reset(&mut self) {
        let zeros = |shape: &Vec<usize>| {
            let data = TensorData::F32(vec![0.0; shape.iter().product()]);
            StateTensor { shape: shape.clone(), data }
        };
        self.states = self.model.states.iter().map(|s| zeros(&s.0.shape)).collect();
        self.samples = vec![0.0; self.model.context];
    }
}
