//! `hearken lm TEXT… -o FILE`

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::json;

use super::{Outcome, Stop, check_output, say};
use crate::error::{Error, Result, Stage, io as io_error};
use crate::fs::AtomicFile;
use crate::text::ngram::{
    ArpaWriter, EstimateOptions, Estimator, NgramModel, OrderSummary, Perplexity, Text, TrieBuilder,
    Vocabulary, VocabularyLimit,
};
use crate::units::counted;

/// Estimate a language model from texts: which words follow which, and how often.
///
/// Texts are converted to lower case and their punctuation is removed. A sentence ends at the end of a line, a
/// full stop, a question mark or an exclamation mark. The model is an n-gram model with interpolated modified
/// Kneser-Ney smoothing, in a compact binary format, or in ARPA format if the file name ends in `.arpa`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hearken lm letters.txt notes.txt -o words.lm
  hearken lm big.txt --order 4 --vocabulary 60000 --prune 0,0,1 -o big.lm
  hearken lm mine.txt --interpolate big.lm --weight 0.3 -o both.lm
  hearken lm --model both.lm --test unseen.txt
  hearken lm --model both.lm --prune 1e-8 -o both.arpa")]
pub(super) struct Args {
    /// Text files in UTF-8; `-` is standard input.
    #[arg(value_name = "TEXT", required_unless_present = "model")]
    texts: Vec<PathBuf>,

    /// Existing model to use in place of texts: a file of `hearken lm`, or in ARPA format.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["texts", "order", "vocabulary", "raw", "memory"])]
    model: Option<PathBuf>,

    /// Output file.
    #[arg(short, long, value_name = "FILE", required_unless_present = "test")]
    out: Option<PathBuf>,

    /// Order of the model: the maximum length of its n-grams, words.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=10))]
    order: u8,

    /// Vocabulary: the number of words, of which the most frequent are used, or a file with a word on each
    /// line [default: all words of the texts].
    #[arg(long, value_name = "N|FILE")]
    vocabulary: Option<String>,

    /// Pruning: for each order the count up to which n-grams are removed, for example `0,0,1`; or the maximum
    /// relative increase of the perplexity for removing an n-gram, for example `1e-8`.
    #[arg(long, value_name = "COUNTS|SHARE")]
    prune: Option<Prune>,

    /// Interpolate the model with this one.
    #[arg(long, value_name = "FILE")]
    interpolate: Option<PathBuf>,

    /// With --interpolate: weight of the model itself, 0 to 1; the other model has the rest.
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, requires = "interpolate")]
    weight: f64,

    /// Print the perplexity of the model on a text; may be repeated.
    #[arg(long, value_name = "TEXT")]
    test: Vec<PathBuf>,

    /// Use texts unchanged: words separated by spaces, one sentence on each line.
    #[arg(long)]
    raw: bool,

    /// Memory for counting, megabytes; temporary files are used beyond it.
    #[arg(long, value_name = "MB", default_value_t = 512)]
    memory: usize,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The criterion by which n-grams are removed.
#[derive(Clone, Debug, PartialEq)]
enum Prune {
    /// Maximum count of removed n-grams, by order.
    Counts(Vec<u32>),
    /// Maximum relative increase of the perplexity.
    Share(f64),
}

impl FromStr for Prune {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let counts: std::result::Result<Vec<u32>, _> =
            text.split(',').map(|count| count.trim().parse()).collect();
        match (counts, text.parse::<f64>()) {
            // A single count applies to all orders but the first.
            (Ok(counts), _) if counts.len() == 1 => Ok(Prune::Counts(vec![0, counts[0]])),
            (Ok(counts), _) => Ok(Prune::Counts(counts)),
            (_, Ok(share)) if share > 0.0 && share < 1.0 => Ok(Prune::Share(share)),
            _ => Err("expected counts like `0,0,1` or a share like `1e-8`".into()),
        }
    }
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    if !(0.0..=1.0).contains(&args.weight) {
        return Err(Error::new(
            Stage::Usage,
            format!("expected a --weight from 0 to 1, found {}", args.weight),
        )
        .into());
    }
    if let Some(out) = &args.out {
        let read = [&args.texts, &args.test].into_iter().flatten();
        check_output(out, read.chain(&args.model).chain(&args.interpolate))?;
    }
    let (model, summaries) = match &args.model {
        Some(path) => (NgramModel::read(path)?, Vec::new()),
        None => {
            let (vocabulary, estimator) = count(args)?;
            match args.out.as_deref().filter(|out| is_arpa(out) && !args.changes_model()) {
                // The model need not be held in memory.
                Some(out) => return write_arpa_at_once(args, &vocabulary, estimator, out),
                None => {
                    let mut builder = TrieBuilder::default();
                    let summaries = estimator.finish(&mut builder)?;
                    (NgramModel { vocabulary, trie: builder.finish() }, summaries)
                }
            }
        }
    };
    let model = change(args, model)?;
    if let Some(out) = &args.out {
        write(&model, out)?;
    }
    let tests =
        args.test.iter().map(|test| Ok((test, measure(args, &model, test)?))).collect::<Result<Vec<_>>>()?;
    report(args, &model.trie.counts(), &summaries, &tests)
}

impl Args {
    fn changes_model(&self) -> bool {
        self.interpolate.is_some() || matches!(self.prune, Some(Prune::Share(_))) || !self.test.is_empty()
    }

    fn estimate_options(&self) -> EstimateOptions {
        let mut options = EstimateOptions {
            order: self.order.into(),
            memory: self.memory << 20,
            ..EstimateOptions::default()
        };
        if let Some(Prune::Counts(counts)) = &self.prune {
            options.prune.clone_from(counts);
            options.prune.truncate(if counts.len() == 2 { options.order } else { counts.len() });
        }
        options
    }

    fn limit(&self) -> Result<VocabularyLimit> {
        let Some(limit) = &self.vocabulary else { return Ok(VocabularyLimit::None) };
        if let Ok(most) = limit.parse() {
            return Ok(VocabularyLimit::MostFrequent(most));
        }
        let path = Path::new(limit);
        let text = std::fs::read_to_string(path).map_err(|e| {
            io_error(Stage::Text, path, e)
                .hint("--vocabulary expects a number, or a file with a word on each line")
        })?;
        Ok(VocabularyLimit::Words(text.split_whitespace().map(String::from).collect()))
    }
}

/// Reads the texts and counts their words.
fn count(args: &Args) -> Result<(Vocabulary, Estimator)> {
    let options = args.estimate_options();
    options.validate()?;
    let limit = args.limit()?;
    let mut text = if args.raw { Text::default() } else { Text::normalized() };
    let lengths = args.texts.iter().map(|path| std::fs::metadata(path).map_or(0, |data| data.len()));
    let bar = super::progress("reading {bar:40} {bytes} of {total_bytes}, {eta} left", lengths.sum());
    for path in &args.texts {
        let (name, input) = open(path)?;
        text.read(name, input, |bytes| bar.inc(bytes))?;
    }
    bar.finish_and_clear();
    say(&format!(
        "{}, {}, {}",
        counted(text.num_sentences() as usize, "sentence"),
        counted(text.num_words() as usize, "word"),
        counted(text.num_distinct(), "distinct word")
    ));
    text.count(&limit, &options)
}

/// Opens a text; returns its name too.
fn open(path: &Path) -> Result<(&Path, BufReader<Box<dyn Read>>)> {
    let input: (&Path, Box<dyn Read>) = match path.to_str() {
        Some("-") => (Path::new("standard input"), Box::new(io::stdin())),
        _ => (path, Box::new(File::open(path).map_err(|e| io_error(Stage::Text, path, e))?)),
    };
    Ok((input.0, BufReader::with_capacity(1 << 18, input.1)))
}

/// Interpolates with another model and prunes.
fn change(args: &Args, mut model: NgramModel) -> Result<NgramModel> {
    if let Some(other) = &args.interpolate {
        model = model.interpolate(&NgramModel::read(other)?, args.weight)?;
    }
    match &args.prune {
        Some(Prune::Share(share)) => model.trie = model.trie.prune(*share)?,
        Some(Prune::Counts(_)) if args.model.is_some() => {
            let problem = "an existing model has no counts; expected a share for --prune, for example `1e-8`";
            return Err(Error::new(Stage::Usage, problem));
        }
        _ => {}
    }
    Ok(model)
}

fn is_arpa(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "arpa")
}

fn write(model: &NgramModel, out: &Path) -> Result<()> {
    let failed = |e| io_error(Stage::Output, out, e);
    if !is_arpa(out) {
        return crate::fs::write(out, &model.to_bytes()).map_err(failed);
    }
    let mut file = AtomicFile::create(out).map_err(failed)?;
    model.trie.write_to(&mut ArpaWriter::new(&model.vocabulary, &mut file, out))?;
    file.commit().map_err(failed)
}

/// Writes an ARPA file while the model is estimated, without holding it in memory.
fn write_arpa_at_once(
    args: &Args,
    vocabulary: &Vocabulary,
    estimator: Estimator,
    out: &Path,
) -> std::result::Result<Outcome, Stop> {
    let failed = |e| io_error(Stage::Output, out, e);
    let mut file = AtomicFile::create(out).map_err(failed)?;
    let summaries = estimator.finish(&mut ArpaWriter::new(vocabulary, &mut file, out))?;
    file.commit().map_err(failed)?;
    let counts: Vec<u64> = summaries.iter().map(|summary| summary.kept).collect();
    report(args, &counts, &summaries, &[])
}

fn measure(args: &Args, model: &NgramModel, test: &Path) -> Result<Perplexity> {
    let (name, input) = open(test)?;
    if args.raw { model.perplexity(name, input) } else { model.perplexity_normalized(name, input) }
}

/// Prints the numbers of n-grams, and the perplexities.
fn report(
    args: &Args,
    counts: &[u64],
    summaries: &[OrderSummary],
    tests: &[(&PathBuf, Perplexity)],
) -> std::result::Result<Outcome, Stop> {
    for (summary, order) in summaries.iter().zip(1..) {
        if summary.discounts.fallback {
            say(&format!("too few {order}-grams to estimate discounts: default discounts are used"));
        }
    }
    let mut lines = Vec::new();
    if args.json {
        let test = |(name, p): &(&PathBuf, Perplexity)| {
            json!({
                "file": name.display().to_string(), "sentences": p.sentences, "words": p.words, "unknown": p.unknown,
                "perplexity": p.with_unknown(), "perplexity_of_known": p.without_unknown(),
            })
        };
        let tests: Vec<_> = tests.iter().map(test).collect();
        lines.push(json!({ "file": args.out, "ngrams": counts, "tests": tests }).to_string());
    } else {
        if let Some(out) = &args.out {
            let counts: Vec<String> =
                counts.iter().zip(1..).map(|(count, n)| format!("{count} {n}-grams")).collect();
            lines.push(format!("{}: {}", out.display(), counts.join(", ")));
        }
        for (name, p) in tests {
            lines.push(format!(
                "{}: perplexity {:.1} of {} words; {:.1} without the {} unknown ones",
                name.display(),
                p.with_unknown(),
                p.words,
                p.without_unknown(),
                p.unknown
            ));
        }
    }
    let print = |line: &String| writeln!(io::stdout(), "{line}");
    lines.iter().try_for_each(print).map_err(|e| Stop::output(Path::new("standard output"), e))?;
    Ok(Outcome::Done)
}
