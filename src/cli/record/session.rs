//! A session of `hearken record`: asks for phrases, records them, and asks again where a recording is doubtful.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::super::Stop;
use super::super::level::{Level, mute_warning};
use super::folder::Folder;
use super::take::{Background, Limits, State, Take};
use crate::error::Result;
use crate::output::{level_meter, printable};

/// Time between two checks for new samples.
const POLL: Duration = Duration::from_millis(10);
/// Time between two drawings of the meter.
const METER_INTERVAL: Duration = Duration::from_millis(100);
/// Sound after Enter that is not used: the noise of the key, seconds.
const KEY_SECONDS: f64 = 0.2;
/// Sound from which the level of the room is known, seconds.
const ROOM_SECONDS: f64 = 0.4;

/// A source of sound.
pub(super) trait Device {
    /// Appends the samples that are there, without waiting.
    fn read(&mut self, out: &mut Vec<f32>) -> Result<()>;
    /// Sound that was lost because it was not read in time, seconds.
    fn lost_seconds(&self) -> f64;
    /// Its name.
    fn name(&self) -> &str;
}

/// What a session is about.
pub(super) struct Options {
    pub speaker: String,
    pub rate: u32,
    pub limits: Limits,
    /// Whether the meter can be drawn: on a terminal.
    pub meter: bool,
}

/// A phrase to be recorded.
struct Item {
    phrase: String,
    /// The recording that it replaces.
    replaces: Option<usize>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Every phrase was asked for.
    Done,
    /// The person ended it.
    Quit,
    /// By a signal.
    Interrupted,
}

/// A line that the person types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Record,
    Skip,
    Repeat,
    Keep,
    Quit,
    Unknown,
}

impl Command {
    fn parse(line: &str) -> Self {
        match line.trim().to_lowercase().as_str() {
            "" => Self::Record,
            "s" | "skip" => Self::Skip,
            "r" | "repeat" => Self::Repeat,
            "k" | "keep" => Self::Keep,
            "q" | "quit" => Self::Quit,
            _ => Self::Unknown,
        }
    }
}

/// What the keys do.
pub(super) const KEYS: &str =
    "Enter: record, or end the recording; s, Enter: skip; r, Enter: repeat the last; q, Enter: end";

/// What came of a phrase.
enum Done {
    Kept(usize),
    Skipped,
    Repeat,
    Quit,
}

/// How a take ended.
enum Taken {
    Take(Box<Take>),
    /// Another key than Enter was pressed.
    Instead(Command),
}

/// A session with a device, a source of lines and an output.
pub(super) struct Session<'a, D, W> {
    pub options: &'a Options,
    pub device: D,
    pub lines: &'a Receiver<String>,
    pub stop: &'a AtomicBool,
    pub folder: &'a mut Folder,
    pub out: W,
    background: Background,
    level: Level,
    /// Sound that was received, seconds.
    heard: f64,
}

impl<'a, D: Device, W: Write> Session<'a, D, W> {
    pub fn new(
        options: &'a Options,
        device: D,
        lines: &'a Receiver<String>,
        stop: &'a AtomicBool,
        folder: &'a mut Folder,
        out: W,
    ) -> Self {
        let (background, level) = (Background::new(options.rate), Level::default());
        Self { options, device, lines, stop, folder, out, background, level, heard: 0.0 }
    }

    /// Asks for each phrase.
    pub fn run(&mut self, phrases: Vec<String>) -> std::result::Result<Ended, Stop> {
        let all = phrases.len();
        let mut queue: VecDeque<Item> =
            phrases.into_iter().map(|phrase| Item { phrase, replaces: None }).collect();
        let mut last: Option<(String, usize)> = None;
        self.settle()?;
        while let Some(Item { phrase, replaces }) = queue.pop_front() {
            let at = match replaces {
                Some(_) => "again".to_string(),
                None => {
                    format!("{}/{all}", all - queue.iter().filter(|item| item.replaces.is_none()).count())
                }
            };
            self.say(&format!("\n[{at}]  {}", printable(&phrase)))?;
            match self.phrase(&phrase, replaces)? {
                None => return Ok(Ended::Interrupted),
                Some(Done::Quit) => return Ok(Ended::Quit),
                Some(Done::Skipped) => {}
                Some(Done::Kept(number)) => last = Some((phrase, number)),
                Some(Done::Repeat) => {
                    let is_new = replaces.is_none();
                    queue.push_front(Item { phrase, replaces });
                    match &last {
                        Some((phrase, number)) if is_new => {
                            queue.push_front(Item { phrase: phrase.clone(), replaces: Some(*number) });
                        }
                        Some(_) => {}
                        None => self.say("  nothing was recorded yet")?,
                    }
                }
            }
        }
        Ok(Ended::Done)
    }

    /// Asks for a phrase until it is recorded or skipped; `None` after a signal.
    fn phrase(&mut self, phrase: &str, replaces: Option<usize>) -> std::result::Result<Option<Done>, Stop> {
        let mut doubtful: Option<Box<Take>> = None;
        let mut next = None;
        loop {
            let command = match next.take() {
                Some(command) => command,
                None => match self.command()? {
                    Some(command) => command,
                    None => return Ok(None),
                },
            };
            match command {
                Command::Skip => return Ok(Some(Done::Skipped)),
                Command::Repeat => return Ok(Some(Done::Repeat)),
                Command::Quit => return Ok(Some(Done::Quit)),
                Command::Keep => match doubtful.take() {
                    Some(take) => return Ok(Some(Done::Kept(self.keep(&take, phrase, replaces)?))),
                    None => self.say("  there is no recording to keep: press Enter and speak")?,
                },
                Command::Unknown => self.say(&format!("  {KEYS}"))?,
                Command::Record => {
                    let lost = self.device.lost_seconds();
                    let take = match self.take()? {
                        None => return Ok(None),
                        Some(Taken::Instead(command)) => {
                            next = Some(command);
                            continue;
                        }
                        Some(Taken::Take(take)) => take,
                    };
                    let is_cut = self.device.lost_seconds() > lost;
                    let cut =
                        is_cut.then(|| "a part was lost, because the computer was too slow".to_string());
                    match cut.or_else(|| take.doubt()) {
                        None => return Ok(Some(Done::Kept(self.keep(&take, phrase, replaces)?))),
                        Some(doubt) => {
                            let keep = if take.nothing() { "" } else { "; k, Enter: keep it" };
                            self.say(&format!("  {doubt} (Enter: record again{keep})"))?;
                            doubtful = (!take.nothing()).then_some(take);
                        }
                    }
                }
            }
        }
    }

    /// Writes a take.
    fn keep(
        &mut self,
        take: &Take,
        phrase: &str,
        replaces: Option<usize>,
    ) -> std::result::Result<usize, Stop> {
        let (samples, rate) = (take.samples(), self.options.rate);
        let number = match replaces {
            Some(number) => {
                self.folder.replace(number, samples, rate)?;
                number
            }
            None => self.folder.add(phrase, &self.options.speaker, samples, rate)?,
        };
        let peak = 20.0 * take.peak().max(1e-6).log10();
        self.say(&format!("  kept: {:.1} s, peak {peak:.0} dB", take.seconds()))?;
        Ok(number)
    }

    /// Waits for a line; `None` after a signal. The end of the input ends the session.
    fn command(&mut self) -> std::result::Result<Option<Command>, Stop> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match self.lines.try_recv() {
                Ok(line) => return Ok(Some(Command::parse(&line))),
                Err(crossbeam_channel::TryRecvError::Disconnected) => return Ok(Some(Command::Quit)),
                Err(crossbeam_channel::TryRecvError::Empty) => {}
            }
            let samples = self.read()?;
            self.background.add(&samples, |_, _| ());
        }
    }

    /// Listens to the room for a moment.
    fn settle(&mut self) -> std::result::Result<(), Stop> {
        while self.heard < ROOM_SECONDS && !self.stop.load(Ordering::Relaxed) {
            let samples = self.read()?;
            self.background.add(&samples, |_, _| ());
        }
        Ok(())
    }

    /// Records until the phrase ends by itself or by Enter; `None` after a signal.
    fn take(&mut self) -> std::result::Result<Option<Taken>, Stop> {
        let mut take = Take::new(self.options.rate, self.options.limits);
        let mut skip = (KEY_SECONDS * f64::from(self.options.rate)) as usize;
        let mut drawn: Option<Instant> = None;
        self.say("  speak")?;
        let taken = loop {
            if self.stop.load(Ordering::Relaxed) {
                break None;
            }
            match self.lines.try_recv().map(|line| Command::parse(&line)) {
                Ok(Command::Record) => {
                    take.end_by_hand();
                    break Some(Taken::Take(Box::new(take)));
                }
                Ok(command) => break Some(Taken::Instead(command)),
                // The end of the input is no reason to cut what is being said.
                Err(_) => {}
            }
            let samples = self.read()?;
            let used = &samples[skip.min(samples.len())..];
            skip = skip.saturating_sub(samples.len());
            let state = take.add(used, &mut self.background);
            if self.options.meter && drawn.is_none_or(|drawn| drawn.elapsed() >= METER_INTERVAL) {
                drawn = Some(Instant::now());
                let word = if state == State::Speaking { "recording" } else { "speak" };
                let meter = level_meter(self.level.peak());
                self.write(&format!("\r\x1b[K  {meter}  {word}"))?;
            }
            if !matches!(state, State::Waiting | State::Speaking) {
                break Some(Taken::Take(Box::new(take)));
            }
        };
        if drawn.is_some() {
            self.write("\r\x1b[K")?;
        }
        Ok(taken)
    }

    /// Reads what the device has; waits for a moment if it has nothing.
    fn read(&mut self) -> std::result::Result<Vec<f32>, Stop> {
        let mut samples = Vec::new();
        self.device.read(&mut samples)?;
        if samples.is_empty() {
            std::thread::sleep(POLL);
        }
        self.heard += samples.len() as f64 / f64::from(self.options.rate);
        self.level.add(&samples);
        if self.level.muted(self.heard) {
            let warning = mute_warning(self.device.name());
            self.say(&format!("  {}", printable(&warning)))?;
        }
        Ok(samples)
    }

    fn say(&mut self, line: &str) -> std::result::Result<(), Stop> {
        self.write(&format!("{line}\n"))
    }

    fn write(&mut self, text: &str) -> std::result::Result<(), Stop> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|e: io::Error| Stop::output(Path::new("standard output"), e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Sender, unbounded};

    const RATE: u32 = 16_000;

    /// A device that plays a waveform in chunks of 50 ms, and types a line when a time is reached.
    struct Script {
        samples: Vec<f32>,
        at: usize,
        keys: VecDeque<(f64, &'static str)>,
        lines: Option<Sender<String>>,
    }

    impl Device for Script {
        fn read(&mut self, out: &mut Vec<f32>) -> Result<()> {
            while self.keys.front().is_some_and(|key| key.0 <= self.at as f64 / f64::from(RATE)) {
                let key = self.keys.pop_front().map_or("", |key| key.1);
                if key == "end" {
                    self.lines = None;
                } else if let Some(lines) = &self.lines {
                    lines.send(key.to_string()).expect("the session reads");
                }
            }
            let end = (self.at + 800).min(self.samples.len());
            if end == self.at {
                return Err(crate::error::Error::new(crate::error::Stage::Audio, "unplugged"));
            }
            out.extend(&self.samples[self.at..end]);
            self.at = end;
            Ok(())
        }

        fn lost_seconds(&self) -> f64 {
            0.0
        }

        fn name(&self) -> &str {
            "script"
        }
    }

    /// A room with tones in it: begin, length, level.
    fn room(seconds: f64, tones: &[(f64, f64, f32)]) -> Vec<f32> {
        let mut samples: Vec<f32> = (0..(seconds * f64::from(RATE)) as usize)
            .map(|i| ((i * 7919 % 1000) as f32 / 500.0 - 1.0) * 0.001)
            .collect();
        for &(begin, length, level) in tones {
            let begin = (begin * f64::from(RATE)) as usize;
            for i in 0..(length * f64::from(RATE)) as usize {
                samples[begin + i] += level * (i as f32 * 0.3).sin();
            }
        }
        samples.iter().map(|s| s.clamp(-1.0, 1.0)).collect()
    }

    fn run(
        folder: &mut Folder,
        phrases: &[&str],
        samples: Vec<f32>,
        keys: &[(f64, &'static str)],
    ) -> (std::result::Result<Ended, Stop>, String) {
        let (sender, lines) = unbounded();
        let device = Script { samples, at: 0, keys: keys.iter().copied().collect(), lines: Some(sender) };
        let limits = Limits { wait: 3.0, speech: 3.0 };
        let options = Options { speaker: "ann".into(), rate: RATE, limits, meter: false };
        let (mut out, stop) = (Vec::new(), AtomicBool::new(false));
        let ended = Session::new(&options, device, &lines, &stop, folder, &mut out)
            .run(phrases.iter().map(|phrase| phrase.to_string()).collect());
        (ended, String::from_utf8(out).expect("UTF-8"))
    }

    fn texts(folder: &Path) -> Vec<(String, f64)> {
        let entries = crate::corpus::manifest::read(folder.join(super::super::folder::MANIFEST));
        let entries = entries.expect("a manifest").into_iter();
        entries.map(|entry| (entry.text, entry.duration.unwrap_or(0.0))).collect()
    }

    #[test]
    fn phrases_are_recorded_skipped_and_repeated() {
        let temporary = tempfile::tempdir().expect("a folder");
        let mut folder = Folder::open(temporary.path()).expect("opened");
        let samples = room(20.0, &[(1.5, 0.5, 0.3), (6.0, 0.8, 0.3), (10.0, 0.4, 0.3)]);
        let keys = [(1.0, ""), (4.0, "s"), (5.0, ""), (8.5, "what"), (9.0, "r"), (9.2, "")];
        let (ended, out) = run(&mut folder, &["one", "two", "three", "four"], samples, &keys);
        // The waveform ends while the fourth phrase is asked for.
        assert!(matches!(ended, Err(Stop::Failed(e)) if e.to_string().contains("unplugged")));
        let found = texts(temporary.path());
        assert_eq!(found.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), ["one", "three"]);
        assert!((found[0].1 - 1.1).abs() < 0.25, "{found:?}");
        assert!((found[1].1 - 1.0).abs() < 0.25, "the last take of `three` is the short one: {found:?}");
        for part in ["[1/4]  one", "[2/4]  two", "[3/4]  three", "[again]  three", "[4/4]  four", KEYS] {
            assert!(out.contains(part), "{part}: {out}");
        }
        assert_eq!(out.matches("[4/4]").count(), 2, "it is asked for again after the repetition: {out}");
    }

    #[test]
    fn doubtful_takes_are_asked_for_again_or_kept() {
        let temporary = tempfile::tempdir().expect("a folder");
        let mut folder = Folder::open(temporary.path()).expect("opened");
        let samples = room(30.0, &[(1.5, 0.5, 5.0), (5.0, 0.5, 0.3), (14.0, 0.5, 5.0)]);
        let keys = [(1.0, ""), (4.0, ""), (8.0, ""), (12.5, "k"), (13.0, ""), (17.0, "k"), (18.0, "q")];
        let (ended, out) = run(&mut folder, &["one", "two", "three"], samples, &keys);
        assert!(matches!(ended, Ok(Ended::Quit)), "{out}");
        assert_eq!(texts(temporary.path()).len(), 2);
        for part in ["clipped: ", "no speech was found", "no recording to keep", "kept: "] {
            assert!(out.contains(part), "{part}: {out}");
        }
    }

    #[test]
    fn enter_ends_a_take_and_the_end_of_the_input_ends_the_session() {
        let temporary = tempfile::tempdir().expect("a folder");
        let mut folder = Folder::open(temporary.path()).expect("opened");
        let samples = room(9.0, &[(1.5, 3.0, 0.3)]);
        let keys = [(1.0, ""), (2.5, ""), (3.0, "end")];
        let (ended, _) = run(&mut folder, &["one", "two"], samples, &keys);
        assert!(matches!(ended, Ok(Ended::Quit)));
        let found = texts(temporary.path());
        assert!(found.len() == 1 && (found[0].1 - 1.3).abs() < 0.2, "{found:?}");
    }

    #[test]
    fn a_device_without_sound_is_reported() {
        let temporary = tempfile::tempdir().expect("a folder");
        let mut folder = Folder::open(temporary.path()).expect("opened");
        let (ended, out) = run(&mut folder, &["one"], vec![0.0; 7 * RATE as usize], &[(6.0, "s")]);
        assert!(matches!(ended, Ok(Ended::Done)) && out.contains("only digital silence"), "{out}");
    }
}
