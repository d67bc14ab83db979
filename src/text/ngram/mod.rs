//! N-gram language models: counting, estimation, pruning, interpolation, files and queries.

mod arpa;
mod binary;
mod discounts;
mod estimate;
mod interpolate;
mod key;
mod model;
mod prune;
mod sorter;
mod text;
mod trie;
mod vocabulary;

pub use arpa::{ArpaWriter, read_arpa};
pub(crate) use binary::{read_trie, write_trie};
pub use discounts::Discounts;
pub use estimate::{EstimateOptions, Estimator, OrderSummary};
pub use model::{NgramModel, Perplexity};
pub use text::{Text, VocabularyLimit};
pub use trie::{NgramState, Trie, TrieBuilder};
pub use vocabulary::Vocabulary;

use crate::error::Result;

/// The id of `<unk>`, which represents every word outside the vocabulary.
pub const UNKNOWN: u32 = 0;
/// The id of `<s>`, the beginning of a sentence.
pub const BEGIN: u32 = 1;
/// The id of `</s>`, the end of a sentence.
pub const END: u32 = 2;

/// Maximum order of a model.
pub const MAX_ORDER: usize = 10;

/// log10 of the probability of words that are never predicted, as in SRILM.
pub(crate) const LOG_ZERO: f32 = -99.0;

/// A receiver of the n-grams of a model.
pub trait NgramSink {
    /// Announces the number of n-grams of each order from 1.
    ///
    /// # Errors
    /// When the sink cannot store them.
    fn begin(&mut self, counts: &[u64]) -> Result<()>;

    /// Receives the next n-gram: shorter ones first, those of the same length ordered by word ids. Both
    /// values are log10.
    ///
    /// # Errors
    /// When the sink cannot store it.
    fn ngram(&mut self, words: &[u32], log_prob: f32, backoff: f32) -> Result<()>;

    /// Ends the model.
    ///
    /// # Errors
    /// When the sink cannot complete the model.
    fn end(&mut self) -> Result<()>;
}
