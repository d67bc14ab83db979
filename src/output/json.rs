//! Events as JSON lines.
//!
//! ```json
//! {"type":"final","path":"a.wav","text":"one two","start":0.0,"end":1.3,"words":[{"word":"one","start":0.2,"end":0.5,"confidence":0.99},…]}
//! ```

use std::io::{self, Write};

use serde::Serialize;

use super::Writer;
use crate::recognizer::{Event, Segment, Word};

/// One event a line, partials included, each written out at once.
pub struct JsonWriter<W> {
    out: W,
}

#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    path: &'a str,
    #[serde(flatten)]
    segment: SegmentJson<'a>,
}

/// A segment's fields in JSON; times in seconds, to the millisecond.
#[derive(Serialize)]
pub(crate) struct SegmentJson<'a> {
    text: &'a str,
    start: f64,
    end: f64,
    words: Vec<WordJson<'a>>,
}

/// A word's fields in JSON.
#[derive(Serialize)]
pub(crate) struct WordJson<'a> {
    word: &'a str,
    start: f64,
    end: f64,
    confidence: f64,
}

impl<'a> From<&'a Segment> for SegmentJson<'a> {
    fn from(segment: &'a Segment) -> Self {
        Self {
            text: &segment.text,
            start: thousandths(segment.start),
            end: thousandths(segment.end),
            words: segment.words.iter().map(WordJson::from).collect(),
        }
    }
}

impl<'a> From<&'a Word> for WordJson<'a> {
    fn from(word: &'a Word) -> Self {
        Self {
            word: &word.word,
            start: thousandths(word.start),
            end: thousandths(word.end),
            confidence: thousandths(f64::from(word.confidence)),
        }
    }
}

impl<W: Write> JsonWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Writer for JsonWriter<W> {
    fn event(&mut self, path: &str, event: &Event) -> io::Result<()> {
        let (kind, segment) = match event {
            Event::Partial(segment) => ("partial", segment),
            Event::Final(segment) => ("final", segment),
        };
        let line = Line { r#type: kind, path, segment: segment.into() };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }

    fn end(&mut self, _path: &str, _complete: bool) -> io::Result<()> {
        Ok(())
    }

    fn wants_partials(&self) -> bool {
        true
    }
}

/// Rounded to what is written: milliseconds of a time.
pub(crate) fn thousandths(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_with_the_fields_in_order() {
        let word = Word { word: "one".into(), start: 0.1 + 0.2, end: 0.64, confidence: 0.99 };
        let segment = Segment { text: "one".into(), start: 0.0, end: 1.0, words: vec![word] };
        let mut out = Vec::new();
        JsonWriter::new(&mut out).event("a \"b\".wav", &Event::Final(segment)).expect("written");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "{\"type\":\"final\",\"path\":\"a \\\"b\\\".wav\",\"text\":\"one\",\"start\":0.0,\"end\":1.0,\
             \"words\":[{\"word\":\"one\",\"start\":0.3,\"end\":0.64,\"confidence\":0.99}]}\n"
        );
    }
}
