//! A recording on its way: decoded a chunk at a time on threads for blocking work, recognized as any
//! stream is. Recordings take turns chunk by chunk, so that a long one does not hold a thread.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use crate::audio::{self, Source};
use crate::error::{Error, Result, Stage};
use crate::recognizer::{Event, Segment};

use super::api_error::ApiError;
use super::form::Form;
use super::limits::Limits;
use super::protocol::RecognizerOutput;
use super::shared::{OpenStream, Shared};
use super::stream_queue::Item;

/// Samples decoded at a time.
const CHUNK: usize = 8_000;

/// What comes of a recording, in order.
pub enum Step {
    Segment(Segment),
    /// The recording has ended.
    End(Ending),
}

/// The end of a recording.
pub struct Ending {
    /// Length of the audio, seconds.
    pub seconds: f64,
    /// What of it could not be decoded.
    pub warnings: Vec<String>,
}

/// A recording that is being transcribed.
pub struct Transcription {
    name: String,
    stream: OpenStream,
    decoder: Decoder,
    outputs: VecDeque<RecognizerOutput>,
    limits: Limits,
    /// Samples decoded, and the most that are accepted.
    samples: u64,
    max_samples: u64,
    end: Instant,
    /// Held as long as the recording is in memory.
    _memory: Option<OwnedSemaphorePermit>,
}

impl Transcription {
    /// Begins to transcribe the recording of a form.
    ///
    /// # Errors
    /// When all streams are taken.
    pub fn begin(shared: &Arc<Shared>, form: Form) -> std::result::Result<Self, ApiError> {
        let busy = || ApiError::busy("all streams are taken: try again later");
        let stream = shared.open_stream("http", false, None).ok_or_else(busy)?;
        let rate = shared.model.sample_rate;
        let limits = shared.limits.clone();
        Ok(Self {
            decoder: Decoder::open(form.recording.bytes, form.name.clone(), rate),
            name: form.name,
            stream,
            outputs: VecDeque::new(),
            samples: 0,
            max_samples: (limits.upload_seconds * f64::from(rate)) as u64,
            end: Instant::now() + limits.total,
            limits,
            _memory: form.recording.memory,
        })
    }

    /// All of it.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub async fn all(&mut self) -> std::result::Result<(Vec<Segment>, Ending), ApiError> {
        let mut segments = Vec::new();
        loop {
            match self.next().await? {
                Step::Segment(segment) => segments.push(segment),
                Step::End(ending) => return Ok((segments, ending)),
            }
        }
    }

    /// What comes next.
    ///
    /// # Errors
    /// When the recording cannot be decoded, is longer than the limit, or takes longer than the limit.
    pub async fn next(&mut self) -> std::result::Result<Step, ApiError> {
        let end = self.end;
        let step = timeout_at(end, self.step()).await;
        step.unwrap_or_else(|_| {
            let seconds = self.limits.total.as_secs_f64();
            let problem = format!("{} was not transcribed within {seconds} s, the limit here", self.name);
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, problem))
        })
    }

    async fn step(&mut self) -> std::result::Result<Step, ApiError> {
        let failed = |problem: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, problem);
        loop {
            while let Some(output) = self.outputs.pop_front() {
                match output {
                    RecognizerOutput::Event(Event::Final(segment)) => return Ok(Step::Segment(segment)),
                    RecognizerOutput::Finished { seconds } => {
                        let warnings = std::mem::take(&mut self.decoder.warnings);
                        return Ok(Step::End(Ending { seconds, warnings }));
                    }
                    RecognizerOutput::Failed(problem) => return Err(failed(problem)),
                    _ => {}
                }
            }
            let OpenStream { handle, outputs, .. } = &mut self.stream;
            tokio::select! {
                outputs = outputs.recv() => {
                    handle.taken();
                    self.outputs.extend(outputs.ok_or_else(|| failed("the recognizer stopped".into()))?);
                }
                chunk = async { handle.room().await; self.decoder.next().await },
                    if !self.decoder.has_ended() =>
                {
                    match chunk.map_err(|error| ApiError::bad(error.to_string()).of("file"))? {
                        Some(samples) => {
                            self.samples += samples.len() as u64;
                            if self.samples > self.max_samples {
                                return Err(self.too_long());
                            }
                            handle.put(Item::Audio(samples));
                        }
                        None => handle.put(Item::Finish),
                    }
                }
            }
        }
    }

    fn too_long(&self) -> ApiError {
        let limit = self.limits.upload_seconds;
        let problem = format!("{} has more than {limit} s of audio, the limit here", self.name);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, problem).of("file")
    }
}

/// Decodes a recording; each chunk is a task of its own on the threads for blocking work, which all
/// recordings share.
struct Decoder {
    /// The task that decodes the next chunk; `None` at the end.
    task: Option<JoinHandle<Result<Chunk>>>,
    /// What could not be decoded; known at the end.
    warnings: Vec<String>,
}

/// A chunk of samples, and the source of the next.
struct Chunk {
    source: Box<dyn Source>,
    samples: Vec<f32>,
}

impl Decoder {
    fn open(bytes: Vec<u8>, name: String, rate: u32) -> Self {
        let task = spawn_blocking(move || read_chunk(audio::open_bytes(bytes, &name, rate)?));
        Self { task: Some(task), warnings: Vec::new() }
    }

    fn has_ended(&self) -> bool {
        self.task.is_none()
    }

    /// The next samples, or `None` at the end; may be dropped while it waits.
    async fn next(&mut self) -> Result<Option<Vec<f32>>> {
        let Some(task) = &mut self.task else { return Ok(None) };
        let chunk = task.await;
        self.task = None;
        let stopped = |_| Error::new(Stage::Audio, "the decoder stopped");
        let Chunk { source, samples } = chunk.map_err(stopped)??;
        if samples.is_empty() {
            self.warnings = source.problems().messages();
            return Ok(None);
        }
        self.task = Some(spawn_blocking(move || read_chunk(source)));
        Ok(Some(samples))
    }
}

fn read_chunk(mut source: Box<dyn Source>) -> Result<Chunk> {
    let mut samples = Vec::with_capacity(CHUNK);
    source.read(&mut samples, CHUNK)?;
    Ok(Chunk { source, samples })
}
