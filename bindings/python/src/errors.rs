//! The library's errors as exceptions, whose classes are in `hearken/_errors.py`.

use std::error::Error as _;
use std::io;
use std::path::Path;

use hearken::error::Stage;
use hearken::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The exception of an error.
pub fn raise(error: Error) -> PyErr {
    // The names of this package's parameters.
    let error = error.rename_remedy(|name| match name {
        "language_model" => Some("lm"),
        "open_raw" => Some("Stream.accept_waveform"),
        _ => None,
    });
    Python::attach(|py| match exception(py, &error) {
        Ok(exception) => PyErr::from_value(exception),
        Err(failed) => failed,
    })
}

/// A `UsageError` of this package itself.
pub fn usage(problem: impl Into<String>) -> PyErr {
    raise(Error::new(Stage::Usage, problem))
}

fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let class = match error.kind() {
        ErrorKind::Usage => "UsageError",
        ErrorKind::Io(io::ErrorKind::NotFound) => "MissingFileError",
        ErrorKind::Io(_) => "IoError",
        _ => "InputError",
    };
    let number = error.source().and_then(|source| source.downcast_ref::<io::Error>()?.raw_os_error());
    let fields = PyDict::new(py);
    fields.set_item("stage", format!("{:?}", error.stage()).to_lowercase())?;
    fields.set_item("file", error.file())?;
    fields.set_item("place", error.place())?;
    fields.set_item("problem", error.problem())?;
    fields.set_item("errno", number)?;
    py.import("hearken._errors")?.getattr(class)?.call((error.to_string(),), Some(&fields))
}

/// The error of a recording, with its file unless it is about the call or names a file already.
pub fn in_recording(error: Error, path: &Path) -> Error {
    if error.stage() == Stage::Usage { error } else { error.in_file(path) }
}
