//! `hearken pronounce WORD…`, `hearken pronounce --train DICTIONARY -o FILE`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Outcome, Stop, complain};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::output::printable;
use crate::text::pronunciation::g2p::TrainOptions;
use crate::text::pronunciation::{Pronouncer, Pronunciation, Pronunciations, Source};

/// Print how words are said, or learn it from a dictionary.
///
/// A line is a word, its phones in the alphabet of the CMU Pronouncing Dictionary, and where they come
/// from: `user` (your own lines), `dictionary`, `derived` (from known words: endings, hyphens, other
/// spellings), `spelled` (letter by letter), or `guessed` with the probability of the guess. The lines
/// can be copied into a dictionary of your own, and corrected there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hearken pronounce gruyere covid19 NASA
  hearken pronounce --lexicon mine.txt kubernetes
  hearken pronounce --train cmudict.txt -o english.pron")]
pub(super) struct Args {
    /// Words.
    #[arg(value_name = "WORD", required_unless_present = "train")]
    words: Vec<String>,

    /// Your own words: a line each, `word  P R O N`; they go before all others.
    #[arg(long, value_name = "FILE")]
    lexicon: Option<PathBuf>,

    /// A file of `--train` in the place of the English inside the program.
    #[arg(long, value_name = "FILE")]
    pronunciations: Option<PathBuf>,

    /// Guesses that are printed for a word, at most.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=50))]
    nbest: u8,

    /// Print one JSON object a pronunciation.
    #[arg(long)]
    json: bool,

    /// Learn from a dictionary instead: `word  P R O N` a line, as in the CMU Pronouncing Dictionary.
    #[arg(long, value_name = "DICTIONARY", requires = "out", conflicts_with_all = ["words", "lexicon", "pronunciations", "json", "nbest"])]
    train: Option<PathBuf>,

    /// The file that --train writes: the dictionary, and what was learnt to guess other words.
    #[arg(short, long, value_name = "FILE", requires = "train")]
    out: Option<PathBuf>,

    /// With --train: the number of letters that are seen together.
    #[arg(long, value_name = "N", default_value_t = 8, requires = "train", value_parser = clap::value_parser!(u8).range(2..=9))]
    order: u8,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    if let (Some(dictionary), Some(out)) = (&args.train, &args.out) {
        return train(dictionary, out, args.order.into());
    }
    let mut pronouncer = open(args.pronunciations.as_deref(), args.lexicon.as_deref())?;
    pronouncer.max_guesses = args.nbest.into();
    // Each is shown with its probability.
    pronouncer.min_share = 0.0;
    let mut outcome = Outcome::Done;
    for word in &args.words {
        match pronouncer.pronounce(word) {
            Ok(ways) => ways.iter().try_for_each(|way| print(args, word, way))?,
            Err(error) => {
                complain(&error);
                outcome = Outcome::SomeFailed;
            }
        }
    }
    Ok(outcome)
}

/// What says words: a file, or the English inside the program; before it the user's own lines.
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
    let problem = "this program was built without English words; expected --pronunciations";
    Err(Error::new(Stage::Usage, problem)
        .hint("`hearken pronounce --train` makes such a file from a dictionary"))
}

fn print(args: &Args, word: &str, way: &Pronunciation) -> std::result::Result<(), Stop> {
    let (phones, source) = (way.phones_text(), way.source.name());
    let line = if args.json {
        json!({ "word": word, "phones": phones, "source": source, "probability": way.probability })
            .to_string()
    } else if way.source == Source::Guessed {
        format!("{}  {phones}  # {source} {:.2}", printable(word), way.probability)
    } else {
        format!("{}  {phones}  # {source}", printable(word))
    };
    writeln!(io::stdout(), "{line}").map_err(|e| Stop::output(Path::new("standard output"), e))
}

fn train(dictionary: &Path, out: &Path, order: usize) -> std::result::Result<Outcome, Stop> {
    let bytes = std::fs::read(dictionary).map_err(|e| io_error(Stage::Text, dictionary, e))?;
    let options = TrainOptions { order, ..TrainOptions::default() };
    // Old dictionaries have a few words in Latin 1.
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
    let line = format!("{}: {words} words, {} bytes", out.display(), bytes.len());
    writeln!(io::stdout(), "{line}").map_err(|e| Stop::output(Path::new("standard output"), e))?;
    Ok(Outcome::Done)
}
