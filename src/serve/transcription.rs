//! `POST /v1/audio/transcriptions`: a whole recording, in the form that clients of OpenAI's
//! interface send. It goes through the recogniser's threads as any stream does.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::audio;
use crate::recognizer::{Event, Segment, Word};

use super::batcher::Item;
use super::machine::{Heard, thousandths};
use super::session::Shared;

/// Samples read of a recording at a time.
const PIECE: usize = 8_000;
/// The longest text field.
const LONGEST_FIELD: usize = 4_096;

/// What is wrong with a request.
pub struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    /// An answer of this status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = if self.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let error = json!({"message": self.message, "type": kind, "param": null, "code": null});
        json_response(self.status, &json!({ "error": error }))
    }
}

impl From<MultipartError> for Problem {
    fn from(error: MultipartError) -> Self {
        Self::new(error.status(), error.body_text())
    }
}

/// A JSON answer.
pub fn json_response(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

#[derive(Default)]
struct Form {
    name: String,
    file: Option<Bytes>,
    format: String,
    words: bool,
}

/// Answers a request.
///
/// # Errors
/// What is wrong with it, or that all streams are taken.
pub async fn transcribe(shared: Arc<Shared>, multipart: Multipart) -> Result<Response, Problem> {
    let Ok(_permit) = Arc::clone(&shared.uploads).try_acquire_owned() else {
        shared.metrics.refuse("uploads");
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many uploads at a time: try again later",
        ));
    };
    let form = read_form(&shared, multipart).await?;
    if !["", "json", "text", "verbose_json"].contains(&form.format.as_str()) {
        let problem = format!("expected response_format json, text or verbose_json, found {}", form.format);
        return Err(Problem::bad(problem));
    }
    let bytes = form.file.ok_or_else(|| Problem::bad("expected a field `file` with the recording"))?;
    let work = hear(&shared, bytes, form.name);
    let late = || Problem::new(StatusCode::REQUEST_TIMEOUT, "the recording took too long");
    let (segments, seconds) = timeout(shared.limits.total, work).await.map_err(|_| late())??;
    shared.metrics.transcriptions_total.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let texts: Vec<&str> = segments.iter().map(|s| s.text.as_str()).filter(|t| !t.is_empty()).collect();
    let text = texts.join(" ");
    Ok(match form.format.as_str() {
        "text" => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
        }
        "verbose_json" => json_response(StatusCode::OK, &verbose(&text, &segments, seconds, form.words)),
        _ => json_response(StatusCode::OK, &json!({ "text": text })),
    })
}

async fn read_form(shared: &Shared, mut multipart: Multipart) -> Result<Form, Problem> {
    let mut form = Form::default();
    let idle = shared.limits.idle;
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "nothing came for too long");
    while let Some(field) = timeout(idle, multipart.next_field()).await.map_err(late)?? {
        let name = field.name().unwrap_or_default().to_string();
        if name == "file" {
            form.name = field.file_name().unwrap_or("the recording").chars().take(200).collect();
            form.file = Some(read_field(shared, field, shared.limits.upload_bytes).await?);
            continue;
        }
        let value = read_field(shared, field, LONGEST_FIELD).await?;
        let value = String::from_utf8_lossy(&value);
        match name.as_str() {
            "response_format" => form.format = value.into(),
            "timestamp_granularities[]" | "timestamp_granularities" => form.words |= value == "word",
            // model, language, prompt, temperature: there is one model here, and it has no use
            // for the others.
            _ => {}
        }
    }
    Ok(form)
}

async fn read_field(shared: &Shared, mut field: Field<'_>, most: usize) -> Result<Bytes, Problem> {
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "nothing came for too long");
    let mut bytes = Vec::new();
    while let Some(chunk) = timeout(shared.limits.idle, field.chunk()).await.map_err(late)?? {
        if bytes.len() + chunk.len() > most {
            let problem = format!("the field is longer than {most} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, problem));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// Decodes on a thread for blocking work, hears on the recogniser's.
async fn hear(shared: &Arc<Shared>, bytes: Bytes, name: String) -> Result<(Vec<Segment>, f64), Problem> {
    let busy = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "all streams are taken: try again later");
    let mut listening = shared.listen("http", false).ok_or_else(busy)?;
    let (pieces_out, mut pieces) = mpsc::channel::<crate::Result<Vec<f32>>>(4);
    let rate = shared.model.sample_rate;
    tokio::task::spawn_blocking(move || decode(bytes.into(), &name, rate, &pieces_out));
    let mut ended = false;
    let mut segments = Vec::new();
    let lost = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the recogniser stopped");
    loop {
        tokio::select! {
            heard = listening.outputs.recv() => {
                listening.feed.taken();
                for heard in heard.ok_or_else(lost)? {
                    match heard {
                        Heard::Event(Event::Final(segment)) => segments.push(segment),
                        Heard::Finished { seconds } => return Ok((segments, seconds)),
                        Heard::Failed(problem) => {
                            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, problem));
                        }
                        _ => {}
                    }
                }
            }
            piece = async { listening.feed.room().await; pieces.recv().await }, if !ended => match piece {
                Some(Ok(samples)) => listening.feed.put(Item::Audio(samples)),
                Some(Err(error)) => return Err(Problem::bad(error.to_string())),
                None => {
                    ended = true;
                    listening.feed.put(Item::Finish);
                }
            }
        }
    }
}

/// Sends the recording's samples in pieces, until its end or until nobody wants more.
fn decode(bytes: Vec<u8>, name: &str, rate: u32, out: &mpsc::Sender<crate::Result<Vec<f32>>>) {
    let mut source = match audio::open_bytes(bytes, name, rate) {
        Ok(source) => source,
        Err(error) => return drop(out.blocking_send(Err(error))),
    };
    loop {
        let mut samples = Vec::with_capacity(PIECE);
        let piece = match source.read(&mut samples, PIECE) {
            Ok(0) => return,
            Ok(_) => Ok(samples),
            Err(error) => Err(error),
        };
        let failed = piece.is_err();
        if out.blocking_send(piece).is_err() || failed {
            return;
        }
    }
}

fn word(word: &Word) -> Value {
    json!({
        "word": word.word,
        "start": thousandths(word.start),
        "end": thousandths(word.end),
        "confidence": thousandths(f64::from(word.confidence)),
    })
}

fn verbose(text: &str, segments: &[Segment], seconds: f64, words: bool) -> Value {
    let of_segment = |(id, s): (usize, &Segment)| {
        let log_prob = s.words.iter().map(|w| f64::from(w.confidence).max(1e-9).ln()).sum::<f64>();
        json!({
            "id": id,
            "seek": 0,
            "start": thousandths(s.start),
            "end": thousandths(s.end),
            "text": s.text,
            "tokens": [],
            "temperature": 0.0,
            "avg_logprob": thousandths(log_prob / s.words.len().max(1) as f64),
            "compression_ratio": 1.0,
            "no_speech_prob": 0.0,
        })
    };
    let mut answer = json!({
        "task": "transcribe",
        "language": "unknown",
        "duration": thousandths(seconds),
        "text": text,
        "segments": segments.iter().enumerate().map(of_segment).collect::<Vec<_>>(),
    });
    if words {
        answer["words"] = segments.iter().flat_map(|s| &s.words).map(word).collect();
    }
    answer
}
