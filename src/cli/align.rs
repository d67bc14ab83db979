//! `hearken align AUDIO TEXT`, `hearken align MANIFEST`

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::model::{NetworkChoice, print_note};
use super::transcribe::inputs::{self, Folder, Input, Inputs};
use super::transcribe::is_folder;
use super::{Outcome, Stop, complain};
use crate::audio::{self, Source};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::fs::AtomicFile;
use crate::output::{Format, alignment};
use crate::recognizer::alignment::MIN_CONFIDENCE;
use crate::recognizer::{Alignment, Recognizer};
use crate::text::pronunciation::Pronouncer;

/// Find when each word of a known text is said (forced alignment).
///
/// Words and the tokens of the model (phones, letters) with start, end and confidence. The model is one that
/// was trained by CTC. The pronunciations of a word are those of --lexicon, else of the model's own lexicon, else,
/// where the model's tokens are phones of English, of the English dictionary inside the program, else guessed,
/// which is said. Words that fit badly, and speech that the text does not have, are named on standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hearken align pi.wav 'three one four one five'\n  \
    hearken align --model english.onnx talk.wav talk.txt --format textgrid --out talk.TextGrid\n  \
    hearken align --model english.onnx corpus.jsonl --format ctm --out corpus.ctm")]
pub(super) struct Args {
    /// A recording, or a manifest (.jsonl: an object a line with `audio_filepath` and `text`); `-` is standard
    /// input.
    #[arg(value_name = "AUDIO|MANIFEST")]
    path: PathBuf,

    /// What is said in the recording: the name of a text file, `-` for standard input, or the words themselves.
    /// A manifest has the texts of its recordings.
    #[arg(value_name = "TEXT")]
    text: Option<String>,

    #[command(flatten)]
    network: NetworkChoice,

    /// How your own words are pronounced, a line each: `WORD  P R O N`, as in the CMU Pronouncing Dictionary; they
    /// go before all others.
    #[arg(long, value_name = "FILE")]
    lexicon: Option<PathBuf>,

    /// The confidence from which on a word fits, 0 to 1.
    #[arg(long, value_name = "P", default_value_t = MIN_CONFIDENCE)]
    min_confidence: f32,

    /// How alignments are written. In txt a line is a word: start, end (seconds), confidence, word, tokens, with tabs
    /// between.
    #[arg(long, value_name = "FORMAT", default_value = "txt")]
    format: Format,

    /// A file to write to (its name has an ending), or a folder for the alignments of all recordings.
    #[arg(long, value_name = "FILE|DIR")]
    out: Option<PathBuf>,

    /// Replace alignments that are in the folder already.
    #[arg(long, requires = "out")]
    overwrite: bool,
}

/// Longer texts are refused, bytes: an hour of speech has some 50,000.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Words and stretches of a recording that are named, at most.
const MAX_NAMED: usize = 10;

/// Where alignments go.
enum Place {
    /// One after the other, to standard output or a file that appears when it is whole.
    Stream(Option<PathBuf>),
    /// Each into a file of its own.
    Files(Vec<PathBuf>),
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    if !(0.0..=1.0).contains(&args.min_confidence) {
        let problem = format!("--min-confidence: expected 0 to 1, found {}", args.min_confidence);
        return Err(Error::new(Stage::Usage, problem).into());
    }
    let inputs = find(args)?;
    inputs.errors.iter().for_each(complain);
    if inputs.list.is_empty() {
        return Ok(Outcome::SomeFailed);
    }
    let place = place(args, &inputs)?;
    let recognizer = args.network.open()?;
    recognizer.notes().iter().for_each(|note| print_note(note));
    let pronouncer = pronouncer(args.lexicon.as_deref())?;
    let mut job = Job { args, recognizer, pronouncer, several: inputs.several, guessed: HashSet::new() };
    let failed = |path: &Path, e| Stop::output(path, e);
    match place {
        Place::Stream(None) => {
            let name = Path::new("standard output");
            job.write_all(&inputs.list, |_, text| {
                io::stdout().write_all(text.as_bytes()).map_err(|e| failed(name, e))
            })
        }
        Place::Stream(Some(path)) => {
            let mut file = AtomicFile::create(&path).map_err(|e| failed(&path, e))?;
            let outcome = job.write_all(&inputs.list, |_, text| {
                file.write_all(text.as_bytes()).map_err(|e| failed(&path, e))
            })?;
            file.commit().map_err(|e| failed(&path, e))?;
            Ok(outcome)
        }
        Place::Files(paths) => job.write_all(&inputs.list, |number, text| {
            let path = &paths[number];
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(|e| failed(path, e))?;
            }
            crate::fs::write(path, text.as_bytes()).map_err(|e| failed(path, e))
        }),
    }
}

/// The recordings with their texts.
fn find(args: &Args) -> Result<Inputs> {
    let usage = |problem: &str| Err(Error::new(Stage::Usage, problem));
    let stdin = args.path.as_os_str() == "-";
    match &args.text {
        Some(_) if inputs::is_manifest(&args.path) => {
            usage("a manifest has the texts of its recordings: leave TEXT out")
        }
        None if inputs::is_manifest(&args.path) => Ok(Inputs::find(std::slice::from_ref(&args.path), false)),
        None => {
            usage("expected the text of the recording: `hearken align AUDIO TEXT`, or a manifest (.jsonl)")
        }
        Some(text) if stdin && text == "-" => {
            usage("standard input can be read once, but `-` stands for the recording and for its text")
        }
        Some(text) => {
            let input = Input { text: read_text(text)?, ..Input::file(&args.path) };
            Ok(Inputs { list: vec![input], ..Inputs::default() })
        }
    }
}

/// The text that an argument names or is.
fn read_text(argument: &str) -> Result<String> {
    let path = Path::new(argument);
    if argument == "-" {
        return read_limited(&mut io::stdin(), Path::new("standard input"));
    }
    let is_name = !argument.contains(char::is_whitespace)
        && (argument.contains(std::path::is_separator) || argument.ends_with(".txt"));
    if is_name || path.is_file() {
        let mut file = File::open(path).map_err(|e| io_error(Stage::Corpus, path, e))?;
        return read_limited(&mut file, path);
    }
    Ok(argument.to_string())
}

fn read_limited(reader: &mut impl Read, name: &Path) -> Result<String> {
    let wrong = |problem: String| Error::new(Stage::Corpus, problem).in_file(name);
    let mut bytes = Vec::new();
    reader.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes).map_err(|e| io_error(Stage::Corpus, name, e))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(wrong(format!("expected a text of {MAX_TEXT_BYTES} bytes at most, found a longer one")));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        wrong(format!("expected UTF-8, found something else at byte {}", e.utf8_error().valid_up_to() + 1))
    })?;
    Ok(text.trim_start_matches('\u{feff}').to_string())
}

/// Where alignments go, by the options; refuses what does not fit together.
fn place(args: &Args, inputs: &Inputs) -> Result<Place> {
    let usage = |problem: String| Err(Error::new(Stage::Usage, problem));
    let (list, extension) = (&inputs.list, args.format.extension());
    let place = match &args.out {
        Some(path) if path.as_os_str() != "-" && is_folder(path) => {
            Place::Files(inputs::targets(list, &Folder::Below(path.clone()), extension))
        }
        file => Place::Stream(file.clone().filter(|path| path.as_os_str() != "-")),
    };
    match &place {
        Place::Files(paths) => {
            inputs::check_targets(paths, list, &inputs.manifests)?;
            if let Some(there) = paths.iter().find(|path| path.exists() && !args.overwrite) {
                let problem = Error::new(Stage::Usage, "the alignment is there already").in_file(there);
                return Err(problem.hint("--overwrite replaces it, and all others"));
            }
        }
        Place::Stream(_) if inputs.several && !args.format.holds_several() => {
            return usage(format!("a {} file holds one recording: give --out DIR", args.format.name()));
        }
        Place::Stream(_) if args.overwrite => {
            return usage("--overwrite is for alignments in files of their own: give --out DIR".into());
        }
        Place::Stream(Some(path)) => {
            inputs::check_targets(std::slice::from_ref(path), list, &inputs.manifests)?;
        }
        Place::Stream(None) => {}
    }
    Ok(place)
}

/// The user's own words, and the English dictionary where it is inside the program.
fn pronouncer(lexicon: Option<&Path>) -> Result<Option<Pronouncer>> {
    if cfg!(feature = "english") {
        return super::pronounce::open(None, lexicon).map(Some);
    }
    use crate::text::pronunciation::{CompactDictionary, Pronunciations};
    let own = |path| {
        Ok(Pronouncer::new(CompactDictionary::new(&Pronunciations::default())?)
            .with_user(Pronunciations::read(path)?))
    };
    lexicon.map(own).transpose()
}

/// What the recordings of a run share.
struct Job<'a> {
    args: &'a Args,
    recognizer: Recognizer,
    pronouncer: Option<Pronouncer>,
    several: bool,
    /// Words whose guessed pronunciations were named.
    guessed: HashSet<String>,
}

impl Job<'_> {
    /// Aligns one recording after the other; `write` takes each one's place in the list and its text.
    fn write_all(
        &mut self,
        inputs: &[Input],
        mut write: impl FnMut(usize, &str) -> std::result::Result<(), Stop>,
    ) -> std::result::Result<Outcome, Stop> {
        let bar = super::progress("aligning {bar:40} {pos} of {len} {eta}", inputs.len() as u64);
        let mut outcome = Outcome::Done;
        for (number, input) in inputs.iter().enumerate() {
            match self.align(input) {
                Ok((alignment, warnings)) => {
                    let name = input.name();
                    let text = alignment::write(self.args.format, &name, &alignment, &warnings, self.several);
                    write(number, &text)?;
                    bar.suspend(|| self.report(&name, &alignment));
                    for warning in warnings {
                        outcome = Outcome::SomeFailed;
                        bar.suspend(|| complain(&Error::new(Stage::Audio, warning).in_file(&input.path)));
                    }
                }
                Err(error) => {
                    outcome = Outcome::SomeFailed;
                    bar.suspend(|| complain(&error.in_file(&input.path)));
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(outcome)
    }

    /// The alignment of a recording, and what was wrong with the recording.
    fn align(&mut self, input: &Input) -> Result<(Alignment, Vec<String>)> {
        let reference = self.recognizer.reference(&input.text, self.pronouncer.as_ref())?;
        let new: Vec<&str> = reference
            .guessed()
            .iter()
            .filter(|word| !self.guessed.contains(*word))
            .map(String::as_str)
            .collect();
        if !new.is_empty() {
            print_note(&format!("guessed pronunciations: {}", new.join(", ")));
            self.guessed.extend(reference.guessed().iter().cloned());
        }
        let mut source = open(input, self.recognizer.sample_rate())?;
        let alignment = self.recognizer.align(&mut *source, &reference, self.args.min_confidence)?;
        Ok((alignment, source.problems().messages()))
    }

    /// Names the parts of the text and of the recording that do not fit.
    fn report(&self, name: &str, alignment: &Alignment) {
        let misfits: Vec<String> = alignment
            .words
            .iter()
            .filter(|word| !word.fits)
            .map(|word| format!("`{}` at {:.2} s", word.word.word, word.word.start))
            .collect();
        if !misfits.is_empty() {
            print_note(&format!(
                "{name}: {} of {} words do not fit (confidence below {}): {}",
                misfits.len(),
                alignment.words.len(),
                self.args.min_confidence,
                first_of(&misfits)
            ));
        }
        let unmatched: Vec<String> = alignment
            .unmatched
            .iter()
            .map(|span| format!("{:.2} to {:.2} s", span.start, span.end))
            .collect();
        if !unmatched.is_empty() {
            print_note(&format!("{name}: speech that the text does not have: {}", first_of(&unmatched)));
        }
    }
}

/// The first of some things, and how many more there are.
fn first_of(things: &[String]) -> String {
    let named = things[..things.len().min(MAX_NAMED)].join(", ");
    match things.len().saturating_sub(MAX_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn open(input: &Input, sample_rate: u32) -> Result<Box<dyn Source>> {
    if input.is_stdin() {
        return audio::open_reader(Box::new(io::stdin()), "standard input", sample_rate);
    }
    match input.part {
        None => audio::open(&input.path, sample_rate),
        Some(part) => {
            let file = File::open(&input.path).map_err(|e| io_error(Stage::Audio, &input.path, e))?;
            audio::open_part(file, &input.path, sample_rate, Some(part.offset), part.duration)
        }
    }
}
