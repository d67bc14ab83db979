//! The file of a grapheme-to-phoneme model.
//!
//! ```text
//! "hearken g2p 1\n"  14 bytes
//! letters            characters
//! phones             names
//! graphones          the letter's index, the number of phones, their indices
//! trie               as in language models
//! CRC-32             of all bytes before, little-endian
//! ```

use std::path::Path;

use super::align::{Graphone, MAX_PHONES};
use super::model::{FIRST, G2p, MAX_SYMBOLS};
use crate::error::{Error, Result, Stage, io};
use crate::text::bits::{BitReader, BitWriter, crc32};
use crate::text::ngram::{read_trie, write_trie};

const MAGIC: &[u8; 14] = b"hearken g2p 1\n";

/// The step between quantized values of log10. Finer steps would not improve the predictions, but cost a
/// megabyte.
const STEP: f32 = 0.05;

/// Maximum size of a file in bytes.
const MAX_BYTES: u64 = 1 << 30;

impl G2p {
    /// Encodes the model as the bytes of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bits = BitWriter::default();
        MAGIC.iter().for_each(|&byte| bits.put(byte.into(), 8));
        bits.put_gamma(self.letters.len() as u32);
        self.letters.iter().for_each(|&letter| bits.put(letter.into(), 21));
        bits.put_gamma(self.phones.len() as u32);
        for phone in &self.phones {
            bits.put_gamma(phone.len() as u32);
            phone.bytes().for_each(|byte| bits.put(byte.into(), 8));
        }
        bits.put_gamma(self.graphones.len() as u32);
        for graphone in &self.graphones {
            bits.put_gamma(graphone.letter.into());
            bits.put_gamma(graphone.phones().count() as u32);
            graphone.phones().for_each(|phone| bits.put_gamma(phone.into()));
        }
        write_trie(&self.trie, STEP, &mut bits);
        let mut bytes = bits.finish();
        bytes.extend(crc32(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what [`G2p::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are another file or damaged. Memory is bounded by their number.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let wrong = |problem: &str| Error::new(Stage::Text, problem);
        if !bytes.starts_with(MAGIC) {
            return Err(wrong("expected a pronunciation model of hearken, found something else"));
        }
        let damaged = || wrong("the file is damaged").hint("copy or create it again");
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
        if u32::from_le_bytes(*sum) != crc32(body) {
            return Err(damaged());
        }
        let mut bits = BitReader::new(body, MAGIC.len() * 8);
        let letters = (0..count(&mut bits)?).map(|_| char::from_u32(bits.get(21)).ok_or_else(damaged));
        let letters: Vec<char> = letters.collect::<Result<_>>()?;
        let mut phones = Vec::new();
        for _ in 0..count(&mut bits)? {
            let length = count(&mut bits)?;
            let name = (0..length).map(|_| bits.get(8) as u8).collect();
            phones.push(String::from_utf8(name).map_err(|_| damaged())?);
        }
        let mut graphones = Vec::new();
        for _ in 0..count(&mut bits)? {
            let (letter, length) = (bits.get_gamma() as usize, bits.get_gamma() as usize);
            let phone_ids: Vec<u16> = (0..length.min(MAX_PHONES)).map(|_| bits.get_gamma() as u16).collect();
            let known =
                letter < letters.len() && phone_ids.iter().all(|&phone| usize::from(phone) < phones.len());
            if !known || length > MAX_PHONES {
                return Err(damaged());
            }
            graphones.push(Graphone::new(letter as u16, &phone_ids));
        }
        bits.check()?;
        let trie = read_trie(&mut bits, graphones.len() + FIRST as usize)?;
        Ok(Self::new(letters, phones, graphones, trie))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When the file cannot be read or has another format.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |e| io(Stage::Text, path, e);
        if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
            let problem = "expected a pronunciation model of hearken, found a much larger file";
            return Err(Error::new(Stage::Text, problem).in_file(path));
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        Self::from_bytes(&bytes).map_err(|e| e.in_file(path))
    }
}

/// Reads a number of items, checked against [`MAX_SYMBOLS`].
fn count(bits: &mut BitReader) -> Result<usize> {
    let count = bits.get_gamma() as usize;
    bits.check()?;
    if count > MAX_SYMBOLS { Err(Error::new(Stage::Text, "the file is damaged")) } else { Ok(count) }
}
