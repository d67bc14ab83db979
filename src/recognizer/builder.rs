//! Choices before a model is opened.

use std::path::PathBuf;

use super::{LanguageOptions, Recognizer};
use crate::engine::{EngineKind, EngineOptions, LibrarySearch};
use crate::error::Result;
use crate::text::numbers::Numbers;

/// Opens a [`Recognizer`] of chosen model and engine; made by [`Recognizer::builder`].
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
    model: Option<PathBuf>,
    tokens: Option<PathBuf>,
    engine: Option<EngineKind>,
    options: EngineOptions,
    language: Option<LanguageOptions>,
    numbers: Numbers,
}

impl RecognizerBuilder {
    /// The model: a file of hearken's, whatever it was exported for, a folder of sherpa-onnx, or a foreign ONNX
    /// file. Without it the model inside the program is opened.
    pub fn model(mut self, path: impl Into<PathBuf>) -> Self {
        self.model = Some(path.into());
        self
    }

    /// The tokens of a foreign file; without it `tokens.txt` beside the file.
    pub fn tokens(mut self, path: impl Into<PathBuf>) -> Self {
        self.tokens = Some(path.into());
        self
    }

    /// The engine; without it the native one for models of hearken's, and for others onnxruntime or tract.
    pub fn engine(mut self, engine: EngineKind) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Where onnxruntime's library is looked for.
    pub fn ort_library(mut self, search: LibrarySearch) -> Self {
        self.options.ort_library = search;
        self
    }

    /// Threads that one operator of onnxruntime may use (default 1).
    pub fn ort_threads(mut self, threads: usize) -> Self {
        self.options.threads = threads;
        self
    }

    /// A state of a foreign graph that does not say so itself: its input and the output that answers it.
    pub fn state(mut self, input: impl Into<String>, output: impl Into<String>) -> Self {
        self.options.states.push((input.into(), output.into()));
        self
    }

    /// The words of a language model in place of the model's own.
    pub fn language(mut self, options: LanguageOptions) -> Self {
        self.language = Some(options);
        self
    }

    /// Which numbers are written in digits in `Final` events; without it none are.
    pub fn numbers(mut self, numbers: Numbers) -> Self {
        self.numbers = numbers;
        self
    }

    /// Reads the model.
    ///
    /// # Errors
    /// When the file cannot be read or is no model, when the engine cannot run it or is not in this build, and
    /// when an option has no effect on this model; names file and place.
    pub fn open(self) -> Result<Recognizer> {
        let recognizer = match &self.model {
            Some(path) => Recognizer::open_any(path, self.engine, self.tokens.as_deref(), &self.options)?,
            None => Recognizer::embedded(self.engine.unwrap_or_default(), &self.options)?,
        };
        let recognizer = match &self.language {
            Some(language) => recognizer.with_language_model(language)?,
            None => recognizer,
        };
        Ok(recognizer.with_numbers(self.numbers))
    }
}

impl Recognizer {
    /// Choices of model and engine; with none of them the model inside the program runs natively.
    pub fn builder() -> RecognizerBuilder {
        RecognizerBuilder::default()
    }
}
