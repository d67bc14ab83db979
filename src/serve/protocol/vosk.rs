//! vosk-server's websocket protocol (`websocket/asr_server.py`): a text with `config`, 16-bit PCM in binary
//! messages with one reply each, and `{"eof" : 1}`.

use std::fmt::Write;

use axum::body::Bytes;
use serde_json::Value;

use crate::audio::{Encoding, RawFormat};
use crate::decode::MAX_NBEST;
use crate::recognizer::{Event, Segment, Word};

use super::word_list::{WordList, strings};
use super::{Action, Protocol, RecognizerOutput, SAMPLE_RATES, StreamRequest, close};

/// Sample rate unless a config sets another one, Hz.
pub const DEFAULT_RATE: u32 = 8_000;

/// The state of a connection with a client of vosk-server.
pub struct VoskProtocol {
    sample_rate: u32,
    words: bool,
    /// Number of alternatives in a result; 0 for a result without alternatives.
    alternatives: usize,
    /// The phrases to be recognized; `None` for the server's words.
    phrases: Option<WordList>,
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
            alternatives: 0,
            phrases: None,
            opened: false,
            ended: false,
            partial: String::new(),
            finals: Vec::new(),
        }
    }

    fn open(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.opened, true) {
            let format = RawFormat { sample_rate: self.sample_rate, channels: 1, encoding: Encoding::S16Le };
            let (words, nbest) = (self.phrases.clone(), Some(self.alternatives.max(1)));
            actions.push(Action::Open(StreamRequest { words, nbest, ..StreamRequest::new(format) }));
        }
    }

    /// Applies a config. Once the stream is open only its phrases have an effect, from the next utterance on.
    fn configure(&mut self, config: &Value, actions: &mut Vec<Action>) -> Result<(), String> {
        if let Some(phrases) = phrases(config)? {
            self.phrases = (!phrases.is_empty()).then_some(WordList::PlainPhrases(phrases));
            if let Some(list) = &self.phrases {
                list.check().map_err(|problem| format!("phrase_list: {problem}"))?;
            }
            if self.opened {
                actions.push(Action::Words(self.phrases.clone()));
            }
        }
        if self.opened {
            return Ok(());
        }
        if let Some(rate) = field(config, "sample_rate") {
            let (low, high) = (SAMPLE_RATES.start(), SAMPLE_RATES.end());
            // Existing clients write 8000, 8000.0 and "8000".
            let number = rate.as_f64().or_else(|| rate.as_str()?.parse().ok());
            self.sample_rate = number
                .filter(|r| (f64::from(*low)..=f64::from(*high)).contains(r))
                .map(|r| r as u32)
                .ok_or_else(|| format!("expected a sample_rate from {low} to {high}, found {rate}"))?;
        }
        if let Some(words) = field(config, "words") {
            self.words = number_of("words", words, usize::MAX)? > 0;
        }
        if let Some(alternatives) = field(config, "max_alternatives") {
            self.alternatives = number_of("max_alternatives", alternatives, MAX_NBEST)?;
        }
        Ok(())
    }

    /// Builds the reply with all final results since the last reply.
    fn result(&mut self) -> String {
        let segments = std::mem::take(&mut self.finals);
        if self.alternatives > 0 {
            return alternatives(&joined(&segments, self.alternatives), self.words);
        }
        let words: Vec<Word> = segments.iter().flat_map(|segment| segment.words.iter().cloned()).collect();
        let texts: Vec<&str> = segments.iter().map(|segment| segment.text.as_str()).collect();
        result(&texts.join(" "), if self.words { &words } else { &[] })
    }
}

/// A field of a config; null counts as absent.
fn field<'a>(config: &'a Value, name: &str) -> Option<&'a Value> {
    config.get(name).filter(|value| !value.is_null())
}

/// The phrases of a config: its `phrase_list`, or `grammar`, which may be the text of a JSON list as in Vosk's library.
///
/// # Errors
/// When it is no list of strings, or there are both.
fn phrases(config: &Value) -> Result<Option<Vec<String>>, String> {
    let (name, value) = match (field(config, "phrase_list"), field(config, "grammar")) {
        (Some(_), Some(_)) => return Err("expected phrase_list or grammar, found both".into()),
        (Some(list), None) => ("phrase_list", list.clone()),
        (None, Some(Value::String(text))) => {
            let list = serde_json::from_str(text);
            ("grammar", list.map_err(|error| format!("grammar: expected a list as JSON: {error}"))?)
        }
        (None, Some(list)) => ("grammar", list.clone()),
        (None, None) => return Ok(None),
    };
    strings(&value).map(Some).map_err(|problem| format!("{name}: {problem}"))
}

/// A number of a config; existing clients write true and false too.
fn number_of(name: &str, value: &Value, max: usize) -> Result<usize, String> {
    let number = match value {
        Value::Bool(on) => Some(usize::from(*on)),
        value => value.as_u64().and_then(|number| usize::try_from(number).ok()),
    };
    let expected = || match max {
        usize::MAX => format!("expected {name} as true or false, found {value}"),
        max => format!("expected {name} from 0 to {max}, found {value}"),
    };
    number.filter(|number| *number <= max).ok_or_else(expected)
}

/// A text of all segments of a reply.
struct Text {
    /// Score, nats: greater for likelier texts.
    score: f64,
    text: String,
    words: Vec<Word>,
}

/// The `n` best texts of consecutive segments together, the best first. The score of the best is the sum of the
/// logarithms of its words' confidences: in Vosk the confidence of an alternative is a score as well, not a
/// probability.
fn joined(segments: &[Segment], n: usize) -> Vec<Text> {
    let log = |word: &Word| f64::from(word.confidence).max(1e-9).ln();
    let mut best = vec![Text { score: 0.0, text: String::new(), words: Vec::new() }];
    for segment in segments {
        let likelihood: f64 = segment.words.iter().map(log).sum();
        let only = [(segment.text.as_str(), 0.0, segment.words.as_slice())];
        let others = segment.alternatives.iter().skip(1);
        let others =
            others.map(|other| (other.text.as_str(), f64::from(other.score), other.words.as_slice()));
        let ways: Vec<_> = only.into_iter().chain(others).take(n).collect();
        let mut longer: Vec<Text> = Vec::with_capacity(best.len() * ways.len());
        for before in &best {
            longer.extend(ways.iter().map(|&(text, score, words)| Text {
                score: before.score + likelihood + score,
                text: [before.text.as_str(), text].join(" ").trim().into(),
                words: [&before.words, words].concat(),
            }));
        }
        // The sort is stable: of equal scores, the best text of each segment stays first.
        longer.sort_by(|a, b| b.score.total_cmp(&a.score));
        longer.truncate(n);
        best = longer;
    }
    best
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
            if let Err(problem) = self.configure(config, actions) {
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
            RecognizerOutput::Trace(_) | RecognizerOutput::Opened { .. } | RecognizerOutput::Words { .. } => {
            }
            RecognizerOutput::WordsRefused(refused) => {
                let problem = format!("phrase_list: {}", refused.message());
                actions.push(Action::close(refused.codes().0, problem));
            }
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

/// Builds the reply with alternatives; without words, a likelihood of 1.
fn alternatives(texts: &[Text], with_words: bool) -> String {
    let texts = texts.iter().map(|Text { score, text, words }| {
        let confidence = if texts.len() == 1 && words.is_empty() { 1.0 } else { *score };
        let mut fields = vec![("confidence", number(confidence))];
        if with_words && !words.is_empty() {
            let words = words.iter().map(|w| {
                object(5, &[("end", number(w.end)), ("start", number(w.start)), ("word", string(&w.word))])
            });
            fields.push(("result", list(words)));
        }
        fields.push(("text", string(text)));
        object(3, &fields)
    });
    object(1, &[("alternatives", list(texts))])
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
    use super::super::word_list::Refused;
    use super::*;
    use crate::recognizer::Alternative;

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
        let open = Action::Open(StreamRequest::new(format));
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
    fn alternatives_are_those_of_all_finals_of_a_reply() {
        let other = |text: &str, score: f32| Alternative {
            text: text.into(),
            confidence: 0.1,
            score,
            words: vec![Word { word: text.into(), start: 0.4, end: 1.0, confidence: 0.5 }],
        };
        let with = |best: &str, others: &[(&str, f32)]| Segment {
            text: best.into(),
            alternatives: [(best, 0.0)]
                .iter()
                .chain(others)
                .map(|&(text, score)| other(text, score))
                .collect(),
            ..one()
        };
        let mut vosk = VoskProtocol::new();
        assert_eq!(say(&mut vosk, r#"{"config": {"max_alternatives": 3}}"#), []);
        output(
            &mut vosk,
            RecognizerOutput::Event(Event::Final(with("one", &[("nine", -1.0), ("on", -5.0)]))),
        );
        output(&mut vosk, RecognizerOutput::Event(Event::Final(with("two", &[("too", -2.0)]))));
        let reply: Value = serde_json::from_str(&vosk.result()).expect("JSON");
        let found: Vec<_> = reply["alternatives"].as_array().expect("a list").iter().collect();
        let texts: Vec<_> = found.iter().map(|a| a["text"].as_str().expect("a text")).collect();
        assert_eq!(texts, ["one two", "nine two", "one too"]);
        let scores: Vec<_> = found.iter().map(|a| a["confidence"].as_f64().expect("a number")).collect();
        assert_eq!(scores, [0.0, -1.0, -2.0]);
        assert_eq!(found[1]["result"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn phrases_are_those_of_the_stream_or_of_the_next_utterance() {
        let words = |phrases: &[&str]| {
            Some(WordList::PlainPhrases(phrases.iter().map(|phrase| (*phrase).into()).collect()))
        };
        for config in [
            r#"{"config": {"phrase_list": ["one two", "[unk]"]}}"#,
            r#"{"config": {"grammar": ["one two", "[unk]"]}}"#,
            r#"{"config": {"grammar": "[\"one two\", \"[unk]\"]"}}"#,
        ] {
            let mut vosk = VoskProtocol::new();
            assert_eq!(say(&mut vosk, config), []);
            let mut actions = Vec::new();
            vosk.binary(Bytes::from_static(&[0, 0]), &mut actions);
            assert!(
                matches!(&actions[0], Action::Open(request) if request.words == words(&["one two", "[unk]"])),
                "{config}: {actions:?}"
            );
            assert_eq!(
                say(&mut vosk, r#"{"config": {"phrase_list": ["two"]}}"#),
                [Action::Words(words(&["two"]))]
            );
            assert_eq!(say(&mut vosk, r#"{"config": {"grammar": []}}"#), [Action::Words(None)]);
            assert_eq!(say(&mut vosk, r#"{"config": {"words": false}}"#), []);
            let refused = output(&mut vosk, RecognizerOutput::WordsRefused(Refused::Busy));
            assert!(matches!(refused[..], [Action::Close { code: 1013, .. }]));
        }
    }

    #[test]
    fn invalid_messages_are_closed_with_a_reason() {
        for (text, expected) in [
            ("config", 1007),
            (r#"{"config": {"sample_rate": -1}}"#, 1007),
            (r#"{"config": {"sample_rate": "fast"}}"#, 1007),
            (r#"{"config": {"phrase_list": "one two"}}"#, 1007),
            (r#"{"config": {"phrase_list": [1, 2]}}"#, 1007),
            (r#"{"config": {"phrase_list": ["one"], "grammar": ["one"]}}"#, 1007),
            (r#"{"config": {"grammar": "one two"}}"#, 1007),
            (r#"{"config": {"max_alternatives": 101}}"#, 1007),
            (r#"{"config": {"max_alternatives": -1}}"#, 1007),
            (r#"{"config": {"words": "yes"}}"#, 1007),
            (r#"{"hello": 1}"#, 1003),
        ] {
            let actions = say(&mut VoskProtocol::new(), text);
            assert!(matches!(actions[..], [Action::Close { code, .. }] if code == expected), "{text}");
        }
        assert_eq!(string("a\"\\\n"), "\"a\\\"\\\\\\u000a\"");
    }
}
