//! Scores of a recognizer on a manifest.

use std::path::Path;

use hearken::corpus::{ReadOptions, TextRule, manifest};
use hearken::eval::{Score, Scorer, Timing, evaluate_entry};
use hearken::recognizer::pipeline::DEFAULT_CHUNK_MS;
use hearken::text::numbers::Numbers;
use pyo3::prelude::*;

use crate::errors::{in_recording, raise};

/// The result of one utterance.
#[pyclass(frozen, get_all, module = "hearken")]
pub struct UtteranceScore {
    path: String,
    reference: String,
    hypothesis: String,
    errors: u64,
    seconds: f64,
}

#[pymethods]
impl UtteranceScore {
    fn __repr__(&self) -> String {
        let Self { path, reference, hypothesis, errors, .. } = self;
        format!(
            "UtteranceScore({path:?}, reference={reference:?}, hypothesis={hypothesis:?}, errors={errors})"
        )
    }
}

/// The scores of a manifest.
#[pyclass(frozen, module = "hearken")]
pub struct Evaluation {
    score: Score,
    timing: Timing,
    utterances: Vec<Py<UtteranceScore>>,
    failed: Vec<(String, Py<PyAny>)>,
}

impl Evaluation {
    /// Recognizes the utterances of a manifest, one after another.
    pub fn of(
        py: Python<'_>,
        recognizer: &hearken::Recognizer,
        path: &Path,
        equal: &[String],
    ) -> PyResult<Self> {
        // The references have words.
        let recognizer = recognizer.clone().with_numbers(Numbers::Words);
        let scorer = Scorer::new(equal).map_err(raise)?;
        // Recordings that are missing are listed, so that the others are scored.
        let options = ReadOptions { text: TextRule::Present, check_audio: false };
        let entries = manifest::read_with(path, options).map_err(raise)?;
        let chunk = hearken::units::ms_to_samples(DEFAULT_CHUNK_MS, recognizer.sample_rate()).max(1);
        let (score, timing) = (Score::default(), Timing::default());
        let mut evaluation = Self { score, timing, utterances: Vec::new(), failed: Vec::new() };
        for entry in entries {
            py.check_signals()?;
            let path = entry.audio.to_string_lossy().into_owned();
            match py.detach(|| evaluate_entry(&recognizer, &scorer, &entry, chunk)) {
                Ok(utterance) => {
                    evaluation.score.merge(&utterance.score);
                    evaluation.timing.add(utterance.audio_seconds, utterance.compute);
                    let line = UtteranceScore {
                        path,
                        reference: entry.text,
                        hypothesis: utterance.hypothesis,
                        errors: utterance.score.words.errors(),
                        seconds: utterance.audio_seconds,
                    };
                    evaluation.utterances.push(Py::new(py, line)?);
                }
                Err(error) => {
                    let error = raise(in_recording(error, &entry.audio));
                    evaluation.failed.push((path, error.into_value(py).into_any()));
                }
            }
        }
        Ok(evaluation)
    }
}

#[pymethods]
impl Evaluation {
    #[getter]
    fn wer(&self) -> Option<f64> {
        self.score.wer()
    }

    #[getter]
    fn cer(&self) -> Option<f64> {
        self.score.cer()
    }

    #[getter]
    fn substitutions(&self) -> u64 {
        self.score.words.substitutions
    }

    #[getter]
    fn deletions(&self) -> u64 {
        self.score.words.deletions
    }

    #[getter]
    fn insertions(&self) -> u64 {
        self.score.words.insertions
    }

    #[getter]
    fn reference_words(&self) -> u64 {
        self.score.words.reference
    }

    #[getter]
    fn correct(&self) -> u64 {
        self.score.correct
    }

    #[getter]
    fn confusions(&self) -> Vec<(String, String, u64)> {
        let confused = self.score.most_confused().into_iter();
        confused.map(|(reference, found, count)| (reference.into(), found.into(), count)).collect()
    }

    #[getter]
    fn seconds(&self) -> f64 {
        self.timing.audio_seconds
    }

    #[getter]
    fn rtf(&self) -> f64 {
        self.timing.rtf()
    }

    #[getter]
    fn utterances(&self, py: Python<'_>) -> Vec<Py<UtteranceScore>> {
        self.utterances.iter().map(|utterance| utterance.clone_ref(py)).collect()
    }

    #[getter]
    fn failed(&self, py: Python<'_>) -> Vec<(String, Py<PyAny>)> {
        self.failed.iter().map(|(path, error)| (path.clone(), error.clone_ref(py))).collect()
    }

    fn __repr__(&self) -> String {
        let wer = self.wer().map_or("None".into(), |wer| format!("{wer:.4}"));
        format!("Evaluation(wer={wer}, utterances={}, failed={})", self.utterances.len(), self.failed.len())
    }
}
