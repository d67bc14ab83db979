//! CTM, the format of words with times of NIST's scoring tools (sctk): file, channel, start, duration, word,
//! confidence, separated by spaces.

use std::fmt::Write;

use super::{Transcript, printable};

/// The lines of a recording, in order of time.
pub(super) fn write(transcript: &Transcript) -> String {
    let name = joined(&transcript.stem());
    let mut out = String::new();
    for word in transcript.words() {
        let (start, duration) = (word.start, word.end - word.start);
        let text = joined(&printable(&word.word));
        // Writing into a string does not fail.
        let _ = writeln!(out, "{name} 1 {start:.3} {duration:.3} {text} {:.3}", word.confidence);
    }
    out
}

/// The text as one field: white space inside becomes `_`.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::super::testing;

    #[test]
    fn a_word_is_a_line_of_six_fields() {
        let expected = "a_b 1 0.500 0.400 one 0.900\na_b 1 1.600 0.400 <two> 0.750\n";
        assert_eq!(super::write(&testing::transcript()), expected);
    }
}
