//! Pronunciations: dictionaries, rules for words derived from known ones, and prediction from letters.

mod compact;
pub mod dictionary;
mod english;
mod file;
pub mod g2p;
pub mod phones;
pub mod pronouncer;

pub use compact::CompactDictionary;
pub use dictionary::Pronunciations;
pub use g2p::G2p;
pub use phones::{ARPABET, phone_token, phone_tokens};
pub use pronouncer::{Pronouncer, Pronunciation, Source};
