//! Training.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use hearken::train::{self as trainer, ExistingRun, Options, Progress, Recipe, Scores, Step};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{raise, usage};

/// The result of a run.
#[pyclass(frozen, get_all, module = "hearken")]
pub struct Training {
    model: PathBuf,
    step: u64,
    best_score: Option<f64>,
    best_step: Option<u64>,
    outputs_nothing: bool,
    stopped: bool,
}

#[pymethods]
impl Training {
    fn __repr__(&self) -> String {
        let (step, stopped) = (self.step, if self.stopped { "True" } else { "False" });
        format!("Training(model={:?}, step={step}, stopped={stopped})", self.model.display().to_string())
    }
}

/// The fields of an event of a run.
fn fields<'py>(py: Python<'py>, progress: &Progress) -> PyResult<Option<Bound<'py, PyDict>>> {
    let fields = PyDict::new(py);
    let kind = match progress {
        Progress::Loading(done, total) => {
            fields.set_item("done", done)?;
            fields.set_item("total", total)?;
            "loading"
        }
        Progress::LeftOut(text) => {
            fields.set_item("text", text)?;
            "left_out"
        }
        Progress::Note(text) => {
            fields.set_item("text", text)?;
            "note"
        }
        Progress::Started(start) => {
            fields.set_item("parameters", start.parameters)?;
            fields.set_item("recordings", start.recordings)?;
            fields.set_item("hours", start.hours)?;
            fields.set_item("step", start.step)?;
            fields.set_item("steps", start.steps)?;
            "started"
        }
        Progress::Updated(step, steps) => {
            fields.set_item("step", step)?;
            fields.set_item("steps", steps)?;
            "updated"
        }
        Progress::Step(step) => {
            statistics(&fields, step)?;
            "step"
        }
        Progress::Scoring(done, total) => {
            fields.set_item("done", done)?;
            fields.set_item("total", total)?;
            "scoring"
        }
        Progress::Scores(scores) => {
            score_fields(&fields, scores)?;
            "scores"
        }
        // Its content is returned; later kinds of the library are unknown here.
        _ => return Ok(None),
    };
    fields.set_item("type", kind)?;
    Ok(Some(fields))
}

fn statistics(fields: &Bound<'_, PyDict>, step: &Step) -> PyResult<()> {
    fields.set_item("step", step.step)?;
    fields.set_item("steps", step.steps)?;
    fields.set_item("loss", step.loss)?;
    fields.set_item("auxiliary_loss", step.auxiliary_loss)?;
    fields.set_item("mmi_loss", step.mmi_loss)?;
    fields.set_item("consistency_loss", step.consistency_loss)?;
    fields.set_item("gradient_norm", step.gradient_norm)?;
    fields.set_item("learning_rate", step.learning_rate)?;
    fields.set_item("blank_share", step.blank_share)?;
    fields.set_item("utterances_per_second", step.utterances_per_second)
}

fn score_fields(fields: &Bound<'_, PyDict>, scores: &Scores) -> PyResult<()> {
    let mut sets = Vec::with_capacity(scores.sets.len());
    for set in &scores.sets {
        let one = PyDict::new(fields.py());
        one.set_item("manifest", &set.manifest)?;
        one.set_item("wer", set.score.wer())?;
        one.set_item("cer", set.score.cer())?;
        one.set_item("false_words_per_hour", set.false_words_per_hour)?;
        sets.push(one);
    }
    fields.set_item("step", scores.step)?;
    fields.set_item("sets", sets)?;
    fields.set_item("total", scores.total)?;
    fields.set_item("best", scores.best)?;
    fields.set_item("outputs_nothing", scores.outputs_nothing)
}

/// Trains a model.
#[pyfunction]
#[pyo3(signature = (recipe, *, data = None, out = None, threads = None, resume = false, overwrite = false,
                    accept_changes = false, start_from = None, stop_after = None, seed = None, progress = None))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub fn train(
    py: Python<'_>,
    recipe: PathBuf,
    data: Option<PathBuf>,
    out: Option<PathBuf>,
    threads: Option<usize>,
    resume: bool,
    overwrite: bool,
    accept_changes: bool,
    start_from: Option<PathBuf>,
    stop_after: Option<u64>,
    seed: Option<u64>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Training> {
    if resume && (overwrite || start_from.is_some()) {
        return Err(usage("resume excludes overwrite and start_from"));
    }
    if threads.is_some_and(|threads| !(1..=1024).contains(&threads)) {
        return Err(usage("threads: expected 1 to 1024"));
    }
    let mut parsed = Recipe::read(&recipe).map_err(raise)?;
    if let Some(seed) = seed {
        parsed.run.seed = seed;
    }
    let name = recipe.file_stem().map_or_else(|| "run".into(), |stem| stem.to_string_lossy().into_owned());
    let existing_run = match (resume, overwrite) {
        (true, _) => ExistingRun::Resume,
        (false, true) => ExistingRun::Overwrite,
        (false, false) => ExistingRun::Keep,
    };
    let out = out.unwrap_or_else(|| PathBuf::from("runs").join(name));
    let options = Options {
        threads,
        existing_run,
        accept_changes,
        from: start_from,
        stop_after,
        ..Options::new(data.unwrap_or_else(|| PathBuf::from(".")), &out)
    };
    let stop = AtomicBool::new(false);
    // An exception of the callback or Ctrl-C, which end the run after the current update.
    let mut raised = None;
    let mut report = |event: Progress| {
        let called = Python::attach(|py| {
            py.check_signals()?;
            match (&progress, fields(py, &event)?) {
                (Some(callback), Some(fields)) => callback.call1(py, (fields,)).map(drop),
                _ => Ok(()),
            }
        });
        if let Err(error) = called {
            stop.store(true, Ordering::Relaxed);
            raised.get_or_insert(error);
        }
    };
    let ended = py.detach(|| trainer::train(&parsed, &options, &stop, &mut report));
    if let Some(error) = raised {
        return Err(error);
    }
    let ended = ended.map_err(raise)?;
    let best = out.join("best.onnx");
    let model = if best.exists() { best } else { out.join("last.onnx") };
    Ok(Training {
        model,
        step: ended.step,
        best_score: ended.best.and_then(|(score, _)| score),
        best_step: ended.best.map(|(_, step)| step),
        outputs_nothing: ended.outputs_nothing,
        stopped: ended.stopped,
    })
}
