//! sherpa-onnx's streaming websocket protocol: float32 samples in binary messages, then the text `Done`.
//! The C++ server then sends `Done!` and the client closes; the Python server closes itself.

use axum::body::Bytes;
use serde::Serialize;

use crate::audio::{Encoding, RawFormat};
use crate::recognizer::{Event, Segment};

use super::{Action, Protocol, RecognizerOutput, StreamRequest, close};

/// The server of sherpa-onnx whose responses are imitated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SherpaFlavor {
    /// `sherpa-onnx-online-websocket-server`: results with all fields, then `Done!`; the client closes.
    #[default]
    Cpp,
    /// `streaming_server.py`: results with `text` and `segment`; the server closes.
    Python,
}

/// The state of a connection with a sherpa-onnx client.
pub struct SherpaProtocol {
    flavor: SherpaFlavor,
    sample_rate: u32,
    opened: bool,
    ended: bool,
    /// Number of segments with text so far.
    segment: u64,
    /// The last final result after `Done`: held back because the last one of the stream has `is_eof`.
    held: Option<Segment>,
}

/// The C++ server's result.
#[derive(Serialize)]
struct Full<'a> {
    text: &'a str,
    tokens: Vec<String>,
    timestamps: Vec<f64>,
    ys_probs: Vec<f64>,
    lm_probs: [f64; 0],
    context_scores: [f64; 0],
    segment: u64,
    words: [u32; 0],
    start_time: f64,
    is_final: bool,
    is_eof: bool,
}

/// The Python server's result.
#[derive(Serialize)]
struct Short<'a> {
    text: &'a str,
    segment: u64,
}

impl SherpaProtocol {
    /// Creates the state before the first message. `sample_rate` is the model's in Hz; clients must send
    /// audio at this rate.
    pub fn new(flavor: SherpaFlavor, sample_rate: u32) -> Self {
        Self { flavor, sample_rate, opened: false, ended: false, segment: 0, held: None }
    }

    fn open(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.opened, true) {
            let format = RawFormat { sample_rate: self.sample_rate, channels: 1, encoding: Encoding::F32Le };
            actions.push(Action::Open(StreamRequest::new(format)));
        }
    }

    fn send(&self, segment: &Segment, is_final: bool, is_eof: bool, actions: &mut Vec<Action>) {
        let hundredths = |x: f64| (x * 100.0).round() / 100.0;
        let json = match self.flavor {
            SherpaFlavor::Python => {
                serde_json::to_string(&Short { text: &segment.text, segment: self.segment })
            }
            SherpaFlavor::Cpp => serde_json::to_string(&Full {
                text: &segment.text,
                // The recognizer outputs words: each is reported as one token.
                tokens: segment.words.iter().map(|w| format!(" {}", w.word)).collect(),
                timestamps: segment.words.iter().map(|w| hundredths(w.start - segment.start)).collect(),
                ys_probs: segment
                    .words
                    .iter()
                    .map(|w| hundredths(f64::from(w.confidence).max(1e-9).ln()))
                    .collect(),
                lm_probs: [],
                context_scores: [],
                segment: self.segment,
                words: [],
                start_time: hundredths(segment.start),
                is_final,
                is_eof,
            }),
        };
        // Serializing strings and finite numbers does not fail.
        actions.push(Action::Send(json.unwrap_or_default()));
    }

    /// Sends the final result that was held back, because it was not the last.
    fn release(&mut self, actions: &mut Vec<Action>) {
        if let Some(segment) = self.held.take() {
            self.send(&segment, true, false, actions);
            self.segment += u64::from(!segment.text.is_empty());
        }
    }
}

impl Protocol for SherpaProtocol {
    fn name(&self) -> &'static str {
        "sherpa"
    }

    fn text(&mut self, text: &str, actions: &mut Vec<Action>) {
        if self.ended {
            return;
        }
        if text.trim() == "Done" {
            self.end(actions);
        } else {
            actions.push(Action::close(close::UNSUPPORTED, "expected float32 samples or the text Done"));
        }
    }

    fn binary(&mut self, bytes: Bytes, actions: &mut Vec<Action>) {
        if !self.ended {
            self.open(actions);
            actions.push(Action::Audio(bytes));
        }
    }

    fn output(&mut self, output: RecognizerOutput, actions: &mut Vec<Action>) {
        match output {
            RecognizerOutput::Event(Event::Partial(segment)) => {
                self.release(actions);
                self.send(&segment, false, false, actions);
            }
            RecognizerOutput::Event(Event::Final(segment)) => {
                self.release(actions);
                self.held = Some(segment);
                if !self.ended {
                    self.release(actions);
                }
            }
            RecognizerOutput::Finished { seconds } => {
                let nothing = Segment {
                    text: String::new(),
                    start: seconds,
                    end: seconds,
                    words: Vec::new(),
                    phrases: Vec::new(),
                    alternatives: Vec::new(),
                };
                let last = self.held.take().unwrap_or(nothing);
                self.send(&last, true, true, actions);
                match self.flavor {
                    SherpaFlavor::Cpp => actions.push(Action::Send("Done!".into())),
                    SherpaFlavor::Python => actions.push(Action::close(close::NORMAL, "")),
                }
            }
            RecognizerOutput::Failed(problem) => actions.push(Action::close(close::INTERNAL, problem)),
            RecognizerOutput::Opened { .. }
            | RecognizerOutput::Words { .. }
            | RecognizerOutput::WordsRefused(_)
            | RecognizerOutput::Trace(_)
            | RecognizerOutput::Mark
            | RecognizerOutput::Restarted => {}
        }
    }

    fn end(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.open(actions);
            actions.push(Action::Finish);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognizer::Word;
    use serde_json::Value;

    fn segment(text: &str) -> Segment {
        let word = Word { word: text.into(), start: 1.234, end: 1.5, confidence: 1.0 };
        Segment {
            text: text.into(),
            start: 1.0,
            end: 1.6,
            words: vec![word],
            phrases: Vec::new(),
            alternatives: Vec::new(),
        }
    }

    fn texts(actions: &[Action]) -> Vec<&str> {
        actions.iter().filter_map(|a| if let Action::Send(t) = a { Some(t.as_str()) } else { None }).collect()
    }

    #[test]
    fn results_of_the_cpp_server() {
        let mut sherpa = SherpaProtocol::new(SherpaFlavor::Cpp, 16_000);
        let mut actions = Vec::new();
        let bytes = Bytes::copy_from_slice(&0.5f32.to_le_bytes());
        sherpa.binary(bytes.clone(), &mut actions);
        let format = RawFormat { sample_rate: 16_000, channels: 1, encoding: Encoding::F32Le };
        assert_eq!(actions, [Action::Open(StreamRequest::new(format)), Action::Audio(bytes)]);
        actions.clear();
        sherpa.output(RecognizerOutput::Event(Event::Partial(segment("one"))), &mut actions);
        sherpa.output(RecognizerOutput::Event(Event::Final(segment("one"))), &mut actions);
        sherpa.text("Done", &mut actions);
        sherpa.output(RecognizerOutput::Event(Event::Final(segment("two"))), &mut actions);
        sherpa.output(RecognizerOutput::Finished { seconds: 2.0 }, &mut actions);
        let texts = texts(&actions);
        assert_eq!(texts.last(), Some(&"Done!"));
        let json: Vec<Value> = texts[..3].iter().map(|t| serde_json::from_str(t).expect("JSON")).collect();
        let of =
            |i: usize| (json[i]["text"].as_str(), json[i]["segment"].as_u64(), json[i]["is_final"].as_bool());
        assert_eq!(of(0), (Some("one"), Some(0), Some(false)));
        assert_eq!(of(1), (Some("one"), Some(0), Some(true)));
        assert_eq!(of(2), (Some("two"), Some(1), Some(true)));
        assert_eq!(json[2]["is_eof"], true);
        assert_eq!(json[1]["is_eof"], false);
        assert_eq!(json[0]["timestamps"][0], 0.23);
        assert_eq!(json[0]["tokens"][0], " one");
        assert!(!actions.iter().any(|a| matches!(a, Action::Close { .. })), "the client closes");
    }

    #[test]
    fn results_of_the_python_server() {
        let mut sherpa = SherpaProtocol::new(SherpaFlavor::Python, 16_000);
        let mut actions = Vec::new();
        sherpa.text("Done", &mut actions);
        sherpa.output(RecognizerOutput::Event(Event::Final(segment("one"))), &mut actions);
        sherpa.output(RecognizerOutput::Finished { seconds: 2.0 }, &mut actions);
        assert_eq!(texts(&actions), [r#"{"text":"one","segment":0}"#]);
        assert!(matches!(actions.last(), Some(Action::Close { code: 1000, .. })));
    }

    #[test]
    fn other_text_is_refused() {
        let mut actions = Vec::new();
        SherpaProtocol::new(SherpaFlavor::Cpp, 16_000).text("hello", &mut actions);
        assert!(matches!(actions[..], [Action::Close { code: 1003, .. }]));
    }
}
