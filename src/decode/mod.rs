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
pub mod hotwords;
pub mod language_model;
pub mod lexicon;
mod nbest;
pub mod ngram;
pub mod options;
pub mod phrases;
pub mod rejection;
pub mod search;

use std::sync::Arc;

pub use align::{AlignedPath, Aligner, LabelSpan, ReferenceWord};
pub use endpoint::{Endpoint, EndpointOptions, Endpointer};
pub use greedy::Greedy;
pub use hotwords::{ContextGraph, HotwordModel};
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
    /// Its index in a frame of log-probabilities.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A word of the lexicon, by its place in [`lexicon::words`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WordId(pub u32);

/// The largest number of sequences that a decoder finds.
pub const MAX_NBEST: usize = 100;

/// What a decoder finds: tokens of a model without a lexicon, whole words of one with a lexicon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A token of the model.
    Token(TokenId),
    /// A word of the lexicon.
    Word(WordId),
}

/// A unit, and where it was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitSpan {
    /// The token or word.
    pub unit: Unit,
    /// The first output frame of its run (of its first label's), counted from the stream's first frame.
    pub start: u64,
    /// One past the last frame of its run.
    pub end: u64,
    /// The log-probability of a token at its most confident frame, without bias; that of a word is the mean over its
    /// labels.
    pub log_prob: f32,
}

/// One of the best sequences of a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Nats above the best, 0 for the best itself, below 0 for the others: log-probabilities, and costs of the language
    /// model.
    pub score: f32,
    /// The units, oldest first.
    pub units: Vec<UnitSpan>,
}

/// Finds the units behind the log-probabilities of one stream.
pub trait Decoder: Send {
    /// Takes `[U, V]` log-probabilities, U whole frames.
    fn push(&mut self, log_probs: &[f32]);

    /// The best sequence of the current segment so far, oldest first.
    fn best(&self) -> Vec<UnitSpan>;

    /// The frame in which the first unit begins that may still change or vanish; `None` when all that were found
    /// will stay.
    fn open_since(&self) -> Option<u64>;

    /// A number that changes whenever the result of [`Decoder::best`] may have changed; cheap.
    fn revision(&self) -> u64;

    /// Output frames taken since the stream began.
    fn num_frames(&self) -> u64;

    /// Ends the segment and returns its units, which no longer change. The stream goes on: frames are counted
    /// on, and a label that is found on both sides of the cut is two labels, unless its run goes
    /// on without a break (then it was returned before, and is not returned again).
    fn end_segment(&mut self) -> Vec<UnitSpan>;

    /// The n best sequences of the current segment if it ended here, all different, the best first; none where only the
    /// best is asked for. The first is that of [`Decoder::end_segment`].
    fn hypotheses(&self) -> Vec<Hypothesis> {
        Vec::new()
    }

    /// The likeliest token of the last frame; `None` for the blank, and before the first frame.
    fn likeliest(&self) -> Option<TokenId>;

    /// Whether the last speech up to the last frame was other speech, none of the words of the model.
    fn follows_other_speech(&self) -> bool {
        false
    }

    /// Ends the segment before the unit that began at frame `first`, and returns those in
    /// front of it, which no longer change; it and those behind it are the first of the new segment.
    fn end_segment_before(&mut self, first: u64) -> Vec<UnitSpan>;

    /// Resets the decoder: the next frame is the first of a stream.
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
        let words = Arc::new(WordLoop { word_cost: options.word_cost });
        Self::search(tokens, options, frame_seconds, words)
    }

    /// A search over the model's lexicon with a language model of its words.
    ///
    /// # Errors
    /// When the lexicon does not fit the tokens.
    pub fn search(
        tokens: &TokenTable,
        options: &DecoderOptions,
        frame_seconds: f64,
        language_model: Arc<dyn LanguageModel>,
    ) -> Result<Self> {
        let lexicon = Lexicon::new(tokens, &options.lexicon)?;
        let beam = Beam::default();
        let vocabulary = Vocabulary::new(tokens, lexicon, language_model, options, frame_seconds, beam);
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

    /// A decoder at the beginning of a stream that finds the `n` best sequences, not more than [`MAX_NBEST`].
    ///
    /// # Errors
    /// When `n` is 0 or larger, or greater than 1 without a lexicon, where only the best sequence is found.
    pub fn nbest_decoder(&self, n: usize) -> Result<Box<dyn Decoder>> {
        let wrong = |problem: String| Err(Error::new(Stage::Usage, problem));
        match self {
            _ if !(1..=MAX_NBEST).contains(&n) => {
                wrong(format!("alternatives: expected a number from 1 to {MAX_NBEST}, found {n}"))
            }
            Self::Search(vocabulary) => Ok(Box::new(Search::new(Arc::clone(vocabulary)).with_nbest(n))),
            Self::Greedy(_) if n > 1 => wrong(
                "alternatives need a search over words, and this model has no lexicon".into(),
            )
            .map_err(|e: Error| {
                e.hint("with a model whose tokens are phones, give a language model: `--lm FILE`")
            }),
            Self::Greedy(_) => Ok(self.decoder()),
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
