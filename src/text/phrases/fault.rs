//! Places in phrase files, and what is wrong there.

use std::path::PathBuf;

use crate::error::{Error, Stage};

/// A character of a phrase file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, by its place among those that were read.
    pub file: u32,
    /// Counted from 1.
    pub line: u32,
    /// In characters, counted from 1.
    pub column: u32,
}

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub place: Place,
    pub problem: String,
    pub hint: Option<String>,
}

impl Fault {
    /// A problem at a place: what was expected and what was found.
    pub fn new(place: Place, problem: impl Into<String>) -> Self {
        Self { place, problem: problem.into(), hint: None }
    }

    /// With what can be done about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error with the name of its file.
    pub fn into_error(self, files: &[PathBuf]) -> Error {
        let error = Error::new(Stage::Text, self.problem)
            .at(format!("line {}, column {}", self.place.line, self.place.column));
        let error = match files.get(self.place.file as usize) {
            Some(file) => error.in_file(file),
            None => error,
        };
        match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// What a reader finds, or what is wrong.
pub type Parsed<T> = std::result::Result<T, Fault>;

/// A text's characters with their places.
pub fn characters(text: &str, file: u32) -> Vec<(char, Place)> {
    let mut place = Place { file, line: 1, column: 1 };
    let mut all = Vec::with_capacity(text.len());
    for c in text.chars() {
        all.push((c, place));
        if c == '\n' {
            (place.line, place.column) = (place.line.saturating_add(1), 1);
        } else {
            place.column = place.column.saturating_add(1);
        }
    }
    all
}
