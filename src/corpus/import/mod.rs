//! Reading of corpora as people have them: tables, files of text beside recordings, and the layouts of well-known
//! corpora and tools.

mod beside;
mod formats;
mod json_lines;
mod kaldi;
mod labels;
mod librispeech;
mod listing;
mod reader;
mod table;
mod textgrid;
mod word_folders;

use std::path::Path;

use crate::corpus::Entry;
use crate::error::{Error, Result, Stage};
use crate::units::counted;
use listing::Listing;
use reader::Reader;

pub use formats::{FORMATS, Format};
pub use reader::ImportOptions;

/// The recordings of a corpus.
#[derive(Debug)]
pub struct Imported {
    /// The format that was read.
    pub format: &'static Format,
    /// Other formats that the folder seems to have, which were not read.
    pub others: Vec<&'static str>,
    /// The recordings, with the paths of their files.
    pub entries: Vec<Entry>,
    /// What was left out: file, line and reason.
    pub left_out: Vec<Error>,
    /// What was found where, for the user to check.
    pub notes: Vec<String>,
}

/// Reads a corpus: a folder, or a single file such as a table.
///
/// # Errors
/// When it cannot be read, has none of the formats, or no recording could be used.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported> {
    let mut listing = Listing::new(path, &options.ignore)?;
    let unreadable = std::mem::take(&mut listing.unreadable);
    let mut detected = FORMATS.iter().filter(|format| (format.detect)(&listing));
    let format = match &options.format {
        Some(name) => FORMATS.iter().find(|format| format.name == name).ok_or_else(|| unknown(name))?,
        None => detected.next().ok_or_else(|| nothing_known(path, &listing))?,
    };
    check_options(options, format)?;
    let others = match options.format {
        Some(_) => Vec::new(),
        None => detected.map(|format| format.name).collect(),
    };
    let mut reader = Reader::new(&listing, options);
    reader.left_out = unreadable;
    (format.read)(&mut reader);
    let Reader { mut entries, left_out, notes, .. } = reader;
    if entries.is_empty() {
        let problem = format!("no recording could be read in the format `{}`", format.name);
        return Err(match left_out.first() {
            Some(first) => Error::new(Stage::Corpus, format!("{problem}; the first problem: {first}")),
            None => Error::new(Stage::Corpus, problem).hint(format!("expected {}", format.about)),
        }
        .in_file(path));
    }
    if options.speaker_folders {
        for entry in &mut entries {
            let folder = entry.audio.parent().and_then(Path::file_name);
            entry.speaker = folder.map(|name| name.to_string_lossy().into_owned());
        }
    }
    Ok(Imported { format, others, entries, left_out, notes })
}

/// Refuses options that have no effect on a format.
fn check_options(options: &ImportOptions, format: &Format) -> Result<()> {
    let tables = &["table", "common-voice"][..];
    let given = [
        ("audio_column", options.audio_column.is_some(), tables),
        ("text_column", options.text_column.is_some(), tables),
        ("speaker_column", options.speaker_column.is_some(), tables),
        ("tier", options.tier.is_some(), &["textgrid"][..]),
    ];
    match given.into_iter().find(|(_, is_given, formats)| *is_given && !formats.contains(&format.name)) {
        None => Ok(()),
        Some((option, _, formats)) => {
            let problem = format!(
                "`{option}` has no effect: it is for {}, and the corpus is read as {}",
                formats.join(" and "),
                format.name
            );
            Err(Error::new(Stage::Usage, problem).hint("leave it out, or name the format"))
        }
    }
}

fn unknown(name: &str) -> Error {
    let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
    Error::new(Stage::Usage, format!("expected one of the formats {}, found `{name}`", names.join(", ")))
}

fn nothing_known(path: &Path, listing: &Listing) -> Error {
    let formats: Vec<String> =
        FORMATS.iter().map(|format| format!("{} ({})", format.about, format.name)).collect();
    let problem = match listing.audio().count() {
        0 => "there are no recordings in it".to_string(),
        count => format!("it has {}, but no transcripts in a known format", counted(count, "recording")),
    };
    Error::new(Stage::Corpus, problem).in_file(path).hint(format!("expected {}", formats.join("; ")))
}
