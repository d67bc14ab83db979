//! The session of one client: waits for the next event of its connection, its stream or the clock, and
//! carries out the effects that [`SessionState`] returns. One task both reads and writes, so that nothing
//! more is read from a client that does not read.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::time::sleep_until;

use super::protocol::StreamRequest;
use super::protocol::choose::Opening;
use super::protocol::word_list::{Refused, WordList};
use super::session_event::{CloseReason, Effect, SessionEvent};
use super::session_state::SessionState;
use super::shared::{OpenStream, Shared};
use super::stream_queue::StreamSettings;
use super::words::Words;

/// A connection that carries messages.
pub trait Transport: Send {
    /// Waits for the client's next message. Cancel safe.
    fn receive(&mut self) -> impl Future<Output = SessionEvent> + Send;

    /// Sends a text message.
    ///
    /// # Errors
    /// When the connection is broken, or the client does not read.
    fn send(&mut self, text: String) -> impl Future<Output = Result<(), Unreachable>> + Send;

    /// Closes the connection; `reason` is `None` if the client has closed it.
    fn close(self, reason: Option<CloseReason>) -> impl Future<Output = ()> + Send;
}

/// The error for a client that cannot be reached any more.
#[derive(Clone, Copy, Debug)]
pub struct Unreachable;

/// Runs a session to its end.
pub async fn run(mut transport: impl Transport, opening: Opening, shared: Arc<Shared>) {
    let mut session = Session {
        state: SessionState::new(opening, shared.model.clone(), shared.limits.clone(), Instant::now()),
        stream: None,
        shared: Arc::clone(&shared),
    };
    let reason = session.run(&mut transport).await;
    // Closing may take two seconds: free the stream for other clients before it.
    session.stream = None;
    if let Some(counted) = reason.as_ref().and_then(|reason| reason.counted) {
        shared.metrics.close(counted);
    }
    transport.close(reason).await;
}

struct Session {
    state: SessionState,
    stream: Option<OpenStream>,
    shared: Arc<Shared>,
}

/// The end of a session; the reason is `None` if the client ended it.
struct Ended(Option<CloseReason>);

impl Session {
    async fn run(&mut self, transport: &mut impl Transport) -> Option<CloseReason> {
        let mut draining = self.shared.draining.clone();
        let mut has_drained = false;
        let mut timer = pin!(sleep_until(self.state.deadline().into()));
        if let Err(Ended(reason)) = self.handle(SessionEvent::Begin, transport).await {
            return reason;
        }
        loop {
            // Deadlines usually move into the future; then the timer is reset only when it expires, because
            // resetting it for each message would cost more than reading the message.
            if self.state.deadline() < timer.deadline().into_std() {
                timer.as_mut().reset(self.state.deadline().into());
            }
            let wants_messages = self.state.wants_messages();
            let event = tokio::select! {
                biased;
                _ = draining.wait_for(|is_draining| *is_draining), if !has_drained => {
                    has_drained = true;
                    Some(SessionEvent::Draining)
                }
                event = next_of_stream(&mut self.stream, !wants_messages) => event,
                event = transport.receive(), if wants_messages => Some(event),
                () = &mut timer => Some(SessionEvent::Time),
            };
            let is_time = matches!(event, Some(SessionEvent::Time));
            if let Some(event) = event
                && let Err(Ended(reason)) = self.handle(event, transport).await
            {
                return reason;
            }
            if let Err(Ended(reason)) = self.feed(transport).await {
                return reason;
            }
            if is_time {
                timer.as_mut().reset(self.state.deadline().into());
            }
        }
    }

    /// Passes an event to the state, and carries out the effects.
    async fn handle(&mut self, event: SessionEvent, transport: &mut impl Transport) -> Result<(), Ended> {
        let mut effects = VecDeque::from(self.state.on(event, Instant::now()));
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Open { protocol, request } => {
                    let events = self.open(protocol, request).await;
                    self.handle_at_once(events, &mut effects);
                }
                Effect::Words(list) => {
                    let words = match list {
                        Some(list) => find_words(&self.shared, &list).await.map(Some),
                        None => Ok(None),
                    };
                    let event = words.map_or_else(SessionEvent::WordsRefused, SessionEvent::Words);
                    self.handle_at_once(vec![event], &mut effects);
                }
                Effect::Send(text) => {
                    if transport.send(text).await.is_err() {
                        return Err(Ended(None));
                    }
                }
                Effect::Close(reason) => return Err(Ended(reason)),
            }
        }
        Ok(())
    }

    /// Passes events to the state; their effects come before the remaining ones.
    fn handle_at_once(&mut self, events: Vec<SessionEvent>, effects: &mut VecDeque<Effect>) {
        let new: Vec<Effect> =
            events.into_iter().flat_map(|event| self.state.on(event, Instant::now())).collect();
        new.into_iter().rev().for_each(|effect| effects.push_front(effect));
    }

    /// Opens the stream. If the requested words cannot be used, it has those of the server.
    async fn open(&mut self, protocol: &str, request: StreamRequest) -> Vec<SessionEvent> {
        let StreamRequest { format: _, trace, silence, words: list, nbest } = request;
        let words = match &list {
            Some(list) => find_words(&self.shared, list).await.map(Some),
            None => Ok(None),
        };
        let settings =
            StreamSettings { traced: trace, silence, nbest, words: words.as_ref().ok().cloned().flatten() };
        self.stream = self.shared.open_stream(protocol, settings);
        let Some(stream) = &self.stream else { return vec![SessionEvent::Full] };
        let opened = SessionEvent::Opened { traced: stream.traced };
        match words {
            Ok(None) => vec![opened],
            Ok(words) => vec![SessionEvent::Words(words), opened],
            Err(refused) => vec![opened, SessionEvent::WordsRefused(refused)],
        }
    }

    /// Passes waiting items to the recognizer while its buffer has capacity.
    async fn feed(&mut self, transport: &mut impl Transport) -> Result<(), Ended> {
        while let Some(stream) = &self.stream
            && stream.handle.has_capacity()
            && let Some(item) = self.state.next_item(Instant::now())
        {
            match item {
                Ok(item) => stream.handle.put(item),
                Err(problem) => self.handle(SessionEvent::InvalidAudio(problem), transport).await?,
            }
        }
        Ok(())
    }
}

/// The words of a list.
async fn find_words(shared: &Shared, list: &WordList) -> Result<Words, Refused> {
    let words = shared.word_lists.get(list).await;
    if let Err(Refused::Busy) = words {
        shared.metrics.refuse("word_lists");
    }
    words
}

/// Waits for the stream's next output, or, if `is_feeding`, for capacity for more audio (`None`). Output is
/// preferred. Without a stream it never completes.
async fn next_of_stream(stream: &mut Option<OpenStream>, is_feeding: bool) -> Option<SessionEvent> {
    let Some(OpenStream { handle, outputs, .. }) = stream else { return std::future::pending().await };
    tokio::select! {
        biased;
        outputs = outputs.recv() => Some(match outputs {
            Some(outputs) => {
                handle.taken();
                SessionEvent::Output(outputs)
            }
            None => SessionEvent::RecognizerGone,
        }),
        () = handle.wait_for_capacity(), if is_feeding => None,
    }
}
