//! Pronouncing dictionaries in the format of the CMU Pronouncing Dictionary: a word and its phones on each
//! line, further pronunciations of a word on separate lines.

use std::collections::HashMap;
use std::path::Path;

use super::phones::{ARPABET, phone_token};
use crate::error::{Error, Result, Stage, io};
use crate::text::column;

/// Maximum size of a file in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Words and their pronunciations, as sequences of token ids of [`ARPABET`] phones.
#[derive(Clone, Debug, Default)]
pub struct Pronunciations {
    words: HashMap<String, Vec<Vec<u32>>>,
}

impl Pronunciations {
    /// Reads a dictionary file.
    ///
    /// # Errors
    /// When the file cannot be read or is too long, or a line has no phones or unknown ones; names the line
    /// and the column.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |e| io(Stage::Corpus, path, e);
        if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
            return Err(
                Error::new(Stage::Corpus, "expected a dictionary, found a far longer file").in_file(path)
            );
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        // Old dictionaries have a few words in Latin 1, which no text will match.
        Self::parse(&String::from_utf8_lossy(&bytes)).map_err(|e| e.in_file(path))
    }

    /// Parses the text of a dictionary: `WORD  F OW1 N Z`, `WORD(2) …` or `WORD 2 …`; lines that begin with
    /// `;;;` or `#` are comments.
    ///
    /// # Errors
    /// When a line has no phones or unknown ones; names the line and the column.
    pub fn parse(text: &str) -> Result<Self> {
        let mut words: HashMap<String, Vec<Vec<u32>>> = HashMap::new();
        for_each_line(text, |line, word, phones| {
            let phone = |phone: &&str| {
                let problem = || {
                    let problem = format!("`{phone}` is not a phone");
                    Error::new(Stage::Corpus, problem)
                        .at(column(line, phone))
                        .hint(format!("phones are {}", ARPABET.join(" ")))
                };
                phone_token(phone).ok_or_else(problem)
            };
            let phones = phones.iter().map(phone).collect::<Result<Vec<_>>>()?;
            let known = words.entry(word).or_default();
            if !known.contains(&phones) {
                known.push(phones);
            }
            Ok(())
        })?;
        Ok(Self { words })
    }

    /// All words and their pronunciations, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Vec<u32>])> {
        self.words.iter().map(|(word, pronunciations)| (word.as_str(), pronunciations.as_slice()))
    }

    /// The pronunciations of a word (in lower case), the most common first; empty if it is unknown.
    pub fn get(&self, word: &str) -> &[Vec<u32>] {
        self.words.get(word).map_or(&[], Vec::as_slice)
    }
}

/// Calls `visit` with each line of a dictionary, its word in lower case, and its phones.
///
/// # Errors
/// Those of `visit`; when a line has no phones. Names the line.
pub fn for_each_line(text: &str, mut visit: impl FnMut(&str, String, &[&str]) -> Result<()>) -> Result<()> {
    for (number, line) in text.lines().enumerate() {
        if line.starts_with(";;;") || line.starts_with('#') {
            continue;
        }
        let mut parts = line.split_whitespace().peekable();
        let Some(word) = parts.next() else { continue };
        if parts.peek().is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit())) {
            parts.next();
        }
        let phones: Vec<&str> = parts.take_while(|part| !part.starts_with('#')).collect();
        let word = word.find('(').filter(|&at| at > 0).map_or(word, |at| &word[..at]).to_lowercase();
        let result = if phones.is_empty() {
            let problem = format!("expected the phones of `{word}`, found none");
            Err(Error::new(Stage::Corpus, problem).at(column(line, "")))
        } else {
            visit(line, word, &phones)
        };
        result.map_err(|e| e.within(format!("line {}", number + 1)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::phones::phone_tokens;
    use super::*;

    #[test]
    fn both_forms_are_read_and_stress_does_not_count() {
        let text = ";;; a remark\nZERO  Z IH1 R OW0\nZERO(2)  Z IY1 R OW0\nOH 1 OW1\nOH 2 OW0\n";
        let read = Pronunciations::parse(text).expect("good lines");
        let ids =
            |phones: &[&str]| phones.iter().map(|p| phone_token(p).expect("a phone")).collect::<Vec<_>>();
        assert_eq!(read.get("zero"), [ids(&["Z", "IH", "R", "OW"]), ids(&["Z", "IY", "R", "OW"])]);
        assert_eq!(read.get("oh"), [ids(&["OW"])], "the same phones twice are one pronunciation");
        assert!(read.get("one").is_empty());
        assert_eq!(phone_tokens().expect("a good table").len(), 40);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, place, problem) in [
            ("A  AH\nB  AH XX\n", "line 2, column 7: ", "`XX`"),
            ("A  AH\nÄB  AH \u{a0}xx # y\n", "line 2, column 9: ", "`xx`"),
            ("A  AH\nB\n", "line 2, column 2: ", "`b`"),
            ("A  AH\n\nB # nothing\n", "line 3, column 12: ", "`b`"),
        ] {
            let error = Pronunciations::parse(text).expect_err("a bad line").to_string();
            assert!(error.starts_with(place) && error.contains(problem), "{error}");
        }
    }
}
