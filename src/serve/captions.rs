//! Subtitles: SubRip and WebVTT, out of segments' words.

use std::fmt::Write;

use crate::recognizer::{Segment, Word};

/// Words of a cue at the most.
const MOST_WORDS: usize = 7;
/// Seconds of a cue at the most, but for a word that lasts longer alone.
const MOST_SECONDS: f64 = 5.0;

/// Which kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captions {
    /// SubRip.
    Srt,
    /// WebVTT.
    Vtt,
}

impl Captions {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Captions::Srt => "application/x-subrip; charset=utf-8",
            Captions::Vtt => "text/vtt; charset=utf-8",
        }
    }

    /// The whole file.
    pub fn write(self, segments: &[Segment]) -> String {
        let mut out = String::from(if self == Captions::Vtt { "WEBVTT\n\n" } else { "" });
        for (i, cue) in segments.iter().flat_map(|segment| cues(&segment.words)).enumerate() {
            let (Some(first), Some(last)) = (cue.first(), cue.last()) else { continue };
            if self == Captions::Srt {
                // Writing into a string does not fail.
                let _ = writeln!(out, "{}", i + 1);
            }
            let text: Vec<String> = cue.iter().map(|word| self.escaped(&word.word)).collect();
            let (start, end) = (self.time(first.start), self.time(last.end.max(first.start)));
            let _ = writeln!(out, "{start} --> {end}\n{}\n", text.join(" "));
        }
        out
    }

    /// In WebVTT `<` and `&` are markup, and with them `-->` cannot come up either.
    fn escaped(self, word: &str) -> String {
        match self {
            Captions::Srt => word.into(),
            Captions::Vtt => word.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        }
    }

    fn time(self, seconds: f64) -> String {
        let ms = (seconds.max(0.0) * 1000.0).round() as u64;
        let point = if self == Captions::Srt { ',' } else { '.' };
        let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        format!("{hours:02}:{minutes:02}:{seconds:02}{point}{:03}", ms % 1000)
    }
}

/// Words that are shown together.
fn cues(words: &[Word]) -> Vec<&[Word]> {
    let mut cues = Vec::new();
    let mut first = 0;
    for i in 0..words.len() {
        if i - first >= MOST_WORDS || words[i].end - words[first].start > MOST_SECONDS && i > first {
            cues.push(&words[first..i]);
            first = i;
        }
    }
    if first < words.len() {
        cues.push(&words[first..]);
    }
    cues
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(words: &[(&str, f64, f64)]) -> Segment {
        let words: Vec<Word> = words
            .iter()
            .map(|&(word, start, end)| Word { word: word.into(), start, end, confidence: 1.0 })
            .collect();
        Segment { text: String::new(), start: 0.0, end: 1.0, words }
    }

    #[test]
    fn both_kinds_are_written() {
        let segments =
            [segment(&[("one", 0.5, 0.9), ("<two>", 1.0, 1.25)]), segment(&[("&", 3600.0, 3661.5)])];
        let srt = "1\n00:00:00,500 --> 00:00:01,250\none <two>\n\n2\n01:00:00,000 --> 01:01:01,500\n&\n\n";
        assert_eq!(Captions::Srt.write(&segments), srt);
        let vtt = "WEBVTT\n\n00:00:00.500 --> 00:00:01.250\none &lt;two&gt;\n\n\
                   01:00:00.000 --> 01:01:01.500\n&amp;\n\n";
        assert_eq!(Captions::Vtt.write(&segments), vtt);
        assert_eq!(Captions::Srt.write(&[segment(&[])]), "");
        assert_eq!(Captions::Vtt.write(&[]), "WEBVTT\n\n");
    }

    #[test]
    fn cues_have_seven_words_or_five_seconds_at_the_most() {
        let quick: Vec<_> = (0..16).map(|i| ("w", f64::from(i) * 0.3, f64::from(i) * 0.3 + 0.2)).collect();
        let lengths = |words: &[(&str, f64, f64)]| -> Vec<usize> {
            cues(&segment(words).words).iter().map(|cue| cue.len()).collect()
        };
        assert_eq!(lengths(&quick), [7, 7, 2]);
        let slow: Vec<_> = (0..5).map(|i| ("w", f64::from(i) * 2.0, f64::from(i) * 2.0 + 1.5)).collect();
        assert_eq!(lengths(&slow), [2, 2, 1]);
        assert_eq!(lengths(&[("long", 0.0, 9.0), ("w", 9.0, 9.5)]), [1, 1]);
    }
}
