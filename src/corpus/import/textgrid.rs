//! Praat's TextGrids, long and short: each labelled interval of a tier is a part of the recording beside it.

use std::path::PathBuf;

use super::listing::Listing;
use super::reader::{Reader, entry};
use crate::corpus::Entry;

/// Names of tiers of whole utterances, in the order of preference.
const UTTERANCE_TIERS: [&str; 8] =
    ["sentence", "sentences", "utterance", "utterances", "transcript", "transcription", "text", "words"];

fn files(listing: &Listing) -> Vec<PathBuf> {
    listing.with_extension(&["textgrid"])
}

pub fn detect(listing: &Listing) -> bool {
    files(listing).iter().any(|path| listing.beside(path).is_some())
}

pub fn read(reader: &mut Reader<'_>) {
    for path in files(reader.listing) {
        let Some(audio) = reader.listing.beside(&path) else {
            reader.leave_out(&path, 0, "there is no recording of this name beside it");
            continue;
        };
        let Some(text) = reader.text(&path) else { continue };
        let tiers = match parse(&text) {
            Ok(tiers) => tiers,
            Err((line, problem)) => {
                reader.leave_out(&path, line, problem);
                continue;
            }
        };
        let tier = match choose(&tiers, reader.options.tier.as_deref()) {
            Ok(tier) => tier,
            Err(problem) => {
                reader.leave_out(&path, 0, problem);
                continue;
            }
        };
        for interval in tier.intervals.iter().filter(|interval| !interval.text.trim().is_empty()) {
            let Interval { line, start, end, text } = interval;
            if end <= start {
                reader.leave_out(&path, *line, "expected an end after the start of the interval");
                continue;
            }
            let part =
                Entry { offset: Some(*start), duration: Some(end - start), ..entry(audio.clone(), text) };
            reader.add(&path, *line, part);
        }
    }
}

struct Tier {
    name: String,
    intervals: Vec<Interval>,
}

struct Interval {
    line: usize,
    start: f64,
    end: f64,
    text: String,
}

/// The tier of the option, or of utterances by its name, or the first one.
fn choose<'t>(tiers: &'t [Tier], wanted: Option<&str>) -> Result<&'t Tier, String> {
    let named = |name: &str| tiers.iter().find(|tier| tier.name.eq_ignore_ascii_case(name));
    match wanted {
        Some(name) => named(name).ok_or_else(|| {
            let names: Vec<&str> = tiers.iter().map(|tier| tier.name.as_str()).collect();
            format!("expected a tier of intervals named `{name}`, found `{}`", names.join("`, `"))
        }),
        None => UTTERANCE_TIERS
            .iter()
            .find_map(|name| named(name))
            .or(tiers.first())
            .ok_or_else(|| "it has no tier of intervals".to_string()),
    }
}

/// The tiers of intervals; an error names the line.
fn parse(text: &str) -> Result<Vec<Tier>, (usize, String)> {
    let mut values = Values { text, line: 1 };
    let (_, kind) = values.text("`ooTextFile`")?;
    let (line, class) = values.text("`TextGrid`")?;
    if kind != "ooTextFile" || class != "TextGrid" {
        return Err((line, format!("expected a TextGrid, found `{kind}`, `{class}`")));
    }
    values.number("the start")?;
    values.number("the end")?;
    let (_, count) = values.number("the number of tiers")?;
    let mut tiers = Vec::new();
    for _ in 0..count as usize {
        let (line, class) = values.text("the class of a tier")?;
        let (_, name) = values.text("the name of a tier")?;
        values.number("the start of the tier")?;
        values.number("the end of the tier")?;
        let (_, size) = values.number("the size of the tier")?;
        let mut intervals = Vec::new();
        for _ in 0..size as usize {
            let (line, start) = values.number("a time")?;
            if class == "IntervalTier" {
                let (_, end) = values.number("the end of an interval")?;
                let (_, text) = values.text("the text of an interval")?;
                intervals.push(Interval { line, start, end, text });
            } else if class == "TextTier" {
                values.text("the text of a point")?;
            } else {
                break;
            }
        }
        match class.as_str() {
            "IntervalTier" => tiers.push(Tier { name, intervals }),
            "TextTier" => {}
            _ => return Err((line, format!("expected `IntervalTier` or `TextTier`, found `{class}`"))),
        }
    }
    Ok(tiers)
}

/// The quoted texts and the numbers of a file in their order. All else is there for people: Praat ignores it too.
struct Values<'t> {
    text: &'t str,
    line: usize,
}

enum Value {
    Text(String),
    Number(f64),
}

impl Values<'_> {
    fn text(&mut self, what: &str) -> Result<(usize, String), (usize, String)> {
        match self.next()? {
            Some((line, Value::Text(text))) => Ok((line, text)),
            Some((line, Value::Number(number))) => Err((line, format!("expected {what}, found {number}"))),
            None => Err((self.line, format!("expected {what}, found the end of the file"))),
        }
    }

    fn number(&mut self, what: &str) -> Result<(usize, f64), (usize, String)> {
        match self.next()? {
            Some((line, Value::Number(number))) => Ok((line, number)),
            Some((line, Value::Text(text))) => Err((line, format!("expected {what}, found \"{text}\""))),
            None => Err((self.line, format!("expected {what}, found the end of the file"))),
        }
    }

    fn next(&mut self) -> Result<Option<(usize, Value)>, (usize, String)> {
        loop {
            let skipped = self.text.len() - self.text.trim_start().len();
            self.skip(skipped);
            let line = self.line;
            let Some(first) = self.text.chars().next() else { return Ok(None) };
            match first {
                '"' => return self.quoted().map(|text| Some((line, Value::Text(text)))),
                '!' => self.skip(self.text.find('\n').unwrap_or(self.text.len())),
                _ => {
                    let end =
                        self.text.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(self.text.len());
                    let word = &self.text[..end];
                    let number = word.parse::<f64>().ok().filter(|number| number.is_finite());
                    self.skip(end);
                    if let Some(number) = number {
                        return Ok(Some((line, Value::Number(number))));
                    }
                }
            }
        }
    }

    /// A text in quotes, in which two quotes are one; it may have several lines.
    fn quoted(&mut self) -> Result<String, (usize, String)> {
        let begin = self.line;
        let mut out = String::new();
        self.skip(1);
        loop {
            let Some(end) = self.text.find('"') else {
                return Err((begin, "the quote that begins on this line has no end".into()));
            };
            out.push_str(&self.text[..end]);
            self.skip(end + 1);
            if !self.text.starts_with('"') {
                return Ok(out);
            }
            out.push('"');
            self.skip(1);
        }
    }

    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.text.split_at(bytes);
        self.line += skipped.matches('\n').count();
        self.text = rest;
    }
}
