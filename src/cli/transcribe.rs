//! `hearken transcribe PATH…`

mod explain;
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

use super::captions::{Captions, WithCaptions};
use super::endpoint::EndpointArgs;
use super::interrupt::Interrupt;
use super::model::{ModelArgs, check_nbest, print_note};
use super::{Outcome, Stop, print_error, raw, say};
use crate::audio::{self, Problems, RawFormat};
use crate::decode::MAX_NBEST;
use crate::error::{Error, Result, Stage};
use crate::fs::AtomicFile;
use crate::output::{Format, JsonWriter, TerminalWriter, TextWriter, TranscriptWriter, Writer};
use crate::recognizer::{Event, Pipeline, Recognizer, StreamOptions};

use inputs::{Input, Inputs};
use journal::Stamp;
use progress::Progress;
use source::{Meter, Opener};

/// Transcribe recordings.
///
/// Prints a line for each utterance; with several recordings a line begins with PATH and a tab. WAV, FLAC, MP3,
/// AAC, Ogg Vorbis and Opus are read at any rate, with any number of channels.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hearken transcribe call.wav\n  \
    hearken transcribe interviews/ 'more/*.mp3' --format srt --out subtitles/\n  \
    hearken transcribe interviews/ --format srt --out subtitles/ --resume\n  \
    arecord -t raw -r 16000 -f S16_LE | hearken transcribe --raw s16le:16000:1 -\n  \
    arecord -t raw -r 16000 -f S16_LE | hearken transcribe --raw s16le --captions captions.txt -")]
pub(super) struct Args {
    /// Recordings, folders of recordings, patterns ('calls/*.wav'), manifests (.jsonl); `-` is standard
    /// input.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,

    /// The recordings are raw samples without a header: ENCODING:RATE:CHANNELS, rate in Hz; without rate and
    /// channels, 16000 Hz and one channel.
    #[arg(long, value_name = "s16le:16000:1", value_parser = raw::parse)]
    raw: Option<RawFormat>,

    /// Maximum length of a recording after decoding, seconds, except for standard input: the rest is not transcribed,
    /// and the recording counts as damaged. 0: no limit.
    #[arg(long, value_name = "S", default_value_t = audio::MAX_SECONDS)]
    max_seconds: f64,

    /// Print partial and final results as JSON lines as they come.
    #[arg(long, conflicts_with_all = ["format", "beside"])]
    json: bool,

    /// With --json: print final results only.
    #[arg(long, requires = "json")]
    no_partials: bool,

    /// Write the N most likely texts of each utterance as `alternatives`, with --json and --format json or jsonl; with
    /// words of a lexicon, a language model or phrases.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=MAX_NBEST as i64))]
    nbest: Option<u8>,

    /// Print on standard error what was rejected: with --phrases the nearest phrase and how many nats it was behind, with
    /// --lm the words of which none was certain; --json then has alternatives.
    #[arg(long)]
    explain: bool,

    /// Format of the transcripts [default: by the extension of --out, else txt].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// File to write to (a name with an extension), or folder for one transcript per recording.
    #[arg(short, long, value_name = "FILE|DIR")]
    out: Option<PathBuf>,

    /// Write each transcript beside its recording.
    #[arg(long, conflicts_with = "out")]
    beside: bool,

    /// Continue a run that was stopped: skip recordings whose transcripts are complete.
    #[arg(long)]
    resume: bool,

    /// Replace existing transcripts.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,

    /// Number of recordings transcribed in parallel [default: number of cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// File in which the last two lines of what is said are kept, for programs that show a text file, such as OBS; for
    /// live audio on standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "no_partials")]
    captions: Option<PathBuf>,

    #[command(flatten)]
    endpoint: EndpointArgs,
}

impl Args {
    /// The format of the transcripts: that of `--format`, or else by the extension of `--out`.
    fn format(&self) -> Format {
        Format::or_by_extension(self.format, self.out.as_deref().filter(|_| !self.json))
    }
}

/// Events of one recording that are buffered while earlier recordings are printed.
const WAITING: usize = 256;
/// Recordings that may be transcribed ahead of the one that is printed.
const WINDOW: usize = 256;

/// Destination of the transcripts.
enum Destination<'a> {
    /// One after another, to standard output or to this file.
    Stream(Option<&'a Path>),
    /// A file per recording.
    Files(inputs::Folder),
}

/// State shared by all threads of a run.
struct Job<'a> {
    args: &'a Args,
    recognizer: &'a Recognizer,
    inputs: &'a Inputs,
    opener: Opener,
    interrupt: Interrupt,
}

/// Message of a worker about its recording.
enum Message {
    Event(Event),
    Failed(Error),
    /// The end of the recording, and the damage found in it.
    Ended(Problems),
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    if args.paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        let error = Error::new(Stage::Usage, "standard input can be read once, but `-` is given twice");
        return Err(error.into());
    }
    if !(0.0..=1e9).contains(&args.max_seconds) {
        let problem = format!("--max-seconds: expected 0 or more, found {}", args.max_seconds);
        return Err(Error::new(Stage::Usage, problem).into());
    }
    let inputs = Inputs::find(&args.paths, args.raw.is_some());
    let destination = destination(args, &inputs)?;
    let partials = !args.no_partials;
    let nbest = args.nbest.map_or(1, usize::from).max(if args.explain { explain::NBEST } else { 1 });
    if args.nbest.is_some() && !args.json && !matches!(args.format(), Format::Json | Format::Jsonl) {
        let problem = "--nbest: alternatives are written by --json and by --format json or jsonl only";
        return Err(Error::new(Stage::Usage, problem).into());
    }
    let short =
        StreamOptions { partials, nbest, ..args.endpoint.stream_options(args.model.has_wake_word())? };
    let long = match short.endpoint {
        Some(_) => short.clone(),
        None => StreamOptions { partials, nbest, ..args.endpoint.stream_options(true)? },
    };
    inputs.errors.iter().for_each(print_error);
    if inputs.list.is_empty() {
        return Ok(Outcome::SomeFailed);
    }
    let recognizer = args.model.open()?;
    check_nbest(nbest, &recognizer)?;
    let captions = args.captions.as_deref().map(Captions::create).transpose()?;
    inputs.notes.iter().for_each(|note| print_note(note));
    let interrupt = Interrupt::install();
    let opener = Opener {
        raw: args.raw,
        max_seconds: if args.max_seconds > 0.0 { args.max_seconds } else { f64::INFINITY },
        sample_rate: recognizer.sample_rate(),
        meter: Arc::new(Meter::default()),
        interrupt: interrupt.clone(),
        short,
        long,
    };
    let job = Job { args, recognizer: &recognizer, inputs: &inputs, opener, interrupt };
    let outcome = match destination {
        Destination::Files(folder) => files::transcribe(&job, &folder),
        Destination::Stream(None) => {
            let on_terminal = io::stdout().is_terminal();
            let mut writer = writer(&job, io::stdout().lock(), on_terminal, captions);
            transcribe(&job, &mut *writer, !on_terminal)
                .map_err(|e| Stop::output(Path::new("standard output"), e))
        }
        Destination::Stream(Some(path)) => to_file(&job, path, captions),
    }?;
    Ok(if inputs.errors.is_empty() { outcome } else { outcome.max(Outcome::SomeFailed) })
}

/// Destination of the transcripts by the options; refuses options that exclude each other.
fn destination<'a>(args: &'a Args, inputs: &Inputs) -> Result<Destination<'a>> {
    let wrong = |problem: String| Err(Error::new(Stage::Usage, problem));
    let format = args.format();
    let destination = match &args.out {
        _ if args.beside && inputs.list.iter().any(Input::is_stdin) => {
            return wrong("--beside: standard input is not in a folder".into());
        }
        None if args.beside => Destination::Files(inputs::Folder::Beside),
        Some(path) if path.as_os_str() == "-" => Destination::Stream(None),
        Some(path) if is_folder(path) => Destination::Files(inputs::Folder::Below(path.clone())),
        file => Destination::Stream(file.as_deref()),
    };
    match &destination {
        _ if args.captions.is_some() && !matches!(inputs.list.as_slice(), [input] if input.is_stdin()) => {
            wrong("--captions is for live audio on standard input: the only PATH is `-`".into())
        }
        Destination::Files(_) if args.captions.is_some() => {
            wrong("--captions goes with a transcript on standard output or in one file".into())
        }
        Destination::Stream(Some(path)) if args.captions.as_deref() == Some(*path) => {
            wrong("--captions and --out are the same file".into())
        }
        _ if args.explain && !args.model.names_words() => {
            wrong("--explain has no effect without --phrases or --lm".into())
        }
        Destination::Files(_) if args.explain => {
            wrong("--explain goes with transcripts on standard output or in one file".into())
        }
        Destination::Files(_) if args.json => {
            wrong("--json prints events as they come: for a file each there is --format jsonl or json".into())
        }
        Destination::Stream(_) if args.resume => {
            wrong("--resume needs a file per recording: add --out DIR or --beside".into())
        }
        Destination::Stream(_) if args.overwrite => {
            wrong("--overwrite is for --out DIR and --beside: a single file is replaced without it".into())
        }
        Destination::Stream(_) if inputs.several && !format.holds_several() => {
            let name = format.name();
            wrong(format!("a file of the format {name} holds one recording: add --out DIR or --beside"))
        }
        Destination::Stream(Some(path)) => {
            inputs::check_targets(&[path.to_path_buf()], &inputs.list, &inputs.manifests)?;
            Ok(destination)
        }
        _ => Ok(destination),
    }
}

/// Whether a path is an existing folder, or a new name without an extension.
pub(super) fn is_folder(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(found) => found.is_dir(),
        Err(_) => path.extension().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/"),
    }
}

fn writer<'a>(
    job: &Job,
    out: impl Write + 'a,
    on_terminal: bool,
    captions: Option<Captions>,
) -> Box<dyn Writer + 'a> {
    let with_path = job.inputs.several;
    let writer: Box<dyn Writer + 'a> = match job.args.format() {
        _ if job.args.json => Box::new(JsonWriter::new(out)),
        Format::Txt if on_terminal => Box::new(TerminalWriter::new(out, with_path)),
        Format::Txt => Box::new(TextWriter::new(out, with_path)),
        format => Box::new(TranscriptWriter::new(out, format)),
    };
    match captions {
        Some(captions) => Box::new(WithCaptions { writer, captions }),
        None => writer,
    }
}

/// Writes all transcripts to one file, which appears under its name when it is complete.
fn to_file(job: &Job, path: &Path, captions: Option<Captions>) -> std::result::Result<Outcome, Stop> {
    let failed = |e| Stop::output(path, e);
    let mut file = AtomicFile::create(path).map_err(failed)?;
    let outcome = transcribe(job, &mut *writer(job, &mut file, false, captions), true).map_err(failed)?;
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
            || inputs.iter().filter_map(|input| Stamp::read(&input.path)).map(|stamp| stamp.bytes()).sum();
        Progress::new(Arc::clone(&self.opener.meter), inputs.len(), whole.then(bytes), bar)
    }

    /// Transcribes one recording; ends early, with `None`, when `take` returns false.
    fn recognize(&self, input: &Input, mut take: impl FnMut(Event) -> bool) -> Result<Option<Problems>> {
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
    // A channel for the messages of each recording, in the order of the recordings: it is sent under the
    // lock that assigns recordings to workers.
    let (channels_out, channels) = bounded::<Receiver<Message>>(WINDOW);
    let outcome = thread::scope(|scope| -> io::Result<Outcome> {
        for _ in 0..job.workers() {
            let (channels_out, next) = (channels_out.clone(), &next);
            scope.spawn(move || {
                while let Some((input, out)) = take_input(job, next, &channels_out) {
                    work(job, input, partials, &out);
                }
            });
        }
        drop(channels_out);
        let mut outcome = Outcome::Done;
        for (input, messages) in job.inputs.list.iter().zip(channels) {
            let failed = write_recording(job, input, &messages, writer, &mut progress)?;
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
        n => say(&format!("interrupted: {n} of {} recordings were not started", inputs.len())),
    }
    Ok(Outcome::Interrupted)
}

/// The next recording, and the channel for its messages; `None` when there is none left, or the receiver is
/// gone.
fn take_input<'a>(
    job: &Job<'a>,
    next: &Mutex<usize>,
    channels: &Sender<Receiver<Message>>,
) -> Option<(&'a Input, Sender<Message>)> {
    if job.interrupt.is_asked() {
        return None;
    }
    // The number is valid even if a worker panicked.
    let mut next = next.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let input = job.inputs.list.get(*next)?;
    *next += 1;
    let (out, messages) = bounded(WAITING);
    channels.send(messages).ok()?;
    Some((input, out))
}

/// Transcribes one recording; ends early when the receiver is gone.
fn work(job: &Job, input: &Input, partials: bool, out: &Sender<Message>) {
    let take = |event| match event {
        Event::Partial(_) if !partials => true,
        event => out.send(Message::Event(event)).is_ok(),
    };
    let last = match job.recognize(input, take) {
        Ok(Some(problems)) => Message::Ended(problems),
        Ok(None) => return,
        Err(error) => Message::Failed(error.in_file(&input.path)),
    };
    // A missing receiver is noticed with the next recording.
    let _ = out.send(last);
}

/// Writes the events of one recording as they come; returns whether it failed or was damaged.
fn write_recording(
    job: &Job,
    input: &Input,
    messages: &Receiver<Message>,
    writer: &mut dyn Writer,
    progress: &mut Progress,
) -> io::Result<bool> {
    let name = input.name();
    let mut printed_at = Instant::now();
    let mut reached = 0.0;
    loop {
        match messages.recv_timeout(progress::INTERVAL) {
            Ok(Message::Event(event)) => {
                if let Event::Final(segment) = &event {
                    reached = segment.end;
                }
                progress.suspend(|| writer.event(&name, &event))?;
                if let Event::Final(segment) = &event
                    && let Some(line) = explain::line(segment).filter(|_| job.args.explain)
                {
                    writer.clear()?;
                    progress.suspend(|| say(&format!("{name}: {line}")));
                }
            }
            Ok(Message::Failed(_)) if job.interrupt.is_asked() => return Ok(true),
            Ok(Message::Failed(error)) => {
                writer.clear()?;
                progress.suspend(|| print_error(&error));
                return Ok(true);
            }
            Ok(Message::Ended(problems)) => {
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
                progress.suspend(|| print_error(&stopped(input)));
                return Ok(true);
            }
        }
        if printed_at.elapsed() >= progress::INTERVAL {
            printed_at = Instant::now();
            progress.show();
            writer.status(&progress.status())?;
        }
    }
}

fn stopped(input: &Input) -> Error {
    Error::new(Stage::Engine, "the recognizer stopped before the end").in_file(&input.path)
}

/// Prints the damage found in a recording that was transcribed nevertheless.
fn warn(input: &Input, warnings: &[String]) {
    for warning in warnings {
        print_error(&Error::new(Stage::Audio, warning.clone()).in_file(&input.path));
    }
}
