//! Criteria: what a network's outputs are measured by in training, each with its gradient.
//!
//! [`ctc`] sums over the alignments of one transcript. [`mmi`] compares what was said with everything
//! that could have been said: a phone n-gram ([`phone_ngram`], lattice-free MMI) or the words of a
//! lexicon. Both sides are [`graph::Graph`]s, summed over by [`passes`].

pub mod ctc;
pub mod graph;
pub mod mmi;
pub mod passes;
pub mod phone_ngram;
