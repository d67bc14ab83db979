//! The interface between a cell and the layer that runs it over time.

use std::fmt::Debug;

use crate::model::kernels::{self, Kernels};
use crate::model::packed::{Packed, Purpose};

/// Maximum number of state vectors of a cell.
pub const MAX_STATES: usize = 2;

/// How the state before enters a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recurrence {
    /// Multiplied by a matrix W, the parameter R. B is the biases of the input, then those of the state.
    Matrix,
    /// Only by the gates. B is the biases of the input.
    Gates,
}

/// Properties of a kind of cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellShape {
    /// The cell's part of parameter names; the name of the ONNX operator in lower case.
    pub family: &'static str,
    /// k, the number of gates: blocks of H rows in the weights.
    pub gates: usize,
    /// Number of state vectors of width H, the output first; at most [`MAX_STATES`].
    pub states: usize,
    /// Number of further vectors of width H that a step saves for its gradient.
    pub saved: usize,
    /// Number of vectors of width H with further gradients of a step, besides those of the sums over the input: of the
    /// sums over the state, where these differ.
    pub own_sums: usize,
    /// How the state before enters a step.
    pub recurrence: Recurrence,
    /// The shortest and the longest memory, in steps, that new layers begin with: the biases of the first gate z, by
    /// which a state is replaced, are drawn so that 1/z is log-uniform between them. `None` if all biases begin as 0.
    pub first_memory: Option<(u16, u16)>,
}

impl CellShape {
    /// The shape of the simple recurrent cell: one gate, one state, a matrix W, biases of 0.
    pub(super) const SIMPLE: CellShape = CellShape {
        family: "rnn",
        gates: 1,
        states: 1,
        saved: 0,
        own_sums: 0,
        recurrence: Recurrence::Matrix,
        first_memory: None,
    };

    /// Names and shapes of a layer's parameters, in order, for inputs of the width `inputs` and H = `hidden`.
    pub fn parameters(&self, inputs: usize, hidden: usize) -> Vec<(&'static str, Vec<usize>)> {
        let rows = self.gates * hidden;
        let weights = ("W", vec![rows, inputs]);
        match self.recurrence {
            Recurrence::Matrix => vec![weights, ("R", vec![rows, hidden]), ("B", vec![2 * rows])],
            Recurrence::Gates => vec![weights, ("B", vec![rows])],
        }
    }

    /// The first value of the bias in `row` of a layer of width `hidden`; `uniform` is a random number in -1..1.
    pub fn first_bias(&self, row: usize, hidden: usize, uniform: f64) -> f64 {
        match self.first_memory {
            Some((shortest, longest)) if row < hidden => {
                let (shortest, longest) = (f64::from(shortest), f64::from(longest));
                let steps = shortest * (longest / shortest).powf((uniform + 1.0) / 2.0);
                // The logit of z = 1 / steps.
                -(steps - 1.0).ln()
            }
            _ => 0.0,
        }
    }
}

/// The parameters of a layer except U, rows in ONNX's gate order.
#[derive(Clone, Copy)]
pub struct CellParameters<'a, T> {
    /// H, the width of the state.
    pub hidden: usize,
    /// W, `[kH, H]` (ONNX's R); empty for a cell without it.
    pub r: &'a [T],
    /// The input's biases, then the state's, `[2kH]`; the input's only, `[kH]`, for a cell without W.
    pub b: &'a [T],
    /// Whether gradients will be computed.
    pub purpose: Purpose,
}

impl<T: Kernels> CellParameters<'_, T> {
    /// The sum of the input's and the state's biases, `[kH]`.
    pub fn joined_bias(&self) -> Vec<T> {
        let (input, state) = self.b.split_at(self.b.len() / 2);
        input.iter().zip(state).map(|(&x, &y)| x + y).collect()
    }
}

/// A matrix W of `W s_(t-1)` in the layout of the kernels, for the product and for its gradient.
#[derive(Clone, Debug)]
pub struct StateWeights<T> {
    /// H → rows.
    pub forward: Packed<T>,
    /// rows → H; only for training.
    backward: Option<Packed<T>>,
}

impl<T: Kernels> StateWeights<T> {
    /// Creates the layout of `w [rows, H]`.
    pub fn new(w: &[T], hidden: usize, purpose: Purpose) -> Self {
        let rows = w.len() / hidden.max(1);
        Self {
            forward: Packed::transposed(w, rows, hidden, purpose),
            backward: Packed::backward(w, rows, hidden, purpose),
        }
    }

    /// Wᵀ, for the gradient of the state.
    pub fn backward(&self) -> &Packed<T> {
        let Some(packed) = &self.backward else {
            unreachable!("a backward pass needs weights created for training")
        };
        packed
    }
}

/// Arguments of one forward step of n active streams, one row for each.
pub struct Step<'a, T> {
    /// On entry `U x_t` plus [`Cell::bias`], on return the gates after their activation functions; `[n, kH]`.
    pub gates: &'a mut [T],
    /// The states before the step, `[n, H]` each; empty where the cell has fewer.
    pub before: [&'a [T]; MAX_STATES],
    /// Output: the states after the step.
    pub after: [&'a mut [T]; MAX_STATES],
    /// Output: further activations needed by the gradient, `[n, saved * H]`.
    pub saved: &'a mut [T],
    /// Whether the product starts at the last panel ([`kernels::multiply_add_from`]).
    pub backwards: bool,
}

/// Arguments of one backward step of n active streams.
pub struct StepBackward<'a, T> {
    /// The gates after the forward step, `[n, kH]`.
    pub gates: &'a [T],
    /// The states before the forward step, `[n, H]` each; empty where the cell has fewer.
    pub before: [&'a [T]; MAX_STATES],
    /// The states after the forward step, `[n, H]` each; empty where the cell has fewer.
    pub after: [&'a [T]; MAX_STATES],
    /// The further activations saved by the forward step, `[n, saved * H]`.
    pub saved: &'a [T],
    /// On entry the gradients of the states after the step, on return of those before it, `[n, H]` each.
    pub dstates: [&'a mut [T]; MAX_STATES],
    /// Output: the gradients of the sums over the input, `[n, kH]`.
    pub dx: &'a mut [T],
    /// Output: the gradients of the sums over the state where they differ from `dx`, `[n, own_sums * H]`.
    pub ds: &'a mut [T],
    /// Scratch buffer, resized as needed.
    pub scratch: &'a mut Vec<T>,
    /// As in [`Step::backwards`].
    pub backwards: bool,
}

/// Results of all backward steps (R rows) from which the gradients of the parameters are computed.
pub struct Sums<'a, T> {
    /// The states s_(t-1), `[R, H]`.
    pub before: &'a [T],
    /// The further activations saved by the forward steps, `[R, saved * H]`.
    pub saved: &'a [T],
    /// The gradients of the sums over the input, `[R, kH]`.
    pub dx: &'a [T],
    /// The further gradients of the steps, `[R, own_sums * H]`.
    pub ds: &'a [T],
}

/// A layer's cell with its weights: all computations except `U x_t` and its gradients.
pub trait Cell<T>: Debug + Send + Sync {
    /// The bias that is added to `U x_t` before the steps, `[kH]`.
    fn bias(&self) -> &[T];

    /// Computes one forward step.
    fn step(&self, step: Step<'_, T>);

    /// Computes one backward step.
    fn step_backward(&self, step: StepBackward<'_, T>);

    /// Adds the gradient of W to `dr [kH, H]` and that of the state's biases to `db [kH]`; for a cell without W
    /// both are empty.
    fn add_gradients(&self, sums: &Sums<'_, T>, dr: &mut [T], db: &mut [T]);
}

/// Adds the gradients of W and of its biases for cells in which all rows of W are multiplied by s_(t-1): with the
/// gradients `da [R, kH]` of the sums, dL/dW = Σ_t da_t s_(t-1)ᵀ and dL/db = Σ_t da_t.
pub fn add_state_gradients<T: Kernels>(
    weights: &StateWeights<T>,
    da: &[T],
    before: &[T],
    dr: &mut [T],
    db: &mut [T],
) {
    kernels::add_weight_gradient(&weights.forward, da, before, dr);
    kernels::add_rows(da, db);
}
