//! `hearken phrases check FILE`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Outcome, Stop, check_output, print_error, pronounce, say};
use crate::error::{Stage, io as io_error};
use crate::output::printable;
use crate::text::normalize;
use crate::text::phrases::{AlikeReport, Example, Match, PhrasePronunciations, Phrases};
use crate::text::pronunciation::{Pronunciation, Source};

/// Check a file of phrases.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: PhrasesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PhrasesCommand {
    Check(CheckArgs),
}

/// Print which sentences a file of phrases allows, and what may be wrong with it.
///
/// Each line is a phrase, such as `turn (on|off) [the] {room} light[s]`, or a definition, such as
/// `{room} = kitchen | living room`. Vosk's JSON lists, Home Assistant's sentences in YAML, and JSGF are read too.
/// Prints the number of sentences, the words whose pronunciations are not from a dictionary, and sentences that
/// sound alike but have different meanings.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hearken phrases check lamps.txt
  hearken phrases check lamps.txt --examples 10
  hearken phrases check lamps.txt --svg lamps.svg
  hearken phrases check sentences.yaml --lexicon names.txt")]
struct CheckArgs {
    /// File of phrases; `.json` is a list of Vosk's, `.yaml` has Home Assistant's sentences, and a file that begins
    /// with `#JSGF` is a grammar.
    file: PathBuf,

    /// Number of random sentences to print, with their intents and slots.
    #[arg(long, value_name = "N", default_value_t = 0)]
    examples: usize,

    /// Seed of --examples: the same seed gives the same sentences.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "examples")]
    seed: u64,

    /// Write a diagram of the phrases to this file, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Pronunciations of your own words, a line `word  P R O N` for each; they take precedence over all others.
    #[arg(long, value_name = "FILE")]
    lexicon: Option<PathBuf>,

    /// File of `hearken pronounce --train`, in place of the embedded English pronunciations.
    #[arg(long, value_name = "FILE")]
    pronunciations: Option<PathBuf>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let PhrasesCommand::Check(args) = &args.command;
    check(args)
}

fn check(args: &CheckArgs) -> std::result::Result<Outcome, Stop> {
    if let Some(svg) = &args.svg {
        let read = std::iter::once(&args.file).chain(&args.lexicon).chain(&args.pronunciations);
        check_output(svg, read)?;
    }
    let phrases = Phrases::read(&args.file)?;
    phrases.warnings().iter().for_each(|warning| say(&format!("warning: {warning}")));
    let pronouncer = pronounce::open(args.pronunciations.as_deref(), args.lexicon.as_deref())?;
    let words = phrases.pronounce(&pronouncer);
    words.missing.iter().for_each(print_error);
    if let Some(svg) = &args.svg {
        crate::fs::write(svg, phrases.to_svg().as_bytes()).map_err(|e| io_error(Stage::Output, svg, e))?;
    }
    let tokens: Vec<Vec<Vec<u32>>> = words
        .pronunciations
        .iter()
        .map(|pronunciations| pronunciations.iter().map(|p| p.phones.clone()).collect())
        .collect();
    let alike = phrases.alike(&tokens);
    let examples = phrases.examples(args.examples, args.seed);
    let text = if args.json {
        as_json(&phrases, &words, &alike, &examples).to_string() + "\n"
    } else {
        as_text(&args.file, &phrases, &words, &alike, &examples)
    };
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|e| Stop::output(Path::new("standard output"), e))?;
    Ok(if words.missing.is_empty() { Outcome::Done } else { Outcome::SomeFailed })
}

/// The words whose first pronunciation is not from a dictionary, with that pronunciation.
fn unsure<'a>(
    phrases: &'a Phrases,
    words: &'a PhrasePronunciations,
) -> impl Iterator<Item = (&'a str, &'a Pronunciation)> {
    let all = phrases.words().iter().map(String::as_str).zip(&words.pronunciations);
    let first = all.filter_map(|(word, pronunciations)| Some((word, pronunciations.first()?)));
    first.filter(|(_, p)| !matches!(p.source, Source::User | Source::Dictionary))
}

/// The number of words; `<dictation>` is none.
fn num_words(phrases: &Phrases) -> usize {
    phrases.words().len() - usize::from(phrases.dictation().is_some())
}

/// Maximum number of printed pairs of sentences that sound alike.
const SHOWN: usize = 20;

fn as_text(
    file: &Path,
    phrases: &Phrases,
    words: &PhrasePronunciations,
    alike: &AlikeReport,
    examples: &[Example],
) -> String {
    let automaton = phrases.automaton();
    let mut lines = vec![format!(
        "{}: {} of {} and {}; a graph of {} states and {} arcs",
        printable(&file.display().to_string()),
        sentences(automaton.num_sentences()),
        counted(phrases.phrases().count(), "phrase"),
        counted(num_words(phrases), "word"),
        automaton.num_states(),
        automaton.num_arcs()
    )];
    let unsure: Vec<String> = unsure(phrases, words)
        .map(|(word, p)| {
            let probability =
                if p.source == Source::Guessed { format!(" {:.2}", p.probability) } else { String::new() };
            format!("  {}  {}  # {}{probability}", printable(word), p.phones_text(), p.source.name())
        })
        .collect();
    if !unsure.is_empty() {
        lines.push(
            "words in no dictionary (to correct a pronunciation, put its corrected line into a file for --lexicon):"
                .into(),
        );
        lines.extend(unsure);
    }
    if !alike.pairs.is_empty() {
        lines.push("sentences that sound alike but have different meanings:".into());
        for pair in alike.pairs.iter().take(SHOWN) {
            let difference = match pair.distance {
                0.0 => "the same sounds".to_string(),
                distance if distance < 1.0 => "they differ by a similar sound".into(),
                _ => "they differ by one sound, or by two similar ones".into(),
            };
            let [a, b] = pair.sentences.each_ref().map(|text| printable(text));
            lines.push(format!("  \"{a}\" and \"{b}\": {difference}"));
        }
        if alike.pairs.len() > SHOWN {
            lines.push(format!("  … and {} more pairs", alike.pairs.len() - SHOWN));
        }
    }
    if phrases.dictation().is_some() {
        lines.push("`<dictation>` counts as one word; it needs a language model (`--lm`)".into());
    }
    if alike.cut_short {
        lines.push("not all sentences were compared: there are too many".into());
    }
    if !examples.is_empty() {
        lines.push("for example:".into());
        lines.extend(examples.iter().map(|example| format!("  {}", printable(&example_text(example)))));
    }
    lines.join("\n") + "\n"
}

/// Formats a sentence with its written form, if that differs, its intent and its slots.
fn example_text(example: &Example) -> String {
    let Example { sentence, meaning } = example;
    let mut text = sentence.clone();
    if normalize::words(&meaning.text).join(" ") != *sentence {
        text += &format!(" -> {}", meaning.text);
    }
    let intent = meaning.intent.iter().map(|intent| format!("@{intent}"));
    let slots = meaning.slots.iter().map(|slot| format!("{}={}", slot.name, slot.value));
    let notes: Vec<String> = intent.chain(slots).collect();
    if notes.is_empty() { text } else { format!("{text}  # {}", notes.join(", ")) }
}

fn as_json(
    phrases: &Phrases,
    words: &PhrasePronunciations,
    alike: &AlikeReport,
    examples: &[Example],
) -> Value {
    let automaton = phrases.automaton();
    let unsure: Vec<Value> = unsure(phrases, words)
        .map(|(word, p)| {
            json!({ "word": word, "phones": p.phones_text(), "source": p.source.name(), "probability": p.probability })
        })
        .collect();
    let missing: Vec<&String> = phrases
        .words()
        .iter()
        .zip(&words.pronunciations)
        .filter(|(word, pronunciations)| {
            pronunciations.is_empty() && phrases.dictation() != phrases.word(word)
        })
        .map(|(word, _)| word)
        .collect();
    let pair = |pair: &crate::text::phrases::Alike| json!({ "sentences": pair.sentences, "parts": pair.parts, "distance": pair.distance });
    let example = |example: &Example| {
        let Match { intent, slots, text, phrase } = &example.meaning;
        let slots: Vec<Value> =
            slots.iter().map(|slot| json!({ "name": slot.name, "value": slot.value })).collect();
        json!({ "said": example.sentence, "text": text, "phrase": phrase, "intent": intent, "slots": slots })
    };
    json!({
        "phrases": phrases.phrases().count(),
        "sentences": automaton.num_sentences(),
        "words": num_words(phrases),
        "states": automaton.num_states(),
        "arcs": automaton.num_arcs(),
        "unsure_pronunciations": unsure,
        "without_pronunciation": missing,
        "sound_alike": alike.pairs.iter().map(pair).collect::<Vec<_>>(),
        "all_compared": !alike.cut_short,
        "warnings": phrases.warnings().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "examples": examples.iter().map(example).collect::<Vec<_>>(),
    })
}

/// A number with a noun in the singular or plural.
fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Formats a number of sentences; `None` stands for sentences without a maximum length.
fn sentences(count: Option<f64>) -> String {
    match count {
        None => "sentences of any length".into(),
        Some(1.0) => "1 sentence".into(),
        Some(count) if count < 1e15 => {
            let digits = (count as u64).to_string();
            let mut text = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            format!("{text} sentences")
        }
        Some(count) => format!("about {count:.1e} sentences"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_sentences_are_readable() {
        let text =
            [Some(1.0), Some(12.0), Some(1234.0), Some(1_000_000.0), Some(3.21e40), None].map(sentences);
        let expected = [
            "1 sentence",
            "12 sentences",
            "1,234 sentences",
            "1,000,000 sentences",
            "about 3.2e40 sentences",
            "sentences of any length",
        ];
        assert_eq!(text, expected);
    }
}
