//! `hearken data check MANIFEST…`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde_json::json;

use super::report;
use crate::cli::interrupt::Interrupt;
use crate::cli::{Outcome, Stop, progress};
use crate::corpus::check::{Decoding, Report, check};
use crate::corpus::manifest::{ReadOptions, TextRule, read_with};
use crate::error::Result;
use crate::fs::quoted;

/// Decode all recordings of manifests, and print what may spoil a training or a measurement.
///
/// Found are recordings that cannot be decoded, are damaged, empty, silent, quiet or clipped; durations that the
/// manifest gets wrong; transcripts that are too long for their audio, or have digits or symbols; the same audio twice, within
/// a manifest or across them; speakers who are in more than one manifest. The exit code is 1 if a recording is
/// unusable.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hearken data check train.jsonl dev.jsonl
  hearken data check train.jsonl --all")]
pub(super) struct Args {
    /// Manifests: JSON lines with audio_filepath and text.
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<PathBuf>,

    /// Print every finding, not only the first 5 of a kind.
    #[arg(long)]
    all: bool,

    /// Recordings that are decoded at the same time [default: the number of cores].
    #[arg(long, value_name = "N")]
    threads: Option<std::num::NonZero<usize>>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let options = ReadOptions { text: TextRule::Present, check_audio: false };
    let manifests = args.manifests.iter().map(|path| read_with(path, options)).collect::<Result<Vec<_>>>()?;
    let interrupt = Interrupt::install();
    let bar: ProgressBar = progress(
        "{pos} of {len} recordings {wide_bar} {eta}",
        manifests.iter().map(Vec::len).sum::<usize>() as u64,
    );
    let threads = report::threads(args.threads);
    let report = check(&manifests, &Decoding { threads, progress: &|| bar.inc(1), stop: interrupt.flag() });
    bar.finish_and_clear();
    let Some(report) = report else { return Ok(Outcome::Interrupted) };
    let text =
        if args.json { to_json(args, &report) } else { report::text(&args.manifests, &report, args.all) };
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|e| Stop::output(Path::new("standard output"), e))?;
    let is_unusable = report.findings.iter().any(|finding| finding.kind.is_error());
    Ok(if is_unusable { Outcome::SomeFailed } else { Outcome::Done })
}

fn to_json(args: &Args, report: &Report) -> String {
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
