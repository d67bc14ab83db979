//! sherpa-onnx's streaming websocket protocols: float32 samples in binary messages, then `Done`.
//! The C++ server's ending (`Done!`, the client closes) and the Python server's (the server
//! closes).

use serde::Serialize;

use crate::recognizer::{Event, Segment};

use super::machine::{Action, Heard, PcmDecoder, Protocol, SampleFormat, close};

/// How a conversation ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// `sherpa-onnx-online-websocket-server`: full JSON, then `Done!`; the client closes.
    #[default]
    Cpp,
    /// `streaming_server.py`: `{"text","segment"}`; the server closes.
    Python,
}

/// A conversation with a sherpa-onnx client.
pub struct Sherpa {
    ending: Ending,
    sample_rate: u32,
    pcm: PcmDecoder,
    listening: bool,
    ended: bool,
    /// Counts segments that had something to say.
    segment: u64,
    /// The final that may be the stream's last.
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

impl Sherpa {
    /// Before the first message; `sample_rate` is the server's, which the client must know.
    pub fn new(ending: Ending, sample_rate: u32) -> Self {
        Self {
            ending,
            sample_rate,
            pcm: PcmDecoder::new(SampleFormat::F32Le),
            listening: false,
            ended: false,
            segment: 0,
            held: None,
        }
    }

    fn listen(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.listening, true) {
            actions.push(Action::Listen { sample_rate: self.sample_rate, trace: false });
        }
    }

    fn send(&self, segment: &Segment, is_final: bool, is_eof: bool, actions: &mut Vec<Action>) {
        let hundredths = |x: f64| (x * 100.0).round() / 100.0;
        let json = match self.ending {
            Ending::Python => serde_json::to_string(&Short { text: &segment.text, segment: self.segment }),
            Ending::Cpp => serde_json::to_string(&Full {
                text: &segment.text,
                // We know words: each counts as one token.
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
        // Strings and finite numbers always become JSON.
        actions.push(Action::Send(json.unwrap_or_default()));
    }

    /// Tells the final that was held back, which turned out not to be the last.
    fn release(&mut self, actions: &mut Vec<Action>) {
        if let Some(segment) = self.held.take() {
            self.send(&segment, true, false, actions);
            self.segment += u64::from(!segment.text.is_empty());
        }
    }
}

impl Protocol for Sherpa {
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

    fn binary(&mut self, bytes: &[u8], actions: &mut Vec<Action>) {
        if self.ended {
            return;
        }
        self.listen(actions);
        match self.pcm.push(bytes) {
            Ok(samples) => actions.push(Action::Audio(samples)),
            Err(problem) => actions.push(Action::close(close::INVALID_DATA, problem)),
        }
    }

    fn heard(&mut self, heard: Heard, actions: &mut Vec<Action>) {
        match heard {
            Heard::Event(Event::Partial(segment)) => {
                self.release(actions);
                self.send(&segment, false, false, actions);
            }
            Heard::Event(Event::Final(segment)) => {
                self.release(actions);
                self.held = Some(segment);
                if !self.ended {
                    self.release(actions);
                }
            }
            Heard::Finished { seconds } => {
                let nothing =
                    Segment { text: String::new(), start: seconds, end: seconds, words: Vec::new() };
                let last = self.held.take().unwrap_or(nothing);
                self.send(&last, true, true, actions);
                match self.ending {
                    Ending::Cpp => actions.push(Action::Send("Done!".into())),
                    Ending::Python => actions.push(Action::close(close::NORMAL, "")),
                }
            }
            Heard::Failed(problem) => actions.push(Action::close(close::INTERNAL, problem)),
            Heard::Listening { .. } | Heard::Glimpse(_) | Heard::Mark | Heard::Restarted => {}
        }
    }

    fn end(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.listen(actions);
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
        Segment { text: text.into(), start: 1.0, end: 1.6, words: vec![word] }
    }

    fn texts(actions: &[Action]) -> Vec<&str> {
        actions.iter().filter_map(|a| if let Action::Send(t) = a { Some(t.as_str()) } else { None }).collect()
    }

    #[test]
    fn the_cpp_server_s_way() {
        let mut sherpa = Sherpa::new(Ending::Cpp, 16_000);
        let mut actions = Vec::new();
        sherpa.binary(&0.5f32.to_le_bytes(), &mut actions);
        let listen = Action::Listen { sample_rate: 16_000, trace: false };
        assert_eq!(actions, [listen, Action::Audio(vec![0.5])]);
        actions.clear();
        sherpa.heard(Heard::Event(Event::Partial(segment("one"))), &mut actions);
        sherpa.heard(Heard::Event(Event::Final(segment("one"))), &mut actions);
        sherpa.text("Done", &mut actions);
        sherpa.heard(Heard::Event(Event::Final(segment("two"))), &mut actions);
        sherpa.heard(Heard::Finished { seconds: 2.0 }, &mut actions);
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
    fn the_python_server_s_way() {
        let mut sherpa = Sherpa::new(Ending::Python, 16_000);
        let mut actions = Vec::new();
        sherpa.text("Done", &mut actions);
        sherpa.heard(Heard::Event(Event::Final(segment("one"))), &mut actions);
        sherpa.heard(Heard::Finished { seconds: 2.0 }, &mut actions);
        assert_eq!(texts(&actions), [r#"{"text":"one","segment":0}"#]);
        assert!(matches!(actions.last(), Some(Action::Close { code: 1000, .. })));
    }

    #[test]
    fn text_and_numbers_that_are_none_are_refused() {
        let mut actions = Vec::new();
        Sherpa::new(Ending::Cpp, 16_000).text("hello", &mut actions);
        Sherpa::new(Ending::Cpp, 16_000).binary(&f32::NAN.to_le_bytes(), &mut actions);
        assert!(matches!(actions[0], Action::Close { code: 1003, .. }));
        assert!(matches!(actions[2], Action::Close { code: 1007, .. }));
    }
}
