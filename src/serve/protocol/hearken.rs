//! Our own protocol, version 1: JSON messages told apart by `type`, audio as binary messages.
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

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::recognizer::{Event, Segment};

use super::machine::{
    Action, Glimpse, Heard, ModelInfo, PcmDecoder, Protocol, SAMPLE_RATES, SampleFormat, close, thousandths,
};

/// The version of the protocol that is spoken here.
pub const VERSION: u32 = 1;

/// A client's message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// The first message.
    Start {
        #[serde(default = "current")]
        version: u32,
        #[serde(default)]
        encoding: Encoding,
        /// Of the audio, Hz; any from 4000 to 192000.
        sample_rate: u32,
        /// Whether partial results are wanted.
        #[serde(default = "yes")]
        partials: bool,
        /// Whether to send the network's log-probabilities and states.
        #[serde(default)]
        trace: bool,
    },
    /// End the utterance here and go on.
    Flush,
    /// Whether somebody is there: browsers cannot send websocket's own pings.
    Ping,
    /// No more audio.
    Finish,
}

/// How samples are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    #[default]
    S16le,
    F32le,
}

fn current() -> u32 {
    VERSION
}

fn yes() -> bool {
    true
}

/// A segment as it is sent.
#[derive(Serialize)]
struct SegmentMessage<'a> {
    r#type: &'static str,
    text: &'a str,
    start: f64,
    end: f64,
    words: Vec<WordMessage<'a>>,
}

#[derive(Serialize)]
struct WordMessage<'a> {
    word: &'a str,
    start: f64,
    end: f64,
    confidence: f64,
}

fn segment_message(kind: &'static str, segment: &Segment) -> String {
    let words = segment.words.iter().map(|w| WordMessage {
        word: &w.word,
        start: thousandths(w.start),
        end: thousandths(w.end),
        confidence: thousandths(f64::from(w.confidence)),
    });
    let message = SegmentMessage {
        r#type: kind,
        text: &segment.text,
        start: thousandths(segment.start),
        end: thousandths(segment.end),
        words: words.collect(),
    };
    // Strings and finite numbers always become JSON.
    serde_json::to_string(&message).unwrap_or_default()
}

/// A conversation in our own protocol.
pub struct Own {
    model: ModelInfo,
    /// `None` before `start`.
    pcm: Option<PcmDecoder>,
    partials: bool,
    ended: bool,
}

impl Own {
    /// Before the first message.
    pub fn new(model: ModelInfo) -> Self {
        Self { model, pcm: None, partials: true, ended: false }
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
        let format = if encoding == Encoding::S16le { SampleFormat::S16Le } else { SampleFormat::F32Le };
        self.pcm = Some(PcmDecoder::new(format));
        self.partials = partials;
        actions.push(Action::Listen { sample_rate, trace });
    }

    fn ready_message(&self, watched: bool) -> String {
        let mut ready = json!({
            "type": "ready",
            "version": VERSION,
            "sample_rate": self.model.sample_rate,
            "server": concat!("hearken/", env!("CARGO_PKG_VERSION")),
            "trace": watched,
        });
        if watched {
            ready["tokens"] = json!(self.model.tokens);
            ready["blank"] = json!(self.model.blank);
            ready["states"] = json!(self.model.states);
        }
        ready.to_string()
    }
}

/// What is wrong, as it is told before a close.
pub fn error_message(name: &str, problem: &str) -> String {
    json!({"type": "error", "code": name, "message": problem}).to_string()
}

/// Says what is wrong, then closes.
fn refuse(code: u16, name: &str, problem: &str, actions: &mut Vec<Action>) {
    actions.push(Action::Send(error_message(name, problem)));
    actions.push(Action::close(code, problem));
}

/// Log-probabilities to two decimals; states, which lie within ±1 but for an LSTM's cells, as
/// whole numbers from -127 to 127.
fn glimpse_message(glimpse: &Glimpse) -> String {
    let log_probs: Vec<f64> =
        glimpse.log_probs.iter().map(|x| (f64::from(*x).max(-99.0) * 100.0).round() / 100.0).collect();
    let state: Vec<i32> = glimpse.state.iter().map(|x| (x.clamp(-1.0, 1.0) * 127.0).round() as i32).collect();
    json!({"type": "trace", "time": thousandths(glimpse.time), "log_probs": log_probs, "state": state})
        .to_string()
}

impl Protocol for Own {
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
            message if self.pcm.is_none() => self.start(&message, actions),
            ClientMessage::Start { .. } => {
                let problem = "the stream has started: a change of rate needs a new connection";
                refuse(close::PROTOCOL_ERROR, "started", problem, actions);
            }
            ClientMessage::Flush => actions.push(Action::Restart),
            ClientMessage::Finish => self.end(actions),
            // Answered above.
            ClientMessage::Ping => {}
        }
    }

    fn binary(&mut self, bytes: &[u8], actions: &mut Vec<Action>) {
        if self.ended {
            return;
        }
        match self.pcm.as_mut().map(|pcm| pcm.push(bytes)) {
            None => refuse(close::UNSUPPORTED, "not_started", "audio came before `start`", actions),
            Some(Ok(samples)) => actions.push(Action::Audio(samples)),
            Some(Err(problem)) => refuse(close::INVALID_DATA, "samples", &problem, actions),
        }
    }

    fn heard(&mut self, heard: Heard, actions: &mut Vec<Action>) {
        match heard {
            Heard::Listening { watched } => actions.push(Action::Send(self.ready_message(watched))),
            Heard::Event(Event::Partial(segment)) if self.partials => {
                actions.push(Action::Send(segment_message("partial", &segment)));
            }
            Heard::Event(Event::Partial(_)) | Heard::Mark => {}
            Heard::Event(Event::Final(segment)) => {
                actions.push(Action::Send(segment_message("final", &segment)));
            }
            Heard::Glimpse(glimpse) => actions.push(Action::Send(glimpse_message(&glimpse))),
            Heard::Restarted => actions.push(Action::Send(json!({"type": "flushed"}).to_string())),
            Heard::Finished { seconds } => {
                let end = json!({"type": "end", "seconds": thousandths(seconds)});
                actions.push(Action::Send(end.to_string()));
                actions.push(Action::close(close::NORMAL, ""));
            }
            Heard::Failed(problem) => refuse(close::INTERNAL, "recogniser", &problem, actions),
        }
    }

    fn end(&mut self, actions: &mut Vec<Action>) {
        if self.pcm.is_none() {
            actions.push(Action::close(close::NORMAL, ""));
        } else if !std::mem::replace(&mut self.ended, true) {
            actions.push(Action::Finish);
        }
    }

    fn problem(&self, name: &str, problem: &str) -> Option<String> {
        Some(error_message(name, problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognizer::Word;

    fn own() -> Own {
        let tokens = vec!["<blk>".into(), "▁one".into()];
        Own::new(ModelInfo { sample_rate: 16_000, tokens, blank: 0, states: vec![vec![1, 1, 3]] })
    }

    fn say(own: &mut Own, text: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        own.text(text, &mut actions);
        actions
    }

    #[test]
    fn start_audio_finish() {
        let mut own = own();
        let actions =
            say(&mut own, r#"{"type":"start","sample_rate":48000,"encoding":"f32le","trace":true}"#);
        assert_eq!(actions, [Action::Listen { sample_rate: 48_000, trace: true }]);
        let mut actions = Vec::new();
        own.heard(Heard::Listening { watched: true }, &mut actions);
        assert!(matches!(&actions[0], Action::Send(t) if t.contains("\"ready\"") && t.contains("▁one")));
        let mut actions = Vec::new();
        own.binary(&0.5f32.to_le_bytes(), &mut actions);
        assert_eq!(actions, [Action::Audio(vec![0.5])]);
        assert_eq!(say(&mut own, r#"{"type":"ping"}"#), [Action::Send(r#"{"type":"pong"}"#.into())]);
        assert_eq!(say(&mut own, r#"{"type":"finish"}"#), [Action::Finish]);
        assert_eq!(say(&mut own, r#"{"type":"finish"}"#), [], "once is enough");
        let mut actions = Vec::new();
        own.heard(Heard::Finished { seconds: 1.0 }, &mut actions);
        assert!(matches!(actions[1], Action::Close { code: 1000, .. }));
    }

    #[test]
    fn events_have_words_with_times() {
        let word = Word { word: "one".into(), start: 0.1234, end: 0.5, confidence: 0.9 };
        let segment = Segment { text: "one".into(), start: 0.0, end: 0.6, words: vec![word] };
        assert_eq!(
            segment_message("final", &segment),
            r#"{"type":"final","text":"one","start":0.0,"end":0.6,"words":[{"word":"one","start":0.123,"end":0.5,"confidence":0.9}]}"#
        );
    }

    #[test]
    fn what_is_wrong_is_said_before_the_close() {
        for (text, code) in [
            ("{}", 1007),
            (r#"{"type":"finish"}"#, 1002),
            (r#"{"type":"start","version":2,"sample_rate":16000}"#, 1002),
            (r#"{"type":"start","sample_rate":1}"#, 1007),
            (r#"{"type":"start","sample_rate":16000,"colour":"red"}"#, 1007),
        ] {
            let actions = say(&mut own(), text);
            assert!(matches!(&actions[0], Action::Send(t) if t.contains("\"error\"")), "{text}: {actions:?}");
            assert!(matches!(actions[1], Action::Close { code: found, .. } if found == code), "{text}");
        }
        let mut own = own();
        say(&mut own, r#"{"type":"start","sample_rate":16000}"#);
        let again = say(&mut own, r#"{"type":"start","sample_rate":8000}"#);
        assert!(matches!(again[1], Action::Close { code: 1002, .. }));
    }
}
