//! What happens to a session, and what it is to do.

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;

use super::protocol::RecognizerOutput;

/// What happens to a session.
#[derive(Debug)]
pub enum SessionEvent {
    /// The session begins; the first event.
    Begin,
    /// A text message of the client.
    Text(Utf8Bytes),
    /// A binary message of the client.
    Binary(Bytes),
    /// A sign of life without content: a ping or a pong.
    Alive,
    /// The client has closed the connection, or cannot be reached any more.
    Left,
    /// The client sent something that cannot be read.
    Unreadable(Unreadable),
    /// [`Effect::Open`] succeeded.
    Opened { traced: bool },
    /// [`Effect::Open`] failed: all streams are taken.
    Full,
    /// Output of the recognizer.
    Output(Vec<RecognizerOutput>),
    /// The recognizer's thread is gone.
    RecognizerGone,
    /// Audio from `SessionState::next_item` is no audio.
    InvalidAudio(String),
    /// The server shuts down.
    Draining,
    /// Time has passed: `SessionState::deadline`, or less.
    Time,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    TooLong,
    NotUtf8,
    Malformed,
}

/// What a session is to do, in this order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Open a stream of the recognizer for this protocol; [`SessionEvent::Opened`] or
    /// [`SessionEvent::Full`] follows.
    Open { protocol: &'static str, trace: bool, silence: Option<f64> },
    /// Send a text message.
    Send(String),
    /// End the session; the last effect. Without a reason the client has ended it.
    Close(Option<CloseReason>),
}

/// How and why the server closes a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// The code of RFC 6455.
    pub code: u16,
    /// The text beside it.
    pub text: String,
    /// The reason that is counted in the metrics, if it is counted.
    pub counted: Option<&'static str>,
    /// A message of the protocol that goes before the close.
    pub message: Option<String>,
}
