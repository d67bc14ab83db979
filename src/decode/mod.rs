//! Log-probabilities to tokens: CTC best path and prefix beam search.
//!
//! A decoder sees U output frames of V log-probabilities (natural logarithm). It hears a stream
//! that may hold several segments: frames are counted from the stream's first, and
//! [`Decoder::end_segment`] closes a segment without closing the stream.

pub mod endpoint;
pub mod greedy;
pub mod lexicon;
pub mod options;
pub mod prefix_beam;
pub mod rejection;

pub use endpoint::{Endpoint, EndpointOptions, Endpointer};
pub use greedy::Greedy;
pub use lexicon::Lexicon;
pub(crate) use options::token_bias;
pub use options::{DecoderOptions, Pronunciation};
pub use prefix_beam::{PrefixBeam, PrefixBeamOptions};
pub use rejection::{Onsets, Rejection, RejectionOptions, Surroundings};

use crate::error::Result;
use crate::text::TokenTable;

/// A label of the best label sequence, and where it was heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    pub id: u32,
    /// The first output frame of its run, counted from the stream's first frame.
    pub start: u64,
    /// The frame of its run where it was surest.
    pub peak: u64,
    /// One past the last frame of its run.
    pub end: u64,
    /// Its log-probability at the peak, as the network gave it (no bias).
    pub log_prob: f32,
}

/// Finds the labels behind the log-probabilities of one stream.
pub trait Decoder: Send {
    /// Takes `[U, V]` log-probabilities, U whole frames.
    fn push(&mut self, log_probs: &[f32]);

    /// The best label sequence of the current segment so far, oldest first.
    fn best(&self) -> Vec<Token>;

    /// The labels of [`Decoder::best`] whose runs begin at frame `first` or later.
    fn best_since(&self, first: u64) -> Vec<Token> {
        let mut tokens = self.best();
        tokens.retain(|token| token.start >= first);
        tokens
    }

    /// A number that changes whenever what [`Decoder::best`] gives may read differently; cheap.
    fn revision(&self) -> u64;

    /// Output frames heard since the stream began.
    fn num_frames(&self) -> u64;

    /// Ends the segment and gives its labels for good. The stream goes on: frames are counted
    /// on, and a label that is heard on both sides of the cut is two labels, unless its run goes
    /// on without a break (then it was given already, and is not given again).
    fn end_segment(&mut self) -> Vec<Token>;

    /// Whether the last frame is a blank on the best path: no label is being heard.
    fn in_blank(&self) -> bool {
        self.best().last().is_none_or(|token| token.end < self.num_frames())
    }

    /// Ends the segment before the label that began at frame `first`, and gives the labels in
    /// front of it for good; it and those behind it are the first of the new segment. A search
    /// that cannot part them gives all, and nothing is kept.
    fn end_segment_before(&mut self, first: u64) -> Vec<Token> {
        let _ = first;
        self.end_segment()
    }

    /// Forgets everything: the next frame is a stream's first.
    fn reset(&mut self);
}

/// The search that a model asks for: over its lexicon, or else the best path of its tokens.
///
/// # Errors
/// When the lexicon does not fit the tokens.
pub fn decoder_of(tokens: &TokenTable, options: &DecoderOptions) -> Result<Box<dyn Decoder>> {
    Ok(match options.lexicon.is_empty() {
        true => Box::new(Greedy::new(tokens, options)),
        false => Box::new(Lexicon::new(tokens, options)?),
    })
}
