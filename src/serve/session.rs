//! One client's session: awaits what happens next on its connection, its stream and the clock, and does
//! what [`SessionState`] says. One task does both reading and writing, so that a client that does not
//! read is not read from either.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::time::sleep_until;

use super::protocol::choose::Opening;
use super::session_event::{CloseReason, Effect, SessionEvent};
use super::session_state::SessionState;
use super::shared::{OpenStream, Shared};

/// A connection that carries messages.
pub trait Transport: Send {
    /// Waits for the client's next message; may be dropped while it waits.
    fn receive(&mut self) -> impl Future<Output = SessionEvent> + Send;

    /// Sends a text message.
    ///
    /// # Errors
    /// When the client cannot be reached, or does not read.
    fn send(&mut self, text: String) -> impl Future<Output = Result<(), Unreachable>> + Send;

    /// Ends the connection: for a reason, or because the client has ended it.
    fn close(self, reason: Option<CloseReason>) -> impl Future<Output = ()> + Send;
}

/// The client cannot be reached.
#[derive(Clone, Copy, Debug)]
pub struct Unreachable;

/// Runs a session to its end.
pub async fn run(mut transport: impl Transport, opening: Opening, shared: Arc<Shared>) {
    let mut session = Session {
        state: SessionState::new(opening, shared.model.clone(), shared.limits.clone(), Instant::now()),
        stream: None,
        shared: Arc::clone(&shared),
    };
    let reason = session.converse(&mut transport).await;
    // The stream's place is free before the client has said goodbye.
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

/// A session is over, for a reason unless the client ended it.
struct Over(Option<CloseReason>);

impl Session {
    async fn converse(&mut self, transport: &mut impl Transport) -> Option<CloseReason> {
        let mut draining = self.shared.draining.clone();
        let mut has_drained = false;
        let mut timer = pin!(sleep_until(self.state.deadline().into()));
        if let Err(Over(reason)) = self.handle(SessionEvent::Begin, transport).await {
            return reason;
        }
        loop {
            // Deadlines mostly move away, and then the timer is set anew only when it rings: setting it
            // for each message would cost more than reading the message.
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
                && let Err(Over(reason)) = self.handle(event, transport).await
            {
                return reason;
            }
            if let Err(Over(reason)) = self.feed(transport).await {
                return reason;
            }
            if is_time {
                timer.as_mut().reset(self.state.deadline().into());
            }
        }
    }

    /// Passes an event to the state, and does what it says.
    async fn handle(&mut self, event: SessionEvent, transport: &mut impl Transport) -> Result<(), Over> {
        let mut effects = VecDeque::from(self.state.on(event, Instant::now()));
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Open { protocol, trace, silence } => {
                    self.stream = self.shared.open_stream(protocol, trace, silence);
                    let event = match &self.stream {
                        Some(stream) => SessionEvent::Opened { traced: stream.traced },
                        None => SessionEvent::Full,
                    };
                    // What follows from it comes before what followed it.
                    let opened = self.state.on(event, Instant::now());
                    opened.into_iter().rev().for_each(|effect| effects.push_front(effect));
                }
                Effect::Send(text) => {
                    if transport.send(text).await.is_err() {
                        return Err(Over(None));
                    }
                }
                Effect::Close(reason) => return Err(Over(reason)),
            }
        }
        Ok(())
    }

    /// Gives the recognizer what waits for it, as far as it has room.
    async fn feed(&mut self, transport: &mut impl Transport) -> Result<(), Over> {
        while let Some(stream) = &self.stream
            && stream.handle.has_room()
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

/// The stream's next output, or `None` when it has room for more audio; never, before there is a
/// stream. Output comes first.
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
        () = handle.room(), if is_feeding => None,
    }
}
