//! The results of recognition: words, segments, events, transcripts.

use hearken::output::{self, Format};
use hearken::recognizer;
use hearken::{Error, Event};
use pyo3::prelude::*;

use crate::errors::{raise, usage};

/// A recognized word.
#[pyclass(frozen, get_all, module = "hearken")]
pub struct Word {
    word: String,
    start: f64,
    end: f64,
    confidence: f32,
}

#[pymethods]
impl Word {
    #[classattr]
    fn __match_args__() -> (&'static str,) {
        ("word",)
    }

    fn __repr__(&self) -> String {
        let Self { word, start, end, confidence } = self;
        format!("Word({word:?}, start={start:.3}, end={end:.3}, confidence={confidence:.3})")
    }
}

impl From<&recognizer::Word> for Word {
    fn from(word: &recognizer::Word) -> Self {
        let recognizer::Word { word, start, end, confidence } = word.clone();
        Self { word, start, end, confidence }
    }
}

fn words(words: &[recognizer::Word]) -> Vec<Word> {
    words.iter().map(Word::from).collect()
}

/// A recognized phrase with its intent and slots.
#[pyclass(frozen, get_all, module = "hearken")]
pub struct PhraseMatch {
    text: String,
    intent: Option<String>,
    slots: Vec<(String, String)>,
}

#[pymethods]
impl PhraseMatch {
    fn __repr__(&self) -> String {
        format!("PhraseMatch({:?}, intent={:?}, slots={:?})", self.text, self.intent, self.slots)
    }
}

/// One of the likeliest texts of a segment.
#[pyclass(frozen, module = "hearken")]
pub struct Alternative(recognizer::Alternative);

#[pymethods]
impl Alternative {
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    #[getter]
    fn confidence(&self) -> f32 {
        self.0.confidence
    }

    #[getter]
    fn score(&self) -> f32 {
        self.0.score
    }

    #[getter]
    fn words(&self) -> Vec<Word> {
        words(&self.0.words)
    }

    fn __repr__(&self) -> String {
        format!("Alternative({:?}, confidence={:.3})", self.0.text, self.0.confidence)
    }
}

/// A segment of a stream: the common base of `Partial` and `Final`.
#[pyclass(frozen, subclass, module = "hearken")]
pub struct Segment(Event);

impl Segment {
    fn segment(&self) -> &recognizer::Segment {
        let (Event::Partial(segment) | Event::Final(segment)) = &self.0;
        segment
    }
}

#[pymethods]
impl Segment {
    #[classattr]
    fn __match_args__() -> (&'static str,) {
        ("text",)
    }

    #[getter]
    fn text(&self) -> &str {
        &self.segment().text
    }

    #[getter]
    fn start(&self) -> f64 {
        self.segment().start
    }

    #[getter]
    fn end(&self) -> f64 {
        self.segment().end
    }

    #[getter]
    fn words(&self) -> Vec<Word> {
        words(&self.segment().words)
    }

    #[getter]
    fn phrases(&self) -> Vec<PhraseMatch> {
        let slots = |phrase: &recognizer::PhraseMatch| {
            phrase.slots.iter().map(|slot| (slot.name.clone(), slot.value.clone())).collect()
        };
        let phrases = self.segment().phrases.iter();
        let phrase = |phrase: &recognizer::PhraseMatch| PhraseMatch {
            text: phrase.text.clone(),
            intent: phrase.intent.clone(),
            slots: slots(phrase),
        };
        phrases.map(phrase).collect()
    }

    #[getter]
    fn alternatives(&self) -> Vec<Alternative> {
        self.segment().alternatives.iter().cloned().map(Alternative).collect()
    }

    fn to_json(&self) -> String {
        output::json::event(None, &self.0)
    }

    fn __repr__(&self) -> String {
        let (kind, segment) = match &self.0 {
            Event::Partial(segment) => ("Partial", segment),
            Event::Final(segment) => ("Final", segment),
        };
        format!("{kind}({:?}, start={:.3}, end={:.3})", segment.text, segment.start, segment.end)
    }
}

/// Words of the current segment, which may still change.
#[pyclass(frozen, extends = Segment, module = "hearken")]
pub struct Partial;

/// A complete segment.
#[pyclass(frozen, extends = Segment, module = "hearken")]
pub struct Final;

/// The object of an event.
pub fn event(py: Python<'_>, event: Event) -> PyResult<Py<PyAny>> {
    let is_final = matches!(event, Event::Final(_));
    let base = PyClassInitializer::from(Segment(event));
    Ok(match is_final {
        true => Py::new(py, base.add_subclass(Final))?.into_any(),
        false => Py::new(py, base.add_subclass(Partial))?.into_any(),
    })
}

/// The objects of events.
pub fn events(py: Python<'_>, events: Vec<Event>) -> PyResult<Vec<Py<PyAny>>> {
    events.into_iter().map(|one| event(py, one)).collect()
}

/// The format of a name such as `srt`.
pub fn format(name: &str) -> PyResult<Format> {
    Format::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
        let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
        usage(format!("expected a format ({}), found `{name}`", names.join(", ")))
    })
}

/// The transcript of a recording.
#[pyclass(frozen, module = "hearken")]
pub struct Transcript {
    transcript: output::Transcript,
    error: Option<Error>,
}

impl Transcript {
    /// A transcript, or the error of a recording that failed.
    pub fn new(path: String, result: Result<output::Transcript, Error>) -> Self {
        match result {
            Ok(transcript) => Self { transcript, error: None },
            Err(error) => {
                let transcript = output::Transcript { path, ..output::Transcript::default() };
                Self { transcript, error: Some(error) }
            }
        }
    }
}

#[pymethods]
impl Transcript {
    #[getter]
    fn path(&self) -> &str {
        &self.transcript.path
    }

    #[getter]
    fn text(&self) -> String {
        self.transcript.text()
    }

    #[getter]
    fn duration(&self) -> f64 {
        self.transcript.duration()
    }

    #[getter]
    fn segments(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        events(py, self.transcript.segments.iter().cloned().map(Event::Final).collect())
    }

    #[getter]
    fn words(&self) -> Vec<Word> {
        self.transcript.words().map(Word::from).collect()
    }

    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.transcript.warnings.clone()
    }

    #[getter]
    fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.error.clone().map(|error| raise(error).into_value(py).into_any())
    }

    fn to_format(&self, name: &str) -> PyResult<String> {
        Ok(format(name)?.write(&self.transcript))
    }

    fn __repr__(&self) -> String {
        match &self.error {
            None => format!("Transcript({:?}, text={:?})", self.path(), self.text()),
            Some(error) => format!("Transcript({:?}, error={:?})", self.path(), error.to_string()),
        }
    }
}
