//! What the readers of all formats share: the options, the recordings found, and what was left out.

use std::path::{Path, PathBuf};

use serde_json::Map;

use super::listing::Listing;
use crate::corpus::Entry;
use crate::error::{Error, Result, Stage, io};

/// The options of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Name of the format; `None`: the first one that the folder has.
    pub format: Option<String>,
    /// Column of the recordings in a table: its name, or its number from 1.
    pub audio_column: Option<String>,
    /// Column of the transcripts in a table.
    pub text_column: Option<String>,
    /// Column of the speakers in a table.
    pub speaker_column: Option<String>,
    /// Tier of a TextGrid.
    pub tier: Option<String>,
    /// Whether the speaker of a recording is the name of its folder.
    pub speaker_folders: bool,
    /// Files that are not read, such as the manifest that will be written.
    pub ignore: Vec<PathBuf>,
}

/// The reading of a corpus.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The files.
    pub listing: &'a Listing,
    /// The options.
    pub options: &'a ImportOptions,
    /// The recordings found so far.
    pub entries: Vec<Entry>,
    /// What was left out: file, line and reason.
    pub left_out: Vec<Error>,
    /// What was found where, for the user to check.
    pub notes: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader that has read nothing.
    pub fn new(listing: &'a Listing, options: &'a ImportOptions) -> Self {
        Self { listing, options, entries: Vec::new(), left_out: Vec::new(), notes: Vec::new() }
    }

    /// Leaves out a line of a file; 0 for the whole file.
    pub fn leave_out(&mut self, file: &Path, line: usize, problem: impl Into<String>) {
        let error = Error::new(Stage::Corpus, problem).in_file(file);
        self.left_out.push(if line == 0 { error } else { error.at(format!("line {line}")) });
    }

    /// Adds a recording that a line of a file names, or leaves it out if it cannot be used.
    pub fn add(&mut self, file: &Path, line: usize, entry: Entry) {
        let entry = Entry { text: one_line(&entry.text), ..entry };
        let wrong = |seconds: Option<f64>| seconds.is_some_and(|s| !s.is_finite() || s < 0.0);
        if entry.text.is_empty() {
            self.leave_out(file, line, "the text is empty");
        } else if wrong(entry.offset) || wrong(entry.duration) {
            self.leave_out(file, line, "expected times in seconds, 0 or more");
        } else if entry.duration == Some(0.0) {
            self.leave_out(file, line, "the part has no length");
        } else if entry.audio.to_str().is_none() {
            self.leave_out(file, line, "the name of the recording is not UTF-8, which a manifest requires");
        } else {
            self.entries.push(entry);
        }
    }

    /// Reads a file of text; a file that cannot be read is left out.
    pub fn text(&mut self, path: &Path) -> Option<String> {
        read_text(path).map_err(|error| self.left_out.push(error)).ok()
    }

    /// Adds the recording that a line names from the folder of the file.
    pub fn add_named(&mut self, file: &Path, line: usize, name: &str, entry: Entry) {
        let folder = file.parent().unwrap_or(Path::new(""));
        match self.listing.find(folder, name) {
            Ok(audio) => self.add(file, line, Entry { audio, ..entry }),
            Err(problem) => self.leave_out(file, line, problem),
        }
    }
}

/// A recording with a text, and nothing else known.
pub fn entry(audio: PathBuf, text: impl Into<String>) -> Entry {
    Entry {
        audio,
        text: text.into(),
        duration: None,
        offset: None,
        speaker: None,
        line: 0,
        extra: Map::new(),
    }
}

/// A text with single spaces in place of line breaks and other white space.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Reads a file in UTF-8, or in UTF-16 with a byte order mark, as Praat and spreadsheets write.
///
/// # Errors
/// When it cannot be read, or is in another encoding; names the line.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| io(Stage::Corpus, path, e))?;
    let utf16 = |unit: fn([u8; 2]) -> u16| {
        let (pairs, _) = bytes[2..].as_chunks::<2>();
        char::decode_utf16(pairs.iter().map(|&pair| unit(pair)))
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    };
    match bytes.as_slice() {
        [0xff, 0xfe, ..] => return Ok(utf16(u16::from_le_bytes)),
        [0xfe, 0xff, ..] => return Ok(utf16(u16::from_be_bytes)),
        _ => {}
    }
    match std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)) {
        Ok(text) => Ok(text.to_string()),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
            Err(Error::new(Stage::Corpus, "expected UTF-8, found another encoding")
                .in_file(path)
                .at(format!("line {line}"))
                .hint("convert the file, for example: iconv -f latin1 -t utf8 OLD > NEW"))
        }
    }
}
