//! SubRip subtitles.

use std::fmt::Write;

use super::Transcript;
use super::cues::{cues, time};

/// The content of the file.
pub(super) fn write(transcript: &Transcript) -> String {
    let mut out = String::new();
    for (i, cue) in cues(&transcript.segments).iter().enumerate() {
        let (start, end) = (time(cue.start, ','), time(cue.end, ','));
        // Writing into a string does not fail.
        let _ = writeln!(out, "{}\n{start} --> {end}\n{}\n", i + 1, cue.lines.join("\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Transcript, testing};

    #[test]
    fn subtitles_are_numbered() {
        let expected = "1\n00:00:00,500 --> 00:00:01,333\none\n\n2\n00:00:01,600 --> 00:00:02,433\n<two>\n\n";
        assert_eq!(super::write(&testing::transcript()), expected);
        assert_eq!(super::write(&Transcript::default()), "");
    }
}
