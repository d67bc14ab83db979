//! The recogniser: shared and immutable; a stream holds all that one speaker changes.

pub mod transcript;
pub mod words;

pub use transcript::{Event, Segment, Word};
pub use words::{FrameClock, WordBuilder};
