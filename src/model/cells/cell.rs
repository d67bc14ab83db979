//! What a cell does for the layer that runs it over time.

use std::fmt::Debug;

use crate::model::kernels::{self, Kernels};
use crate::model::packed::Packed;

/// The most vectors of H that a cell carries from step to step.
pub const MAX_STATES: usize = 2;

/// What is the same for all layers of a kind of cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellShape {
    /// The part of a parameter's name, and the name that ONNX has for the operator, in lower case.
    pub family: &'static str,
    /// k, row blocks of H in the weights.
    pub gates: usize,
    /// Vectors of H carried from step to step, the output first; at most [`MAX_STATES`].
    pub states: usize,
    /// Vectors of H that a step keeps for its gradient, beside gates and states.
    pub kept: usize,
    /// The sums over the state have gradients other than those over the input.
    pub has_own_state_sums: bool,
}

/// The parameters of a layer but for U, rows in ONNX's order of gates.
#[derive(Clone, Copy)]
pub struct CellParameters<'a, T> {
    /// H, the width of the state.
    pub hidden: usize,
    /// W, `[kH, H]` (ONNX's R).
    pub r: &'a [T],
    /// The biases of the input's sums, then those of the state's, `[2kH]`.
    pub b: &'a [T],
    /// Whether gradients will be asked for.
    pub training: bool,
}

impl<T: Kernels> CellParameters<'_, T> {
    /// The two biases of each sum as one, `[kH]`.
    pub fn joined_bias(&self) -> Vec<T> {
        let (input, state) = self.b.split_at(self.b.len() / 2);
        input.iter().zip(state).map(|(&x, &y)| x + y).collect()
    }
}

/// A matrix W of `W s_(t-1)`, laid out for the product and for its gradient.
#[derive(Clone, Debug)]
pub struct StateWeights<T> {
    /// H → rows.
    pub forward: Packed<T>,
    /// rows → H; only when training.
    backward: Option<Packed<T>>,
}

impl<T: Kernels> StateWeights<T> {
    /// Lays out `w [rows, H]`.
    pub fn new(w: &[T], hidden: usize, training: bool) -> Self {
        let rows = w.len() / hidden.max(1);
        Self {
            forward: Packed::transposed(w, rows, hidden),
            backward: training.then(|| Packed::plain(w, rows, hidden)),
        }
    }

    /// Wᵀ, for the gradient of the state.
    pub fn backward(&self) -> &Packed<T> {
        let Some(packed) = &self.backward else { unreachable!("weights laid out for training") };
        packed
    }
}

/// One step of the n streams that are still going, a row each.
pub struct Step<'a, T> {
    /// Comes in as `U x_t` and the [`Cell::bias`], leaves as the gates after their functions; `[n, kH]`.
    pub gates: &'a mut [T],
    /// The states of the step before, `[n, H]` each; empty where the cell has fewer.
    pub before: [&'a [T]; MAX_STATES],
    /// The states of this step, to be written.
    pub after: [&'a mut [T]; MAX_STATES],
    /// What the gradient needs besides, `[n, kept * H]`, to be written.
    pub kept: &'a mut [T],
    /// Begin the product at the last panel ([`kernels::multiply_add_from`]).
    pub backwards: bool,
}

/// Back through one step of n streams.
pub struct StepBackward<'a, T> {
    /// As [`Step`] left them.
    pub gates: &'a [T],
    pub before: [&'a [T]; MAX_STATES],
    pub after: [&'a [T]; MAX_STATES],
    pub kept: &'a [T],
    /// Come in as the gradients of this step's states, leave as those of the step before, `[n, H]` each.
    pub dstates: [&'a mut [T]; MAX_STATES],
    /// The gradients of the sums over the input, to be written, `[n, kH]`.
    pub dx: &'a mut [T],
    /// The gradients of the sums over the state, to be written; empty where they are those in `dx`.
    pub ds: &'a mut [T],
    /// Room of any size.
    pub room: &'a mut Vec<T>,
    /// As in [`Step::backwards`].
    pub backwards: bool,
}

/// What all steps left for the gradients of the parameters, R rows.
pub struct Sums<'a, T> {
    /// s_(t-1), `[R, H]`.
    pub before: &'a [T],
    /// `[R, kept * H]`.
    pub kept: &'a [T],
    /// The gradients of the sums over the input, `[R, kH]`.
    pub dx: &'a [T],
    /// The gradients of the sums over the state, `[R, kH]`, where they differ.
    pub ds: &'a [T],
}

/// A layer's cell with its weights: everything but `U x_t` and its gradients.
pub trait Cell<T>: Debug + Send + Sync {
    /// What is added to `U x_t` ahead of the steps, `[kH]`.
    fn bias(&self) -> &[T];

    /// One step forward.
    fn step(&self, step: Step<'_, T>);

    /// One step back through time.
    fn step_backward(&self, step: StepBackward<'_, T>);

    /// Adds the gradients of W, `dr [kH, H]`, and of the biases of the state's sums, `db [kH]`.
    fn add_gradients(&self, sums: &Sums<'_, T>, dr: &mut [T], db: &mut [T]);
}

/// Adds the gradients of W and of its biases where all rows of W are multiplied by s_(t-1): with the
/// gradients `da [R, kH]` of the sums, dL/dW = Σ_t da_t s_(t-1)ᵀ and dL/db = Σ_t da_t.
pub fn add_state_gradients<T: Kernels>(da: &[T], before: &[T], dr: &mut [T], db: &mut [T]) {
    let rows = db.len();
    kernels::add_outer_products(da, before, dr, rows, dr.len() / rows.max(1));
    kernels::add_rows(da, db);
}
