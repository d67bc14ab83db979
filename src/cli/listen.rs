//! `hearken listen`

use super::endpoint::EndpointArgs;
use super::model::ModelArgs;
use super::{Outcome, Stop};
use crate::decode::MAX_NBEST;

/// Print what is said into the microphone, while it is said.
///
/// On a terminal the words appear as they are spoken, each utterance becoming a line; in a pipe
/// each utterance is a line when it is over. Ctrl-C ends it; the last words still come.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: hearken listen\n         hearken listen --json | jq -r 'select(.type == \"final\").text'"
)]
pub(super) struct Args {
    /// The microphone, by its id or (part of) its name; without it the system's default.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,

    /// List the microphones, and end.
    #[arg(long)]
    list_devices: bool,

    /// When the microphone vanishes or is busy, wait for it.
    #[arg(long)]
    reconnect: bool,

    /// Print events as JSON lines, partial ones too.
    #[arg(long)]
    json: bool,

    /// Write the N likeliest texts of each utterance as `alternatives`; with words of a lexicon, a language model or
    /// phrases.
    #[arg(long, value_name = "N", requires = "json", value_parser = clap::value_parser!(u8).range(1..=MAX_NBEST as i64))]
    nbest: Option<u8>,

    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    endpoint: EndpointArgs,
}

#[cfg(not(feature = "microphone"))]
pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    use crate::error::{Error, Stage};
    let Args { device: _, list_devices: _, reconnect: _, json: _, nbest: _, model: _, endpoint: _ } = args;
    let problem = "this build of hearken cannot use a microphone";
    let hint = "build it with `cargo build --release --features microphone`; on Linux that needs \
                `pkg-config` and ALSA's headers (`libasound2-dev` or `alsa-lib-devel`)";
    Err(Error::new(Stage::Usage, problem).hint(hint).into())
}

#[cfg(feature = "microphone")]
pub(super) use live::run;

#[cfg(feature = "microphone")]
mod live {
    use std::io::{self, IsTerminal, Write};
    use std::path::Path;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::super::complain;
    use super::super::interrupt::Interrupt;
    use super::{Args, Outcome, Stop};
    use crate::audio::microphone::{self, Microphone};
    use crate::error::{Error, Result, Stage};
    use crate::output::{JsonWriter, LiveDisplay, Status, Writer, printable};
    use crate::recognizer::{Event, Recognizer, Segment, Stream, StreamOptions};

    /// How long to wait for the next samples.
    const POLL: Duration = Duration::from_millis(10);
    /// How often the status line is drawn.
    const STATUS_EVERY: Duration = Duration::from_millis(100);
    /// How long to wait before a device is tried again.
    const RETRY: Duration = Duration::from_secs(1);
    /// So much digital silence is told, seconds.
    const MUTE_SECONDS: f64 = 5.0;

    fn unwritten(error: io::Error) -> Stop {
        Stop::output(Path::new("standard output"), error)
    }

    pub fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
        if args.list_devices {
            return list();
        }
        let nbest = args.nbest.map_or(1, usize::from);
        let options = StreamOptions { nbest, ..args.endpoint.stream_options(true)? };
        let recognizer = args.model.open()?;
        let stop = Interrupt::install();
        let mut screen = Screen::new(args);
        let mut heard = 0.0;
        let outcome = loop {
            let ended = session(args, &recognizer, &options, &stop, &mut heard, &mut screen);
            match ended {
                Ok(()) => break Ok(Outcome::Done),
                Err(Stop::Failed(error)) if args.reconnect && error.stage() == Stage::Audio => {
                    screen.complain(&error).map_err(unwritten)?;
                    if !wait(&stop) {
                        break Ok(Outcome::Done);
                    }
                }
                Err(other) => break Err(other),
            }
        };
        screen.clear().map_err(unwritten)?;
        outcome
    }

    fn list() -> std::result::Result<Outcome, Stop> {
        let mut out = io::stdout().lock();
        let devices = microphone::devices()?;
        if devices.is_empty() {
            return Err(Error::new(Stage::Audio, "no microphone is there, or no sound server runs").into());
        }
        for device in devices {
            let mark = if device.default { '*' } else { ' ' };
            writeln!(out, "{mark} {}\t{}", printable(&device.id), printable(&device.name))
                .map_err(unwritten)?;
        }
        out.flush().map_err(unwritten)?;
        Ok(Outcome::Done)
    }

    /// Waits before the next try; whether to try at all.
    fn wait(stop: &Interrupt) -> bool {
        // Returns early when the end is asked for.
        let _ = stop.channel().recv_timeout(RETRY);
        !stop.is_asked()
    }

    /// Listens to one device until it fails or the end is asked for; what was said before is
    /// written in either case. `heard` is the stream's time in seconds, over all devices.
    fn session(
        args: &Args,
        recognizer: &Recognizer,
        options: &StreamOptions,
        stop: &Interrupt,
        heard: &mut f64,
        screen: &mut Screen,
    ) -> std::result::Result<(), Stop> {
        let mut microphone = Microphone::open(args.device.as_deref(), recognizer.sample_rate())?;
        screen.opened(&microphone).map_err(unwritten)?;
        let mut stream = recognizer.stream_with(options)?;
        let chunk = args.model.chunk_samples(recognizer);
        let mut rest = Vec::new();
        let listened = listen(&mut microphone, &mut stream, &mut rest, chunk, stop, *heard, screen);
        // A broken pipe or engine leaves nothing to flush; a lost device does.
        if let Err(Stop::Failed(error)) = &listened
            && error.stage() != Stage::Audio
        {
            return listened;
        }
        microphone.finish(&mut rest)?;
        let mut events = stream.push(&rest)?;
        events.extend(stream.finish()?);
        screen.events(events, *heard).map_err(unwritten)?;
        *heard += stream.seconds();
        listened
    }

    /// Listens until the device fails or the end is asked for; `samples` is what was read and not
    /// yet heard.
    fn listen(
        microphone: &mut Microphone,
        stream: &mut Stream,
        samples: &mut Vec<f32>,
        chunk: usize,
        stop: &Interrupt,
        offset: f64,
        screen: &mut Screen,
    ) -> std::result::Result<(), Stop> {
        let mut level = Level::default();
        let mut drawn = Instant::now();
        while !stop.is_asked() {
            let waited = microphone.waiting();
            let at = samples.len();
            microphone.read(samples)?;
            level.add(&samples[at..]);
            if samples.len() >= chunk {
                let begin = Instant::now();
                let events = stream.push(samples)?;
                level.lag(waited + begin.elapsed().as_secs_f64());
                samples.clear();
                screen.events(events, offset).map_err(unwritten)?;
            } else {
                thread::sleep(POLL);
            }
            if level.muted(stream.seconds()) {
                screen.muted(microphone.name()).map_err(unwritten)?;
            }
            if drawn.elapsed() >= STATUS_EVERY {
                drawn = Instant::now();
                screen.status(&level.status(microphone)).map_err(unwritten)?;
            }
        }
        Ok(())
    }

    /// What the status line shows, gathered between two drawings.
    #[derive(Default)]
    struct Level {
        peak: f32,
        lag: f64,
        /// Anything but zeros has come.
        sound: bool,
        told: bool,
    }

    impl Level {
        fn add(&mut self, samples: &[f32]) {
            self.peak = samples.iter().fold(self.peak, |peak, x| peak.max(x.abs()));
            self.sound |= self.peak > 0.0;
        }

        fn lag(&mut self, seconds: f64) {
            self.lag = self.lag.max(seconds);
        }

        /// Whether to tell, once, that nothing but zeros comes.
        fn muted(&mut self, seconds: f64) -> bool {
            let tell = !self.sound && !self.told && seconds > MUTE_SECONDS;
            self.told |= tell;
            tell
        }

        /// The meter falls slowly, so that it can be read.
        fn status(&mut self, microphone: &Microphone) -> Status {
            let status = Status {
                peak: self.peak,
                lag_ms: 1000.0 * self.lag,
                lost_seconds: microphone.lost_seconds(),
                device_overruns: microphone.device_overruns(),
            };
            self.peak *= 0.7;
            self.lag *= 0.7;
            status
        }
    }

    /// Where events go.
    enum Screen {
        Terminal(LiveDisplay<io::Stdout>),
        Lines(io::Stdout),
        Json { writer: JsonWriter<io::Stdout>, device: String },
    }

    impl Screen {
        fn new(args: &Args) -> Self {
            let out = io::stdout();
            if args.json {
                Self::Json { writer: JsonWriter::new(out), device: String::new() }
            } else if out.is_terminal() {
                Self::Terminal(LiveDisplay::new(out))
            } else {
                Self::Lines(out)
            }
        }

        fn columns() -> usize {
            usize::from(console::Term::stdout().size().1)
        }

        /// A remark that is no result.
        fn remark(&mut self, text: &str) -> io::Result<()> {
            self.clear()?;
            // Nobody may be there to read it.
            let _ = writeln!(io::stderr(), "hearken: {}", printable(text));
            Ok(())
        }

        fn complain(&mut self, error: &Error) -> io::Result<()> {
            self.clear()?;
            complain(error);
            Ok(())
        }

        fn opened(&mut self, microphone: &Microphone) -> io::Result<()> {
            let (rate, channels) = microphone.device_format();
            if let Self::Json { device, .. } = self {
                *device = microphone.name().to_string();
            }
            self.remark(&format!("listening to {} ({rate} Hz, {channels} channels)", microphone.name()))
        }

        fn muted(&mut self, name: &str) -> io::Result<()> {
            self.remark(&format!(
                "nothing but digital silence comes from {name}: is it muted, or the wrong one?"
            ))
        }

        fn status(&mut self, status: &Status) -> io::Result<()> {
            match self {
                Self::Terminal(display) => display.status(&status.to_string(), Self::columns()),
                _ => Ok(()),
            }
        }

        fn events(&mut self, events: Vec<Event>, offset: f64) -> io::Result<()> {
            for event in events {
                self.event(shifted(event, offset))?;
            }
            Ok(())
        }

        fn event(&mut self, event: Event) -> io::Result<()> {
            match (self, &event) {
                (Self::Json { writer, device }, event) => writer.event(device, event),
                (Self::Terminal(display), Event::Partial(segment)) => {
                    display.partial(&segment.text, Self::columns())
                }
                (Self::Terminal(display), Event::Final(segment)) if segment.text.is_empty() => {
                    display.partial("", Self::columns())
                }
                (Self::Terminal(display), Event::Final(segment)) => {
                    display.line(&segment.text, Self::columns())
                }
                (Self::Lines(out), Event::Final(segment)) if !segment.text.is_empty() => {
                    writeln!(out, "{}", printable(&segment.text))?;
                    out.flush()
                }
                _ => Ok(()),
            }
        }

        fn clear(&mut self) -> io::Result<()> {
            match self {
                Self::Terminal(display) => display.clear(),
                _ => Ok(()),
            }
        }
    }

    /// An event whose times are later by `offset` seconds.
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
