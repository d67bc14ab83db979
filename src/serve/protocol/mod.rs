//! The protocols, as pure state machines: they map a client's messages and the recognizer's outputs to
//! actions, and use no sockets.
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
pub mod word_list;
pub mod wyoming;

use axum::body::Bytes;

use crate::audio::RawFormat;
use crate::recognizer::Event;

use word_list::{Refused, WordList};

/// The close codes that the server sends (RFC 6455, section 7.4, and IANA's registry).
pub mod close {
    /// All results were sent.
    pub const NORMAL: u16 = 1000;
    /// The server is shutting down.
    pub const GOING_AWAY: u16 = 1001;
    /// A message that the protocol does not allow.
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

/// The supported sample rates of clients, Hz.
pub const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// The stream that a client requests.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRequest {
    /// Format of the audio.
    pub format: RawFormat,
    /// Whether the network's log-probabilities and states are requested for every step.
    pub trace: bool,
    /// Trailing silence that ends an utterance, seconds; `None` is the server's setting.
    pub silence: Option<f64>,
    /// The words; `None` for those of the server.
    pub words: Option<WordList>,
    /// Number of alternatives of each final result, 1 to [`MAX_NBEST`](crate::decode::MAX_NBEST); `None` is the
    /// server's setting. 1 if the words are not those of a lexicon.
    pub nbest: Option<usize>,
}

impl StreamRequest {
    /// A stream of the server's words without alternatives.
    pub fn new(format: RawFormat) -> Self {
        Self { format, trace: false, silence: None, words: None, nbest: Some(1) }
    }
}

/// An action that a session must carry out; actions are carried out in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Opens the recognizer's stream; comes once, before any audio.
    Open(StreamRequest),
    /// Changes the format of the audio that follows.
    Format(RawFormat),
    /// Like [`Restart`](Self::Restart), with a new trailing silence that ends an utterance, seconds.
    Silence(f64),
    /// Changes the words from the next utterance on; `None` for those of the server. [`RecognizerOutput::Words`] or
    /// [`RecognizerOutput::WordsRefused`] follows.
    Words(Option<WordList>),
    /// Audio in the stream's format; it may end within a sample.
    Audio(Bytes),
    /// Requests [`RecognizerOutput::Mark`] when everything before it was processed.
    Mark,
    /// Ends the utterance, with its last word, and begins another one.
    Restart,
    /// Ends the audio.
    Finish,
    /// Sends a text message to the client.
    Send(String),
    /// Closes the connection; the last action.
    Close {
        /// Close code (RFC 6455, section 7.4).
        code: u16,
        /// Reason text of the close frame.
        reason: String,
    },
}

impl Action {
    /// Creates a close action.
    pub fn close(code: u16, reason: impl Into<String>) -> Self {
        Action::Close { code, reason: reason.into() }
    }
}

/// The network's output and states after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSnapshot {
    /// Seconds from the stream's first sample.
    pub time: f64,
    /// Log-probabilities of the last output frame, `[V]`.
    pub log_probs: Vec<f32>,
    /// All state tensors, one after the other.
    pub state: Vec<f32>,
}

/// An output of the recognizer for a stream; outputs are in the order of the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum RecognizerOutput {
    /// The stream is open.
    Opened {
        /// Whether [`Trace`](Self::Trace) outputs will follow.
        traced: bool,
    },
    /// The words that the client requested can be used. For the words of [`StreamRequest`] it comes before
    /// [`Opened`](Self::Opened).
    Words {
        /// Notes: guessed pronunciations.
        notes: Vec<String>,
        /// Warnings: entries of the list that are left out.
        warnings: Vec<String>,
    },
    /// The words that the client requested cannot be used; those before are kept.
    WordsRefused(Refused),
    /// A partial or final result.
    Event(Event),
    /// The network's output and states, if they were requested.
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

/// The state machine of one client's protocol. Every method appends the actions to carry out to `actions`.
pub trait Protocol: Send {
    /// The name of the protocol in the metrics.
    fn name(&self) -> &'static str;

    /// Handles the beginning of the connection, before the client's first message.
    fn begin(&mut self, _actions: &mut Vec<Action>) {}

    /// Handles a text message of the client.
    fn text(&mut self, text: &str, actions: &mut Vec<Action>);

    /// Handles a binary message of the client.
    fn binary(&mut self, bytes: Bytes, actions: &mut Vec<Action>);

    /// Handles an output of the recognizer.
    fn output(&mut self, output: RecognizerOutput, actions: &mut Vec<Action>);

    /// Ends the client's audio, at the client's request or because the server closes the stream.
    fn end(&mut self, actions: &mut Vec<Action>);

    /// The text message that reports an error before a close; `None` if the protocol has none.
    fn error(&self, _code: &str, _message: &str) -> Option<String> {
        None
    }
}

/// Properties of the model that protocols report to clients.
#[derive(Clone, Debug, Default)]
pub struct ModelInfo {
    /// Sample rate, Hz.
    pub sample_rate: u32,
    /// Texts of the tokens by id, `[V]`.
    pub tokens: Vec<String>,
    /// Id of the blank token.
    pub blank: u32,
    /// Shapes of the tensors in [`TraceSnapshot::state`].
    pub states: Vec<Vec<usize>>,
    /// The words that are recognized; empty with a language model, or if the model outputs other units.
    pub words: Vec<String>,
    /// The model's languages as BCP 47 tags; empty if they are unknown.
    pub languages: Vec<String>,
    /// Trailing silence that ends an utterance unless the client sets it, seconds.
    pub silence: f64,
    /// Whether hotwords can be used.
    pub hotwords: bool,
    /// Whether final results can have alternatives.
    pub alternatives: bool,
}

/// The warning for a request with hotwords that the model cannot use.
pub(super) const NO_HOTWORDS: &str = "hotwords have no effect: they need a language model or a model with its own words, without a list of phrases";

/// Maximum length of an error message, characters: it may quote what the client sent.
const MAX_MESSAGE: usize = 300;

/// Cuts a message to [`MAX_MESSAGE`] characters.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
