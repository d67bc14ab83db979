//! Text: tokens, words, numbers, pronunciations and language models.

pub(crate) mod bits;
pub mod bytes;
pub mod hotwords;
pub mod ngram;
pub mod normalize;
pub mod numbers;
pub mod phrases;
pub mod pronunciation;
pub mod tokens;

/// The position of `part` in its line, in characters from 1; the end of the line if it is not a slice of
/// it.
pub(crate) fn column(line: &str, part: &str) -> String {
    let offset = (part.as_ptr() as usize).wrapping_sub(line.as_ptr() as usize);
    let before = line.get(..offset).unwrap_or(line);
    format!("column {}", before.chars().count() + 1)
}

pub use bytes::ByteTokens;
pub use tokens::TokenTable;
