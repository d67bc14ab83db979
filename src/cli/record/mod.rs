//! `hearken record LIST -o FOLDER`

#[cfg(any(feature = "microphone", test))]
mod folder;
#[cfg(any(feature = "microphone", test))]
mod session;
#[cfg(any(feature = "microphone", test))]
mod take;

use std::path::PathBuf;

use super::{Outcome, Stop};

/// Record phrases of a list from the microphone, for training.
///
/// Shows each phrase; Enter starts its recording, which ends by itself after a pause, or by Enter. Recordings that are
/// clipped, quiet or without speech are asked for again. The folder gets WAV files and manifest.jsonl, which
/// `hearken data import` and recipes take. The same command continues later: it asks for what is missing. Recordings
/// whose file was removed are asked for again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hearken record phrases.txt -o recordings --speaker ann --times 5
  hearken data import recordings -o data/train.jsonl --recipe data/recipe.toml")]
pub(super) struct Args {
    /// Text file with a phrase on each line, as it is spoken; lines that begin with # are left out.
    #[arg(value_name = "LIST", required_unless_present = "list_devices")]
    list: Option<PathBuf>,

    /// Folder of the recordings; it is created if it is not there.
    #[arg(short, long, value_name = "FOLDER", required_unless_present = "list_devices")]
    out: Option<PathBuf>,

    /// Name of the person who speaks, so that training and measuring can use different people.
    #[arg(long, value_name = "NAME", default_value = "me")]
    speaker: String,

    /// How often each phrase is recorded by this speaker.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    times: u16,

    /// Sample rate of the files, Hz.
    #[arg(long, value_name = "HZ", default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(8000..=48_000))]
    rate: u32,

    /// Maximum length of a recording, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=600))]
    max_seconds: u16,

    /// Microphone, by its id, its name or a part of its name [default: the system's default].
    #[arg(long, value_name = "NAME")]
    device: Option<String>,

    /// List the microphones and exit.
    #[arg(long)]
    list_devices: bool,
}

#[cfg(not(feature = "microphone"))]
pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let Args { list: _, out: _, speaker: _, times: _, rate: _, max_seconds: _, device: _, list_devices: _ } =
        args;
    Err(super::listen::no_microphones().into())
}

#[cfg(feature = "microphone")]
pub(super) use live::run;

/// The phrases of a list that a speaker has not yet said often enough: each once, then each again.
#[cfg(any(feature = "microphone", test))]
fn missing(phrases: &[String], folder: &folder::Folder, speaker: &str, times: usize) -> Vec<String> {
    let takes: Vec<usize> = phrases.iter().map(|phrase| folder.takes(phrase, speaker)).collect();
    let round = |round: usize| {
        phrases
            .iter()
            .zip(&takes)
            .filter(move |(_, takes)| **takes <= round)
            .map(|(phrase, _)| phrase.clone())
    };
    (0..times).flat_map(round).collect()
}

/// Reads the phrases of a list, each once.
#[cfg(any(feature = "microphone", test))]
fn read_list(path: &std::path::Path) -> crate::error::Result<Vec<String>> {
    use crate::corpus::check::text_findings;
    use crate::error::{Error, Stage, io};
    let bytes = std::fs::read(path).map_err(|e| io(Stage::Usage, path, e))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::new(Stage::Usage, "expected a text in UTF-8 with a phrase on each line").in_file(path)
    })?;
    let mut phrases: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let phrase = line.split_whitespace().collect::<Vec<_>>().join(" ");
        if phrase.is_empty() || phrase.starts_with('#') {
            continue;
        }
        let at = |e: Error| e.at(format!("line {}", number + 1)).in_file(path);
        if crate::text::normalize::words(&phrase).is_empty() {
            return Err(at(Error::new(Stage::Usage, format!("`{phrase}` has no words"))));
        }
        if let Some((_, problem)) = text_findings(&phrase, 0.0).into_iter().next() {
            return Err(at(Error::new(Stage::Usage, problem)));
        }
        if seen.insert(phrase.clone()) {
            phrases.push(phrase);
        }
    }
    if phrases.is_empty() {
        let problem = "expected at least one phrase, found none";
        return Err(Error::new(Stage::Usage, problem).in_file(path).hint("write a phrase on each line"));
    }
    Ok(phrases)
}

#[cfg(feature = "microphone")]
mod live {
    use std::io::{self, BufRead, IsTerminal, Write};
    use std::path::Path;

    use crossbeam_channel::{Receiver, bounded};

    use super::super::interrupt::Interrupt;
    use super::super::{listen, say};
    use super::folder::{Folder, MANIFEST};
    use super::session::{Device, Ended, KEYS, Options, Session};
    use super::take::Limits;
    use super::{Args, Outcome, Stop, missing, read_list};
    use crate::audio::microphone::Microphone;
    use crate::error::Result;
    use crate::fs::quoted;
    use crate::output::printable;

    /// Time in which a phrase must begin, seconds.
    const WAIT_SECONDS: f64 = 8.0;

    impl Device for Microphone {
        fn read(&mut self, out: &mut Vec<f32>) -> Result<()> {
            Microphone::read(self, out).map(|_| ())
        }

        fn lost_seconds(&self) -> f64 {
            Microphone::lost_seconds(self)
        }

        fn name(&self) -> &str {
            Microphone::name(self)
        }
    }

    pub fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
        if args.list_devices {
            return listen::list_devices();
        }
        // Required by the parser without --list-devices.
        let (Some(list), Some(out)) = (&args.list, &args.out) else { return Ok(Outcome::Done) };
        let phrases = read_list(list)?;
        let mut folder = Folder::open(out)?;
        if folder.missing > 0 {
            let (count, manifest) = (folder.missing, quoted(&out.join(MANIFEST)).into_owned());
            say(&format!("note: {count} recordings of {manifest} are not there any more"));
        }
        let missing = missing(&phrases, &folder, &args.speaker, usize::from(args.times));
        if missing.is_empty() {
            say(&format!(
                "{} has said every phrase {}; --times N asks for more, --speaker NAME is for another person",
                args.speaker,
                if args.times == 1 { "once".into() } else { format!("{} times", args.times) }
            ));
            return Ok(Outcome::Done);
        }
        let interrupt = Interrupt::install();
        let microphone = Microphone::open(args.device.as_deref(), args.rate)?;
        let (rate, channels) = microphone.device_format();
        say(&format!(
            "recording from {} ({rate} Hz, {channels} channels) into {}",
            microphone.name(),
            quoted(out)
        ));
        say(KEYS);
        let stdout = io::stdout();
        let options = Options {
            speaker: args.speaker.clone(),
            rate: args.rate,
            limits: Limits { wait: WAIT_SECONDS, speech: f64::from(args.max_seconds) },
            meter: stdout.is_terminal(),
        };
        let lines = read_lines();
        let ended =
            Session::new(&options, microphone, &lines, interrupt.flag(), &mut folder, stdout).run(missing);
        summary(&folder, out, matches!(ended, Ok(Ended::Done)))?;
        Ok(match ended? {
            Ended::Interrupted => Outcome::Interrupted,
            Ended::Done | Ended::Quit => Outcome::Done,
        })
    }

    fn summary(folder: &Folder, out: &Path, is_done: bool) -> std::result::Result<(), Stop> {
        let rest = if is_done { "" } else { "; the same command asks for the rest" };
        let text = format!("\n{} recordings in {}{rest}", folder.len(), quoted(&out.join(MANIFEST)));
        writeln!(io::stdout(), "{}", printable_lines(&text))
            .map_err(|e| Stop::output(Path::new("standard output"), e))
    }

    fn printable_lines(text: &str) -> String {
        text.lines().map(printable).collect::<Vec<_>>().join("\n")
    }

    /// The lines of standard input, read on a thread of their own.
    fn read_lines() -> Receiver<String> {
        let (sender, lines) = bounded(16);
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_what_is_missing_is_asked_for() {
        let temporary = tempfile::tempdir().expect("a folder");
        let list = temporary.path().join("list.txt");
        let read = |text: &str| {
            std::fs::write(&list, text).expect("written");
            read_list(&list).map_err(|e| e.to_string())
        };
        assert_eq!(
            read("\u{feff}# three\n turn  it on\r\n\nStop!\nStop!\n").expect("good"),
            ["turn it on", "Stop!"]
        );
        assert!(read("# none\n").is_err_and(|e| e.contains("at least one")));
        assert!(read("one\nset 20 degrees\n").is_err_and(|e| e.contains("line 2") && e.contains("in words")));
        assert!(read("…\n").is_err_and(|e| e.contains("no words")));

        let mut folder = folder::Folder::open(&temporary.path().join("out")).expect("opened");
        let phrases = ["a", "b"].map(String::from);
        assert_eq!(missing(&phrases, &folder, "ann", 2), ["a", "b", "a", "b"]);
        folder.add("a", "ann", &[0.1; 160], 16_000).expect("written");
        folder.add("b", "ben", &[0.1; 160], 16_000).expect("written");
        assert_eq!(missing(&phrases, &folder, "ann", 2), ["b", "a", "b"]);
        assert!(missing(&phrases[..1], &folder, "ann", 1).is_empty());
    }
}
