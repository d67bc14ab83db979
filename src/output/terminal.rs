//! Transcripts on a terminal, written while recordings are transcribed.

use std::io::{self, Write};

use super::Writer;
use super::live::LiveDisplay;
use super::text::Lines;
use crate::recognizer::Event;

/// A writer of utterances as lines on a terminal, above the partial result and a status line.
pub struct TerminalWriter<W> {
    display: LiveDisplay<W>,
    lines: Lines,
}

impl<W: Write> TerminalWriter<W> {
    /// A writer; `with_path` puts `PATH<TAB>` before each text.
    pub fn new(out: W, with_path: bool) -> Self {
        Self { display: LiveDisplay::new(out), lines: Lines::new(with_path) }
    }

    fn write(&mut self, line: Option<String>) -> io::Result<()> {
        match line {
            Some(line) => self.display.line(&line, columns()),
            None => self.display.partial("", columns()),
        }
    }
}

/// Width of the terminal, columns.
fn columns() -> usize {
    usize::from(console::Term::stdout().size().1)
}

impl<W: Write> Writer for TerminalWriter<W> {
    fn event(&mut self, path: &str, event: &Event) -> io::Result<()> {
        match event {
            Event::Final(segment) => {
                let line = self.lines.utterance(path, &segment.text);
                self.write(line)
            }
            Event::Partial(segment) => self.display.partial(&segment.text, columns()),
        }
    }

    fn end(&mut self, path: &str, _warnings: &[String]) -> io::Result<()> {
        let line = self.lines.end(path);
        self.write(line)
    }

    fn wants_partials(&self) -> bool {
        true
    }

    fn status(&mut self, status: &str) -> io::Result<()> {
        self.display.status(status, columns())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.display.clear()
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

    #[test]
    fn a_terminal_shows_the_partial_below_the_lines() {
        let mut out = Vec::new();
        let mut writer = TerminalWriter::new(&mut out, false);
        writer.event("a.wav", &Event::Partial(segment("on"))).expect("written");
        writer.status("50 %").expect("written");
        writer.event("a.wav", &Event::Final(segment("one"))).expect("written");
        writer.end("a.wav", &[]).expect("written");
        writer.clear().expect("written");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("on\n50 %") && text.contains("one\n") && text.ends_with("\x1b[J"), "{text:?}");
    }
}
