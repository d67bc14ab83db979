//! Positions in phrase files, and errors at a position.

use std::path::PathBuf;

use crate::error::{Error, Stage};

/// The position of a character in a phrase file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index of the file in the order of reading.
    pub file: u32,
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}

/// An error at a position.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub place: Place,
    pub problem: String,
    pub hint: Option<String>,
}

impl Fault {
    /// Creates an error; `problem` is what was expected and what was found.
    pub fn new(place: Place, problem: impl Into<String>) -> Self {
        Self { place, problem: problem.into(), hint: None }
    }

    /// Adds a hint on how to correct the error.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Converts to an [`Error`] with the name of the file.
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

/// The result of a reader.
pub type Parsed<T> = std::result::Result<T, Fault>;

/// The characters of a text with their positions.
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
