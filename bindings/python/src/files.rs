//! Recognition of files: events of one, transcripts of many.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use hearken::audio;
use hearken::error::Stage;
use hearken::output;
use hearken::recognizer::pipeline::DEFAULT_CHUNK_MS;
use hearken::{Error, Event, Pipeline};
use pyo3::prelude::*;

use crate::errors::{in_recording, raise, usage};
use crate::results::{self, Transcript};
use crate::stream::{Options, Stream};

/// A longer recording is divided into utterances, seconds; as in the program.
const LONG_SECONDS: f64 = 60.0;
/// Transcripts that may be ready before they are taken.
const WINDOW: usize = 64;
/// Interval at which signals such as Ctrl-C are handled.
const INTERVAL: Duration = Duration::from_millis(100);

/// How recordings are read.
#[derive(Clone, Copy)]
pub struct Reading {
    pub options: Options,
    /// The rest of a longer recording is not read, seconds.
    max_seconds: f64,
}

impl Reading {
    /// Refuses numbers out of range; 0 is no limit.
    pub fn new(options: Options, max_seconds: f64) -> PyResult<Self> {
        if !(0.0..=1e9).contains(&max_seconds) {
            return Err(usage(format!("max_seconds: expected 0 or more, found {max_seconds}")));
        }
        Ok(Self { options, max_seconds: if max_seconds > 0.0 { max_seconds } else { f64::INFINITY } })
    }
}

/// Starts the recognition of a file.
fn start(recognizer: &hearken::Recognizer, path: &Path, reading: Reading) -> Result<Pipeline, Error> {
    let rate = recognizer.sample_rate();
    let source = audio::limited(audio::open(path, rate)?, reading.max_seconds);
    let (source, long) = audio::read_ahead(source, LONG_SECONDS);
    let chunk = hearken::units::ms_to_samples(DEFAULT_CHUNK_MS, rate).max(1);
    Pipeline::start_with(recognizer, source, chunk, &reading.options.stream(long))
}

/// The events of a file.
#[pyclass(frozen, module = "hearken")]
pub struct Events {
    path: PathBuf,
    pipeline: Mutex<Option<Pipeline>>,
}

#[pymethods]
impl Events {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        py.check_signals()?;
        let next = py.detach(|| {
            let mut pipeline = self.pipeline.lock().unwrap_or_else(PoisonError::into_inner);
            match pipeline.as_mut()?.next() {
                Some(event) => Some(event.map(Some)),
                None => {
                    let problems = pipeline.take()?.join();
                    // As an error, so that damage is not overlooked.
                    (!problems.is_empty())
                        .then(|| Err(Error::new(Stage::Audio, problems.messages().join("; "))))
                }
            }
        });
        match next {
            Some(Ok(Some(event))) => results::event(py, event).map(Some),
            Some(Err(error)) => Err(raise(in_recording(error, &self.path))),
            Some(Ok(None)) | None => Ok(None),
        }
    }
}

/// What the threads of a run share.
struct Job {
    recognizer: hearken::Recognizer,
    reading: Reading,
    paths: Vec<PathBuf>,
    /// Index of the next recording.
    next: Mutex<usize>,
    stop: AtomicBool,
}

type Outcome = Result<output::Transcript, Error>;

impl Job {
    /// Transcribes recordings until none is left or nobody takes the transcripts.
    fn work(&self, channels: &Sender<Receiver<Outcome>>) {
        loop {
            let (path, out) = {
                let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(path) = self.paths.get(*next) else { return };
                *next += 1;
                let (out, transcript) = bounded(1);
                // Under the lock, so that the transcripts come in the order of the recordings.
                if channels.send(transcript).is_err() {
                    return;
                }
                (path, out)
            };
            let outcome = self.transcribe(path).map_err(|error| in_recording(error, path));
            if self.stop.load(Ordering::Relaxed) || out.send(outcome).is_err() {
                return;
            }
        }
    }

    fn transcribe(&self, path: &Path) -> Outcome {
        let mut pipeline = start(&self.recognizer, path, self.reading)?;
        let mut segments = Vec::new();
        for event in &mut pipeline {
            if let Event::Final(segment) = event? {
                segments.push(segment);
            }
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
        }
        let warnings = pipeline.join().messages();
        Ok(output::Transcript { path: path.to_string_lossy().into_owned(), segments, warnings })
    }
}

/// The transcripts of files, in their order.
#[pyclass(frozen, module = "hearken")]
pub struct Transcripts {
    job: Arc<Job>,
    raises: bool,
    state: Mutex<Waiting>,
}

struct Waiting {
    channels: Receiver<Receiver<Outcome>>,
    /// The channel of the next transcript, if its turn was interrupted.
    current: Option<Receiver<Outcome>>,
    taken: usize,
}

impl Waiting {
    /// The next transcript if it is ready within [`INTERVAL`]; `None` in the result after the last one.
    fn poll(&mut self) -> Result<Option<Outcome>, RecvTimeoutError> {
        let current = match self.current.take() {
            Some(current) => current,
            None => match self.channels.recv_timeout(INTERVAL) {
                Ok(current) => current,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(timeout) => return Err(timeout),
            },
        };
        match current.recv_timeout(INTERVAL) {
            Ok(outcome) => Ok(Some(outcome)),
            Err(RecvTimeoutError::Timeout) => {
                self.current = Some(current);
                Err(RecvTimeoutError::Timeout)
            }
            Err(RecvTimeoutError::Disconnected) => {
                let lost = Error::new(Stage::Engine, "a thread of the recognizer stopped unexpectedly");
                Ok(Some(Err(lost)))
            }
        }
    }
}

#[pymethods]
impl Transcripts {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Transcript>> {
        loop {
            let polled = py.detach(|| {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let outcome = state.poll()?;
                state.taken += usize::from(outcome.is_some());
                Ok::<_, RecvTimeoutError>(outcome.map(|outcome| (state.taken - 1, outcome)))
            });
            match polled {
                Ok(Some((_, Err(error)))) if self.raises => return Err(raise(error)),
                Ok(Some((index, outcome))) => {
                    let path = self.job.paths[index].to_string_lossy().into_owned();
                    return Ok(Some(Transcript::new(path, outcome)));
                }
                Ok(None) => return Ok(None),
                Err(_) => py.check_signals()?,
            }
        }
    }

    fn __len__(&self) -> usize {
        self.job.paths.len()
    }
}

impl Drop for Transcripts {
    fn drop(&mut self) {
        self.job.stop.store(true, Ordering::Relaxed);
    }
}

/// A path or several.
#[derive(FromPyObject)]
enum Paths {
    One(PathBuf),
    Several(Vec<PathBuf>),
}

/// The paths of one path, a sequence of them, or anything else that yields them, such as `Path.glob`.
fn paths(value: &Bound<'_, PyAny>) -> PyResult<Vec<PathBuf>> {
    match value.extract::<Paths>() {
        Ok(Paths::One(path)) => Ok(vec![path]),
        Ok(Paths::Several(paths)) => Ok(paths),
        Err(_) => value.try_iter()?.map(|path| path?.extract()).collect(),
    }
}

/// The events of a file.
pub fn events(
    recognizer: &hearken::Recognizer,
    py: Python<'_>,
    path: PathBuf,
    reading: Reading,
) -> PyResult<Events> {
    let pipeline = py.detach(|| start(recognizer, &path, reading));
    let pipeline = pipeline.map_err(|error| raise(in_recording(error, &path)))?;
    Ok(Events { path, pipeline: Mutex::new(Some(pipeline)) })
}

/// The transcripts of files, several at a time.
pub fn transcribe(
    recognizer: &hearken::Recognizer,
    files: &Bound<'_, PyAny>,
    threads: Option<usize>,
    reading: Reading,
    errors: &str,
) -> PyResult<Transcripts> {
    let raises = match errors {
        "raise" => true,
        "return" => false,
        other => return Err(usage(format!("errors: expected `raise` or `return`, found `{other}`"))),
    };
    if threads.is_some_and(|threads| !(1..=1024).contains(&threads)) {
        return Err(usage("threads: expected 1 to 1024"));
    }
    let paths = paths(files)?;
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.unwrap_or_else(cores).min(paths.len());
    let (recognizer, next, stop) = (recognizer.clone(), Mutex::new(0), AtomicBool::new(false));
    let job = Arc::new(Job { recognizer, reading, paths, next, stop });
    let (channels_out, channels) = bounded(WINDOW);
    for _ in 0..threads {
        let (job, channels_out) = (Arc::clone(&job), channels_out.clone());
        let worker = thread::Builder::new().name("hearken-transcribe".into());
        worker.spawn(move || job.work(&channels_out)).map_err(|error| {
            raise(Error::new(Stage::Engine, format!("cannot start a thread: {error}")).caused_by(error))
        })?;
    }
    Ok(Transcripts { job, raises, state: Mutex::new(Waiting { channels, current: None, taken: 0 }) })
}

/// The transcript of samples in memory.
pub fn transcribe_samples(
    recognizer: &hearken::Recognizer,
    samples: &Bound<'_, PyAny>,
    sample_rate: Option<u32>,
    options: Options,
) -> PyResult<Transcript> {
    let py = samples.py();
    let samples = crate::samples::samples(samples)?;
    let rate = sample_rate.unwrap_or(recognizer.sample_rate());
    let long = samples.len() as f64 > LONG_SECONDS * f64::from(rate);
    let stream = Stream::new(recognizer, &options.stream(long)).map_err(raise)?;
    stream.accept(py, &samples, Some(rate))?;
    stream.end(py)?;
    let finals = stream.take(py).into_iter().filter_map(|event| match event {
        Event::Final(segment) => Some(segment),
        Event::Partial(_) => None,
    });
    let segments = finals.collect();
    let transcript = output::Transcript { segments, ..output::Transcript::default() };
    Ok(Transcript::new(String::new(), Ok(transcript)))
}
