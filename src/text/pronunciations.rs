//! Pronouncing dictionaries in the form of the CMU Pronouncing Dictionary: a word and its phones
//! a line, further pronunciations of a word on lines of their own.

use std::collections::HashMap;
use std::path::Path;

use super::TokenTable;
use crate::error::{Error, Result, Stage, io};

/// The phones of American English in the alphabet of the CMU Pronouncing Dictionary, without
/// stress. As tokens they have the numbers from 1 on; 0 is the blank.
pub const ARPABET: [&str; 39] = [
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY",
    "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y",
    "Z", "ZH",
];

/// Longer dictionaries are refused, bytes.
const MAX_BYTES: u64 = 256 << 20;

/// The tokens of a model that writes phones: the blank, then [`ARPABET`].
///
/// # Errors
/// Never; the table is checked like any other.
pub fn phone_tokens() -> Result<TokenTable> {
    TokenTable::new(std::iter::once("<blk>").chain(ARPABET).map(String::from).collect(), 0)
}

/// The token of a phone; stress marks do not count.
pub fn phone_token(phone: &str) -> Option<u32> {
    let plain = phone.trim_end_matches(|c: char| c.is_ascii_digit());
    ARPABET.iter().position(|p| *p == plain).map(|i| i as u32 + 1)
}

/// Words and how they are said.
#[derive(Clone, Debug, Default)]
pub struct Pronunciations {
    words: HashMap<String, Vec<Vec<u32>>>,
}

impl Pronunciations {
    /// Reads a dictionary file.
    ///
    /// # Errors
    /// When it cannot be read, is too long, or a line has no phones or unknown ones; names the line.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |e| io(Stage::Corpus, path, e);
        if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
            return Err(
                Error::new(Stage::Corpus, "expected a dictionary, found a far longer file").in_file(path)
            );
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        // Old dictionaries have a few words in Latin 1; they are of no use, and no harm.
        Self::parse(&String::from_utf8_lossy(&bytes)).map_err(|e| e.in_file(path))
    }

    /// Reads the text of a dictionary: `WORD  F OW1 N Z`, `WORD(2) …` or `WORD 2 …`; lines that
    /// begin with `;;;` or `#` are remarks.
    ///
    /// # Errors
    /// When a line has no phones or unknown ones; names the line.
    pub fn parse(text: &str) -> Result<Self> {
        let mut words: HashMap<String, Vec<Vec<u32>>> = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with(";;;") || line.starts_with('#') {
                continue;
            }
            let mut parts = line.split_whitespace().peekable();
            let Some(word) = parts.next() else { continue };
            if parts.peek().is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit())) {
                parts.next();
            }
            let wrong =
                |problem: String| Error::new(Stage::Corpus, problem).at(format!("line {}", number + 1));
            let phones = parts
                .take_while(|part| !part.starts_with('#'))
                .map(|phone| phone_token(phone).ok_or_else(|| wrong(format!("`{phone}` is no phone"))))
                .collect::<Result<Vec<_>>>()?;
            if phones.is_empty() {
                return Err(wrong(format!("expected the phones of `{word}`, found none")));
            }
            let word = word.find('(').filter(|&at| at > 0).map_or(word, |at| &word[..at]);
            let known = words.entry(word.to_lowercase()).or_default();
            if !known.contains(&phones) {
                known.push(phones);
            }
        }
        Ok(Self { words })
    }

    /// How a word (in lower case) is said, the commonest way first; empty when it is unknown.
    pub fn of(&self, word: &str) -> &[Vec<u32>] {
        self.words.get(word).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_stress_does_not_count() {
        let text = ";;; a remark\nZERO  Z IH1 R OW0\nZERO(2)  Z IY1 R OW0\nOH 1 OW1\nOH 2 OW0\n";
        let read = Pronunciations::parse(text).expect("good lines");
        let ids =
            |phones: &[&str]| phones.iter().map(|p| phone_token(p).expect("a phone")).collect::<Vec<_>>();
        assert_eq!(read.of("zero"), [ids(&["Z", "IH", "R", "OW"]), ids(&["Z", "IY", "R", "OW"])]);
        assert_eq!(read.of("oh"), [ids(&["OW"])], "the same phones twice are one way to say it");
        assert!(read.of("one").is_empty());
        assert_eq!(phone_tokens().expect("a good table").len(), 40);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, place) in [("A  AH\nB  XX\n", "`XX`"), ("A  AH\nB\n", "`B`")] {
            let error = Pronunciations::parse(text).expect_err("a bad line").to_string();
            assert!(error.contains(place) && error.contains("line 2"), "{error}");
        }
    }
}
