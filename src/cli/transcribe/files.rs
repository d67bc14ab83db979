//! A transcript file per recording: recordings are transcribed in parallel and written in the order in which
//! they end; a journal lets a stopped run be continued.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::inputs::{self, Folder, Input, targets};
use super::journal::{Done, Journal, Settings, Stamp};
use super::progress::{self, Progress};
use super::{Args, Job, stopped, warn};
use crate::audio::Problems;
use crate::cli::{Outcome, Stop, print_error};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::fs::quoted;
use crate::output::Transcript;
use crate::recognizer::{Event, Segment};

/// A recording to transcribe, and the file for its transcript.
struct Task<'a> {
    input: &'a Input,
    target: PathBuf,
    stamp: Option<Stamp>,
}

impl Task<'_> {
    /// The journal's entry for the task.
    fn done(&self, transcript: &Transcript) -> Done {
        Done {
            recording: self.input.name(),
            stamp: self.stamp,
            transcript: quoted(&self.target).into_owned(),
            seconds: transcript.duration(),
            warnings: transcript.warnings.clone(),
        }
    }
}

/// Number of recordings that are written together, at most.
const BATCH: usize = 64;

/// A transcribed recording.
struct Finished {
    /// Index of the task.
    task: usize,
    result: Result<(Vec<Segment>, Problems)>,
}

/// Transcribes all recordings, each into its own file.
pub(super) fn transcribe(job: &Job, folder: &Folder) -> std::result::Result<Outcome, Stop> {
    let list = &job.inputs.list;
    let files = targets(list, folder, job.args.format().extension());
    inputs::check_targets(&files, list, &job.inputs.manifests)?;
    let task = |(input, target)| Task { input, target, stamp: Stamp::read(&input.path) };
    let mut tasks: Vec<Task> = list.iter().zip(files).map(task).collect();
    let home = home(folder, list);
    std::fs::create_dir_all(&home).map_err(|e| io_error(Stage::Output, &home, e))?;
    // Before the journal is started anew, since --resume needs it.
    if !job.args.resume && !job.args.overwrite {
        check_absent(job.args, &tasks, None)?;
    }
    let mut journal = Journal::open(&home, &settings(job.args), job.args.resume)?;
    let mut outcome = Outcome::Done;
    let before = tasks.len();
    tasks.retain(|task| {
        let done = journal.done(&task.input.name(), task.stamp, &task.target);
        if done.is_some_and(|done| !done.warnings.is_empty()) {
            outcome = Outcome::SomeFailed;
        }
        done.inspect(|done| warn(task.input, &done.warnings)).is_none()
    });
    if job.args.resume {
        check_absent(job.args, &tasks, Some(&journal))?;
    }
    let passed_over = before - tasks.len();
    let inputs: Vec<&Input> = tasks.iter().map(|task| task.input).collect();
    let mut progress = job.progress(&inputs, true);
    let worked = work(job, &tasks, &mut journal, &mut progress);
    progress.clear();
    let outcome = worked?.max(outcome);
    let mut summary = progress.summary();
    if passed_over > 0 {
        summary += &format!("; {passed_over} were complete already");
    }
    if outcome == Outcome::Interrupted {
        summary += &format!("; interrupted, {} left: continue with --resume", tasks.len() - progress.done());
    }
    crate::cli::say(&summary);
    Ok(outcome)
}

/// The settings that transcripts depend on, by option.
fn settings(args: &Args) -> Settings {
    // Exhaustive, so that a new option cannot be forgotten here.
    let Args { model, raw, endpoint, .. } = args;
    let Args {
        paths: _, json: _, out: _, beside: _, resume: _, overwrite: _, threads: _, explain: _, ..
    } = args;
    let mut settings = model.settings();
    settings.extend(endpoint.settings());
    settings.insert("--format".into(), args.format().name().into());
    settings.insert("--max-seconds".into(), args.max_seconds.to_string());
    settings.insert("--nbest".into(), args.nbest.map_or("not given".into(), |n| n.to_string()));
    settings.insert("--raw".into(), raw.map_or("not given".into(), |raw| format!("{raw:?}")));
    settings
}

/// The folder of the journal.
fn home(folder: &Folder, inputs: &[Input]) -> PathBuf {
    let home = match folder {
        Folder::Below(folder) => folder.as_path(),
        Folder::Beside => inputs.first().and_then(|input| input.path.parent()).unwrap_or(Path::new("")),
    };
    if home.as_os_str().is_empty() { PathBuf::from(".") } else { home.into() }
}

/// Refuses to replace files that no earlier run has written.
fn check_absent(args: &Args, tasks: &[Task], journal: Option<&Journal>) -> Result<()> {
    let known =
        |task: &Task| journal.is_some_and(|journal| journal.has_entry(&task.input.name(), &task.target));
    let foreign = |task: &&Task| task.target.exists() && !known(task);
    let mut there = tasks.iter().filter(foreign);
    let Some(first) = there.next() else { return Ok(()) };
    let more = match there.count() {
        0 => String::new(),
        n => format!(", and so do {n} more"),
    };
    let hint = if args.resume {
        "--overwrite replaces them"
    } else {
        "--overwrite replaces them, --resume continues the run that wrote them"
    };
    Err(Error::new(Stage::Usage, format!("the transcript exists already{more}"))
        .in_file(&first.target)
        .hint(hint))
}

/// Runs the tasks on worker threads, and writes their results.
fn work(
    job: &Job,
    tasks: &[Task],
    journal: &mut Journal,
    progress: &mut Progress,
) -> std::result::Result<Outcome, Stop> {
    let next = AtomicUsize::new(0);
    let (out, finished) = bounded::<Finished>(BATCH);
    thread::scope(|scope| {
        // Dropped when this closure returns, which ends workers that wait to send.
        let finished = finished;
        for _ in 0..job.workers().min(tasks.len()) {
            let (out, next) = (out.clone(), &next);
            scope.spawn(move || run_tasks(job, tasks, next, &out));
        }
        drop(out);
        let mut outcome = Outcome::Done;
        loop {
            match finished.recv_timeout(progress::INTERVAL) {
                // Recordings that Ctrl-C cut short are left for the next run.
                Ok(_) if job.interrupt.is_asked() => {}
                Ok(first) => {
                    let batch = std::iter::once(first).chain(finished.try_iter().take(BATCH));
                    outcome = outcome.max(write(job, tasks, batch, journal, progress)?);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            progress.show();
        }
        Ok(if job.interrupt.is_asked() { Outcome::Interrupted } else { outcome })
    })
}

/// A worker: runs tasks until none is left, or the receiver is gone.
fn run_tasks(job: &Job, tasks: &[Task], next: &AtomicUsize, out: &Sender<Finished>) {
    while !job.interrupt.is_asked() {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(task) = tasks.get(number) else { return };
        let mut segments = Vec::new();
        let finished = job.recognize(task.input, |event| {
            if let Event::Final(segment) = event {
                segments.push(segment);
            }
            true
        });
        let result = finished.and_then(|problems| problems.ok_or_else(|| stopped(task.input)));
        let result = result.map(|problems| (segments, problems));
        if out.send(Finished { task: number, result }).is_err() {
            return;
        }
    }
}

/// Writes the transcripts of finished recordings, after one flush of the journal for all of them.
fn write(
    job: &Job,
    tasks: &[Task],
    batch: impl Iterator<Item = Finished>,
    journal: &mut Journal,
    progress: &mut Progress,
) -> Result<Outcome> {
    let mut outcome = Outcome::Done;
    let mut transcripts = Vec::new();
    for Finished { task, result } in batch {
        let task = &tasks[task];
        match result {
            Ok((segments, problems)) => {
                let warnings = problems.messages();
                transcripts.push((task, Transcript { path: task.input.name(), segments, warnings }));
            }
            Err(error) => {
                progress.suspend(|| print_error(&error.in_file(&task.input.path)));
                progress.count(true);
                outcome = Outcome::SomeFailed;
            }
        }
    }
    let done: Vec<Done> = transcripts.iter().map(|(task, transcript)| task.done(transcript)).collect();
    journal.note(&done)?;
    for (task, transcript) in &transcripts {
        let failed = |e| io_error(Stage::Output, &task.target, e);
        if let Some(folder) = task.target.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        crate::fs::write(&task.target, job.args.format().write(transcript).as_bytes()).map_err(failed)?;
        progress.suspend(|| warn(task.input, &transcript.warnings));
        progress.count(!transcript.warnings.is_empty());
        if !transcript.warnings.is_empty() {
            outcome = Outcome::SomeFailed;
        }
    }
    Ok(outcome)
}
