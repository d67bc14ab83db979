//! `POST /v1/audio/transcriptions`: transcribes an uploaded recording; form and response are those of
//! OpenAI's API.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::output::Transcript;
use crate::recognizer::Segment;
use crate::units::thousandths;

use super::api_error::{ApiError, json_response};
use super::form::{Format, busy, read_form};
use super::recording::{Ending, Step, Transcription};
use super::shared::Shared;

/// Maximum number of server-sent events that wait for the client to read.
const MAX_EVENTS: usize = 16;
/// The header of responses other than JSON that reports parts of a recording that could not be decoded, and hotwords
/// without effect.
const WARNINGS: HeaderName = HeaderName::from_static("hearken-warnings");

/// Handles a request.
///
/// # Errors
/// Errors of the form and of the transcription, and 503 when too many recordings or streams are open.
pub async fn transcribe(shared: Arc<Shared>, request: Request) -> Result<Response, ApiError> {
    let refused = |error| {
        shared.metrics.refuse("uploads");
        error
    };
    // Refuse before the client sends the whole recording in vain.
    if shared.uploads.available_permits() == 0 {
        return Err(refused(busy()));
    }
    let form = read_form(&shared.limits, &shared.upload_memory, request).await;
    let form = form.map_err(|error| if error.is_busy() { refused(error) } else { error })?;
    // Only after the form was received: a client that sends slowly must not block others.
    let permit = Arc::clone(&shared.uploads).try_acquire_owned().map_err(|_| refused(busy()))?;
    let (format, words, stream) = (form.format, form.words, form.stream);
    let mut transcription = Transcription::begin(&shared, form).await?;
    if stream {
        // Most errors of a recording appear at its beginning; they can still be reported by the status.
        let first = transcription.next().await?;
        return Ok(sse_response(shared, transcription, first, permit));
    }
    let (segments, ending) = transcription.all().await?;
    shared.metrics.transcriptions_total.fetch_add(1, Relaxed);
    let texts: Vec<&str> = segments.iter().map(|s| s.text.as_str()).filter(|t| !t.is_empty()).collect();
    let text = texts.join(" ");
    Ok(match format {
        Format::Json => json_response(StatusCode::OK, &warned(json!({ "text": text }), &ending)),
        Format::Text => plain("text/plain; charset=utf-8", format!("{text}\n"), &ending),
        Format::Verbose => {
            let language = shared.model.languages.first().map_or("unknown", String::as_str);
            let answer = verbose(&text, &segments, ending.seconds, words, language);
            json_response(StatusCode::OK, &warned(answer, &ending))
        }
        Format::Captions(format) => {
            let transcript = Transcript { segments, ..Transcript::default() };
            plain(format.media_type(), format.write(&transcript), &ending)
        }
    })
}

/// Returns the response with `warnings`, if there are any.
fn warned(mut answer: Value, ending: &Ending) -> Value {
    if !ending.warnings.is_empty() {
        answer["warnings"] = json!(ending.warnings);
    }
    answer
}

/// Builds a response other than JSON, with a header for each warning.
fn plain(kind: &'static str, text: String, ending: &Ending) -> Response {
    let mut response = ([(header::CONTENT_TYPE, kind)], text).into_response();
    for warning in &ending.warnings {
        // Bytes, since a warning may quote letters other than those of ASCII.
        if let Ok(warning) = HeaderValue::from_bytes(warning.as_bytes()) {
            response.headers_mut().append(WARNINGS, warning);
        }
    }
    response
}

// ---------------------------------------------------------------- streaming

/// Builds a response of server-sent events: a `transcript.text.delta` for each utterance, and at the end
/// `transcript.text.done`.
fn sse_response(
    shared: Arc<Shared>,
    transcription: Transcription,
    first: Step,
    permit: OwnedSemaphorePermit,
) -> Response {
    let (events, body) = mpsc::channel(MAX_EVENTS);
    tokio::spawn(async move {
        send_sse(&shared, transcription, first, &events).await;
        drop(permit);
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::new(SseBody(body))).into_response()
}

/// Sends the events, until the end or until the client has closed the connection.
async fn send_sse(
    shared: &Shared,
    mut transcription: Transcription,
    first: Step,
    events: &mpsc::Sender<Bytes>,
) {
    // Fails if the connection was closed, which `ClientStream` also does when the client does not read.
    let send = async |event: Value| events.send(format!("data: {event}\n\n").into()).await.is_ok();
    let mut text = String::new();
    let mut step: Result<Step, ApiError> = Ok(first);
    loop {
        match step {
            Ok(Step::Segment(segment)) => {
                let space = if text.is_empty() { "" } else { " " };
                let delta = format!("{space}{}", segment.text);
                if !segment.text.is_empty() {
                    text.push_str(&delta);
                    if !send(json!({"type": "transcript.text.delta", "delta": delta})).await {
                        return;
                    }
                }
            }
            Ok(Step::End(ending)) => {
                shared.metrics.transcriptions_total.fetch_add(1, Relaxed);
                send(warned(json!({"type": "transcript.text.done", "text": text}), &ending)).await;
                return;
            }
            Err(error) => {
                send(error.json()).await;
                return;
            }
        }
        step = transcription.next().await;
    }
}

/// A response body of the events that are sent through a channel.
struct SseBody(mpsc::Receiver<Bytes>);

impl HttpBody for SseBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

// ---------------------------------------------------------------- segments and words

fn verbose(text: &str, segments: &[Segment], seconds: f64, words: bool, language: &str) -> Value {
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
        "language": language,
        "duration": thousandths(seconds),
        "text": text,
        "segments": segments.iter().enumerate().map(of_segment).collect::<Vec<_>>(),
    });
    if words {
        answer["words"] = segments.iter().flat_map(|s| &s.words).map(|word| json!(word)).collect();
    }
    answer
}
