//! Attention of a decoder to the steps of an encoder.
//!
//! Each row of the encoder's outputs has V values and a key of K numbers, each row of the decoder's has V logits and a
//! query of K numbers. The attention weights a_j of a decoder row are the softmax of q · k_j / sqrt(K) over the encoder's
//! steps j of the same sequence (Vaswani et al. 2017), and Σ a_j v_j is added to the decoder's own logits.

use crate::model::forward::log_softmax;
use crate::model::{PackedSequence, Real};

/// The outputs of one of the two networks, whose rows are `V + K` wide.
pub(super) struct Side<'a, T> {
    pub rows: &'a [T],
    pub steps: &'a PackedSequence,
    /// The stream of each sequence of the batch.
    pub streams: &'a [usize],
}

/// The sizes V and K.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention {
    pub tokens: usize,
    pub keys: usize,
}

impl Attention {
    pub fn width(self) -> usize {
        self.tokens + self.keys
    }

    /// The encoder's rows of a sequence, in the order of its steps.
    fn memory<'s, T>(self, encoder: &'s Side<'_, T>, sequence: usize) -> impl Iterator<Item = usize> + 's {
        let stream = encoder.streams[sequence];
        (0..encoder.steps.lengths()[stream]).map(move |t| encoder.steps.row(t, stream) * self.width())
    }

    /// For each decoder row in turn, sequence by sequence: where it begins, the sequence, and its attention weights.
    fn weights<T: Real>(
        self,
        decoder: &Side<'_, T>,
        encoder: &Side<'_, T>,
        mut visit: impl FnMut(usize, usize, &[T]),
    ) {
        let (scale, mut weights) = (T::from_f64(1.0 / (self.keys as f64).sqrt()), Vec::new());
        for (sequence, &stream) in decoder.streams.iter().enumerate() {
            for t in 0..decoder.steps.lengths()[stream] {
                let row = decoder.steps.row(t, stream);
                let query = &decoder.rows[row * self.width() + self.tokens..(row + 1) * self.width()];
                weights.clear();
                weights.extend(self.memory(encoder, sequence).map(|at| {
                    let key = &encoder.rows[at + self.tokens..at + self.width()];
                    dot(query, key) * scale
                }));
                let count = weights.len().max(1);
                log_softmax(&mut weights, count);
                weights.iter_mut().for_each(|w| *w = w.exp());
                visit(row, sequence, &weights);
            }
        }
    }

    /// The logits `[R, V]` of the decoder's rows, and the attention weights of each in the order of the sequences.
    pub fn forward<T: Real>(
        self,
        decoder: &Side<'_, T>,
        encoder: &Side<'_, T>,
        logits: &mut Vec<T>,
    ) -> Vec<Vec<T>> {
        let (v, mut all) = (self.tokens, Vec::new());
        logits.clear();
        for row in decoder.rows.chunks_exact(self.width()) {
            logits.extend_from_slice(&row[..v]);
        }
        self.weights(decoder, encoder, |row, sequence, weights| {
            let sum = &mut logits[row * v..(row + 1) * v];
            for (at, &weight) in self.memory(encoder, sequence).zip(weights) {
                add(sum, &encoder.rows[at..at + v], weight);
            }
            all.push(weights.to_vec());
        });
        all
    }

    /// The gradients of both networks' outputs, from those of the logits.
    pub fn backward<T: Real>(
        self,
        decoder: &Side<'_, T>,
        encoder: &Side<'_, T>,
        dlogits: &[T],
    ) -> (Vec<T>, Vec<T>) {
        let (v, width) = (self.tokens, self.width());
        let mut ddecoder = vec![T::ZERO; decoder.rows.len()];
        let mut dencoder = vec![T::ZERO; encoder.rows.len()];
        let scale = T::from_f64(1.0 / (self.keys as f64).sqrt());
        self.weights(decoder, encoder, |row, sequence, weights| {
            let d = &dlogits[row * v..(row + 1) * v];
            let query = &decoder.rows[row * width + v..(row + 1) * width];
            let own = &mut ddecoder[row * width..(row + 1) * width];
            own[..v].copy_from_slice(d);
            let dweights: Vec<T> =
                self.memory(encoder, sequence).map(|at| dot(d, &encoder.rows[at..at + v])).collect();
            let mean = dot(weights, &dweights);
            for ((at, &weight), &dweight) in self.memory(encoder, sequence).zip(weights).zip(&dweights) {
                let dscore = weight * (dweight - mean) * scale;
                add(&mut own[v..], &encoder.rows[at + v..at + width], dscore);
                add(&mut dencoder[at..at + v], d, weight);
                add(&mut dencoder[at + v..at + width], query, dscore);
            }
        });
        (ddecoder, dencoder)
    }
}

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}

/// `sum += factor * x`.
fn add<T: Real>(sum: &mut [T], x: &[T], factor: T) {
    sum.iter_mut().zip(x).for_each(|(s, &x)| *s += factor * x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let attention = Attention { tokens: 3, keys: 2 };
        // Sequence 0 is the decoder's stream 0 and the encoder's stream 1.
        let (steps, memory) = (PackedSequence::uniform(2, 2), PackedSequence::new(&[4, 3]));
        let numbers = |n: usize, f: f64| (0..n).map(|i| (i as f64 * f).sin() * 1.5).collect::<Vec<f64>>();
        let (decoder, encoder) = (numbers(4 * 5, 1.3), numbers(7 * 5, 2.1));
        let factors = numbers(4 * 3, 0.7);
        let sides = |decoder: &[f64], encoder: &[f64], dlogits: Option<&[f64]>| {
            let decoder = Side { rows: decoder, steps: &steps, streams: &[0, 1] };
            let encoder = Side { rows: encoder, steps: &memory, streams: &[1, 0] };
            let mut logits = Vec::new();
            let weights = attention.forward(&decoder, &encoder, &mut logits);
            assert_eq!(weights.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 4, 4]);
            let gradients = dlogits.map(|d| attention.backward(&decoder, &encoder, d));
            (dot(&logits, &factors), gradients.unwrap_or_default())
        };
        let (_, (ddecoder, dencoder)) = sides(&decoder, &encoder, Some(&factors));
        let loss = |decoder: &[f64], encoder: &[f64]| sides(decoder, encoder, None).0;
        for i in 0..decoder.len() + encoder.len() {
            let near = |by: f64| {
                let (mut decoder, mut encoder) = (decoder.clone(), encoder.clone());
                match i.checked_sub(decoder.len()) {
                    None => decoder[i] += by,
                    Some(i) => encoder[i] += by,
                }
                loss(&decoder, &encoder)
            };
            let expected = (near(1e-5) - near(-1e-5)) / 2e-5;
            let found = ddecoder.iter().chain(&dencoder).nth(i).copied().unwrap_or(f64::NAN);
            assert!((found - expected).abs() < 1e-8, "{i}: {found} instead of {expected}");
        }
    }
}
