//! The phones of English in the CMU Pronouncing Dictionary.

use crate::error::Result;
use crate::text::TokenTable;

/// The phones of American English in the notation of the CMU Pronouncing Dictionary, without stress. Their
/// token ids begin at 1; 0 is the blank.
pub const ARPABET: [&str; 39] = [
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY",
    "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y",
    "Z", "ZH",
];

/// The tokens of a model that outputs phones: the blank, then [`ARPABET`].
///
/// # Errors
/// Never in practice; the constant table is checked like any other.
pub fn phone_tokens() -> Result<TokenTable> {
    TokenTable::new(std::iter::once("<blk>").chain(ARPABET).map(String::from).collect(), 0)
}

/// The token id of a phone, ignoring stress digits; `None` if it is not in [`ARPABET`].
pub fn phone_token(phone: &str) -> Option<u32> {
    let plain = phone.trim_end_matches(|c: char| c.is_ascii_digit());
    ARPABET.iter().position(|p| *p == plain).map(|i| i as u32 + 1)
}
