//! Praat's TextGrid: a tier of utterances, a tier of words, and of an alignment one of phones; each without
//! gaps, as Praat wants it.

use std::fmt::Write;

use super::{Transcript, printable};

/// A labeled interval; in milliseconds, so that sums have no rounding errors.
pub(super) struct Interval {
    start: u64,
    end: u64,
    text: String,
}

/// The file of a transcript.
pub(super) fn write(transcript: &Transcript) -> String {
    write_with(transcript, None)
}

/// The file of a transcript with a further tier, by its name, if there is one.
pub(super) fn write_with(transcript: &Transcript, further: Option<(&str, Vec<Interval>)>) -> String {
    let utterances = transcript.segments.iter().map(|s| (s.start, s.end, s.text.as_str()));
    let words = transcript.words().map(|w| (w.start, w.end, w.word.as_str()));
    let mut tiers = vec![("utterances", intervals(utterances)), ("words", intervals(words))];
    tiers.extend(further);
    let last = tiers.iter().filter_map(|(_, tier)| tier.last()).map(|interval| interval.end).max();
    // Praat refuses a file of length 0.
    let end = milliseconds(transcript.duration()).max(last.unwrap_or(0)).max(1);
    let mut out = String::from("File type = \"ooTextFile\"\nObject class = \"TextGrid\"\n\n");
    // Writing into a string does not fail.
    let _ =
        write!(out, "xmin = 0\nxmax = {}\ntiers? <exists>\nsize = {}\nitem []:\n", seconds(end), tiers.len());
    for (number, (name, tier)) in tiers.into_iter().enumerate() {
        write_tier(&mut out, number + 1, name, &filled(tier, end), end);
    }
    out
}

fn write_tier(out: &mut String, number: usize, name: &str, tier: &[Interval], end: u64) {
    let _ = write!(
        out,
        "    item [{number}]:\n        class = \"IntervalTier\"\n        name = \"{name}\"\n        xmin = 0\n        \
         xmax = {}\n        intervals: size = {}\n",
        seconds(end),
        tier.len()
    );
    for (i, interval) in tier.iter().enumerate() {
        let _ = write!(
            out,
            "        intervals [{}]:\n            xmin = {}\n            xmax = {}\n            text = \"{}\"\n",
            i + 1,
            seconds(interval.start),
            seconds(interval.end),
            printable(&interval.text).replace('"', "\"\"")
        );
    }
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1000.0).round() as u64
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Labels with their times (start and end in seconds), in order; Praat refuses intervals that overlap or have
/// no length.
pub(super) fn intervals<'a>(words: impl Iterator<Item = (f64, f64, &'a str)>) -> Vec<Interval> {
    let mut tier: Vec<Interval> = Vec::new();
    for (start, end, text) in words.filter(|(_, _, text)| !text.is_empty()) {
        let start = milliseconds(start).max(tier.last().map_or(0, |interval| interval.end));
        tier.push(Interval { start, end: milliseconds(end).max(start + 1), text: text.into() });
    }
    tier
}

/// The tier with empty intervals in its gaps, up to the end.
fn filled(tier: Vec<Interval>, end: u64) -> Vec<Interval> {
    let mut filled = Vec::with_capacity(2 * tier.len() + 1);
    let mut at = 0;
    let silence = |start, end| Interval { start, end, text: String::new() };
    for interval in tier {
        if interval.start > at {
            filled.push(silence(at, interval.start));
        }
        at = interval.end;
        filled.push(interval);
    }
    if at < end {
        filled.push(silence(at, end));
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::super::{Transcript, testing};

    #[test]
    fn tiers_have_no_gaps_and_no_overlaps() {
        let mut transcript = testing::transcript();
        // Overlapping, and of no length.
        transcript.segments[1].words =
            vec![testing::word("say \"two\"", 0.85, 2.0, 0.5), testing::word("x", 2.0, 2.0, 0.5)];
        let text = super::write(&transcript);
        let times = |key: &str| -> Vec<f64> {
            let lines = text.split("name = \"words\"").nth(1).expect("a tier").lines();
            let values =
                lines.filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix(" = ")?.parse().ok());
            values.skip(1).collect()
        };
        assert_eq!(times("xmin"), [0.0, 0.5, 0.9, 2.0, 2.001]);
        assert_eq!(times("xmax"), [0.5, 0.9, 2.0, 2.001, 2.5]);
        assert!(text.contains("text = \"say \"\"two\"\"\"\n"), "{text}");
        assert!(super::write(&Transcript::default()).contains("xmax = 0.001"));
    }
}
