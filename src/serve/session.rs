//! One websocket connection: between the socket, a protocol's state machine and a stream of the
//! recogniser. One task does both reading and writing, so that a client that is not written to
//! is not read from either.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::audio::Resampler;

use super::batcher::{Batcher, Feed, Item};
use super::limits::Limits;
use super::machine::{Action, First, Heard, ModelInfo, Opening, Protocol, choose, close};
use super::metrics::{Gauge, Metrics};
use super::protocol::error_message;

/// Samples that go to the recogniser at a time: a quarter of a second at 16 kHz.
const PIECE: usize = 4_000;
/// How long a client gets to answer a close.
const GOODBYE: Duration = Duration::from_secs(2);
/// A close frame's reason has 123 bytes at the most (RFC 6455, section 5.5).
const LONGEST_REASON: usize = 120;

/// What all connections share.
pub struct Shared {
    pub batcher: Batcher,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    pub model: ModelInfo,
    /// A permit for each stream that may be heard.
    pub streams: Arc<Semaphore>,
    /// A permit for each recording that may be uploaded.
    pub uploads: Arc<Semaphore>,
    /// A permit for each stream that may be watched.
    pub traces: Arc<Semaphore>,
    /// Turns true when the server is to end.
    pub draining: watch::Receiver<bool>,
}

/// An open stream of the recogniser; everything it takes is given back when it is dropped.
pub struct Listening {
    pub feed: Feed,
    pub outputs: mpsc::Receiver<Vec<Heard>>,
    /// Whether it tells of the network's insides.
    pub watched: bool,
    _permits: Vec<OwnedSemaphorePermit>,
    _gauge: Gauge,
}

impl Shared {
    /// Opens a stream, if there is one left.
    pub fn listen(&self, protocol: &str, trace: bool) -> Option<Listening> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().ok();
        if permit.is_none() {
            self.metrics.refuse("streams");
        }
        let mut permits = vec![permit?];
        let watched = trace
            .then(|| Arc::clone(&self.traces).try_acquire_owned().ok())
            .flatten()
            .map(|permit| permits.push(permit))
            .is_some();
        let (feed, outputs) = self.batcher.open(watched)?;
        self.metrics.begin(protocol);
        let gauge = Gauge::up(&self.metrics, |m| &m.streams);
        Some(Listening { feed, outputs, watched, _permits: permits, _gauge: gauge })
    }
}

/// Why a session is over.
enum Over {
    /// The client left, or cannot be reached.
    Gone,
    /// We close, for this reason in the metrics if it is a problem. Where the protocol has messages
    /// for problems, it is told by this name first, unless the protocol itself has said it.
    Close { code: u16, reason: String, counted: Option<&'static str>, told: Option<&'static str> },
}

impl Over {
    fn close(code: u16, reason: &str, counted: &'static str) -> Self {
        Over::Close { code, reason: reason.into(), counted: Some(counted), told: Some(counted) }
    }

    /// The server ends: that is no problem of the client's.
    fn shutdown() -> Self {
        let reason = "the server ends".into();
        Over::Close { code: close::GOING_AWAY, reason, counted: Some("shutdown"), told: None }
    }
}

/// Runs a connection to its end.
pub async fn run(mut socket: WebSocket, opening: Opening, shared: Arc<Shared>) {
    let mut session = Session {
        opening,
        machine: None,
        listening: None,
        resampler: None,
        waiting: VecDeque::new(),
        finishing: false,
        complete: false,
        shared,
    };
    let over = session.converse(&mut socket).await;
    // The stream's place is free before the goodbyes.
    session.listening = None;
    if let Over::Close { code, reason, counted, told } = over {
        if let Some(counted) = counted {
            session.shared.metrics.close(counted);
        }
        if let Some(text) = told.and_then(|name| session.problem(name, &reason)) {
            let _ = timeout(GOODBYE, socket.send(Message::Text(text.into()))).await;
        }
        goodbye(socket, code, &reason).await;
    }
}

/// Sends a close and reads until the client's own: what it has sent meanwhile would otherwise
/// reset the connection before the close is read.
async fn goodbye(mut socket: WebSocket, code: u16, reason: &str) {
    let mut end = reason.len().min(LONGEST_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let frame = CloseFrame { code, reason: reason[..end].into() };
    let _ = timeout(GOODBYE, async {
        socket.send(Message::Close(Some(frame))).await?;
        while let Some(Ok(_)) = socket.recv().await {}
        Ok::<(), axum::Error>(())
    })
    .await;
}

struct Session {
    opening: Opening,
    /// `None` before the first message.
    machine: Option<Box<dyn Protocol>>,
    /// `None` before the machine says `Listen`.
    listening: Option<Listening>,
    resampler: Option<Resampler>,
    /// For the recogniser, when it has room.
    waiting: VecDeque<Item>,
    /// The client's audio has ended.
    finishing: bool,
    /// Everything was heard; the client may leave.
    complete: bool,
    shared: Arc<Shared>,
}

impl Session {
    async fn converse(&mut self, socket: &mut WebSocket) -> Over {
        let shared = Arc::clone(&self.shared);
        let limits = &shared.limits;
        let end = Instant::now() + limits.total;
        let mut idle = Instant::now() + limits.idle;
        let mut draining = shared.draining.clone();
        // How it will be closed when the last words are said.
        let mut leaving: Option<Over> = None;
        // Timers are set once, and once more when they ring: setting one for each message would cost
        // more than reading it.
        let mut total_timer = pin!(sleep_until(end));
        let mut idle_timer = pin!(sleep_until(idle));
        loop {
            // While its audio waits for the recogniser a client cannot be idle.
            let reading = self.waiting.is_empty();
            let busy = !reading || (self.finishing && !self.complete);
            if busy {
                idle = Instant::now() + limits.idle;
            }
            let mut actions = Vec::new();
            let mut must_leave = None;
            tokio::select! {
                biased;
                _ = draining.wait_for(|d| *d), if leaving.is_none() => must_leave = Some(Over::shutdown()),
                turn = turn(&mut self.listening, !reading) => match turn {
                    Turn::Heard(heard) => self.hear(heard, &mut actions),
                    // What waits is fed below.
                    Turn::Room => {}
                    Turn::Lost => return Over::close(close::INTERNAL, "the recogniser stopped", "failed"),
                },
                message = socket.recv(), if reading => {
                    idle = Instant::now() + limits.idle;
                    match message {
                        Some(Ok(message)) => {
                            if let Some(over) = self.message(&message, &mut actions) {
                                return over;
                            }
                        }
                        Some(Err(error)) => return broken(&error),
                        None => return Over::Gone,
                    }
                }
                () = &mut idle_timer, if !busy => {
                    if Instant::now() < idle {
                        idle_timer.as_mut().reset(idle);
                        continue;
                    }
                    let reason = format!("nothing came for {} s", limits.idle.as_secs_f64());
                    if self.complete {
                        return Over::Close { code: close::NORMAL, reason, counted: None, told: None };
                    }
                    must_leave = Some(Over::close(close::POLICY, &reason, "idle"));
                }
                () = &mut total_timer => match leaving.take() {
                    // The last words did not come in time.
                    Some(over) => return over,
                    None => {
                        let reason = format!("the connection has lasted {} s", limits.total.as_secs_f64());
                        must_leave = Some(Over::close(close::POLICY, &reason, "total"));
                    }
                }
            }
            if let Some(over) = must_leave {
                if self.listening.is_none() || self.complete {
                    return over;
                }
                if let Some(machine) = &mut self.machine {
                    machine.end(&mut actions);
                }
                leaving = Some(over);
                total_timer.as_mut().reset(Instant::now() + limits.drain);
            }
            let over = self.act(actions, socket).await;
            self.feed();
            if self.complete
                && !matches!(over, Some(Over::Gone))
                && let Some(over) = leaving.take()
            {
                return over;
            }
            if let Some(over) = over {
                return over;
            }
        }
    }

    /// A message of the client.
    fn message(&mut self, message: &Message, actions: &mut Vec<Action>) -> Option<Over> {
        let first = match message {
            Message::Text(text) => First::Text(text),
            Message::Binary(_) => First::Binary,
            Message::Ping(_) | Message::Pong(_) => return None,
            Message::Close(_) => return Some(Over::Gone),
        };
        if self.machine.is_none() {
            match choose(self.opening, first, &self.shared.model) {
                Ok(machine) => self.machine = Some(machine),
                Err(action) => {
                    actions.push(action);
                    return None;
                }
            }
        }
        let machine = self.machine.as_mut()?;
        match message {
            Message::Text(text) => machine.text(text, actions),
            Message::Binary(bytes) => machine.binary(bytes, actions),
            _ => {}
        }
        None
    }

    /// A problem as the protocol tells it, if it has messages for that.
    fn problem(&self, name: &str, problem: &str) -> Option<String> {
        match &self.machine {
            Some(machine) => machine.problem(name, problem),
            None => (self.opening == Opening::Own).then(|| error_message(name, problem)),
        }
    }

    fn hear(&mut self, heard: Vec<Heard>, actions: &mut Vec<Action>) {
        if let Some(listening) = &self.listening {
            listening.feed.taken();
        }
        let Some(machine) = &mut self.machine else { return };
        for heard in heard {
            self.complete |= matches!(heard, Heard::Finished { .. });
            if matches!(heard, Heard::Failed(_)) {
                self.shared.metrics.close("failed");
            }
            machine.heard(heard, actions);
        }
    }

    /// Gives the recogniser what waits, as far as it has room.
    fn feed(&mut self) {
        let Some(listening) = &self.listening else { return };
        while listening.feed.has_room()
            && let Some(item) = self.waiting.pop_front()
        {
            listening.feed.put(item);
        }
    }

    /// Does what the machine says; gives the end, if it is one.
    async fn act(&mut self, actions: Vec<Action>, socket: &mut WebSocket) -> Option<Over> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Listen { sample_rate, trace } => match self.listen(sample_rate, trace) {
                    Ok(said) => said.into_iter().rev().for_each(|action| actions.push_front(action)),
                    Err(over) => return Some(over),
                },
                Action::Audio(samples) => self.audio(samples),
                Action::Mark => self.waiting.push_back(Item::Mark),
                Action::Restart => {
                    self.end_audio();
                    self.waiting.push_back(Item::Restart);
                }
                Action::Finish => {
                    self.end_audio();
                    self.finishing = true;
                    self.waiting.push_back(Item::Finish);
                }
                Action::Send(text) => {
                    match timeout(self.shared.limits.write, socket.send(Message::Text(text.into()))).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Some(Over::Gone),
                        Err(_) => {
                            // What it does not read it cannot be told.
                            self.shared.metrics.close("slow_reader");
                            return Some(Over::Gone);
                        }
                    }
                }
                Action::Close { code, reason } => {
                    let bad =
                        matches!(code, close::PROTOCOL_ERROR | close::UNSUPPORTED | close::INVALID_DATA);
                    return Some(Over::Close { code, reason, counted: bad.then_some("invalid"), told: None });
                }
            }
        }
        None
    }

    /// Opens the stream; gives what the machine has to say of it.
    fn listen(&mut self, sample_rate: u32, trace: bool) -> Result<Vec<Action>, Over> {
        let full = || Over::Close {
            code: close::TRY_AGAIN,
            reason: "all streams are taken: try again later".into(),
            counted: None,
            told: Some("busy"),
        };
        let to = self.shared.model.sample_rate;
        if sample_rate != to {
            let resampler = Resampler::new(sample_rate, to);
            let failed = |e: crate::Error| Over::close(close::INVALID_DATA, e.problem(), "invalid");
            self.resampler = Some(resampler.map_err(failed)?);
        }
        let protocol = self.machine.as_ref().map_or("", |machine| machine.name());
        let listening = self.shared.listen(protocol, trace).ok_or_else(full)?;
        let heard = Heard::Listening { watched: listening.watched };
        self.listening = Some(listening);
        let mut said = Vec::new();
        if let Some(machine) = &mut self.machine {
            machine.heard(heard, &mut said);
        }
        Ok(said)
    }

    fn audio(&mut self, samples: Vec<f32>) {
        let Some(resampler) = &mut self.resampler else { return self.queue(samples) };
        let mut out = Vec::new();
        // Only impossible settings fail, and those were refused.
        let _ = resampler.push(&samples, &mut out);
        self.queue(out);
    }

    /// Samples at the model's rate, in pieces.
    fn queue(&mut self, samples: Vec<f32>) {
        if samples.len() > PIECE {
            self.waiting.extend(samples.chunks(PIECE).map(|piece| Item::Audio(piece.to_vec())));
        } else if !samples.is_empty() {
            self.waiting.push_back(Item::Audio(samples));
        }
    }

    /// What the resampler still holds.
    fn end_audio(&mut self) {
        if let Some(resampler) = &mut self.resampler {
            let mut out = Vec::new();
            let _ = resampler.finish(&mut out);
            resampler.reset();
            self.queue(out);
        }
    }
}

/// What the recogniser's side has for a session.
enum Turn {
    Heard(Vec<Heard>),
    /// There is room for more audio.
    Room,
    /// Its thread is gone.
    Lost,
}

/// The recogniser's next turn; never, before there is a stream. What was heard comes first.
async fn turn(listening: &mut Option<Listening>, feeding: bool) -> Turn {
    let Some(Listening { feed, outputs, .. }) = listening else { return std::future::pending().await };
    tokio::select! {
        biased;
        heard = outputs.recv() => heard.map_or(Turn::Lost, Turn::Heard),
        () = feed.room(), if feeding => Turn::Room,
    }
}

/// A broken connection, or a message that is too long or malformed.
fn broken(error: &axum::Error) -> Over {
    let text = error.to_string().to_lowercase();
    if text.contains("too long") || text.contains("too big") || text.contains("too large") {
        Over::close(close::TOO_BIG, "the message is longer than the limit (--max-message)", "too_big")
    } else if text.contains("utf-8") || text.contains("utf8") {
        Over::close(close::INVALID_DATA, "expected text as UTF-8", "invalid")
    } else if text.contains("protocol") && !text.contains("reset without closing") {
        Over::close(close::PROTOCOL_ERROR, "the frame is malformed", "invalid")
    } else {
        Over::Gone
    }
}
