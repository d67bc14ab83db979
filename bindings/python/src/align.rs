//! Forced alignment.

use std::path::Path;

use hearken::text::pronunciation::Pronouncer;
use hearken::{Error, audio, output, recognizer};
use pyo3::prelude::*;

use crate::results::format;

/// A text aligned with a recording.
#[pyclass(frozen, module = "hearken")]
pub struct Alignment {
    path: String,
    alignment: recognizer::Alignment,
    guessed: Vec<String>,
    warnings: Vec<String>,
}

/// A word of an alignment.
#[pyclass(frozen, get_all, module = "hearken")]
pub struct AlignedWord {
    word: String,
    start: f64,
    end: f64,
    confidence: f32,
    fits: bool,
    tokens: Vec<Py<AlignedToken>>,
}

#[pymethods]
impl AlignedWord {
    fn __repr__(&self) -> String {
        let Self { word, start, end, confidence, fits, .. } = self;
        let fits = if *fits { "True" } else { "False" };
        format!(
            "AlignedWord({word:?}, start={start:.3}, end={end:.3}, confidence={confidence:.3}, fits={fits})"
        )
    }
}

/// A token of an aligned word: a phone, letter or piece of a word.
#[pyclass(frozen, get_all, module = "hearken")]
pub struct AlignedToken {
    token: String,
    start: f64,
    end: f64,
    confidence: f32,
}

#[pymethods]
impl AlignedToken {
    fn __repr__(&self) -> String {
        format!("AlignedToken({:?}, start={:.3}, end={:.3})", self.token, self.start, self.end)
    }
}

impl Alignment {
    /// Aligns a file with its text.
    pub fn of(
        recognizer: &hearken::Recognizer,
        path: &Path,
        text: &str,
        pronouncer: &Pronouncer,
        min_confidence: f32,
    ) -> Result<Self, Error> {
        let reference = recognizer.reference(text, Some(pronouncer))?;
        let mut source = audio::limited(audio::open(path, recognizer.sample_rate())?, audio::MAX_SECONDS);
        let alignment = recognizer.align(&mut *source, &reference, min_confidence)?;
        let (guessed, warnings) = (reference.guessed().to_vec(), source.problems().messages());
        Ok(Self { path: path.to_string_lossy().into_owned(), alignment, guessed, warnings })
    }
}

#[pymethods]
impl Alignment {
    #[getter]
    fn path(&self) -> &str {
        &self.path
    }

    #[getter]
    fn text(&self) -> &str {
        &self.alignment.text
    }

    #[getter]
    fn duration(&self) -> f64 {
        self.alignment.duration
    }

    #[getter]
    fn log_prob(&self) -> f64 {
        self.alignment.log_prob
    }

    #[getter]
    fn fits(&self) -> bool {
        self.alignment.fits
    }

    #[getter]
    fn words(&self, py: Python<'_>) -> PyResult<Vec<AlignedWord>> {
        let token = |token: &recognizer::AlignedToken| {
            let recognizer::AlignedToken { token, start, end, confidence } = token.clone();
            Py::new(py, AlignedToken { token, start, end, confidence })
        };
        let word = |aligned: &recognizer::AlignedWord| {
            let recognizer::Word { word, start, end, confidence } = aligned.word.clone();
            let tokens = aligned.tokens.iter().map(token).collect::<PyResult<_>>()?;
            Ok(AlignedWord { word, start, end, confidence, fits: aligned.fits, tokens })
        };
        self.alignment.words.iter().map(word).collect()
    }

    #[getter]
    fn unmatched(&self) -> Vec<(f64, f64)> {
        self.alignment.unmatched.iter().map(|span| (span.start, span.end)).collect()
    }

    #[getter]
    fn guessed(&self) -> Vec<String> {
        self.guessed.clone()
    }

    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn to_format(&self, name: &str) -> PyResult<String> {
        Ok(output::alignment::write(format(name)?, &self.path, &self.alignment, &self.warnings, false))
    }

    fn __repr__(&self) -> String {
        let fits = if self.alignment.fits { "True" } else { "False" };
        format!("Alignment({:?}, fits={fits}, words={})", self.path, self.alignment.words.len())
    }
}
