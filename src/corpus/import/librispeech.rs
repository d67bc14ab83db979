//! LibriSpeech: `84/121123/84-121123.trans.txt` with a line `84-121123-0000 TEXT` for each recording beside it.

use std::path::PathBuf;

use super::listing::Listing;
use super::reader::{Reader, entry};
use crate::corpus::Entry;

fn files(listing: &Listing) -> Vec<PathBuf> {
    let all = listing.with_extension(&["txt"]).into_iter();
    all.filter(|path| path.to_string_lossy().ends_with(".trans.txt")).collect()
}

pub fn detect(listing: &Listing) -> bool {
    !files(listing).is_empty()
}

pub fn read(reader: &mut Reader<'_>) {
    for path in files(reader.listing) {
        let Some(text) = reader.text(&path) else { continue };
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let Some((name, text)) = line.trim().split_once(char::is_whitespace) else {
                reader.leave_out(&path, number, "expected the name of a recording and its text");
                continue;
            };
            let speaker = name.split_once('-').map(|(speaker, _)| speaker.to_string());
            reader.add_named(&path, number, name, Entry { speaker, ..entry(PathBuf::new(), text) });
        }
    }
}
