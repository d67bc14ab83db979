//! Plain text: a line per utterance.

use super::{Transcript, printable};

/// The transcript; an empty line if it has no text.
pub(super) fn write(transcript: &Transcript) -> String {
    let texts = transcript.segments.iter().map(|segment| segment.text.as_str()).filter(|t| !t.is_empty());
    let lines: String = texts.map(|text| printable(text) + "\n").collect();
    if lines.is_empty() { "\n".into() } else { lines }
}

#[cfg(test)]
mod tests {
    use super::super::{Transcript, testing};

    #[test]
    fn an_utterance_is_a_line() {
        assert_eq!(super::write(&testing::transcript()), "one\n<two>\n");
        assert_eq!(super::write(&Transcript::default()), "\n");
    }
}
