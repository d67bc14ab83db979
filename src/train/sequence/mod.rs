//! Training of networks for other sequences than speech: text, series of measurements, notes, translation.
//!
//! The cells, their gradients, the optimizer, the schedule, checkpoints and the operators of model files are those of
//! the speech trainer. A sequence has token ids or numbers at each step ([`Inputs`]); the network outputs
//! log-probabilities of tokens, numbers, or quantiles of a number ([`Output`]); and each step may have a target
//! ([`Targets`]), or only the last one. [`Trainer`] trains one network, [`PairTrainer`] an encoder and a decoder with
//! attention. The examples in `examples/sequences` use all of it.
//!
//! ```
//! use hearken::model::CellKind;
//! use hearken::train::sequence::{Example, Input, Inputs, Output, SequenceConfig, Targets, Trainer};
//!
//! // The next of three tokens that take turns.
//! let config = SequenceConfig::new(Input::Tokens(3), Output::Tokens(3), CellKind::Gru, &[8], 60);
//! let mut trainer = Trainer::new(config)?;
//! let tokens = [0, 1, 2, 0, 1, 2, 0];
//! let example = Example {
//!     inputs: Inputs::Tokens(tokens[..6].to_vec()),
//!     targets: Targets::Tokens(tokens[1..].iter().map(|&token| Some(token)).collect()),
//! };
//! let first = trainer.update(&[&example])?;
//! for _ in 1..60 {
//!     trainer.update(&[&example])?;
//! }
//! assert!(trainer.model()?.loss(&[&example])? < first / 2.0);
//! # Ok::<(), hearken::Error>(())
//! ```

mod attention;
mod batch;
mod config;
mod loss;
mod model;
mod optimization;
mod pair;
mod trainer;

pub use config::{Input, Output, SequenceConfig};
pub use loss::{Loss, cross_entropy, quantile_loss, squared_error};
pub use model::{Model, sample};
pub use pair::{PairConfig, PairExample, PairModel, PairTrainer};
pub use trainer::Trainer;

/// The inputs of a sequence, one for each step.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// Token ids, `[T]`.
    Tokens(Vec<u32>),
    /// Numbers, `[T, F]`.
    Numbers(Vec<f32>),
}

/// The targets of a sequence. A step without target has no loss.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Token ids, `[T]`.
    Tokens(Vec<Option<u32>>),
    /// Numbers, `[T, W]`; for quantiles W is 1.
    Numbers(Vec<Option<f32>>),
}

impl Targets {
    /// One token as the target of the whole sequence: that of the last of `steps` steps.
    pub fn at_end(token: u32, steps: usize) -> Self {
        let mut targets = vec![None; steps];
        if let Some(last) = targets.last_mut() {
            *last = Some(token);
        }
        Self::Tokens(targets)
    }
}

/// A sequence with its targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The inputs.
    pub inputs: Inputs,
    /// The targets.
    pub targets: Targets,
}
