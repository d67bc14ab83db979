//! Evaluation: word error rates and real-time factors of recognizers on a manifest.

mod timing;
mod utterance;
mod wer;

pub use timing::Timing;
pub use utterance::{Utterance, evaluate_entry};
pub use wer::{Edits, Score, Scorer, count_edits, worst_first};
