//! Reports on recordings and transcripts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::corpus::check::{Finding, FindingKind, Report};
use crate::fs::quoted;
use crate::output::printable;
use crate::units::counted;

/// Findings of a kind that are printed unless all are asked for.
pub(super) const SHOWN: usize = 5;

/// The number of threads of an option; by default the number of cores.
pub(super) fn threads(option: Option<std::num::NonZero<usize>>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    option.map_or_else(cores, usize::from)
}

/// The text of a report: a line for each manifest, then the findings by kind; of each kind a few, or all.
pub(super) fn text(manifests: &[PathBuf], report: &Report, all: bool) -> String {
    let mut text = String::new();
    for (path, summary) in manifests.iter().zip(&report.summaries) {
        text += &format!(
            "{}: {}, {:.2} h, {:.1} to {:.1} s; {}; {}, {} different\n",
            quoted(path),
            counted(summary.recordings, "recording"),
            summary.seconds / 3600.0,
            summary.shortest,
            summary.longest,
            counted(summary.speakers, "speaker"),
            counted(summary.words, "word"),
            summary.different_words
        );
    }
    let mut by_kind: BTreeMap<FindingKind, Vec<&Finding>> = BTreeMap::new();
    report.findings.iter().for_each(|finding| by_kind.entry(finding.kind).or_default().push(finding));
    for (kind, findings) in by_kind {
        text += &format!("\n{}: {}\n", kind.name(), findings.len());
        let shown = if all { findings.len() } else { SHOWN };
        for finding in findings.iter().take(shown) {
            let path = quoted(&manifests[finding.manifest]);
            text += &format!("  {path}:{}: {}\n", finding.line, printable(&finding.message));
        }
        if findings.len() > shown {
            text +=
                &format!("  and {} more (`hearken data check --all` prints them)\n", findings.len() - shown);
        }
    }
    text + if report.findings.is_empty() { "\nnothing is wrong\n" } else { "" }
}
