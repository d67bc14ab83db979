//! Scoring: error rates and speed.

pub mod timing;
pub mod wer;

pub use timing::Timing;
pub use wer::{Edits, Score, Scorer, count_edits};
