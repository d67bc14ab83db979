//! The part of Home Assistant's Wyoming protocol for speech to text: events with data, and audio as their
//! payload.
//!
//! ```text
//! → describe                              ← info
//! → transcribe, audio-start, audio-chunk … audio-stop
//!                                         ← transcript-start, transcript-chunk …, transcript, transcript-stop
//! ```
//!
//! The transport passes an event as a text message, `{"type":…,"data":…}`, and its payload as the binary
//! message after it.

use axum::body::Bytes;
use serde_json::{Value, json};

use crate::audio::{Encoding, RawFormat};
use crate::recognizer::Event;

use super::word_list::{MAX_ENTRIES, WordList, strings};
use super::{
    Action, ModelInfo, NO_HOTWORDS, Protocol, RecognizerOutput, SAMPLE_RATES, StreamRequest, close, shortened,
};

/// Maximum number of channels.
const MAX_CHANNELS: u64 = 32;

/// Maximum number of words that the model's description lists.
const MAX_NAMED: usize = 20;

/// The state of a connection with a Wyoming client.
pub struct WyomingProtocol {
    model: ModelInfo,
    /// The format of the last audio; `None` before the stream is opened.
    format: Option<RawFormat>,
    /// The next binary message is audio.
    is_audio_next: bool,
    /// Further events are ignored.
    ended: bool,
    /// The client's `context`, which the transcript repeats.
    context: Value,
    /// The text of the utterance so far.
    text: String,
    /// Whether `transcript-start` was sent for the utterance.
    started: bool,
    /// The hotwords of the client; `None` for the server's words.
    hotwords: Option<WordList>,
    /// Warnings about the hotwords, for the next transcript.
    warnings: Vec<String>,
}

impl WyomingProtocol {
    /// Creates the state before the first event.
    pub fn new(model: ModelInfo) -> Self {
        Self {
            model,
            format: None,
            is_audio_next: false,
            ended: false,
            context: Value::Null,
            text: String::new(),
            started: false,
            hotwords: None,
            warnings: Vec::new(),
        }
    }

    /// Applies the names and terms of `transcribe`, which are hotwords.
    fn apply_hotwords(&mut self, data: &Value, actions: &mut Vec<Action>) -> Result<(), String> {
        let mut hotwords = Vec::new();
        for name in ["transcript_names", "transcript_terms"] {
            if !data[name].is_null() {
                hotwords.extend(strings(&data[name]).map_err(|problem| format!("{name}: {problem}"))?);
            }
        }
        if hotwords.len() > MAX_ENTRIES {
            let left_out = hotwords.len() - MAX_ENTRIES;
            self.warnings.push(format!("{left_out} hotwords beyond the first {MAX_ENTRIES} were left out"));
            hotwords.truncate(MAX_ENTRIES);
        }
        let list = (!hotwords.is_empty()).then_some(WordList::Keywords(hotwords));
        if list.is_some() && !self.model.hotwords {
            self.warnings.push(NO_HOTWORDS.into());
            return Ok(());
        }
        if list == self.hotwords {
            return Ok(());
        }
        if let Some(Err(problem)) = list.as_ref().map(WordList::check) {
            self.warnings.push(format!("hotwords have no effect: {problem}"));
            return Ok(());
        }
        self.hotwords = list;
        if self.format.is_some() {
            actions.push(Action::Words(self.hotwords.clone()));
        }
        Ok(())
    }

    fn info(&self) -> Value {
        let ModelInfo { words, languages, .. } = &self.model;
        let about = match words.len() {
            0 => "Open vocabulary".to_string(),
            1..=MAX_NAMED => format!("Recognizes {}", words.join(", ")),
            many => format!("Recognizes {many} words"),
        };
        let attribution = json!({"name": "hearken", "url": ""});
        let version = env!("CARGO_PKG_VERSION");
        json!({
            "asr": [{
                "name": "hearken",
                "attribution": attribution,
                "installed": true,
                "description": "Streaming speech recognition with recurrent networks",
                "version": version,
                "models": [{
                    "name": "hearken",
                    "attribution": attribution,
                    "installed": true,
                    "description": about,
                    "version": version,
                    "languages": languages,
                }],
                "supports_transcript_streaming": true,
                "requires_external_vad": true,
                "prefers_auto_gain_enabled": false,
                "prefers_noise_reduction_enabled": false,
            }],
            "tts": [], "handle": [], "intent": [], "wake": [], "mic": [], "snd": [],
        })
    }

    /// Applies the format of the audio: opens the stream, or changes its format.
    fn audio_format(&mut self, data: &Value, actions: &mut Vec<Action>) -> Result<(), String> {
        let number = |name: &str, expected: &str, is_good: &dyn Fn(u64) -> bool| {
            let number = data[name].as_u64().filter(|n| is_good(*n));
            number.ok_or_else(|| format!("expected {expected} as {name}, found {}", data[name]))
        };
        let rates = format!("{} to {} Hz", SAMPLE_RATES.start(), SAMPLE_RATES.end());
        let (low, high) = (u64::from(*SAMPLE_RATES.start()), u64::from(*SAMPLE_RATES.end()));
        let rate = number("rate", &rates, &|n| (low..=high).contains(&n))?;
        let width = number("width", "1 to 4 bytes", &|n| (1..=4).contains(&n))?;
        let channels = number("channels", "1 to 32", &|n| (1..=MAX_CHANNELS).contains(&n))?;
        let encoding = match width {
            1 => Encoding::S8,
            2 => Encoding::S16Le,
            3 => Encoding::S24Le,
            _ => Encoding::S32Le,
        };
        let format = RawFormat { sample_rate: rate as u32, channels: channels as u16, encoding };
        match self.format.replace(format) {
            None => {
                let words = self.hotwords.clone();
                actions.push(Action::Open(StreamRequest { words, ..StreamRequest::new(format) }));
            }
            Some(before) if before != format => actions.push(Action::Format(format)),
            Some(_) => {}
        }
        Ok(())
    }

    /// Ends the utterance; the transcript follows.
    fn stop(&mut self, actions: &mut Vec<Action>) {
        if self.format.is_some() {
            actions.push(Action::Restart);
        } else {
            // There was no audio.
            self.send_transcript(actions);
        }
    }

    fn refuse(&mut self, code: u16, name: &str, problem: &str, actions: &mut Vec<Action>) {
        self.ended = true;
        actions.push(Action::Send(error_event(name, problem)));
        actions.push(Action::close(code, problem));
    }

    fn language(&self) -> Value {
        json!(self.model.languages.first())
    }

    /// Sends text that will not change.
    fn send_chunk(&mut self, text: &str, actions: &mut Vec<Action>) {
        if text.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.started, true) {
            let start = json!({"language": self.language(), "context": self.context});
            actions.push(event("transcript-start", without_nulls(start)));
        }
        let chunk = if self.text.is_empty() { text.into() } else { format!(" {text}") };
        self.text += &chunk;
        actions.push(event("transcript-chunk", json!({ "text": chunk })));
    }

    /// Sends the whole text of the utterance, and `transcript-stop`.
    fn send_transcript(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::take(&mut self.started) {
            let start = json!({"language": self.language(), "context": self.context});
            actions.push(event("transcript-start", without_nulls(start)));
        }
        let text = std::mem::take(&mut self.text);
        let context = std::mem::take(&mut self.context);
        let warnings = std::mem::take(&mut self.warnings);
        let warnings = (!warnings.is_empty()).then_some(warnings);
        let language = self.language();
        let transcript =
            json!({"text": text, "language": language, "context": context, "warnings": warnings});
        actions.push(event("transcript", without_nulls(transcript)));
        actions.push(event("transcript-stop", Value::Null));
    }
}

impl Protocol for WyomingProtocol {
    fn name(&self) -> &'static str {
        "wyoming"
    }

    fn text(&mut self, text: &str, actions: &mut Vec<Action>) {
        if self.ended {
            return;
        }
        let message: Value = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(error) => {
                let problem = format!("expected an event as JSON: {error}");
                return self.refuse(close::INVALID_DATA, "event", &problem, actions);
            }
        };
        let data = &message["data"];
        self.is_audio_next = false;
        match message["type"].as_str().unwrap_or_default() {
            "describe" => actions.push(event("info", self.info())),
            "ping" => actions.push(event("pong", without_nulls(json!({"text": data["text"]})))),
            "transcribe" => {
                self.context = data["context"].clone();
                if let Err(problem) = self.apply_hotwords(data, actions) {
                    self.refuse(close::INVALID_DATA, "transcribe", &problem, actions);
                }
            }
            kind @ ("audio-start" | "audio-chunk") => {
                if let Err(problem) = self.audio_format(data, actions) {
                    return self.refuse(close::INVALID_DATA, "audio", &problem, actions);
                }
                self.is_audio_next = kind == "audio-chunk";
            }
            "audio-stop" => self.stop(actions),
            "detect" => {
                let problem = "this server does not detect wake words";
                self.refuse(close::UNSUPPORTED, "detect", problem, actions);
            }
            "synthesize" | "recognize" | "handle" => {
                let problem = "this server only transcribes speech";
                self.refuse(close::UNSUPPORTED, "unsupported", problem, actions);
            }
            // Unknown events are ignored, as by every Wyoming service.
            _ => {}
        }
    }

    fn binary(&mut self, bytes: Bytes, actions: &mut Vec<Action>) {
        // Payloads of other events are ignored.
        if !self.ended && std::mem::take(&mut self.is_audio_next) {
            actions.push(Action::Audio(bytes));
        }
    }

    fn output(&mut self, output: RecognizerOutput, actions: &mut Vec<Action>) {
        match output {
            RecognizerOutput::Event(Event::Final(segment)) => self.send_chunk(&segment.text, actions),
            RecognizerOutput::Restarted => self.send_transcript(actions),
            RecognizerOutput::Finished { .. } => {
                // The server shuts down before the client has ended the utterance.
                if !self.text.is_empty() {
                    self.send_transcript(actions);
                }
                actions.push(Action::close(close::NORMAL, ""));
            }
            RecognizerOutput::Words { warnings, .. } => self.warnings.extend(warnings),
            RecognizerOutput::WordsRefused(refused) => {
                self.warnings.push(format!("hotwords have no effect: {}", refused.message()));
                // They may be tried again with the next utterance.
                self.hotwords = None;
            }
            RecognizerOutput::Failed(problem) => {
                self.refuse(close::INTERNAL, "recognizer", &problem, actions);
            }
            RecognizerOutput::Opened { .. }
            | RecognizerOutput::Event(Event::Partial(_))
            | RecognizerOutput::Trace(_)
            | RecognizerOutput::Mark => {}
        }
    }

    fn end(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.ended, true) {
            let opened = self.format.is_some();
            actions.push(if opened { Action::Finish } else { Action::close(close::NORMAL, "") });
        }
    }

    fn error(&self, code: &str, message: &str) -> Option<String> {
        Some(error_event(code, message))
    }
}

fn event(kind: &str, data: Value) -> Action {
    Action::Send(json!({"type": kind, "data": data}).to_string())
}

fn error_event(code: &str, message: &str) -> String {
    json!({"type": "error", "data": {"text": shortened(message), "code": code}}).to_string()
}

/// Removes the fields that are null.
fn without_nulls(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognizer::Segment;

    fn protocol() -> WyomingProtocol {
        WyomingProtocol::new(ModelInfo { languages: vec!["en".into()], ..ModelInfo::default() })
    }

    fn say(wyoming: &mut WyomingProtocol, kind: &str, data: Value) -> Vec<Action> {
        let mut actions = Vec::new();
        wyoming.text(&json!({"type": kind, "data": data}).to_string(), &mut actions);
        actions
    }

    fn output(wyoming: &mut WyomingProtocol, output: RecognizerOutput) -> Vec<Value> {
        let mut actions = Vec::new();
        wyoming.output(output, &mut actions);
        sent(&actions)
    }

    fn sent(actions: &[Action]) -> Vec<Value> {
        let sent = actions.iter().filter_map(|a| if let Action::Send(text) = a { Some(text) } else { None });
        sent.map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }

    fn last(text: &str) -> RecognizerOutput {
        RecognizerOutput::Event(Event::Final(Segment {
            text: text.into(),
            start: 0.0,
            end: 1.0,
            words: vec![],
            phrases: Vec::new(),
            alternatives: Vec::new(),
        }))
    }

    fn format(rate: u32) -> Value {
        json!({"rate": rate, "width": 2, "channels": 1, "timestamp": null})
    }

    #[test]
    fn the_text_of_an_utterance_is_sent_in_chunks_and_as_a_whole() {
        let mut wyoming = protocol();
        assert_eq!(say(&mut wyoming, "transcribe", json!({"language": "en", "context": {"id": 7}})), []);
        assert!(matches!(say(&mut wyoming, "audio-start", format(16_000))[..], [Action::Open(_)]));
        assert_eq!(say(&mut wyoming, "audio-chunk", format(16_000)), []);
        let mut actions = Vec::new();
        wyoming.binary(Bytes::from_static(&[1, 2]), &mut actions);
        assert_eq!(actions, [Action::Audio(Bytes::from_static(&[1, 2]))]);
        let events = output(&mut wyoming, last("three one"));
        assert_eq!(
            events[0],
            json!({"type": "transcript-start", "data": {"language": "en", "context": {"id": 7}}})
        );
        assert_eq!(events[1], json!({"type": "transcript-chunk", "data": {"text": "three one"}}));
        assert_eq!(output(&mut wyoming, last("")), Vec::<Value>::new());
        assert_eq!(say(&mut wyoming, "audio-stop", Value::Null), [Action::Restart]);
        assert_eq!(output(&mut wyoming, last("four"))[0]["data"]["text"], " four");
        let events = output(&mut wyoming, RecognizerOutput::Restarted);
        let transcript = json!({"text": "three one four", "language": "en", "context": {"id": 7}});
        assert_eq!(events[0], json!({"type": "transcript", "data": transcript}));
        assert_eq!(events[1]["type"], "transcript-stop");
    }

    #[test]
    fn silence_has_an_empty_transcript() {
        let mut wyoming = protocol();
        let events = sent(&say(&mut wyoming, "audio-stop", Value::Null));
        assert_eq!(events[1], json!({"type": "transcript", "data": {"text": "", "language": "en"}}));
        // The same with audio, and without `transcribe` and `audio-start`.
        assert!(matches!(say(&mut wyoming, "audio-chunk", format(8_000))[..], [Action::Open(_)]));
        assert!(matches!(say(&mut wyoming, "audio-chunk", format(16_000))[..], [Action::Format(_)]));
        assert_eq!(say(&mut wyoming, "audio-stop", Value::Null), [Action::Restart]);
        assert_eq!(output(&mut wyoming, RecognizerOutput::Restarted)[1]["data"]["text"], "");
    }

    #[test]
    fn names_and_terms_are_hotwords_of_the_utterance() {
        let mut wyoming = protocol();
        wyoming.model.hotwords = true;
        let terms = json!({"transcript_names": ["Nuuk"], "transcript_terms": ["one two"]});
        assert_eq!(say(&mut wyoming, "transcribe", terms.clone()), []);
        let words = Some(WordList::Keywords(vec!["Nuuk".into(), "one two".into()]));
        let actions = say(&mut wyoming, "audio-start", format(16_000));
        assert!(matches!(&actions[..], [Action::Open(request)] if request.words == words));
        let warnings = vec!["1 hotword was left out".to_string()];
        output(&mut wyoming, RecognizerOutput::Words { notes: Vec::new(), warnings: warnings.clone() });
        let events = output(&mut wyoming, RecognizerOutput::Restarted);
        assert_eq!(events[1]["data"]["warnings"], json!(warnings));
        // The next utterances: the same, and none.
        assert_eq!(say(&mut wyoming, "transcribe", terms), []);
        assert_eq!(say(&mut wyoming, "transcribe", Value::Null), [Action::Words(None)]);
        let actions = say(&mut wyoming, "transcribe", json!({"transcript_names": "Nuuk"}));
        assert!(matches!(actions[1], Action::Close { code: 1007, .. }));
        // A model without words.
        let mut wyoming = protocol();
        assert_eq!(say(&mut wyoming, "transcribe", json!({"transcript_names": ["Nuuk"]})), []);
        let transcript = &sent(&say(&mut wyoming, "audio-stop", Value::Null))[1];
        assert_eq!(transcript["data"]["warnings"][0], NO_HOTWORDS);
    }

    #[test]
    fn unknown_events_and_their_payloads_are_ignored() {
        let mut wyoming = protocol();
        let mut actions = say(&mut wyoming, "select-program", json!({"name": "hearken"}));
        wyoming.binary(Bytes::from_static(&[0; 4]), &mut actions);
        assert_eq!(actions, []);
        assert_eq!(sent(&say(&mut wyoming, "ping", json!({"text": "hi"})))[0]["data"]["text"], "hi");
        let info = &sent(&say(&mut wyoming, "describe", Value::Null))[0]["data"];
        for field in ["name", "attribution", "installed", "models"] {
            assert!(!info["asr"][0][field].is_null(), "{field}");
        }
        assert_eq!(info["asr"][0]["models"][0]["languages"][0], "en");
    }

    #[test]
    fn invalid_requests_are_answered_by_an_error() {
        for (kind, data) in [
            ("audio-start", json!({"rate": 16_000, "width": 2})),
            ("audio-start", json!({"rate": 1, "width": 2, "channels": 1})),
            ("audio-chunk", json!({"rate": 16_000, "width": 5, "channels": 1})),
            ("audio-chunk", json!({"rate": 16_000, "width": 2, "channels": 1000})),
            ("detect", json!({"names": null})),
            ("synthesize", json!({"text": "hello"})),
        ] {
            let actions = say(&mut protocol(), kind, data);
            assert_eq!(sent(&actions)[0]["type"], "error", "{kind}");
            assert!(matches!(actions.last(), Some(Action::Close { .. })), "{kind}");
        }
    }
}
