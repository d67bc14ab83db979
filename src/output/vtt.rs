//! WebVTT subtitles.

use std::fmt::Write;

use super::Transcript;
use super::cues::{cues, time};

/// The content of the file.
pub(super) fn write(transcript: &Transcript) -> String {
    let mut out = String::from("WEBVTT\n\n");
    for cue in cues(&transcript.segments) {
        let (start, end) = (time(cue.start, '.'), time(cue.end, '.'));
        // Writing into a string does not fail.
        let _ = writeln!(out, "{start} --> {end}\n{}\n", escaped(&cue.lines.join("\n")));
    }
    out
}

/// In WebVTT `<` and `&` are markup; without `>` there can be no `-->` in a text either.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::{Transcript, testing};

    #[test]
    fn markup_is_escaped() {
        let expected = "WEBVTT\n\n00:00:00.500 --> 00:00:01.333\none\n\n\
                        00:00:01.600 --> 00:00:02.433\n&lt;two&gt;\n\n";
        assert_eq!(super::write(&testing::transcript()), expected);
        assert_eq!(super::write(&Transcript::default()), "WEBVTT\n\n");
    }
}
