//! Writing of transcripts and alignments, one format per file.

pub mod alignment;
#[cfg(feature = "cli")]
pub mod captions;
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

#[cfg(feature = "cli")]
pub use captions::CaptionFile;
pub use json::JsonWriter;
#[cfg(feature = "cli")]
pub use live::{LiveDisplay, Status, level_meter};
#[cfg(feature = "cli")]
pub use terminal::TerminalWriter;
pub use text::TextWriter;

/// The transcript of one recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    /// Name of the recording in results: its path, with `#t=…` for a part.
    pub path: String,
    /// The segments in order.
    pub segments: Vec<Segment>,
    /// Damage found in the recording.
    pub warnings: Vec<String>,
}

impl Transcript {
    /// End of the last segment, seconds.
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

    /// The recording's file name without its extension, with `#t=…` for a part.
    fn stem(&self) -> String {
        let (path, part) = self.path.split_at(self.path.rfind("#t=").unwrap_or(self.path.len()));
        let stem = Path::new(path).file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned() + part
    }
}

/// A format of transcripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text, a line per utterance.
    #[default]
    Txt,
    /// A JSON object per recording.
    Json,
    /// JSON lines, an object per segment.
    Jsonl,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
    /// NIST's CTM: words with times.
    Ctm,
    /// Tab-separated values: start, end, text.
    Tsv,
    /// Praat's TextGrid.
    Textgrid,
}

/// The properties of a format.
struct Kind {
    name: &'static str,
    description: &'static str,
    /// Extension of a file's name.
    extension: &'static str,
    media_type: &'static str,
    /// Whether one file can hold several recordings.
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
                "text, a line per utterance"),
            Self::Json => kind("json", "json", "application/json", true, json::write,
                "an object per recording: segments, words, times, confidences"),
            Self::Jsonl => kind("jsonl", "jsonl", "application/jsonl", true, jsonl::write,
                "JSON lines, an object per segment"),
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

    /// The given format, or else the one whose files have the extension of `out`, or else text.
    pub fn or_by_extension(given: Option<Self>, out: Option<&Path>) -> Self {
        let extension = out.and_then(Path::extension);
        let fits = |format: &Self| extension.is_some_and(|e| e.eq_ignore_ascii_case(format.extension()));
        given.or_else(|| Self::ALL.into_iter().find(fits)).unwrap_or_default()
    }

    /// The format's name on the command line.
    pub fn name(self) -> &'static str {
        self.kind().name
    }

    /// A short description for help texts.
    pub fn description(self) -> &'static str {
        self.kind().description
    }

    /// The extension of a file's name, without the dot.
    pub fn extension(self) -> &'static str {
        self.kind().extension
    }

    /// The media type (HTTP's `Content-Type`).
    pub fn media_type(self) -> &'static str {
        self.kind().media_type
    }

    /// Whether one file can hold several recordings.
    pub fn holds_several(self) -> bool {
        self.kind().several
    }

    /// The content of a recording's file.
    pub fn write(self, transcript: &Transcript) -> String {
        (self.kind().write)(transcript)
    }
}

/// A writer of the events of recordings, one recording after another.
pub trait Writer {
    /// Writes an event of the recording `path`.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn event(&mut self, path: &str, event: &Event) -> io::Result<()>;

    /// Ends a recording; `warnings` are the damage found in it.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn end(&mut self, path: &str, warnings: &[String]) -> io::Result<()>;

    /// Whether partial events are written; otherwise they need not be passed.
    fn wants_partials(&self) -> bool;

    /// Shows a status line, if the output has one.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn status(&mut self, _status: &str) -> io::Result<()> {
        Ok(())
    }

    /// Removes partial result and status line before something else is printed.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn clear(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer that buffers each recording, and writes it in a format at its end.
pub struct TranscriptWriter<W> {
    out: W,
    format: Format,
    segments: Vec<Segment>,
}

impl<W: Write> TranscriptWriter<W> {
    /// A writer of this format.
    pub fn new(out: W, format: Format) -> Self {
        Self { out, format, segments: Vec::new() }
    }
}

impl<W: Write> Writer for TranscriptWriter<W> {
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

/// The text with control characters replaced by U+FFFD, since terminals execute them and they break tables.
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
        Segment { text, start, end, words, phrases: Vec::new(), alternatives: Vec::new() }
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
