//! A file of text beside each recording: `x.txt` or `x.lab` beside `x.wav`.

use std::path::PathBuf;

use super::labels;
use super::listing::Listing;
use super::reader::{Reader, entry};

fn files(listing: &Listing) -> Vec<PathBuf> {
    listing.with_extension(&["txt", "lab"])
}

pub fn detect(listing: &Listing) -> bool {
    files(listing).iter().any(|path| listing.beside(path).is_some())
}

pub fn read(reader: &mut Reader<'_>) {
    let mut without = 0;
    for path in files(reader.listing) {
        let Some(audio) = reader.listing.beside(&path) else {
            without += 1;
            continue;
        };
        let Some(text) = reader.text(&path) else { continue };
        if labels::is_labels(&text) {
            reader.leave_out(
                &path,
                0,
                "it has labels with times; expected a text alone (see --format audacity)",
            );
        } else {
            reader.add(&path, 0, entry(audio, text));
        }
    }
    if without > 0 {
        reader
            .notes
            .push(format!("{without} files of text have no recording of their name and were not read"));
    }
}
