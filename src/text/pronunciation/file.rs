//! The file of a dictionary and the grapheme-to-phoneme model learned from it.
//!
//! ```text
//! "hearken pronounce 1\n"  20 bytes
//! length                   of the dictionary in bytes, 32 bits, little-endian
//! dictionary               see `CompactDictionary`
//! letters to phones        see `G2p`
//! CRC-32                   of all bytes before, little-endian
//! ```

use std::path::Path;

use super::compact::CompactDictionary;
use super::g2p::{G2p, TrainOptions};
use super::pronouncer::Pronouncer;
use super::{Pronunciations, dictionary};
use crate::error::{Error, Result, Stage, io};
use crate::text::bits::{BitReader, BitWriter, crc32};

const MAGIC: &[u8; 20] = b"hearken pronounce 1\n";
/// Maximum size of a file in bytes.
const MAX_BYTES: u64 = 1 << 30;

impl Pronouncer {
    /// Trains a pronouncer from the text of a dictionary: it looks up the dictionary's words and predicts
    /// others with a grapheme-to-phoneme model. `progress` is called with the numbers of rounds done and of
    /// all rounds.
    ///
    /// # Errors
    /// When a line is invalid (names it), or no word can be learned from.
    pub fn train(text: &str, options: &TrainOptions, progress: impl FnMut(usize, usize)) -> Result<Self> {
        let dictionary = CompactDictionary::new(&Pronunciations::parse(text)?)?;
        let mut words = Vec::new();
        dictionary::for_each_line(text, |_, word, phones| {
            if word.chars().all(|c| c.is_alphabetic() || c == '\'') {
                words.push((word, phones.join(" ")));
            }
            Ok(())
        })?;
        let pairs = words.iter().map(|(word, phones)| (word.as_str(), phones.split(' ').collect()));
        let guesser = G2p::train(pairs, options, progress)?;
        Self::new(dictionary).with_guesser(guesser)
    }

    /// Encodes the dictionary and the model as the bytes of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bits = BitWriter::default();
        self.dictionary().write(&mut bits);
        let dictionary = bits.finish();
        let mut bytes = MAGIC.to_vec();
        bytes.extend((dictionary.len() as u32).to_le_bytes());
        bytes.extend(dictionary);
        bytes.extend(self.guesser().map(G2p::to_bytes).unwrap_or_default());
        bytes.extend(crc32(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what [`Pronouncer::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are another file or damaged. Memory is bounded by their number.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let Parts { dictionary, guesser, body, checksum } = Parts::of(bytes)?;
        if checksum != crc32(body) {
            return Err(damaged());
        }
        let pronouncer = Self::new(CompactDictionary::read(&mut BitReader::new(dictionary, 0))?);
        if guesser.is_empty() { Ok(pronouncer) } else { pronouncer.with_guesser(G2p::from_bytes(guesser)?) }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When the file cannot be read or has another format.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |e| io(Stage::Text, path, e);
        if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
            let problem = "expected a pronunciation file of hearken, found a much larger one";
            return Err(Error::new(Stage::Text, problem).in_file(path));
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        Self::from_bytes(&bytes).map_err(|e| e.in_file(path))
    }

    /// The pronouncer for English if this build has it, else one without a dictionary; with the user's pronunciations
    /// of the file `lexicon`, if one is named.
    ///
    /// # Errors
    /// When the file cannot be read or is invalid; names the line.
    pub fn with_lexicon(lexicon: Option<&Path>) -> Result<Self> {
        #[cfg(feature = "english")]
        let pronouncer = Self::english()?;
        #[cfg(not(feature = "english"))]
        let pronouncer = Self::new(CompactDictionary::new(&Pronunciations::default())?);
        Ok(match lexicon {
            Some(path) => pronouncer.with_user(Pronunciations::read(path)?),
            None => pronouncer,
        })
    }

    /// The pronouncer for English: the CMU Pronouncing Dictionary, and a model learned from it, which is read when the
    /// first word is guessed.
    ///
    /// # Errors
    /// Never in practice: the file is part of the program.
    #[cfg(feature = "english")]
    pub fn english() -> Result<Self> {
        use hearken_english::PRONUNCIATIONS;
        let dictionary = Parts::of(PRONUNCIATIONS)?.dictionary;
        let dictionary = CompactDictionary::read(&mut BitReader::new(dictionary, 0))?;
        Ok(Self::new(dictionary).with_lazy_guesser(|| G2p::from_bytes(Parts::of(PRONUNCIATIONS)?.guesser)))
    }
}

/// The parts of a file.
struct Parts<'a> {
    dictionary: &'a [u8],
    /// Empty if there is none.
    guesser: &'a [u8],
    /// All bytes before the checksum.
    body: &'a [u8],
    checksum: u32,
}

impl<'a> Parts<'a> {
    /// Divides a file into its parts, whose contents are not checked.
    fn of(bytes: &'a [u8]) -> Result<Self> {
        if !bytes.starts_with(MAGIC) {
            let problem = "expected a pronunciation file of hearken, found something else";
            return Err(Error::new(Stage::Text, problem));
        }
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        let rest = body.get(MAGIC.len()..).ok_or_else(damaged)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (dictionary, guesser) =
            rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
        Ok(Self { dictionary, guesser, body, checksum: u32::from_le_bytes(*checksum) })
    }
}

fn damaged() -> Error {
    Error::new(Stage::Text, "the file is damaged").hint("copy or create it again")
}
