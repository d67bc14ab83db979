//! What a model writes: tokens and words.

pub mod pronunciations;
pub mod tokens;

pub use tokens::TokenTable;
