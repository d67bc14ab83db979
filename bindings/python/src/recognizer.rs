//! The recognizer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use hearken::audio::MAX_SECONDS;
use hearken::engine::{EngineKind, LibrarySearch};
use hearken::recognizer::alignment::MIN_CONFIDENCE;
use hearken::recognizer::{Embedded, PhraseOptions};
use hearken::text::hotwords::Hotwords;
use hearken::text::numbers::Numbers;
use hearken::text::phrases::{Format, Phrases};
use hearken::text::pronunciation::Pronouncer;
use hearken::{Error, HotwordOptions, LanguageOptions, RecognizerBuilder, WakeWordOptions};
use pyo3::prelude::*;

use crate::align::Alignment;
use crate::errors::{in_recording, raise, usage};
use crate::evaluate::Evaluation;
use crate::files::{self, Events, Reading, Transcripts};
use crate::results::Transcript;
use crate::stream::{Options, Stream};

/// A file, or a list of texts in its place.
#[derive(FromPyObject)]
pub enum FileOrList {
    File(PathBuf),
    List(Vec<String>),
}

/// A speech recognizer.
#[pyclass(frozen, module = "hearken")]
pub struct Recognizer {
    pub inner: hearken::Recognizer,
    notes: Vec<String>,
    /// Pronunciations of English for alignments, opened when they are needed.
    english: OnceLock<Arc<Pronouncer>>,
}

/// The embedded model of a name, unless a file has the name.
pub fn embedded(model: &Path) -> Option<Embedded> {
    let inside = Embedded::ALL.into_iter().find(|inside| model.as_os_str() == inside.name());
    inside.filter(|_| !model.is_file())
}

/// The value of an enumeration by its name.
pub fn choose<T: Copy>(what: &str, name: &str, all: &[T], name_of: fn(T) -> &'static str) -> PyResult<T> {
    all.iter().copied().find(|value| name_of(*value) == name).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|value| name_of(*value)).collect();
        usage(format!("{what}: expected one of {}, found `{name}`", names.join(", ")))
    })
}

/// The search for onnxruntime's library: `ORT_DYLIB_PATH`, else in the running interpreter's environment.
fn ort_library(py: Python<'_>) -> PyResult<LibrarySearch> {
    let explicit = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let root: PathBuf = py.import("sys")?.getattr("prefix")?.extract()?;
    Ok(LibrarySearch { explicit, python_roots: vec![root], ..LibrarySearch::default() })
}

/// Sets the words of a builder; returns notes about them.
fn set_words(
    mut builder: RecognizerBuilder,
    phrases: Option<FileOrList>,
    hotwords: Option<FileOrList>,
    hotwords_score: f32,
) -> Result<(RecognizerBuilder, Vec<String>), Error> {
    let mut notes = Vec::new();
    if let Some(phrases) = phrases {
        let phrases = match phrases {
            FileOrList::File(path) => Phrases::read(&path)?,
            FileOrList::List(list) => Phrases::parse(&list.join("\n"), Format::Lines, None)?,
        };
        notes.extend(phrases.warnings().iter().map(Error::to_string));
        builder = builder.phrases(phrases, PhraseOptions::default());
    }
    if let Some(hotwords) = hotwords {
        let hotwords = match hotwords {
            FileOrList::File(path) => Hotwords::read(&path)?,
            FileOrList::List(list) => Hotwords::parse(&list.join("\n"), None)?,
        };
        builder = builder.hotwords(hotwords, hotwords_score);
    }
    Ok((builder, notes))
}

#[pymethods]
impl Recognizer {
    #[new]
    #[pyo3(signature = (model = None, *, phrases = None, lm = None, hotwords = None, hotwords_score = HotwordOptions::SCORE,
                        lexicon = None, wake_words = None,
                        wake_threshold = WakeWordOptions::FALSE_ACCEPTS_PER_HOUR, numbers = "words", engine = None,
                        tokens = None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        model: Option<PathBuf>,
        phrases: Option<FileOrList>,
        lm: Option<PathBuf>,
        hotwords: Option<FileOrList>,
        hotwords_score: f32,
        lexicon: Option<PathBuf>,
        wake_words: Option<Vec<String>>,
        wake_threshold: f32,
        numbers: &str,
        engine: Option<&str>,
        tokens: Option<PathBuf>,
    ) -> PyResult<Self> {
        let numbers = choose("numbers", numbers, &Numbers::ALL, Numbers::name)?;
        let mut builder = hearken::Recognizer::builder().numbers(numbers).ort_library(ort_library(py)?);
        if let Some(name) = engine {
            builder = builder.engine(choose("engine", name, &EngineKind::ALL, EngineKind::name)?);
        }
        let inside = model.as_deref().and_then(embedded);
        if tokens.is_some() && (model.is_none() || inside.is_some()) {
            return Err(usage("tokens has no effect without the file of a foreign model"));
        }
        // As the program: the embedded model of English has a language model too.
        let dictates = lm.is_some() || inside == Some(Embedded::English) && phrases.is_none();
        builder = match (inside, model) {
            (Some(inside), _) => builder.embedded(inside),
            (None, Some(path)) => builder.model(path),
            (None, None) => builder,
        };
        if dictates {
            builder = builder.language(lm.map_or_else(LanguageOptions::english, LanguageOptions::new));
        }
        if let Some(path) = tokens {
            builder = builder.tokens(path);
        }
        if let Some(path) = lexicon {
            builder = builder.lexicon(path);
        }
        if let Some(words) = wake_words {
            let options =
                WakeWordOptions { false_accepts_per_hour: wake_threshold, ..WakeWordOptions::new(words) };
            builder = builder.wake_words(options);
        }
        let open = || {
            let (builder, mut notes) = set_words(builder, phrases, hotwords, hotwords_score)?;
            let inner = builder.open()?;
            notes.extend_from_slice(inner.notes());
            Ok(Self { inner, notes, english: OnceLock::new() })
        };
        let recognizer = py.detach(open).map_err(raise)?;
        let logger = py.import("logging")?.call_method1("getLogger", ("hearken",))?;
        for note in &recognizer.notes {
            logger.call_method1("warning", ("%s", note))?;
        }
        Ok(recognizer)
    }

    #[getter]
    fn sample_rate(&self) -> u32 {
        self.inner.sample_rate()
    }

    #[getter]
    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    #[getter]
    fn words(&self) -> Vec<String> {
        self.inner.words().to_vec()
    }

    #[pyo3(signature = (*, endpoint = None, partials = true, nbest = 1))]
    fn stream(
        &self,
        py: Python<'_>,
        endpoint: Option<&Bound<'_, PyAny>>,
        partials: bool,
        nbest: usize,
    ) -> PyResult<Stream> {
        let options = Options::new(endpoint, partials, nbest)?.stream(false);
        py.detach(|| Stream::new(&self.inner, &options)).map_err(raise)
    }

    #[pyo3(signature = (path, *, endpoint = None, partials = true, nbest = 1, max_seconds = MAX_SECONDS))]
    fn events(
        &self,
        py: Python<'_>,
        path: PathBuf,
        endpoint: Option<&Bound<'_, PyAny>>,
        partials: bool,
        nbest: usize,
        max_seconds: f64,
    ) -> PyResult<Events> {
        let reading = Reading::new(Options::new(endpoint, partials, nbest)?, max_seconds)?;
        files::events(&self.inner, py, path, reading)
    }

    #[pyo3(signature = (paths, *, threads = None, endpoint = None, nbest = 1, errors = "raise",
                        max_seconds = MAX_SECONDS))]
    fn transcribe(
        &self,
        paths: &Bound<'_, PyAny>,
        threads: Option<usize>,
        endpoint: Option<&Bound<'_, PyAny>>,
        nbest: usize,
        errors: &str,
        max_seconds: f64,
    ) -> PyResult<Transcripts> {
        let reading = Reading::new(Options::new(endpoint, false, nbest)?, max_seconds)?;
        files::transcribe(&self.inner, paths, threads, reading, errors)
    }

    #[pyo3(signature = (samples, sample_rate = None, *, endpoint = None, nbest = 1))]
    fn transcribe_samples(
        &self,
        samples: &Bound<'_, PyAny>,
        sample_rate: Option<u32>,
        endpoint: Option<&Bound<'_, PyAny>>,
        nbest: usize,
    ) -> PyResult<Transcript> {
        files::transcribe_samples(&self.inner, samples, sample_rate, Options::new(endpoint, false, nbest)?)
    }

    #[pyo3(signature = (path, text, *, min_confidence = MIN_CONFIDENCE, lexicon = None))]
    fn align(
        &self,
        py: Python<'_>,
        path: PathBuf,
        text: &str,
        min_confidence: f32,
        lexicon: Option<PathBuf>,
    ) -> PyResult<Alignment> {
        let align = || {
            let pronouncer = self.pronouncer(lexicon.as_deref())?;
            Alignment::of(&self.inner, &path, text, &pronouncer, min_confidence)
        };
        py.detach(align).map_err(|error| raise(in_recording(error, &path)))
    }

    #[pyo3(signature = (manifest, *, equal = Vec::new()))]
    fn evaluate(&self, py: Python<'_>, manifest: PathBuf, equal: Vec<String>) -> PyResult<Evaluation> {
        Evaluation::of(py, &self.inner, &manifest, &equal)
    }

    fn __repr__(&self) -> String {
        let engine = self.inner.engine().spec();
        format!(
            "Recognizer(engine={:?}, sample_rate={}, tokens={}, words={})",
            engine.name,
            self.inner.sample_rate(),
            engine.num_tokens,
            self.inner.words().len()
        )
    }
}

impl Recognizer {
    /// The pronunciations of English, with those of a file.
    pub fn pronouncer(&self, lexicon: Option<&Path>) -> Result<Arc<Pronouncer>, Error> {
        if lexicon.is_some() {
            return Pronouncer::with_lexicon(lexicon).map(Arc::new);
        }
        if let Some(english) = self.english.get() {
            return Ok(Arc::clone(english));
        }
        let english = Arc::new(Pronouncer::with_lexicon(None)?);
        Ok(Arc::clone(self.english.get_or_init(|| english)))
    }
}
