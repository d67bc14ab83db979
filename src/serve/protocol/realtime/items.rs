//! The items of a conversation, one for each utterance, and the events that describe them to the client.

use serde_json::{Value, json};

use crate::recognizer::Segment;
use crate::units::thousandths;

use super::settings::PREFIX_PADDING_MS;

/// An event for the client: its type and its fields.
pub(super) type ServerEvent = (&'static str, Value);

/// The items of a conversation so far.
#[derive(Debug, Default)]
pub(super) struct Items {
    count: u64,
    previous: Option<String>,
    /// The item of the utterance that is being spoken.
    current: Option<String>,
}

impl Items {
    /// Whether an utterance is being spoken.
    pub fn has_current(&self) -> bool {
        self.current.is_some()
    }

    /// The item of the utterance that is being spoken, or else a new one; no utterance is being spoken afterwards.
    pub fn take_current(&mut self) -> String {
        self.current.take().unwrap_or_else(|| self.add())
    }

    /// Ends the utterance that is being spoken, without an item.
    pub fn discard_current(&mut self) {
        self.current = None;
    }

    fn add(&mut self) -> String {
        self.count += 1;
        format!("item_{:03}", self.count - 1)
    }

    /// The events for an item whose audio is complete.
    pub fn committed(&mut self, id: &str) -> Vec<ServerEvent> {
        let previous = self.previous.replace(id.into());
        let content = json!([{"type": "input_audio", "transcript": null}]);
        let item = json!({"id": id, "object": "realtime.item", "type": "message", "status": "completed",
                          "role": "user", "content": content});
        let committed = json!({"item_id": id, "previous_item_id": previous});
        let added = json!({"previous_item_id": previous, "item": item});
        vec![
            ("input_audio_buffer.committed", committed),
            ("conversation.item.added", added.clone()),
            ("conversation.item.done", added),
        ]
    }

    /// Begins an utterance that was found by turn detection.
    pub fn begin_utterance(&mut self, segment: &Segment) -> ServerEvent {
        let item = self.add();
        let start = segment.words.first().map_or(segment.start, |word| word.start);
        let start = (start * 1000.0 - PREFIX_PADDING_MS).max(0.0).round() as u64;
        let fields = json!({"item_id": item, "audio_start_ms": start});
        self.current = Some(item);
        ("input_audio_buffer.speech_started", fields)
    }

    /// Ends an utterance that was found by turn detection, or by silence alone, which has no events.
    pub fn end_utterance(&mut self, segment: &Segment) -> Vec<ServerEvent> {
        let mut events = Vec::new();
        if self.current.is_none() {
            if segment.text.is_empty() {
                return events;
            }
            events.push(self.begin_utterance(segment));
        }
        let item = self.take_current();
        let end = segment.words.last().map_or(segment.end, |word| word.end);
        let fields = json!({"item_id": item, "audio_end_ms": (end * 1000.0).round() as u64});
        events.push(("input_audio_buffer.speech_stopped", fields));
        events.extend(self.committed(&item));
        let texts = if segment.text.is_empty() { vec![] } else { vec![segment.text.clone()] };
        events.extend(transcribed(&item, &texts, segment.end - segment.start));
        events
    }
}

/// The events for the text of an item: first each of its utterances, then the whole.
pub(super) fn transcribed(item: &str, texts: &[String], seconds: f64) -> Vec<ServerEvent> {
    let delta = |(i, text): (usize, &String)| {
        let delta = if i == 0 { text.clone() } else { format!(" {text}") };
        let fields = json!({"item_id": item, "content_index": 0, "delta": delta});
        ("conversation.item.input_audio_transcription.delta", fields)
    };
    let usage = json!({"type": "duration", "seconds": thousandths(seconds)});
    let transcript = texts.join(" ");
    let fields = json!({"item_id": item, "content_index": 0, "transcript": transcript, "usage": usage});
    let completed = ("conversation.item.input_audio_transcription.completed", fields);
    texts.iter().enumerate().map(delta).chain([completed]).collect()
}
