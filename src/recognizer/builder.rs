//! Builder of a recognizer.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Embedded, LanguageOptions, PhraseOptions, Recognizer, WakeWordOptions};
use crate::engine::{EngineKind, EngineOptions, LibrarySearch};
use crate::error::{Error, Result, Stage};
use crate::text::hotwords::Hotwords;
use crate::text::numbers::Numbers;
use crate::text::phrases::Phrases;
use crate::text::pronunciation::Pronouncer;

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
    embedded: Option<Embedded>,
    model: Option<PathBuf>,
    tokens: Option<PathBuf>,
    engine: Option<EngineKind>,
    options: EngineOptions,
    language: Option<LanguageOptions>,
    phrases: Option<(Arc<Phrases>, PhraseOptions)>,
    hotwords: Option<(Hotwords, f32)>,
    wake_words: Option<WakeWordOptions>,
    lexicon: Option<PathBuf>,
    numbers: Numbers,
}

impl RecognizerBuilder {
    /// Sets the model: a file that hearken trained, imported or exported, a folder of sherpa-onnx, or another
    /// ONNX file. Default: an embedded model.
    pub fn model(mut self, path: impl Into<PathBuf>) -> Self {
        self.model = Some(path.into());
        self
    }

    /// Sets the embedded model that is opened if no file is named. Default: English if there are a language model,
    /// phrases or wake words, else digits.
    pub fn embedded(mut self, model: Embedded) -> Self {
        self.embedded = Some(model);
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

    /// Recognizes phrases instead of the model's vocabulary; with a language model, phrases in dictation.
    pub fn phrases(mut self, phrases: Phrases, options: PhraseOptions) -> Self {
        self.phrases = Some((Arc::new(phrases), options));
        self
    }

    /// Boosts words and phrases, those without a boost of their own by `score` nats for each word.
    pub fn hotwords(mut self, hotwords: Hotwords, score: f32) -> Self {
        self.hotwords = Some((hotwords, score));
        self
    }

    /// Waits for wake words; `words_after` of the options is set if there are a language model or phrases.
    pub fn wake_words(mut self, options: WakeWordOptions) -> Self {
        self.wake_words = Some(options);
        self
    }

    /// Sets the file of pronunciations of words of the language model, phrases, hotwords and wake words, in the format
    /// of [`LanguageOptions::lexicon`], which has priority.
    pub fn lexicon(mut self, path: impl Into<PathBuf>) -> Self {
        self.lexicon = Some(path.into());
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
        self.check()?;
        let brings_words = self.language.is_some() || self.phrases.is_some();
        let default =
            if brings_words || self.wake_words.is_some() { Embedded::English } else { Embedded::Digits };
        let mut recognizer = match &self.model {
            Some(path) => Recognizer::open_any(path, self.engine, self.tokens.as_deref(), &self.options)?,
            None => {
                let kind = self.engine.unwrap_or_default();
                Recognizer::embedded(self.embedded.unwrap_or(default), kind, &self.options)?
            }
        };
        let lexicon = self.lexicon.as_deref();
        let language = self.language.map(|language| LanguageOptions {
            lexicon: language.lexicon.clone().or_else(|| self.lexicon.clone()),
            ..language
        });
        let pronouncer = || Pronouncer::with_lexicon(lexicon);
        recognizer = match (&language, self.phrases) {
            (None, None) => recognizer,
            (Some(language), None) => recognizer.with_language_model(language)?,
            (None, Some((phrases, options))) => recognizer.with_phrases(phrases, &pronouncer()?, &options)?,
            (Some(language), Some((phrases, options))) => {
                recognizer.with_phrases_in_dictation(language, phrases, &pronouncer()?, &options)?
            }
        };
        if let Some((hotwords, score)) = &self.hotwords {
            let (boosted, unusable) = recognizer.with_usable_hotwords(hotwords, *score, lexicon, None)?;
            recognizer = unusable.into_iter().next().map_or(Ok(boosted), Err)?;
        }
        if let Some(mut options) = self.wake_words {
            options.words_after |= brings_words;
            recognizer = recognizer.with_wake_words(&options, &pronouncer()?)?;
        }
        Ok(recognizer.with_numbers(self.numbers))
    }

    /// Refuses options that exclude each other or have no effect.
    fn check(&self) -> Result<()> {
        let usage = |problem: &str| Err(Error::new(Stage::Usage, problem));
        let brings_words = self.language.is_some() || self.phrases.is_some();
        if self.lexicon.is_some() && !brings_words && self.hotwords.is_none() && self.wake_words.is_none() {
            return usage(
                "a lexicon has no effect without a language model, phrases, hotwords or wake words",
            );
        }
        if self.hotwords.is_some() && self.wake_words.is_some() && !brings_words {
            return usage(
                "hotwords have no effect: without a language model, only wake words are recognized",
            );
        }
        Ok(())
    }
}

impl Recognizer {
    /// A builder; by default the embedded model runs on the native engine.
    pub fn builder() -> RecognizerBuilder {
        RecognizerBuilder::default()
    }
}

#[cfg(all(test, feature = "english"))]
mod tests {
    use super::*;
    use crate::text::phrases::Format;

    fn phrases() -> Phrases {
        Phrases::parse("[\"turn left\"]", Format::Json, None).expect("phrases")
    }

    #[test]
    fn phrases_open_the_model_of_english() {
        let builder = Recognizer::builder().phrases(phrases(), PhraseOptions::default());
        let recognizer = builder.open().expect("a recognizer");
        assert!(recognizer.writes("left") && !recognizer.writes("right"));
    }

    #[test]
    fn options_without_effect_are_refused() {
        let builder = Recognizer::builder;
        let hotwords = Hotwords::of_phrases(["left"]);
        for (builder, expected) in [
            (builder().lexicon("a.txt"), "a lexicon has no effect"),
            (
                builder().hotwords(hotwords.clone(), 2.0).wake_words(WakeWordOptions::new(["hey computer"])),
                "hotwords have no effect",
            ),
            (
                builder().hotwords(hotwords, 2.0).phrases(phrases(), PhraseOptions::default()),
                "allows no hotwords",
            ),
        ] {
            let error = builder.open().expect_err(expected);
            assert!(error.to_string().contains(expected) && error.exit_code() == 2, "{error}");
        }
    }
}
