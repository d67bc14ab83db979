//! `hearken transcribe PATH…`

mod files;
pub(super) mod inputs;
mod journal;
mod progress;
mod source;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::endpoint::EndpointArgs;
use super::interrupt::Interrupt;
use super::model::{ModelArgs, print_note};
use super::{Outcome, Stop, complain, raw, say};
use crate::audio::{Problems, RawFormat};
use crate::error::{Error, Result, Stage};
use crate::fs::AtomicFile;
use crate::output::{Format, JsonWriter, TerminalWriter, TextWriter, WholeWriter, Writer};
use crate::recognizer::{Event, Pipeline, Recognizer, StreamOptions};

use inputs::{Input, Inputs};
use journal::Stamp;
use progress::Progress;
use source::{Meter, Opener};

/// Print what is said in recordings.
///
/// A line is an utterance; with several recordings it begins with PATH and a tab. WAV, FLAC, MP3,
/// AAC, Ogg Vorbis and Opus are read at any rate, with any number of channels.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hearken transcribe call.wav\n  \
    hearken transcribe interviews/ 'more/*.mp3' --format srt --out subtitles/\n  \
    hearken transcribe interviews/ --format srt --out subtitles/ --resume\n  \
    arecord -t raw -r 16000 -f S16_LE | hearken transcribe --raw s16le:16000:1 -")]
pub(super) struct Args {
    /// Recordings, folders of recordings, patterns ('calls/*.wav'), manifests (.jsonl); `-` is standard
    /// input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,

    /// The files are raw samples: ENCODING:RATE:CHANNELS.
    #[arg(long, value_name = "s16le:16000:1", value_parser = raw::parse)]
    raw: Option<RawFormat>,

    /// Print events as JSON lines, partial ones too.
    #[arg(long, conflicts_with_all = ["format", "beside"])]
    json: bool,

    /// Print no partial results, only what is final.
    #[arg(long)]
    no_partials: bool,

    /// How transcripts are written.
    #[arg(long, value_name = "FORMAT", default_value = "txt")]
    format: Format,

    /// A file to write to (its name has an ending), or a folder for the transcripts of all recordings.
    #[arg(long, value_name = "FILE|DIR")]
    out: Option<PathBuf>,

    /// Write each transcript beside its recording.
    #[arg(long, conflicts_with = "out")]
    beside: bool,

    /// Go on with a run that was stopped: pass over recordings whose transcripts are in the folder.
    #[arg(long)]
    resume: bool,

    /// Replace transcripts that are in the folder already.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,

    /// Recordings transcribed at the same time; without it as many as there are cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    #[command(flatten)]
    endpoint: EndpointArgs,
}

/// Events of one recording that wait for the recordings before it.
const WAITING: usize = 256;
/// Recordings that may be transcribed before those in front of them are printed.
const WINDOW: usize = 256;

/// Where transcripts go.
enum Place<'a> {
    /// One after the other, to standard output or a file.
    Stream(Option<&'a Path>),
    /// Each into a file of its own.
    Files(inputs::Folder),
}

/// What all threads of a run share.
struct Job<'a> {
    args: &'a Args,
    recognizer: &'a Recognizer,
    inputs: &'a Inputs,
    opener: Opener,
    interrupt: Interrupt,
}

/// What a worker says of its recording.
enum News {
    Event(Event),
    Failed(Error),
    /// The end, and what was wrong with the file.
    Ended(Problems),
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    if args.paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        let error = Error::new(Stage::Usage, "standard input can be read once, but `-` stands twice");
        return Err(error.into());
    }
    let inputs = Inputs::find(&args.paths, args.raw.is_some());
    let place = place(args, &inputs)?;
    let partials = !args.no_partials;
    let short = StreamOptions { partials, ..args.endpoint.stream_options(false)? };
    let long = match short.endpoint {
        Some(_) => short.clone(),
        None => StreamOptions { partials, ..args.endpoint.stream_options(true)? },
    };
    inputs.errors.iter().for_each(complain);
    if inputs.list.is_empty() {
        return Ok(Outcome::SomeFailed);
    }
    let recognizer = args.model.open()?;
    inputs.notes.iter().for_each(|note| print_note(note));
    let interrupt = Interrupt::install();
    let opener = Opener {
        raw: args.raw,
        sample_rate: recognizer.sample_rate(),
        meter: Arc::new(Meter::default()),
        interrupt: interrupt.clone(),
        short,
        long,
    };
    let job = Job { args, recognizer: &recognizer, inputs: &inputs, opener, interrupt };
    let outcome = match place {
        Place::Files(folder) => files::transcribe(&job, &folder),
        Place::Stream(None) => {
            let on_terminal = io::stdout().is_terminal();
            let mut writer = writer(&job, io::stdout().lock(), on_terminal);
            transcribe(&job, &mut *writer, !on_terminal)
                .map_err(|e| Stop::output(Path::new("standard output"), e))
        }
        Place::Stream(Some(path)) => to_file(&job, path),
    }?;
    Ok(if inputs.errors.is_empty() { outcome } else { outcome.max(Outcome::SomeFailed) })
}

/// Where transcripts go, by the options; refuses what does not fit together.
fn place<'a>(args: &'a Args, inputs: &Inputs) -> Result<Place<'a>> {
    let wrong = |problem: String| Err(Error::new(Stage::Usage, problem));
    let name = args.format.extension();
    let place = match &args.out {
        _ if args.beside && inputs.list.iter().any(Input::is_stdin) => {
            return wrong("--beside: standard input lies in no folder".into());
        }
        None if args.beside => Place::Files(inputs::Folder::Beside),
        Some(path) if path.as_os_str() == "-" => Place::Stream(None),
        Some(path) if is_folder(path) => Place::Files(inputs::Folder::Below(path.clone())),
        file => Place::Stream(file.as_deref()),
    };
    match &place {
        Place::Files(_) if args.json => {
            wrong("--json prints events as they come: for a file each there is --format jsonl or json".into())
        }
        Place::Stream(_) if args.resume || args.overwrite => {
            let option = if args.resume { "--resume" } else { "--overwrite" };
            wrong(format!("{option} is for transcripts in files of their own: give --out DIR or --beside"))
        }
        Place::Stream(_) if inputs.several && !args.format.holds_several() => {
            wrong(format!("a {name} file holds one recording: give --out DIR or --beside"))
        }
        Place::Stream(Some(path)) => {
            inputs::check_targets(&[path.to_path_buf()], &inputs.list, &inputs.manifests)?;
            Ok(place)
        }
        _ => Ok(place),
    }
}

/// Whether a name is that of a folder: one that is there, or whose last part has no ending.
pub(super) fn is_folder(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(found) => found.is_dir(),
        Err(_) => path.extension().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/"),
    }
}

fn writer<'a>(job: &Job, out: impl Write + 'a, on_terminal: bool) -> Box<dyn Writer + 'a> {
    let with_path = job.inputs.several;
    match job.args.format {
        _ if job.args.json => Box::new(JsonWriter::new(out)),
        Format::Txt if on_terminal => Box::new(TerminalWriter::new(out, with_path)),
        Format::Txt => Box::new(TextWriter::new(out, with_path)),
        format => Box::new(WholeWriter::new(out, format)),
    }
}

/// Writes all transcripts to one file, which appears when it is whole.
fn to_file(job: &Job, path: &Path) -> std::result::Result<Outcome, Stop> {
    let failed = |e| Stop::output(path, e);
    let mut file = AtomicFile::create(path).map_err(failed)?;
    let outcome = transcribe(job, &mut *writer(job, &mut file, false), true).map_err(failed)?;
    if outcome == Outcome::Interrupted && path.metadata().map_or(true, |found| found.is_file()) {
        print_note(&format!("{} was not written", crate::fs::quoted(path)));
    } else {
        file.commit().map_err(failed)?;
    }
    Ok(outcome)
}

impl Job<'_> {
    fn workers(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        self.args.threads.map_or_else(cores, usize::from).min(self.inputs.list.len())
    }

    fn progress(&self, inputs: &[&Input], bar: bool) -> Progress {
        let whole = inputs.iter().all(|input| input.part.is_none() && !input.is_stdin());
        let bytes =
            || inputs.iter().filter_map(|input| Stamp::of(&input.path)).map(|stamp| stamp.bytes()).sum();
        Progress::new(Arc::clone(&self.opener.meter), inputs.len(), whole.then(bytes), bar)
    }

    /// Transcribes one recording; ends early, with `None`, when `take` wants no more.
    fn hear(&self, input: &Input, mut take: impl FnMut(Event) -> bool) -> Result<Option<Problems>> {
        let (source, options) = self.opener.open(input)?;
        let chunk = self.args.model.chunk_samples(self.recognizer);
        let mut pipeline = Pipeline::start_with(self.recognizer, source, chunk, options)?;
        for event in &mut pipeline {
            if !take(event?) {
                return Ok(None);
            }
        }
        Ok(Some(pipeline.join()))
    }
}

/// Transcribes all recordings, several at a time, and writes them in the order given.
fn transcribe(job: &Job, writer: &mut dyn Writer, bar: bool) -> io::Result<Outcome> {
    let partials = writer.wants_partials();
    let inputs: Vec<&Input> = job.inputs.list.iter().collect();
    let mut progress = job.progress(&inputs, bar);
    let next = Mutex::new(0);
    // The recordings' news, in the order of the recordings: the channel is written under the lock
    // that hands out the recordings.
    let (tickets_out, tickets) = bounded::<Receiver<News>>(WINDOW);
    let outcome = thread::scope(|scope| -> io::Result<Outcome> {
        for _ in 0..job.workers() {
            let (tickets_out, next) = (tickets_out.clone(), &next);
            scope.spawn(move || {
                while let Some((input, news)) = take_input(job, next, &tickets_out) {
                    hear(job, input, partials, &news);
                }
            });
        }
        drop(tickets_out);
        let mut outcome = Outcome::Done;
        for (input, news) in job.inputs.list.iter().zip(tickets) {
            let failed = write_recording(job, input, &news, writer, &mut progress)?;
            progress.count(failed);
            if failed {
                outcome = Outcome::SomeFailed;
            }
        }
        writer.clear()?;
        Ok(outcome)
    });
    progress.clear();
    let outcome = outcome?;
    if !job.interrupt.is_asked() {
        return Ok(outcome);
    }
    match inputs.len() - progress.done() {
        0 => {}
        n => say(&format!("interrupted: {n} of {} recordings were not begun", inputs.len())),
    }
    Ok(Outcome::Interrupted)
}

/// The next recording, and where to send its news; `None` when there is none, or nobody listens.
fn take_input<'a>(
    job: &Job<'a>,
    next: &Mutex<usize>,
    tickets: &Sender<Receiver<News>>,
) -> Option<(&'a Input, Sender<News>)> {
    if job.interrupt.is_asked() {
        return None;
    }
    // A worker that panicked left a number that is as good as any.
    let mut next = next.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let input = job.inputs.list.get(*next)?;
    *next += 1;
    let (out, news) = bounded(WAITING);
    tickets.send(news).ok()?;
    Some((input, out))
}

/// Transcribes one recording; ends early when nobody listens.
fn hear(job: &Job, input: &Input, partials: bool, out: &Sender<News>) {
    let take = |event| match event {
        Event::Partial(_) if !partials => true,
        event => out.send(News::Event(event)).is_ok(),
    };
    let last = match job.hear(input, take) {
        Ok(Some(problems)) => News::Ended(problems),
        Ok(None) => return,
        Err(error) => News::Failed(error.in_file(&input.path)),
    };
    // Nobody listening is noticed by the next recording.
    let _ = out.send(last);
}

/// Writes one recording's events as they come; whether something was wrong with it.
fn write_recording(
    job: &Job,
    input: &Input,
    news: &Receiver<News>,
    writer: &mut dyn Writer,
    progress: &mut Progress,
) -> io::Result<bool> {
    let name = input.name();
    let mut shown = Instant::now();
    let mut reached = 0.0;
    loop {
        match news.recv_timeout(progress::EVERY) {
            Ok(News::Event(event)) => {
                if let Event::Final(segment) = &event {
                    reached = segment.end;
                }
                progress.suspend(|| writer.event(&name, &event))?;
            }
            Ok(News::Failed(_)) if job.interrupt.is_asked() => return Ok(true),
            Ok(News::Failed(error)) => {
                writer.clear()?;
                progress.suspend(|| complain(&error));
                return Ok(true);
            }
            Ok(News::Ended(problems)) => {
                let mut warnings = problems.messages();
                if job.interrupt.is_asked() {
                    warnings = vec![format!("interrupted after {reached:.1} s of audio")];
                }
                progress.suspend(|| writer.end(&name, &warnings))?;
                writer.clear()?;
                progress.suspend(|| warn(input, &warnings));
                return Ok(!warnings.is_empty());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                writer.clear()?;
                progress.suspend(|| complain(&stopped(input)));
                return Ok(true);
            }
        }
        if shown.elapsed() >= progress::EVERY {
            shown = Instant::now();
            progress.show();
            writer.status(&progress.status())?;
        }
    }
}

fn stopped(input: &Input) -> Error {
    Error::new(Stage::Engine, "the recognizer stopped before the end").in_file(&input.path)
}

/// Says what was wrong with a recording of which all that is there has been written.
fn warn(input: &Input, warnings: &[String]) {
    for warning in warnings {
        complain(&Error::new(Stage::Audio, warning.clone()).in_file(&input.path));
    }
}
