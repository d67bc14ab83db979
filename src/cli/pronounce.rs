//! `hearken pronounce WORD…`, `hearken pronounce --train DICTIONARY -o FILE`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Outcome, Stop, check_output, print_error};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::output::printable;
use crate::text::pronunciation::g2p::TrainOptions;
use crate::text::pronunciation::{Pronouncer, Pronunciation, Pronunciations, Source};
use crate::units::counted;

/// Print the pronunciations of words, or learn pronunciations from a dictionary.
///
/// Each line has a word, its phones in the alphabet of the CMU Pronouncing Dictionary, and their source: `user`
/// (your own lines), `dictionary`, `derived` (from known words: endings, hyphens, other spellings), `spelled`
/// (letter by letter), or `guessed` with the probability of the guess. Lines can be copied to a file of your own,
/// corrected, and used by --lexicon.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hearken pronounce gruyere covid19 NASA
  hearken pronounce --lexicon mine.txt kubernetes
  hearken pronounce --train cmudict.txt -o english.pron")]
pub(super) struct Args {
    /// Words to pronounce.
    #[arg(value_name = "WORD", required_unless_present = "train")]
    words: Vec<String>,

    /// Pronunciations of your own words, a line `word  P R O N` for each; they take precedence over all others.
    #[arg(long, value_name = "FILE")]
    lexicon: Option<PathBuf>,

    /// File of `--train`, in place of the embedded English pronunciations.
    #[arg(long, value_name = "FILE")]
    pronunciations: Option<PathBuf>,

    /// Maximum number of guesses that are printed for a word.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=50))]
    nbest: u8,

    /// Print one JSON object for each pronunciation.
    #[arg(long)]
    json: bool,

    /// Learn from this dictionary instead: a line `word  P R O N` for each word, as in the CMU Pronouncing
    /// Dictionary.
    #[arg(long, value_name = "DICTIONARY", requires = "out", conflicts_with_all = ["words", "lexicon", "pronunciations", "json", "nbest"])]
    train: Option<PathBuf>,

    /// Output file of --train: the dictionary, and the model that guesses other words.
    #[arg(short, long, value_name = "FILE", requires = "train")]
    out: Option<PathBuf>,

    /// With --train: order of the model, the maximum length of its n-grams.
    #[arg(long, value_name = "N", default_value_t = 8, requires = "train", value_parser = clap::value_parser!(u8).range(2..=9))]
    order: u8,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    if let (Some(dictionary), Some(out)) = (&args.train, &args.out) {
        check_output(out, [dictionary])?;
        return train(dictionary, out, args.order.into());
    }
    let mut pronouncer = open(args.pronunciations.as_deref(), args.lexicon.as_deref())?;
    pronouncer.max_guesses = args.nbest.into();
    // Unlikely guesses are printed too, with their probabilities.
    pronouncer.min_share = 0.0;
    let mut outcome = Outcome::Done;
    for word in &args.words {
        match pronouncer.pronounce(word) {
            Ok(pronunciations) => pronunciations.iter().try_for_each(|p| print(args, word, p))?,
            Err(error) => {
                print_error(&error);
                outcome = Outcome::SomeFailed;
            }
        }
    }
    Ok(outcome)
}

/// Opens pronunciations: a file or the embedded English ones, and the user's own lines.
pub(super) fn open(file: Option<&Path>, lexicon: Option<&Path>) -> Result<Pronouncer> {
    let pronouncer = match file {
        Some(file) => Pronouncer::read(file)?,
        None => english()?,
    };
    Ok(match lexicon {
        Some(lexicon) => pronouncer.with_user(Pronunciations::read(lexicon)?),
        None => pronouncer,
    })
}

#[cfg(feature = "english")]
fn english() -> Result<Pronouncer> {
    Pronouncer::english()
}

#[cfg(not(feature = "english"))]
fn english() -> Result<Pronouncer> {
    let problem = "this build has no English pronunciations; expected --pronunciations";
    Err(Error::new(Stage::Usage, problem)
        .hint("`hearken pronounce --train` writes such a file from a dictionary"))
}

fn print(args: &Args, word: &str, pronunciation: &Pronunciation) -> std::result::Result<(), Stop> {
    let (phones, source) = (pronunciation.phones_text(), pronunciation.source.name());
    let line = if args.json {
        json!({ "word": word, "phones": phones, "source": source, "probability": pronunciation.probability })
            .to_string()
    } else if pronunciation.source == Source::Guessed {
        format!("{}  {phones}  # {source} {:.2}", printable(word), pronunciation.probability)
    } else {
        format!("{}  {phones}  # {source}", printable(word))
    };
    writeln!(io::stdout(), "{line}").map_err(|e| Stop::output(Path::new("standard output"), e))
}

fn train(dictionary: &Path, out: &Path, order: usize) -> std::result::Result<Outcome, Stop> {
    let bytes = std::fs::read(dictionary).map_err(|e| io_error(Stage::Text, dictionary, e))?;
    let options = TrainOptions { order, ..TrainOptions::default() };
    // Old dictionaries have a few words in Latin-1.
    let text = String::from_utf8_lossy(&bytes);
    let bar = super::progress("aligning letters with phones {bar:40} round {pos} of {len}", 0);
    let progress = |round: usize, rounds: usize| {
        bar.set_length(rounds as u64);
        bar.set_position(round as u64);
    };
    let trained = Pronouncer::train(&text, &options, progress);
    bar.finish_and_clear();
    let pronouncer = trained.map_err(|e: Error| e.in_file(dictionary))?;
    let bytes = pronouncer.to_bytes();
    crate::fs::write(out, &bytes).map_err(|e| io_error(Stage::Output, out, e))?;
    let words = pronouncer.dictionary().len();
    let line = format!("{}: {}, {} bytes", out.display(), counted(words, "word"), bytes.len());
    writeln!(io::stdout(), "{line}").map_err(|e| Stop::output(Path::new("standard output"), e))?;
    Ok(Outcome::Done)
}
