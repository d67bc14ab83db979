//! The log of a run: a JSON object on each line.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::progress::{Scores, Step};
use super::score::DevScore;
use crate::error::{Result, Stage, io};

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
    pub fn write(&mut self, line: &Value) -> Result<()> {
        writeln!(self.file, "{line}").map_err(|e| io(Stage::Train, &self.path, e))
    }
}

/// The log line for a span of updates, in which `impossible` utterances had more labels than frames.
pub(super) fn step_line(step: &Step, impossible: usize) -> Value {
    json!({
        "step": step.step, "loss": step.loss, "auxiliary_loss": step.auxiliary_loss,
        "mmi_loss": step.mmi_loss, "consistency_loss": step.consistency_loss, "gradient_norm": step.gradient_norm,
        "learning_rate": step.learning_rate, "blank_share": step.blank_share,
        "impossible": impossible, "utterances_per_second": step.utterances_per_second,
    })
}

/// The log line for the dev scores after an update.
pub(super) fn scores_line(scores: &Scores) -> Value {
    let set = |s: &DevScore| {
        json!({ "manifest": s.manifest, "wer": s.score.wer(), "cer": s.score.cer(),
            "deletions": s.score.words.deletions, "insertions": s.score.words.insertions,
            "substitutions": s.score.words.substitutions, "words": s.score.words.reference,
            "false_words_per_hour": s.false_words_per_hour })
    };
    let sets: Vec<_> = scores.sets.iter().map(set).collect();
    json!({ "step": scores.step, "dev": sets, "score": scores.total, "best": scores.best,
        "writes_nothing": scores.outputs_nothing })
}
