//! N-grams packed into integers: the ids of their words next to each other, so that n-grams are sorted and
//! joined by comparing integers.

use std::ops::{BitOr, Shl, Shr};

/// An integer that holds an n-gram of the highest order.
pub(super) trait Key:
    Copy + Default + Ord + Send + Shl<u32, Output = Self> + Shr<u32, Output = Self> + BitOr<Output = Self>
{
    /// The integer's width in bytes.
    const BYTES: usize;
    /// A word's id as a key.
    fn of(word: u32) -> Self;
    /// The lowest 32 bits.
    fn low(self) -> u32;
    /// Writes the integer to the first [`Key::BYTES`] bytes, little-endian.
    fn put(self, bytes: &mut [u8]);
    /// The inverse of [`Key::put`].
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! key {
    ($type:ty) => {
        impl Key for $type {
            const BYTES: usize = size_of::<$type>();

            fn of(word: u32) -> Self {
                word.into()
            }

            fn low(self) -> u32 {
                self as u32
            }

            fn put(self, bytes: &mut [u8]) {
                bytes[..Self::BYTES].copy_from_slice(&self.to_le_bytes());
            }

            fn get(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$type>()];
                own.copy_from_slice(&bytes[..Self::BYTES]);
                Self::from_le_bytes(own)
            }
        }
    };
}

key!(u64);
key!(u128);

/// The number of bits of a word id in a key.
///
/// In *prefix order* the first word has the highest bits, so that sorted n-grams are grouped by their
/// histories; in *suffix order* the last word has them, so that they are grouped by their suffixes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    bits: u32,
}

impl Packing {
    /// The packing for ids below `words`.
    pub fn new(words: usize) -> Self {
        Self { bits: usize::BITS - words.max(2).saturating_sub(1).leading_zeros() }
    }

    /// The number of bits of an n-gram.
    pub fn bits(self, order: usize) -> usize {
        self.bits as usize * order
    }

    /// Appends a word in the lowest bits.
    pub fn push<K: Key>(self, key: K, word: u32) -> K {
        (key << self.bits) | K::of(word)
    }

    /// Removes the word in the lowest bits.
    pub fn pop<K: Key>(self, key: K) -> K {
        key >> self.bits
    }

    /// The word in a key's lowest bits.
    pub fn last<K: Key>(self, key: K) -> u32 {
        self.word(key, 0)
    }

    /// The word at position `place`, counted from the lowest bits.
    pub fn word<K: Key>(self, key: K, place: usize) -> u32 {
        let mask = if self.bits >= 32 { u32::MAX } else { (1 << self.bits) - 1 };
        (key >> (self.bits * place as u32)).low() & mask
    }

    /// Reverses the `order` lowest words: converts suffix order to prefix order and back.
    pub fn reversed<K: Key>(self, key: K, order: usize) -> K {
        (0..order).fold(K::default(), |reversed, place| self.push(reversed, self.word(key, place)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_both_widths_round_trip() {
        fn check<K: Key + std::fmt::Debug>(words: &[u32], vocabulary: usize) {
            let packing = Packing::new(vocabulary);
            let key = words.iter().fold(K::default(), |key, &w| packing.push(key, w));
            let back: Vec<u32> = (0..words.len()).rev().map(|place| packing.word(key, place)).collect();
            assert_eq!(back, words);
            let reversed = packing.reversed(key, words.len());
            assert_eq!(packing.last(reversed), words[0]);
            assert_eq!(packing.reversed(reversed, words.len()), key);
            let mut bytes = [0; 16];
            key.put(&mut bytes);
            assert_eq!(K::get(&bytes), key);
        }
        check::<u64>(&[1, 5, 2_097_151], 1 << 21);
        check::<u64>(&[0, 1], 2);
        check::<u128>(&[33_554_431, 0, 7, 33_554_431, 1], 1 << 25);
    }
}
