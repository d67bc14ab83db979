//! Bit input and output, Huffman codes and a checksum, for the compact files of dictionaries and language
//! models.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::error::{Error, Result, Stage};

/// Writes bits, the most significant of each byte first.
#[derive(Clone, Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits that do not fill a byte yet.
    partial: u64,
    /// Number of bits in `partial`.
    filled: u32,
}

impl BitWriter {
    /// Writes the lowest `count` bits of `value`, at most 32.
    pub fn put(&mut self, value: u32, count: u32) {
        let value = u64::from(value) & ((1 << count) - 1);
        self.partial = (self.partial << count) | value;
        self.filled += count;
        while self.filled >= 8 {
            self.filled -= 8;
            self.bytes.push((self.partial >> self.filled) as u8);
        }
    }

    /// Writes a number below `u32::MAX` in Elias gamma code, which is short for small numbers.
    pub fn put_gamma(&mut self, value: u32) {
        let value = value + 1;
        let extra = value.ilog2();
        self.put(0, extra);
        self.put(1, 1);
        self.put(value, extra);
    }

    /// Writes a number in Rice code: the `low` lowest bits as they are, the rest in unary code or, from
    /// [`ESCAPE`] on, in gamma code.
    pub fn put_rice(&mut self, value: u32, low: u32) {
        let high = value >> low;
        if high < ESCAPE {
            self.put((1 << (high + 1)) - 2, high + 1);
        } else {
            self.put((1 << ESCAPE) - 1, ESCAPE);
            self.put_gamma(high - ESCAPE);
        }
        self.put(value, low);
    }

    /// The number of bits written.
    pub fn len(&self) -> usize {
        self.bytes.len() * 8 + self.filled as usize
    }

    /// Fills the last byte with zeros.
    pub fn align(&mut self) {
        self.put(0, (8 - self.filled % 8) % 8);
    }

    /// All bytes, the last one filled with zeros.
    pub fn finish(mut self) -> Vec<u8> {
        self.align();
        self.bytes
    }
}

/// Number of consecutive ones that announces gamma code instead of unary code.
const ESCAPE: u32 = 12;

/// Reads what [`BitWriter`] wrote. Beyond the end it reads zeros, which [`BitReader::check`] reports.
#[derive(Clone, Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Position of the next bit.
    at: usize,
}

impl<'a> BitReader<'a> {
    /// A reader that begins at bit `at`.
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The position of the next bit.
    #[cfg(test)]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Checks that the reader has not passed the end.
    ///
    /// # Errors
    /// When more bits were read than the file has.
    pub fn check(&self) -> Result<()> {
        if self.at > self.bytes.len() * 8 {
            return Err(Error::new(Stage::Text, "the file is truncated"));
        }
        Ok(())
    }

    /// Number of bits that are left.
    pub fn left(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.at)
    }

    /// Skips to the next whole byte.
    pub fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    /// The next `count` bytes, after [`BitReader::align`]; `None` if fewer are left.
    pub fn take_bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let begin = self.at / 8;
        let taken = self.bytes.get(begin..begin.checked_add(count)?)?;
        self.at += count * 8;
        Some(taken)
    }

    /// The next 32 bits, without consuming them.
    fn peek(&self) -> u32 {
        let byte = self.at / 8;
        let word = match self.bytes.get(byte..byte + 8) {
            Some(&[a, b, c, d, e, f, g, h]) => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => (byte..byte + 8).fold(0, |w, i| w << 8 | u64::from(self.bytes.get(i).copied().unwrap_or(0))),
        };
        (word << (self.at % 8) >> 32) as u32
    }

    /// Reads `count` bits, at most 32.
    pub fn get(&mut self, count: u32) -> u32 {
        let value = u64::from(self.peek()) >> (32 - count);
        self.at += count as usize;
        value as u32
    }

    /// Reads a number in gamma code; 0 if the bits are not one.
    pub fn get_gamma(&mut self) -> u32 {
        let extra = self.peek().leading_zeros();
        if extra > 31 {
            self.at += 32;
            return 0;
        }
        self.at += extra as usize;
        // The leading one is the number's highest bit.
        (u64::from(self.get(1)) << extra | u64::from(self.get(extra))).saturating_sub(1) as u32
    }

    /// Reads a number in Rice code with `low` low bits.
    pub fn get_rice(&mut self, low: u32) -> u32 {
        let ones = self.peek().leading_ones().min(ESCAPE);
        let high = if ones < ESCAPE {
            self.at += ones as usize + 1;
            ones
        } else {
            self.at += ESCAPE as usize;
            self.get_gamma().saturating_add(ESCAPE)
        };
        (high << low) | self.get(low)
    }
}

/// Maximum length of a code in bits.
const MAX_BITS: u32 = 24;
/// Maximum length in bits of the codes that a single table look-up decodes.
const TABLE_BITS: u32 = 11;

/// A canonical Huffman code for the symbols from 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Huffman {
    lengths: Vec<u8>,
    codes: Vec<u32>,
    /// For every prefix of `table_bits` bits the symbol and the length of its code, or length 0 for longer codes.
    table: Vec<(u16, u8)>,
    /// Length of the longest code, at most [`TABLE_BITS`].
    table_bits: u32,
    /// The symbols in the order of their codes.
    order: Vec<u16>,
    /// For each length the first code and its index in `order`.
    first: Vec<(u32, u32)>,
}

impl Huffman {
    /// The optimal code for symbols with these counts.
    pub fn from_counts(counts: &[u64]) -> Self {
        let mut counts = counts.to_vec();
        loop {
            let lengths = code_lengths(&counts);
            if lengths.iter().all(|&length| u32::from(length) <= MAX_BITS) {
                return Self::from_lengths(lengths);
            }
            // Evening out the counts shortens the longest codes.
            counts.iter_mut().filter(|c| **c > 0).for_each(|c| *c = *c / 2 + 1);
        }
    }

    fn from_lengths(lengths: Vec<u8>) -> Self {
        let mut order: Vec<u16> =
            (0..lengths.len() as u16).filter(|&s| lengths[usize::from(s)] > 0).collect();
        order.sort_by_key(|&s| (lengths[usize::from(s)], s));
        if order.is_empty() {
            return Self { lengths, ..Self::default() };
        }
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let table_bits = u32::from(longest).min(TABLE_BITS);
        let mut code = Self {
            codes: vec![0; lengths.len()],
            table: vec![(0, 0); 1 << table_bits],
            table_bits,
            first: vec![(0, 0); MAX_BITS as usize + 2],
            order,
            lengths,
        };
        let (mut next, mut length) = (0_u32, 0);
        for (place, &symbol) in code.order.iter().enumerate() {
            let own = u32::from(code.lengths[usize::from(symbol)]);
            while length < own {
                next <<= 1;
                length += 1;
                code.first[length as usize] = (next, place as u32);
            }
            code.codes[usize::from(symbol)] = next;
            if own <= table_bits {
                let begin = (next << (table_bits - own)) as usize;
                let end = begin + (1 << (table_bits - own));
                // The lengths of a damaged file may not form a code.
                if let Some(places) = code.table.get_mut(begin..end) {
                    places.fill((symbol, own as u8));
                }
            }
            next = next.wrapping_add(1);
        }
        while length < MAX_BITS {
            next = next.wrapping_shl(1);
            length += 1;
            code.first[length as usize] = (next, code.order.len() as u32);
        }
        code.first[MAX_BITS as usize + 1] = (u32::MAX, code.order.len() as u32);
        code
    }

    /// Whether any symbol has a code.
    pub fn has_symbols(&self) -> bool {
        !self.order.is_empty()
    }

    /// Writes a symbol.
    pub fn put(&self, symbol: usize, bits: &mut BitWriter) {
        bits.put(self.codes[symbol], u32::from(self.lengths[symbol]));
    }

    /// Reads a symbol; 0 if the bits are not a code.
    pub fn get(&self, bits: &mut BitReader) -> usize {
        if !self.has_symbols() {
            bits.at += 1;
            return 0;
        }
        let ahead = bits.peek();
        let (symbol, length) = self.table[(ahead >> (32 - self.table_bits)) as usize];
        if length > 0 {
            bits.at += usize::from(length);
            return usize::from(symbol);
        }
        for length in self.table_bits + 1..=MAX_BITS {
            let code = ahead >> (32 - length);
            let (first, place) = self.first[length as usize];
            let symbols = self.first[length as usize + 1].1 - place;
            if code.wrapping_sub(first) < symbols {
                bits.at += length as usize;
                return usize::from(self.order[(place + code - first) as usize]);
            }
        }
        bits.at += MAX_BITS as usize;
        0
    }

    /// The number of bits of a symbol's code.
    #[cfg(test)]
    pub fn length(&self, symbol: usize) -> u32 {
        u32::from(self.lengths[symbol])
    }

    /// Writes the code itself.
    pub fn write(&self, bits: &mut BitWriter) {
        bits.put_gamma(self.lengths.len() as u32);
        for &length in &self.lengths {
            bits.put(u32::from(length), 5);
        }
    }

    /// Reads a code.
    ///
    /// # Errors
    /// When the bits are not a code, or it has more than `max_symbols` symbols.
    pub fn read(bits: &mut BitReader, max_symbols: usize) -> Result<Self> {
        let symbols = bits.get_gamma() as usize;
        bits.check()?;
        let damaged = || Error::new(Stage::Text, "a table of codes is damaged");
        if symbols > max_symbols.min(usize::from(u16::MAX)) {
            return Err(damaged());
        }
        let lengths: Vec<u8> = (0..symbols).map(|_| bits.get(5) as u8).collect();
        bits.check()?;
        let used: u64 = lengths.iter().filter(|&&l| l > 0).map(|&l| 1_u64 << (32 - l)).sum();
        if lengths.iter().any(|&l| u32::from(l) > MAX_BITS) || used > 1 << 32 {
            return Err(damaged());
        }
        Ok(Self::from_lengths(lengths))
    }
}

/// The lengths of optimal Huffman codes; 0 for symbols that do not occur.
fn code_lengths(counts: &[u64]) -> Vec<u8> {
    let mut heap: BinaryHeap<Reverse<(u64, usize)>> =
        counts.iter().enumerate().filter(|(_, c)| **c > 0).map(|(i, &c)| Reverse((c, i))).collect();
    let mut lengths = vec![0; counts.len()];
    if let (1, Some(Reverse((_, only)))) = (heap.len(), heap.peek()) {
        lengths[*only] = 1;
        return lengths;
    }
    // The children of the inner nodes, which are numbered after the symbols.
    let mut inner: Vec<[usize; 2]> = Vec::new();
    while let (Some(Reverse((a, left))), Some(Reverse((b, right)))) = (heap.pop(), heap.pop()) {
        inner.push([left, right]);
        heap.push(Reverse((a.saturating_add(b), counts.len() + inner.len() - 1)));
        if heap.len() == 1 {
            break;
        }
    }
    let mut depths = vec![0_u8; inner.len()];
    for (node, children) in inner.iter().enumerate().rev() {
        for &child in children {
            let depth = depths[node].saturating_add(1);
            match child.checked_sub(counts.len()) {
                Some(child) => depths[child] = depth,
                None => lengths[child] = depth,
            }
        }
    }
    lengths
}

/// The CRC-32 checksum of zip and PNG.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    /// The tables for a byte with 0 to 7 bytes after it ("slicing by 8": eight bytes at a time).
    static TABLES: [[u32; 256]; 8] = tables();
    let (eights, rest) = bytes.as_chunks::<8>();
    let crc = eights.iter().fold(u32::MAX, |crc, &eight| {
        let word = u64::from_le_bytes(eight) ^ u64::from(crc);
        (0..8).fold(0, |next, at| next ^ TABLES[7 - at][usize::from((word >> (8 * at)) as u8)])
    });
    !rest.iter().fold(crc, |crc, &byte| TABLES[0][usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut after = 1;
    while after < 8 {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[after - 1][byte];
            tables[after][byte] = tables[0][(shorter & 0xff) as usize] ^ (shorter >> 8);
            byte += 1;
        }
        after += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_is_that_of_zip() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b"The quick brown fox jumps over the lazy dog"), 0x414F_A339);
    }

    #[test]
    fn common_symbols_have_short_codes() {
        let code = Huffman::from_counts(&[1000, 1, 0, 500, 1]);
        assert_eq!([0, 1, 2, 3, 4].map(|s| code.length(s)), [1, 3, 0, 2, 3]);
        // Fibonacci numbers produce the longest codes.
        let mut counts = vec![1_u64, 1];
        while counts.len() < 60 {
            counts.push(counts[counts.len() - 1] + counts[counts.len() - 2]);
        }
        let code = Huffman::from_counts(&counts);
        assert!((0..60).all(|s| (1..=MAX_BITS).contains(&code.length(s))));
    }

    proptest! {
        #[test]
        fn written_bits_are_read_back(
            numbers in prop::collection::vec((0..u32::MAX - 1, 0..32_u32), 0..200),
            low in 0..20_u32,
            counts in prop::collection::vec(0..1000_u64, 2..600),
        ) {
            let code = Huffman::from_counts(&counts);
            let symbols: Vec<usize> = (0..counts.len()).filter(|&s| counts[s] > 0).collect();
            let mut bits = BitWriter::default();
            code.write(&mut bits);
            for &(number, shift) in &numbers {
                bits.put_gamma(number >> shift);
                bits.put_rice(number >> shift.max(low), low);
                bits.put(number, shift);
                if !symbols.is_empty() {
                    code.put(symbols[number as usize % symbols.len()], &mut bits);
                }
            }
            let length = bits.len();
            let bytes = bits.finish();
            let mut bits = BitReader::new(&bytes, 0);
            let code = Huffman::read(&mut bits, 600).expect("a good code");
            for &(number, shift) in &numbers {
                prop_assert_eq!(bits.get_gamma(), number >> shift);
                prop_assert_eq!(bits.get_rice(low), number >> shift.max(low));
                prop_assert_eq!(bits.get(shift), number & ((1 << shift) - 1));
                if !symbols.is_empty() {
                    prop_assert_eq!(code.get(&mut bits), symbols[number as usize % symbols.len()]);
                }
            }
            prop_assert_eq!(bits.position(), length);
            bits.check().expect("no bits beyond the end");
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), low in 0..25_u32) {
            let mut bits = BitReader::new(&bytes, 0);
            if let Ok(code) = Huffman::read(&mut bits, 1000) {
                while bits.check().is_ok() {
                    code.get(&mut bits);
                    bits.get_gamma();
                    bits.get_rice(low);
                }
            }
        }
    }
}
