//! vosk-server's websocket protocol (`websocket/asr_server.py`): a `config` text, PCM s16le in
//! binary messages, each of which gets one reply, and `{"eof" : 1}`.

use std::fmt::Write;

use serde_json::Value;

use crate::recognizer::{Event, Segment, Word};

use super::machine::{Action, Heard, PcmDecoder, Protocol, SAMPLE_RATES, SampleFormat, close};

/// The rate where no config says another, Hz.
pub const DEFAULT_RATE: u32 = 8_000;

/// A conversation with a vosk client.
pub struct Vosk {
    sample_rate: u32,
    words: bool,
    alternatives: bool,
    pcm: PcmDecoder,
    listening: bool,
    ended: bool,
    /// What is heard since the last final.
    partial: String,
    /// Finals that no reply has told yet.
    finals: Vec<Segment>,
}

impl Default for Vosk {
    fn default() -> Self {
        Self::new()
    }
}

impl Vosk {
    /// Before the first message.
    pub fn new() -> Self {
        Self {
            sample_rate: DEFAULT_RATE,
            words: true,
            alternatives: false,
            pcm: PcmDecoder::new(SampleFormat::S16Le),
            listening: false,
            ended: false,
            partial: String::new(),
            finals: Vec::new(),
        }
    }

    fn listen(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.listening, true) {
            actions.push(Action::Listen { sample_rate: self.sample_rate, trace: false });
        }
    }

    /// Later configs do not count, as in vosk-server.
    fn configure(&mut self, config: &Value) -> Result<(), String> {
        if self.listening {
            return Ok(());
        }
        if let Some(rate) = config.get("sample_rate") {
            let (low, high) = (SAMPLE_RATES.start(), SAMPLE_RATES.end());
            // Clients write 8000, 8000.0 and "8000".
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

    /// What was heard for good since the last reply.
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

/// As Python understands it.
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

impl Protocol for Vosk {
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
            self.listen(actions);
            actions.push(Action::Restart);
        } else {
            actions.push(Action::close(close::UNSUPPORTED, "expected config, eof, reset or binary audio"));
        }
    }

    fn binary(&mut self, bytes: &[u8], actions: &mut Vec<Action>) {
        if self.ended {
            return;
        }
        self.listen(actions);
        // Sixteen bits are always a number.
        if let Ok(samples) = self.pcm.push(bytes) {
            actions.push(Action::Audio(samples));
        }
        actions.push(Action::Mark);
    }

    fn heard(&mut self, heard: Heard, actions: &mut Vec<Action>) {
        match heard {
            Heard::Event(Event::Partial(segment)) => self.partial = segment.text,
            Heard::Event(Event::Final(segment)) => {
                self.partial.clear();
                if !segment.text.is_empty() {
                    self.finals.push(segment);
                }
            }
            Heard::Glimpse(_) | Heard::Listening { .. } => {}
            Heard::Mark if self.finals.is_empty() => {
                actions.push(Action::Send(object(1, &[("partial", string(&self.partial))])));
            }
            Heard::Mark | Heard::Restarted => actions.push(Action::Send(self.result())),
            Heard::Finished { .. } => {
                actions.push(Action::Send(self.result()));
                actions.push(Action::close(close::NORMAL, ""));
            }
            Heard::Failed(problem) => actions.push(Action::close(close::INTERNAL, problem)),
        }
    }

    fn end(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.listen(actions);
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

/// One alternative: the best. Its confidence is the sum of the words' logarithms, larger being
/// surer, as vosk's is a score and no probability.
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

/// An object as vosk writes it: a key a line, ` : ` between, indented by its depth.
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

    fn say(vosk: &mut Vosk, text: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        vosk.text(text, &mut actions);
        actions
    }

    fn hear(vosk: &mut Vosk, heard: Heard) -> Vec<Action> {
        let mut actions = Vec::new();
        vosk.heard(heard, &mut actions);
        actions
    }

    fn one() -> Segment {
        let word = Word { word: "one".into(), start: 0.36, end: 1.02, confidence: 1.0 };
        Segment { text: "one".into(), start: 0.0, end: 1.2, words: vec![word] }
    }

    #[test]
    fn a_reply_to_each_block_in_vosk_s_own_spelling() {
        let mut vosk = Vosk::new();
        assert_eq!(say(&mut vosk, r#"{"config": {"sample_rate": 16000.0}}"#), [], "no reply");
        let mut actions = Vec::new();
        vosk.binary(&[0, 0x40], &mut actions);
        let listen = Action::Listen { sample_rate: 16_000, trace: false };
        assert_eq!(actions, [listen, Action::Audio(vec![0.5]), Action::Mark]);
        assert_eq!(hear(&mut vosk, Heard::Event(Event::Partial(one()))), []);
        let reply = hear(&mut vosk, Heard::Mark);
        assert_eq!(reply, [Action::Send("{\n  \"partial\" : \"one\"\n}".into())]);
        hear(&mut vosk, Heard::Event(Event::Final(one())));
        let expected = "{\n  \"result\" : [{\n      \"conf\" : 1.000000,\n      \"end\" : 1.020000,\n      \
                        \"start\" : 0.360000,\n      \"word\" : \"one\"\n    }],\n  \"text\" : \"one\"\n}";
        assert_eq!(hear(&mut vosk, Heard::Mark), [Action::Send(expected.into())]);
        let reply = hear(&mut vosk, Heard::Mark);
        assert_eq!(reply, [Action::Send("{\n  \"partial\" : \"\"\n}".into())]);
        assert_eq!(say(&mut vosk, r#"{"eof":1}"#), [Action::Finish]);
        let last = hear(&mut vosk, Heard::Finished { seconds: 1.0 });
        assert_eq!(last[0], Action::Send("{\n  \"text\" : \"\"\n}".into()));
        assert!(matches!(last[1], Action::Close { code: 1000, .. }));
    }

    #[test]
    fn an_utterance_that_begins_where_another_ends_is_told_with_the_next_block() {
        let mut vosk = Vosk::new();
        let two = Segment { text: "two".into(), ..one() };
        hear(&mut vosk, Heard::Event(Event::Final(one())));
        hear(&mut vosk, Heard::Event(Event::Partial(two)));
        let reply = |vosk: &mut Vosk| match &hear(vosk, Heard::Mark)[..] {
            [Action::Send(text)] => serde_json::from_str::<Value>(text).expect("JSON"),
            other => panic!("{other:?}"),
        };
        assert_eq!(reply(&mut vosk)["text"], "one");
        assert_eq!(reply(&mut vosk)["partial"], "two");
    }

    #[test]
    fn words_and_alternatives_are_as_configured() {
        let mut vosk = Vosk::new();
        say(&mut vosk, r#"{"config": {"words": false}}"#);
        hear(&mut vosk, Heard::Event(Event::Final(one())));
        assert_eq!(vosk.result(), "{\n  \"text\" : \"one\"\n}");
        let mut vosk = Vosk::new();
        say(&mut vosk, r#"{"config": {"max_alternatives": 3, "words": 1}}"#);
        let empty: Value = serde_json::from_str(&vosk.result()).expect("JSON");
        assert_eq!(empty["alternatives"][0]["confidence"], 1.0);
        hear(&mut vosk, Heard::Event(Event::Final(one())));
        let one: Value = serde_json::from_str(&vosk.result()).expect("JSON");
        assert_eq!(one["alternatives"][0]["result"][0]["word"], "one");
        assert!(one["alternatives"][0]["result"][0].get("conf").is_none());
    }

    #[test]
    fn nonsense_is_closed_with_a_reason() {
        for (text, expected) in [
            ("config", 1007),
            (r#"{"config": {"sample_rate": -1}}"#, 1007),
            (r#"{"config": {"sample_rate": "fast"}}"#, 1007),
            (r#"{"hello": 1}"#, 1003),
        ] {
            let actions = say(&mut Vosk::new(), text);
            assert!(matches!(actions[..], [Action::Close { code, .. }] if code == expected), "{text}");
        }
        assert_eq!(string("a\"\\\n"), "\"a\\\"\\\\\\u000a\"");
    }
}
