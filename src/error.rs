//! One error type, told apart by the stage that failed: what file, which place in it, what is
//! wrong, what to do.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::fs::quoted;

/// The part of the program that an [`Error`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The command line or the arguments of a library call. Exit code 2.
    Usage,
    /// Reading, converting or writing audio.
    Audio,
    /// Computing spectral features.
    Features,
    /// Reading or writing an ONNX model file.
    Model,
    /// Running a network (native, tract or onnxruntime).
    Engine,
    /// Manifests and transcripts.
    Corpus,
    /// Pronunciations, language models, phrases.
    Text,
    /// Training: recipes, checkpoints, the loop.
    Train,
    /// Writing results.
    Output,
    /// The server: its address, its certificate, its clients.
    Serve,
}

/// What went wrong, where, and what to do about it. `Debug` prints the same text as `Display`, which is
/// what a `main` that returns a `Result` prints.
#[derive(Clone)]
pub struct Error {
    stage: Stage,
    file: Option<PathBuf>,
    place: Option<String>,
    problem: String,
    hint: Option<String>,
}

/// The result of everything in hearken that can fail.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of a stage; `problem` says what was expected and what was found.
    pub fn new(stage: Stage, problem: impl Into<String>) -> Self {
        Self { stage, file: None, place: None, problem: problem.into(), hint: None }
    }

    /// Names the file, unless one is named already (the innermost knows best).
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.file.get_or_insert_with(|| file.as_ref().to_path_buf());
        self
    }

    /// Names the place inside the file (`line 3`, `node GRU_0`, `byte 44`).
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place.get_or_insert_with(|| place.into());
        self
    }

    /// Names a larger place around the one that is named already: `line 3` around `column 5`.
    pub fn within(mut self, place: impl Into<String>) -> Self {
        let place = place.into();
        self.place = Some(match self.place {
            Some(inner) => format!("{place}, {inner}"),
            None => place,
        });
        self
    }

    /// Says what the reader can do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says so where nothing has been said yet (the innermost knows best).
    pub fn hint_if_none(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The part of the program that failed.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The file concerned, if any.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The place inside the file, if any.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// What is wrong, without file and hint.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// 2 for wrong usage, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        if self.stage == Stage::Usage { 2 } else { 1 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", quoted(file))?;
        }
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.problem)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// Turns an input/output error into ours, with the file's name.
pub fn io(stage: Stage, file: impl AsRef<Path>, error: std::io::Error) -> Error {
    Error::new(stage, error.to_string()).in_file(file)
}

thread_local! {
    /// Whether a panic on this thread is going to be caught.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs other people's code on somebody's data; `None` when it panics. What `work` has changed is not
/// to be used then.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    result.ok()
}

/// Keeps panics that [`catch_panic`] catches from being printed: they are told as errors. For the
/// program alone; a library leaves the process' hook to it.
#[cfg(feature = "cli")]
pub(crate) fn print_no_caught_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !GUARDED.try_with(Cell::get).unwrap_or(false) {
            usual(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_file_place_problem_and_hint() {
        let e = Error::new(Stage::Corpus, "expected a JSON object, found `x`")
            .at("line 3")
            .in_file("a.jsonl")
            .hint("one object a line");
        assert_eq!(e.to_string(), "a.jsonl: line 3: expected a JSON object, found `x` (one object a line)");
        assert_eq!(e.exit_code(), 1);
        // What `?` in a `main` prints.
        assert_eq!(format!("{e:?}"), e.to_string());
        assert_eq!(Error::new(Stage::Usage, "x").exit_code(), 2);
        let inner = Error::new(Stage::Text, "x").at("column 5").within("line 3");
        assert_eq!(inner.place(), Some("line 3, column 5"));
        assert_eq!(Error::new(Stage::Text, "x").within("line 3").place(), Some("line 3"));
    }

    #[test]
    fn the_innermost_file_is_kept() {
        let e = Error::new(Stage::Audio, "x").in_file("inner").in_file("outer");
        assert_eq!(e.file(), Some(Path::new("inner")));
    }
}
