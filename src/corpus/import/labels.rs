//! Labels of Audacity: a file with lines of start, end and text beside each recording.

use std::path::PathBuf;

use super::listing::Listing;
use super::reader::{Reader, entry, read_text};
use crate::corpus::Entry;

fn files(listing: &Listing) -> Vec<PathBuf> {
    listing.with_extension(&["txt"])
}

/// Whether a text consists of labels: its first line has two times and a text.
pub fn is_labels(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('\\'));
    first.is_some_and(|line| label(line).is_ok())
}

/// Start, end and text of a line.
fn label(line: &str) -> Result<(f64, f64, &str), String> {
    let mut parts = line.splitn(3, '\t');
    // With the decimal comma of some languages.
    let mut time = || parts.next().and_then(|part| part.trim().replace(',', ".").parse::<f64>().ok());
    let (start, end) = (time(), time());
    match (start, end, parts.next()) {
        (Some(start), Some(end), Some(text)) => Ok((start, end, text)),
        (Some(_), Some(_), None) => Err("the label has no text".into()),
        _ => Err("expected start, end and text, separated by tabs".into()),
    }
}

pub fn detect(listing: &Listing) -> bool {
    let candidates = files(listing).into_iter().filter(|path| listing.beside(path).is_some());
    candidates.take(20).any(|path| read_text(&path).is_ok_and(|text| is_labels(&text)))
}

pub fn read(reader: &mut Reader<'_>) {
    for path in files(reader.listing) {
        let Some(audio) = reader.listing.beside(&path) else {
            reader.leave_out(&path, 0, "there is no recording of this name beside it");
            continue;
        };
        let Some(text) = reader.text(&path) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            // Lines that begin with a backslash have the frequencies of the label before.
            if line.trim().is_empty() || line.starts_with('\\') {
                continue;
            }
            match label(line) {
                Ok((start, end, _)) if end <= start => {
                    reader.leave_out(&path, number, "expected an end after the start of the label");
                }
                Ok((start, end, text)) => {
                    let part = Entry {
                        offset: Some(start),
                        duration: Some(end - start),
                        ..entry(audio.clone(), text)
                    };
                    reader.add(&path, number, part);
                }
                Err(problem) => reader.leave_out(&path, number, problem),
            }
        }
    }
}
