//! Live captions: a text file with the last lines of what is said, for programs that show a text file, such as OBS.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cues::MAX_LINE;
use super::printable;
use crate::fs;
use crate::recognizer::Event;

/// Maximum number of lines in the file.
const MAX_LINES: usize = 2;
/// Time without a change after which the file is emptied.
const CLEAR_AFTER: Duration = Duration::from_secs(4);
/// Time without a change after which the file is written once more, with the same content. Readers that look at the
/// time of its last change in whole seconds (OBS) would miss a change in the second in which they have read it.
const REWRITE_AFTER: Duration = Duration::from_secs(1);

/// A file of captions: at most two lines, of 42 characters if words allow it, without a line end at the end. Each
/// utterance begins a line. The file is replaced as a whole, and emptied when the value is dropped.
#[derive(Debug)]
pub struct CaptionFile {
    path: PathBuf,
    /// The last lines of the utterances that have ended.
    ended: Vec<String>,
    /// The file's content.
    shown: String,
    changed_at: Instant,
    /// The content was not written yet, or only once.
    pending: Pending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Write,
    Rewrite,
    Nothing,
}

impl CaptionFile {
    /// Creates an empty file, or empties an existing one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path, now: Instant) -> io::Result<Self> {
        let mut file = Self {
            path: path.to_path_buf(),
            ended: Vec::new(),
            shown: String::new(),
            changed_at: now,
            pending: Pending::Write,
        };
        file.update(now)?;
        Ok(file)
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shows the text of an event.
    ///
    /// # Errors
    /// When the file cannot be written; [`CaptionFile::update`] then tries again.
    pub fn event(&mut self, event: &Event, now: Instant) -> io::Result<()> {
        let (Event::Partial(segment) | Event::Final(segment)) = event;
        let mut lines = self.ended.clone();
        lines.extend(wrapped(&segment.text));
        lines.drain(..lines.len().saturating_sub(MAX_LINES));
        let text = lines.join("\n");
        if let Event::Final(_) = event {
            self.ended = lines;
        }
        self.show(text, now);
        self.update(now)
    }

    /// Writes what is due: the file is emptied when nothing has changed for four seconds. To be called several times
    /// a second.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn update(&mut self, now: Instant) -> io::Result<()> {
        let quiet = now.saturating_duration_since(self.changed_at);
        if quiet >= CLEAR_AFTER {
            self.ended.clear();
            self.show(String::new(), now);
        }
        let next = match self.pending {
            Pending::Write => Pending::Rewrite,
            Pending::Rewrite if quiet >= REWRITE_AFTER => Pending::Nothing,
            _ => return Ok(()),
        };
        fs::replace(&self.path, self.shown.as_bytes())?;
        self.pending = next;
        Ok(())
    }

    fn show(&mut self, text: String, now: Instant) {
        if text != self.shown {
            self.shown = text;
            self.changed_at = now;
            self.pending = Pending::Write;
        }
    }
}

impl Drop for CaptionFile {
    fn drop(&mut self) {
        // Best effort: a file that cannot be written was reported before.
        let _ = fs::replace(&self.path, b"");
    }
}

/// Lines of at most [`MAX_LINE`] characters; a longer word is a line of its own. The lines of a text remain when words
/// are appended to it.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace().map(printable) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= MAX_LINE => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn segment(text: &str) -> crate::recognizer::Segment {
        let words: Vec<_> = text.split_whitespace().map(|word| (word, 0.0, 1.0, 1.0)).collect();
        testing::segment(&words, 0.0, 1.0)
    }

    #[test]
    fn the_last_two_lines_are_shown_until_four_seconds_of_silence() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("captions.txt");
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let read = || std::fs::read_to_string(&path).expect("the file");
        let mut file = CaptionFile::create(&path, start).expect("created");
        assert_eq!(read(), "");
        let event = |file: &mut CaptionFile, event: Event, seconds: f64| {
            file.event(&event, at(seconds)).expect("written");
            read()
        };
        let long = "a text that is longer than a line of forty-two characters and";
        assert_eq!(event(&mut file, Event::Partial(segment("a text")), 1.0), "a text");
        let two = "a text that is longer than a line of\nforty-two characters and";
        assert_eq!(event(&mut file, Event::Partial(segment(long)), 2.0), two);
        let three = format!("{long} than two of them, so that they roll");
        let rolled = "forty-two characters and than two of them,\nso that they roll";
        assert_eq!(event(&mut file, Event::Final(segment(&three)), 3.0), rolled);
        // An event without words, such as silence after an utterance, changes nothing, nor the time.
        assert_eq!(event(&mut file, Event::Final(segment("")), 5.0), rolled);
        // The next utterance is a line below.
        assert_eq!(event(&mut file, Event::Partial(segment("next")), 6.0), "so that they roll\nnext");
        file.update(at(9.9)).expect("nothing to do");
        assert_eq!(read(), "so that they roll\nnext");
        file.update(at(10.0)).expect("written");
        assert_eq!(read(), "");
        assert_eq!(event(&mut file, Event::Final(segment("new")), 11.0), "new");
        drop(file);
        assert_eq!(read(), "");
    }

    #[test]
    fn content_is_written_again_after_a_second_and_a_failed_write_is_repeated() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("below");
        std::fs::create_dir(&below).expect("a folder");
        let path = below.join("captions.txt");
        let start = Instant::now();
        let mut file = CaptionFile::create(&path, start).expect("created");
        std::fs::remove_dir_all(&below).expect("removed");
        file.event(&Event::Partial(segment("one")), start).expect_err("no folder");
        std::fs::create_dir(&below).expect("a folder");
        file.update(start).expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "one");
        std::fs::remove_file(&path).expect("removed");
        file.update(start + REWRITE_AFTER / 2).expect("nothing to do");
        assert!(!path.exists());
        file.update(start + REWRITE_AFTER).expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "one");
    }

    #[test]
    fn long_words_and_control_characters() {
        let word = "x".repeat(50);
        assert_eq!(wrapped(&format!("a {word} b\u{1b}[31m\tc")), ["a", &word, "b\u{fffd}[31m c"]);
        assert_eq!(wrapped(" "), Vec::<String>::new());
    }
}
