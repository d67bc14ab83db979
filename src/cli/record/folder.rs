//! The folder that `hearken record` writes: WAV files, and a manifest of them.

use std::path::{Path, PathBuf};

use crate::audio::{WavEncoding, write_wav};
use crate::corpus::Entry;
use crate::corpus::manifest::{self, ReadOptions, TextRule};
use crate::error::{Result, Stage, io};

/// Name of the manifest.
pub(super) const MANIFEST: &str = "manifest.jsonl";
/// Maximum length of the phrase in a file's name, characters.
const NAME_LENGTH: usize = 40;

/// The recordings of a folder.
pub(super) struct Folder {
    path: PathBuf,
    entries: Vec<Entry>,
    /// Number of recordings of the manifest whose file is not there.
    pub missing: usize,
}

impl Folder {
    /// Opens a folder, which is created if it is not there.
    ///
    /// # Errors
    /// When it cannot be created, or its manifest has errors.
    pub fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| io(Stage::Output, path, e))?;
        let manifest = path.join(MANIFEST);
        let is_new = std::fs::metadata(&manifest).map_or(true, |file| file.len() == 0);
        let options = ReadOptions { text: TextRule::NotEmpty, check_audio: false };
        let all = if is_new { Vec::new() } else { manifest::read_with(&manifest, options)? };
        let count = all.len();
        let entries: Vec<Entry> = all.into_iter().filter(|entry| entry.audio.is_file()).collect();
        Ok(Self { path: path.to_path_buf(), missing: count - entries.len(), entries })
    }

    /// How often a speaker has said a phrase.
    pub fn takes(&self, phrase: &str, speaker: &str) -> usize {
        let is_one = |entry: &&Entry| entry.text == phrase && entry.speaker.as_deref() == Some(speaker);
        self.entries.iter().filter(is_one).count()
    }

    /// Number of recordings.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Writes a recording and the manifest with it; returns its number, for [`Folder::replace`].
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn add(&mut self, phrase: &str, speaker: &str, samples: &[f32], rate: u32) -> Result<usize> {
        let audio = self.free_name(phrase, speaker);
        write_wav(&audio, samples, rate, WavEncoding::Pcm16)?;
        self.entries.push(Entry {
            audio,
            text: phrase.into(),
            duration: Some(samples.len() as f64 / f64::from(rate)),
            offset: None,
            speaker: Some(speaker.into()),
            line: self.entries.len() + 1,
            extra: Default::default(),
        });
        self.write()?;
        Ok(self.entries.len() - 1)
    }

    /// Writes a recording in place of an earlier one.
    ///
    /// # Errors
    /// As [`Folder::add`].
    pub fn replace(&mut self, number: usize, samples: &[f32], rate: u32) -> Result<()> {
        let Some(entry) = self.entries.get_mut(number) else { return Ok(()) };
        write_wav(&entry.audio, samples, rate, WavEncoding::Pcm16)?;
        entry.duration = Some(samples.len() as f64 / f64::from(rate));
        self.write()
    }

    fn write(&self) -> Result<()> {
        manifest::write(&self.path.join(MANIFEST), &self.entries)
    }

    /// The name of a file that is not there yet.
    fn free_name(&self, phrase: &str, speaker: &str) -> PathBuf {
        let stem = format!("{}-{}", name(speaker), name(phrase));
        let free = |number: usize| self.path.join(format!("{stem}-{number}.wav"));
        let mut number = self.takes(phrase, speaker) + 1;
        while free(number).exists() {
            number += 1;
        }
        free(number)
    }
}

/// A text as a part of a file's name: letters and digits, joined by hyphens.
fn name(text: &str) -> String {
    let lower = text.to_lowercase();
    let parts = lower.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
    let joined = parts.collect::<Vec<_>>().join("-");
    let short: String = joined.chars().take(NAME_LENGTH).collect();
    if short.is_empty() { "phrase".into() } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_continued_and_its_manifest_is_one_of_hearken() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new");
        let mut first = Folder::open(&path).expect("created");
        let samples = [0.1; 800];
        assert_eq!(first.add("turn it on", "Ann B.", &samples, 16_000).expect("written"), 0);
        assert_eq!(first.add("turn it on", "Ann B.", &samples, 16_000).expect("written"), 1);
        first.replace(1, &[0.1; 1600], 16_000).expect("written");
        assert!(path.join("ann-b-turn-it-on-2.wav").is_file());

        let entries = manifest::read(path.join(MANIFEST)).expect("a manifest");
        assert_eq!((entries.len(), entries[1].duration, entries[0].duration), (2, Some(0.1), Some(0.05)));
        assert_eq!((entries[0].text.as_str(), entries[0].speaker.as_deref()), ("turn it on", Some("Ann B.")));

        // A recording that the user removed is asked for again, and no file is overwritten.
        std::fs::remove_file(path.join("ann-b-turn-it-on-1.wav")).expect("removed");
        let mut again = Folder::open(&path).expect("opened");
        assert_eq!((again.len(), again.missing), (1, 1));
        assert_eq!((again.takes("turn it on", "Ann B."), again.takes("turn it on", "Ben")), (1, 0));
        again.add("turn it on", "Ann B.", &samples, 16_000).expect("written");
        assert!(path.join("ann-b-turn-it-on-3.wav").is_file());
        std::fs::write(path.join(MANIFEST), "{").expect("written");
        assert!(Folder::open(&path).err().is_some_and(|e| e.to_string().contains("line 1")));
    }

    #[test]
    fn names_of_files_are_letters_and_digits() {
        assert_eq!(name("What's 50 % of it?"), "what-s-50-of-it");
        assert_eq!((name("größer"), name("../…")), ("größer".into(), "phrase".into()));
        assert_eq!(name(&"a".repeat(99)).len(), NAME_LENGTH);
    }
}
