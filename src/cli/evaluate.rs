//! `hearken evaluate MANIFEST…`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::model::ModelArgs;
use super::{Outcome, Stop, complain};
use crate::corpus::{Entry, ReadOptions, manifest};
use crate::eval::{Score, Scorer, Timing};
use crate::output::printable;
use crate::recognizer::{Recognizer, evaluate_entry};

/// Measure error rates and speed on recordings whose text is known.
///
/// Streaming, as in use. A manifest is JSON lines with `audio_filepath` and `text`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: hearken evaluate --model m.onnx --equal oh=zero dev.jsonl")]
pub(super) struct Args {
    /// Manifests; each is scored, and all together.
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<PathBuf>,

    #[command(flatten)]
    model: ModelArgs,

    /// Print JSON lines: each utterance, each manifest, last the total.
    #[arg(long)]
    json: bool,

    /// Words that count as the same.
    #[arg(long, value_name = "WORD=WORD")]
    equal: Vec<String>,

    /// Leave words that the model cannot write out of what was said: a model of digits is not
    /// wrong when it keeps silent about the rest.
    #[arg(long)]
    known_words: bool,

    /// How many of the worst utterances to show.
    #[arg(long, default_value_t = 10, value_name = "N")]
    worst: usize,
}

/// How many kinds of confusion the table shows.
const CONFUSIONS: usize = 20;

/// An utterance with errors, for the list of the worst.
struct Wrong {
    path: String,
    reference: String,
    hypothesis: String,
    errors: u64,
    rate: f64,
}

#[derive(Default)]
struct Sum {
    score: Score,
    timing: Timing,
    failed: u64,
}

/// A line of `--json` about a manifest, or about all.
#[derive(Serialize)]
struct SumLine<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<&'a str>,
    wer: f64,
    cer: f64,
    substitutions: u64,
    deletions: u64,
    insertions: u64,
    words: u64,
    utterances: u64,
    correct_utterances: u64,
    /// Words written that were not said, an hour of audio.
    false_words_per_hour: f64,
    failed: u64,
    audio_seconds: f64,
    compute_seconds: f64,
    rtf: f64,
}

#[derive(Serialize)]
struct UtteranceLine<'a> {
    r#type: &'static str,
    path: &'a str,
    reference: &'a str,
    hypothesis: &'a str,
    wer: f64,
    substitutions: u64,
    deletions: u64,
    insertions: u64,
    words: u64,
    audio_seconds: f64,
}

/// Failures to write, told from broken pipes.
fn unwritten(error: io::Error) -> Stop {
    Stop::output(Path::new("standard output"), error)
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let scorer = Scorer::new(&args.equal)?;
    let recognizer = args.model.open()?;
    let mut total = Sum::default();
    let mut sums = Vec::new();
    let mut worst = Vec::new();
    let mut outcome = Outcome::Done;
    // Absent audio is told entry by entry, so that the others still count.
    let options = ReadOptions { allow_empty_text: true, check_audio: false };
    let mut out = io::stdout().lock();
    for path in &args.manifests {
        let entries = match manifest::read_with(path, options) {
            Ok(entries) => entries,
            Err(error) => {
                complain(&error);
                outcome = Outcome::SomeFailed;
                continue;
            }
        };
        let sum = score_manifest(args, &recognizer, &scorer, &entries, &mut worst, &mut out)?;
        let name = path.to_string_lossy().into_owned();
        if args.json {
            write_json(&mut out, &sum_line("manifest", Some(&name), &sum))?;
        }
        total.score.merge(&sum.score);
        total.timing.merge(&sum.timing);
        total.failed += sum.failed;
        sums.push((name, sum));
    }
    if total.failed > 0 {
        outcome = Outcome::SomeFailed;
    }
    if args.json {
        write_json(&mut out, &sum_line("total", None, &total))?;
    } else if !sums.is_empty() {
        table(&mut out, &sums, &total).map_err(unwritten)?;
        confusions(&mut out, &total.score).map_err(unwritten)?;
        list_worst(&mut out, &mut worst, args.worst).map_err(unwritten)?;
        speed(&mut out, args, &total.timing).map_err(unwritten)?;
    }
    out.flush().map_err(unwritten)?;
    Ok(outcome)
}

fn score_manifest(
    args: &Args,
    recognizer: &Recognizer,
    scorer: &Scorer,
    entries: &[Entry],
    worst: &mut Vec<Wrong>,
    out: &mut impl Write,
) -> std::result::Result<Sum, Stop> {
    // Draws on standard error, and only where that is a terminal.
    let bar = ProgressBar::new(entries.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg} {eta}") {
        bar.set_style(style);
    }
    let mut sum = Sum::default();
    for entry in entries {
        bar.inc(1);
        let known = args.known_words.then(|| known_words(recognizer, entry));
        let entry = known.as_ref().unwrap_or(entry);
        let path = entry.audio.to_string_lossy();
        let utterance = match evaluate_entry(recognizer, scorer, entry, args.model.chunk_samples(recognizer))
        {
            Ok(utterance) => utterance,
            Err(error) => {
                bar.suspend(|| complain(&error.in_file(&entry.audio)));
                sum.failed += 1;
                continue;
            }
        };
        let words = utterance.score.words;
        if args.json {
            let line = UtteranceLine {
                r#type: "utterance",
                path: &path,
                reference: &entry.text,
                hypothesis: &utterance.hypothesis,
                wer: words.rate(),
                substitutions: words.substitutions,
                deletions: words.deletions,
                insertions: words.insertions,
                words: words.reference,
                audio_seconds: utterance.audio_seconds,
            };
            write_json(out, &line)?;
        } else if words.errors() > 0 && args.worst > 0 {
            worst.push(Wrong {
                path: path.into_owned(),
                reference: entry.text.clone(),
                hypothesis: utterance.hypothesis.clone(),
                errors: words.errors(),
                rate: words.rate(),
            });
        }
        sum.timing.add(utterance.audio_seconds, utterance.compute);
        sum.score.merge(&utterance.score);
        bar.set_message(format!("WER {:.1} %", 100.0 * sum.score.wer()));
    }
    bar.finish_and_clear();
    Ok(sum)
}

/// The entry without the words that the model cannot write.
fn known_words(recognizer: &Recognizer, entry: &Entry) -> Entry {
    let text = entry.text.to_lowercase();
    let known: Vec<&str> =
        text.split_whitespace().filter(|word| recognizer.metadata().writes(word)).collect();
    Entry { text: known.join(" "), ..entry.clone() }
}

/// Words written that were not said, an hour of audio.
fn false_words_per_hour(sum: &Sum) -> f64 {
    let words = sum.score.words.substitutions + sum.score.words.insertions;
    words as f64 * 3600.0 / sum.timing.audio_seconds.max(1e-9)
}

fn sum_line<'a>(kind: &'static str, manifest: Option<&'a str>, sum: &Sum) -> SumLine<'a> {
    let Sum { score, timing, failed } = sum;
    SumLine {
        r#type: kind,
        manifest,
        wer: score.wer(),
        cer: score.cer(),
        substitutions: score.words.substitutions,
        deletions: score.words.deletions,
        insertions: score.words.insertions,
        words: score.words.reference,
        utterances: score.utterances,
        correct_utterances: score.correct,
        false_words_per_hour: false_words_per_hour(sum),
        failed: *failed,
        audio_seconds: timing.audio_seconds,
        compute_seconds: timing.compute_seconds,
        rtf: timing.rtf(),
    }
}

fn write_json(out: &mut impl Write, line: &impl Serialize) -> std::result::Result<(), Stop> {
    serde_json::to_writer(&mut *out, line).map_err(|e| unwritten(e.into()))?;
    out.write_all(b"\n").map_err(unwritten)
}

fn table(out: &mut impl Write, sums: &[(String, Sum)], total: &Sum) -> io::Result<()> {
    let width = sums.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(8);
    writeln!(
        out,
        "{:width$}  {:>6}  {:>7}  {:>6}  {:>6}  {:>6}  {:>7}  {:>7}  {:>7}",
        "manifest", "utt.", "words", "S", "D", "I", "WER %", "CER %", "false/h"
    )?;
    let all = (sums.len() > 1).then_some(("total", total));
    for (name, sum) in sums.iter().map(|(name, sum)| (name.as_str(), sum)).chain(all) {
        let words = &sum.score.words;
        writeln!(
            out,
            "{:width$}  {:>6}  {:>7}  {:>6}  {:>6}  {:>6}  {:>7.2}  {:>7.2}  {:>7.1}",
            printable(name),
            sum.score.utterances,
            words.reference,
            words.substitutions,
            words.deletions,
            words.insertions,
            100.0 * sum.score.wer(),
            100.0 * sum.score.cer(),
            false_words_per_hour(sum),
        )?;
    }
    Ok(())
}

fn confusions(out: &mut impl Write, score: &Score) -> io::Result<()> {
    let list = score.most_confused();
    if list.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nsaid -> heard (of {} kinds)", list.len())?;
    let word = |w: &str| if w.is_empty() { "(nothing)".to_string() } else { printable(w) };
    for (said, heard, count) in list.into_iter().take(CONFUSIONS) {
        writeln!(out, "{count:>6}  {} -> {}", word(said), word(heard))?;
    }
    Ok(())
}

fn list_worst(out: &mut impl Write, worst: &mut [Wrong], count: usize) -> io::Result<()> {
    worst.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(b.errors.cmp(&a.errors)).then(a.path.cmp(&b.path)));
    if count > 0 && !worst.is_empty() {
        writeln!(out, "\nworst utterances")?;
    }
    for wrong in worst.iter().take(count) {
        writeln!(out, "{:>6.1} %  {}", 100.0 * wrong.rate, printable(&wrong.path))?;
        writeln!(out, "          said:  {}", printable(&wrong.reference))?;
        writeln!(out, "          heard: {}", printable(&wrong.hypothesis))?;
    }
    Ok(())
}

fn speed(out: &mut impl Write, args: &Args, timing: &Timing) -> io::Result<()> {
    writeln!(
        out,
        "\nreal-time factor {:.4} ({:.2} s for {:.1} s of audio; engine {}, chunks of {} ms)",
        timing.rtf(),
        timing.compute_seconds,
        timing.audio_seconds,
        args.model.engine_name(),
        args.model.chunk_ms
    )
}
