//! Texts as sentences of word ids: read once, a sentence a line, and kept on disk where they are long.

use std::collections::HashMap;
use std::io::{BufRead, Read, Seek, Write};
use std::path::Path;

use tempfile::SpooledTempFile;

use super::UNKNOWN;
use super::estimate::{EstimateOptions, Estimator};
use super::vocabulary::{MAX_WORD_BYTES, Vocabulary};
use crate::error::{Error, Result, Stage, io};

/// Texts up to this length stay in memory, bytes of ids.
const IN_MEMORY: usize = 64 << 20;

/// Which words of a text a model knows; all others are `<unk>`.
#[derive(Clone, Debug, Default)]
pub enum VocabularyLimit {
    /// All of them.
    #[default]
    None,
    /// So many of the most frequent.
    MostFrequent(usize),
    /// Those of a list, also where the text does not have them.
    Words(Vec<String>),
}

/// Texts that have been read.
pub struct Text {
    ids: HashMap<Box<str>, u32>,
    counts: Vec<u64>,
    /// Sentences as numbers of 7 bits a byte: words in the order in which they came, from 1 on; 0 ends a
    /// sentence.
    sentences: SpooledTempFile,
    /// What was written last, so that it goes to the file in larger pieces.
    buffer: Vec<u8>,
    in_sentence: bool,
    words: u64,
    lines: u64,
}

impl Default for Text {
    fn default() -> Self {
        Self {
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
    /// The number of words, with repetitions.
    pub fn num_words(&self) -> u64 {
        self.words
    }

    /// The number of sentences.
    pub fn num_sentences(&self) -> u64 {
        self.lines
    }

    /// The number of different words.
    pub fn num_distinct(&self) -> usize {
        self.counts.len()
    }

    /// Reads a text, a sentence a line. `progress` is called with the numbers of bytes as they are read.
    ///
    /// # Errors
    /// When it cannot be read, is no UTF-8, or has a word that is far too long or reserved; names the
    /// line.
    pub fn read(&mut self, name: &Path, mut text: impl BufRead, mut progress: impl FnMut(u64)) -> Result<()> {
        let mut word: Vec<u8> = Vec::new();
        let mut line = 1;
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
                if !byte.is_ascii_whitespace() {
                    word.push(byte);
                    if word.len() > MAX_WORD_BYTES {
                        let problem =
                            format!("expected words, found more than {MAX_WORD_BYTES} bytes without a space");
                        return Err(Error::new(Stage::Text, problem)
                            .at(format!("line {line}"))
                            .in_file(name));
                    }
                    continue;
                }
                self.end_word(&mut word).map_err(|e| e.at(format!("line {line}")).in_file(name))?;
                if byte == b'\n' {
                    self.end_sentence()?;
                    line += 1;
                }
            }
            text.consume(length);
            progress(length as u64);
        }
        self.end_word(&mut word).map_err(|e| e.at(format!("line {line}")).in_file(name))?;
        self.end_sentence()
    }

    fn end_word(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let wrong = |problem: String| Err(Error::new(Stage::Text, problem));
        let Ok(mut word) = std::str::from_utf8(bytes) else {
            return wrong("expected text in UTF-8, found other bytes".into());
        };
        if self.words == 0 {
            word = word.trim_start_matches('\u{feff}');
        }
        if word == "<s>" || word == "</s>" {
            return wrong(format!(
                "`{word}` stands for the ends of sentences and cannot be a word of a text"
            ));
        }
        let id = match self.ids.get(word) {
            Some(&id) => id,
            None => {
                let Some(id) = u32::try_from(self.counts.len()).ok().filter(|&id| id < u32::MAX - 8) else {
                    return wrong("the text has more than 4 billion different words".into());
                };
                self.ids.insert(word.into(), id);
                self.counts.push(0);
                id
            }
        };
        self.counts[id as usize] += 1;
        self.words += 1;
        self.in_sentence = true;
        bytes.clear();
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

    /// The words that a model is to know, and all sentences counted for it.
    ///
    /// # Errors
    /// When there are no sentences, the options are wrong, or a temporary file fails.
    pub fn count(
        mut self,
        limit: &VocabularyLimit,
        options: &EstimateOptions,
    ) -> Result<(Vocabulary, Estimator)> {
        if self.lines == 0 {
            return Err(Error::new(Stage::Text, "expected sentences, found none"));
        }
        let vocabulary = self.vocabulary(limit)?;
        let mut ids = vec![UNKNOWN; self.counts.len()];
        for (word, id) in self.ids.drain() {
            ids[id as usize] = vocabulary.id(&word).unwrap_or(UNKNOWN);
        }
        let mut estimator = Estimator::new(vocabulary.len(), options)?;
        self.sentences.write_all(&self.buffer).map_err(failed)?;
        self.sentences.rewind().map_err(failed)?;
        let mut sentence = Vec::new();
        let (mut number, mut shift) = (0_u32, 0);
        let mut bytes = vec![0; 1 << 16];
        loop {
            let length = self.sentences.read(&mut bytes).map_err(failed)?;
            if length == 0 {
                return Ok((vocabulary, estimator));
            }
            for &byte in &bytes[..length] {
                number |= u32::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 != 0 {
                    continue;
                }
                match number {
                    0 => {
                        estimator.add(&sentence)?;
                        sentence.clear();
                    }
                    word => sentence.push(ids[word as usize - 1]),
                }
                (number, shift) = (0, 0);
            }
        }
    }

    fn vocabulary(&self, limit: &VocabularyLimit) -> Result<Vocabulary> {
        match limit {
            VocabularyLimit::None => Vocabulary::new(self.ids.keys().map(|word| &**word)),
            VocabularyLimit::Words(words) => Vocabulary::new(words.iter().map(String::as_str)),
            VocabularyLimit::MostFrequent(most) => {
                let mut words: Vec<(&str, u64)> =
                    self.ids.iter().map(|(word, &id)| (&**word, self.counts[id as usize])).collect();
                words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
                Vocabulary::new(words.into_iter().take(*most).map(|(word, _)| word))
            }
        }
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::new(Stage::Text, format!("a temporary file for the text: {error}"))
        .hint("set TMPDIR to a folder with enough space")
}
