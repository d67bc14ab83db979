//! Ragged batches without padding, time-major, like PyTorch's `PackedSequence`: the rows of a step are the
//! streams that have not ended, longest first.

use std::ops::Range;

/// Assignment of the rows of a `[R, width]` matrix to the steps of B streams.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedSequence {
    /// Step t has rows `offsets[t]..offsets[t + 1]`.
    offsets: Vec<usize>,
    lengths: Vec<usize>,
}

impl PackedSequence {
    /// Creates the layout for streams of these numbers of steps, which must be in descending order.
    ///
    /// # Panics
    /// When a length is greater than the one before it.
    pub fn new(lengths: &[usize]) -> Self {
        assert!(lengths.is_sorted_by(|a, b| a >= b), "streams must be sorted by length, longest first");
        let longest = lengths.first().copied().unwrap_or(0);
        let mut offsets = Vec::with_capacity(longest + 1);
        offsets.push(0);
        let mut active = lengths.len();
        let mut rows = 0;
        for t in 0..longest {
            while active > 0 && lengths[active - 1] <= t {
                active -= 1;
            }
            rows += active;
            offsets.push(rows);
        }
        Self { offsets, lengths: lengths.to_vec() }
    }

    /// Creates the layout for `streams` streams of `steps` steps each.
    pub fn uniform(streams: usize, steps: usize) -> Self {
        Self { offsets: (0..=steps).map(|t| t * streams).collect(), lengths: vec![steps; streams] }
    }

    /// B, the number of streams.
    pub fn streams(&self) -> usize {
        self.lengths.len()
    }

    /// Number of steps of the longest stream.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of steps of each stream.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// R, the number of rows of all steps.
    pub fn rows(&self) -> usize {
        self.offsets[self.len()]
    }

    /// The rows of step t, one for each of the first `width(t)` streams.
    pub fn range(&self, t: usize) -> Range<usize> {
        self.offsets[t]..self.offsets[t + 1]
    }

    /// Number of streams active at step t.
    pub fn width(&self, t: usize) -> usize {
        self.offsets[t + 1] - self.offsets[t]
    }

    /// The row of stream b at step t.
    pub fn row(&self, t: usize, b: usize) -> usize {
        self.offsets[t] + b
    }

    /// Copies each stream's last row of `rows [R, width]` into `last [B, width]`; the row of a stream without steps is
    /// unchanged.
    pub fn copy_last<T: Copy>(&self, rows: &[T], width: usize, last: &mut [T]) {
        for (b, &length) in self.lengths.iter().enumerate() {
            if length > 0 {
                let row = self.row(length - 1, b);
                last[b * width..(b + 1) * width].copy_from_slice(&rows[row * width..(row + 1) * width]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_streams_of_different_lengths_are_packed() {
        let steps = PackedSequence::new(&[3, 2, 2, 0]);
        assert_eq!((steps.len(), steps.rows(), steps.streams()), (3, 7, 4));
        assert_eq!([steps.width(0), steps.width(1), steps.width(2)], [3, 3, 1]);
        assert_eq!(steps.row(2, 0), 6);
        let mut last = [9; 4];
        steps.copy_last(&[0, 1, 2, 3, 4, 5, 6], 1, &mut last);
        assert_eq!(last, [6, 4, 5, 9]);
    }
}
