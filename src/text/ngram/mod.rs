//! N-gram language models: counting, estimation, files, queries.

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

/// The id of `<unk>`, which stands for every word that a model does not know.
pub const UNKNOWN: u32 = 0;
/// The id of `<s>`, the beginning of a sentence.
pub const BEGIN: u32 = 1;
/// The id of `</s>`, the end of a sentence.
pub const END: u32 = 2;

/// The highest order of a model.
pub const MAX_ORDER: usize = 10;

/// log10 of the probability of what is never predicted, as SRILM writes it.
pub(crate) const NEVER: f32 = -99.0;

/// Something that takes a model n-gram by n-gram.
pub trait NgramSink {
    /// The numbers of n-grams to come, by order from 1 on.
    ///
    /// # Errors
    /// When they cannot be taken.
    fn begin(&mut self, counts: &[u64]) -> Result<()>;

    /// The next n-gram: shorter ones first, among equally long ones by the ids of their words. Both
    /// values are log10.
    ///
    /// # Errors
    /// When it cannot be taken.
    fn ngram(&mut self, words: &[u32], log_prob: f32, backoff: f32) -> Result<()>;

    /// There are no more.
    ///
    /// # Errors
    /// When what was taken cannot be finished.
    fn end(&mut self) -> Result<()>;
}
