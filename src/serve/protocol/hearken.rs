//! hearken's own protocol, version 1: JSON messages with a `type`, audio as binary messages.
//!
//! ```text
//! → {"type":"start","version":1,"encoding":"s16le","sample_rate":48000,"partials":true,"trace":false}
//! ← {"type":"ready","version":1,"sample_rate":16000,…}
//! → binary audio, mono, any length
//! ← {"type":"partial","text":"one two","start":0.0,"end":1.3,"words":[{"word","start","end","confidence"},…]}
//! ← {"type":"final",…}
//! → {"type":"configure","hotwords":["Nuuk"]}   other words from the next utterance on
//! ← {"type":"configured"}
//! → {"type":"flush"}     ends the utterance here; its final is followed by {"type":"flushed"}
//! → {"type":"ping"}      answered at once by {"type":"pong"}
//! → {"type":"finish"}
//! ← {"type":"final",…}, {"type":"end","seconds":12.3}, close 1000
//! ```

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::audio::{Encoding, RawFormat};
use crate::decode::MAX_NBEST;
use crate::output::json::event;
use crate::recognizer::Event;
use crate::units::thousandths;

use super::word_list::WordList;
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
        /// Lines of a file of phrases, which are recognized in place of the server's words.
        phrases: Option<Vec<String>>,
        /// Whether the phrases stand in dictation with the server's language model; false by default.
        #[serde(default)]
        dictation: bool,
        /// Lines of a file of hotwords.
        hotwords: Option<Vec<String>>,
        /// Number of alternatives of each final result; the server's setting by default.
        nbest: Option<usize>,
    },
    /// Changes the words from the next utterance on; without a list, to those of the server.
    Configure {
        /// As in `start`.
        phrases: Option<Vec<String>>,
        /// As in `start`.
        #[serde(default)]
        dictation: bool,
        /// As in `start`.
        hotwords: Option<Vec<String>>,
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
    /// `ready` was sent.
    is_open: bool,
    ended: bool,
    /// Bytes of audio since the last `flush`.
    received: usize,
    /// An utterance has ended within a sample.
    is_cut: bool,
    /// Fields of `ready` about the words of `start`.
    notes: Map<String, Value>,
}

impl HearkenProtocol {
    /// Creates the state before the first message.
    pub fn new(model: ModelInfo) -> Self {
        Self {
            model,
            encoding: None,
            partials: true,
            is_open: false,
            ended: false,
            received: 0,
            is_cut: false,
            notes: Map::new(),
        }
    }

    fn start(&mut self, message: ClientMessage, actions: &mut Vec<Action>) {
        let ClientMessage::Start {
            version,
            encoding,
            sample_rate,
            partials,
            trace,
            phrases,
            dictation,
            hotwords,
            nbest,
        } = message
        else {
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
        let words = match word_list(phrases, dictation, hotwords) {
            Ok(words) => words,
            Err(problem) => return refuse(close::INVALID_DATA, "words", &problem, actions),
        };
        if let Err(problem) = self.check_nbest(nbest, words.is_some()) {
            return refuse(close::INVALID_DATA, "nbest", &problem, actions);
        }
        let encoding = match encoding {
            SampleEncoding::S16le => Encoding::S16Le,
            SampleEncoding::F32le => Encoding::F32Le,
        };
        self.encoding = Some(encoding);
        self.partials = partials;
        let format = RawFormat { sample_rate, channels: 1, encoding };
        actions.push(Action::Open(StreamRequest { format, trace, silence: None, words, nbest }));
    }

    fn check_nbest(&self, nbest: Option<usize>, brings_words: bool) -> Result<(), String> {
        match nbest {
            Some(n) if !(1..=MAX_NBEST).contains(&n) => {
                Err(format!("expected nbest from 1 to {MAX_NBEST}, found {n}"))
            }
            Some(2..) if !self.model.alternatives && !brings_words => {
                Err("nbest needs words of a lexicon, of a language model or of phrases".into())
            }
            _ => Ok(()),
        }
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
        if let Some(fields) = ready.as_object_mut() {
            fields.extend(self.notes.clone());
        }
        ready.to_string()
    }
}

/// The list of words of a message, if it has one.
///
/// # Errors
/// When it has two, one that exceeds a limit, or dictation without phrases.
fn word_list(
    phrases: Option<Vec<String>>,
    dictation: bool,
    hotwords: Option<Vec<String>>,
) -> Result<Option<WordList>, String> {
    let (field, list) = match (phrases, hotwords) {
        (Some(_), Some(_)) => return Err("expected phrases or hotwords, found both".into()),
        (None, _) if dictation => return Err("dictation has no effect without phrases".into()),
        (Some(phrases), None) if dictation => ("phrases", WordList::PhrasesInDictation(phrases)),
        (Some(phrases), None) => ("phrases", WordList::Phrases(phrases)),
        (None, Some(hotwords)) => ("hotwords", WordList::Hotwords(hotwords)),
        (None, None) => return Ok(None),
    };
    list.check().map_err(|problem| format!("{field}: {problem}"))?;
    Ok(Some(list))
}

/// Fields for notes and warnings about words; without those that are empty.
fn notes_and_warnings(notes: &[String], warnings: &[String]) -> Map<String, Value> {
    let fields = [("notes", notes), ("warnings", warnings)];
    fields
        .into_iter()
        .filter(|(_, texts)| !texts.is_empty())
        .map(|(name, texts)| (name.into(), json!(texts)))
        .collect()
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
                let problem = format!("expected start, configure, flush, ping or finish as JSON: {error}");
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
            message if self.encoding.is_none() => self.start(message, actions),
            ClientMessage::Start { .. } => {
                let problem = "the stream has already started: a new format needs a new connection";
                refuse(close::PROTOCOL_ERROR, "started", problem, actions);
            }
            ClientMessage::Configure { phrases, dictation, hotwords } => {
                match word_list(phrases, dictation, hotwords) {
                    Ok(words) => actions.push(Action::Words(words)),
                    Err(problem) => refuse(close::INVALID_DATA, "words", &problem, actions),
                }
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
            RecognizerOutput::Opened { traced } => {
                self.is_open = true;
                actions.push(Action::Send(self.ready_message(traced)));
            }
            RecognizerOutput::Words { notes, warnings } => {
                let mut fields = notes_and_warnings(&notes, &warnings);
                if self.is_open {
                    fields.insert("type".into(), json!("configured"));
                    actions.push(Action::Send(Value::Object(fields).to_string()));
                } else {
                    self.notes = fields;
                }
            }
            RecognizerOutput::WordsRefused(refused) => {
                let (close_code, code) = refused.codes();
                refuse(close_code, code, refused.message(), actions);
            }
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
    use super::super::word_list::Refused;
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
        let request = StreamRequest { trace: true, nbest: None, ..StreamRequest::new(format) };
        assert_eq!(actions, [Action::Open(request)]);
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
    fn words_are_changed_while_a_stream_runs() {
        let mut protocol = protocol();
        let actions =
            say(&mut protocol, r#"{"type":"start","sample_rate":16000,"phrases":["one"],"nbest":3}"#);
        let words = Some(WordList::Phrases(vec!["one".into()]));
        assert!(
            matches!(&actions[..], [Action::Open(request)] if request.words == words && request.nbest == Some(3))
        );
        let mut actions = Vec::new();
        let notes = vec!["a guess".to_string()];
        protocol.output(RecognizerOutput::Words { notes, warnings: Vec::new() }, &mut actions);
        assert_eq!(actions, []);
        protocol.output(RecognizerOutput::Opened { traced: false }, &mut actions);
        assert!(
            matches!(&actions[0], Action::Send(t) if t.contains(r#""notes":["a guess"]"#)),
            "{actions:?}"
        );
        let words = Some(WordList::Hotwords(vec!["two".into()]));
        assert_eq!(say(&mut protocol, r#"{"type":"configure","hotwords":["two"]}"#), [Action::Words(words)]);
        let mut actions = Vec::new();
        let done = RecognizerOutput::Words { notes: Vec::new(), warnings: Vec::new() };
        protocol.output(done, &mut actions);
        assert_eq!(actions, [Action::Send(r#"{"type":"configured"}"#.into())]);
        let words = Some(WordList::PhrasesInDictation(vec!["two".into()]));
        let configure = r#"{"type":"configure","phrases":["two"],"dictation":true}"#;
        assert_eq!(say(&mut protocol, configure), [Action::Words(words)]);
        assert_eq!(say(&mut protocol, r#"{"type":"configure"}"#), [Action::Words(None)]);
        let mut actions = Vec::new();
        protocol.output(RecognizerOutput::WordsRefused(Refused::Invalid("line 1".into())), &mut actions);
        assert!(matches!(&actions[1], Action::Close { code: 1007, .. }));
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
            (r#"{"type":"start","sample_rate":16000,"dictation":true}"#, 1007),
            (r#"{"type":"start","sample_rate":16000,"nbest":0}"#, 1007),
            (r#"{"type":"start","sample_rate":16000,"nbest":101,"phrases":["one"]}"#, 1007),
            (r#"{"type":"start","sample_rate":16000,"nbest":2}"#, 1007),
            (r#"{"type":"start","sample_rate":16000,"phrases":["one"],"hotwords":["one"]}"#, 1007),
            (r#"{"type":"start","sample_rate":16000,"hotwords":"one"}"#, 1007),
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
