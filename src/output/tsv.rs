//! Tab-separated values, as Whisper's program writes them: start and end in milliseconds, text.

use std::fmt::Write;

use super::{Transcript, printable};

/// The table, a line per utterance.
pub(super) fn write(transcript: &Transcript) -> String {
    let mut out = String::from("start\tend\ttext\n");
    for segment in transcript.segments.iter().filter(|segment| !segment.text.is_empty()) {
        let ms = |seconds: f64| (seconds * 1000.0).round() as u64;
        // Writing into a string does not fail.
        let _ = writeln!(out, "{}\t{}\t{}", ms(segment.start), ms(segment.end), printable(&segment.text));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing;

    #[test]
    fn an_utterance_is_a_line() {
        assert_eq!(
            super::write(&testing::transcript()),
            "start\tend\ttext\n0\t1500\tone\n1500\t2500\t<two>\n"
        );
    }
}
