//! The folder of a run: only one training at a time writes to it, and none replaces another's results
//! without being asked to.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint;
use super::events;
use crate::error::{self, Error, Result, Stage};

/// File locked by the training that runs in the folder.
const LOCK: &str = "training.lock";
/// The log of the run, a JSON object on each line.
pub(super) const LOG: &str = "log.jsonl";
/// The report of the run, an HTML page.
pub const REPORT: &str = "report.html";
/// The mean of the best models of the run.
pub(super) const AVERAGE: &str = "average.onnx";
/// File that lists the data left out, and why.
pub const LEFT_OUT: &str = "left_out.txt";

/// What to do with an earlier run in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingRun {
    /// Keep it: refuse to train.
    #[default]
    Keep,
    /// Resume it from its checkpoint.
    Resume,
    /// Remove its files.
    Overwrite,
}

/// The locked folder of a run. Files and folders created for a run that did not begin are removed.
pub(super) struct RunFolder {
    path: PathBuf,
    lock: File,
    /// Whether the lock is held.
    is_locked: bool,
    /// Whether the lock file was created here.
    new_lock: bool,
    /// Folders that were created here, the outermost first.
    created: Vec<PathBuf>,
    has_begun: bool,
}

impl RunFolder {
    /// Opens or creates the folder and locks it.
    ///
    /// # Errors
    /// When it cannot be created, another training runs in it, or `existing_run` does not fit its content.
    pub fn open(path: &Path, existing_run: ExistingRun) -> Result<Self> {
        let failed = |e: io::Error| error::io(Stage::Train, path, e);
        let missing: Vec<PathBuf> = path
            .ancestors()
            .filter(|p| !p.as_os_str().is_empty() && !p.exists())
            .map(PathBuf::from)
            .collect();
        if existing_run == ExistingRun::Resume && !missing.is_empty() {
            return Err(nothing_to_resume(path));
        }
        fs::create_dir_all(path).map_err(failed)?;
        let created = missing.into_iter().rev().collect();
        let new_lock = !path.join(LOCK).exists();
        let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.map_err(failed)?;
        let mut folder =
            Self { path: path.into(), lock, is_locked: false, new_lock, created, has_begun: false };
        match folder.lock.try_lock() {
            Ok(()) => folder.is_locked = true,
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(Stage::Train, "another training is running in this folder")
                    .in_file(path)
                    .hint("choose another folder, or wait for it to end"));
            }
            // Some network file systems do not support locks.
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let found = folder.results()?;
        match (existing_run, found.is_empty()) {
            (ExistingRun::Keep, false) => {
                Err(Error::new(Stage::Usage, "this folder already contains a training")
                    .in_file(path)
                    .hint("resume it, overwrite it, or choose another folder")
                    .remedy("ExistingRun"))
            }
            (ExistingRun::Resume, _) if !checkpoint::exists(path) => Err(nothing_to_resume(path)),
            _ => Ok(folder),
        }
    }

    /// Prepares the folder for the run, which from now on is kept.
    ///
    /// # Errors
    /// When files of an earlier run cannot be removed.
    pub fn begin(&mut self, existing_run: ExistingRun) -> Result<()> {
        self.has_begun = true;
        if existing_run == ExistingRun::Overwrite {
            let others = [LOG, REPORT, LEFT_OUT].map(|name| self.path.join(name));
            for file in self.results()?.into_iter().chain(self.event_files()?).chain(others) {
                match fs::remove_file(&file) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        return Err(error::io(Stage::Train, &file, e));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The results of an earlier run that are expensive to reproduce: checkpoints and models.
    fn results(&self) -> Result<Vec<PathBuf>> {
        self.files(|name| {
            let model = name.ends_with(".onnx")
                && (name.starts_with("at-") || ["best.onnx", "last.onnx", AVERAGE].contains(&name));
            model || checkpoint::NAMES.contains(&name)
        })
    }

    /// TensorBoard's files of an earlier run.
    fn event_files(&self) -> Result<Vec<PathBuf>> {
        self.files(|name| name.starts_with(events::PREFIX))
    }

    /// The files with such names.
    fn files(&self, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
        let failed = |e: io::Error| error::io(Stage::Train, &self.path, e);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if is_wanted(&name) {
                found.push(path);
            }
        }
        Ok(found)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.has_begun {
            if self.is_locked && self.new_lock {
                let _ = fs::remove_file(self.path.join(LOCK));
            }
            // Only empty folders can be removed.
            self.created.iter().rev().for_each(|folder| drop(fs::remove_dir(folder)));
        }
        // Closing the file does not unlock it while a process that another thread is just starting has a copy of it.
        if self.is_locked {
            let _ = self.lock.unlock();
        }
    }
}

fn nothing_to_resume(path: &Path) -> Error {
    Error::new(Stage::Train, "there is no checkpoint to resume from")
        .in_file(path.join(checkpoint::NAMES[0]))
        .hint("start a new training without resuming")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_free_after_its_run_even_if_another_process_has_inherited_the_lock() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("run");
        let mut folder = RunFolder::open(&path, ExistingRun::Keep).expect("a new folder");
        folder.begin(ExistingRun::Keep).expect("begun");
        assert!(RunFolder::open(&path, ExistingRun::Keep).is_err());
        let inherited = folder.lock.try_clone().expect("a copy");
        drop(folder);
        assert!(RunFolder::open(&path, ExistingRun::Keep).is_ok());
        drop(inherited);
    }
}
