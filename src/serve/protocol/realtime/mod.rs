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

mod buffer;
mod items;
mod settings;

use std::borrow::Cow;

use axum::body::Bytes;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::recognizer::Event;

use super::{Action, ModelInfo, NO_HOTWORDS, Protocol, RecognizerOutput, StreamRequest, close, shortened};
use buffer::{AudioBuffer, Ending};
use items::{Items, ServerEvent, transcribed};
use settings::{Invalid, Settings, invalid};

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
    /// Number of events sent.
    events: u64,
    items: Items,
    buffer: AudioBuffer,
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
            items: Items::default(),
            buffer: AudioBuffer::default(),
        }
    }

    fn send(&mut self, kind: &str, mut fields: Value, actions: &mut Vec<Action>) {
        self.events += 1;
        fields["event_id"] = json!(format!("event_{:04}", self.events));
        fields["type"] = json!(kind);
        actions.push(Action::Send(fields.to_string()));
    }

    fn send_all(&mut self, events: impl IntoIterator<Item = ServerEvent>, actions: &mut Vec<Action>) {
        for (kind, fields) in events {
            self.send(kind, fields, actions);
        }
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
                self.buffer.end(Ending::Silence);
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
        self.buffer.append(frames / f64::from(format.sample_rate));
        actions.push(Action::Audio(bytes.into()));
        Ok(())
    }

    fn commit(&mut self, actions: &mut Vec<Action>) -> Result<(), Invalid> {
        let seconds = self.buffer.commit()?;
        let item = self.items.take_current();
        let events = self.items.committed(&item);
        self.send_all(events, actions);
        self.buffer.end(Ending::Commit { item, seconds });
        actions.push(Action::Restart);
        Ok(())
    }

    fn clear(&mut self, actions: &mut Vec<Action>) {
        self.buffer.clear();
        self.items.discard_current();
        if self.opened {
            self.buffer.end(Ending::Clear);
            actions.push(Action::Restart);
        }
        self.send("input_audio_buffer.cleared", json!({}), actions);
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
        let detects = self.settings.silence_ms.is_some() && !self.buffer.is_ended();
        match output {
            RecognizerOutput::Event(Event::Partial(segment)) => {
                if detects && !self.items.has_current() && !segment.text.is_empty() {
                    let event = self.items.begin_utterance(&segment);
                    self.send_all([event], actions);
                }
            }
            RecognizerOutput::Event(Event::Final(segment)) if detects => {
                self.buffer.commit_until(segment.end);
                let events = self.items.end_utterance(&segment);
                self.send_all(events, actions);
            }
            RecognizerOutput::Event(Event::Final(segment)) => self.buffer.add_text(segment.text),
            RecognizerOutput::Restarted => {
                if let Some(done) = self.buffer.complete() {
                    self.send_all(transcribed(&done.item, &done.texts, done.seconds), actions);
                }
            }
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
mod tests;
