//! The recognizer, which is immutable and shared, and its streams, which contain everything that changes.
//!
//! ```text
//! samples ─► FrontEnd ─► StreamingNetwork (engine, state) ─► SegmentDecoder (decoder, words) ─► Event
//! ```
//!
//! [`Stream`] runs the three stages in the calling thread; [`pipeline`] runs them, and the reading of the audio,
//! each in a separate thread.

pub mod alignment;
mod builder;
mod confidence;
pub(crate) mod detector;
mod embedded;
pub mod front_end;
mod hotwords;
mod language;
mod load;
mod loaded_model;
mod meaning;
mod numbers;
mod open;
mod phrases;
pub mod pipeline;
mod pronunciations;
mod reference;
pub mod segments;
pub mod silero;
pub(crate) mod stream;
pub mod streaming_network;
pub(crate) mod transcript;
mod wake_word;
pub mod words;

pub use alignment::{AlignedToken, AlignedWord, Alignment, TimeSpan};
pub use builder::RecognizerBuilder;
pub use detector::{DetectorFactory, SpeechDetector};
pub use embedded::Embedded;
pub use hotwords::HotwordOptions;
pub use language::LanguageOptions;
pub use open::Recognizer;
pub use phrases::PhraseOptions;
pub use pipeline::Pipeline;
pub use reference::Reference;
pub use stream::{Stream, StreamOptions, step_batch};
pub use transcript::{Alternative, Event, PhraseMatch, Segment, SlotValue, Word, final_text};
pub use wake_word::WakeWordOptions;
pub use words::{FrameClock, WordBuilder};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizers_are_shared_and_streams_move_between_threads() {
        fn shared<T: Send + Sync + Clone + std::fmt::Debug>() {}
        fn moves<T: Send + std::fmt::Debug>() {}
        shared::<Recognizer>();
        shared::<StreamOptions>();
        shared::<Event>();
        shared::<crate::Error>();
        moves::<Stream>();
        moves::<Pipeline>();
        moves::<RecognizerBuilder>();
    }
}
