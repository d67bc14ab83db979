//! The log of a run: a JSON object on each line. Everything that shows a run's course is made from these lines: the
//! report ([`super::report`]) and TensorBoard's event files ([`super::events`]).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::progress::{LayerNorms, Scores, Start, Step};
use super::score::{DevScore, ScoredUtterance};
use crate::error::{Error, Result, Stage, io};

/// Maximum number of kinds of confusion that a line names for a dev set.
const MAX_CONFUSIONS: usize = 30;

/// A line of the log. Fields that older versions did not write have defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    Start(StartLine),
    Note(NoteLine),
    Scores(ScoresLine),
    Step(StepLine),
}

/// The start of a run, or its continuation after `step` updates: lines before it with more updates are void.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StartLine {
    pub step: u64,
    /// Seconds since 1970.
    pub time: f64,
    pub start: StartInfo,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StartInfo {
    pub steps: u64,
    pub parameters: usize,
    pub recordings: usize,
    pub hours: f64,
}

/// What the run changed by itself after `step` updates: early stopping, the learning rate, going back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NoteLine {
    pub step: u64,
    /// Seconds since 1970.
    pub time: f64,
    pub note: String,
}

/// Statistics of a span of updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StepLine {
    pub step: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    pub loss: f64,
    pub auxiliary_loss: Option<f64>,
    pub mmi_loss: Option<f64>,
    pub consistency_loss: Option<f64>,
    pub gradient_norm: f64,
    pub learning_rate: f64,
    pub blank_share: f64,
    /// Number of utterances with more labels than frames.
    #[serde(default)]
    pub impossible: usize,
    pub utterances_per_second: f64,
    #[serde(default)]
    pub layers: Vec<LayerNorms>,
}

/// The scores of the dev sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ScoresLine {
    pub step: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<f64>,
    pub dev: Vec<SetLine>,
    pub score: Option<f64>,
    pub best: bool,
    pub writes_nothing: bool,
}

/// The score of a dev set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SetLine {
    pub manifest: String,
    pub wer: Option<f64>,
    pub cer: Option<f64>,
    pub deletions: u64,
    pub insertions: u64,
    pub substitutions: u64,
    pub words: u64,
    pub false_words_per_hour: Option<f64>,
    /// Reference word, recognized word (empty: none), and how often; the most frequent first.
    #[serde(default)]
    pub confusions: Vec<(String, String, u64)>,
    /// The utterances with the highest error rates.
    #[serde(default)]
    pub worst: Vec<UtteranceLine>,
}

/// An utterance with errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct UtteranceLine {
    /// Its number in the dev set, from 0.
    pub utterance: usize,
    pub audio: PathBuf,
    pub offset: Option<f64>,
    pub duration: Option<f64>,
    pub errors: u64,
    pub words: u64,
    /// Pairs of reference and recognized words; an empty one is missing.
    pub alignment: Vec<(String, String)>,
    /// Recognized words with begin and end, seconds.
    pub times: Vec<(String, f64, f64)>,
}

/// Seconds since 1970, with milliseconds.
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as f64 / 1000.0
}

impl Line {
    /// The line for the start of a run.
    pub fn start(start: &Start) -> Self {
        let Start { parameters, recordings, hours, step, steps } = *start;
        let start = StartInfo { steps, parameters, recordings, hours };
        Self::Start(StartLine { step, time: now(), start })
    }

    /// The line for a change after `step` updates.
    pub fn note(step: u64, note: &str) -> Self {
        Self::Note(NoteLine { step, time: now(), note: note.into() })
    }

    /// The line for a span of updates, in which `impossible` utterances had more labels than frames.
    pub fn step(step: &Step, impossible: usize) -> Self {
        Self::Step(StepLine {
            step: step.step,
            time: Some(now()),
            loss: step.loss,
            auxiliary_loss: step.auxiliary_loss,
            mmi_loss: step.mmi_loss,
            consistency_loss: step.consistency_loss,
            gradient_norm: step.gradient_norm,
            learning_rate: step.learning_rate,
            blank_share: step.blank_share,
            impossible,
            utterances_per_second: step.utterances_per_second,
            layers: step.layers.clone(),
        })
    }

    /// The line for the dev scores after an update.
    pub fn scores(scores: &Scores) -> Self {
        Self::Scores(ScoresLine {
            step: scores.step,
            time: Some(now()),
            dev: scores.sets.iter().map(set_line).collect(),
            score: scores.total,
            best: scores.best,
            writes_nothing: scores.outputs_nothing,
        })
    }
}

fn set_line(set: &DevScore) -> SetLine {
    let words = &set.score.words;
    let confusions = set.score.most_confused().into_iter().take(MAX_CONFUSIONS);
    SetLine {
        manifest: set.manifest.clone(),
        wer: set.score.wer(),
        cer: set.score.cer(),
        deletions: words.deletions,
        insertions: words.insertions,
        substitutions: words.substitutions,
        words: words.reference,
        false_words_per_hour: set.false_words_per_hour,
        confusions: confusions.map(|(said, found, n)| (said.into(), found.into(), n)).collect(),
        worst: set.worst.iter().map(utterance_line).collect(),
    }
}

fn utterance_line(scored: &ScoredUtterance) -> UtteranceLine {
    UtteranceLine {
        utterance: scored.number,
        audio: scored.audio.clone(),
        offset: scored.offset,
        duration: scored.duration,
        errors: scored.words.errors(),
        words: scored.words.reference,
        alignment: scored.alignment.clone(),
        times: scored.times.clone(),
    }
}

/// A log file.
pub(super) struct Log {
    file: std::fs::File,
    path: PathBuf,
}

impl Log {
    /// Opens the file; with `append` new lines follow the existing ones, otherwise it is truncated.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path, append: bool) -> Result<Self> {
        let mut options = std::fs::OpenOptions::new();
        options.create(true).write(true).append(append).truncate(!append);
        let file = options.open(path).map_err(|e| io(Stage::Train, path, e))?;
        Ok(Self { file, path: path.to_path_buf() })
    }

    /// Writes a line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let line = serde_json::to_string(line)
            .map_err(|e| Error::new(Stage::Train, e.to_string()).in_file(&self.path))?;
        writeln!(self.file, "{line}").map_err(|e| io(Stage::Train, &self.path, e))
    }
}

/// The lines of a run that count: those that a resumed run has repeated are replaced.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub starts: Vec<StartLine>,
    pub notes: Vec<NoteLine>,
    pub steps: Vec<StepLine>,
    /// Only the last has confusions and utterances.
    pub scores: Vec<ScoresLine>,
}

impl History {
    /// Reads a log; a file that does not exist is an empty one, and lines that are none of the log's are skipped.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(io(Stage::Train, path, e)),
        };
        let mut history = Self::default();
        // The last line may have been cut off when the process was killed.
        let lines = text.split(|&byte| byte == b'\n');
        lines.filter_map(|line| serde_json::from_slice(line).ok()).for_each(|line| history.push(line));
        Ok(history)
    }

    /// Adds a line.
    pub fn push(&mut self, line: Line) {
        match line {
            Line::Start(line) => {
                self.steps.retain(|step| step.step <= line.step);
                self.scores.retain(|scores| scores.step <= line.step);
                self.notes.retain(|note| note.step <= line.step);
                self.starts.push(line);
            }
            Line::Note(line) => {
                self.notes.retain(|note| (note.step, &note.note) != (line.step, &line.note));
                self.notes.push(line);
            }
            Line::Step(line) => {
                self.steps.retain(|step| step.step < line.step);
                self.steps.push(line);
            }
            Line::Scores(line) => {
                self.scores.retain(|scores| scores.step < line.step);
                for set in self.scores.iter_mut().flat_map(|scores| &mut scores.dev) {
                    (set.confusions, set.worst) = (Vec::new(), Vec::new());
                }
                self.scores.push(line);
            }
        }
    }

    /// All lines in their order.
    pub fn lines(&self) -> Vec<Line> {
        let starts = self.starts.iter().cloned().map(|line| (line.step, 0, Line::Start(line)));
        let notes = self.notes.iter().cloned().map(|line| (line.step, 3, Line::Note(line)));
        let steps = self.steps.iter().cloned().map(|line| (line.step, 1, Line::Step(line)));
        let scores = self.scores.iter().cloned().map(|line| (line.step, 2, Line::Scores(line)));
        let mut lines: Vec<(u64, u8, Line)> = starts.chain(steps).chain(scores).chain(notes).collect();
        lines.sort_by_key(|&(step, kind, _)| (step, kind));
        lines.into_iter().map(|(_, _, line)| line).collect()
    }

    /// Number of updates done, and their times (update, seconds since 1970) since the last start.
    pub fn times(&self) -> Vec<(u64, f64)> {
        let Some(start) = self.starts.last() else { return Vec::new() };
        let since = self.steps.iter().filter(|line| line.step > start.step);
        let times = since.filter_map(|line| Some((line.step, line.time?)));
        std::iter::once((start.step, start.time)).chain(times).collect()
    }

    /// Seconds until the last update at the speed of the last lines, evaluations included; `None` before the first.
    pub fn seconds_left(&self) -> Option<f64> {
        /// Number of lines that determine the speed: enough to span an evaluation in most runs.
        const LINES: usize = 20;
        let (times, steps) = (self.times(), self.starts.last()?.start.steps);
        let &(last, now) = times.last()?;
        let &(first, before) = times.get(times.len().saturating_sub(LINES))?;
        (last > first).then(|| (now - before) / (last - first) as f64 * steps.saturating_sub(last) as f64)
    }

    /// The best score: that of the last line marked as the best.
    pub fn best(&self) -> Option<&ScoresLine> {
        self.scores.iter().rev().find(|line| line.best)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A line after `step` updates.
    pub fn step(step: u64, loss: f64) -> StepLine {
        StepLine {
            step,
            time: Some(1000.0 + step as f64 / 2.0),
            loss,
            auxiliary_loss: None,
            mmi_loss: None,
            consistency_loss: None,
            gradient_norm: 1.5,
            learning_rate: 1e-3,
            blank_share: 0.8,
            impossible: 0,
            utterances_per_second: 40.0,
            layers: vec![LayerNorms { name: "layer 1".into(), gradient: 0.5, update: 0.01, weights: 4.0 }],
        }
    }

    /// The start of a run of 100 updates.
    pub fn start(step: u64) -> StartLine {
        let start = StartInfo { steps: 100, parameters: 10, recordings: 3, hours: 0.5 };
        StartLine { step, time: 1000.0 + step as f64 / 2.0, start }
    }

    #[test]
    fn a_resumed_run_replaces_the_lines_that_it_repeats() {
        let mut history = History::default();
        history.push(Line::Start(start(0)));
        [10, 20, 30].into_iter().for_each(|at| history.push(Line::Step(step(at, 1.0))));
        history.push(Line::Start(start(20)));
        history.push(Line::Step(step(30, 0.5)));
        // A note that a resumed run writes again is there once.
        (0..2).for_each(|_| history.push(Line::note(30, "lower")));
        assert_eq!(history.notes.len(), 1);
        let losses: Vec<(u64, f64)> = history.steps.iter().map(|line| (line.step, line.loss)).collect();
        assert_eq!(losses, [(10, 1.0), (20, 1.0), (30, 0.5)]);
        assert_eq!(history.seconds_left(), Some(35.0));
    }

    #[test]
    fn lines_are_read_back_and_those_of_older_versions_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.jsonl");
        assert!(History::read(&path).expect("no file").steps.is_empty());
        let mut log = Log::open(&path, false).expect("opened");
        for line in [Line::Start(start(0)), Line::Step(step(50, 0.25))] {
            log.write(&line).expect("written");
        }
        let mut text = std::fs::read_to_string(&path).expect("written");
        text += r#"{"auxiliary_loss":null,"blank_share":0.6,"consistency_loss":null,"gradient_norm":2.0,"impossible":0,"learning_rate":1e-4,"loss":1.5,"mmi_loss":65.0,"step":60,"utterances_per_second":28.0}
{"step":60,"dev":[{"manifest":"dev.jsonl","wer":0.5,"cer":null,"deletions":1,"insertions":0,"substitutions":0,"words":2,"false_words_per_hour":0.0}],"score":0.5,"best":true,"writes_nothing":false}
{"step":70,"loss":"#;
        std::fs::write(&path, text).expect("written");
        let history = History::read(&path).expect("read");
        assert_eq!((history.starts.clone(), history.steps.len()), (vec![start(0)], 2));
        assert_eq!((history.steps[0].clone(), history.steps[1].time), (step(50, 0.25), None));
        assert_eq!(history.best().map(|line| line.dev[0].wer), Some(Some(0.5)));
        assert!(matches!(
            history.lines()[..],
            [Line::Start(_), Line::Step(_), Line::Step(_), Line::Scores(_)]
        ));
    }
}
