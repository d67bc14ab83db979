//! The values of each stream in the order of time: those of the steps before, which are the state, then those of the
//! steps of this call.

use std::ops::Range;

use crate::model::packed_sequence::PackedSequence;
use crate::model::real::Real;

/// Layout of the joined values `[B * rows + R, width]`: the streams one after the other, each with `rows` values of its
/// state and then one for each of its steps.
#[derive(Clone, Copy)]
pub struct History<'a> {
    /// The layout of the call's own values.
    pub steps: &'a PackedSequence,
    /// Number of steps that the state holds.
    pub rows: usize,
    /// Width of a step's values.
    pub width: usize,
}

impl<'a> History<'a> {
    /// Each stream's part of the joined values, in elements, with its number of steps.
    pub fn streams(self) -> impl Iterator<Item = (usize, Range<usize>)> + 'a {
        let mut next = 0;
        self.steps.lengths().iter().map(move |&length| {
            let start = next;
            next += (self.rows + length) * self.width;
            (length, start..next)
        })
    }

    /// Size of a stream's state.
    fn state(self) -> usize {
        self.rows * self.width
    }

    /// Replaces `joined` by `state [B, rows * width]` and `values [R, width]`.
    pub fn join<T: Real>(self, state: &[T], values: &[T], joined: &mut Vec<T>) {
        joined.clear();
        for ((b, state), &length) in state.chunks_exact(self.state()).enumerate().zip(self.steps.lengths()) {
            joined.extend_from_slice(state);
            for t in 0..length {
                let row = self.steps.row(t, b);
                joined.extend_from_slice(&values[row * self.width..(row + 1) * self.width]);
            }
        }
    }

    /// Replaces `state` by the last values of each stream.
    pub fn keep_last<T: Real>(self, joined: &[T], state: &mut [T]) {
        for ((_, part), state) in self.streams().zip(state.chunks_exact_mut(self.state())) {
            state.copy_from_slice(&joined[part.end - state.len()..part.end]);
        }
    }

    /// Replaces `djoined` by zeros, except for the gradient `dstate` of the last values.
    pub fn begin_backward<T: Real>(self, dstate: &[T], djoined: &mut Vec<T>) {
        djoined.clear();
        djoined.resize(dstate.len() + self.steps.rows() * self.width, T::ZERO);
        for ((_, part), dstate) in self.streams().zip(dstate.chunks_exact(self.state())) {
            djoined[part.end - dstate.len()..part.end].copy_from_slice(dstate);
        }
    }

    /// Divides the gradient of the joined values into that of the first state and that of the values.
    pub fn split<T: Real>(self, djoined: &[T], dstate: &mut [T], dvalues: &mut [T]) {
        for (b, ((length, part), dstate)) in
            self.streams().zip(dstate.chunks_exact_mut(self.state())).enumerate()
        {
            let (first, rest) = djoined[part].split_at(dstate.len());
            dstate.copy_from_slice(first);
            for (t, d) in rest.chunks_exact(self.width).enumerate().take(length) {
                let row = self.steps.row(t, b);
                dvalues[row * self.width..(row + 1) * self.width].copy_from_slice(d);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_streams_of_different_lengths_are_joined_and_split() {
        let steps = PackedSequence::new(&[3, 1, 0]);
        let history = History { steps: &steps, rows: 2, width: 1 };
        let (mut state, mut joined) = ([-1.0, -2.0, -3.0, -4.0, -5.0, -6.0], Vec::new());
        history.join(&state, &[0.0, 1.0, 2.0, 3.0], &mut joined);
        assert_eq!(joined, [-1.0, -2.0, 0.0, 2.0, 3.0, -3.0, -4.0, 1.0, -5.0, -6.0]);
        history.keep_last(&joined, &mut state);
        assert_eq!(state, [2.0, 3.0, -4.0, 1.0, -5.0, -6.0]);
        let mut djoined = Vec::new();
        history.begin_backward(&state, &mut djoined);
        assert_eq!(djoined, [0.0, 0.0, 0.0, 2.0, 3.0, 0.0, -4.0, 1.0, -5.0, -6.0]);
        let mut dvalues = [9.0; 4];
        history.split(&djoined, &mut state, &mut dvalues);
        assert_eq!((state, dvalues), ([0.0, 0.0, 0.0, -4.0, -5.0, -6.0], [0.0, 1.0, 2.0, 3.0]));
    }
}
