//! What a model writes: tokens and words.

pub(crate) mod bits;
pub mod bytes;
pub mod ngram;
pub mod normalize;
pub mod pronunciation;
pub mod tokens;

pub use bytes::ByteTokens;
pub use tokens::TokenTable;
