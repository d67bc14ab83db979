//! The output of `hearken evaluate`: tables, or JSON lines.

use std::io::{self, Write};

use serde::Serialize;

use super::Args;
use crate::corpus::Entry;
use crate::eval::{Edits, Score, Timing, worst_first};
use crate::output::printable;

/// Maximum number of printed kinds of confusion.
const CONFUSIONS: usize = 20;

/// An utterance with errors, for the list of the worst.
pub(super) struct UtteranceErrors {
    pub path: String,
    pub reference: String,
    pub hypothesis: String,
    pub words: Edits,
}

/// The sum of the scores of several utterances.
#[derive(Clone, Default)]
pub(super) struct Sum {
    pub score: Score,
    pub timing: Timing,
    /// Number of reference words that the model cannot output.
    pub unknown_words: u64,
    /// Number of recordings that could not be scored.
    pub failed: u64,
}

impl Sum {
    /// Adds another sum.
    pub fn merge(&mut self, other: &Sum) {
        self.score.merge(&other.score);
        self.timing.merge(&other.timing);
        self.unknown_words += other.unknown_words;
        self.failed += other.failed;
    }

    /// Recognized words that were not said, per hour of audio; `None` without audio.
    fn false_words_per_hour(&self) -> Option<f64> {
        let seconds = self.timing.audio_seconds;
        (seconds > 0.0).then(|| self.score.words.false_units() as f64 * 3600.0 / seconds)
    }

    /// The line of the sum in `--json`.
    pub fn line(&self, kind: &'static str) -> SumLine<'_> {
        let Self { score, timing, unknown_words, failed } = self;
        SumLine {
            r#type: kind,
            manifest: None,
            key: None,
            value: None,
            wer: score.wer(),
            cer: score.cer(),
            substitutions: score.words.substitutions,
            deletions: score.words.deletions,
            insertions: score.words.insertions,
            words: score.words.reference,
            unknown_words: *unknown_words,
            utterances: score.utterances,
            correct_utterances: score.correct,
            false_words_per_hour: self.false_words_per_hour(),
            failed: *failed,
            audio_seconds: timing.audio_seconds,
            compute_seconds: timing.compute_seconds,
            rtf: timing.rtf(),
        }
    }
}

/// A sum with the name of its manifest or group.
pub(super) struct NamedSum {
    pub name: String,
    pub sum: Sum,
}

/// All scores of an evaluation.
pub(super) struct Results<'a> {
    pub sums: Vec<NamedSum>,
    pub groups: Vec<NamedSum>,
    pub total: &'a Sum,
}

/// A line of `--json` for a manifest, a group, or the total.
#[derive(Serialize)]
pub(super) struct SumLine<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<&'a str>,
    /// The field by which scores are grouped, and its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    /// `null` if the references have no word.
    wer: Option<f64>,
    cer: Option<f64>,
    substitutions: u64,
    deletions: u64,
    insertions: u64,
    words: u64,
    /// Reference words that the model cannot output; with `--known-words` not included in `words`.
    unknown_words: u64,
    utterances: u64,
    correct_utterances: u64,
    /// Recognized words that were not said, per hour of audio.
    false_words_per_hour: Option<f64>,
    failed: u64,
    audio_seconds: f64,
    compute_seconds: f64,
    rtf: f64,
}

impl<'a> SumLine<'a> {
    pub fn with_manifest(self, name: &'a str) -> Self {
        Self { manifest: Some(name), ..self }
    }

    pub fn with_group(self, key: &'a str, value: &'a str) -> Self {
        Self { key: Some(key), value: Some(value), ..self }
    }
}

/// A line of `--json` for an utterance.
#[derive(Serialize)]
pub(super) struct UtteranceLine<'a> {
    r#type: &'static str,
    path: &'a str,
    reference: &'a str,
    hypothesis: &'a str,
    wer: Option<f64>,
    substitutions: u64,
    deletions: u64,
    insertions: u64,
    words: u64,
    audio_seconds: f64,
}

impl<'a> UtteranceLine<'a> {
    pub fn new(
        path: &'a str,
        entry: &'a Entry,
        hypothesis: &'a str,
        words: Edits,
        audio_seconds: f64,
    ) -> Self {
        Self {
            r#type: "utterance",
            path,
            reference: &entry.text,
            hypothesis,
            wer: words.rate(),
            substitutions: words.substitutions,
            deletions: words.deletions,
            insertions: words.insertions,
            words: words.reference,
            audio_seconds,
        }
    }
}

/// A line of `--json` for a recording that could not be scored.
#[derive(Serialize)]
pub(super) struct FailedLine<'a> {
    pub r#type: &'static str,
    pub path: &'a str,
    pub error: &'a str,
}

pub(super) fn write_json(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// Prints the tables.
pub(super) fn print(
    out: &mut impl Write,
    args: &Args,
    results: &Results<'_>,
    worst: &mut [UtteranceErrors],
) -> io::Result<()> {
    let total = (results.sums.len() > 1).then_some(results.total);
    table(out, "manifest", &results.sums, total)?;
    if let Some(grouping) = &args.group_by {
        writeln!(out)?;
        table(out, &grouping.key, &results.groups, None)?;
    }
    if results.total.failed > 0 {
        let all = results.total.score.utterances + results.total.failed;
        writeln!(out, "\n{} of {all} recordings could not be scored", results.total.failed)?;
    }
    confusions(out, &results.total.score)?;
    list_worst(out, worst, args.worst)?;
    speed(out, args, &results.total.timing)
}

/// A rate in percent; a dash if the references have no word.
fn percent(rate: Option<f64>) -> String {
    rate.map_or("-".into(), |rate| format!("{:.2}", 100.0 * rate))
}

fn table(out: &mut impl Write, title: &str, sums: &[NamedSum], total: Option<&Sum>) -> io::Result<()> {
    let names: Vec<String> = sums.iter().map(|named| printable(&named.name)).collect();
    let longest = names.iter().map(String::as_str).chain([title]).map(|name| name.chars().count()).max();
    let width = longest.unwrap_or(0).max(8);
    writeln!(
        out,
        "{:width$}  {:>6}  {:>7}  {:>6}  {:>6}  {:>6}  {:>7}  {:>7}  {:>7}",
        printable(title),
        "utt.",
        "words",
        "S",
        "D",
        "I",
        "WER %",
        "CER %",
        "false/h"
    )?;
    let all = names.iter().map(String::as_str).zip(sums.iter().map(|named| &named.sum));
    for (name, sum) in all.chain(total.map(|total| ("total", total))) {
        let words = &sum.score.words;
        writeln!(
            out,
            "{name:width$}  {:>6}  {:>7}  {:>6}  {:>6}  {:>6}  {:>7}  {:>7}  {:>7}",
            sum.score.utterances,
            words.reference,
            words.substitutions,
            words.deletions,
            words.insertions,
            percent(sum.score.wer()),
            percent(sum.score.cer()),
            sum.false_words_per_hour().map_or("-".into(), |rate| format!("{rate:.1}")),
        )?;
    }
    Ok(())
}

/// A note for references of which more than half of the words cannot be output by the model.
pub(super) fn known_words_note(total: &Sum) -> Option<String> {
    let (unknown, words) = (total.unknown_words, total.score.words.reference);
    (2 * unknown > words).then(|| {
        format!(
            "{unknown} of {words} spoken words cannot be recognized by the model and count as errors; \
             --known-words leaves them out"
        )
    })
}

fn confusions(out: &mut impl Write, score: &Score) -> io::Result<()> {
    let list = score.most_confused();
    if list.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nspoken -> recognized ({} kinds of confusion)", list.len())?;
    let word = |w: &str| if w.is_empty() { "(nothing)".to_string() } else { printable(w) };
    for (said, recognized, count) in list.into_iter().take(CONFUSIONS) {
        writeln!(out, "{count:>6}  {} -> {}", word(said), word(recognized))?;
    }
    Ok(())
}

/// Prints the utterances with the highest error rates; those without spoken words are rated by their number of
/// false words.
fn list_worst(out: &mut impl Write, worst: &mut [UtteranceErrors], count: usize) -> io::Result<()> {
    worst.sort_by(|a, b| worst_first(&a.words, &b.words).then_with(|| a.path.cmp(&b.path)));
    if count > 0 && !worst.is_empty() {
        writeln!(out, "\nworst utterances")?;
    }
    for wrong in worst.iter().take(count) {
        let path = printable(&wrong.path);
        match wrong.words.rate() {
            Some(rate) => writeln!(out, "{:>6.1} %  {path}", 100.0 * rate)?,
            None => writeln!(out, "{:>6} false words  {path}", wrong.words.errors())?,
        }
        writeln!(out, "          spoken:     {}", printable(&wrong.reference))?;
        writeln!(out, "          recognized: {}", printable(&wrong.hypothesis))?;
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
