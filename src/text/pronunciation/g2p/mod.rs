//! Letters to phones (grapheme to phoneme) by a joint n-gram of graphones, pieces of a word that are
//! a letter or two and the phones they stand for.

mod align;
mod model;
mod search;

pub use model::{G2p, TrainOptions};
pub use search::{Guess, GuessOptions};
