//! Letters to phones (grapheme to phoneme) by a joint n-gram of graphones, letters with the phones that
//! they stand for.

mod align;
mod file;
mod model;
mod search;

pub use model::{G2p, TrainOptions};
pub use search::{Guess, GuessOptions};
