//! The recogniser: shared and immutable; a stream holds all that one speaker changes.
//!
//! ```text
//! samples ─► FrontEnd ─► Stepper (engine, state) ─► SegmentDecoder (decoder, words) ─► Event
//! ```
//!
//! [`Stream`] runs the three stages one after the other where it is called; [`pipeline`] runs
//! them, and the reading of the audio, on threads of their own.

pub mod detector;
pub mod embedded;
pub mod evaluate;
pub mod front_end;
mod language;
mod open;
#[cfg(feature = "digits")]
mod packing;
pub mod pipeline;
pub mod segments;
pub mod silero;
pub mod stepper;
pub mod stream;
pub mod transcript;
pub mod words;

pub use detector::{DetectorFactory, SpeechDetector};
pub use evaluate::{Utterance, evaluate_entry};
pub use language::{LanguageOptions, LanguageSummary};
pub use open::{Recognizer, final_text};
pub use pipeline::Pipeline;
pub use stream::{Stream, StreamOptions, step_batch};
pub use transcript::{Event, Segment, Word};
pub use words::{FrameClock, WordBuilder};
