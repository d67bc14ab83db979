//! Plain text: a line for each recording. On a terminal the line grows while it is heard.

use std::io::{self, Write};

use super::{Writer, printable};
use crate::recognizer::Event;

/// To the line's beginning, and clear the line.
const CLEAR_LINE: &str = "\r\x1b[K";

/// Prints what was said, one line a recording.
pub struct TextWriter<W> {
    out: W,
    /// `PATH<TAB>` before the text.
    with_path: bool,
    /// Columns of the terminal; `None` when it is none.
    columns: Option<usize>,
    /// What is final of the recording.
    text: String,
    /// A partial stands on the terminal's line.
    unfinished: bool,
}

impl<W: Write> TextWriter<W> {
    /// `with_path` puts `PATH<TAB>` before each text; `columns` is the width of the terminal
    /// that `out` is, if it is one.
    pub fn new(out: W, with_path: bool, columns: Option<usize>) -> Self {
        Self { out, with_path, columns, text: String::new(), unfinished: false }
    }

    fn line(&self, path: &str, text: &str) -> String {
        let text = printable(text);
        if self.with_path { format!("{}\t{text}", printable(path)) } else { text }
    }

    fn clear(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unfinished) {
            self.out.write_all(CLEAR_LINE.as_bytes())?;
        }
        Ok(())
    }
}

impl<W: Write> Writer for TextWriter<W> {
    fn event(&mut self, path: &str, event: &Event) -> io::Result<()> {
        match event {
            Event::Final(segment) => append(&mut self.text, &segment.text),
            Event::Partial(segment) => {
                let Some(columns) = self.columns else { return Ok(()) };
                let mut text = self.text.clone();
                append(&mut text, &segment.text);
                // A line that wraps cannot be rewritten: its end is shown, where the news is.
                let line = self.line(path, &text).replace('\t', " ");
                let shown = tail(&line, columns.saturating_sub(1));
                self.unfinished = true;
                write!(self.out, "{CLEAR_LINE}{shown}")?;
                self.out.flush()?;
            }
        }
        Ok(())
    }

    fn end(&mut self, path: &str, complete: bool) -> io::Result<()> {
        self.clear()?;
        let text = std::mem::take(&mut self.text);
        if complete {
            let line = self.line(path, &text);
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }

    fn wants_partials(&self) -> bool {
        self.columns.is_some()
    }
}

fn append(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push(' ');
    }
    text.push_str(more);
}

/// The end of a text that fits into so many columns.
pub(super) fn tail(text: &str, columns: usize) -> &str {
    let mut width = 0;
    for (at, c) in text.char_indices().rev() {
        width += console::measure_text_width(c.encode_utf8(&mut [0; 4]));
        if width > columns {
            return &text[at + c.len_utf8()..];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognizer::Segment;

    fn segment(text: &str) -> Segment {
        Segment { text: text.into(), start: 0.0, end: 1.0, words: Vec::new() }
    }

    fn written(with_path: bool, columns: Option<usize>, events: &[Event], complete: bool) -> String {
        let mut out = Vec::new();
        let mut writer = TextWriter::new(&mut out, with_path, columns);
        for event in events {
            writer.event("a.wav", event).expect("written");
        }
        writer.end("a.wav", complete).expect("written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_pipe_gets_the_final_text_alone() {
        let events =
            [Event::Partial(segment("on")), Event::Final(segment("one")), Event::Final(segment("two"))];
        assert_eq!(written(false, None, &events, true), "one two\n");
        assert_eq!(written(true, None, &events, true), "a.wav\tone two\n");
        assert_eq!(written(true, None, &events[..1], false), "");
    }

    #[test]
    fn a_terminal_sees_the_line_grow_and_no_more_than_fits() {
        let events = [Event::Partial(segment("one two three")), Event::Final(segment("one two three four"))];
        assert_eq!(written(false, Some(9), &events, true), "\r\x1b[Kwo three\r\x1b[Kone two three four\n");
        assert_eq!(written(false, Some(9), &events[..1], false), "\r\x1b[Kwo three\r\x1b[K");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(
            written(false, None, &[Event::Final(segment("a\x1b[31mb\n"))], true),
            "a\u{fffd}[31mb\u{fffd}\n"
        );
    }
}
