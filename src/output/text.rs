//! Plain text, written while recordings are transcribed: a line per utterance.

use std::io::{self, Write};

use super::{Writer, printable};
use crate::recognizer::Event;

/// A writer of utterances as lines, each when it is final. A recording without speech is an empty line.
pub struct TextWriter<W> {
    out: W,
    lines: Lines,
}

/// Makes the lines of recordings.
pub(super) struct Lines {
    /// Whether lines begin with `PATH<TAB>`.
    with_path: bool,
    /// Whether the recording has a line already.
    any: bool,
}

impl Lines {
    pub fn new(with_path: bool) -> Self {
        Self { with_path, any: false }
    }

    fn line(&self, path: &str, text: &str) -> String {
        let text = printable(text);
        if self.with_path { format!("{}\t{text}", printable(path)) } else { text }
    }

    /// The line of an utterance, unless it is empty.
    pub fn utterance(&mut self, path: &str, text: &str) -> Option<String> {
        self.any |= !text.is_empty();
        (!text.is_empty()).then(|| self.line(path, text))
    }

    /// The empty line of a recording without speech.
    pub fn end(&mut self, path: &str) -> Option<String> {
        (!std::mem::take(&mut self.any)).then(|| self.line(path, ""))
    }
}

impl<W: Write> TextWriter<W> {
    /// A writer; `with_path` puts `PATH<TAB>` before each text.
    pub fn new(out: W, with_path: bool) -> Self {
        Self { out, lines: Lines::new(with_path) }
    }

    fn write(&mut self, line: Option<String>) -> io::Result<()> {
        if let Some(line) = line {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }
}

impl<W: Write> Writer for TextWriter<W> {
    fn event(&mut self, path: &str, event: &Event) -> io::Result<()> {
        let Event::Final(segment) = event else { return Ok(()) };
        let line = self.lines.utterance(path, &segment.text);
        self.write(line)
    }

    fn end(&mut self, path: &str, _warnings: &[String]) -> io::Result<()> {
        let line = self.lines.end(path);
        self.write(line)
    }

    fn wants_partials(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognizer::Segment;

    fn segment(text: &str) -> Segment {
        Segment {
            text: text.into(),
            start: 0.0,
            end: 1.0,
            words: Vec::new(),
            phrases: Vec::new(),
            alternatives: Vec::new(),
        }
    }

    fn written(with_path: bool, events: &[Event]) -> String {
        let mut out = Vec::new();
        let mut writer = TextWriter::new(&mut out, with_path);
        for event in events {
            writer.event("a.wav", event).expect("written");
        }
        writer.end("a.wav", &[]).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn an_utterance_is_printed_as_a_line_when_it_ends() {
        let events = [
            Event::Partial(segment("on")),
            Event::Final(segment("one")),
            Event::Final(segment("")),
            Event::Final(segment("two")),
        ];
        assert_eq!(written(false, &events), "one\ntwo\n");
        assert_eq!(written(true, &events), "a.wav\tone\na.wav\ttwo\n");
        assert_eq!(written(false, &events[..1]), "\n");
        assert_eq!(written(true, &events[2..3]), "a.wav\t\n");
        let mut out = Vec::new();
        TextWriter::new(&mut out, false).event("a.wav", &events[1]).expect("written");
        assert_eq!(out, b"one\n", "not held back until the end");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(written(false, &[Event::Final(segment("a\x1b[31mb\n"))]), "a\u{fffd}[31mb\u{fffd}\n");
    }
}
