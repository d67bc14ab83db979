//! Evaluation: word error rates and real-time factors of recognizers on a manifest.

pub mod timing;
pub mod utterance;
pub mod wer;

pub use timing::Timing;
pub use utterance::{Utterance, evaluate_entry};
pub use wer::{Edits, Score, Scorer, count_edits};
