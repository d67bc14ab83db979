//! The files of a folder, and the search for the recordings that a corpus names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::audio;
use crate::error::{Error, Result, Stage};
use crate::fs::quoted;

/// All files of a folder but hidden ones, in alphabetical order.
#[derive(Debug)]
pub struct Listing {
    /// The folder.
    pub root: PathBuf,
    /// The only file to read, if the corpus was named by a file.
    chosen: Option<PathBuf>,
    files: Vec<PathBuf>,
    /// Recordings by name, and by name without extension, in lower case.
    recordings: HashMap<String, Vec<PathBuf>>,
    /// Folders that could not be read.
    pub unreadable: Vec<Error>,
}

impl Listing {
    /// Lists a folder without the files of `ignore`; for a file, the folder that it is in.
    ///
    /// # Errors
    /// When there is no such file or folder.
    pub fn new(path: &Path, ignore: &[PathBuf]) -> Result<Self> {
        let ignore: Vec<PathBuf> = ignore.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let is_ignored = |path: &Path| {
            let same_name = ignore.iter().any(|other| other.file_name() == path.file_name());
            same_name && path.canonicalize().is_ok_and(|path| ignore.contains(&path))
        };
        let found = std::fs::metadata(path).map_err(|e| crate::error::io(Stage::Corpus, path, e))?;
        let (root, chosen) = match found.is_dir() {
            true => (path.to_path_buf(), None),
            false => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                (folder.unwrap_or(Path::new(".")).to_path_buf(), Some(path.to_path_buf()))
            }
        };
        let (mut files, mut unreadable) = (Vec::new(), Vec::new());
        let walk = WalkDir::new(&root).follow_links(true).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.path())) {
            match entry {
                Ok(entry) if entry.file_type().is_file() && !is_ignored(entry.path()) => {
                    files.push(entry.into_path())
                }
                Ok(_) => {}
                Err(error) => unreadable.push(Error::new(Stage::Corpus, error.to_string())),
            }
        }
        let mut recordings: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for path in files.iter().filter(|path| is_audio(path)) {
            for name in [path.file_name(), path.file_stem()].into_iter().flatten() {
                recordings.entry(name.to_string_lossy().to_lowercase()).or_default().push(path.clone());
            }
        }
        Ok(Self { root, chosen, files, recordings, unreadable })
    }

    /// The files of text that are to be read: all, or the one that was chosen.
    pub fn texts(&self) -> impl Iterator<Item = &Path> {
        let chosen = self.chosen.as_deref();
        let all = self.files.iter().map(PathBuf::as_path).filter(|path| !is_audio(path));
        chosen.into_iter().chain(all.filter(move |_| chosen.is_none()))
    }

    /// The files of text with one of these extensions.
    pub fn with_extension(&self, extensions: &[&str]) -> Vec<PathBuf> {
        self.texts().filter(|path| has_extension(path, extensions)).map(PathBuf::from).collect()
    }

    /// The files of text with this name.
    pub fn named(&self, name: &str) -> Vec<PathBuf> {
        self.texts().filter(|path| path.file_name().is_some_and(|n| n == name)).map(PathBuf::from).collect()
    }

    /// The file that the user named in place of a folder.
    pub fn chosen(&self) -> Option<&Path> {
        self.chosen.as_deref()
    }

    /// All recordings.
    pub fn audio(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path).filter(|path| is_audio(path))
    }

    /// The recording that a file in `folder` names: by its path from there or from the root, or by its name,
    /// with or without extension, if only one has it.
    ///
    /// # Errors
    /// When there is none or more than one; says which.
    pub fn find(&self, folder: &Path, name: &str) -> std::result::Result<PathBuf, String> {
        let name = name.trim();
        let slashed = name.replace('\\', "/");
        let places = [folder.join(name), self.root.join(name), folder.join(&slashed)];
        if let Some(found) = places.into_iter().find(|path| !name.is_empty() && path.is_file()) {
            return Ok(found);
        }
        let last = slashed.rsplit('/').next().unwrap_or_default().to_lowercase();
        match self.recordings.get(&last).map_or(&[][..], Vec::as_slice) {
            [] => Err(format!("the recording `{name}` is not there")),
            [one] => Ok(one.clone()),
            many => {
                let end = slashed.to_lowercase();
                let fits = |path: &&PathBuf| {
                    let path = path.to_string_lossy().to_lowercase();
                    path.ends_with(&end)
                        || path.rsplit_once('.').is_some_and(|(stem, _)| stem.ends_with(&end))
                };
                let mut best = many.iter().filter(fits);
                match (best.next(), best.next()) {
                    (Some(one), None) => Ok(one.clone()),
                    _ => Err(format!(
                        "{} recordings are named `{name}`, such as {} and {}",
                        many.len(),
                        quoted(&many[0]),
                        quoted(&many[1])
                    )),
                }
            }
        }
    }

    /// The recording in the folder of a file of text that has its name; if that folder has only one recording and
    /// one such file, that one.
    pub fn beside(&self, text: &Path) -> Option<PathBuf> {
        let stem = text.file_stem()?.to_string_lossy().to_lowercase();
        let same = self.recordings.get(&stem).into_iter().flatten();
        let named = same.filter(|path| path.parent() == text.parent()).find(|path| path.as_path() != text);
        let alone = || {
            let extension = text.extension()?;
            let here = |path: &&PathBuf| path.parent() == text.parent();
            let texts = self.files.iter().filter(here).filter(|path| path.extension() == Some(extension));
            let mut audio = self.files.iter().filter(here).filter(|path| is_audio(path));
            match (texts.count(), audio.next(), audio.next()) {
                (1, Some(one), None) => Some(one),
                _ => None,
            }
        };
        named.or_else(alone).cloned()
    }
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.starts_with('.') || name == "__MACOSX")
}

fn is_audio(path: &Path) -> bool {
    has_extension(path, &audio::EXTENSIONS)
}

/// Whether the file's name ends with one of the extensions, in upper or lower case.
fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().map(|e| e.to_ascii_lowercase());
    extension.is_some_and(|found| extensions.iter().any(|known| found == *known))
}
