//! One error type, told apart by the stage that failed: what file, which place in it, what is
//! wrong, what to do.

use std::borrow::Cow;
use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// What a caller can do about an [`Error`]; see [`Error::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The arguments of a call, or the options of a command, are wrong.
    Usage,
    /// The operating system refused: a file that is missing, a disk that is full, a device that is gone.
    Io(io::ErrorKind),
    /// A file, a message or a model cannot be used as it is.
    Input,
}

/// What went wrong, where, and what to do about it. `Debug` prints the same text as `Display`, which is
/// what a `main` that returns a `Result` prints.
#[derive(Clone)]
pub struct Error(Box<Parts>);

#[derive(Clone)]
struct Parts {
    stage: Stage,
    file: Option<PathBuf>,
    place: Option<String>,
    problem: String,
    hint: Option<String>,
    remedy: Option<Cow<'static, str>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The result of everything in hearken that can fail.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of a stage; `problem` says what was expected and what was found.
    pub fn new(stage: Stage, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self(Box::new(Parts {
            stage,
            file: None,
            place: None,
            problem,
            hint: None,
            remedy: None,
            source: None,
        }))
    }

    /// Names the file, unless one is named already (the innermost knows best).
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        self.0.file.get_or_insert_with(|| file.as_ref().to_path_buf());
        self
    }

    /// Names the place inside the file (`line 3`, `node GRU_0`, `byte 44`).
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.place.get_or_insert_with(|| place.into());
        self
    }

    /// Names a larger place around the one that is named already: `line 3` around `column 5`.
    pub fn within(mut self, place: impl Into<String>) -> Self {
        let place = place.into();
        self.0.place = Some(match self.0.place {
            Some(inner) => format!("{place}, {inner}"),
            None => place,
        });
        self
    }

    /// Says what the reader can do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says so where nothing has been said yet (the innermost knows best).
    pub fn hint_if_none(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Names the setting or function of this library that the hint is about (`states`). The command line names
    /// its own option in place of it.
    pub fn remedy(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.0.remedy = Some(name.into());
        self
    }

    /// Puts the caller's own name for the setting or function in place of the library's, where it has one.
    pub fn rename_remedy(mut self, own_name: impl FnOnce(&str) -> Option<&'static str>) -> Self {
        if let Some(name) = self.0.remedy.as_deref().and_then(own_name) {
            self.0.remedy = Some(name.into());
        }
        self
    }

    /// Keeps the error of another library or of the system that this one reports, for [`StdError::source`].
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Whether the call, the system or the input is at fault.
    pub fn kind(&self) -> ErrorKind {
        let io_kind = || Some(self.0.source.as_ref()?.downcast_ref::<io::Error>()?.kind());
        match self.0.stage {
            Stage::Usage => ErrorKind::Usage,
            _ => io_kind().map_or(ErrorKind::Input, ErrorKind::Io),
        }
    }

    /// The part of the program that failed.
    pub fn stage(&self) -> Stage {
        self.0.stage
    }

    /// The file concerned, if any.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The place inside the file, if any.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }

    /// What is wrong, without file and hint.
    pub fn problem(&self) -> &str {
        &self.0.problem
    }

    /// 2 for wrong usage, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        if self.0.stage == Stage::Usage { 2 } else { 1 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.0.file {
            write!(f, "{}: ", quoted(file))?;
        }
        if let Some(place) = &self.0.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.problem)?;
        match (&self.0.hint, &self.0.remedy) {
            (Some(hint), Some(remedy)) => write!(f, " ({hint}: `{remedy}`)"),
            (Some(hint), None) => write!(f, " ({hint})"),
            (None, Some(remedy)) => write!(f, " (see `{remedy}`)"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// An error of reading or writing a file, with the file's name.
pub fn io(stage: Stage, file: impl AsRef<Path>, error: io::Error) -> Error {
    // The standard library's own errors of this kind say that text is not UTF-8.
    let problem = match error.kind() {
        io::ErrorKind::InvalidData if error.get_ref().is_none() => {
            "expected text in UTF-8, found other bytes".into()
        }
        _ => error.to_string(),
    };
    Error::new(stage, problem).in_file(file).caused_by(error)
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
    fn a_remedy_has_the_name_of_the_front_end() {
        let e = Error::new(Stage::Model, "two states fit").hint("name the pair").remedy("states");
        assert_eq!(e.to_string(), "two states fit (name the pair: `states`)");
        let option = |name: &str| (name == "states").then_some("--state IN=OUT");
        assert_eq!(e.rename_remedy(option).to_string(), "two states fit (name the pair: `--state IN=OUT`)");
        let e = Error::new(Stage::Model, "x").hint("y").remedy("other").rename_remedy(option);
        assert_eq!(e.to_string(), "x (y: `other`)");
    }

    #[test]
    fn an_error_of_the_system_keeps_its_kind_and_source() {
        let e = super::io(Stage::Audio, "a.wav", io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(e.kind(), ErrorKind::Io(io::ErrorKind::NotFound));
        assert!(e.source().is_some_and(|source| source.is::<io::Error>()));
        let mut text = String::new();
        let e = io::Read::read_to_string(&mut &b"\xff"[..], &mut text).expect_err("not UTF-8");
        assert_eq!(
            super::io(Stage::Train, "x", e).to_string(),
            "x: expected text in UTF-8, found other bytes"
        );
        assert_eq!(Error::new(Stage::Usage, "x").kind(), ErrorKind::Usage);
        assert_eq!(Error::new(Stage::Model, "x").kind(), ErrorKind::Input);
    }

    #[test]
    fn the_innermost_file_is_kept() {
        let e = Error::new(Stage::Audio, "x").in_file("inner").in_file("outer");
        assert_eq!(e.file(), Some(Path::new("inner")));
    }
}
