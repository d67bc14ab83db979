//! Texts as sentences of word ids, read once and spooled to disk if they are long.

use std::collections::HashMap;
use std::io::{BufRead, Read, Seek, Write};
use std::path::Path;

use tempfile::SpooledTempFile;

use super::UNKNOWN;
use super::estimate::{EstimateOptions, Estimator};
use super::vocabulary::{MAX_WORD_BYTES, Vocabulary};
use crate::error::{Error, Result, Stage, io};
use crate::text::normalize;

/// Maximum size in bytes of the ids kept in memory.
const IN_MEMORY: usize = 64 << 20;

/// The limit on a model's vocabulary; all other words are `<unk>`.
#[derive(Clone, Debug, Default)]
pub enum VocabularyLimit {
    /// All words of the text.
    #[default]
    None,
    /// This number of the most frequent words.
    MostFrequent(usize),
    /// The words of a list, even if the text does not contain them.
    Words(Vec<String>),
}

/// Reader and store of texts.
pub struct Text {
    normalize: bool,
    ids: HashMap<Box<str>, u32>,
    counts: Vec<u64>,
    /// Sentences as variable-length integers of 7 bits per byte: words numbered from 1 in the order of
    /// their first occurrence; 0 ends a sentence.
    sentences: SpooledTempFile,
    /// Bytes not written yet, so that the file is written in larger blocks.
    buffer: Vec<u8>,
    in_sentence: bool,
    words: u64,
    lines: u64,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            normalize: false,
            ids: HashMap::new(),
            counts: Vec::new(),
            sentences: SpooledTempFile::new(IN_MEMORY),
            buffer: Vec::new(),
            in_sentence: false,
            words: 0,
            lines: 0,
        }
    }
}

impl Text {
    /// A reader that normalizes words to the form in which they are recognized: lower case, without
    /// punctuation. A full stop, a question mark or an exclamation mark ends a sentence.
    pub fn normalized() -> Self {
        Self { normalize: true, ..Self::default() }
    }

    /// The number of words, with repetitions.
    pub fn num_words(&self) -> u64 {
        self.words
    }

    /// The number of sentences.
    pub fn num_sentences(&self) -> u64 {
        self.lines
    }

    /// The number of distinct words.
    pub fn num_distinct(&self) -> usize {
        self.counts.len()
    }

    /// Reads a text with one sentence on each line. `progress` is called with the number of bytes of each
    /// block read.
    ///
    /// # Errors
    /// When the text cannot be read, is not UTF-8, or contains a reserved word or one that is too long;
    /// names the line and the column.
    pub fn read(&mut self, name: &Path, mut text: impl BufRead, mut progress: impl FnMut(u64)) -> Result<()> {
        let at =
            |e: Error, line: u64, column: u64| e.at(format!("line {line}, column {column}")).in_file(name);
        let mut word: Vec<u8> = Vec::new();
        let mut line = 1;
        // Number of characters in the line, up to the next one and up to the word.
        let (mut column, mut begin) = (1, 1);
        let mut first = true;
        loop {
            let bytes = text.fill_buf().map_err(|e| io(Stage::Text, name, e))?;
            let length = bytes.len();
            if length == 0 {
                break;
            }
            if std::mem::take(&mut first) && bytes.starts_with(&[0x1f, 0x8b]) {
                return Err(Error::new(Stage::Text, "expected a text, found a gzip archive")
                    .in_file(name)
                    .hint("unpack it first"));
            }
            for &byte in bytes {
                // Continuation bytes of UTF-8 do not begin a character.
                column += u64::from(byte & 0xc0 != 0x80);
                if !byte.is_ascii_whitespace() {
                    if word.is_empty() {
                        begin = column - 1;
                    }
                    word.push(byte);
                    if word.len() > MAX_WORD_BYTES {
                        let problem =
                            format!("expected words, found more than {MAX_WORD_BYTES} bytes without a space");
                        return Err(Error::new(Stage::Text, problem)
                            .at(format!("line {line}, column {begin}"))
                            .in_file(name));
                    }
                    continue;
                }
                self.end_word(&mut word).map_err(|e| at(e, line, begin))?;
                if byte == b'\n' {
                    column = 1;
                    self.end_sentence()?;
                    line += 1;
                }
            }
            text.consume(length);
            progress(length as u64);
        }
        self.end_word(&mut word).map_err(|e| at(e, line, begin))?;
        self.end_sentence()
    }

    /// Adds the word between two spaces.
    fn end_word(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Ok(mut word) = std::str::from_utf8(bytes) else {
            return Err(Error::new(Stage::Text, "expected text in UTF-8, found other bytes"));
        };
        if self.words == 0 {
            word = word.trim_start_matches('\u{feff}');
        }
        if !self.normalize || is_normal(word) {
            self.add_word(word)?;
        } else {
            normalize::words(word).iter().try_for_each(|word| self.add_word(word))?;
            if ends_sentence(word) {
                self.end_sentence()?;
            }
        }
        bytes.clear();
        Ok(())
    }

    fn add_word(&mut self, word: &str) -> Result<()> {
        let wrong = |problem: String| Err(Error::new(Stage::Text, problem));
        if word == "<s>" || word == "</s>" {
            return wrong(format!(
                "`{word}` marks the start or end of a sentence and cannot be a word of a text"
            ));
        }
        let id = match self.ids.get(word) {
            Some(&id) => id,
            None => {
                let Some(id) = u32::try_from(self.counts.len()).ok().filter(|&id| id < u32::MAX - 8) else {
                    return wrong("the text has more than 4 billion distinct words".into());
                };
                self.ids.insert(word.into(), id);
                self.counts.push(0);
                id
            }
        };
        self.counts[id as usize] += 1;
        self.words += 1;
        self.in_sentence = true;
        self.put(id + 1)
    }

    /// Ends a sentence, unless it is empty.
    fn end_sentence(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.in_sentence) {
            return Ok(());
        }
        self.lines += 1;
        self.put(0)
    }

    fn put(&mut self, mut number: u32) -> Result<()> {
        while number >= 0x80 {
            self.buffer.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.buffer.push(number as u8);
        if self.buffer.len() > 1 << 16 {
            self.sentences.write_all(&self.buffer).map_err(failed)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Determines the vocabulary and counts the n-grams of all sentences.
    ///
    /// # Errors
    /// When there are no sentences, the options are invalid, or a temporary file fails.
    pub fn count(
        self,
        limit: &VocabularyLimit,
        options: &EstimateOptions,
    ) -> Result<(Vocabulary, Estimator)> {
        if self.lines == 0 {
            return Err(Error::new(Stage::Text, "expected sentences, found none"));
        }
        let vocabulary = self.vocabulary(limit)?;
        let mut estimator = Estimator::new(vocabulary.len(), options)?;
        let mut ids: Option<Vec<u32>> = None;
        let mut sentence = Vec::new();
        self.for_each_sentence(|words, numbers| {
            let ids = ids.get_or_insert_with(|| {
                words.iter().map(|word| vocabulary.id(word).unwrap_or(UNKNOWN)).collect()
            });
            sentence.clear();
            sentence.extend(numbers.iter().map(|&number| ids[number as usize]));
            estimator.add(&sentence)
        })?;
        Ok((vocabulary, estimator))
    }

    /// Calls `visit` with all words and each sentence, as indices of these words.
    pub(super) fn for_each_sentence(
        mut self,
        mut visit: impl FnMut(&[Box<str>], &[u32]) -> Result<()>,
    ) -> Result<()> {
        let mut words: Vec<Box<str>> = vec![Box::default(); self.counts.len()];
        for (word, number) in self.ids.drain() {
            words[number as usize] = word;
        }
        self.sentences.write_all(&self.buffer).map_err(failed)?;
        self.sentences.rewind().map_err(failed)?;
        let mut sentence = Vec::new();
        let (mut number, mut shift) = (0_u32, 0);
        let mut bytes = vec![0; 1 << 16];
        loop {
            let length = self.sentences.read(&mut bytes).map_err(failed)?;
            if length == 0 {
                return Ok(());
            }
            for &byte in &bytes[..length] {
                number |= u32::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 != 0 {
                    continue;
                }
                match number {
                    0 => {
                        visit(&words, &sentence)?;
                        sentence.clear();
                    }
                    word => sentence.push(word - 1),
                }
                (number, shift) = (0, 0);
            }
        }
    }

    fn vocabulary(&self, limit: &VocabularyLimit) -> Result<Vocabulary> {
        match limit {
            VocabularyLimit::None => Vocabulary::new(self.ids.keys().map(|word| &**word)),
            VocabularyLimit::Words(words) => Vocabulary::new(words.iter().map(String::as_str)),
            VocabularyLimit::MostFrequent(count) => {
                let mut words: Vec<(&str, u64)> =
                    self.ids.iter().map(|(word, &id)| (&**word, self.counts[id as usize])).collect();
                words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
                Vocabulary::new(words.into_iter().take(*count).map(|(word, _)| word))
            }
        }
    }
}

/// Whether a word is already normalized, which is the common case.
fn is_normal(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Whether a sentence ends after this unnormalized word. Full stops also end abbreviations.
fn ends_sentence(word: &str) -> bool {
    const ABBREVIATIONS: [&str; 14] =
        ["mr", "mrs", "ms", "dr", "st", "prof", "jr", "sr", "vs", "etc", "e.g", "i.e", "no", "capt"];
    let word = word.trim_end_matches(['"', '\'', '’', '”', ')', ']', '*', '_']);
    let Some(before) = word.strip_suffix('.') else { return word.ends_with(['!', '?']) };
    let before = before.trim_start_matches(['"', '\'', '‘', '“', '(', '[']).to_lowercase();
    // A single letter is an initial.
    before.chars().count() > 1 && !ABBREVIATIONS.contains(&before.as_str())
}

fn failed(error: std::io::Error) -> Error {
    Error::new(Stage::Text, format!("a temporary file for the text: {error}"))
        .caused_by(error)
        .hint("set TMPDIR to a folder with enough space")
}
