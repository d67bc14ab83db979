//! The recordings that paths on the command line name: files, folders, patterns and manifests.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::audio::EXTENSIONS;
use crate::corpus::{ReadOptions, TextRule, manifest};
use crate::error::{Error, Result, Stage};
use crate::fs::quoted;

/// A recording, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Input {
    /// `-` is standard input.
    pub path: PathBuf,
    /// The part of it that a manifest names.
    pub part: Option<Part>,
    /// Path of its transcript below the output folder, with the recording's extension.
    pub below: PathBuf,
    /// Its text in the manifest; empty if the recording is not from a manifest.
    pub text: String,
}

/// A part of a recording, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli) struct Part {
    pub offset: f64,
    pub duration: Option<f64>,
}

impl Input {
    /// A whole recording.
    pub fn file(path: &Path) -> Self {
        let name = path.file_name().unwrap_or(OsStr::new("recording"));
        Self { path: path.into(), part: None, below: name.into(), text: String::new() }
    }

    /// Whether it is standard input.
    pub fn is_stdin(&self) -> bool {
        is_stdin(&self.path)
    }

    /// Name of the recording in results and messages; a part is a media fragment (`a.wav#t=1.5,3`).
    pub fn name(&self) -> String {
        let path = quoted(&self.path);
        match self.part {
            None => path.into_owned(),
            Some(Part { offset, duration: None }) => format!("{path}#t={offset}"),
            Some(Part { offset, duration: Some(duration) }) => {
                format!("{path}#t={offset},{}", crate::units::thousandths(offset + duration))
            }
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The recordings that the command line names.
#[derive(Debug, Default)]
pub(in crate::cli) struct Inputs {
    pub list: Vec<Input>,
    /// Whether there may be several recordings, so that each result needs a name.
    pub several: bool,
    /// The manifests, which results must not overwrite.
    pub manifests: Vec<PathBuf>,
    /// Errors of single paths; the other recordings are processed.
    pub errors: Vec<Error>,
    /// Notes for the user: files of a folder that were skipped.
    pub notes: Vec<String>,
}

impl Inputs {
    /// Finds the recordings. With `raw`, all files of a folder are recordings, whatever their names.
    pub fn find(paths: &[PathBuf], raw: bool) -> Self {
        let mut inputs = Self { several: paths.len() > 1, ..Self::default() };
        for path in paths {
            if let Err(error) = inputs.add(path, raw) {
                inputs.errors.push(error);
            }
        }
        inputs
    }

    fn add(&mut self, path: &Path, raw: bool) -> Result<()> {
        if is_stdin(path) {
            self.list.push(Input { below: "stdin".into(), ..Input::file(path) });
        } else if path.is_dir() {
            self.add_folder(path, raw)?;
        } else if path.exists() || !is_pattern(path) {
            if is_manifest(path) && !raw {
                return self.add_manifest(path);
            }
            // A missing file is reported when it is opened, like other files that cannot be read.
            self.list.push(Input::file(path));
        } else {
            self.add_pattern(path, raw)?;
        }
        Ok(())
    }

    fn add_pattern(&mut self, pattern: &Path, raw: bool) -> Result<()> {
        self.several = true;
        let failed = |problem: String| Error::new(Stage::Usage, problem).in_file(pattern);
        let text = pattern.to_str().ok_or_else(|| failed("expected a pattern in UTF-8".into()))?;
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
        let found = glob::glob_with(text, options)
            .map_err(|e| failed(format!("wrong pattern at character {}: {}", e.pos + 1, e.msg)))?;
        let mut any = false;
        for path in found {
            any = true;
            match path {
                Ok(path) => self.add(&path, raw)?,
                Err(error) => self.errors.push(unreadable(error.path(), error.error())),
            }
        }
        if any {
            return Ok(());
        }
        Err(Error::new(Stage::Audio, "no file has this name or matches this pattern").in_file(pattern))
    }

    fn add_folder(&mut self, folder: &Path, raw: bool) -> Result<()> {
        self.several = true;
        let before = self.list.len();
        // Number of other files, by extension.
        let mut others: BTreeMap<String, usize> = BTreeMap::new();
        let is_hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
        let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry.file_name())) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.errors.push(no_entry(folder, error));
                    continue;
                }
            };
            let path = entry.path();
            if !entry.file_type().is_file() {
                continue;
            }
            if raw || has_extension(path, &EXTENSIONS) {
                let below = path.strip_prefix(folder).unwrap_or(path).to_path_buf();
                self.list.push(Input { below, ..Input::file(path) });
            } else {
                let ending =
                    path.extension().map_or("no extension".into(), |e| format!(".{}", e.to_string_lossy()));
                *others.entry(ending).or_default() += 1;
            }
        }
        let skipped: usize = others.values().sum();
        let kinds: Vec<String> = others.into_keys().take(5).collect();
        if self.list.len() == before {
            let problem = match skipped {
                0 => "the folder is empty".to_string(),
                n => format!("the folder has no recordings, but {n} other files ({})", kinds.join(", ")),
            };
            let hint = format!("recordings end in {}", EXTENSIONS.map(|e| format!(".{e}")).join(", "));
            return Err(Error::new(Stage::Audio, problem).in_file(folder).hint(hint));
        }
        if skipped > 0 {
            let (files, kinds) = (crate::units::counted(skipped, "file"), kinds.join(", "));
            self.notes.push(format!(
                "{}: skipped {files} without the extension of a recording ({kinds})",
                quoted(folder)
            ));
        }
        Ok(())
    }

    fn add_manifest(&mut self, path: &Path) -> Result<()> {
        self.several = true;
        self.manifests.push(path.into());
        let entries =
            manifest::read_with(path, ReadOptions { text: TextRule::Optional, check_audio: false })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for entry in entries {
            let part = (entry.offset.is_some() || entry.duration.is_some())
                .then(|| Part { offset: entry.offset.unwrap_or(0.0), duration: entry.duration });
            // A path outside the manifest's folder must not lead outside the output folder.
            let relative = entry.audio.strip_prefix(folder).ok().filter(|path| stays_below(path));
            let name = Path::new(entry.audio.file_name().unwrap_or(OsStr::new("recording")));
            let below = relative.unwrap_or(name).to_path_buf();
            self.list.push(Input { path: entry.audio, part, below, text: entry.text });
        }
        Ok(())
    }
}

fn stays_below(path: &Path) -> bool {
    path.components().all(|component| matches!(component, std::path::Component::Normal(_)))
}

/// Whether a file is a manifest by its name.
pub(in crate::cli) fn is_manifest(path: &Path) -> bool {
    has_extension(path, &["jsonl", "json"])
}

fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte))
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().map(|e| e.to_ascii_lowercase());
    extension.is_some_and(|found| extensions.iter().any(|known| found == *known))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Stage::Audio, error.to_string()).in_file(path)
}

fn no_entry(folder: &Path, error: walkdir::Error) -> Error {
    let path = error.path().unwrap_or(folder).to_path_buf();
    match error.loop_ancestor() {
        Some(_) => Error::new(Stage::Audio, "a symbolic link leads back to a folder above it").in_file(path),
        None => {
            let problem = error.io_error().map_or("the folder cannot be read".into(), ToString::to_string);
            Error::new(Stage::Audio, problem).in_file(path)
        }
    }
}

/// Destination of a file per recording.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) enum Folder {
    /// Below this folder, in the same subfolders as the recordings below the given folder or manifest.
    Below(PathBuf),
    /// In the folder of each recording.
    Beside,
}

/// The files of the results, in the order of the recordings. If names would be equal, recordings keep their own
/// extension (`a.mp3.srt`), and a number is added if that is not enough.
pub(in crate::cli) fn targets(inputs: &[Input], folder: &Folder, extension: &str) -> Vec<PathBuf> {
    let place = |input: &Input| match folder {
        Folder::Below(folder) => folder.join(&input.below),
        Folder::Beside => input.path.clone(),
    };
    let with = |input: &Input, more: &str| {
        let mut name = place(input).into_os_string();
        name.push(format!("{more}.{extension}"));
        PathBuf::from(name)
    };
    let short = |input: &Input| place(input).with_extension(extension);
    let mut shorts: HashMap<PathBuf, usize> = HashMap::new();
    for input in inputs {
        *shorts.entry(short(input)).or_default() += 1;
    }
    let mut numbers: HashMap<PathBuf, usize> = HashMap::new();
    let target = |input: &Input| {
        let short = short(input);
        let name = if shorts.get(&short) == Some(&1) { short } else { with(input, "") };
        let number = numbers.entry(name.clone()).or_default();
        *number += 1;
        if *number == 1 { name } else { with(input, &format!("-{number}")) }
    };
    inputs.iter().map(target).collect()
}

/// Refuses files of results that would be written over recordings, manifests or each other; the file at each
/// place is that of the recording at the same place.
pub(in crate::cli) fn check_targets(
    targets: &[PathBuf],
    list: &[Input],
    manifests: &[PathBuf],
) -> Result<()> {
    let real = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    let sources: HashSet<PathBuf> = list.iter().map(|input| &input.path).chain(manifests).map(real).collect();
    let mut taken = HashSet::new();
    for (number, target) in targets.iter().enumerate() {
        let wrong = |problem: &str| Error::new(Stage::Usage, problem.to_string()).in_file(target);
        if sources.contains(&real(target)) {
            return Err(wrong("the result would be written over a recording or manifest")
                .hint("choose another --format, or another place by --out"));
        }
        if has_extension(target, &EXTENSIONS) {
            return Err(wrong("the result would have the name of a recording")
                .hint("choose another name, such as one that ends in .txt or .json"));
        }
        if !taken.insert(target) {
            let name = list.get(number).map(Input::name).unwrap_or_default();
            let problem = "the results of two recordings would be in this file";
            return Err(wrong(problem).hint(format!("one is {name}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, b"x").expect("written");
        }
        folder
    }

    fn names(inputs: &Inputs, folder: &Path) -> Vec<String> {
        let name = |input: &Input| input.name().replace(&format!("{}/", folder.display()), "");
        inputs.list.iter().map(name).collect()
    }

    #[test]
    fn folders_are_walked_in_order_and_skipped_files_are_noted() {
        let place =
            folder(&["b.wav", "a/z.MP3", "a/y.flac", ".hidden/x.wav", "a/._y.flac", "a/notes.txt", "c.opus"]);
        let found = Inputs::find(&[place.path().into()], false);
        assert_eq!(names(&found, place.path()), ["a/y.flac", "a/z.MP3", "b.wav", "c.opus"]);
        assert!(found.several && found.errors.is_empty());
        assert!(
            found.notes[0].contains("skipped 1 file ") && found.notes[0].contains(".txt"),
            "{:?}",
            found.notes
        );
        let none = Inputs::find(&[place.path().join("a/notes.txt"), folder(&["x.txt"]).path().into()], false);
        assert_eq!((none.list.len(), none.errors.len()), (1, 1), "a file that is named is taken as it is");
    }

    #[test]
    fn patterns_are_resolved_unless_a_file_has_that_name() {
        let place = folder(&["a1.wav", "a2.wav", "b.wav", "c[1].wav", "d/e/f.wav"]);
        let find = |pattern: &str| Inputs::find(&[place.path().join(pattern)], false);
        assert_eq!(names(&find("a*.wav"), place.path()), ["a1.wav", "a2.wav"]);
        assert_eq!(names(&find("c[1].wav"), place.path()), ["c[1].wav"]);
        assert_eq!(names(&find("**/f.wav"), place.path()), ["d/e/f.wav"]);
        for wrong in ["z*.wav", "a[.wav"] {
            assert_eq!(find(wrong).errors.len(), 1, "{wrong}");
        }
    }

    #[test]
    fn manifests_name_parts_of_recordings() {
        let place = folder(&[]);
        let lines = "{\"audio_filepath\": \"s/a.wav\", \"offset\": 1.5, \"duration\": 2}\n\
                     {\"audio_filepath\": \"../b.wav\", \"text\": \"x\"}\n";
        fs::write(place.path().join("m.jsonl"), lines).expect("written");
        let found = Inputs::find(&[place.path().join("m.jsonl")], false);
        assert_eq!(names(&found, place.path()), ["s/a.wav#t=1.5,3.5", "../b.wav"]);
        let targets = targets(&found.list, &Folder::Below("out".into()), "srt");
        assert_eq!(targets, [Path::new("out/s/a.srt"), Path::new("out/b.srt")]);
    }

    #[test]
    fn transcripts_of_one_name_keep_their_endings() {
        let input = |path: &str| Input { below: path.into(), ..Input::file(Path::new(path)) };
        let inputs = ["a.wav", "a.mp3", "b/a.wav", "c.d.wav", "a.wav", "a.wav"].map(input);
        let found = targets(&inputs, &Folder::Beside, "txt");
        let expected = ["a.wav.txt", "a.mp3.txt", "b/a.txt", "c.d.txt", "a.wav-2.txt", "a.wav-3.txt"];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[cfg(unix)]
    #[test]
    fn a_symlink_loop_is_named_and_the_walk_ends() {
        let place = folder(&["a/b.wav"]);
        std::os::unix::fs::symlink("..", place.path().join("a/up")).expect("linked");
        let found = Inputs::find(&[place.path().into()], false);
        assert_eq!(names(&found, place.path()), ["a/b.wav"]);
        assert!(found.errors[0].to_string().contains("leads back"), "{:?}", found.errors);
    }
}
