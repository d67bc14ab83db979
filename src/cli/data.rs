//! `hearken data check MANIFEST…`

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde_json::json;

use super::interrupt::Interrupt;
use super::{Outcome, Stop, progress};
use crate::corpus::check::{Finding, FindingKind, Report, check};
use crate::corpus::manifest::{ReadOptions, read_with};
use crate::error::Result;
use crate::fs::quoted;
use crate::output::printable;

/// Findings of a kind that are printed unless all are asked for.
const SHOWN: usize = 5;

/// Check recordings and their transcripts.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DataCommand {
    Check(CheckArgs),
}

/// Decode all recordings of manifests, and print what may spoil a training or a measurement.
///
/// Found are recordings that cannot be decoded, are damaged, empty, silent, quiet or clipped; durations that the
/// manifest gets wrong; transcripts that are too long for their audio, or have digits; the same audio twice, within
/// a manifest or across them; speakers who are in more than one manifest. The exit code is 1 if a recording is
/// unusable.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hearken data check train.jsonl dev.jsonl
  hearken data check train.jsonl --all")]
struct CheckArgs {
    /// Manifests: JSON lines with audio_filepath and text.
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<PathBuf>,

    /// Print every finding, not only the first 5 of a kind.
    #[arg(long)]
    all: bool,

    /// Recordings that are decoded at the same time (default: the number of cores).
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZero<usize>>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let DataCommand::Check(args) = &args.command;
    let options = ReadOptions { allow_empty_text: true, check_audio: false };
    let manifests = args.manifests.iter().map(|path| read_with(path, options)).collect::<Result<Vec<_>>>()?;
    let interrupt = Interrupt::install();
    let bar: ProgressBar = progress(
        "{pos} of {len} recordings {wide_bar} {eta}",
        manifests.iter().map(Vec::len).sum::<usize>() as u64,
    );
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or(cores, usize::from);
    let report = check(&manifests, threads, &|| bar.inc(1), interrupt.flag());
    bar.finish_and_clear();
    let Some(report) = report else { return Ok(Outcome::Interrupted) };
    let text = if args.json { to_json(args, &report) } else { to_text(args, &report) };
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|e| Stop::output(Path::new("standard output"), e))?;
    let is_unusable = report.findings.iter().any(|finding| finding.kind.is_error());
    Ok(if is_unusable { Outcome::SomeFailed } else { Outcome::Done })
}

fn to_text(args: &CheckArgs, report: &Report) -> String {
    let mut text = String::new();
    for (path, summary) in args.manifests.iter().zip(&report.summaries) {
        text += &format!(
            "{}: {} recordings, {:.2} h, {:.1} to {:.1} s; {} speakers; {} words, {} different\n",
            quoted(path),
            summary.recordings,
            summary.seconds / 3600.0,
            summary.shortest,
            summary.longest,
            summary.speakers,
            summary.words,
            summary.different_words
        );
    }
    let mut by_kind: BTreeMap<FindingKind, Vec<&Finding>> = BTreeMap::new();
    report.findings.iter().for_each(|finding| by_kind.entry(finding.kind).or_default().push(finding));
    for (kind, findings) in by_kind {
        text += &format!("\n{}: {}\n", kind.name(), findings.len());
        let shown = if args.all { findings.len() } else { SHOWN };
        for finding in findings.iter().take(shown) {
            let path = quoted(&args.manifests[finding.manifest]);
            text += &format!("  {path}:{}: {}\n", finding.line, printable(&finding.message));
        }
        if findings.len() > shown {
            text += &format!("  and {} more (--all prints them)\n", findings.len() - shown);
        }
    }
    text + if report.findings.is_empty() { "\nnothing is wrong\n" } else { "" }
}

fn to_json(args: &CheckArgs, report: &Report) -> String {
    let name = |manifest: usize| quoted(&args.manifests[manifest]).into_owned();
    let manifests = report.summaries.iter().enumerate().map(|(i, summary)| {
        json!({
            "path": name(i),
            "recordings": summary.recordings,
            "seconds": summary.seconds,
            "shortest": summary.shortest,
            "longest": summary.longest,
            "speakers": summary.speakers,
            "words": summary.words,
            "different_words": summary.different_words,
        })
    });
    let findings = report.findings.iter().map(|finding| {
        json!({
            "path": name(finding.manifest),
            "line": finding.line,
            "kind": finding.kind.name(),
            "message": finding.message,
        })
    });
    let manifests: Vec<_> = manifests.collect();
    let findings: Vec<_> = findings.collect();
    json!({ "manifests": manifests, "findings": findings }).to_string() + "\n"
}
