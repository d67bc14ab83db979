//! Tokens that represent bytes of UTF-8: `<0xE4>`, SentencePiece's byte fallback, and the alphabet of
//! icefall's byte-level BPE, in which every byte is a printable character.

use super::TokenTable;
use super::tokens::WORD_START;

/// Ranges of characters that represent the bytes 0 to 255, in order (icefall, `byte_utils.py`).
const ALPHABET: [(u32, u32); 7] =
    [(256, 287), (32, 126), (288, 305), (308, 318), (321, 328), (330, 382), (384, 422)];

/// How the tokens of a model represent bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteTokens {
    /// Some tokens are `<0x00>` to `<0xFF>`, as in SentencePiece.
    Fallback,
    /// All tokens consist of characters of the byte-level BPE alphabet.
    Alphabet,
}

impl ByteTokens {
    /// How the tokens of a table represent bytes; `None` if they do not.
    pub fn detect(tokens: &TokenTable) -> Option<Self> {
        let tokens = tokens.tokens();
        if tokens.iter().any(|t| fallback_byte(t).is_some()) {
            return Some(ByteTokens::Fallback);
        }
        let plain = |t: &&String| !(t.starts_with('<') && t.ends_with('>'));
        let letters = tokens.iter().filter(plain).flat_map(|t| t.chars()).filter(|c| *c != WORD_START);
        // sherpa-onnx's criterion: bytes from 0xD9 have the characters of the last range, which ordinary
        // tokens do not contain.
        let (mut all, mut some) = (true, false);
        for letter in letters {
            all &= alphabet_byte(letter).is_some();
            some |= (384..=422).contains(&u32::from(letter));
        }
        (all && some).then_some(ByteTokens::Alphabet)
    }

    /// Decodes the joined tokens of a word; invalid UTF-8 becomes U+FFFD.
    pub fn decode(self, word: &str) -> String {
        let mut bytes = Vec::with_capacity(word.len());
        let mut rest = word;
        while let Some(letter) = rest.chars().next() {
            let taken = match self {
                ByteTokens::Fallback => rest.get(..6).and_then(fallback_byte).map(|byte| (byte, 6)),
                ByteTokens::Alphabet => alphabet_byte(letter).map(|byte| (byte, letter.len_utf8())),
            };
            let length = match taken {
                Some((byte, length)) => {
                    bytes.push(byte);
                    length
                }
                None => {
                    bytes.extend_from_slice(&rest.as_bytes()[..letter.len_utf8()]);
                    letter.len_utf8()
                }
            };
            rest = &rest[length..];
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The byte of `<0xHH>`.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let hex = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    if hex { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// The byte that a character of the alphabet represents.
fn alphabet_byte(letter: char) -> Option<u8> {
    let mut before = 0;
    for (first, last) in ALPHABET {
        if (first..=last).contains(&u32::from(letter)) {
            return u8::try_from(before + u32::from(letter) - first).ok();
        }
        before += last - first + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(tokens: &[&str]) -> TokenTable {
        TokenTable::new(tokens.iter().map(|t| t.to_string()).collect(), 0).expect("a good table")
    }

    /// A text encoded in the alphabet.
    fn encoded(text: &str) -> String {
        let letters: Vec<char> =
            ALPHABET.iter().flat_map(|&(a, b)| a..=b).filter_map(char::from_u32).collect();
        assert_eq!(letters.len(), 256);
        text.bytes().map(|b| letters[usize::from(b)]).collect()
    }

    #[test]
    fn fallback_bytes_become_letters() {
        let bytes = ByteTokens::detect(&table(&["<blk>", "<0xE4>", "<0xBD>", "<0xA0>", "▁a"]));
        assert_eq!(bytes, Some(ByteTokens::Fallback));
        let bytes = ByteTokens::Fallback;
        assert_eq!(bytes.decode("x<0xE4><0xBD><0xA0>é"), "x你é");
        assert_eq!(bytes.decode("<0xE4>y"), "\u{fffd}y");
        assert_eq!(bytes.decode("<0xZZ><0x1>"), "<0xZZ><0x1>");
    }

    #[test]
    fn the_alphabet_of_byte_level_bpe_becomes_letters() {
        for text in ["hello", "你好", "Grüße", "日本語", "\u{7f}\u{1}"] {
            assert_eq!(ByteTokens::Alphabet.decode(&encoded(text)), text);
        }
        let pieces = [encoded("你"), encoded("ß"), "▁a".into()];
        let names: Vec<&str> =
            ["<blk>", "<unk>"].into_iter().chain(pieces.iter().map(String::as_str)).collect();
        assert_eq!(ByteTokens::detect(&table(&names)), Some(ByteTokens::Alphabet));
    }

    #[test]
    fn ordinary_tokens_are_left_alone() {
        assert_eq!(ByteTokens::detect(&table(&["<blk>", "▁one", "▁two", "é", "ä"])), None);
        assert_eq!(ByteTokens::detect(&table(&["<blk>", "你", "好"])), None);
    }
}
