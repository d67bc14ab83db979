//! `hearken data import FOLDER -o MANIFEST`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::report::{self, SHOWN};
use crate::cli::interrupt::Interrupt;
use crate::cli::{Outcome, Stop, check_output, progress, pronounce, say};
use crate::corpus::check::{self, Decoded, Decoding};
use crate::corpus::import::{FORMATS, ImportOptions, Imported, import};
use crate::corpus::split::split;
use crate::corpus::{Entry, manifest};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::fs::quoted;
use crate::onnx;
use crate::output::printable;
use crate::recognizer::Embedded;
use crate::train::propose::{Corpus, PhoneModel, Proposal, propose};

/// Make a manifest of a folder of recordings, for training and for measuring.
///
/// Read are tables (CSV, TSV), files of text beside recordings, a folder for each word as in Speech Commands, labels of
/// Audacity, TextGrids of Praat, LibriSpeech, Kaldi's data folders, Common Voice, LJ Speech, and JSON lines of NeMo and
/// Lhotse. Lines that cannot be used, and recordings that cannot be decoded, are left out and named. All recordings are
/// decoded and checked as by `hearken data check`. The exit code is 1 if something was left out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hearken data import recordings -o data/train.jsonl --split 0.1 --recipe data/recipe.toml
  hearken data import list.csv --audio-column file --text-column 3 -o all.jsonl")]
pub(super) struct Args {
    /// Folder of recordings, or a file in it, such as a table.
    #[arg(value_name = "FOLDER")]
    corpus: PathBuf,

    /// Manifest to write: JSON lines, with paths relative to it.
    #[arg(short, long, value_name = "MANIFEST")]
    out: PathBuf,

    /// Format [default: the first of these that the folder has].
    #[arg(long, value_name = "FORMAT", value_parser = clap::builder::PossibleValuesParser::new(
        FORMATS.iter().map(|format| clap::builder::PossibleValue::new(format.name).help(format.about))))]
    format: Option<String>,

    /// Column of the recordings in a table: its name, or its number from 1 [default: found].
    #[arg(long, value_name = "COLUMN")]
    audio_column: Option<String>,

    /// Column of the transcripts in a table [default: found].
    #[arg(long, value_name = "COLUMN")]
    text_column: Option<String>,

    /// Column of the speakers in a table [default: found by its name].
    #[arg(long, value_name = "COLUMN")]
    speaker_column: Option<String>,

    /// Tier of TextGrids [default: one that is named as of sentences or words, else the first].
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,

    /// The speaker of a recording is the name of the folder that it is in.
    #[arg(long, conflicts_with = "speaker_column")]
    speaker_folders: bool,

    /// Write about this share of the recordings to a dev manifest, chosen by speaker.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    split: Option<f64>,

    /// Manifest of the dev set [default: that of `--out` with `dev` in place of `train`, or with `-dev` appended].
    #[arg(long, value_name = "MANIFEST", requires = "split")]
    dev: Option<PathBuf>,

    /// Random seed of the split.
    #[arg(long, value_name = "SEED", default_value_t = 0, requires = "split")]
    seed: u64,

    /// Recipe to write for `hearken train`, proposed by the amount of data; pronunciations are written beside the
    /// manifest.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,

    /// Language of the transcripts for the recipe, such as `en` or `de`: English starts from the embedded model of
    /// phones [default: English if most words are in its dictionary].
    #[arg(long, value_name = "LANGUAGE", requires = "recipe")]
    language: Option<String>,

    /// Pronunciations of your own words for the recipe, a line `WORD  P R O N` for each.
    #[arg(long, value_name = "FILE", requires = "recipe")]
    lexicon: Option<PathBuf>,

    /// Recordings that are decoded at the same time [default: the number of cores].
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZero<usize>>,
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|share| *share > 0.0 && *share < 1.0);
    number.ok_or_else(|| format!("expected a share between 0 and 1, such as 0.1, found `{text}`"))
}

/// The recordings of a manifest that is to be written.
struct Part {
    path: PathBuf,
    entries: Vec<Entry>,
    decoded: Vec<Decoded>,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let dev = args.dev.clone().unwrap_or_else(|| dev_of(&args.out));
    if args.split.is_some() && dev == args.out {
        return Err(Error::new(Stage::Usage, "--dev: expected another file than that of --out").into());
    }
    for out in [&args.out, &dev].into_iter().chain(&args.recipe) {
        check_output(out, [&args.corpus])?;
    }
    let interrupt = Interrupt::install();
    let mut imported = import(&args.corpus, &args.options(&dev))?;
    let bar = progress("{pos} of {len} recordings {wide_bar} {eta}", imported.entries.len() as u64);
    let decoding =
        Decoding { threads: report::threads(args.threads), progress: &|| bar.inc(1), stop: interrupt.flag() };
    let decoded = check::decode_all(&imported.entries.iter().collect::<Vec<_>>(), &decoding);
    bar.finish_and_clear();
    let Some(decoded) = decoded else { return Ok(Outcome::Interrupted) };
    let recordings = leave_out_unusable(&mut imported, decoded)?;
    print(&found(args, &imported))?;
    let parts = args.parts(recordings, dev)?;
    for part in &parts {
        let folder = folder_of(&part.path);
        std::fs::create_dir_all(folder).map_err(|e| io_error(Stage::Output, folder, e))?;
        manifest::write(&part.path, &part.entries)?;
    }
    print(&checked(&parts))?;
    if let Some(recipe) = &args.recipe {
        print(&args.propose(recipe, &parts)?)?;
    }
    Ok(if imported.left_out.is_empty() { Outcome::Done } else { Outcome::SomeFailed })
}

fn print(text: &str) -> std::result::Result<(), Stop> {
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|e| Stop::output(Path::new("standard output"), e))
}

/// Leaves out the recordings that cannot be decoded, and numbers the others' lengths.
fn leave_out_unusable(imported: &mut Imported, decoded: Vec<Decoded>) -> Result<Vec<(Entry, Decoded)>> {
    let mut kept = Vec::new();
    for (mut entry, decoded) in std::mem::take(&mut imported.entries).into_iter().zip(decoded) {
        match decoded.error() {
            Some(problem) => {
                // The audio's own errors name the file.
                let named = problem.starts_with(&*quoted(&entry.audio));
                let error = Error::new(Stage::Audio, problem);
                imported.left_out.push(if named { error } else { error.in_file(&entry.audio) });
            }
            None => {
                entry.duration = entry.duration.or(Some(decoded.seconds));
                kept.push((entry, decoded));
            }
        }
    }
    match (kept.is_empty(), imported.left_out.first()) {
        (true, Some(first)) => {
            let problem = format!("no recording can be used; the first problem: {first}");
            Err(Error::new(Stage::Corpus, problem))
        }
        _ => Ok(kept),
    }
}

/// What was found and what was left out.
fn found(args: &Args, imported: &Imported) -> String {
    let Imported { format, others, left_out, notes, .. } = imported;
    let mut text = format!("{}: {} ({})\n", quoted(&args.corpus), format.about, format.name);
    if !others.is_empty() {
        text += &format!("  it also seems to be: {}; choose with --format\n", others.join(", "));
    }
    notes.iter().for_each(|note| text += &format!("  {}\n", printable(note)));
    if !left_out.is_empty() {
        text += &format!("left out: {}\n", left_out.len());
        left_out.iter().take(4 * SHOWN).for_each(|e| text += &format!("  {}\n", printable(&e.to_string())));
        if left_out.len() > 4 * SHOWN {
            text += &format!("  and {} more\n", left_out.len() - 4 * SHOWN);
        }
    }
    text + "\n"
}

fn checked(parts: &[Part]) -> String {
    let paths: Vec<PathBuf> = parts.iter().map(|part| part.path.clone()).collect();
    let manifests: Vec<Vec<Entry>> = parts.iter().map(|part| part.entries.clone()).collect();
    let decoded: Vec<Decoded> = parts.iter().flat_map(|part| part.decoded.iter().cloned()).collect();
    report::text(&paths, &check::report(&manifests, &decoded), false)
}

/// `train` becomes `dev` in the name of a manifest; another name gets `-dev`.
fn dev_of(out: &Path) -> PathBuf {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    let stem = match stem.strip_suffix("train") {
        Some(front) => format!("{front}dev"),
        None => format!("{stem}-dev"),
    };
    let extension = out.extension().map_or("jsonl".into(), |e| e.to_string_lossy());
    out.with_file_name(format!("{stem}.{extension}"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Args {
    fn options(&self, dev: &Path) -> ImportOptions {
        ImportOptions {
            format: self.format.clone(),
            audio_column: self.audio_column.clone(),
            text_column: self.text_column.clone(),
            speaker_column: self.speaker_column.clone(),
            tier: self.tier.clone(),
            speaker_folders: self.speaker_folders,
            // Those of an earlier import may be in the folder.
            ignore: vec![self.out.clone(), dev.to_path_buf()],
        }
    }

    /// The manifests to write, with the lines of their recordings.
    fn parts(&self, recordings: Vec<(Entry, Decoded)>, dev: PathBuf) -> Result<Vec<Part>> {
        let entries: Vec<Entry> = recordings.iter().map(|(entry, _)| entry.clone()).collect();
        let is_dev = match self.split {
            None => vec![false; entries.len()],
            Some(share) => {
                let Some(split) = split(&entries, share, self.seed) else {
                    let problem =
                        "all recordings are of one speaker, or of one file, and cannot be split by it";
                    return Err(Error::new(Stage::Corpus, problem)
                        .in_file(&self.corpus)
                        .hint("leave out --split, and record a few people for the dev set"));
                };
                if split.without_speaker > 0 {
                    say(
                        "note: where no speaker is known, the split is by file: the same people may be in both \
                         manifests, and errors for unknown speakers will be more than the dev set shows",
                    );
                }
                split.is_dev
            }
        };
        let mut parts = [self.out.clone(), dev].map(|path| Part { path, entries: vec![], decoded: vec![] });
        for ((mut entry, decoded), is_dev) in recordings.into_iter().zip(is_dev) {
            let part = &mut parts[usize::from(is_dev)];
            entry.line = part.entries.len() + 1;
            part.entries.push(entry);
            part.decoded.push(decoded);
        }
        Ok(parts.into_iter().filter(|part| !part.entries.is_empty()).collect())
    }

    /// Writes the proposed recipe and its pronunciations; returns what was chosen, and the command to train.
    fn propose(&self, recipe: &Path, parts: &[Part]) -> Result<String> {
        let Some(train) = parts.first() else { return Ok(String::new()) };
        let data = folder_of(&train.path);
        let stem = recipe.file_stem().unwrap_or_default().to_string_lossy();
        let dictionary = format!("{stem}.dict");
        // The recipe names the manifests from the folder of the first.
        let names: Vec<String> = parts
            .iter()
            .map(|part| match folder_of(&part.path) == data {
                true => file_name(&part.path),
                false => std::path::absolute(&part.path)
                    .unwrap_or(part.path.clone())
                    .to_string_lossy()
                    .into_owned(),
            })
            .collect();
        let corpus = Corpus {
            train: &train.entries,
            seconds: train.decoded.iter().map(|decoded| decoded.seconds).sum(),
            train_manifest: &names[0],
            dev_manifest: names.get(1).map(String::as_str),
            dictionary: &dictionary,
            is_english: self.language.as_ref().map(|language| {
                let language = language.to_lowercase();
                language == "en" || language.starts_with("en-") || language == "english"
            }),
        };
        let proposal = self.proposal(&corpus)?;
        if let Some(text) = &proposal.dictionary {
            let path = data.join(&dictionary);
            crate::fs::write(&path, text.as_bytes()).map_err(|e| io_error(Stage::Output, &path, e))?;
        }
        crate::fs::write(recipe, proposal.recipe.as_bytes())
            .map_err(|e| io_error(Stage::Output, recipe, e))?;
        let mut text = format!("\n{}:\n", quoted(recipe));
        proposal.reasons.iter().for_each(|reason| text += &format!("  {}\n", printable(reason)));
        let folder = if data == Path::new(".") { String::new() } else { format!(" --data {}", quoted(data)) };
        let from = if proposal.from_phones { " --from english" } else { "" };
        Ok(text + &format!("train with:\n  hearken train {}{folder}{from}\n", quoted(recipe)))
    }

    fn proposal(&self, corpus: &Corpus<'_>) -> Result<Proposal> {
        let opened = pronounce::open(None, self.lexicon.as_deref());
        let pronouncer = if self.lexicon.is_some() { Some(opened?) } else { opened.ok() };
        let network = Embedded::English.model().ok().map(onnx::load::read).transpose()?;
        let phones = pronouncer.as_ref().zip(network.as_ref());
        let phones =
            phones.map(|(pronouncer, (network, _))| PhoneModel { network: &network.config, pronouncer });
        propose(corpus, phones)
    }
}
