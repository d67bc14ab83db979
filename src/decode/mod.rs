//! Decoding of log-probabilities: CTC best path over a model's tokens, beam search over a lexicon and a language
//! model, and forced alignment of a known text.
//!
//! The input of a decoder is output frames of V log-probabilities (natural logarithm). A stream may contain several
//! segments: [`Decoder::end_segment`] ends a segment but not the stream, and frame numbers count from the beginning
//! of the stream.

pub mod align;
pub mod dictation;
pub mod endpoint;
pub mod greedy;
mod history;
pub mod hotwords;
pub mod keyword;
pub mod language_model;
pub mod lexicon;
mod nbest;
pub mod ngram;
pub mod options;
mod paths;
pub mod phrases;
pub mod rejection;
pub mod search;
pub(crate) mod vocabulary;
mod wake_word;

use std::sync::Arc;

pub use align::{AlignedPath, Aligner, LabelSpan, ReferenceWord};
pub use dictation::{DictationModel, PhraseCosts};
pub use endpoint::{Endpoint, EndpointOptions, Endpointer};
pub use greedy::Greedy;
pub use hotwords::{ContextGraph, HotwordModel};
pub use keyword::{KeywordMatch, KeywordPronunciation, KeywordSpotter, Keywords};
pub use language_model::{LanguageModel, LmState, WordLoop};
pub use lexicon::Lexicon;
pub use ngram::{NgramLanguageModel, NgramWeights};
pub use options::{DecoderOptions, Pronunciation};
pub use phrases::{PhraseModel, PhraseModelCosts};
pub use rejection::{Onsets, Rejection, RejectionContext, RejectionOptions};
pub use search::Search;
pub use vocabulary::{Beam, Vocabulary};
pub use wake_word::WakeWordDecoder;

use crate::error::{Error, Result, Stage};
use crate::text::TokenTable;

/// A token of the model: its index in the token table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub u32);

impl TokenId {
    /// The token's index in a frame of log-probabilities.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A word of the lexicon: its index in [`lexicon::words`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WordId(pub u32);

/// Maximum number of hypotheses of a decoder.
pub const MAX_NBEST: usize = 100;

/// An item of a decoder's output: a token if the model has no lexicon, else a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A token of the model.
    Token(TokenId),
    /// A word of the lexicon.
    Word(WordId),
}

/// A unit with its frames and its log-probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitSpan {
    /// The token or word.
    pub unit: Unit,
    /// First output frame of the token, or of the word's first label, counted from the beginning of the stream.
    pub start: u64,
    /// One past the last output frame of the unit.
    pub end: u64,
    /// Maximum log-probability of the token over its frames, without bias; of a word, the mean of these over its
    /// labels.
    pub log_prob: f32,
}

/// One of the n best hypotheses of a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// Score relative to the best hypothesis, nats: 0 for the best, at most 0 for the others. A score is the
    /// log-probability of the path minus its costs by the language model.
    pub score: f32,
    /// The units in order of time.
    pub units: Vec<UnitSpan>,
}

/// Decoder of one stream.
pub trait Decoder: Send {
    /// Decodes log-probabilities `[U, V]` of U frames.
    fn push(&mut self, log_probs: &[f32]);

    /// The best hypothesis of the current segment so far, in order of time.
    fn best(&self) -> Vec<UnitSpan>;

    /// The frame in which the first unit begins that may still change; `None` if no unit can change.
    fn open_since(&self) -> Option<u64>;

    /// A number that changes whenever the result of [`Decoder::best`] may have changed; cheaper than a comparison.
    fn revision(&self) -> u64;

    /// Number of output frames since the stream began.
    fn num_frames(&self) -> u64;

    /// Ends the segment and returns its units, which no longer change. The stream continues: frame numbers are not
    /// reset. A label whose frames extend over the end of the segment is returned only once; if other frames separate
    /// two occurrences of a label, they are two labels.
    fn end_segment(&mut self) -> Vec<UnitSpan>;

    /// The n best hypotheses of the current segment if it ended here, all with different units, best first; empty if
    /// n is 1. The units of the first are those that [`Decoder::end_segment`] would return.
    fn hypotheses(&self) -> Vec<Hypothesis> {
        Vec::new()
    }

    /// The likeliest token of the last frame; `None` for the blank, and before the first frame.
    fn likeliest(&self) -> Option<TokenId>;

    /// Whether the most recent speech is out-of-vocabulary speech.
    fn follows_other_speech(&self) -> bool {
        false
    }

    /// Ends the segment before the unit that begins at frame `first` and returns the units before it, which no longer
    /// change. The new segment begins with that unit.
    fn end_segment_before(&mut self, first: u64) -> Vec<UnitSpan>;

    /// Resets the decoder: the next frame is the first of a new stream.
    fn reset(&mut self);

    /// Sets the number of the next frame, before the first one: the decoder continues the stream of another one.
    fn begin_at(&mut self, frame: u64);
}

/// Creates the decoder of each stream.
#[derive(Clone)]
pub enum DecoderFactory {
    /// CTC best path over the model's tokens.
    Greedy(Greedy),
    /// Beam search over the model's lexicon.
    Search(Arc<Vocabulary>),
    /// Spotting of wake words, and decoding of the words after them.
    WakeWords(Arc<WakeWords>),
}

/// Wake words, and what is decoded after them.
pub struct WakeWords {
    /// Their spellings.
    pub names: Vec<String>,
    /// Their pronunciations.
    pub keywords: Arc<Keywords>,
    /// The decoders of the words after a wake word; `None` if only wake words are decoded.
    pub words: Option<DecoderFactory>,
    /// V, the number of tokens of the network.
    pub num_tokens: usize,
}

impl WakeWords {
    /// Creates a decoder of a stream; `words` decodes the words after a wake word.
    fn decoder(&self, words: Option<Box<dyn Decoder>>) -> WakeWordDecoder {
        let num_words = self.words.as_ref().map_or(0, |words| words.words().len() as u32);
        WakeWordDecoder::new(Arc::clone(&self.keywords), WordId(num_words), words, self.num_tokens)
    }
}

impl DecoderFactory {
    /// Creates the factory for a model: a search over its lexicon if it has one, else the best path over its tokens. An
    /// output frame lasts `frame_seconds`.
    ///
    /// # Errors
    /// When the lexicon does not fit the tokens, or words are to be rejected without a lexicon.
    pub fn new(tokens: &TokenTable, options: &DecoderOptions, frame_seconds: f64) -> Result<Self> {
        if options.lexicon.is_empty() {
            if options.rejection.is_some() {
                let problem = "`rejection` needs a lexicon, and the model has none";
                return Err(Error::new(Stage::Model, problem));
            }
            return Ok(Self::Greedy(Greedy::new(tokens, options)));
        }
        let words = Arc::new(WordLoop { word_cost: options.word_cost });
        Self::search(tokens, options, frame_seconds, words)
    }

    /// Creates the factory of a search over the model's lexicon with a language model of its words.
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

    /// Spellings of the words, indexed by [`WordId`]; empty without a lexicon.
    pub fn words(&self) -> Arc<[String]> {
        match self {
            Self::Greedy(_) => Arc::from([]),
            Self::Search(vocabulary) => Arc::clone(vocabulary.lexicon().names()),
            Self::WakeWords(wake_words) => {
                let words = wake_words.words.as_ref().map_or_else(|| Arc::from([]), Self::words);
                words.iter().chain(&wake_words.names).cloned().collect()
            }
        }
    }

    /// Number of [words](Self::words) that are not wake words.
    pub fn num_words(&self) -> usize {
        match self {
            Self::WakeWords(wake_words) => wake_words.words.as_ref().map_or(0, Self::num_words),
            _ => self.words().len(),
        }
    }

    /// Whether the words are those of a lexicon, so that decoders find alternatives.
    pub fn is_search(&self) -> bool {
        match self {
            Self::Search(_) => true,
            Self::WakeWords(wake_words) => wake_words.words.as_ref().is_some_and(Self::is_search),
            Self::Greedy(_) => false,
        }
    }

    /// Creates the decoder of a stream.
    pub fn decoder(&self) -> Box<dyn Decoder> {
        match self {
            Self::Greedy(greedy) => Box::new(greedy.clone()),
            Self::Search(vocabulary) => Box::new(Search::new(Arc::clone(vocabulary))),
            Self::WakeWords(wake_words) => {
                Box::new(wake_words.decoder(wake_words.words.as_ref().map(Self::decoder)))
            }
        }
    }

    /// Creates the decoder of a stream that finds the `n` best hypotheses, 1 to [`MAX_NBEST`].
    ///
    /// # Errors
    /// When `n` is out of this range, or greater than 1 for a model without a lexicon.
    pub fn nbest_decoder(&self, n: usize) -> Result<Box<dyn Decoder>> {
        let wrong = |problem: String| Err(Error::new(Stage::Usage, problem));
        match self {
            _ if !(1..=MAX_NBEST).contains(&n) => {
                wrong(format!("alternatives: expected a number from 1 to {MAX_NBEST}, found {n}"))
            }
            Self::Search(vocabulary) => Ok(Box::new(Search::new(Arc::clone(vocabulary)).with_nbest(n))),
            Self::WakeWords(wake_words) => {
                let words = wake_words.words.as_ref().map(|words| words.nbest_decoder(n)).transpose()?;
                Ok(Box::new(wake_words.decoder(words)))
            }
            Self::Greedy(_) if n > 1 => wrong(
                "alternatives need a search over words, and this model has no lexicon".into(),
            )
            .map_err(|e: Error| {
                e.hint("with a model whose tokens are phones, give a language model").remedy("language_model")
            }),
            Self::Greedy(_) => Ok(self.decoder()),
        }
    }
}

/// Biases that are added to the tokens' log-probabilities in a search: those of the blank and of the filler tokens in
/// the model's decoder options.
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

    /// The bias of each token, `[V]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub fn blank(&self) -> TokenId {
        self.blank
    }

    /// The likeliest token of a frame and its score. Among equal scores, the smallest id is taken; if all scores are
    /// NaN or negative infinity, the blank.
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
