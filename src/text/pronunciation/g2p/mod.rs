//! Grapheme-to-phoneme conversion with a joint n-gram model of graphones (Bisani and Ney, 2008), which are
//! letters with their phones.

mod align;
mod file;
mod model;
mod search;

pub use model::{G2p, TrainOptions};
pub use search::{Guess, GuessOptions};
