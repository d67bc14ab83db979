//! What was heard, as text: a format a file.

pub mod json;
pub mod live;
pub mod text;

use std::io;

use crate::recognizer::Event;

pub use json::JsonWriter;
pub use live::{LiveDisplay, Status};
pub use text::TextWriter;

/// Writes the events of recordings, one recording after the other.
pub trait Writer {
    /// Writes what an event says of the recording `path`.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn event(&mut self, path: &str, event: &Event) -> io::Result<()>;

    /// The recording has ended, after its last event or (`complete` false) before it.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn end(&mut self, path: &str, complete: bool) -> io::Result<()>;

    /// Whether partial events make a difference.
    fn wants_partials(&self) -> bool;
}

/// Text without control characters, which a terminal would obey and a table would break at.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
