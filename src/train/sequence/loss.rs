//! Losses at single steps: each replaces the outputs of a batch by the gradients of its loss.

use super::config::Output;
use super::{Example, Targets};
use crate::model::forward::log_softmax;
use crate::model::{PackedSequence, Real};

/// A sum of losses and the number of targets in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// The sum over all targets.
    pub sum: f64,
    /// Number of targets.
    pub targets: usize,
}

impl Loss {
    /// The mean over the targets; 0 if there are none.
    pub fn mean(self) -> f64 {
        self.sum / self.targets.max(1) as f64
    }

    /// Adds another sum.
    pub fn add(&mut self, other: Loss) {
        self.sum += other.sum;
        self.targets += other.targets;
    }
}

/// Computes the cross entropy of `logits [R, V]` and one target token a row, in nats. The logits are replaced by the
/// gradient times `scale`; it is zero in rows without target.
pub fn cross_entropy<T: Real>(
    logits: &mut [T],
    num_tokens: usize,
    targets: &[Option<u32>],
    scale: f64,
) -> Loss {
    let (mut loss, scale) = (Loss::default(), T::from_f64(scale));
    log_softmax(logits, num_tokens);
    for (row, target) in logits.chunks_exact_mut(num_tokens).zip(targets) {
        let Some(target) = *target else {
            row.fill(T::ZERO);
            continue;
        };
        loss.add(Loss { sum: -row[target as usize].to_f64(), targets: 1 });
        for (token, value) in row.iter_mut().enumerate() {
            let expected = if token == target as usize { T::ONE } else { T::ZERO };
            *value = (value.exp() - expected) * scale;
        }
    }
    loss
}

/// Computes the squared error of `outputs [R, W]` and `targets [R, W]`. The outputs are replaced by the gradient times
/// `scale`; it is zero without target.
pub fn squared_error<T: Real>(outputs: &mut [T], targets: &[Option<f32>], scale: f64) -> Loss {
    let mut loss = Loss::default();
    for (output, target) in outputs.iter_mut().zip(targets) {
        let error = target.map_or(0.0, |target| output.to_f64() - f64::from(target));
        loss.add(Loss { sum: error * error, targets: usize::from(target.is_some()) });
        *output = T::from_f64(2.0 * error * scale);
    }
    loss
}

/// Computes the mean over Q levels of the quantile (pinball) loss of `outputs [R, Q]` and one target a row: the distance
/// to the target, times the level below the target and times 1 - level above it. Its minimum is the quantile at that
/// level (Koenker and Bassett, 1978). The outputs are replaced by the gradient times `scale`; it is zero in rows
/// without target.
pub fn quantile_loss<T: Real>(
    outputs: &mut [T],
    levels: &[f64],
    targets: &[Option<f32>],
    scale: f64,
) -> Loss {
    let (mut loss, share) = (Loss::default(), 1.0 / levels.len() as f64);
    for (row, target) in outputs.chunks_exact_mut(levels.len()).zip(targets) {
        let Some(target) = target.map(f64::from) else {
            row.fill(T::ZERO);
            continue;
        };
        loss.targets += 1;
        for (output, level) in row.iter_mut().zip(levels) {
            let above = output.to_f64() - target;
            let slope = if above > 0.0 { 1.0 - level } else { -level };
            loss.sum += slope * above * share;
            *output = T::from_f64(slope * share * scale);
        }
    }
    loss
}

/// Computes the loss of the examples' steps from `first` on, as many as `steps` has, whose outputs are replaced by the
/// gradients times `scale`. `examples` are in the order of the streams.
pub(super) fn of_batch<T: Real>(
    output: &Output,
    outputs: &mut [T],
    steps: &PackedSequence,
    examples: &[&Example],
    first: usize,
    scale: f64,
) -> Loss {
    let (mut tokens, mut numbers) = (Vec::new(), Vec::new());
    let width = if let Output::Numbers(width) = output { *width } else { 1 };
    for t in 0..steps.len() {
        for example in &examples[..steps.width(t)] {
            let at = (first + t) * width..(first + t + 1) * width;
            match &example.targets {
                Targets::Tokens(all) => tokens.extend_from_slice(&all[at]),
                Targets::Numbers(all) => numbers.extend_from_slice(&all[at]),
            }
        }
    }
    match output {
        Output::Tokens(count) => cross_entropy(outputs, *count, &tokens, scale),
        Output::Numbers(_) => squared_error(outputs, &numbers, scale),
        Output::Quantiles(levels) => quantile_loss(outputs, levels, &numbers, scale),
    }
}

/// Number of targets of an example.
pub(super) fn targets(example: &Example) -> usize {
    match &example.targets {
        Targets::Tokens(all) => all.iter().flatten().count(),
        Targets::Numbers(all) => all.iter().flatten().count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares the gradient with finite differences of the loss.
    fn check(outputs: &[f64], loss: impl Fn(&mut [f64], f64) -> Loss) {
        let mut gradient = outputs.to_vec();
        loss(&mut gradient, 0.3);
        let mut nonzero = 0;
        for i in 0..outputs.len() {
            let near = |by: f64| {
                let mut moved = outputs.to_vec();
                moved[i] += by;
                loss(&mut moved, 1.0).sum
            };
            let expected = 0.3 * (near(1e-5) - near(-1e-5)) / 2e-5;
            assert!((gradient[i] - expected).abs() < 1e-8, "{i}: {} instead of {expected}", gradient[i]);
            nonzero += usize::from(gradient[i] != 0.0);
        }
        assert!(nonzero > outputs.len() / 2);
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let outputs: Vec<f64> = (0..12).map(|i| (f64::from(i) * 1.7).sin() * 2.0).collect();
        let (tokens, numbers) = ([Some(1), None, Some(3)], [Some(0.5), Some(-1.0), None, Some(2.5)]);
        check(&outputs, |outputs, scale| cross_entropy(outputs, 4, &tokens, scale));
        check(&outputs, |outputs, scale| squared_error(outputs, &numbers.repeat(3), scale));
        check(&outputs, |outputs, scale| quantile_loss(outputs, &[0.1, 0.5, 0.9], &numbers, scale));
    }

    #[test]
    fn losses_of_known_outputs() {
        let loss = cross_entropy(&mut [0.0f32, 0.0, 5.0, 5.0], 2, &[Some(0), None], 1.0);
        assert!((loss.mean() - 2f64.ln()).abs() < 1e-6 && loss.targets == 1);
        let loss = squared_error(&mut [1.0f64, 2.0], &[Some(3.0), None], 1.0);
        assert_eq!(loss, Loss { sum: 4.0, targets: 1 });
        // 2 below the target at the level 0.9, and 1 above it at 0.5.
        let loss = quantile_loss(&mut [1.0f64, 4.0], &[0.9, 0.5], &[Some(3.0)], 1.0);
        assert!((loss.sum - (0.9 * 2.0 + 0.5 * 1.0) / 2.0).abs() < 1e-12);
    }

    #[test]
    fn the_quantile_loss_is_least_at_the_quantile() {
        let targets: Vec<Option<f32>> = (0..100).map(|i| Some(i as f32)).collect();
        let loss = |q: f64| quantile_loss(&mut [q; 100], &[0.2], &targets, 1.0).sum;
        let best = (0..100).min_by(|&a, &b| loss(f64::from(a)).total_cmp(&loss(f64::from(b))));
        assert!(best.is_some_and(|best| (19..=20).contains(&best)), "{best:?}");
    }
}
