//! Log-probabilities to words: the best path of a model's tokens, a beam search over a lexicon and a
//! language model, and the forced alignment of a known text.
//!
//! A decoder sees U output frames of V log-probabilities (natural logarithm). It follows a stream
//! that may hold several segments: frames are counted from the stream's first, and
//! [`Decoder::end_segment`] closes a segment without closing the stream.

pub mod align;
pub mod endpoint;
pub mod greedy;
mod history;
pub mod language_model;
pub mod lexicon;
pub mod ngram;
pub mod options;
pub mod phrases;
pub mod rejection;
pub mod search;

use std::sync::Arc;

pub use align::{AlignedPath, Aligner, LabelSpan, ReferenceWord};
pub use endpoint::{Endpoint, EndpointOptions, Endpointer};
pub use greedy::Greedy;
pub use language_model::{LanguageModel, LmState, WordLoop};
pub use lexicon::Lexicon;
pub use ngram::{NgramLanguageModel, NgramWeights};
pub use options::{DecoderOptions, Pronunciation};
pub use phrases::PhraseModel;
pub use rejection::{Onsets, Rejection, RejectionOptions, Surroundings};
pub use search::{Beam, Search, Vocabulary};

use crate::error::{Error, Result, Stage};
use crate::text::TokenTable;

/// A token of the model, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub u32);

impl TokenId {
    /// Where it stands in a frame.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A word of the lexicon, by its place in [`lexicon::words`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WordId(pub u32);

/// What a decoder finds: tokens of a model without a lexicon, whole words of one with a lexicon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Token(TokenId),
    Word(WordId),
}

/// A unit, and where it was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitSpan {
    pub unit: Unit,
    /// The first output frame of its run (of its first label's), counted from the stream's first frame.
    pub start: u64,
    /// One past the last frame of its run.
    pub end: u64,
    /// Its log-probability at its surest frame, as the network gave it (no bias); a word's is the mean of
    /// its labels'.
    pub log_prob: f32,
}

/// Finds the units behind the log-probabilities of one stream.
pub trait Decoder: Send {
    /// Takes `[U, V]` log-probabilities, U whole frames.
    fn push(&mut self, log_probs: &[f32]);

    /// The best sequence of the current segment so far, oldest first.
    fn best(&self) -> Vec<UnitSpan>;

    /// The frame in which the first unit begins that may still be another, or be there or not; `None` when all
    /// that were found will stay.
    fn open_since(&self) -> Option<u64>;

    /// A number that changes whenever what [`Decoder::best`] gives may read differently; cheap.
    fn revision(&self) -> u64;

    /// Output frames taken since the stream began.
    fn num_frames(&self) -> u64;

    /// Ends the segment and gives its units for good. The stream goes on: frames are counted
    /// on, and a label that is found on both sides of the cut is two labels, unless its run goes
    /// on without a break (then it was given already, and is not given again).
    fn end_segment(&mut self) -> Vec<UnitSpan>;

    /// The likeliest token of the last frame; `None` for the blank, and before the first frame.
    fn likeliest(&self) -> Option<TokenId>;

    /// Whether the last that was said, up to the last frame, was speech that is none of the model's words.
    fn follows_other_speech(&self) -> bool {
        false
    }

    /// Ends the segment before the unit that began at frame `first`, and gives those in
    /// front of it for good; it and those behind it are the first of the new segment.
    fn end_segment_before(&mut self, first: u64) -> Vec<UnitSpan>;

    /// Forgets everything: the next frame is a stream's first.
    fn reset(&mut self);
}

/// Makes the decoder of each stream.
#[derive(Clone)]
pub enum DecoderFactory {
    /// The best path of the model's tokens.
    Greedy(Greedy),
    /// A search over the model's lexicon.
    Search(Arc<Vocabulary>),
}

impl DecoderFactory {
    /// What a model asks for: a search over its lexicon, if it has one, else the best path of its tokens. An
    /// output frame lasts `frame_seconds`.
    ///
    /// # Errors
    /// When the lexicon does not fit the tokens, or words are to be rejected without a lexicon.
    pub fn new(tokens: &TokenTable, options: &DecoderOptions, frame_seconds: f64) -> Result<Self> {
        if options.lexicon.is_empty() {
            if options.rejection.is_some() {
                let problem = "`rejection` tells the words of a lexicon from other speech, and the model has no lexicon";
                return Err(Error::new(Stage::Model, problem));
            }
            return Ok(Self::Greedy(Greedy::new(tokens, options)));
        }
        let lexicon = Lexicon::new(tokens, &options.lexicon)?;
        let words = Arc::new(WordLoop { word_cost: options.word_cost });
        let vocabulary = Vocabulary::new(tokens, lexicon, words, options, frame_seconds, Beam::default());
        Ok(Self::Search(Arc::new(vocabulary)))
    }

    /// The words that are written, by their ids; empty without a lexicon.
    pub fn words(&self) -> Arc<[String]> {
        match self {
            Self::Greedy(_) => Arc::from([]),
            Self::Search(vocabulary) => Arc::clone(vocabulary.lexicon().names()),
        }
    }

    /// A decoder at the beginning of a stream.
    pub fn decoder(&self) -> Box<dyn Decoder> {
        match self {
            Self::Greedy(greedy) => Box::new(greedy.clone()),
            Self::Search(vocabulary) => Box::new(Search::new(Arc::clone(vocabulary))),
        }
    }
}

/// What is added to each token's log-probability before tokens compete: the blank's and the fillers' bias
/// of the model's decoder options.
#[derive(Clone, Debug)]
pub(crate) struct TokenBias {
    values: Vec<f32>,
    blank: TokenId,
}

impl TokenBias {
    pub fn new(tokens: &TokenTable, options: &DecoderOptions) -> Self {
        let mut values = vec![0.0; tokens.len()];
        for (id, token) in tokens.tokens().iter().enumerate() {
            if options.filler.contains(token) {
                values[id] += options.filler_bias;
            }
        }
        values[tokens.blank() as usize] += options.blank_bias;
        Self { values, blank: TokenId(tokens.blank()) }
    }

    /// `[V]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub fn blank(&self) -> TokenId {
        self.blank
    }

    /// The likeliest token of a frame, and its score; the smallest id among equals; the blank when no
    /// number is comparable.
    pub fn likeliest(&self, frame: &[f32]) -> (TokenId, f32) {
        let mut best = (self.blank, f32::NEG_INFINITY);
        for (id, (log_prob, bias)) in frame.iter().zip(&self.values).enumerate() {
            let score = log_prob + bias;
            if score > best.1 {
                best = (TokenId(id as u32), score);
            }
        }
        best
    }
}
