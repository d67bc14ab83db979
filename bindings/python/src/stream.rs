//! Streams: samples in, events out.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hearken::audio::Resampler;
use hearken::decode::MAX_NBEST;
use hearken::error::Stage;
use hearken::{EndpointOptions, Error, Event, StreamOptions};
use pyo3::prelude::*;

use crate::errors::{raise, usage};
use crate::results;

/// Number of samples after which signals such as Ctrl-C are handled.
const PIECE: usize = 160_000;

/// Rules for the ends of utterances.
#[pyclass(frozen, get_all, module = "hearken")]
pub struct EndpointRules {
    rule1_min_trailing_silence: f64,
    rule2_min_trailing_silence: f64,
    rule3_min_utterance_length: f64,
    reset_state: Option<bool>,
}

#[pymethods]
impl EndpointRules {
    #[new]
    #[pyo3(signature = (*, rule1_min_trailing_silence = 2.4, rule2_min_trailing_silence = 1.2,
                        rule3_min_utterance_length = 20.0, reset_state = None))]
    fn new(
        rule1_min_trailing_silence: f64,
        rule2_min_trailing_silence: f64,
        rule3_min_utterance_length: f64,
        reset_state: Option<bool>,
    ) -> PyResult<Self> {
        let rules = Self {
            rule1_min_trailing_silence,
            rule2_min_trailing_silence,
            rule3_min_utterance_length,
            reset_state,
        };
        rules.options().validate().map_err(raise)?;
        Ok(rules)
    }

    fn __repr__(&self) -> String {
        format!(
            "EndpointRules(rule1_min_trailing_silence={}, rule2_min_trailing_silence={}, \
             rule3_min_utterance_length={})",
            self.rule1_min_trailing_silence, self.rule2_min_trailing_silence, self.rule3_min_utterance_length
        )
    }
}

impl EndpointRules {
    fn options(&self) -> EndpointOptions {
        EndpointOptions {
            rule1_min_trailing_silence: self.rule1_min_trailing_silence,
            rule2_min_trailing_silence: self.rule2_min_trailing_silence,
            rule3_min_utterance_length: self.rule3_min_utterance_length,
            reset_state: self.reset_state,
        }
    }
}

/// Whether and how utterances end.
#[derive(Clone, Copy)]
pub enum Endpoints {
    /// Not given.
    Default,
    Off,
    On(EndpointOptions),
}

impl Endpoints {
    /// `None`, a `bool` or `EndpointRules`.
    pub fn parse(value: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(value) = value else { return Ok(Self::Default) };
        if let Ok(on) = value.extract::<bool>() {
            return Ok(if on { Self::On(EndpointOptions::default()) } else { Self::Off });
        }
        match value.cast::<EndpointRules>() {
            Ok(rules) => Ok(Self::On(rules.get().options())),
            Err(_) => {
                let found = value.get_type();
                Err(usage(format!("endpoint: expected True, False or EndpointRules, found {found}")))
            }
        }
    }

    /// The rules; without a setting those of long recordings.
    pub fn rules(self, long: bool) -> Option<EndpointOptions> {
        match self {
            Self::On(rules) => Some(rules),
            Self::Default if long => Some(EndpointOptions::default()),
            Self::Default | Self::Off => None,
        }
    }
}

/// The options of streams.
#[derive(Clone, Copy)]
pub struct Options {
    pub endpoints: Endpoints,
    pub partials: bool,
    pub nbest: usize,
}

impl Options {
    /// Options by the arguments of a call; refuses numbers out of range.
    pub fn new(endpoint: Option<&Bound<'_, PyAny>>, partials: bool, nbest: usize) -> PyResult<Self> {
        if !(1..=MAX_NBEST).contains(&nbest) {
            return Err(usage(format!("nbest: expected 1 to {MAX_NBEST}, found {nbest}")));
        }
        Ok(Self { endpoints: Endpoints::parse(endpoint)?, partials, nbest })
    }

    /// The options of a stream; `long` is whether it is a long recording.
    pub fn stream(self, long: bool) -> StreamOptions {
        let Self { endpoints, partials, nbest } = self;
        StreamOptions { endpoint: endpoints.rules(long), partials, nbest, ..StreamOptions::default() }
    }
}

/// An audio stream.
#[pyclass(frozen, module = "hearken")]
pub struct Stream(Mutex<State>);

struct State {
    stream: hearken::Stream,
    /// Rate of the model, Hz.
    model_rate: u32,
    /// Rate of the audio so far, Hz.
    rate: Option<u32>,
    resampler: Option<Resampler>,
    resampled: Vec<f32>,
    /// Events of a call that failed.
    events: Vec<Event>,
}

impl State {
    fn set_rate(&mut self, rate: u32) -> Result<(), Error> {
        match self.rate {
            Some(before) if before != rate => {
                let problem = format!("the audio of the stream had {before} Hz so far, found {rate} Hz");
                return Err(Error::new(Stage::Usage, problem).hint("use a stream for each"));
            }
            Some(_) => {}
            None => {
                self.resampler =
                    (rate != self.model_rate).then(|| Resampler::new(rate, self.model_rate)).transpose()?;
                self.rate = Some(rate);
            }
        }
        Ok(())
    }

    fn push(&mut self, samples: &[f32]) -> Result<(), Error> {
        let samples = match &mut self.resampler {
            None => samples,
            Some(resampler) => {
                self.resampled.clear();
                resampler.push(samples, &mut self.resampled)?;
                &self.resampled
            }
        };
        self.events.extend(self.stream.accept_waveform(samples)?);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        if let Some(mut resampler) = self.resampler.take() {
            self.resampled.clear();
            resampler.finish(&mut self.resampled)?;
            self.events.extend(self.stream.accept_waveform(&self.resampled)?);
        }
        self.events.extend(self.stream.finish()?);
        Ok(())
    }
}

impl Stream {
    pub fn new(recognizer: &hearken::Recognizer, options: &StreamOptions) -> Result<Self, Error> {
        Ok(Self(Mutex::new(State {
            stream: recognizer.stream_with(options)?,
            model_rate: recognizer.sample_rate(),
            rate: None,
            resampler: None,
            resampled: Vec::new(),
            events: Vec::new(),
        })))
    }

    /// The state; waits for other threads, so not to be called while attached to the interpreter.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processes samples, without objects for the events.
    pub fn accept(&self, py: Python<'_>, samples: &[f32], sample_rate: Option<u32>) -> PyResult<()> {
        py.detach(|| {
            let mut state = self.lock();
            let rate = sample_rate.or(state.rate).unwrap_or(state.model_rate);
            state.set_rate(rate)
        })
        .map_err(raise)?;
        for piece in samples.chunks(PIECE) {
            py.detach(|| self.lock().push(piece)).map_err(raise)?;
            py.check_signals()?;
        }
        Ok(())
    }

    /// Ends the input, without objects for the events.
    pub fn end(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.lock().finish()).map_err(raise)
    }

    pub fn take(&self, py: Python<'_>) -> Vec<Event> {
        py.detach(|| std::mem::take(&mut self.lock().events))
    }
}

#[pymethods]
impl Stream {
    #[pyo3(signature = (samples, sample_rate = None))]
    fn accept_waveform(
        &self,
        py: Python<'_>,
        samples: &Bound<'_, PyAny>,
        sample_rate: Option<u32>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        self.accept(py, &crate::samples::samples(samples)?, sample_rate)?;
        results::events(py, self.take(py))
    }

    fn finish(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        self.end(py)?;
        results::events(py, self.take(py))
    }

    fn end_segment(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        py.detach(|| {
            let mut state = self.lock();
            state.stream.end_segment();
            let events = state.stream.take_events();
            state.events.extend(events);
        });
        results::events(py, self.take(py))
    }

    fn reset(&self, py: Python<'_>) {
        py.detach(|| {
            let mut state = self.lock();
            state.stream.reset();
            (state.rate, state.resampler) = (None, None);
            state.events.clear();
        });
    }

    #[getter]
    fn seconds(&self, py: Python<'_>) -> f64 {
        py.detach(|| self.lock().stream.seconds())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("Stream(seconds={:.3})", self.seconds(py))
    }
}
