//! hearken's own protocol, version 1: JSON messages with a `type`, audio as binary messages.
//!
//! ```text
//! → {"type":"start","version":1,"encoding":"s16le","sample_rate":48000,"partials":true,"trace":false}
//! ← {"type":"ready","version":1,"sample_rate":16000,…}
//! → binary audio, mono, any length
//! ← {"type":"partial","text":"one two","start":0.0,"end":1.3,"words":[{"word","start","end","confidence"},…]}
//! ← {"type":"final",…}
//! → {"type":"flush"}     ends the utterance here; its final is followed by {"type":"flushed"}
//! → {"type":"ping"}      answered at once by {"type":"pong"}
//! → {"type":"finish"}
//! ← {"type":"final",…}, {"type":"end","seconds":12.3}, close 1000
//! ```

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::audio::{Encoding, RawFormat};
use crate::output::json::event;
use crate::recognizer::Event;
use crate::units::thousandths;

use super::{
    Action, ModelInfo, Protocol, RecognizerOutput, SAMPLE_RATES, StreamRequest, TraceSnapshot, close,
    shortened,
};

/// The supported version of the protocol.
pub const VERSION: u32 = 1;

/// A client's message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// The first message.
    Start {
        /// Version of the protocol; [`VERSION`] by default.
        #[serde(default = "current")]
        version: u32,
        /// Encoding of the samples in binary messages.
        #[serde(default)]
        encoding: SampleEncoding,
        /// Sample rate of the audio, Hz; from 4000 to 192000.
        sample_rate: u32,
        /// Whether partial results are sent; true by default.
        #[serde(default = "yes")]
        partials: bool,
        /// Whether the network's log-probabilities and states are sent; false by default.
        #[serde(default)]
        trace: bool,
    },
    /// Ends the utterance and begins another one.
    Flush,
    /// Requests a `pong`: scripts in a browser cannot send websocket pings.
    Ping,
    /// Ends the audio.
    Finish,
}

/// The encoding of the samples, mono.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleEncoding {
    /// 16-bit signed integers, little-endian.
    #[default]
    S16le,
    /// 32-bit floats, little-endian, full scale ±1.
    F32le,
}

fn current() -> u32 {
    VERSION
}

fn yes() -> bool {
    true
}

/// The state of a connection in hearken's own protocol.
pub struct HearkenProtocol {
    model: ModelInfo,
    /// `None` before `start`.
    encoding: Option<Encoding>,
    partials: bool,
    ended: bool,
    /// Bytes of audio since the last `flush`.
    received: usize,
    /// An utterance has ended within a sample.
    is_cut: bool,
}

impl HearkenProtocol {
    /// Creates the state before the first message.
    pub fn new(model: ModelInfo) -> Self {
        Self { model, encoding: None, partials: true, ended: false, received: 0, is_cut: false }
    }

    fn start(&mut self, message: &ClientMessage, actions: &mut Vec<Action>) {
        let &ClientMessage::Start { version, encoding, sample_rate, partials, trace } = message else {
            return refuse(
                close::PROTOCOL_ERROR,
                "not_started",
                "the first message must be `start`",
                actions,
            );
        };
        if version != VERSION {
            let problem = format!("expected version {VERSION} of the protocol, found {version}");
            return refuse(close::PROTOCOL_ERROR, "version", &problem, actions);
        }
        if !SAMPLE_RATES.contains(&sample_rate) {
            let (low, high) = (SAMPLE_RATES.start(), SAMPLE_RATES.end());
            let problem = format!("expected a sample_rate from {low} to {high} Hz, found {sample_rate}");
            return refuse(close::INVALID_DATA, "sample_rate", &problem, actions);
        }
        let encoding = match encoding {
            SampleEncoding::S16le => Encoding::S16Le,
            SampleEncoding::F32le => Encoding::F32Le,
        };
        self.encoding = Some(encoding);
        self.partials = partials;
        let format = RawFormat { sample_rate, channels: 1, encoding };
        actions.push(Action::Open(StreamRequest { format, trace, silence: None }));
    }

    fn end_utterance(&mut self) {
        let width = self.encoding.map_or(1, Encoding::bytes);
        self.is_cut |= !std::mem::take(&mut self.received).is_multiple_of(width);
    }

    fn ready_message(&self, traced: bool) -> String {
        let mut ready = json!({
            "type": "ready",
            "version": VERSION,
            "sample_rate": self.model.sample_rate,
            "server": concat!("hearken/", env!("CARGO_PKG_VERSION")),
            "trace": traced,
        });
        if traced {
            ready["tokens"] = json!(self.model.tokens);
            ready["blank"] = json!(self.model.blank);
            ready["states"] = json!(self.model.states);
        }
        ready.to_string()
    }
}

/// Builds the message that reports an error before a close.
pub fn error_message(code: &str, message: &str) -> String {
    json!({"type": "error", "code": code, "message": shortened(message)}).to_string()
}

/// Reports an error, then closes.
fn refuse(close_code: u16, code: &str, message: &str, actions: &mut Vec<Action>) {
    actions.push(Action::Send(error_message(code, message)));
    actions.push(Action::close(close_code, message));
}

/// Builds the message of a snapshot: log-probabilities rounded to two decimals, states clipped to ±1 and
/// scaled to integers from -127 to 127. (The states of `gru`, `rnn-tanh` and h of `lstm`
/// never exceed ±1.)
fn trace_message(trace: &TraceSnapshot) -> String {
    let log_probs: Vec<f64> =
        trace.log_probs.iter().map(|x| (f64::from(*x).max(-99.0) * 100.0).round() / 100.0).collect();
    let state: Vec<i32> = trace.state.iter().map(|x| (x.clamp(-1.0, 1.0) * 127.0).round() as i32).collect();
    json!({"type": "trace", "time": thousandths(trace.time), "log_probs": log_probs, "state": state})
        .to_string()
}

impl Protocol for HearkenProtocol {
    fn name(&self) -> &'static str {
        "hearken"
    }

    fn text(&mut self, text: &str, actions: &mut Vec<Action>) {
        let message: ClientMessage = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => {
                let problem = format!("expected start, flush, ping or finish as JSON: {error}");
                return refuse(close::INVALID_DATA, "message", &problem, actions);
            }
        };
        if message == ClientMessage::Ping {
            return actions.push(Action::Send(json!({"type": "pong"}).to_string()));
        }
        if self.ended {
            return;
        }
        match message {
            message if self.encoding.is_none() => self.start(&message, actions),
            ClientMessage::Start { .. } => {
                let problem = "the stream has already started: a new format needs a new connection";
                refuse(close::PROTOCOL_ERROR, "started", problem, actions);
            }
            ClientMessage::Flush => {
                self.end_utterance();
                actions.push(Action::Restart);
            }
            ClientMessage::Finish => self.end(actions),
            // Handled above.
            ClientMessage::Ping => {}
        }
    }

    fn binary(&mut self, bytes: Bytes, actions: &mut Vec<Action>) {
        if self.ended {
            return;
        }
        if self.encoding.is_some() {
            self.received += bytes.len();
            actions.push(Action::Audio(bytes));
        } else {
            refuse(close::UNSUPPORTED, "not_started", "audio was received before `start`", actions);
        }
    }

    fn output(&mut self, output: RecognizerOutput, actions: &mut Vec<Action>) {
        match output {
            RecognizerOutput::Opened { traced } => actions.push(Action::Send(self.ready_message(traced))),
            RecognizerOutput::Event(Event::Partial(_)) if !self.partials => {}
            RecognizerOutput::Event(output) => actions.push(Action::Send(event(None, &output))),
            RecognizerOutput::Mark => {}
            RecognizerOutput::Trace(trace) => actions.push(Action::Send(trace_message(&trace))),
            RecognizerOutput::Restarted => {
                actions.push(Action::Send(json!({"type": "flushed"}).to_string()));
            }
            RecognizerOutput::Finished { seconds } => {
                let mut end = json!({"type": "end", "seconds": thousandths(seconds)});
                if self.is_cut {
                    end["warnings"] = json!(["the audio ended within a sample"]);
                }
                actions.push(Action::Send(end.to_string()));
                actions.push(Action::close(close::NORMAL, ""));
            }
            RecognizerOutput::Failed(problem) => refuse(close::INTERNAL, "recognizer", &problem, actions),
        }
    }

    fn end(&mut self, actions: &mut Vec<Action>) {
        if self.encoding.is_none() {
            actions.push(Action::close(close::NORMAL, ""));
        } else if !std::mem::replace(&mut self.ended, true) {
            self.end_utterance();
            actions.push(Action::Finish);
        }
    }

    fn error(&self, code: &str, message: &str) -> Option<String> {
        Some(error_message(code, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognizer::{Segment, Word};

    fn protocol() -> HearkenProtocol {
        let tokens = vec!["<blk>".into(), "▁one".into()];
        HearkenProtocol::new(ModelInfo { sample_rate: 16_000, tokens, ..ModelInfo::default() })
    }

    fn say(protocol: &mut HearkenProtocol, text: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        protocol.text(text, &mut actions);
        actions
    }

    #[test]
    fn start_audio_finish() {
        let mut protocol = protocol();
        let actions =
            say(&mut protocol, r#"{"type":"start","sample_rate":48000,"encoding":"f32le","trace":true}"#);
        let format = RawFormat { sample_rate: 48_000, channels: 1, encoding: Encoding::F32Le };
        assert_eq!(actions, [Action::Open(StreamRequest { format, trace: true, silence: None })]);
        let mut actions = Vec::new();
        protocol.output(RecognizerOutput::Opened { traced: true }, &mut actions);
        assert!(matches!(&actions[0], Action::Send(t) if t.contains("\"ready\"") && t.contains("▁one")));
        let mut actions = Vec::new();
        protocol.binary(Bytes::from_static(&[1, 2, 3]), &mut actions);
        assert_eq!(actions, [Action::Audio(Bytes::from_static(&[1, 2, 3]))]);
        assert_eq!(say(&mut protocol, r#"{"type":"ping"}"#), [Action::Send(r#"{"type":"pong"}"#.into())]);
        assert_eq!(say(&mut protocol, r#"{"type":"finish"}"#), [Action::Finish]);
        assert_eq!(say(&mut protocol, r#"{"type":"finish"}"#), [], "once is enough");
        let mut actions = Vec::new();
        protocol.output(RecognizerOutput::Finished { seconds: 1.0 }, &mut actions);
        assert!(matches!(actions[1], Action::Close { code: 1000, .. }));
        assert!(matches!(&actions[0], Action::Send(t) if t.contains("within a sample")), "3 of 4 bytes");
    }

    #[test]
    fn events_have_words_with_times() {
        let word = Word { word: "one".into(), start: 0.1234, end: 0.5, confidence: 0.9 };
        let segment = Segment {
            text: "one".into(),
            start: 0.0,
            end: 0.6,
            words: vec![word],
            phrases: Vec::new(),
            alternatives: Vec::new(),
        };
        assert_eq!(
            event(None, &Event::Final(segment)),
            r#"{"type":"final","text":"one","start":0.0,"end":0.6,"words":[{"word":"one","start":0.123,"end":0.5,"confidence":0.9}]}"#
        );
    }

    #[test]
    fn an_error_is_reported_before_the_close() {
        for (text, code) in [
            ("{}", 1007),
            (r#"{"type":"finish"}"#, 1002),
            (r#"{"type":"start","version":2,"sample_rate":16000}"#, 1002),
            (r#"{"type":"start","sample_rate":1}"#, 1007),
            (r#"{"type":"start","sample_rate":16000,"color":"red"}"#, 1007),
        ] {
            let actions = say(&mut protocol(), text);
            assert!(matches!(&actions[0], Action::Send(t) if t.contains("\"error\"")), "{text}: {actions:?}");
            assert!(matches!(actions[1], Action::Close { code: found, .. } if found == code), "{text}");
        }
        let mut protocol = protocol();
        say(&mut protocol, r#"{"type":"start","sample_rate":16000}"#);
        let again = say(&mut protocol, r#"{"type":"start","sample_rate":8000}"#);
        assert!(matches!(again[1], Action::Close { code: 1002, .. }));
    }
}
