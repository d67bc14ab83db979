//! The part of OpenAI's realtime protocol for transcription sessions: JSON messages with a `type`, audio in
//! base64 (<https://platform.openai.com/docs/guides/realtime-transcription>).
//!
//! ```text
//! ← session.created
//! → session.update                     ← session.updated
//! → input_audio_buffer.append …
//! → input_audio_buffer.commit          ← input_audio_buffer.committed, conversation.item.added, .done
//!                                      ← …input_audio_transcription.delta …, .completed
//! ```
//!
//! With turn detection, which is on by default, silence ends an utterance, each utterance becomes an item,
//! and `speech_started` and `speech_stopped` are sent too.

mod settings;

use std::borrow::Cow;
use std::collections::VecDeque;

use axum::body::Bytes;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::recognizer::{Event, Segment};
use crate::units::thousandths;

use super::{Action, ModelInfo, NO_HOTWORDS, Protocol, RecognizerOutput, StreamRequest, close, shortened};
use settings::{Invalid, PREFIX_PADDING_MS, Settings, invalid};

/// Minimum length of audio that can be committed, seconds.
const MIN_COMMIT: f64 = 0.1;
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A client's message.
#[derive(Deserialize)]
struct ClientEvent<'a> {
    r#type: Cow<'a, str>,
    event_id: Option<String>,
    session: Option<Value>,
    #[serde(borrow)]
    audio: Option<Cow<'a, str>>,
}

/// The reason for which an utterance was ended that the recognizer has not completed yet.
enum Ending {
    /// The client committed its audio, which becomes this item.
    Commit { item: String, seconds: f64 },
    /// The client discarded its audio.
    Clear,
    /// The client changed the silence that ends utterances.
    Silence,
}

/// The state of a connection in OpenAI's realtime protocol.
pub struct RealtimeProtocol {
    id: String,
    settings: Settings,
    /// Silence that ends an utterance unless the client sets it, milliseconds.
    default_silence_ms: u64,
    /// Whether the model can use hotwords.
    uses_hotwords: bool,
    /// The client's last update was that of the beta API.
    is_beta: bool,
    opened: bool,
    ended: bool,
    events: u64,
    items: u64,
    previous: Option<String>,
    /// The item of the utterance that is being spoken.
    current: Option<String>,
    endings: VecDeque<Ending>,
    /// Texts of final results that do not belong to an item yet.
    texts: Vec<String>,
    /// Length of the audio that was received, seconds.
    appended: f64,
    /// Length of the audio that belongs to an item or was discarded, seconds.
    committed: f64,
}

impl RealtimeProtocol {
    /// Creates the state before the first message. `id` is the id of the session.
    pub fn new(id: &str, model: &ModelInfo) -> Self {
        let default_silence_ms = (model.silence * 1000.0).clamp(0.0, 1e9) as u64;
        Self {
            id: format!("sess_{id}"),
            settings: Settings::new(default_silence_ms),
            default_silence_ms,
            uses_hotwords: model.hotwords,
            is_beta: false,
            opened: false,
            ended: false,
            events: 0,
            items: 0,
            previous: None,
            current: None,
            endings: VecDeque::new(),
            texts: Vec::new(),
            appended: 0.0,
            committed: 0.0,
        }
    }

    fn send(&mut self, kind: &str, mut fields: Value, actions: &mut Vec<Action>) {
        self.events += 1;
        fields["event_id"] = json!(format!("event_{:04}", self.events));
        fields["type"] = json!(kind);
        actions.push(Action::Send(fields.to_string()));
    }

    fn send_error(&mut self, code: &str, invalid: &Invalid, cause: Option<&str>, actions: &mut Vec<Action>) {
        let error = json!({
            "type": "invalid_request_error",
            "code": code,
            "message": shortened(&invalid.message),
            "param": (!invalid.field.is_empty()).then_some(&invalid.field),
            "event_id": cause.map(shortened),
        });
        self.send("error", json!({ "error": error }), actions);
    }

    /// Applies the fields of `session.update`, or of the older `transcription_session.update`, and confirms them.
    fn update(&mut self, session: &Value, actions: &mut Vec<Action>) -> Result<(), Invalid> {
        let mut settings = self.settings.updated(session, self.default_silence_ms)?;
        let mut warnings = Vec::new();
        if settings.hotwords().is_some() && !self.uses_hotwords {
            warnings.push(NO_HOTWORDS.into());
            (settings.prompt, settings.keywords) = (None, Vec::new());
        }
        if self.opened {
            if settings.format != self.settings.format {
                actions.push(Action::Format(settings.format));
            }
            let other = settings.silence_ms.filter(|_| settings.silence_ms != self.settings.silence_ms);
            if let Some(silence) = other {
                self.endings.push_back(Ending::Silence);
                actions.push(Action::Silence(silence as f64 / 1000.0));
            }
            let hotwords = settings.hotwords();
            if hotwords != self.settings.hotwords() {
                actions.push(Action::Words(hotwords));
            }
        }
        self.settings = settings;
        self.send_updated(&warnings, actions);
        Ok(())
    }

    /// Sends the settings in effect.
    fn send_updated(&mut self, warnings: &[String], actions: &mut Vec<Action>) {
        let (kind, session) = match self.is_beta {
            true => ("transcription_session.updated", self.settings.beta_session(&self.id)),
            false => ("session.updated", self.settings.session(&self.id)),
        };
        let mut fields = json!({ "session": session });
        if !warnings.is_empty() {
            fields["warnings"] = json!(warnings);
        }
        self.send(kind, fields, actions);
    }

    // ------------------------------------------------------------ audio

    fn append(&mut self, audio: &str, actions: &mut Vec<Action>) -> Result<(), Invalid> {
        let bytes = BASE64.decode(audio).map_err(|error| Invalid {
            message: format!("expected audio in base64: {error}"),
            field: "audio".into(),
        })?;
        let format = self.settings.format;
        if !std::mem::replace(&mut self.opened, true) {
            let silence = self.settings.silence_ms.map(|ms| ms as f64 / 1000.0);
            let words = self.settings.hotwords();
            actions.push(Action::Open(StreamRequest { silence, words, ..StreamRequest::new(format) }));
        }
        let frames = bytes.len() as f64 / format.frame_bytes() as f64;
        self.appended += frames / f64::from(format.sample_rate);
        actions.push(Action::Audio(bytes.into()));
        Ok(())
    }

    fn commit(&mut self, actions: &mut Vec<Action>) -> Result<(), Invalid> {
        let seconds = self.appended - self.committed;
        if seconds < MIN_COMMIT {
            let message = format!(
                "expected at least {} ms of audio in the buffer, found {:.0} ms",
                MIN_COMMIT * 1000.0,
                seconds * 1000.0
            );
            return Err(Invalid { message, field: String::new() });
        }
        self.committed = self.appended;
        let item = self.current.take().unwrap_or_else(|| self.new_item());
        self.send_item(&item, actions);
        self.endings.push_back(Ending::Commit { item, seconds });
        actions.push(Action::Restart);
        Ok(())
    }

    fn clear(&mut self, actions: &mut Vec<Action>) {
        self.committed = self.appended;
        self.current = None;
        if self.opened {
            self.endings.push_back(Ending::Clear);
            actions.push(Action::Restart);
        }
        self.send("input_audio_buffer.cleared", json!({}), actions);
    }

    // ------------------------------------------------------------ items

    fn new_item(&mut self) -> String {
        self.items += 1;
        format!("item_{:03}", self.items - 1)
    }

    /// Sends the events for a new item.
    fn send_item(&mut self, id: &str, actions: &mut Vec<Action>) {
        let previous = self.previous.replace(id.into());
        let content = json!([{"type": "input_audio", "transcript": null}]);
        let item = json!({"id": id, "object": "realtime.item", "type": "message", "status": "completed",
                          "role": "user", "content": content});
        let committed = json!({"item_id": id, "previous_item_id": previous});
        self.send("input_audio_buffer.committed", committed, actions);
        for kind in ["conversation.item.added", "conversation.item.done"] {
            self.send(kind, json!({"previous_item_id": previous, "item": item}), actions);
        }
    }

    /// Sends the text of an item: first each utterance, then the whole.
    fn send_text(&mut self, item: &str, texts: &[String], seconds: f64, actions: &mut Vec<Action>) {
        for (i, text) in texts.iter().enumerate() {
            let delta = if i == 0 { text.clone() } else { format!(" {text}") };
            let fields = json!({"item_id": item, "content_index": 0, "delta": delta});
            self.send("conversation.item.input_audio_transcription.delta", fields, actions);
        }
        let usage = json!({"type": "duration", "seconds": thousandths(seconds)});
        let transcript = texts.join(" ");
        let fields = json!({"item_id": item, "content_index": 0, "transcript": transcript, "usage": usage});
        self.send("conversation.item.input_audio_transcription.completed", fields, actions);
    }

    /// Sends the event for the beginning of an utterance found by turn detection; returns its item.
    fn begin_utterance(&mut self, segment: &Segment, actions: &mut Vec<Action>) -> String {
        let item = self.new_item();
        let start = segment.words.first().map_or(segment.start, |word| word.start);
        let start = (start * 1000.0 - PREFIX_PADDING_MS).max(0.0).round() as u64;
        let fields = json!({"item_id": item, "audio_start_ms": start});
        self.send("input_audio_buffer.speech_started", fields, actions);
        item
    }

    /// Sends the events for the end of an utterance found by turn detection.
    fn end_utterance(&mut self, segment: &Segment, actions: &mut Vec<Action>) {
        self.committed = self.committed.max(segment.end);
        let item = match self.current.take() {
            Some(item) => item,
            // Silence.
            None if segment.text.is_empty() => return,
            None => self.begin_utterance(segment, actions),
        };
        let end = segment.words.last().map_or(segment.end, |word| word.end);
        let fields = json!({"item_id": item, "audio_end_ms": (end * 1000.0).round() as u64});
        self.send("input_audio_buffer.speech_stopped", fields, actions);
        self.send_item(&item, actions);
        let texts = if segment.text.is_empty() { vec![] } else { vec![segment.text.clone()] };
        self.send_text(&item, &texts, segment.end - segment.start, actions);
    }

    /// Handles the completion of an utterance that the client ended.
    fn complete(&mut self, actions: &mut Vec<Action>) {
        match self.endings.pop_front() {
            Some(Ending::Commit { item, seconds }) => {
                let texts = std::mem::take(&mut self.texts);
                self.send_text(&item, &texts, seconds, actions);
            }
            Some(Ending::Clear) => self.texts.clear(),
            Some(Ending::Silence) | None => {}
        }
    }
}

impl Protocol for RealtimeProtocol {
    fn name(&self) -> &'static str {
        "realtime"
    }

    fn begin(&mut self, actions: &mut Vec<Action>) {
        let session = self.settings.session(&self.id);
        self.send("session.created", json!({ "session": session }), actions);
    }

    fn text(&mut self, text: &str, actions: &mut Vec<Action>) {
        if self.ended {
            return;
        }
        let event: ClientEvent = match serde_json::from_str(text) {
            Ok(event) => event,
            Err(error) => {
                let message = format!("expected an event as JSON: {error}");
                let invalid = Invalid { message, field: String::new() };
                return self.send_error("invalid_json", &invalid, None, actions);
            }
        };
        let session = event.session.unwrap_or_default();
        let (done, code) = match &*event.r#type {
            kind @ ("session.update" | "transcription_session.update") => {
                self.is_beta = kind == "transcription_session.update";
                (self.update(&session, actions), "invalid_value")
            }
            "input_audio_buffer.append" => {
                (self.append(&event.audio.unwrap_or_default(), actions), "invalid_value")
            }
            "input_audio_buffer.commit" => (self.commit(actions), "input_audio_buffer_commit_empty"),
            "input_audio_buffer.clear" => {
                self.clear(actions);
                (Ok(()), "")
            }
            other => {
                let expected = "session.update, input_audio_buffer.append, .commit or .clear";
                (Err(invalid("type", expected, &json!(other))), "invalid_value")
            }
        };
        if let Err(invalid) = done {
            self.send_error(code, &invalid, event.event_id.as_deref(), actions);
        }
    }

    fn binary(&mut self, _: Bytes, actions: &mut Vec<Action>) {
        let problem = "expected JSON with audio in base64, found a binary message";
        actions.extend(self.error("unsupported", problem).map(Action::Send));
        actions.push(Action::close(close::UNSUPPORTED, problem));
    }

    fn output(&mut self, output: RecognizerOutput, actions: &mut Vec<Action>) {
        let is_ended = self.endings.iter().any(|ending| !matches!(ending, Ending::Silence));
        let detects = self.settings.silence_ms.is_some() && !is_ended;
        match output {
            RecognizerOutput::Event(Event::Partial(segment)) => {
                if detects && self.current.is_none() && !segment.text.is_empty() {
                    self.current = Some(self.begin_utterance(&segment, actions));
                }
            }
            RecognizerOutput::Event(Event::Final(segment)) if detects => {
                self.end_utterance(&segment, actions);
            }
            RecognizerOutput::Event(Event::Final(segment)) => {
                if !segment.text.is_empty() {
                    self.texts.push(segment.text);
                }
            }
            RecognizerOutput::Restarted => self.complete(actions),
            RecognizerOutput::Finished { .. } => actions.push(Action::close(close::NORMAL, "")),
            RecognizerOutput::Failed(problem) => {
                actions.extend(self.error("server_error", &problem).map(Action::Send));
                actions.push(Action::close(close::INTERNAL, problem));
            }
            RecognizerOutput::Words { warnings, .. } if !warnings.is_empty() => {
                self.send_updated(&warnings, actions);
            }
            RecognizerOutput::WordsRefused(refused) => {
                let field = "session.audio.input.transcription".into();
                let invalid =
                    Invalid { message: format!("hotwords have no effect: {}", refused.message()), field };
                (self.settings.prompt, self.settings.keywords) = (None, Vec::new());
                self.send_error("invalid_value", &invalid, None, actions);
            }
            RecognizerOutput::Opened { .. }
            | RecognizerOutput::Words { .. }
            | RecognizerOutput::Trace(_)
            | RecognizerOutput::Mark => {}
        }
    }

    fn end(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.ended, true) {
            actions.push(if self.opened { Action::Finish } else { Action::close(close::NORMAL, "") });
        }
    }

    fn error(&self, code: &str, message: &str) -> Option<String> {
        let error = json!({"type": "server_error", "code": code, "message": shortened(message),
                           "param": null, "event_id": null});
        let event_id = format!("event_{:04}", self.events + 1);
        Some(json!({"event_id": event_id, "type": "error", "error": error}).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::word_list::{Refused, WordList};
    use super::*;
    use crate::audio::{Encoding, RawFormat};
    use crate::recognizer::Word;

    fn realtime() -> RealtimeProtocol {
        RealtimeProtocol::new("1", &ModelInfo { silence: 1.2, hotwords: true, ..ModelInfo::default() })
    }

    fn say(realtime: &mut RealtimeProtocol, message: Value) -> Vec<Action> {
        let mut actions = Vec::new();
        realtime.text(&message.to_string(), &mut actions);
        actions
    }

    fn output(realtime: &mut RealtimeProtocol, output: RecognizerOutput) -> Vec<Action> {
        let mut actions = Vec::new();
        realtime.output(output, &mut actions);
        actions
    }

    fn sent(actions: &[Action]) -> Vec<Value> {
        let sent = actions.iter().filter_map(|a| if let Action::Send(text) = a { Some(text) } else { None });
        sent.map(|text| serde_json::from_str(text).expect("JSON")).collect()
    }

    fn types(actions: &[Action]) -> Vec<String> {
        sent(actions).iter().map(|e| e["type"].as_str().expect("a type").into()).collect()
    }

    fn segment(text: &str, start: f64, end: f64) -> Segment {
        let word = Word { word: text.into(), start: start + 0.5, end: end - 0.5, confidence: 1.0 };
        let words = if text.is_empty() { vec![] } else { vec![word] };
        Segment { text: text.into(), start, end, words, phrases: Vec::new(), alternatives: Vec::new() }
    }

    fn append(seconds: f64) -> Value {
        let bytes = vec![0; (seconds * 48_000.0) as usize];
        json!({"type": "input_audio_buffer.append", "audio": BASE64.encode(bytes)})
    }

    const MANUAL: &str = r#"{"type":"session.update","session":{"type":"transcription",
        "audio":{"input":{"turn_detection":null}}}}"#;

    #[test]
    fn a_commit_becomes_an_item_with_all_text_of_its_audio() {
        let mut realtime = self::realtime();
        let mut actions = Vec::new();
        realtime.begin(&mut actions);
        realtime.text(MANUAL, &mut actions);
        assert_eq!(types(&actions), ["session.created", "session.updated"]);
        assert_eq!(
            sent(&actions)[0]["session"]["audio"]["input"]["turn_detection"]["silence_duration_ms"],
            1200
        );
        assert!(sent(&actions)[1]["session"]["audio"]["input"]["turn_detection"].is_null());
        let early = say(&mut realtime, json!({"type": "input_audio_buffer.commit", "event_id": "mine"}));
        let error = &sent(&early)[0]["error"];
        assert_eq!(
            (&error["code"], &error["event_id"]),
            (&json!("input_audio_buffer_commit_empty"), &json!("mine"))
        );
        let actions = say(&mut realtime, append(2.0));
        assert!(
            matches!(&actions[..], [Action::Open(request), Action::Audio(_)] if request.silence.is_none())
        );
        assert_eq!(
            output(&mut realtime, RecognizerOutput::Event(Event::Final(segment("one", 0.0, 1.0)))),
            []
        );
        let actions = say(&mut realtime, json!({"type": "input_audio_buffer.commit"}));
        let item = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"];
        assert_eq!(types(&actions), item);
        assert_eq!(actions.last(), Some(&Action::Restart));
        output(&mut realtime, RecognizerOutput::Event(Event::Final(segment("two", 1.0, 2.0))));
        let events = sent(&output(&mut realtime, RecognizerOutput::Restarted));
        assert_eq!((&events[0]["delta"], &events[1]["delta"]), (&json!("one"), &json!(" two")));
        assert_eq!(
            (&events[2]["transcript"], &events[2]["usage"]["seconds"]),
            (&json!("one two"), &json!(2.0))
        );
    }

    #[test]
    fn utterances_found_by_silence_become_items() {
        let mut realtime = self::realtime();
        let actions = say(&mut realtime, append(3.0));
        assert!(matches!(&actions[0], Action::Open(request) if request.silence == Some(1.2)));
        assert_eq!(output(&mut realtime, RecognizerOutput::Event(Event::Final(segment("", 0.0, 1.0)))), []);
        let partial = RecognizerOutput::Event(Event::Partial(segment("one", 1.0, 2.5)));
        let started = sent(&output(&mut realtime, partial));
        assert_eq!(
            (&started[0]["type"], &started[0]["audio_start_ms"]),
            (&json!("input_audio_buffer.speech_started"), &json!(1200))
        );
        let events =
            sent(&output(&mut realtime, RecognizerOutput::Event(Event::Final(segment("one", 1.0, 2.5)))));
        assert_eq!(events[0]["audio_end_ms"], 2000);
        assert_eq!(events.last().expect("events")["transcript"], "one");
        assert!(events.iter().skip(1).all(|e| e["type"] != "input_audio_buffer.speech_started"));
        // A later commit has only the audio since then.
        let actions = say(&mut realtime, json!({"type": "input_audio_buffer.commit"}));
        assert_eq!(sent(&actions)[0]["previous_item_id"], "item_000");
        let events = sent(&output(&mut realtime, RecognizerOutput::Restarted));
        assert_eq!((&events[0]["transcript"], &events[0]["usage"]["seconds"]), (&json!(""), &json!(0.5)));
    }

    #[test]
    fn cleared_audio_leaves_no_text() {
        let mut realtime = self::realtime();
        realtime.text(MANUAL, &mut Vec::new());
        say(&mut realtime, append(1.0));
        let actions = say(&mut realtime, json!({"type": "input_audio_buffer.clear"}));
        assert!(actions.contains(&Action::Restart) && types(&actions) == ["input_audio_buffer.cleared"]);
        say(&mut realtime, append(1.0));
        say(&mut realtime, json!({"type": "input_audio_buffer.commit"}));
        output(&mut realtime, RecognizerOutput::Event(Event::Final(segment("one", 0.0, 1.0))));
        assert_eq!(output(&mut realtime, RecognizerOutput::Restarted), []);
        output(&mut realtime, RecognizerOutput::Event(Event::Final(segment("two", 1.0, 2.0))));
        let events = sent(&output(&mut realtime, RecognizerOutput::Restarted));
        assert_eq!(events.last().expect("an end")["transcript"], "two");
    }

    #[test]
    fn both_versions_of_the_api_set_the_format() {
        let mut realtime = self::realtime();
        let beta = json!({"type": "transcription_session.update", "session": {"input_audio_format": "g711_ulaw",
            "input_audio_transcription": {"model": "whisper-1", "language": "de"}, "turn_detection": null}});
        let actions = say(&mut realtime, beta);
        assert_eq!(types(&actions), ["transcription_session.updated"]);
        assert_eq!(sent(&actions)[0]["session"]["input_audio_transcription"]["language"], "de");
        assert_eq!(realtime.settings.format.sample_rate, 8_000);
        say(&mut realtime, append(1.0));
        let format = json!({"type": "audio/pcm", "rate": 16_000});
        let update = json!({"type": "session.update", "session": {"audio": {"input": {"format": format}}}});
        let pcm = RawFormat { sample_rate: 16_000, channels: 1, encoding: Encoding::S16Le };
        assert_eq!(say(&mut realtime, update)[0], Action::Format(pcm));
    }

    #[test]
    fn prompt_and_keywords_are_hotwords() {
        let mut realtime = self::realtime();
        let update = |transcription: Value| {
            let session = json!({"audio": {"input": {"transcription": transcription}}});
            json!({"type": "session.update", "session": session})
        };
        let both = json!({"prompt": "Nuuk, one two.", "keywords": ["Anna"]});
        let updated = sent(&say(&mut realtime, update(both)));
        let transcription = &updated[0]["session"]["audio"]["input"]["transcription"];
        assert_eq!((&transcription["keywords"], &updated[0]["warnings"]), (&json!(["Anna"]), &Value::Null));
        let words =
            |words: &[&str]| Some(WordList::Keywords(words.iter().map(|word| (*word).into()).collect()));
        let actions = say(&mut realtime, append(1.0));
        let expected = words(&["Anna", "Nuuk", "one two"]);
        assert!(matches!(&actions[0], Action::Open(request) if request.words == expected));
        let actions = say(&mut realtime, update(json!({"prompt": null})));
        assert_eq!(actions[0], Action::Words(words(&["Anna"])));
        let warnings = vec!["1 hotword was left out".to_string()];
        let updated = output(&mut realtime, RecognizerOutput::Words { notes: Vec::new(), warnings });
        assert_eq!(sent(&updated)[0]["warnings"][0], "1 hotword was left out");
        let refused = output(&mut realtime, RecognizerOutput::WordsRefused(Refused::Busy));
        assert_eq!(types(&refused), ["error"]);
        assert_eq!(realtime.settings.hotwords(), None);
        // A model that cannot use them.
        let mut realtime = RealtimeProtocol::new("1", &ModelInfo::default());
        let updated = sent(&say(&mut realtime, update(json!({"keywords": ["Anna"]}))));
        assert_eq!(updated[0]["warnings"][0], NO_HOTWORDS);
        assert!(updated[0]["session"]["audio"]["input"]["transcription"].get("keywords").is_none());
    }

    #[test]
    fn an_invalid_update_changes_nothing_and_the_error_names_the_field() {
        for (session, field) in [
            (json!({"type": "realtime"}), "session.type"),
            (json!({"audio": {"input": {"format": {"type": "audio/mp3"}}}}), "session.audio.input.format"),
            (
                json!({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 1}}}}),
                "session.audio.input.format.rate",
            ),
            (
                json!({"audio": {"input": {"transcription": {"keywords": "one"}}}}),
                "session.audio.input.transcription.keywords",
            ),
            (
                json!({"input_audio_transcription": {"prompt": ["one"]}}),
                "session.input_audio_transcription.prompt",
            ),
            (json!({"turn_detection": {"type": "semantic_vad"}}), "session.turn_detection.type"),
            (
                json!({"turn_detection": {"type": "server_vad", "silence_duration_ms": -1}}),
                "session.turn_detection.silence_duration_ms",
            ),
        ] {
            let mut realtime = self::realtime();
            let before = realtime.settings.clone();
            let actions = say(&mut realtime, json!({"type": "session.update", "session": session}));
            assert_eq!(types(&actions), ["error"]);
            assert_eq!(sent(&actions)[0]["error"]["param"], field);
            assert_eq!(realtime.settings, before);
        }
        let mut realtime = self::realtime();
        for message in [
            json!({"type": "response.create"}),
            json!({"type": "input_audio_buffer.append", "audio": "?"}),
            json!([]),
        ] {
            assert_eq!(types(&say(&mut realtime, message)), ["error"]);
        }
    }
}
