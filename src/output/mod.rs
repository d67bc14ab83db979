//! What was recognized, as text: a format a file.

pub mod alignment;
mod ctm;
mod cues;
pub mod json;
mod jsonl;
#[cfg(feature = "cli")]
pub mod live;
mod srt;
#[cfg(feature = "cli")]
mod terminal;
pub mod text;
mod textgrid;
mod tsv;
mod txt;
mod vtt;

use std::io::{self, Write};
use std::path::Path;

use crate::recognizer::{Event, Segment, Word};

pub use json::JsonWriter;
#[cfg(feature = "cli")]
pub use live::{LiveDisplay, Status};
#[cfg(feature = "cli")]
pub use terminal::TerminalWriter;
pub use text::TextWriter;

/// What was said in one recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    /// The recording's path, as it is printed.
    pub path: String,
    pub segments: Vec<Segment>,
    /// What was wrong with the recording.
    pub warnings: Vec<String>,
}

impl Transcript {
    /// Seconds.
    pub fn duration(&self) -> f64 {
        self.segments.last().map_or(0.0, |segment| segment.end)
    }

    /// The segments' texts, joined by spaces.
    pub fn text(&self) -> String {
        let texts = self.segments.iter().map(|segment| segment.text.as_str()).filter(|text| !text.is_empty());
        texts.collect::<Vec<_>>().join(" ")
    }

    /// All words, in order.
    pub fn words(&self) -> impl Iterator<Item = &Word> {
        self.segments.iter().flat_map(|segment| &segment.words)
    }

    /// The recording's name without folder and ending.
    fn stem(&self) -> String {
        Path::new(&self.path).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// How a transcript is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Txt,
    Json,
    Jsonl,
    Srt,
    Vtt,
    Ctm,
    Tsv,
    Textgrid,
}

/// What is known of a format.
struct Kind {
    name: &'static str,
    description: &'static str,
    /// Ending of a file's name.
    extension: &'static str,
    media_type: &'static str,
    /// Whether several recordings can follow each other in one file.
    several: bool,
    write: fn(&Transcript) -> String,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 8] =
        [Self::Txt, Self::Json, Self::Jsonl, Self::Srt, Self::Vtt, Self::Ctm, Self::Tsv, Self::Textgrid];

    #[rustfmt::skip]
    fn kind(self) -> Kind {
        let kind = |name, extension, media_type, several, write, description| {
            Kind { name, description, extension, media_type, several, write }
        };
        match self {
            Self::Txt => kind("txt", "txt", "text/plain; charset=utf-8", true, txt::write,
                "text, a line an utterance"),
            Self::Json => kind("json", "json", "application/json", true, json::write,
                "an object with segments, words, times, confidences"),
            Self::Jsonl => kind("jsonl", "jsonl", "application/jsonl", true, jsonl::write,
                "an object a segment, on a line each"),
            Self::Srt => kind("srt", "srt", "application/x-subrip; charset=utf-8", false, srt::write,
                "SubRip subtitles"),
            Self::Vtt => kind("vtt", "vtt", "text/vtt; charset=utf-8", false, vtt::write,
                "WebVTT subtitles"),
            Self::Ctm => kind("ctm", "ctm", "text/plain; charset=utf-8", true, ctm::write,
                "words with times, for NIST's scoring tools"),
            Self::Tsv => kind("tsv", "tsv", "text/tab-separated-values; charset=utf-8", false, tsv::write,
                "a table: start and end in milliseconds, text"),
            Self::Textgrid => kind("textgrid", "TextGrid", "text/plain; charset=utf-8", false, textgrid::write,
                "Praat's tiers of utterances and words"),
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.kind().name
    }

    /// A few words about it.
    pub fn description(self) -> &'static str {
        self.kind().description
    }

    /// The ending of a file's name, without the dot.
    pub fn extension(self) -> &'static str {
        self.kind().extension
    }

    /// The media type of HTTP.
    pub fn media_type(self) -> &'static str {
        self.kind().media_type
    }

    /// Whether several recordings can follow each other in one file.
    pub fn holds_several(self) -> bool {
        self.kind().several
    }

    /// The whole file of a recording.
    pub fn write(self, transcript: &Transcript) -> String {
        (self.kind().write)(transcript)
    }
}

/// Writes the events of recordings, one recording after the other.
pub trait Writer {
    /// Writes an event of the recording `path`.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn event(&mut self, path: &str, event: &Event) -> io::Result<()>;

    /// Ends a recording; `warnings` is what was wrong with it.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn end(&mut self, path: &str, warnings: &[String]) -> io::Result<()>;

    /// Whether partial events make a difference.
    fn wants_partials(&self) -> bool;

    /// Shows how far the work is, where there is a place for it.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn status(&mut self, _status: &str) -> io::Result<()> {
        Ok(())
    }

    /// Takes away what does not stay, before something else is printed.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn clear(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes each recording in a format when it is at its end.
pub struct WholeWriter<W> {
    out: W,
    format: Format,
    segments: Vec<Segment>,
}

impl<W: Write> WholeWriter<W> {
    /// A writer in that format.
    pub fn new(out: W, format: Format) -> Self {
        Self { out, format, segments: Vec::new() }
    }
}

impl<W: Write> Writer for WholeWriter<W> {
    fn event(&mut self, _path: &str, event: &Event) -> io::Result<()> {
        if let Event::Final(segment) = event {
            self.segments.push(segment.clone());
        }
        Ok(())
    }

    fn end(&mut self, path: &str, warnings: &[String]) -> io::Result<()> {
        let segments = std::mem::take(&mut self.segments);
        let transcript = Transcript { path: path.into(), segments, warnings: warnings.to_vec() };
        self.out.write_all(self.format.write(&transcript).as_bytes())?;
        self.out.flush()
    }

    fn wants_partials(&self) -> bool {
        false
    }
}

/// Text without control characters, which a terminal would obey and a table would break at.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod testing {
    use super::*;

    pub fn word(text: &str, start: f64, end: f64, confidence: f32) -> Word {
        Word { word: text.into(), start, end, confidence }
    }

    pub fn segment(words: &[(&str, f64, f64, f32)], start: f64, end: f64) -> Segment {
        let words: Vec<Word> =
            words.iter().map(|&(text, from, to, sure)| word(text, from, to, sure)).collect();
        let text = words.iter().map(|word| word.word.as_str()).collect::<Vec<_>>().join(" ");
        Segment { text, start, end, words, phrases: Vec::new() }
    }

    pub fn transcript() -> Transcript {
        Transcript {
            path: "a b.wav".into(),
            segments: vec![
                segment(&[("one", 0.5, 0.9, 0.9)], 0.0, 1.5),
                segment(&[("<two>", 1.6, 2.0, 0.75)], 1.5, 2.5),
            ],
            warnings: vec!["cut".into()],
        }
    }
}
