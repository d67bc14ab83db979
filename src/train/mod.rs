//! Training: recordings to a model, on the cores of a laptop.
//!
//! An update is data-parallel over threads: each makes its share of the examples, runs it forward
//! and back, and the gradients are added in the order of the threads, so the same recipe on as
//! many threads gives the same weights. Everything random is drawn from the seed and the update's
//! number, so a checkpoint needs no generator's state.

pub mod checkpoint;
pub mod dataset;
pub mod example;
pub mod loss;
pub mod optimizer;
pub mod recipe;
pub mod sampler;
pub mod score;
mod take_over;
mod trainer;
pub mod worker;

pub use recipe::Recipe;
pub use trainer::{LEFT_OUT, Options, Progress, train};
