//! Training of models from recordings, on the CPU of a laptop.
//!
//! An update is data-parallel over threads: each builds its part of the examples and runs it forward and
//! backward, and the gradients are added in the order of the threads, so the same recipe and number of
//! threads always result in the same weights. All random numbers are derived from the seed and the update's
//! number, so checkpoints need no state of a generator.

mod adaptive;
pub mod augment;
pub mod checkpoint;
pub mod dataset;
mod divergence;
mod evaluation;
mod events;
pub mod example;
mod folder;
mod layers;
mod load;
mod log;
pub mod loss;
pub mod optimizer;
mod prepare;
mod progress;
pub mod propose;
mod reading;
pub mod recipe;
mod record;
pub(crate) mod report;
mod resume;
mod run;
pub mod sampler;
pub mod score;
mod segments;
pub mod sequence;
pub mod threads;
mod trainer;
mod update;
mod warm_start;
pub mod worker;

pub use folder::{ExistingRun, LEFT_OUT, REPORT};
pub use progress::{Ended, LayerNorms, Progress, Scores, Start, Step};
pub use recipe::Recipe;
pub use run::Options;
pub use trainer::train;
