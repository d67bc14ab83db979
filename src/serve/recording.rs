//! Transcribes an uploaded recording: it is decoded on tokio's threads for blocking work, one chunk for
//! each task, and recognized like any other stream. No recording occupies a thread for longer than a chunk.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use crate::audio::{self, Source};
use crate::error::{Error, Result, Stage};
use crate::recognizer::{Event, Segment};

use super::api_error::{ApiError, for_client};
use super::form::Form;
use super::limits::Limits;
use super::protocol::word_list::{Refused, WordList};
use super::protocol::{NO_HOTWORDS, RecognizerOutput};
use super::shared::{OpenStream, Shared};
use super::stream_queue::{Item, StreamSettings};
use super::words::Words;

/// Samples decoded at a time.
const CHUNK: usize = 8_000;

/// A result of a transcription, in the order of the recording.
pub enum Step {
    /// An utterance.
    Segment(Segment),
    /// The end of the recording.
    End(Ending),
}

/// The end of a transcription.
pub struct Ending {
    /// Length of the audio, seconds.
    pub seconds: f64,
    /// Hotwords without effect, and descriptions of the parts that could not be decoded.
    pub warnings: Vec<String>,
}

/// The words of a form's hotwords, and warnings about those without effect.
async fn hotwords(
    shared: &Shared,
    hotwords: Vec<String>,
) -> std::result::Result<(Option<Words>, Vec<String>), ApiError> {
    if hotwords.is_empty() {
        return Ok((None, Vec::new()));
    }
    if !shared.model.hotwords {
        return Ok((None, vec![NO_HOTWORDS.into()]));
    }
    match shared.word_lists.get(&WordList::Keywords(hotwords)).await {
        Ok(words) => {
            let warnings = words.warnings.to_vec();
            Ok((Some(words), warnings))
        }
        Err(refused @ Refused::Busy) => {
            shared.metrics.refuse("word_lists");
            Err(ApiError::busy(refused.message()))
        }
        Err(refused) => Err(ApiError::bad(refused.message()).of("keywords")),
    }
}

/// A recording that is being transcribed.
pub struct Transcription {
    name: String,
    stream: OpenStream,
    /// Warnings about hotwords.
    warnings: Vec<String>,
    decoder: Decoder,
    outputs: VecDeque<RecognizerOutput>,
    limits: Limits,
    /// Number of samples decoded so far.
    samples: u64,
    max_samples: u64,
    /// When the time for the whole recording ends.
    end: Instant,
    /// Held while the recording is in memory.
    _memory: Option<OwnedSemaphorePermit>,
}

impl Transcription {
    /// Opens a stream for the recording of a form, with its hotwords.
    ///
    /// # Errors
    /// 400 when the hotwords exceed a limit, 503 when all streams, or all lists of words, are in use.
    pub async fn begin(shared: &Arc<Shared>, form: Form) -> std::result::Result<Self, ApiError> {
        let (words, warnings) = hotwords(shared, form.hotwords).await?;
        let busy = || ApiError::busy("all streams are in use: try again later");
        let settings = StreamSettings { nbest: Some(1), words, ..StreamSettings::default() };
        let stream = shared.open_stream("http", settings).ok_or_else(busy)?;
        let rate = shared.model.sample_rate;
        let limits = shared.limits.clone();
        Ok(Self {
            decoder: Decoder::open(form.recording.bytes, form.name.clone(), rate),
            name: form.name,
            stream,
            warnings,
            outputs: VecDeque::new(),
            samples: 0,
            max_samples: (limits.upload_seconds * f64::from(rate)) as u64,
            end: Instant::now() + limits.total,
            limits,
            _memory: form.recording.memory,
        })
    }

    /// Transcribes the whole recording.
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

    /// Waits for the next utterance, or the end.
    ///
    /// # Errors
    /// 400 when the recording cannot be decoded, 413 when its audio is longer than the limit, 408 when the
    /// transcription takes longer than the limit, 500 when the recognizer fails.
    pub async fn next(&mut self) -> std::result::Result<Step, ApiError> {
        let end = self.end;
        let step = timeout_at(end, self.step()).await;
        step.unwrap_or_else(|_| {
            let seconds = self.limits.total.as_secs_f64();
            let problem = format!("{} was not transcribed within the limit of {seconds} s", self.name);
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
                        let mut warnings = std::mem::take(&mut self.warnings);
                        warnings.append(&mut self.decoder.warnings);
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
                chunk = async { handle.wait_for_capacity().await; self.decoder.next().await },
                    if !self.decoder.has_ended() =>
                {
                    match chunk.map_err(|error| ApiError::bad(for_client(error)).of("file"))? {
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
        let problem = format!("{} has more audio than the limit of {limit} s", self.name);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, problem).of("file")
    }
}

/// Decodes a recording; each chunk is a separate task on the threads for blocking work, which all
/// recordings share.
struct Decoder {
    /// The task that decodes the next chunk; `None` at the end.
    task: Option<JoinHandle<Result<Chunk>>>,
    /// Descriptions of the parts that could not be decoded; known at the end.
    warnings: Vec<String>,
}

/// A chunk of samples, and the source of the next one.
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

    /// Returns the next samples, or `None` at the end. Cancel safe.
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
