//! The extension module of the Python package `hearken`: thin classes over the library. Their documentation is in the
//! package's type stubs, `python/hearken/__init__.pyi`.

mod align;
mod errors;
mod evaluate;
mod export;
mod files;
mod recognizer;
mod results;
mod samples;
mod stream;
mod train;

use pyo3::prelude::*;

#[pymodule]
mod _hearken {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::align::{AlignedToken, AlignedWord, Alignment};
    #[pymodule_export]
    use crate::evaluate::{Evaluation, UtteranceScore};
    #[pymodule_export]
    use crate::export::export;
    #[pymodule_export]
    use crate::files::{Events, Transcripts};
    #[pymodule_export]
    use crate::recognizer::Recognizer;
    #[pymodule_export]
    use crate::results::{Alternative, Final, Partial, PhraseMatch, Segment, Transcript, Word};
    #[pymodule_export]
    use crate::stream::{EndpointRules, Stream};
    #[pymodule_export]
    use crate::train::{Training, train};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
