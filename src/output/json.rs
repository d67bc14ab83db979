//! JSON: events as lines, and a transcript as one object.
//!
//! ```json
//! {"type":"final","path":"a.wav","text":"one two","start":0.0,"end":1.3,"words":[{"word":"one","start":0.2,"end":0.5,"confidence":0.99},…]}
//! ```

use std::io::{self, Write};

use serde::Serialize;

use super::{Transcript, Writer};
use crate::recognizer::{Event, Segment};

/// A writer of events as JSON lines, partial results included, without buffering.
pub struct JsonWriter<W> {
    out: W,
}

/// The JSON form of an event, the same in all front ends.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(flatten)]
    segment: &'a Segment,
}

/// Damage found in a recording, written after its last segment.
#[derive(Serialize)]
struct Warning<'a> {
    r#type: &'static str,
    path: &'a str,
    message: &'a str,
}

/// An event as a JSON object, with the recording's path if there is one.
pub fn event(path: Option<&str>, event: &Event) -> String {
    let (r#type, segment) = match event {
        Event::Partial(segment) => ("partial", segment),
        Event::Final(segment) => ("final", segment),
    };
    // Strings and numbers always become JSON.
    serde_json::to_string(&Line { r#type, path, segment }).unwrap_or_default()
}

impl<W: Write> JsonWriter<W> {
    /// A writer of lines.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Writer for JsonWriter<W> {
    fn event(&mut self, path: &str, event: &Event) -> io::Result<()> {
        writeln!(self.out, "{}", self::event(Some(path), event))?;
        self.out.flush()
    }

    fn end(&mut self, path: &str, warnings: &[String]) -> io::Result<()> {
        for message in warnings {
            let line = Warning { r#type: "warning", path, message };
            writeln!(self.out, "{}", serde_json::to_string(&line).unwrap_or_default())?;
        }
        self.out.flush()
    }

    fn wants_partials(&self) -> bool {
        true
    }
}

/// The JSON form of a transcript.
#[derive(Serialize)]
struct TranscriptObject<'a> {
    path: &'a str,
    text: String,
    duration: f64,
    warnings: &'a [String],
    segments: &'a [Segment],
}

/// The transcript as one object on one line.
pub(super) fn write(transcript: &Transcript) -> String {
    let object = TranscriptObject {
        path: &transcript.path,
        text: transcript.text(),
        duration: crate::units::thousandths(transcript.duration()),
        warnings: &transcript.warnings,
        segments: &transcript.segments,
    };
    serde_json::to_string(&object).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn warnings_are_a_separate_line_at_the_end() {
        let mut out = Vec::new();
        JsonWriter::new(&mut out).end("a.opus", &["cut short".to_string()]).expect("written");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "{\"type\":\"warning\",\"path\":\"a.opus\",\"message\":\"cut short\"}\n"
        );
    }

    #[test]
    fn an_event_is_one_line_with_the_fields_in_order() {
        let segment = testing::segment(&[("one", 0.1 + 0.2, 0.64, 0.99)], 0.0, 1.0);
        let mut out = Vec::new();
        JsonWriter::new(&mut out).event("a \"b\".wav", &Event::Final(segment)).expect("written");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "{\"type\":\"final\",\"path\":\"a \\\"b\\\".wav\",\"text\":\"one\",\"start\":0.0,\"end\":1.0,\
             \"words\":[{\"word\":\"one\",\"start\":0.3,\"end\":0.64,\"confidence\":0.99}]}\n"
        );
    }

    #[test]
    fn a_transcript_is_one_object() {
        let transcript = testing::transcript();
        assert_eq!(
            write(&transcript),
            "{\"path\":\"a b.wav\",\"text\":\"one <two>\",\"duration\":2.5,\"warnings\":[\"cut\"],\"segments\":[\
             {\"text\":\"one\",\"start\":0.0,\"end\":1.5,\"words\":[{\"word\":\"one\",\"start\":0.5,\"end\":0.9,\"confidence\":0.9}]},\
             {\"text\":\"<two>\",\"start\":1.5,\"end\":2.5,\"words\":[{\"word\":\"<two>\",\"start\":1.6,\"end\":2.0,\"confidence\":0.75}]}]}\n"
        );
    }
}
