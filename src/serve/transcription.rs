//! `POST /v1/audio/transcriptions`: a whole recording, in the form that clients of OpenAI's
//! interface send. It goes through the recogniser's threads as any stream does.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use crate::audio;
use crate::output::Transcript;
use crate::recognizer::{Event, Segment};
use crate::units::thousandths;

use super::batcher::Item;
use super::machine::Heard;
use super::problem::{Problem, json_response};
use super::session::{Listening, Shared};
use super::upload::{Format, no_form, read_form};

/// Samples read of a recording at a time.
const PIECE: usize = 8_000;
/// Events that wait for a client that reads slowly.
const WAITING: usize = 16;

/// Answers a request.
///
/// # Errors
/// What is wrong with it, or that all streams are taken.
pub async fn transcribe(shared: Arc<Shared>, request: Request) -> Result<Response, Problem> {
    let Ok(permit) = Arc::clone(&shared.uploads).try_acquire_owned() else {
        shared.metrics.refuse("uploads");
        return Err(Problem::busy("too many uploads at a time: try again later"));
    };
    let multipart = Multipart::from_request(request, &()).await.map_err(|e| no_form(&e))?;
    let form = read_form(&shared.limits, multipart).await?;
    let mut hearing = Hearing::begin(&shared, form.file, form.name)?;
    if form.stream {
        // What is wrong with a recording is mostly wrong at its beginning: then the status says it.
        let first = hearing.next().await?;
        return Ok(told(shared, hearing, first, permit));
    }
    let (segments, seconds) = hearing.all().await?;
    shared.metrics.transcriptions_total.fetch_add(1, Relaxed);
    let texts: Vec<&str> = segments.iter().map(|s| s.text.as_str()).filter(|t| !t.is_empty()).collect();
    let text = texts.join(" ");
    let plain = |kind: &'static str, text: String| ([(header::CONTENT_TYPE, kind)], text).into_response();
    Ok(match form.format {
        Format::Json => json_response(StatusCode::OK, &json!({ "text": text })),
        Format::Text => plain("text/plain; charset=utf-8", format!("{text}\n")),
        Format::Verbose => json_response(StatusCode::OK, &verbose(&text, &segments, seconds, form.words)),
        Format::Captions(format) => {
            let transcript = Transcript { segments, ..Transcript::default() };
            plain(format.media_type(), format.write(&transcript))
        }
    })
}

// ---------------------------------------------------------------- hearing

/// What comes of a recording, in order.
enum Step {
    Segment(Segment),
    /// The end, after so many seconds.
    End(f64),
}

/// A recording on its way: decoded on a thread for blocking work, heard on the recogniser's.
struct Hearing {
    name: String,
    listening: Listening,
    pieces: mpsc::Receiver<crate::Result<Vec<f32>>>,
    /// All pieces went to the recogniser.
    ended: bool,
    heard: VecDeque<Heard>,
    end: Instant,
    seconds_allowed: f64,
}

impl Hearing {
    fn begin(shared: &Arc<Shared>, bytes: Bytes, name: String) -> Result<Self, Problem> {
        let busy = || Problem::busy("all streams are taken: try again later");
        let listening = shared.listen("http", false).ok_or_else(busy)?;
        let (out, pieces) = mpsc::channel(4);
        let (rate, called) = (shared.model.sample_rate, name.clone());
        tokio::task::spawn_blocking(move || decode(bytes.into(), &called, rate, &out));
        let total = shared.limits.total;
        Ok(Self {
            name,
            listening,
            pieces,
            ended: false,
            heard: VecDeque::new(),
            end: Instant::now() + total,
            seconds_allowed: total.as_secs_f64(),
        })
    }

    async fn all(&mut self) -> Result<(Vec<Segment>, f64), Problem> {
        let mut segments = Vec::new();
        loop {
            match self.next().await? {
                Step::Segment(segment) => segments.push(segment),
                Step::End(seconds) => return Ok((segments, seconds)),
            }
        }
    }

    async fn next(&mut self) -> Result<Step, Problem> {
        let late = format!("{} was not heard within {} s, the limit here", self.name, self.seconds_allowed);
        let end = self.end;
        timeout_at(end, self.step()).await.map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, late))?
    }

    async fn step(&mut self) -> Result<Step, Problem> {
        let failed = |problem: String| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, problem);
        loop {
            while let Some(heard) = self.heard.pop_front() {
                match heard {
                    Heard::Event(Event::Final(segment)) => return Ok(Step::Segment(segment)),
                    Heard::Finished { seconds } => return Ok(Step::End(seconds)),
                    Heard::Failed(problem) => return Err(failed(problem)),
                    _ => {}
                }
            }
            let Listening { feed, outputs, .. } = &mut self.listening;
            tokio::select! {
                heard = outputs.recv() => {
                    feed.taken();
                    self.heard.extend(heard.ok_or_else(|| failed("the recogniser stopped".into()))?);
                }
                piece = async { feed.room().await; self.pieces.recv().await }, if !self.ended => match piece {
                    Some(Ok(samples)) => feed.put(Item::Audio(samples)),
                    Some(Err(error)) => return Err(Problem::bad(error.to_string()).of("file")),
                    None => {
                        self.ended = true;
                        feed.put(Item::Finish);
                    }
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

// ---------------------------------------------------------------- the text as it comes

/// Server-sent events: a `transcript.text.delta` for each utterance, `transcript.text.done` last.
fn told(shared: Arc<Shared>, hearing: Hearing, first: Step, permit: OwnedSemaphorePermit) -> Response {
    let (events, waiting) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        tell(&shared, hearing, first, &events).await;
        drop(permit);
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::new(Told(waiting))).into_response()
}

/// Tells all, or as much as the client wants to read.
async fn tell(shared: &Shared, mut hearing: Hearing, first: Step, events: &mpsc::Sender<Bytes>) {
    let send = async |event: Value| {
        let sent = events.send(format!("data: {event}\n\n").into());
        matches!(timeout(shared.limits.write, sent).await, Ok(Ok(())))
    };
    let mut text = String::new();
    let mut step: Result<Step, Problem> = Ok(first);
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
            Ok(Step::End(_)) => {
                shared.metrics.transcriptions_total.fetch_add(1, Relaxed);
                send(json!({"type": "transcript.text.done", "text": text})).await;
                return;
            }
            Err(problem) => {
                send(problem.json()).await;
                return;
            }
        }
        step = hearing.next().await;
    }
}

/// A body out of what is sent to it.
struct Told(mpsc::Receiver<Bytes>);

impl HttpBody for Told {
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
        answer["words"] = segments.iter().flat_map(|s| &s.words).map(|word| json!(word)).collect();
    }
    answer
}
