//! A folder for each word, as in Speech Commands: the name of the folder is the text of its recordings.

use std::collections::BTreeSet;
use std::path::Path;

use super::listing::Listing;
use super::reader::{Reader, entry};
use crate::corpus::Entry;

/// The name of the folder of a recording, which is directly below the root.
fn word(listing: &Listing, audio: &Path) -> Option<String> {
    let folder = audio.parent().filter(|folder| folder.parent() == Some(&listing.root))?;
    Some(folder.file_name()?.to_str()?.to_string())
}

/// Whether a folder has recordings of noise: `_background_noise_`.
fn is_noise(word: &str) -> bool {
    word.starts_with('_')
}

pub fn detect(listing: &Listing) -> bool {
    let words: BTreeSet<String> = listing.audio().filter_map(|audio| word(listing, audio)).collect();
    words.iter().filter(|word| !is_noise(word)).count() >= 2
}

pub fn read(reader: &mut Reader<'_>) {
    let (mut noise, mut elsewhere) = (0, 0);
    for audio in reader.listing.audio() {
        match word(reader.listing, audio) {
            Some(word) if is_noise(&word) => noise += 1,
            Some(word) => {
                let stem = audio.file_stem().map(|stem| stem.to_string_lossy().into_owned());
                // Speech Commands names a file by its speaker: `0a7c2a8d_nohash_0.wav`.
                let speaker = stem.and_then(|stem| Some(stem.split_once("_nohash_")?.0.to_string()));
                let text = word.replace('_', " ");
                reader.add(audio, 0, Entry { speaker, ..entry(audio.to_path_buf(), text) });
            }
            None => elsewhere += 1,
        }
    }
    if noise > 0 {
        let note = "recordings in folders whose names begin with `_` are noise and were not read";
        reader.notes.push(format!("{noise} {note}"));
    }
    if elsewhere > 0 {
        reader.notes.push(format!("{elsewhere} recordings are in no folder of a word and were not read"));
    }
}
