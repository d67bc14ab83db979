//! What a model writes: tokens and words.

pub mod tokens;

pub use tokens::TokenTable;
