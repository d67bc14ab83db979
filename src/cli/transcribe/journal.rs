//! The journal of a run over many recordings: the list of finished ones, by which a stopped run continues.
//!
//! A file of JSON lines in the folder of the transcripts. The first line holds the settings that the
//! transcripts depend on; each further line a finished recording. A line is on the disk before its
//! transcript appears, so that a transcript without a line was not written by hearken.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Stage, io as io_error};

/// The journal's name in its folder.
pub(super) const NAME: &str = ".hearken-journal.jsonl";

/// The settings that transcripts depend on, by option.
pub(super) type Settings = BTreeMap<String, String>;

#[derive(Serialize, Deserialize)]
struct Head {
    hearken: String,
    settings: Settings,
}

/// A finished recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    /// Its name in results.
    pub recording: String,
    /// Its file's stamp: if size or time differ, the recording has changed.
    pub stamp: Option<Stamp>,
    pub transcript: String,
    pub seconds: f64,
    /// Damage found in it, reported again by runs that skip it.
    pub warnings: Vec<String>,
}

/// Size and modification time of a file, by which changes are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stamp {
    bytes: u64,
    /// Nanoseconds since 1970.
    changed: u64,
}

impl Stamp {
    /// The stamp of a file, if it is one.
    pub fn read(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let changed = found.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self { bytes: found.len(), changed: u64::try_from(changed.as_nanos()).ok()? })
    }

    /// The file's size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// An open journal. It is locked: one run at a time writes into a folder.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    done: HashMap<String, Done>,
}

impl Journal {
    /// Opens the journal of a folder; `resume` keeps what is in it.
    ///
    /// # Errors
    /// When another run holds the lock, the journal is of a run with other settings, or it cannot be written.
    pub fn open(folder: &Path, settings: &Settings, resume: bool) -> Result<Self> {
        let path = folder.join(NAME);
        let failed = |e: io::Error| io_error(Stage::Output, &path, e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let problem = "another run of hearken is writing transcripts into this folder";
            return Err(Error::new(Stage::Output, problem).in_file(folder));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        // A run that was killed may have left half a line.
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<&[u8]> =
            text[..whole].split(|&byte| byte == b'\n').filter(|l| !l.is_empty()).collect();
        let mut journal = Self { file, path: path.clone(), done: HashMap::new() };
        match lines.split_first() {
            Some((head, done)) if resume => {
                journal.read(head, done, settings).map_err(|e| e.in_file(&path))?;
                journal.file.set_len(whole as u64).map_err(failed)?;
                journal.file.seek(SeekFrom::End(0)).map_err(failed)?;
            }
            _ => {
                journal.file.set_len(0).map_err(failed)?;
                journal.file.rewind().map_err(failed)?;
                let hearken = env!("CARGO_PKG_VERSION").into();
                journal.append(&[Head { hearken, settings: settings.clone() }])?;
            }
        }
        Ok(journal)
    }

    fn read(&mut self, head: &[u8], done: &[&[u8]], settings: &Settings) -> Result<()> {
        let damaged = |line: usize| {
            Error::new(Stage::Output, "expected the journal of a run of hearken")
                .at(format!("line {line}"))
                .hint("start over with --overwrite")
        };
        let head: Head = serde_json::from_slice(head).map_err(|_| damaged(1))?;
        let keys = || settings.keys().chain(head.settings.keys());
        if let Some(key) = keys().find(|key| settings.get(*key) != head.settings.get(*key)) {
            let value = |settings: &Settings| settings.get(key).cloned().unwrap_or_else(|| "nothing".into());
            let problem = format!(
                "the earlier run had other settings: {key} was {}, and is {} now",
                value(&head.settings),
                value(settings)
            );
            let hint = "--resume needs the same settings; --overwrite starts over";
            return Err(Error::new(Stage::Usage, problem).hint(hint));
        }
        for (number, line) in done.iter().enumerate() {
            let done: Done = serde_json::from_slice(line).map_err(|_| damaged(number + 2))?;
            self.done.insert(done.recording.clone(), done);
        }
        Ok(())
    }

    fn append(&mut self, lines: &[impl Serialize]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        for line in lines {
            text.extend(serde_json::to_vec(line).unwrap_or_default());
            text.push(b'\n');
        }
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        written.map_err(|e| io_error(Stage::Output, &self.path, e))
    }

    /// The entry of a recording with this transcript, if it is finished and unchanged.
    pub fn done(&self, recording: &str, stamp: Option<Stamp>, transcript: &Path) -> Option<&Done> {
        let same =
            |done: &&Done| stamp.is_some() && done.stamp == stamp && is_name(transcript, &done.transcript);
        self.done.get(recording).filter(same).filter(|_| transcript.is_file())
    }

    /// Whether an earlier run wrote this transcript, or was about to.
    pub fn has_entry(&self, recording: &str, transcript: &Path) -> bool {
        self.done.get(recording).is_some_and(|done| is_name(transcript, &done.transcript))
    }

    /// Adds finished recordings; call it before their transcripts are written.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn note(&mut self, done: &[Done]) -> Result<()> {
        self.append(done)
    }
}

fn is_name(path: &Path, name: &str) -> bool {
    crate::fs::quoted(path) == name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(model: &str) -> Settings {
        Settings::from([("--format".into(), "srt".into()), ("--model".into(), model.into())])
    }

    fn done(folder: &Path, name: &str) -> Done {
        let recording = folder.join(name);
        fs::write(&recording, name).expect("written");
        let transcript = folder.join(format!("{name}.srt"));
        fs::write(&transcript, "x").expect("written");
        Done {
            recording: name.into(),
            stamp: Stamp::read(&recording),
            transcript: transcript.display().to_string(),
            seconds: 1.5,
            warnings: vec!["cut".into()],
        }
    }

    #[test]
    fn complete_journal_lines_are_read_after_a_kill() {
        let folder = tempfile::tempdir().expect("a folder");
        let (a, b) = (done(folder.path(), "a.wav"), done(folder.path(), "b.wav"));
        let mut journal = Journal::open(folder.path(), &settings("m"), false).expect("opened");
        journal.note(std::slice::from_ref(&a)).expect("noted");
        journal.file.write_all(b"{\"recording\": \"b.w").expect("written");
        drop(journal);
        let mut journal = Journal::open(folder.path(), &settings("m"), true).expect("opened");
        let know = |journal: &Journal, done: &Done| {
            journal.done(&done.recording, done.stamp, Path::new(&done.transcript)).cloned()
        };
        assert_eq!((know(&journal, &a), know(&journal, &b)), (Some(a.clone()), None));
        journal.note(std::slice::from_ref(&b)).expect("noted");
        drop(journal);
        let journal = Journal::open(folder.path(), &settings("m"), true).expect("opened");
        assert_eq!(know(&journal, &b), Some(b.clone()));
        // A recording that changed, or whose transcript is gone, is done anew.
        fs::write(folder.path().join("a.wav"), "another").expect("written");
        let stamp = Stamp::read(&folder.path().join("a.wav"));
        assert_eq!(journal.done("a.wav", stamp, Path::new(&a.transcript)), None);
        fs::remove_file(&b.transcript).expect("removed");
        assert_eq!(know(&journal, &b), None);
        assert!(journal.has_entry("b.wav", Path::new(&b.transcript)));
    }

    #[test]
    fn other_settings_and_other_runs_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = |settings: &Settings| match Journal::open(folder.path(), settings, true) {
            Ok(_) => panic!("it was opened"),
            Err(error) => error.to_string(),
        };
        let journal = Journal::open(folder.path(), &settings("m"), false).expect("opened");
        assert!(refused(&settings("m")).contains("another run"));
        drop(journal);
        let text = refused(&settings("n"));
        assert!(text.contains("--model was m, and is n now"), "{text}");
        fs::write(folder.path().join(NAME), "something else\n").expect("written");
        assert!(refused(&settings("m")).contains("line 1"));
        Journal::open(folder.path(), &settings("m"), false).expect("begun anew");
    }
}
