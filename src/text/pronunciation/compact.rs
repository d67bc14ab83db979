//! A compressed dictionary that looks up single words without unpacking the rest.
//!
//! Words are sorted and divided into blocks; a word is stored as the length of the prefix shared with the
//! previous one in its block, and the rest. Letters and phones are Huffman codes conditioned on the
//! previous symbol.

use std::cell::Cell;

use crate::error::{Error, Result, Stage};
use crate::text::bits::{BitReader, BitWriter, Huffman};

use super::Pronunciations;
use super::phones::ARPABET;

/// Number of words in a block. A larger number makes the file smaller and look-up slower.
const BLOCK: usize = 16;
/// Maximum length of a word in bytes.
const MAX_WORD_BYTES: usize = 255;
/// Maximum number of pronunciations of one word.
const MAX_PRONUNCIATIONS: usize = 255;
/// The symbol after the last letter; letters are bytes.
const END: usize = 256;
/// The symbol that ends a pronunciation other than the word's last one, which 0 ends; the symbols in
/// between are phones.
const ANOTHER: usize = ARPABET.len() + 1;

/// Words and their pronunciations, compressed.
#[derive(Clone, Debug)]
pub struct CompactDictionary {
    bytes: Vec<u8>,
    letters: Codes,
    phones: Codes,
    /// The first bit of each block.
    blocks: Vec<u32>,
    words: usize,
}

/// A code for each preceding symbol.
#[derive(Clone, Debug)]
struct Codes(Vec<Huffman>);

impl Codes {
    fn from_counts(counts: &[Vec<u64>]) -> Self {
        Self(counts.iter().map(|counts| Huffman::from_counts(counts)).collect())
    }

    /// Writes the codes that are used.
    fn write(&self, bits: &mut BitWriter) {
        for code in &self.0 {
            let used = code.has_symbols();
            bits.put(used.into(), 1);
            if used {
                code.write(bits);
            }
        }
    }

    fn read(bits: &mut BitReader, symbols: usize) -> Result<Self> {
        let read =
            |_| if bits.get(1) == 1 { Huffman::read(bits, symbols) } else { Ok(Huffman::from_counts(&[])) };
        Ok(Self((0..symbols).map(read).collect::<Result<_>>()?))
    }
}

/// The bytes of a word after the shared prefix, as symbols.
fn letters(word: &str, shared: usize) -> impl Iterator<Item = usize> {
    word.as_bytes()[shared..].iter().map(|&byte| usize::from(byte)).chain([END])
}

/// The symbols of all pronunciations of a word.
fn phones(pronunciations: &[Vec<u32>]) -> impl Iterator<Item = usize> {
    let ends = pronunciations
        .iter()
        .enumerate()
        .map(|(i, _)| if i + 1 == pronunciations.len() { 0 } else { ANOTHER });
    pronunciations
        .iter()
        .zip(ends)
        .flat_map(|(pronunciation, end)| pronunciation.iter().map(|&phone| phone as usize).chain([end]))
}

impl CompactDictionary {
    /// Compresses a dictionary.
    ///
    /// # Errors
    /// When a word is too long or has too many pronunciations, or the result exceeds 512 MB.
    pub fn new(dictionary: &Pronunciations) -> Result<Self> {
        let mut words: Vec<(&str, &[Vec<u32>])> = dictionary.iter().collect();
        words.sort_unstable();
        let long = words.iter().find(|(word, pronunciations)| {
            word.len() > MAX_WORD_BYTES || pronunciations.len() > MAX_PRONUNCIATIONS
        });
        if let Some((word, _)) = long {
            let problem = format!("expected words of at most {MAX_WORD_BYTES} bytes, found `{word}`");
            return Err(Error::new(Stage::Text, problem));
        }
        // The length of the prefix shared with the previous word of the block.
        let shared: Vec<usize> = (0..words.len())
            .map(|at| match at % BLOCK {
                0 => 0,
                _ => words[at].0.bytes().zip(words[at - 1].0.bytes()).take_while(|(a, b)| a == b).count(),
            })
            .collect();
        let mut letter_counts = vec![vec![0; END + 1]; END + 1];
        let mut phone_counts = vec![vec![0; ANOTHER + 1]; ANOTHER + 1];
        for ((word, pronunciations), &shared) in words.iter().zip(&shared) {
            pairs(letters(word, shared), END).for_each(|(before, symbol)| letter_counts[before][symbol] += 1);
            pairs(phones(pronunciations), 0).for_each(|(before, symbol)| phone_counts[before][symbol] += 1);
        }
        let (letter_codes, phone_codes) =
            (Codes::from_counts(&letter_counts), Codes::from_counts(&phone_counts));
        let mut bits = BitWriter::default();
        let mut blocks = Vec::new();
        for (at, ((word, pronunciations), &shared)) in words.iter().zip(&shared).enumerate() {
            if at % BLOCK == 0 {
                let begin = u32::try_from(bits.len())
                    .map_err(|_| Error::new(Stage::Text, "the dictionary takes more than 512 MB"))?;
                blocks.push(begin);
            } else {
                bits.put_gamma(shared as u32);
            }
            for (before, symbol) in pairs(letters(word, shared), END) {
                letter_codes.0[before].put(symbol, &mut bits);
            }
            for (before, symbol) in pairs(phones(pronunciations), 0) {
                phone_codes.0[before].put(symbol, &mut bits);
            }
        }
        let bytes = bits.finish();
        Ok(Self { bytes, letters: letter_codes, phones: phone_codes, blocks, words: words.len() })
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        self.words
    }

    /// Whether there are no words.
    pub fn is_empty(&self) -> bool {
        self.words == 0
    }

    /// The pronunciations of a word (in lower case), the most common first; empty if it is unknown.
    pub fn get(&self, word: &str) -> Vec<Vec<u32>> {
        let word = word.as_bytes();
        let block = self.blocks.partition_point(|&begin| self.first(begin).as_slice() <= word);
        let Some(block) = block.checked_sub(1) else { return Vec::new() };
        let mut found = Vec::new();
        self.block(block, |other| other == word, |_, pronunciations| found = pronunciations);
        found
    }

    /// Looks up many words (in lower case), which are sorted; calls `found` with the index and the pronunciations of each
    /// that is known. This is faster than a look-up of each.
    pub fn find_sorted<W: AsRef<str>>(&self, words: &[W], mut found: impl FnMut(usize, Vec<Vec<u32>>)) {
        let word = |at: usize| words.get(at).map(|word| word.as_ref().as_bytes());
        let at = Cell::new(0);
        for block in 0..self.blocks.len() {
            let wanted = |entry: &[u8]| {
                while word(at.get()).is_some_and(|word| word < entry) {
                    at.set(at.get() + 1);
                }
                word(at.get()) == Some(entry)
            };
            self.block(block, wanted, |entry, pronunciations| {
                let same = (at.get()..).take_while(|&at| word(at) == Some(entry));
                same.for_each(|at| found(at, pronunciations.clone()));
            });
        }
    }

    /// All words and their pronunciations.
    pub fn iter(&self) -> impl Iterator<Item = (String, Vec<Vec<u32>>)> {
        (0..self.blocks.len()).flat_map(|block| {
            let mut words = Vec::new();
            self.block(
                block,
                |_| true,
                |word, pronunciations| {
                    words.push((String::from_utf8_lossy(word).into_owned(), pronunciations));
                },
            );
            words
        })
    }

    /// The first word of the block that begins at a bit position.
    fn first(&self, begin: u32) -> Vec<u8> {
        let mut word = Vec::new();
        self.read_letters(&mut BitReader::new(&self.bytes, begin as usize), &mut word);
        word
    }

    fn read_letters(&self, bits: &mut BitReader, word: &mut Vec<u8>) {
        let mut before = END;
        while word.len() <= MAX_WORD_BYTES {
            before = self.letters.0[before].get(bits);
            match u8::try_from(before) {
                Ok(byte) => word.push(byte),
                Err(_) => return,
            }
        }
    }

    fn read_phones(&self, bits: &mut BitReader) -> Vec<Vec<u32>> {
        let mut pronunciations = vec![Vec::new()];
        self.for_each_phone(bits, |phone| match (phone, pronunciations.last_mut()) {
            (Some(phone), Some(last)) => last.push(phone),
            _ => pronunciations.push(Vec::new()),
        });
        pronunciations
    }

    /// Calls `visit` with each phone of a word's pronunciations, and with `None` between two of them.
    fn for_each_phone(&self, bits: &mut BitReader, mut visit: impl FnMut(Option<u32>)) {
        let (mut before, mut pronunciations, mut length) = (0, 1, 0);
        while pronunciations <= MAX_PRONUNCIATIONS && length <= MAX_WORD_BYTES * 2 {
            before = self.phones.0[before].get(bits);
            match before {
                0 => break,
                ANOTHER => {
                    (pronunciations, length) = (pronunciations + 1, 0);
                    visit(None);
                }
                phone => {
                    length += 1;
                    visit(Some(phone as u32));
                }
            }
        }
    }

    /// Calls `visit` with the words of a block that are `wanted`, and their pronunciations.
    fn block(
        &self,
        block: usize,
        mut wanted: impl FnMut(&[u8]) -> bool,
        mut visit: impl FnMut(&[u8], Vec<Vec<u32>>),
    ) {
        let mut bits = BitReader::new(&self.bytes, self.blocks[block] as usize);
        let mut word = Vec::new();
        for at in 0..BLOCK.min(self.words - block * BLOCK) {
            if at > 0 {
                let shared = bits.get_gamma() as usize;
                word.truncate(shared);
            }
            self.read_letters(&mut bits, &mut word);
            if wanted(&word) {
                visit(&word, self.read_phones(&mut bits));
            } else {
                self.for_each_phone(&mut bits, |_| ());
            }
        }
    }

    /// Writes the dictionary.
    pub(super) fn write(&self, bits: &mut BitWriter) {
        bits.put_gamma(self.words as u32);
        self.letters.write(bits);
        self.phones.write(bits);
        bits.put_gamma(self.bytes.len() as u32);
        let mut before = 0;
        for &begin in &self.blocks {
            bits.put_gamma(begin - before);
            before = begin;
        }
        bits.align();
        self.bytes.iter().for_each(|&byte| bits.put(byte.into(), 8));
    }

    /// Reads a dictionary.
    ///
    /// # Errors
    /// When it is damaged. Memory is bounded by the number of bits.
    pub(super) fn read(bits: &mut BitReader) -> Result<Self> {
        let damaged = || Error::new(Stage::Text, "the dictionary is damaged");
        let words = bits.get_gamma() as usize;
        let letters = Codes::read(bits, END + 1)?;
        let phones = Codes::read(bits, ANOTHER + 1)?;
        let length = bits.get_gamma() as usize;
        let mut blocks = Vec::new();
        let mut begin = 0_u32;
        for _ in 0..words.div_ceil(BLOCK) {
            begin = begin.checked_add(bits.get_gamma()).ok_or_else(damaged)?;
            bits.check()?;
            blocks.push(begin);
        }
        bits.align();
        let bytes = bits.take_bytes(length).ok_or_else(damaged)?.to_vec();
        Ok(Self { bytes, letters, phones, blocks, words })
    }
}

/// Symbols, each with the previous one; `start` precedes the first.
fn pairs(symbols: impl Iterator<Item = usize>, start: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut before = start;
    symbols.map(move |symbol| (std::mem::replace(&mut before, symbol), symbol))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(lines: &str) -> (Pronunciations, CompactDictionary) {
        let dictionary = Pronunciations::parse(lines).expect("good lines");
        let packed = CompactDictionary::new(&dictionary).expect("few words");
        let mut bits = BitWriter::default();
        bits.put(1, 3);
        packed.write(&mut bits);
        let bytes = bits.finish();
        let mut bits = BitReader::new(&bytes, 3);
        (dictionary, CompactDictionary::read(&mut bits).expect("what is written is read"))
    }

    #[test]
    fn every_word_is_found_and_others_are_not() {
        let words: Vec<String> = (0..1000).map(|i| format!("w{}x{}", i % 37, i * i)).collect();
        let phone = |i: usize| ARPABET[i % ARPABET.len()];
        let line = |(i, word): (usize, &String)| {
            format!("{word}  {} {}\n{word}  {}\n", phone(i), phone(i * 7), phone(i + 1))
        };
        let (dictionary, packed) = packed(&words.iter().enumerate().map(line).collect::<String>());
        assert_eq!(packed.len(), words.len());
        for word in &words {
            assert_eq!(packed.get(word), dictionary.get(word), "{word}");
        }
        // In order, twice, and some that are not there.
        let mut wanted: Vec<&str> =
            words.iter().flat_map(|word| [word.as_str(), word.as_str(), &word[1..]]).collect();
        wanted.sort_unstable();
        let mut found = vec![Vec::new(); wanted.len()];
        packed.find_sorted(&wanted, |at, pronunciations| found[at] = pronunciations);
        assert!(wanted.iter().zip(found).all(|(word, found)| dictionary.get(word) == found));
        for word in ["", "a", "w", "w1", "w1x", "w1x1x", "zzz", "é"] {
            assert!(packed.get(word).is_empty(), "{word}");
        }
        assert_eq!(packed.iter().count(), words.len());
    }

    #[test]
    fn an_empty_dictionary_is_valid() {
        let (_, packed) = packed("");
        assert!(packed.is_empty() && packed.get("a").is_empty());
    }

    proptest! {
        #[test]
        fn damaged_dictionaries_do_not_panic(flips in prop::collection::vec((0..400_usize, 0..8_u32), 1..8)) {
            let dictionary = Pronunciations::parse("one  W AH N\ntwo  T UW\ntwo  T AH\nonly  OW N L IY\n").expect("good");
            let mut bits = BitWriter::default();
            CompactDictionary::new(&dictionary).expect("few words").write(&mut bits);
            let mut bytes = bits.finish();
            for (at, bit) in flips {
                let at = at % bytes.len();
                bytes[at] ^= 1 << bit;
            }
            if let Ok(read) = CompactDictionary::read(&mut BitReader::new(&bytes, 0)) {
                read.get("two");
                read.iter().for_each(drop);
            }
        }
    }
}
