//! Training: recordings to a model, on the cores of a laptop.
//!
//! An update is data-parallel over threads: each makes its share of the examples, runs it forward
//! and back, and the gradients are added in the order of the threads, so the same recipe on as
//! many threads gives the same weights. Everything random is drawn from the seed and the update's
//! number, so a checkpoint needs no generator's state.

pub mod augment;
pub mod checkpoint;
pub mod dataset;
pub mod example;
mod folder;
mod load;
pub mod loss;
pub mod optimizer;
mod progress;
mod reading;
pub mod recipe;
pub mod sampler;
pub mod score;
mod take_over;
mod threads;
mod trainer;
pub mod worker;

pub use folder::{Earlier, LEFT_OUT};
pub use progress::{Ended, Progress, Scores, Start, Step};
pub use recipe::Recipe;
pub use trainer::{Options, train};
