//! The protocols: pure state machines, which take a client's messages and the recognizer's output and
//! return what is to be done. They know nothing of sockets.
//!
//! ```text
//! client's message ─► Protocol ─► Action ─► session (socket, recognizer)
//!                        ▲                      │
//!                        └─ RecognizerOutput ◄──┘
//! ```

pub mod choose;
pub mod hearken;
pub mod realtime;
pub mod sherpa;
pub mod vosk;
pub mod wyoming;

use axum::body::Bytes;

use crate::audio::RawFormat;
use crate::recognizer::Event;

/// Close codes of RFC 6455 that are sent.
pub mod close {
    /// The conversation is complete.
    pub const NORMAL: u16 = 1000;
    /// The server shuts down.
    pub const GOING_AWAY: u16 = 1001;
    /// A message that this protocol does not have.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Text where audio is expected, or audio where text is expected.
    pub const UNSUPPORTED: u16 = 1003;
    /// A message of the right kind with invalid content.
    pub const INVALID_DATA: u16 = 1007;
    /// A time limit was reached.
    pub const POLICY: u16 = 1008;
    /// A message longer than the limit.
    pub const TOO_BIG: u16 = 1009;
    /// The recognizer failed.
    pub const INTERNAL: u16 = 1011;
    /// Too many streams: try again later.
    pub const TRY_AGAIN: u16 = 1013;
}

/// The sample rates that clients may send, Hz.
pub const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// What a client wants of its stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRequest {
    /// The format of the audio that follows.
    pub format: RawFormat,
    /// The network's log-probabilities and state are wanted, step by step.
    pub trace: bool,
    /// Seconds of silence that end an utterance; `None` is the server's own.
    pub silence: Option<f64>,
}

/// What a session is to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Opens the recognizer's stream; comes once, before any audio.
    Open(StreamRequest),
    /// The audio that follows has another format.
    Format(RawFormat),
    /// As [`Restart`](Self::Restart), and from then on so many seconds of silence end an utterance.
    Silence(f64),
    /// Audio in the stream's format; its end may cut a sample in two.
    Audio(Bytes),
    /// Asks for [`RecognizerOutput::Mark`] when everything before it was processed.
    Mark,
    /// Ends the utterance, so that its last word comes out, and begins another.
    Restart,
    /// No more audio will come.
    Finish,
    /// A text message for the client.
    Send(String),
    /// Closes the connection; the last action.
    Close { code: u16, reason: String },
}

impl Action {
    /// A close with a reason.
    pub fn close(code: u16, reason: impl Into<String>) -> Self {
        Action::Close { code, reason: reason.into() }
    }
}

/// The network's output and state after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSnapshot {
    /// Seconds from the stream's first sample.
    pub time: f64,
    /// Log-probabilities of the last output frame, `[V]`.
    pub log_probs: Vec<f32>,
    /// All state tensors, one after the other.
    pub state: Vec<f32>,
}

/// What the recognizer says of a stream, in the stream's order.
#[derive(Clone, Debug, PartialEq)]
pub enum RecognizerOutput {
    /// The stream is open; `traced` says whether [`Trace`](Self::Trace) will come.
    Opened { traced: bool },
    /// Words.
    Event(Event),
    /// The network's state, where it was asked for.
    Trace(TraceSnapshot),
    /// All audio before [`Action::Mark`] was processed.
    Mark,
    /// The utterance that [`Action::Restart`] or [`Action::Silence`] ended is complete.
    Restarted,
    /// The stream that [`Action::Finish`] ended is complete.
    Finished {
        /// Length of the audio, seconds.
        seconds: f64,
    },
    /// The recognizer failed; nothing follows.
    Failed(String),
}

/// One client's conversation.
pub trait Protocol: Send {
    /// Its name in metrics.
    fn name(&self) -> &'static str;

    /// What is to be done before the client's first message.
    fn begin(&mut self, _actions: &mut Vec<Action>) {}

    /// Takes a text message of the client.
    fn text(&mut self, text: &str, actions: &mut Vec<Action>);

    /// Takes a binary message of the client.
    fn binary(&mut self, bytes: Bytes, actions: &mut Vec<Action>);

    /// Takes output of the recognizer.
    fn output(&mut self, output: RecognizerOutput, actions: &mut Vec<Action>);

    /// Ends the client's audio: by the client's own message, or because the server closes the stream.
    fn end(&mut self, actions: &mut Vec<Action>);

    /// The text message that reports an error before a close, where the protocol has one.
    fn error(&self, _code: &str, _message: &str) -> Option<String> {
        None
    }
}

/// What protocols need to know of the model.
#[derive(Clone, Debug, Default)]
pub struct ModelInfo {
    /// Sample rate, Hz.
    pub sample_rate: u32,
    /// The tokens' texts by id.
    pub tokens: Vec<String>,
    /// The id of the blank token.
    pub blank: u32,
    /// The shapes of the tensors in [`TraceSnapshot::state`].
    pub states: Vec<Vec<usize>>,
    /// The words that it can write; none where it writes other units.
    pub words: Vec<String>,
    /// Its languages, as BCP 47 names them; none where they are not known.
    pub languages: Vec<String>,
    /// Seconds of silence that end an utterance unless the client sets them.
    pub silence: f64,
}

/// The longest message about what a client sent, characters: it may repeat some of that.
const MAX_MESSAGE: usize = 300;

/// A message, cut where it is long.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
