//! JSON lines: an object per segment, equal to the final events of `--json`.

use super::{Transcript, json};
use crate::recognizer::Event;

/// The transcript, a line per segment.
pub(super) fn write(transcript: &Transcript) -> String {
    let line = |segment| json::event(Some(&transcript.path), &Event::Final(segment)) + "\n";
    transcript.segments.iter().cloned().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing;

    #[test]
    fn a_line_is_a_final_event() {
        let text = super::write(&testing::transcript());
        assert_eq!(text.lines().count(), 2);
        assert!(text.starts_with("{\"type\":\"final\",\"path\":\"a b.wav\",\"text\":\"one\","), "{text}");
    }
}
