//! The inputs of an update: what all workers share, and the layout of a batch.

use super::loss::mmi::Mmi;
use crate::model::{PackedSequence, PackedWeights, Real};

/// The inputs of an update that all workers share except the seed.
pub struct Update<'a, T> {
    /// The weights of the network.
    pub weights: &'a PackedWeights<T>,
    /// Number of tokens V of the main output.
    pub num_tokens: usize,
    /// The id of the CTC blank.
    pub blank: u32,
    /// Number of tokens of the auxiliary output; 0 for none.
    pub auxiliary_tokens: usize,
    /// Factor of the CTC loss of the main output.
    pub scale: f64,
    /// Factor of the CTC loss of the auxiliary output.
    pub auxiliary_scale: f64,
    /// The MMI criterion, if it is used.
    pub mmi: Option<&'a Mmi<T>>,
    /// Factor of the MMI loss of utterances with words of the lexicon.
    pub mmi_scale: f64,
    /// Factor of the MMI loss of all other utterances.
    pub mmi_other_scale: f64,
    /// Factor of the consistency loss; 0 if examples are not pairs of views.
    pub consistency_scale: f64,
    /// Dropout probability.
    pub dropout: f64,
    /// Whether dropout drops the same values at every step of an utterance.
    pub variational_dropout: bool,
    /// Seed of dropout, different for each thread.
    pub seed: u64,
}

/// Packs streams step by step: the features of all streams at the first step, then at the second, and so on.
pub(super) fn pack<T: Real>(features: &[&[f32]], steps: &PackedSequence, width: usize, x: &mut Vec<T>) {
    x.clear();
    for t in 0..steps.len() {
        for stream in &features[..steps.width(t)] {
            x.extend(stream[t * width..(t + 1) * width].iter().map(|&v| T::from_f64(f64::from(v))));
        }
    }
}
