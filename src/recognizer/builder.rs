//! Builder of a recognizer.

use std::path::PathBuf;

use super::{Embedded, LanguageOptions, Recognizer};
use crate::engine::{EngineKind, EngineOptions, LibrarySearch};
use crate::error::Result;
use crate::text::numbers::Numbers;

/// Builder of a [`Recognizer`], created by [`Recognizer::builder`].
///
/// ```no_run
/// use hearken::{EngineKind, Recognizer};
///
/// # fn main() -> hearken::Result<()> {
/// let recognizer = Recognizer::builder().model("model.onnx").engine(EngineKind::Ort).open()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is opened before `open`"]
pub struct RecognizerBuilder {
    embedded: Embedded,
    model: Option<PathBuf>,
    tokens: Option<PathBuf>,
    engine: Option<EngineKind>,
    options: EngineOptions,
    language: Option<LanguageOptions>,
    numbers: Numbers,
}

impl RecognizerBuilder {
    /// Sets the model: a file that hearken trained, imported or exported, a folder of sherpa-onnx, or another
    /// ONNX file. Default: an embedded model.
    pub fn model(mut self, path: impl Into<PathBuf>) -> Self {
        self.model = Some(path.into());
        self
    }

    /// Sets the embedded model that is opened if no file is named. Default: digits.
    pub fn embedded(mut self, model: Embedded) -> Self {
        self.embedded = model;
        self
    }

    /// Sets the file of a foreign model's tokens. Default: `tokens.txt` next to the model.
    pub fn tokens(mut self, path: impl Into<PathBuf>) -> Self {
        self.tokens = Some(path.into());
        self
    }

    /// Sets the engine. Default: native for models of hearken, onnxruntime or tract for others.
    pub fn engine(mut self, engine: EngineKind) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Sets the places where onnxruntime's library is searched.
    pub fn ort_library(mut self, search: LibrarySearch) -> Self {
        self.options.ort_library = search;
        self
    }

    /// Sets the number of threads for an operator of onnxruntime. Default: 1.
    pub fn ort_threads(mut self, threads: usize) -> Self {
        self.options.threads = threads;
        self
    }

    /// Adds a state of a foreign graph that is not found automatically, by the names of its input and output.
    pub fn state(mut self, input: impl Into<String>, output: impl Into<String>) -> Self {
        self.options.states.push((input.into(), output.into()));
        self
    }

    /// Recognizes the words of a language model instead of the model's vocabulary.
    pub fn language(mut self, options: LanguageOptions) -> Self {
        self.language = Some(options);
        self
    }

    /// Sets which numbers are written in digits in `Final` events. Default: none.
    pub fn numbers(mut self, numbers: Numbers) -> Self {
        self.numbers = numbers;
        self
    }

    /// Reads the model and creates the recognizer.
    ///
    /// # Errors
    /// When the file cannot be read or is not a model, when the engine cannot run it or is not compiled in, and
    /// when an option has no effect on this model; the error names file and place.
    pub fn open(self) -> Result<Recognizer> {
        let recognizer = match &self.model {
            Some(path) => Recognizer::open_any(path, self.engine, self.tokens.as_deref(), &self.options)?,
            None => Recognizer::embedded(self.embedded, self.engine.unwrap_or_default(), &self.options)?,
        };
        let recognizer = match &self.language {
            Some(language) => recognizer.with_language_model(language)?,
            None => recognizer,
        };
        Ok(recognizer.with_numbers(self.numbers))
    }
}

impl Recognizer {
    /// A builder; by default the embedded model runs on the native engine.
    pub fn builder() -> RecognizerBuilder {
        RecognizerBuilder::default()
    }
}
