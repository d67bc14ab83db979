//! Events that a session receives, and effects that it causes.

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;

use super::protocol::word_list::{Refused, WordList};
use super::protocol::{RecognizerOutput, StreamRequest};
use super::words::Words;

/// An event that a session receives.
#[derive(Debug)]
pub enum SessionEvent {
    /// The session begins; always the first event.
    Begin,
    /// A text message of the client.
    Text(Utf8Bytes),
    /// A binary message of the client.
    Binary(Bytes),
    /// A ping or pong of the client.
    Alive,
    /// The client has closed the connection, or cannot be reached any more.
    Left,
    /// The client sent an invalid frame or message.
    Unreadable(Unreadable),
    /// [`Effect::Open`] succeeded.
    Opened {
        /// Whether the stream's outputs include traces.
        traced: bool,
    },
    /// [`Effect::Words`], or the words of [`Effect::Open`], are built; `None` for those of the server.
    Words(Option<Words>),
    /// The words cannot be used.
    WordsRefused(Refused),
    /// [`Effect::Open`] failed: all streams are in use.
    Full,
    /// Outputs of the recognizer.
    Output(Vec<RecognizerOutput>),
    /// The recognizer's thread has ended.
    RecognizerGone,
    /// `SessionState::next_item` failed with this message.
    InvalidAudio(String),
    /// The server is shutting down.
    Draining,
    /// `SessionState::deadline` may have passed.
    Time,
}

/// The reason why a message is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is longer than the limit.
    TooLong,
    /// It is a text message that is not UTF-8.
    NotUtf8,
    /// It violates the framing of the transport.
    Malformed,
}

/// An effect that a session must carry out; effects are carried out in order.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Open a stream of the recognizer; [`SessionEvent::Opened`] or [`SessionEvent::Full`] follows. If the client
    /// requests words, [`SessionEvent::Words`] comes before it, or [`SessionEvent::WordsRefused`] after it.
    Open {
        /// Name of the client's protocol, for the metrics.
        protocol: &'static str,
        /// The stream that the client requests.
        request: StreamRequest,
    },
    /// Build the words of a list, or none for those of the server; [`SessionEvent::Words`] or
    /// [`SessionEvent::WordsRefused`] follows.
    Words(Option<WordList>),
    /// Send a text message.
    Send(String),
    /// End the session; the last effect. The reason is `None` if the client has ended it.
    Close(Option<CloseReason>),
}

/// The reason why the server closes a connection, and how it is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// Close code (RFC 6455, section 7.4).
    pub code: u16,
    /// Reason text of the close frame.
    pub text: String,
    /// Reason under which the close is counted in the metrics; `None` if it is not counted.
    pub counted: Option<&'static str>,
    /// Message of the client's protocol that is sent before the close.
    pub message: Option<String>,
}
