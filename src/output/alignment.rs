//! Writing of forced alignments in the formats of transcripts: some show the tokens as well, the others the words
//! like those of a transcript.

use std::fmt::Write;

use serde::Serialize;

use super::{Format, Transcript, printable, textgrid};
use crate::recognizer::{Alignment, Segment};

/// The JSON form of an alignment.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    #[serde(flatten)]
    alignment: &'a Alignment,
    warnings: &'a [String],
}

/// The content of the file of the recording `path`'s alignment; `warnings` are the damage found in the recording.
/// With `with_path` each line of `txt` begins with PATH and a tab, so that a file can hold several recordings.
pub fn write(
    format: Format,
    path: &str,
    alignment: &Alignment,
    warnings: &[String],
    with_path: bool,
) -> String {
    match format {
        Format::Json | Format::Jsonl => {
            // Strings and numbers always become JSON.
            serde_json::to_string(&Line { path, alignment, warnings }).unwrap_or_default() + "\n"
        }
        Format::Txt => table(path, alignment, with_path),
        Format::Textgrid => {
            let tokens = alignment.words.iter().flat_map(|word| &word.tokens);
            let tokens = tokens.map(|token| (token.start, token.end, token.token.as_str()));
            let name = if alignment.has_phones { "phones" } else { "tokens" };
            textgrid::write_with(&transcript(path, alignment), Some((name, textgrid::intervals(tokens))))
        }
        _ => format.write(&transcript(path, alignment)),
    }
}

/// A line per word: start, end, confidence, word, tokens, separated by tabs.
fn table(path: &str, alignment: &Alignment, with_path: bool) -> String {
    let mut out = String::new();
    for aligned in &alignment.words {
        let word = &aligned.word;
        let tokens: Vec<&str> = aligned.tokens.iter().map(|token| token.token.as_str()).collect();
        let path = if with_path { printable(path) + "\t" } else { String::new() };
        let (start, end, confidence) = (word.start, word.end, word.confidence);
        let (text, tokens) = (printable(&word.word), printable(&tokens.join(" ")));
        // Writing into a string does not fail.
        let _ = writeln!(out, "{path}{start:.3}\t{end:.3}\t{confidence:.3}\t{text}\t{tokens}");
    }
    out
}

/// The words as a transcript of one segment.
fn transcript(path: &str, alignment: &Alignment) -> Transcript {
    let words = alignment.words.iter().map(|aligned| aligned.word.clone()).collect();
    let (text, end) = (alignment.text.clone(), alignment.duration);
    let segment = Segment { text, start: 0.0, end, words, phrases: Vec::new(), alternatives: Vec::new() };
    Transcript { path: path.into(), segments: vec![segment], warnings: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::recognizer::{AlignedToken, AlignedWord, TimeSpan};

    fn alignment() -> Alignment {
        let token =
            |token: &str, start, end| AlignedToken { token: token.into(), start, end, confidence: 0.5 };
        let word = |text, start, end, confidence, tokens| AlignedWord {
            word: testing::word(text, start, end, confidence),
            fits: confidence > 0.1,
            tokens,
        };
        Alignment {
            text: "two oh".into(),
            duration: 2.0,
            log_prob: -3.25,
            fits: false,
            words: vec![
                word("two", 0.5, 0.9, 0.75, vec![token("T", 0.5, 0.6), token("UW", 0.7, 0.9)]),
                word("oh", 1.0, 1.25, 0.05, vec![token("OW", 1.0, 1.25)]),
            ],
            unmatched: vec![TimeSpan { start: 1.5, end: 1.75 }],
            has_phones: true,
        }
    }

    #[test]
    fn json_has_words_with_their_tokens_and_what_does_not_fit() {
        let text = write(Format::Json, "a.wav", &alignment(), &["cut".into()], false);
        assert_eq!(
            text,
            "{\"path\":\"a.wav\",\"text\":\"two oh\",\"duration\":2.0,\"log_prob\":-3.25,\"fits\":false,\"words\":[\
             {\"word\":\"two\",\"start\":0.5,\"end\":0.9,\"confidence\":0.75,\"fits\":true,\"tokens\":[\
             {\"token\":\"T\",\"start\":0.5,\"end\":0.6,\"confidence\":0.5},\
             {\"token\":\"UW\",\"start\":0.7,\"end\":0.9,\"confidence\":0.5}]},\
             {\"word\":\"oh\",\"start\":1.0,\"end\":1.25,\"confidence\":0.05,\"fits\":false,\"tokens\":[\
             {\"token\":\"OW\",\"start\":1.0,\"end\":1.25,\"confidence\":0.5}]}],\
             \"unmatched\":[{\"start\":1.5,\"end\":1.75}],\"warnings\":[\"cut\"]}\n"
        );
    }

    #[test]
    fn text_is_a_table_and_ctm_has_the_words() {
        let text = write(Format::Txt, "a.wav", &alignment(), &[], false);
        assert_eq!(text, "0.500\t0.900\t0.750\ttwo\tT UW\n1.000\t1.250\t0.050\toh\tOW\n");
        let text = write(Format::Txt, "a.wav", &alignment(), &[], true);
        assert!(text.starts_with("a.wav\t0.500\t"), "{text}");
        let text = write(Format::Ctm, "a.wav", &alignment(), &[], false);
        assert_eq!(text, "a 1 0.500 0.400 two 0.750\na 1 1.000 0.250 oh 0.050\n");
    }

    #[test]
    fn a_text_grid_has_a_tier_of_phones() {
        let text = write(Format::Textgrid, "a.wav", &alignment(), &[], false);
        assert!(text.contains("size = 3\n"), "{text}");
        let (_, tier) = text.split_once("name = \"phones\"").expect("a tier of phones");
        // Silence, T, silence, UW, silence, OW, silence.
        assert!(tier.contains("intervals: size = 7") && tier.contains("text = \"UW\""), "{tier}");
    }
}
