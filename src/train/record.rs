//! The record of a run: log, report, and event files for TensorBoard.

use std::path::Path;
use std::time::{Duration, Instant};

use super::events::{self, EventFile};
use super::folder::{LOG, REPORT};
use super::log::{History, Line, Log, StartLine, now};
use super::progress::{Progress, Report};
use super::report::{self, Context, Status};
use crate::error::{Result, Stage, io};

/// Minimum time between two reports, except after evaluations.
const INTERVAL: Duration = Duration::from_secs(5);
/// Minimum time between two reports in durations of the last: reporting takes at most this part of the run.
const SHARE: u32 = 50;

/// The files of a record.
pub(super) struct Files<'a> {
    /// The run's folder.
    pub out: &'a Path,
    /// Whether the files of an earlier start are continued.
    pub is_resumed: bool,
    pub tensorboard: bool,
}

/// The record of a run that is being written. Only errors of the log end the run; those of the others are reported.
pub(super) struct Record<'a> {
    log: Log,
    events: Option<EventFile>,
    history: History,
    context: Context<'a>,
    out: &'a Path,
    /// When the report was last written, and how long that took.
    written: Option<(Instant, Duration)>,
    /// Whether the last report could not be written, which is reported once.
    has_failed: bool,
}

impl<'a> Record<'a> {
    /// Opens the files of a run; a resumed run continues them.
    ///
    /// # Errors
    /// When the log cannot be read or written.
    pub fn open(files: &Files<'a>, context: Context<'a>, report: Report<'_>) -> Result<Self> {
        let &Files { out, is_resumed, tensorboard } = files;
        let history = if is_resumed { History::read(&out.join(LOG))? } else { History::default() };
        let log = Log::open(&out.join(LOG), is_resumed)?;
        let events = match tensorboard.then(|| open_events(out, &history)).transpose() {
            Ok(events) => events,
            Err(error) => {
                report(Progress::Note(format!("no event file for TensorBoard: {error}")));
                None
            }
        };
        Ok(Self { log, events, history, context, out, written: None, has_failed: false })
    }

    /// Adds a line, and writes the report if it is time.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn write(&mut self, line: Line, report: Report<'_>) -> Result<()> {
        self.log.write(&line)?;
        if let Some(Err(error)) = self.events.as_mut().map(|events| events.write(&line)) {
            report(Progress::Note(format!("no more events for TensorBoard: {error}")));
            self.events = None;
        }
        let is_due = match self.written {
            Some((at, took)) => at.elapsed() >= INTERVAL.max(took * SHARE),
            None => true,
        };
        let is_evaluation = matches!(line, Line::Scores(_));
        self.history.push(line);
        if is_due || is_evaluation {
            self.show(&Status::Running, report);
        }
        Ok(())
    }

    /// Adds a line for going on after `step` updates, which makes lines with more updates void.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn restart(&mut self, step: u64, report: Report<'_>) -> Result<()> {
        match self.history.starts.last().cloned() {
            Some(line) => self.write(Line::Start(StartLine { step, time: now(), ..line }), report),
            None => Ok(()),
        }
    }

    /// Writes the report.
    pub fn show(&mut self, status: &Status, report: Report<'_>) {
        let begin = Instant::now();
        let path = self.out.join(REPORT);
        let page = report::page(&self.history, &self.context, status);
        let result = crate::fs::write(&path, page.as_bytes());
        self.written = Some((Instant::now(), begin.elapsed()));
        match result {
            Ok(()) => self.has_failed = false,
            Err(error) if !self.has_failed => {
                let error = io(Stage::Train, &path, error);
                report(Progress::Note(format!("the report could not be written: {error}")));
                self.has_failed = true;
            }
            Err(_) => {}
        }
    }
}

/// Creates an event file. If the folder has none yet, the file begins with the earlier lines of the log.
fn open_events(out: &Path, history: &History) -> Result<EventFile> {
    let is_first = !events::exist(out)?;
    let mut file = EventFile::create(out)?;
    if is_first {
        history.lines().iter().try_for_each(|line| file.write(line))?;
    }
    Ok(file)
}
