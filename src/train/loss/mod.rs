//! Training criteria: losses of the network's outputs with their gradients.
//!
//! [`ctc`] sums over the alignments of one transcript. [`mmi`] compares the transcript with everything that
//! could have been said: a phone n-gram ([`phone_ngram`], lattice-free MMI) or the words of a lexicon. Both
//! sides are [`graph::Graph`]s, summed over by [`passes`].

pub mod ctc;
pub mod graph;
pub mod mmi;
pub mod passes;
pub mod phone_ngram;
