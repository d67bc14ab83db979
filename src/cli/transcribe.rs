//! `hearken transcribe FILE…`

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::endpoint::EndpointArgs;
use super::model::ModelArgs;
use super::{Outcome, Stop, complain, raw};
use crate::audio::{self, Problems, RawFormat, Source};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::output::{JsonWriter, TextWriter, Writer};
use crate::recognizer::{Event, Pipeline, Recognizer, StreamOptions};

/// Print what is said in recordings.
///
/// One file prints its text; several print PATH, a tab and the text, in the order given. WAV,
/// FLAC, MP3, AAC, Ogg Vorbis and Opus are read at any rate, with any number of channels.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: hearken transcribe call.wav\n         \
                        arecord -t raw -r 16000 -f S16_LE | hearken transcribe --raw s16le:16000:1 -")]
pub(super) struct Args {
    /// Recordings; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,

    /// The files are raw samples: ENCODING:RATE:CHANNELS.
    #[arg(long, value_name = "s16le:16000:1", value_parser = raw::parse)]
    raw: Option<RawFormat>,

    /// Print events as JSON lines, partial ones too.
    #[arg(long)]
    json: bool,

    /// Write to a file instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Recordings heard at the same time; without it as many as there are cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    #[command(flatten)]
    endpoint: EndpointArgs,
}

/// Events of one recording that wait for the recordings before it.
const WAITING: usize = 256;

/// What a worker tells of its recording.
enum News {
    Event(Event),
    Failed(Error),
    /// The end, and what was wrong with the file.
    Ended(Problems),
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    if args.files.iter().filter(|f| is_stdin(f)).count() > 1 {
        let error = Error::new(Stage::Usage, "standard input can be read once, but `-` stands twice");
        return Err(error.into());
    }
    let options = args.endpoint.stream_options(false)?;
    let recognizer = args.model.open()?;
    match &args.out {
        None => {
            let name = Path::new("standard output");
            let columns = io::stdout().is_terminal().then(|| usize::from(console::Term::stdout().size().1));
            let mut writer = writer(args, io::stdout().lock(), columns);
            transcribe(args, &recognizer, &options, &mut *writer).map_err(|e| e.into_stop(name))
        }
        Some(path) => write_whole(path, |out| {
            let mut writer = writer(args, out, None);
            transcribe(args, &recognizer, &options, &mut *writer).map_err(|e| e.into_stop(path))
        }),
    }
}

fn writer<'a>(args: &Args, out: impl Write + 'a, columns: Option<usize>) -> Box<dyn Writer + 'a> {
    if args.json {
        Box::new(JsonWriter::new(out))
    } else {
        Box::new(TextWriter::new(out, args.files.len() > 1, columns))
    }
}

/// A failure to write, before the output's name is known.
struct Unwritten(io::Error);

impl Unwritten {
    fn into_stop(self, name: &Path) -> Stop {
        Stop::output(name, self.0)
    }
}

/// Hears all files, several at a time, and writes them in the order given.
fn transcribe(
    args: &Args,
    recognizer: &Recognizer,
    options: &StreamOptions,
    writer: &mut dyn Writer,
) -> std::result::Result<Outcome, Unwritten> {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let workers = args.threads.map_or_else(cores, usize::from).min(args.files.len());
    let partials = writer.wants_partials();
    let next = Mutex::new(0);
    // The recordings' news, in the order of the files: the channel is written under the lock
    // that gives out the files.
    let (tickets_out, tickets) = bounded::<Receiver<News>>(workers);
    thread::scope(|scope| {
        for _ in 0..workers {
            let (tickets_out, next) = (tickets_out.clone(), &next);
            scope.spawn(move || {
                while let Some((file, news)) = take_file(&args.files, next, &tickets_out) {
                    hear(args, recognizer, options, file, partials, &news);
                }
            });
        }
        drop(tickets_out);
        let mut outcome = Outcome::Done;
        for (file, news) in args.files.iter().zip(tickets) {
            if write_file(&file.to_string_lossy(), &news, writer).map_err(Unwritten)? == Outcome::SomeFailed {
                outcome = Outcome::SomeFailed;
            }
        }
        Ok(outcome)
    })
}

/// The next file, and where to send its news; `None` when there is none, or nobody listens.
fn take_file<'a>(
    files: &'a [PathBuf],
    next: &Mutex<usize>,
    tickets: &Sender<Receiver<News>>,
) -> Option<(&'a Path, Sender<News>)> {
    // A worker that panicked left a number that is as good as any.
    let mut next = next.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let file = files.get(*next)?;
    *next += 1;
    let (out, news) = bounded(WAITING);
    tickets.send(news).ok()?;
    Some((file, out))
}

/// Hears one file; ends early when nobody listens.
fn hear(
    args: &Args,
    recognizer: &Recognizer,
    options: &StreamOptions,
    file: &Path,
    partials: bool,
    out: &Sender<News>,
) {
    let pipeline = open(args, recognizer, file).and_then(|source| {
        Pipeline::start_with(recognizer, source, args.model.chunk_samples(recognizer), options)
    });
    let mut pipeline = match pipeline {
        Ok(pipeline) => pipeline,
        Err(error) => return drop(out.send(News::Failed(error.in_file(file)))),
    };
    for event in &mut pipeline {
        let news = match event {
            Ok(Event::Partial(_)) if !partials => continue,
            Ok(event) => News::Event(event),
            Err(error) => return drop(out.send(News::Failed(error.in_file(file)))),
        };
        if out.send(news).is_err() {
            return;
        }
    }
    // Nobody listening is noticed by the next file.
    let _ = out.send(News::Ended(pipeline.join()));
}

fn open(args: &Args, recognizer: &Recognizer, file: &Path) -> Result<Box<dyn Source>> {
    let rate = recognizer.sample_rate();
    let name = file.to_string_lossy();
    match args.raw {
        None if is_stdin(file) => audio::open_reader(Box::new(io::stdin()), &name, rate),
        None => audio::open(file, rate),
        Some(format) if is_stdin(file) => audio::open_raw(Box::new(io::stdin()), &name, format, rate),
        Some(format) => {
            let failed = |e| io_error(Stage::Audio, file, e);
            if std::fs::metadata(file).map_err(failed)?.is_dir() {
                return Err(Error::new(Stage::Audio, "expected a file, found a directory"));
            }
            audio::open_raw(Box::new(File::open(file).map_err(failed)?), &name, format, rate)
        }
    }
}

/// Writes one file's events as they come.
fn write_file(path: &str, news: &Receiver<News>, writer: &mut dyn Writer) -> io::Result<Outcome> {
    for news in news {
        match news {
            News::Event(event) => writer.event(path, &event)?,
            News::Failed(error) => {
                writer.end(path, false)?;
                complain(&error);
                return Ok(Outcome::SomeFailed);
            }
            News::Ended(problems) => {
                writer.end(path, true)?;
                return Ok(tell_problems(path, problems));
            }
        }
    }
    writer.end(path, false)?;
    complain(&Error::new(Stage::Engine, "the recogniser stopped before the end").in_file(path));
    Ok(Outcome::SomeFailed)
}

/// Damage that was read past: what was left of the recording has been written.
fn tell_problems(path: &str, problems: Problems) -> Outcome {
    for message in problems.messages() {
        complain(&Error::new(Stage::Audio, message).in_file(path));
    }
    if problems.is_empty() { Outcome::Done } else { Outcome::SomeFailed }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Lets `write` fill a file that appears under its name when it is whole; pipes and devices are
/// written as they are.
fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::result::Result<Outcome, Stop>,
) -> std::result::Result<Outcome, Stop> {
    let failed = |e| Stop::output(path, e);
    let special = std::fs::metadata(path).is_ok_and(|found| !found.is_file());
    let beside = match path.file_name() {
        Some(name) if !special => {
            let mut name = name.to_os_string();
            name.push(format!(".{}.part", std::process::id()));
            path.with_file_name(name)
        }
        _ => path.to_path_buf(),
    };
    let mut out = BufWriter::new(File::create(&beside).map_err(failed)?);
    let outcome = write(&mut out);
    if special {
        return out.flush().map_err(failed).and(outcome);
    }
    let kept = outcome.and_then(|outcome| {
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)?;
        Ok(outcome)
    });
    if kept.is_err() {
        // What remains of a failure is of no use; its removal failing too adds nothing.
        let _ = std::fs::remove_file(&beside);
    }
    kept
}
