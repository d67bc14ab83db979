//! Parser of the multipart form of an upload: the recording, and the requested format of the response.

use std::sync::Arc;

use axum::extract::multipart::{Field, Multipart, MultipartError, MultipartRejection};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::output;

use super::api_error::ApiError;
use super::form_body::{MAX_OVERHEAD, Progress, observed};
use super::limits::Limits;
use super::protocol::word_list::{MAX_ENTRIES, keywords_of};

/// Maximum size of a text field, bytes.
const MAX_FIELD: usize = 4_096;
/// Bytes by which the buffer of a recording grows.
const MEMORY_STEP: usize = 1 << 20;
/// Maximum number of unknown fields that are named in an error.
const MAX_NAMES: usize = 5;

/// The format of the response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `{"text": …}`
    #[default]
    Json,
    /// Plain text.
    Text,
    /// JSON with segments, and words if they were requested.
    Verbose,
    /// Subtitles in this format.
    Captions(output::Format),
}

/// A complete form.
#[derive(Debug)]
pub struct Form {
    /// The file name that the client sent.
    pub name: String,
    /// The uploaded recording.
    pub recording: Recording,
    /// The requested format of the response.
    pub format: Format,
    /// Whether words with their times are requested.
    pub words: bool,
    /// Whether the response is to be streamed, utterance by utterance.
    pub stream: bool,
    /// Words and phrases to prefer: those of `prompt` and `keywords`, each once.
    pub hotwords: Vec<String>,
}

/// A recording in memory.
#[derive(Debug, Default)]
pub struct Recording {
    /// The content of the file.
    pub bytes: Vec<u8>,
    /// The share of the memory for recordings that `bytes` uses; `None` while it is empty.
    pub memory: Option<OwnedSemaphorePermit>,
}

/// Bytes for each permit of [`memory_for`].
const MEMORY_UNIT: usize = 1 << 10;

/// Creates the semaphore that limits the memory for the recordings of all clients together; a permit
/// stands for 1024 bytes.
pub fn memory_for(limits: &Limits) -> Arc<Semaphore> {
    let bytes = limits.uploads.max(1).saturating_mul(limits.upload_bytes.saturating_add(MEMORY_STEP));
    Arc::new(Semaphore::new((bytes / MEMORY_UNIT).min(Semaphore::MAX_PERMITS)))
}

impl Recording {
    /// Appends bytes to the recording.
    ///
    /// # Errors
    /// 503 when the memory for recordings is used up.
    fn extend(&mut self, bytes: &[u8], memory: &Arc<Semaphore>) -> Result<(), ApiError> {
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            let step = bytes.len().max(MEMORY_STEP);
            let units = u32::try_from(step / MEMORY_UNIT).unwrap_or(u32::MAX);
            let permit = Arc::clone(memory).try_acquire_many_owned(units).map_err(|_| busy())?;
            match &mut self.memory {
                Some(held) => held.merge(permit),
                None => self.memory = Some(permit),
            }
            self.bytes.reserve_exact(step);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// The error for an upload beyond the limits on recordings.
pub fn busy() -> ApiError {
    ApiError::busy("too many recordings at a time: try again later")
}

/// Reads a form to its end.
///
/// # Errors
/// 400 or 413 with the field that is wrong, 408 when the form is received too slowly, 503 when the memory
/// for recordings is used up.
pub async fn read_form(limits: &Limits, memory: &Arc<Semaphore>, request: Request) -> Result<Form, ApiError> {
    let (request, progress) = observed(request);
    let multipart = Multipart::from_request(request, &()).await.map_err(|e| not_a_form(&e))?;
    let mut reader = FormReader { limits, memory, progress: &progress, form: Unfinished::default() };
    tokio::select! {
        read = reader.read(multipart) => read?,
        received = progress.is_slow(limits.idle) => return Err(too_slow(limits, received)),
    }
    reader.form.finish()
}

struct FormReader<'a> {
    limits: &'a Limits,
    memory: &'a Arc<Semaphore>,
    progress: &'a Progress,
    form: Unfinished,
}

/// The fields of a form that were read so far.
#[derive(Default)]
struct Unfinished {
    file: Option<(String, Recording)>,
    format: Format,
    words: bool,
    stream: bool,
    hotwords: Vec<String>,
    /// Names of the first unknown fields.
    unknown: Vec<String>,
}

impl Unfinished {
    /// Sets a text field; an empty value counts as absent.
    fn set(&mut self, name: &str, value: &str) -> Result<(), ApiError> {
        match name {
            _ if value.is_empty() => {}
            "response_format" => self.format = response_format(value)?,
            "timestamp_granularities[]" | "timestamp_granularities" => self.words |= granularity(value)?,
            "stream" => self.stream = boolean("stream", value)?,
            "temperature" => check_temperature(value)?,
            "prompt" | "keywords" | "keywords[]" => {
                for hotword in keywords_of(value) {
                    if !self.hotwords.contains(&hotword) {
                        self.hotwords.push(hotword);
                    }
                }
                // Before there are so many that looking through them takes long.
                if self.hotwords.len() > MAX_ENTRIES {
                    let problem = format!("expected at most {MAX_ENTRIES} hotwords, found more");
                    return Err(ApiError::bad(problem).of("keywords"));
                }
            }
            // model, language: they have no effect, as there is one model.
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Form, ApiError> {
        if self.stream && !matches!(self.format, Format::Json | Format::Text) {
            let problem = "with `stream` the response_format can only be json or text";
            return Err(ApiError::bad(problem).of("response_format"));
        }
        let Some((name, recording)) = self.file.take() else {
            let expected = "expected a field `file` with the recording";
            let problem = match self.unknown.is_empty() {
                true => format!("{expected}, found none"),
                false => format!("{expected}, found `{}`", self.unknown.join("`, `")),
            };
            return Err(ApiError::bad(problem).of("file"));
        };
        let Self { format, words, stream, hotwords, .. } = self;
        Ok(Form { name, recording, format, words, stream, hotwords })
    }
}

impl FormReader<'_> {
    async fn read(&mut self, mut multipart: Multipart) -> Result<(), ApiError> {
        while let Some(field) = multipart.next_field().await.map_err(|e| self.malformed(&e))? {
            self.progress.advance();
            let name = field.name().unwrap_or_default().to_string();
            match name.as_str() {
                "file" if self.form.file.is_some() => {
                    let problem = "expected one field `file`, found two: send one request for each recording";
                    return Err(ApiError::bad(problem).of("file"));
                }
                "file" => self.read_file(field).await?,
                "model"
                | "language"
                | "prompt"
                | "keywords"
                | "keywords[]"
                | "response_format"
                | "stream"
                | "temperature"
                | "timestamp_granularities"
                | "timestamp_granularities[]" => {
                    let value = self.read_text(&name, field).await?;
                    self.form.set(&name, &value)?;
                }
                _ => {
                    self.read_content(field, |_| Ok(())).await?;
                    if self.form.unknown.len() < MAX_NAMES {
                        self.form.unknown.push(name.chars().take(60).collect());
                    }
                }
            }
        }
        Ok(())
    }

    async fn read_file(&mut self, field: Field<'_>) -> Result<(), ApiError> {
        let name: String = field.file_name().unwrap_or("the recording").chars().take(200).collect();
        let (limit, memory) = (self.limits.upload_bytes, self.memory);
        let mut recording = Recording::default();
        let too_long = || too_large("file", format!("{name} is larger than the limit of {limit} bytes"));
        let read = self.read_content(field, |bytes| {
            if recording.bytes.len() + bytes.len() > limit {
                return Err(too_long());
            }
            recording.extend(bytes, memory)
        });
        match read.await {
            // The limit on the whole form was reached while the recording was read.
            Err(error) if error.is_too_large() => return Err(too_long()),
            read => read?,
        }
        self.form.file = Some((name, recording));
        Ok(())
    }

    async fn read_text(&mut self, name: &str, field: Field<'_>) -> Result<String, ApiError> {
        let mut value = Vec::new();
        self.read_content(field, |bytes| {
            if value.len() + bytes.len() > MAX_FIELD {
                let problem = format!("the field `{name}` is longer than {MAX_FIELD} bytes");
                return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, problem));
            }
            value.extend_from_slice(bytes);
            Ok(())
        })
        .await?;
        Ok(String::from_utf8_lossy(&value).into_owned())
    }

    async fn read_content(
        &self,
        mut field: Field<'_>,
        mut take: impl FnMut(&[u8]) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        while let Some(chunk) = field.chunk().await.map_err(|e| self.malformed(&e))? {
            self.progress.advance();
            take(&chunk)?;
        }
        Ok(())
    }

    fn malformed(&self, error: &MultipartError) -> ApiError {
        if self.progress.is_overhead() {
            let problem = format!(
                "expected the form's boundary and then short headers of fields, found {MAX_OVERHEAD} bytes \
                 that are neither these nor the content of a field"
            );
            return ApiError::bad(problem);
        }
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let limit = self.limits.upload_bytes;
            return too_large("file", format!("the form is larger than the limit of {limit} bytes"));
        }
        // Also for a malformed HTTP body, which is the client's error, not the server's.
        ApiError::bad(format!("the form cannot be read: {}", error.body_text()))
    }
}

fn too_large(field: &'static str, problem: String) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, problem).of(field)
}

/// The error for a body that is not a multipart form.
fn not_a_form(rejection: &MultipartRejection) -> ApiError {
    let problem = format!(
        "expected a form (multipart/form-data) with the recording in the field `file`, as by `curl -F \
         file=@recording.wav`: {}",
        rejection.body_text()
    );
    ApiError::bad(problem)
}

/// The error for a form that is received too slowly.
fn too_slow(limits: &Limits, received: usize) -> ApiError {
    let seconds = limits.idle.as_secs_f64();
    let problem = format!("the form is incomplete, and only {received} bytes were received in {seconds} s");
    ApiError::new(StatusCode::REQUEST_TIMEOUT, problem)
}

fn response_format(value: &str) -> Result<Format, ApiError> {
    match value {
        "json" => Ok(Format::Json),
        "text" => Ok(Format::Text),
        "verbose_json" => Ok(Format::Verbose),
        "srt" => Ok(Format::Captions(output::Format::Srt)),
        "vtt" => Ok(Format::Captions(output::Format::Vtt)),
        _ => Err(unexpected("response_format", "json, text, verbose_json, srt or vtt", value)),
    }
}

/// Whether words are requested; segments are always included.
fn granularity(value: &str) -> Result<bool, ApiError> {
    match value {
        "word" => Ok(true),
        "segment" => Ok(false),
        _ => Err(unexpected("timestamp_granularities", "word or segment", value)),
    }
}

fn boolean(field: &'static str, value: &str) -> Result<bool, ApiError> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(unexpected(field, "true or false", value)),
    }
}

/// Checks that a temperature is a number; it has no effect.
fn check_temperature(value: &str) -> Result<(), ApiError> {
    match value.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(()),
        _ => Err(unexpected("temperature", "a number", value)),
    }
}

fn unexpected(field: &'static str, expected: &str, found: &str) -> ApiError {
    let found: String = found.chars().take(60).collect();
    ApiError::bad(format!("expected {expected} as {field}, found `{found}`")).of(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_values_name_their_field() {
        let message = |problem: ApiError| problem.json()["error"]["message"].to_string();
        assert!(message(response_format("xml").expect_err("no format")).contains("`xml`"));
        assert_eq!(granularity("segment").ok(), Some(false));
        assert!(message(granularity("letter").expect_err("none")).contains("timestamp_granularities"));
        for (value, good) in [("0", true), ("0.2", true), ("warm", false), ("NaN", false)] {
            assert_eq!(check_temperature(value).is_ok(), good, "{value}");
        }
        assert_eq!(boolean("stream", "True").ok(), Some(true));
        assert_eq!(boolean("stream", "maybe").expect_err("neither").json()["error"]["param"], "stream");
    }

    #[test]
    fn empty_fields_count_as_absent() {
        let mut form = Unfinished { file: Some(Default::default()), ..Default::default() };
        for name in ["response_format", "timestamp_granularities[]", "stream", "temperature", "prompt"] {
            assert!(form.set(name, "").is_ok(), "{name}");
        }
        let form = form.finish().expect("complete");
        assert_eq!((form.format, form.words, form.stream), (Format::Json, false, false));
        assert!(form.hotwords.is_empty());
    }

    #[test]
    fn prompt_and_keywords_are_hotwords() {
        let mut form = Unfinished { file: Some(Default::default()), ..Default::default() };
        for (name, value) in [("prompt", "Nuuk, one two."), ("keywords[]", "Anna"), ("keywords[]", "Nuuk")] {
            assert!(form.set(name, value).is_ok(), "{name}");
        }
        assert_eq!(form.finish().expect("complete").hotwords, ["Nuuk", "one two", "Anna"]);
    }

    #[test]
    fn the_error_for_a_missing_file_names_the_fields_that_were_found() {
        let form = Unfinished { unknown: vec!["audio".into()], ..Default::default() };
        let error = form.finish().expect_err("no file").json();
        let message = error["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("`file`") && message.contains("`audio`"), "{message}");
        assert_eq!(error["error"]["param"], "file");
    }
}
