//! The simple recurrent cell (Elman 1990).
//!
//! ```text
//! a_t = U x_t + W s_(t-1) + b
//! s_t = f(a_t)                             f(a) = tanh(a), or max(0, a)
//!
//! dL/da_t     = dL/ds_t ∘ f'(a_t)          f'(a_t) = 1 - s_t², or 1 if s_t > 0, else 0
//! dL/ds_(t-1) = Wᵀ dL/da_t
//! dL/dW       = Σ_t dL/da_t s_(t-1)ᵀ       dL/db = Σ_t dL/da_t
//! ```

use std::sync::Arc;

use super::cell::{Cell, CellParameters, StateWeights, Step, StepBackward, Sums, add_state_gradients};
use crate::model::kernels::{self, Kernels, vectorized};
use crate::model::real::Real;

/// Creates a cell with f = tanh.
pub(super) fn tanh<T: Kernels>(parameters: &CellParameters<'_, T>) -> Arc<dyn Cell<T>> {
    Arc::new(Rnn::new(parameters, false))
}

/// Creates a cell with f = max(0, ·).
pub(super) fn relu<T: Kernels>(parameters: &CellParameters<'_, T>) -> Arc<dyn Cell<T>> {
    Arc::new(Rnn::new(parameters, true))
}

#[derive(Debug)]
struct Rnn<T> {
    relu: bool,
    hidden: usize,
    state: StateWeights<T>,
    bias: Vec<T>,
}

impl<T: Kernels> Rnn<T> {
    fn new(parameters: &CellParameters<'_, T>, relu: bool) -> Self {
        let CellParameters { hidden, r, purpose, .. } = *parameters;
        Self { relu, hidden, state: StateWeights::new(r, hidden, purpose), bias: parameters.joined_bias() }
    }
}

impl<T: Kernels> Cell<T> for Rnn<T> {
    fn bias(&self) -> &[T] {
        &self.bias
    }

    fn step(&self, step: Step<'_, T>) {
        let Step { gates, before: [before, _], after: [output, _], backwards, .. } = step;
        kernels::multiply_add_from(before, &self.state.forward, gates, self.hidden, backwards);
        activate(gates, self.relu, output);
    }

    fn step_backward(&self, step: StepBackward<'_, T>) {
        let StepBackward { after: [output, _], dstates: [ds, _], dx, backwards, .. } = step;
        multiply_by_slopes(output, self.relu, ds, dx);
        ds.fill(T::ZERO);
        kernels::multiply_add_from(dx, self.state.backward(), ds, self.hidden, backwards);
    }

    fn add_gradients(&self, sums: &Sums<'_, T>, dr: &mut [T], db: &mut [T]) {
        add_state_gradients(&self.state, sums.dx, sums.before, dr, db);
    }
}

vectorized! {
    /// Computes `h = tanh(a)`, or `h = max(0, a)` if `relu`.
    fn activate<T: Real>(a: &[T], relu: bool, h: &mut [T]) {
        if relu {
            for (h, &a) in h.iter_mut().zip(a) {
                *h = if a > T::ZERO { a.flush() } else { T::ZERO };
            }
        } else {
            for (h, &a) in h.iter_mut().zip(a) {
                *h = a.tanh().flush();
            }
        }
    }
}

vectorized! {
    /// Gradient of [`activate`]: `dx = ds ∘ f'(a)`, with the slopes computed from the outputs.
    fn multiply_by_slopes<T: Real>(output: &[T], relu: bool, ds: &[T], dx: &mut [T]) {
        let values = dx.iter_mut().zip(ds).zip(output);
        if relu {
            values.for_each(|((dx, &d), &s)| *dx = d * if s > T::ZERO { T::ONE } else { T::ZERO });
        } else {
            values.for_each(|((dx, &d), &s)| *dx = d * (T::ONE - s * s));
        }
    }
}
