//! vosk-server's websocket protocol (`websocket/asr_server.py`): a text with `config`, 16-bit PCM in binary
//! messages with one reply each, and `{"eof" : 1}`.

use std::fmt::Write;

use axum::body::Bytes;
use serde_json::Value;

use crate::audio::{Encoding, RawFormat};
use crate::recognizer::{Event, Segment, Word};

use super::{Action, Protocol, RecognizerOutput, SAMPLE_RATES, StreamRequest, close};

/// Sample rate unless a config sets another one, Hz.
pub const DEFAULT_RATE: u32 = 8_000;

/// The state of a connection with a client of vosk-server.
pub struct VoskProtocol {
    sample_rate: u32,
    words: bool,
    alternatives: bool,
    opened: bool,
    ended: bool,
    /// The text since the last final result.
    partial: String,
    /// Final results that were not part of a reply yet.
    finals: Vec<Segment>,
}

impl Default for VoskProtocol {
    fn default() -> Self {
        Self::new()
    }
}

impl VoskProtocol {
    /// Creates the state before the first message.
    pub fn new() -> Self {
        Self {
            sample_rate: DEFAULT_RATE,
            words: true,
            alternatives: false,
            opened: false,
            ended: false,
            partial: String::new(),
            finals: Vec::new(),
        }
    }

    fn open(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.opened, true) {
            let format = RawFormat { sample_rate: self.sample_rate, channels: 1, encoding: Encoding::S16Le };
            actions.push(Action::Open(StreamRequest { format, trace: false, silence: None }));
        }
    }

    /// Applies a config; once the stream is open it has no effect, as in vosk-server.
    fn configure(&mut self, config: &Value) -> Result<(), String> {
        if self.opened {
            return Ok(());
        }
        if let Some(rate) = config.get("sample_rate") {
            let (low, high) = (SAMPLE_RATES.start(), SAMPLE_RATES.end());
            // Existing clients write 8000, 8000.0 and "8000".
            let number = rate.as_f64().or_else(|| rate.as_str()?.parse().ok());
            self.sample_rate = number
                .filter(|r| (f64::from(*low)..=f64::from(*high)).contains(r))
                .map(|r| r as u32)
                .ok_or_else(|| format!("expected a sample_rate from {low} to {high}, found {rate}"))?;
        }
        if let Some(words) = config.get("words") {
            self.words = is_true(words);
        }
        if let Some(alternatives) = config.get("max_alternatives") {
            self.alternatives = is_true(alternatives);
        }
        Ok(())
    }

    /// Builds the reply with all final results since the last reply.
    fn result(&mut self) -> String {
        let mut words = Vec::new();
        let mut text = String::new();
        for segment in self.finals.drain(..) {
            if !text.is_empty() && !segment.text.is_empty() {
                text.push(' ');
            }
            text.push_str(&segment.text);
            words.extend(segment.words);
        }
        if self.alternatives {
            alternatives(&text, if self.words { &words } else { &[] }, &words)
        } else {
            result(&text, if self.words { &words } else { &[] })
        }
    }
}

/// Whether a value counts as true in Python.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Null => false,
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

impl Protocol for VoskProtocol {
    fn name(&self) -> &'static str {
        "vosk"
    }

    fn text(&mut self, text: &str, actions: &mut Vec<Action>) {
        if self.ended {
            return;
        }
        let message: Value = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => {
                let problem = format!("expected config, eof or reset as JSON: {error}");
                return actions.push(Action::close(close::INVALID_DATA, problem));
            }
        };
        if let Some(config) = message.get("config") {
            if let Err(problem) = self.configure(config) {
                actions.push(Action::close(close::INVALID_DATA, problem));
            }
        } else if message.get("eof").is_some() {
            self.end(actions);
        } else if message.get("reset").is_some() {
            self.open(actions);
            actions.push(Action::Restart);
        } else {
            actions.push(Action::close(close::UNSUPPORTED, "expected config, eof, reset or binary audio"));
        }
    }

    fn binary(&mut self, bytes: Bytes, actions: &mut Vec<Action>) {
        if self.ended {
            return;
        }
        self.open(actions);
        actions.push(Action::Audio(bytes));
        actions.push(Action::Mark);
    }

    fn output(&mut self, output: RecognizerOutput, actions: &mut Vec<Action>) {
        match output {
            RecognizerOutput::Event(Event::Partial(segment)) => self.partial = segment.text,
            RecognizerOutput::Event(Event::Final(segment)) => {
                self.partial.clear();
                if !segment.text.is_empty() {
                    self.finals.push(segment);
                }
            }
            RecognizerOutput::Trace(_) | RecognizerOutput::Opened { .. } => {}
            RecognizerOutput::Mark if self.finals.is_empty() => {
                actions.push(Action::Send(object(1, &[("partial", string(&self.partial))])));
            }
            RecognizerOutput::Mark | RecognizerOutput::Restarted => actions.push(Action::Send(self.result())),
            RecognizerOutput::Finished { .. } => {
                actions.push(Action::Send(self.result()));
                actions.push(Action::close(close::NORMAL, ""));
            }
            RecognizerOutput::Failed(problem) => actions.push(Action::close(close::INTERNAL, problem)),
        }
    }

    fn end(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.open(actions);
            actions.push(Action::Finish);
        }
    }
}

fn result(text: &str, words: &[Word]) -> String {
    let mut fields = Vec::new();
    if !words.is_empty() {
        let words = words.iter().map(|w| {
            object(
                3,
                &[
                    ("conf", number(f64::from(w.confidence))),
                    ("end", number(w.end)),
                    ("start", number(w.start)),
                    ("word", string(&w.word)),
                ],
            )
        });
        fields.push(("result", list(words)));
    }
    fields.push(("text", string(text)));
    object(1, &fields)
}

/// Builds the reply with one alternative, the best. Its confidence is the sum of the logarithms of the
/// words' confidences: in vosk it is a score as well, not a probability.
fn alternatives(text: &str, shown: &[Word], words: &[Word]) -> String {
    let confidence = match words {
        [] => 1.0,
        words => words.iter().map(|w| f64::from(w.confidence).max(1e-9).ln()).sum(),
    };
    let mut fields = vec![("confidence", number(confidence))];
    if !shown.is_empty() {
        let words = shown.iter().map(|w| {
            object(5, &[("end", number(w.end)), ("start", number(w.start)), ("word", string(&w.word))])
        });
        fields.push(("result", list(words)));
    }
    fields.push(("text", string(text)));
    object(1, &[("alternatives", list([object(3, &fields)].into_iter()))])
}

/// Formats an object like vosk: one key on each line, ` : ` after the key, indented by its depth.
fn object(depth: usize, fields: &[(&str, String)]) -> String {
    let pad = "  ".repeat(depth);
    let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{pad}\"{key}\" : {value}")).collect();
    format!("{{\n{}\n{}}}", fields.join(",\n"), &pad[2..])
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn number(x: f64) -> String {
    format!("{x:.6}")
}

fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Writing into a string does not fail.
            c if c.is_control() => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(vosk: &mut VoskProtocol, text: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        vosk.text(text, &mut actions);
        actions
    }

    fn output(vosk: &mut VoskProtocol, output: RecognizerOutput) -> Vec<Action> {
        let mut actions = Vec::new();
        vosk.output(output, &mut actions);
        actions
    }

    fn one() -> Segment {
        let word = Word { word: "one".into(), start: 0.36, end: 1.02, confidence: 1.0 };
        Segment {
            text: "one".into(),
            start: 0.0,
            end: 1.2,
            words: vec![word],
            phrases: Vec::new(),
            alternatives: Vec::new(),
        }
    }

    #[test]
    fn each_block_has_a_reply_in_the_format_of_vosk() {
        let mut vosk = VoskProtocol::new();
        assert_eq!(say(&mut vosk, r#"{"config": {"sample_rate": 16000.0}}"#), [], "no reply");
        let mut actions = Vec::new();
        let bytes = Bytes::from_static(&[0, 0x40]);
        vosk.binary(bytes.clone(), &mut actions);
        let format = RawFormat { sample_rate: 16_000, channels: 1, encoding: Encoding::S16Le };
        let open = Action::Open(StreamRequest { format, trace: false, silence: None });
        assert_eq!(actions, [open, Action::Audio(bytes), Action::Mark]);
        assert_eq!(output(&mut vosk, RecognizerOutput::Event(Event::Partial(one()))), []);
        let reply = output(&mut vosk, RecognizerOutput::Mark);
        assert_eq!(reply, [Action::Send("{\n  \"partial\" : \"one\"\n}".into())]);
        output(&mut vosk, RecognizerOutput::Event(Event::Final(one())));
        let expected = "{\n  \"result\" : [{\n      \"conf\" : 1.000000,\n      \"end\" : 1.020000,\n      \
                        \"start\" : 0.360000,\n      \"word\" : \"one\"\n    }],\n  \"text\" : \"one\"\n}";
        assert_eq!(output(&mut vosk, RecognizerOutput::Mark), [Action::Send(expected.into())]);
        let reply = output(&mut vosk, RecognizerOutput::Mark);
        assert_eq!(reply, [Action::Send("{\n  \"partial\" : \"\"\n}".into())]);
        assert_eq!(say(&mut vosk, r#"{"eof":1}"#), [Action::Finish]);
        let last = output(&mut vosk, RecognizerOutput::Finished { seconds: 1.0 });
        assert_eq!(last[0], Action::Send("{\n  \"text\" : \"\"\n}".into()));
        assert!(matches!(last[1], Action::Close { code: 1000, .. }));
    }

    #[test]
    fn the_text_after_an_endpoint_comes_with_the_next_block() {
        let mut vosk = VoskProtocol::new();
        let two = Segment { text: "two".into(), ..one() };
        output(&mut vosk, RecognizerOutput::Event(Event::Final(one())));
        output(&mut vosk, RecognizerOutput::Event(Event::Partial(two)));
        let reply = |vosk: &mut VoskProtocol| match &output(vosk, RecognizerOutput::Mark)[..] {
            [Action::Send(text)] => serde_json::from_str::<Value>(text).expect("JSON"),
            other => panic!("{other:?}"),
        };
        assert_eq!(reply(&mut vosk)["text"], "one");
        assert_eq!(reply(&mut vosk)["partial"], "two");
    }

    #[test]
    fn words_and_alternatives_are_as_configured() {
        let mut vosk = VoskProtocol::new();
        say(&mut vosk, r#"{"config": {"words": false}}"#);
        output(&mut vosk, RecognizerOutput::Event(Event::Final(one())));
        assert_eq!(vosk.result(), "{\n  \"text\" : \"one\"\n}");
        let mut vosk = VoskProtocol::new();
        say(&mut vosk, r#"{"config": {"max_alternatives": 3, "words": 1}}"#);
        let empty: Value = serde_json::from_str(&vosk.result()).expect("JSON");
        assert_eq!(empty["alternatives"][0]["confidence"], 1.0);
        output(&mut vosk, RecognizerOutput::Event(Event::Final(one())));
        let one: Value = serde_json::from_str(&vosk.result()).expect("JSON");
        assert_eq!(one["alternatives"][0]["result"][0]["word"], "one");
        assert!(one["alternatives"][0]["result"][0].get("conf").is_none());
    }

    #[test]
    fn invalid_messages_are_closed_with_a_reason() {
        for (text, expected) in [
            ("config", 1007),
            (r#"{"config": {"sample_rate": -1}}"#, 1007),
            (r#"{"config": {"sample_rate": "fast"}}"#, 1007),
            (r#"{"hello": 1}"#, 1003),
        ] {
            let actions = say(&mut VoskProtocol::new(), text);
            assert!(matches!(actions[..], [Action::Close { code, .. }] if code == expected), "{text}");
        }
        assert_eq!(string("a\"\\\n"), "\"a\\\"\\\\\\u000a\"");
    }
}
