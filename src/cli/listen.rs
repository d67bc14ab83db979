//! `hearken listen`

use std::path::PathBuf;

use super::endpoint::EndpointArgs;
use super::model::ModelArgs;
use super::{Outcome, Stop};
use crate::decode::MAX_NBEST;

/// Transcribe the microphone while you speak.
///
/// On a terminal the words appear while they are spoken, and each utterance becomes a line. In a pipe each
/// utterance is printed as a line when it has ended. Ctrl-C stops the command after the last words are printed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  hearken listen\n  hearken listen --captions captions.txt    # for OBS\n  hearken listen --wake-word 'hey computer' --phrases lamps.txt\n  hearken listen --json | jq -r 'select(.type == \"final\").text'"
)]
pub(super) struct Args {
    /// Microphone, by its id, its name or a part of its name [default: the system's default].
    #[arg(long, value_name = "NAME")]
    device: Option<String>,

    /// List the microphones and exit.
    #[arg(long)]
    list_devices: bool,

    /// Wait for the microphone if it is missing, busy or disconnected.
    #[arg(long)]
    reconnect: bool,

    /// Print events as JSON lines, including partial results.
    #[arg(long)]
    json: bool,

    /// Write the N most likely texts of each utterance as `alternatives`; with words of a lexicon, a language model or
    /// phrases.
    #[arg(long, value_name = "N", requires = "json", value_parser = clap::value_parser!(u8).range(1..=MAX_NBEST as i64))]
    nbest: Option<u8>,

    /// File in which the last two lines of what is said are kept, for programs that show a text file, such as OBS.
    #[arg(long, value_name = "FILE")]
    captions: Option<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    endpoint: EndpointArgs,
}

#[cfg(not(feature = "microphone"))]
pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let Args {
        device: _,
        list_devices: _,
        reconnect: _,
        json: _,
        nbest: _,
        captions: _,
        model: _,
        endpoint: _,
    } = args;
    Err(no_microphones().into())
}

/// The error of a build without the feature `microphone`.
#[cfg(not(feature = "microphone"))]
pub(super) fn no_microphones() -> crate::error::Error {
    use crate::error::{Error, Stage};
    let problem = "this build of hearken does not support microphones";
    let hint = "build it with `cargo build --release --features microphone`; on Linux this requires \
                `pkg-config` and the headers of ALSA (`libasound2-dev` or `alsa-lib-devel`)";
    Error::new(Stage::Usage, problem).hint(hint)
}

#[cfg(feature = "microphone")]
pub(super) use live::{list_devices, run};

#[cfg(feature = "microphone")]
mod live {
    use std::io::{self, IsTerminal, Write};
    use std::path::Path;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::super::captions::Captions;
    use super::super::interrupt::Interrupt;
    use super::super::level::{Level, mute_warning};
    use super::super::model::{check_nbest, print_note};
    use super::super::print_error;
    use super::{Args, Outcome, Stop};
    use crate::audio::microphone::{self, Microphone};
    use crate::error::{Error, Result, Stage};
    use crate::output::{JsonWriter, LiveDisplay, Status, Writer, printable};
    use crate::recognizer::{Event, Recognizer, Segment, Stream, StreamOptions};

    /// Time between two checks for new samples.
    const POLL: Duration = Duration::from_millis(10);
    /// Time between two drawings of the status line.
    const STATUS_INTERVAL: Duration = Duration::from_millis(100);
    /// Time before a device is opened again.
    const RETRY: Duration = Duration::from_secs(1);

    fn write_error(error: io::Error) -> Stop {
        Stop::output(Path::new("standard output"), error)
    }

    pub fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
        if args.list_devices {
            return list_devices();
        }
        let nbest = args.nbest.map_or(1, usize::from);
        let options = StreamOptions { nbest, ..args.endpoint.stream_options(true)? };
        let recognizer = args.model.open()?;
        check_nbest(nbest, &recognizer)?;
        let stop = Interrupt::install();
        let mut screen = Screen::new(args)?;
        let mut elapsed = 0.0;
        let outcome = loop {
            let ended = session(args, &recognizer, &options, &stop, &mut elapsed, &mut screen);
            match ended {
                Ok(()) => break Ok(Outcome::Done),
                Err(Stop::Failed(error)) if args.reconnect && error.stage() == Stage::Audio => {
                    screen.print_error(&error).map_err(write_error)?;
                    screen.update_captions().map_err(write_error)?;
                    if !wait(&stop) {
                        break Ok(Outcome::Done);
                    }
                }
                Err(Stop::Failed(error)) if elapsed > 0.0 && error.stage() == Stage::Audio => {
                    print_note("with --reconnect the program waits until a microphone is back");
                    break Err(error.into());
                }
                Err(other) => break Err(other),
            }
        };
        screen.clear().map_err(write_error)?;
        outcome
    }

    /// Prints the microphones.
    pub fn list_devices() -> std::result::Result<Outcome, Stop> {
        let mut out = io::stdout().lock();
        let devices = microphone::devices()?;
        if devices.is_empty() {
            return Err(
                Error::new(Stage::Audio, "found no microphone, or the sound server is not running").into()
            );
        }
        for device in devices {
            let mark = if device.default { '*' } else { ' ' };
            writeln!(out, "{mark} {}\t{}", printable(&device.id), printable(&device.name))
                .map_err(write_error)?;
        }
        out.flush().map_err(write_error)?;
        Ok(Outcome::Done)
    }

    /// Waits before a device is opened again; returns false if the command must end.
    fn wait(stop: &Interrupt) -> bool {
        // A signal ends the wait early.
        let _ = stop.channel().recv_timeout(RETRY);
        !stop.is_asked()
    }

    /// Listens to one device until it fails or a signal is received; the results so far are written in either
    /// case. `elapsed` is the length of the audio of all sessions, seconds.
    fn session(
        args: &Args,
        recognizer: &Recognizer,
        options: &StreamOptions,
        stop: &Interrupt,
        elapsed: &mut f64,
        screen: &mut Screen,
    ) -> std::result::Result<(), Stop> {
        let mut microphone = Microphone::open(args.device.as_deref(), recognizer.sample_rate())?;
        screen.opened(&microphone).map_err(write_error)?;
        let mut stream = recognizer.stream_with(options)?;
        let chunk = args.model.chunk_samples(recognizer);
        let mut rest = Vec::new();
        let listened = listen(&mut microphone, &mut stream, &mut rest, chunk, stop, *elapsed, screen);
        // After a failure of the output or the engine there is nothing to flush; after one of the device there is.
        if let Err(Stop::Failed(error)) = &listened
            && error.stage() != Stage::Audio
        {
            return listened;
        }
        microphone.finish(&mut rest)?;
        let mut events = stream.accept_waveform(&rest)?;
        events.extend(stream.finish()?);
        screen.events(events, *elapsed).map_err(write_error)?;
        *elapsed += stream.seconds();
        listened
    }

    /// Listens until the device fails or a signal is received; `samples` holds samples that were read and not
    /// processed yet.
    fn listen(
        microphone: &mut Microphone,
        stream: &mut Stream,
        samples: &mut Vec<f32>,
        chunk: usize,
        stop: &Interrupt,
        offset: f64,
        screen: &mut Screen,
    ) -> std::result::Result<(), Stop> {
        let mut meter = Meter::default();
        let mut drawn = Instant::now();
        while !stop.is_asked() {
            let waited = microphone.waiting();
            let at = samples.len();
            microphone.read(samples)?;
            meter.level.add(&samples[at..]);
            if samples.len() >= chunk {
                let begin = Instant::now();
                let events = stream.accept_waveform(samples)?;
                meter.lag(waited + begin.elapsed().as_secs_f64());
                samples.clear();
                screen.events(events, offset).map_err(write_error)?;
            } else {
                thread::sleep(POLL);
            }
            if meter.level.muted(stream.seconds()) {
                screen.muted(microphone.name()).map_err(write_error)?;
            }
            if drawn.elapsed() >= STATUS_INTERVAL {
                drawn = Instant::now();
                screen.status(&meter.status(microphone)).map_err(write_error)?;
            }
        }
        Ok(())
    }

    /// The values of the status line, collected between two drawings.
    #[derive(Default)]
    struct Meter {
        level: Level,
        lag: f64,
    }

    impl Meter {
        fn lag(&mut self, seconds: f64) {
            self.lag = self.lag.max(seconds);
        }

        fn status(&mut self, microphone: &Microphone) -> Status {
            let status = Status {
                peak: self.level.peak(),
                lag_ms: 1000.0 * self.lag,
                lost_seconds: microphone.lost_seconds(),
                device_overruns: microphone.device_overruns(),
            };
            self.lag *= 0.7;
            status
        }
    }

    /// The output of events, and the captions beside it.
    struct Screen {
        display: Display,
        captions: Option<Captions>,
    }

    enum Display {
        Terminal(LiveDisplay<io::Stdout>),
        Lines(io::Stdout),
        Json { writer: JsonWriter<io::Stdout>, device: String },
    }

    impl Screen {
        fn new(args: &Args) -> Result<Self> {
            let captions = args.captions.as_deref().map(Captions::create).transpose()?;
            let out = io::stdout();
            let display = if args.json {
                Display::Json { writer: JsonWriter::new(out), device: String::new() }
            } else if out.is_terminal() {
                Display::Terminal(LiveDisplay::new(out))
            } else {
                Display::Lines(out)
            };
            Ok(Self { display, captions })
        }

        fn columns() -> usize {
            usize::from(console::Term::stdout().size().1)
        }

        /// Prints a message on standard error.
        fn print_remark(&mut self, text: &str) -> io::Result<()> {
            self.clear()?;
            // Standard error may be closed.
            let _ = writeln!(io::stderr(), "hearken: {}", printable(text));
            Ok(())
        }

        fn print_error(&mut self, error: &Error) -> io::Result<()> {
            self.clear()?;
            print_error(error);
            Ok(())
        }

        fn opened(&mut self, microphone: &Microphone) -> io::Result<()> {
            let (rate, channels) = microphone.device_format();
            if let Display::Json { device, .. } = &mut self.display {
                *device = microphone.name().to_string();
            }
            self.print_remark(&format!("listening to {} ({rate} Hz, {channels} channels)", microphone.name()))
        }

        fn muted(&mut self, name: &str) -> io::Result<()> {
            self.print_remark(&mute_warning(name))
        }

        fn status(&mut self, status: &Status) -> io::Result<()> {
            self.update_captions()?;
            match &mut self.display {
                Display::Terminal(display) => display.status(&status.to_string(), Self::columns()),
                _ => Ok(()),
            }
        }

        /// Writes the captions that are due, such as none after silence.
        fn update_captions(&mut self) -> io::Result<()> {
            match self.captions.as_mut().and_then(Captions::update) {
                Some(error) => self.print_error(&error),
                None => Ok(()),
            }
        }

        fn events(&mut self, events: Vec<Event>, offset: f64) -> io::Result<()> {
            for event in events {
                self.event(shifted(event, offset))?;
            }
            Ok(())
        }

        fn event(&mut self, event: Event) -> io::Result<()> {
            if let Some(error) = self.captions.as_mut().and_then(|captions| captions.event(&event)) {
                self.print_error(&error)?;
            }
            match (&mut self.display, &event) {
                (Display::Json { writer, device }, event) => writer.event(device, event),
                (Display::Terminal(display), Event::Partial(segment)) => {
                    display.partial(&segment.text, Self::columns())
                }
                (Display::Terminal(display), Event::Final(segment)) if segment.text.is_empty() => {
                    display.partial("", Self::columns())
                }
                (Display::Terminal(display), Event::Final(segment)) => {
                    display.line(&segment.text, Self::columns())
                }
                (Display::Lines(out), Event::Final(segment)) if !segment.text.is_empty() => {
                    writeln!(out, "{}", printable(&segment.text))?;
                    out.flush()
                }
                _ => Ok(()),
            }
        }

        fn clear(&mut self) -> io::Result<()> {
            match &mut self.display {
                Display::Terminal(display) => display.clear(),
                _ => Ok(()),
            }
        }
    }

    /// Adds `offset` seconds to the times of an event.
    fn shifted(mut event: Event, offset: f64) -> Event {
        let (Event::Partial(segment) | Event::Final(segment)) = &mut event;
        let Segment { start, end, words, .. } = segment;
        *start += offset;
        *end += offset;
        for word in words {
            word.start += offset;
            word.end += offset;
        }
        event
    }
}
