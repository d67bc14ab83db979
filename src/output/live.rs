//! Live display on a terminal: final results as lines, below them the partial result and a status line, which
//! are redrawn in place.

use std::fmt;
use std::io::{self, Write};

use super::printable;

/// Moves the cursor up to the partial's line, and clears from there to the end of the screen.
const CLEAR: &str = "\r\x1b[1A\x1b[J";
/// Lower end of the level meter, dB relative to full scale.
const FLOOR_DB: f32 = -60.0;
/// Width of the level meter, columns.
const METER: usize = 20;

/// State of a microphone for the status line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Status {
    /// Peak of the recent samples, full scale 1.
    pub peak: f32,
    /// Delay between recording and recognition of a sample, milliseconds.
    pub lag_ms: f64,
    /// Audio that was lost, seconds.
    pub lost_seconds: f64,
    /// Number of overruns that the device reported.
    pub device_overruns: u64,
}

/// The lines on a terminal.
pub struct LiveDisplay<W> {
    out: W,
    partial: String,
    status: String,
    /// Whether partial and status are on the screen.
    drawn: bool,
}

impl<W: Write> LiveDisplay<W> {
    /// An empty display.
    pub fn new(out: W) -> Self {
        Self { out, partial: String::new(), status: String::new(), drawn: false }
    }

    /// Prints a final line, and clears the partial.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub fn line(&mut self, text: &str, columns: usize) -> io::Result<()> {
        self.partial.clear();
        self.draw(Some(text), columns)
    }

    /// Shows a partial result.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub fn partial(&mut self, text: &str, columns: usize) -> io::Result<()> {
        self.partial = printable(text);
        self.draw(None, columns)
    }

    /// Shows a status line.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub fn status(&mut self, status: &str, columns: usize) -> io::Result<()> {
        self.status = printable(status);
        self.draw(None, columns)
    }

    /// Removes partial and status.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub fn clear(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.drawn) {
            self.out.write_all(CLEAR.as_bytes())?;
        }
        self.out.flush()
    }

    /// Redraws in one write, so that nothing flickers.
    fn draw(&mut self, line: Option<&str>, columns: usize) -> io::Result<()> {
        let mut text = String::new();
        if std::mem::replace(&mut self.drawn, true) {
            text.push_str(CLEAR);
        }
        if let Some(line) = line {
            text.push_str(&printable(line));
            text.push('\n');
        }
        // A wrapped line could not be redrawn.
        let width = columns.saturating_sub(1);
        text.push_str(tail(&self.partial, width));
        text.push('\n');
        text.extend(self.status.chars().take(width));
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  lag {:.0} ms", level_meter(self.peak), self.lag_ms)?;
        if self.lost_seconds > 0.0 {
            write!(f, "  lost {:.2} s", self.lost_seconds)?;
        }
        if self.device_overruns > 0 {
            write!(f, "  device overruns {}", self.device_overruns)?;
        }
        Ok(())
    }
}

/// A level meter for a peak (full scale 1), with its number.
pub fn level_meter(peak: f32) -> String {
    let db = 20.0 * peak.max(1e-6).log10();
    let filled = (((db - FLOOR_DB) / -FLOOR_DB).clamp(0.0, 1.0) * METER as f32).round() as usize;
    let level = if db <= -99.0 { "silent".to_string() } else { format!("{db:3.0} dB") };
    format!("{}{} {level:>7}", "█".repeat(filled), "·".repeat(METER - filled))
}

/// The longest end of a text that fits into a number of columns.
fn tail(text: &str, columns: usize) -> &str {
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

    #[test]
    fn the_partial_is_rewritten_and_a_line_stays() {
        let mut out = Vec::new();
        let mut display = LiveDisplay::new(&mut out);
        display.partial("one two three", 10).expect("written");
        display.line("one two three\x1b[2J", 10).expect("written");
        display.clear().expect("written");
        display.clear().expect("written");
        let expected = format!("two three\n{CLEAR}one two three\u{fffd}[2J\n\n{CLEAR}");
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn the_status_shows_level_lag_and_losses() {
        let quiet = Status { lag_ms: 12.4, ..Default::default() }.to_string();
        assert_eq!(quiet, format!("{}  silent  lag 12 ms", "·".repeat(20)));
        let loud = Status { peak: 1.0, lag_ms: 80.0, lost_seconds: 0.25, device_overruns: 2 }.to_string();
        assert_eq!(loud, format!("{}    0 dB  lag 80 ms  lost 0.25 s  device overruns 2", "█".repeat(20)));
        let half = Status { peak: 0.0316, ..Default::default() }.to_string();
        assert!(half.starts_with(&format!("{}{}", "█".repeat(10), "·".repeat(10))), "{half}");
    }
}
