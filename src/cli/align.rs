//! `hearken align AUDIO TEXT`, `hearken align MANIFEST`

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::model::{NetworkChoice, print_note};
use super::transcribe::inputs::{self, Folder, Input, Inputs};
use super::transcribe::is_folder;
use super::{Outcome, Stop, print_error};
use crate::audio::{self, Source};
use crate::corpus::{Entry, ReadOptions, TextRule, manifest};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::fs::{AtomicFile, quoted};
use crate::output::{Format, alignment};
use crate::recognizer::alignment::MIN_CONFIDENCE;
use crate::recognizer::{Alignment, Embedded, Recognizer};
use crate::text::pronunciation::Pronouncer;

/// Align recordings with their known texts: find when each word and phone is spoken.
///
/// Prints words and the tokens of the model (phones, letters) with start, end and confidence. The model has to be
/// trained with CTC. The pronunciations of a word are taken from --lexicon, else from the model's lexicon, else, if
/// the model's tokens are phones of English, from the English dictionary inside the program; else they are guessed,
/// which a note reports. Words that do not fit and speech without text are reported on standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hearken align pi.wav 'three one four one five'\n  \
    hearken align --model english.onnx talk.wav talk.txt --format textgrid --out talk.TextGrid\n  \
    hearken align --model english.onnx corpus.jsonl --format ctm --out corpus.ctm\n  \
    hearken align --model english train.jsonl --out train.ctm --fitting train-checked.jsonl")]
pub(super) struct Args {
    /// Recording, or manifest (.jsonl, an object per line with `audio_filepath` and `text`); `-` is standard input.
    #[arg(value_name = "AUDIO|MANIFEST")]
    path: PathBuf,

    /// Text of the recording: the name of a text file, `-` for standard input, or the words themselves. Not with a
    /// manifest, which has the texts.
    #[arg(value_name = "TEXT")]
    text: Option<String>,

    #[command(flatten)]
    network: NetworkChoice,

    /// Your own pronunciations, a line each: `WORD  P R O N`, as in the CMU Pronouncing Dictionary; they replace
    /// all others of these words.
    #[arg(long, value_name = "FILE")]
    lexicon: Option<PathBuf>,

    /// Report words below this confidence as not fitting, 0 to 1.
    #[arg(long, value_name = "P", default_value_t = MIN_CONFIDENCE)]
    min_confidence: f32,

    /// Format of the alignments. With txt a line is a word: start and end in seconds, confidence, word, tokens,
    /// separated by tabs [default: by the extension of --out, else txt].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,

    /// File to write to (a name with an extension), or folder for one alignment per recording.
    #[arg(short, long, value_name = "FILE|DIR")]
    out: Option<PathBuf>,

    /// Replace existing alignments in the folder.
    #[arg(long, requires = "out")]
    overwrite: bool,

    /// Manifest to write: the lines of the manifest whose recordings fit their texts, for training without the others,
    /// which are listed on standard error.
    #[arg(long, value_name = "FILE.jsonl")]
    fitting: Option<PathBuf>,

    /// With --fitting: maximum share of words that do not fit, 0 to 1. An interval of speech without text counts as a
    /// word.
    #[arg(long, value_name = "SHARE", requires = "fitting", default_value_t = 0.5)]
    max_misfits: f32,
}

impl Args {
    /// The format of the alignments: that of `--format`, or else by the extension of `--out`.
    fn format(&self) -> Format {
        Format::or_by_extension(self.format, self.out.as_deref())
    }
}

/// Maximum length of a text, bytes; that of an hour of speech has about 50,000.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Maximum number of words or intervals that do not fit which a note lists.
const MAX_NAMED: usize = 10;

/// Destination of the alignments.
enum Destination {
    /// One after another, to standard output or to this file.
    Stream(Option<PathBuf>),
    /// A file per recording.
    Files(Vec<PathBuf>),
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    for (option, number) in [("--min-confidence", args.min_confidence), ("--max-misfits", args.max_misfits)] {
        if !(0.0..=1.0).contains(&number) {
            let problem = format!("{option}: expected 0 to 1, found {number}");
            return Err(Error::new(Stage::Usage, problem).into());
        }
    }
    let inputs = find(args)?;
    inputs.errors.iter().for_each(print_error);
    if inputs.list.is_empty() {
        return Ok(Outcome::SomeFailed);
    }
    let destination = destination(args, &inputs)?;
    if let Some(path) = &args.fitting {
        check_fitting(path, args, &inputs)?;
    }
    let recognizer = args.network.open(Embedded::Digits)?;
    recognizer.notes().iter().for_each(|note| print_note(note));
    let pronouncer = pronouncer(args.lexicon.as_deref())?;
    let mut job = Job {
        args,
        recognizer,
        pronouncer,
        several: inputs.several,
        guessed: HashSet::new(),
        fitting: Vec::new(),
    };
    let outcome = write_alignments(&mut job, &inputs, destination)?;
    match &args.fitting {
        Some(path) => write_fitting(path, args, &job.fitting).map(|()| outcome),
        None => Ok(outcome),
    }
}

/// Aligns the recordings and writes the alignments.
fn write_alignments(
    job: &mut Job<'_>,
    inputs: &Inputs,
    destination: Destination,
) -> std::result::Result<Outcome, Stop> {
    let failed = |path: &Path, e| Stop::output(path, e);
    match destination {
        Destination::Stream(None) => {
            let name = Path::new("standard output");
            job.write_all(&inputs.list, |_, text| {
                io::stdout().write_all(text.as_bytes()).map_err(|e| failed(name, e))
            })
        }
        Destination::Stream(Some(path)) => {
            let mut file = AtomicFile::create(&path).map_err(|e| failed(&path, e))?;
            let outcome = job.write_all(&inputs.list, |_, text| {
                file.write_all(text.as_bytes()).map_err(|e| failed(&path, e))
            })?;
            file.commit().map_err(|e| failed(&path, e))?;
            Ok(outcome)
        }
        Destination::Files(paths) => job.write_all(&inputs.list, |number, text| {
            let path = &paths[number];
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(|e| failed(path, e))?;
            }
            crate::fs::write(path, text.as_bytes()).map_err(|e| failed(path, e))
        }),
    }
}

/// Refuses a manifest of fitting recordings that replaces an input, and one without a manifest that it is a part of.
fn check_fitting(path: &Path, args: &Args, inputs: &Inputs) -> Result<()> {
    if !inputs::is_manifest(&args.path) {
        let problem = "--fitting writes lines of a manifest: expected a manifest (.jsonl) in place of AUDIO";
        return Err(Error::new(Stage::Usage, problem));
    }
    inputs::check_targets(&[path.to_path_buf()], &inputs.list, &inputs.manifests)
}

/// Writes the manifest of the recordings that fit, by their numbers in the manifest.
fn write_fitting(path: &Path, args: &Args, fitting: &[usize]) -> std::result::Result<(), Stop> {
    let options = ReadOptions { text: TextRule::Optional, check_audio: false };
    let entries = manifest::read_with(&args.path, options)?;
    let kept: Vec<Entry> = fitting.iter().filter_map(|&number| entries.get(number).cloned()).collect();
    manifest::write(path, &kept)?;
    let (kept, all) = (kept.len(), entries.len());
    print_note(&format!("{}: {kept} of {all} recordings fit, {} are left out", quoted(path), all - kept));
    Ok(())
}

/// Finds the recordings and their texts.
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
            usage("standard input can be read once, but `-` is given for the recording and for its text")
        }
        Some(text) => {
            let input = Input { text: read_text(text)?, ..Input::file(&args.path) };
            Ok(Inputs { list: vec![input], ..Inputs::default() })
        }
    }
}

/// The text of an argument: the argument itself, or the content of the file that it names.
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

/// Destination of the alignments by the options; refuses options that exclude each other.
fn destination(args: &Args, inputs: &Inputs) -> Result<Destination> {
    let usage = |problem: String| Err(Error::new(Stage::Usage, problem));
    let (list, extension) = (&inputs.list, args.format().extension());
    let destination = match &args.out {
        Some(path) if path.as_os_str() != "-" && is_folder(path) => {
            Destination::Files(inputs::targets(list, &Folder::Below(path.clone()), extension))
        }
        file => Destination::Stream(file.clone().filter(|path| path.as_os_str() != "-")),
    };
    match &destination {
        Destination::Files(paths) => {
            inputs::check_targets(paths, list, &inputs.manifests)?;
            if let Some(there) = paths.iter().find(|path| path.exists() && !args.overwrite) {
                let problem = Error::new(Stage::Usage, "the alignment exists already").in_file(there);
                return Err(problem.hint("--overwrite replaces it, and all others"));
            }
        }
        Destination::Stream(_) if inputs.several && !args.format().holds_several() => {
            let name = args.format().name();
            return usage(format!("a file of the format {name} holds one recording: add --out DIR"));
        }
        Destination::Stream(_) if args.overwrite => {
            return usage(
                "--overwrite is for a folder (--out DIR): a single file is replaced without it".into(),
            );
        }
        Destination::Stream(Some(path)) => {
            inputs::check_targets(std::slice::from_ref(path), list, &inputs.manifests)?;
        }
        Destination::Stream(None) => {}
    }
    Ok(destination)
}

/// The user's pronunciations, and the English dictionary if this build has it.
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

/// State of a run.
struct Job<'a> {
    args: &'a Args,
    recognizer: Recognizer,
    pronouncer: Option<Pronouncer>,
    several: bool,
    /// Guessed pronunciations that were reported.
    guessed: HashSet<String>,
    /// Numbers of the recordings that fit, of the manifest's lines.
    fitting: Vec<usize>,
}

impl Job<'_> {
    /// Aligns one recording after another; `write` takes the index of a recording and its alignment as text.
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
                    let text =
                        alignment::write(self.args.format(), &name, &alignment, &warnings, self.several);
                    write(number, &text)?;
                    bar.suspend(|| self.report(&name, &alignment));
                    let fits = warnings.is_empty() && self.fits(&alignment);
                    match (fits, &self.args.fitting) {
                        (true, _) => self.fitting.push(number),
                        (false, Some(_)) => bar.suspend(|| print_note(&format!("{name}: left out"))),
                        (false, None) => {}
                    }
                    for warning in warnings {
                        outcome = Outcome::SomeFailed;
                        bar.suspend(|| print_error(&Error::new(Stage::Audio, warning).in_file(&input.path)));
                    }
                }
                Err(error) => {
                    outcome = Outcome::SomeFailed;
                    bar.suspend(|| print_error(&error.in_file(&input.path)));
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(outcome)
    }

    /// Aligns a recording; also returns warnings about damaged audio.
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

    /// Whether enough of a recording fits its text.
    fn fits(&self, alignment: &Alignment) -> bool {
        let misfits = alignment.words.iter().filter(|word| !word.fits).count() + alignment.unmatched.len();
        misfits as f32 <= self.args.max_misfits * alignment.words.len() as f32
    }

    /// Reports words and parts of the recording that do not fit.
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
            print_note(&format!("{name}: speech without text: {}", first_of(&unmatched)));
        }
    }
}

/// The first items of a list and the number of the others, as text.
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
    let source = match input.part {
        None => audio::open(&input.path, sample_rate),
        Some(part) => {
            let file = File::open(&input.path).map_err(|e| io_error(Stage::Audio, &input.path, e))?;
            audio::open_part(file, &input.path, sample_rate, Some(part.offset), part.duration)
        }
    };
    Ok(audio::limited(source?, audio::MAX_SECONDS))
}
