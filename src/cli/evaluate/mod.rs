//! `hearken evaluate MANIFEST…`

mod group;
mod report;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};

use super::model::ModelArgs;
use super::{Outcome, Stop, print_error};
use crate::corpus::{Entry, ReadOptions, TextRule, manifest};
use crate::error::{Error, Stage};
use crate::eval::{Scorer, evaluate_entry};
use crate::recognizer::Recognizer;
use crate::text::normalize;
use crate::text::numbers::{Numbers, write_numbers};
use group::Grouping;
use report::{FailedLine, NamedSum, Sum, UtteranceErrors, UtteranceLine, known_words_note, write_json};

/// Measure error rates and speed on recordings with known text.
///
/// The recordings are processed as streams. A manifest has JSON lines with `audio_filepath` and `text`. Case and
/// punctuation are ignored. Recordings that cannot be read or are damaged are listed and not scored.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  hearken evaluate --model m.onnx --equal oh=zero dev.jsonl\n  \
    hearken evaluate --group-by age:14 dev.jsonl     # below 14, and from 14 on")]
pub(super) struct Args {
    /// Manifests; scores are printed for each and for all together.
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,

    /// Print JSON lines: one for each utterance, manifest and group, and one for the total at the end.
    #[arg(long)]
    json: bool,

    /// Two words that count as the same; may be repeated.
    #[arg(long, value_name = "WORD=WORD")]
    equal: Vec<String>,

    /// Remove words that the model cannot output from the reference texts, so that they do not count as errors.
    #[arg(long)]
    known_words: bool,

    /// Field of the manifest's lines, such as `speaker`, by which scores are grouped; with a number, one group is
    /// below the number and the other has the rest.
    #[arg(long, value_name = "KEY[:NUMBER]")]
    group_by: Option<Grouping>,

    /// Maximum number of printed utterances with the highest error rates.
    #[arg(long, default_value_t = 10, value_name = "N", conflicts_with = "json")]
    worst: usize,
}

/// Maps a failure to write to standard output.
fn write_error(error: io::Error) -> Stop {
    Stop::output(Path::new("standard output"), error)
}

pub(super) fn run(args: &Args) -> Result<Outcome, Stop> {
    let scorer = Scorer::new(&args.equal)?;
    let (manifests, mut outcome) = read_manifests(args)?;
    let recognizer = args.model.open()?;
    let mut evaluation = Evaluation { args, recognizer, scorer, groups: Vec::new(), worst: Vec::new() };
    let mut out = io::stdout().lock();
    let (mut total, mut sums) = (Sum::default(), Vec::new());
    for (name, entries) in manifests {
        let sum = evaluation.score(&entries, &mut out)?;
        if args.json {
            write_json(&mut out, &sum.line("manifest").with_manifest(&name)).map_err(write_error)?;
        }
        total.merge(&sum);
        sums.push(NamedSum { name, sum });
    }
    if total.failed > 0 {
        outcome = Outcome::SomeFailed;
    }
    let Evaluation { mut groups, mut worst, .. } = evaluation;
    groups.sort_by(|a, b| group::order(&a.name, &b.name));
    let key = args.group_by.as_ref().map_or("", |grouping| grouping.key.as_str());
    let written = if args.json {
        groups
            .iter()
            .try_for_each(|group| write_json(&mut out, &group.sum.line("group").with_group(key, &group.name)))
            .and_then(|()| write_json(&mut out, &total.line("total")))
    } else if sums.is_empty() {
        Ok(())
    } else {
        report::print(&mut out, args, &report::Results { sums, groups, total: &total }, &mut worst)
    };
    written.and_then(|()| out.flush()).map_err(write_error)?;
    if let Some(note) = known_words_note(&total).filter(|_| !args.known_words) {
        let _ = writeln!(io::stderr(), "hearken: {note}");
    }
    Ok(outcome)
}

/// Manifests by name, with their entries.
type Manifests = Vec<(String, Vec<Entry>)>;

/// Reads the manifests; reports those that cannot be read.
fn read_manifests(args: &Args) -> Result<(Manifests, Outcome), Stop> {
    // Missing audio is reported for each entry, so that the others are still scored.
    let options = ReadOptions { text: TextRule::Present, check_audio: false };
    let (mut manifests, mut outcome) = (Vec::new(), Outcome::Done);
    for path in &args.manifests {
        match manifest::read_with(path, options) {
            Ok(entries) => manifests.push((path.to_string_lossy().into_owned(), entries)),
            Err(error) => {
                print_error(&error);
                outcome = Outcome::SomeFailed;
            }
        }
    }
    if let Some(grouping) = &args.group_by
        && !manifests.iter().flat_map(|(_, entries)| entries).any(|entry| grouping.applies_to(entry))
        && !manifests.is_empty()
    {
        let problem = format!("--group-by: no line of the manifests has `{}`", grouping.key);
        return Err(Error::new(Stage::Usage, problem).into());
    }
    Ok((manifests, outcome))
}

/// The state of scoring with one model.
struct Evaluation<'a> {
    args: &'a Args,
    recognizer: Recognizer,
    scorer: Scorer,
    groups: Vec<NamedSum>,
    worst: Vec<UtteranceErrors>,
}

impl Evaluation<'_> {
    /// Scores the entries of a manifest, one after the other.
    fn score(&mut self, entries: &[Entry], out: &mut impl Write) -> Result<Sum, Stop> {
        // Drawn on standard error, if that is a terminal.
        let bar = ProgressBar::new(entries.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg} {eta}") {
            bar.set_style(style);
        }
        let mut sum = Sum::default();
        for entry in entries {
            bar.inc(1);
            sum.merge(&self.score_entry(entry, &bar, out)?);
            if let Some(wer) = sum.score.wer() {
                bar.set_message(format!("WER {:.1} %", 100.0 * wer));
            }
        }
        bar.finish_and_clear();
        Ok(sum)
    }

    fn score_entry(&mut self, entry: &Entry, bar: &ProgressBar, out: &mut impl Write) -> Result<Sum, Stop> {
        let words = normalize::words(&entry.text);
        let all = words.len() as u64;
        // Some models output upper case only.
        let recognizer = &self.recognizer;
        let writes = |word: &String| recognizer.writes(word) || recognizer.writes(&word.to_uppercase());
        let known: Vec<String> = words.into_iter().filter(writes).collect();
        let unknown_words = all - known.len() as u64;
        let entry = self.scored(entry, known);
        let entry = &entry;
        let path = entry.audio.to_string_lossy();
        let chunk = self.args.model.chunk_samples(&self.recognizer);
        let utterance = match evaluate_entry(&self.recognizer, &self.scorer, entry, chunk) {
            Ok(utterance) => utterance,
            Err(error) => {
                let error = error.in_file(&entry.audio);
                bar.suspend(|| print_error(&error));
                if self.args.json {
                    let line = FailedLine { r#type: "failed", path: &path, error: error.problem() };
                    write_json(out, &line).map_err(write_error)?;
                }
                let sum = Sum { failed: 1, ..Sum::default() };
                self.add_to_group(entry, &sum);
                return Ok(sum);
            }
        };
        let words = utterance.score.words;
        if self.args.json {
            let seconds = utterance.audio_seconds;
            let line = UtteranceLine::new(&path, entry, &utterance.hypothesis, words, seconds);
            write_json(out, &line).map_err(write_error)?;
        } else if words.errors() > 0 && self.args.worst > 0 {
            self.worst.push(UtteranceErrors {
                path: path.to_string(),
                reference: entry.text.clone(),
                hypothesis: utterance.hypothesis.clone(),
                words,
            });
        }
        let mut sum = Sum { score: utterance.score, unknown_words, ..Sum::default() };
        sum.timing.add(utterance.audio_seconds, utterance.compute);
        self.add_to_group(entry, &sum);
        Ok(sum)
    }

    /// The entry with the text that the transcript is compared with: of the words that can be recognized alone,
    /// where that is asked for, and with numbers written as in the transcript.
    fn scored(&self, entry: &Entry, known: Vec<String>) -> Entry {
        let mut entry = entry.clone();
        if self.args.known_words {
            entry.text = known.join(" ");
        }
        if self.args.model.numbers() != Numbers::Words {
            let words = normalize::words(&entry.text);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let written = write_numbers(&words, self.args.model.numbers()).into_iter();
            entry.text = written.map(|piece| piece.text).collect::<Vec<_>>().join(" ");
        }
        entry
    }

    fn add_to_group(&mut self, entry: &Entry, sum: &Sum) {
        let Some(grouping) = &self.args.group_by else { return };
        let name = grouping.group_of(entry);
        match self.groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.sum.merge(sum),
            None => self.groups.push(NamedSum { name, sum: sum.clone() }),
        }
    }
}
