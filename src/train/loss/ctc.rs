//! Connectionist temporal classification (Graves et al., 2006): the loss of a transcript and its gradient,
//! by the forward-backward algorithm in log space and f64.

use crate::model::Real;

/// ln(exp(a) + exp(b)) without overflow; minus infinity represents probability zero.
fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY {
        return high;
    }
    let gap = low - high;
    if gap < -40.0 { high } else { high + gap.exp().ln_1p() }
}

/// The minimum number of steps of a label sequence: one for each label, and a blank between equal labels.
pub fn min_steps(labels: &[u32]) -> usize {
    labels.len() + labels.windows(2).filter(|pair| pair[0] == pair[1]).count()
}

/// Scratch buffers of the two passes, reused from call to call.
#[derive(Clone, Debug, Default)]
pub struct CtcWorkspace {
    forward: Vec<f64>,
    backward: Vec<f64>,
    states: Vec<u32>,
    sums: Vec<f64>,
}

/// Computes the loss `-ln p(labels | log_probs)` of `log_probs [U, V]`, and writes to `gradient [U, V]` its
/// gradient with respect to the *logits* (softmax minus the posterior of each token).
///
/// `None` when the labels cannot fit into U steps ([`min_steps`]); the gradient is then zero.
pub fn loss_and_gradient<T: Real>(
    log_probs: &[T],
    num_tokens: usize,
    labels: &[u32],
    blank: u32,
    gradient: &mut [T],
    workspace: &mut CtcWorkspace,
) -> Option<f64> {
    let steps = log_probs.len() / num_tokens;
    gradient.fill(T::ZERO);
    if min_steps(labels) > steps {
        return None;
    }
    if steps == 0 {
        return Some(0.0);
    }
    // The states of the CTC topology: blank, label, blank, label, …, blank.
    workspace.states.clear();
    workspace
        .states
        .extend((0..2 * labels.len() + 1).map(|s| if s % 2 == 0 { blank } else { labels[s / 2] }));
    let total = forward_pass(log_probs, num_tokens, workspace);
    if !total.is_finite() {
        // The weights are NaN; the caller reports it and stops.
        return Some(f64::NAN);
    }
    backward_pass(log_probs, num_tokens, workspace);
    let width = workspace.states.len();
    for t in 0..steps {
        let row = &log_probs[t * num_tokens..(t + 1) * num_tokens];
        workspace.sums.clear();
        workspace.sums.resize(num_tokens, 0.0);
        for s in 0..width {
            let both = workspace.forward[t * width + s] + workspace.backward[t * width + s] - total;
            if both > -80.0 {
                workspace.sums[workspace.states[s] as usize] += both.exp();
            }
        }
        let out = &mut gradient[t * num_tokens..(t + 1) * num_tokens];
        for ((g, &p), &sum) in out.iter_mut().zip(row).zip(&workspace.sums) {
            *g = T::from_f64(p.to_f64().exp() - sum);
        }
    }
    Some(-total)
}

/// The range of states that a complete path can be in at step t of `steps`.
fn reachable(t: usize, steps: usize, width: usize) -> std::ops::Range<usize> {
    let first = width.saturating_sub(2 * (steps - t));
    first..(2 * t + 2).min(width)
}

/// Whether a path may skip from state s - 2 to s: over a blank between two different labels.
fn may_skip(states: &[u32], s: usize) -> bool {
    s >= 2 && s % 2 == 1 && states[s] != states[s - 2]
}

fn forward_pass<T: Real>(log_probs: &[T], num_tokens: usize, workspace: &mut CtcWorkspace) -> f64 {
    let CtcWorkspace { forward, states, .. } = workspace;
    let (steps, width) = (log_probs.len() / num_tokens, states.len());
    forward.clear();
    forward.resize(steps * width, f64::NEG_INFINITY);
    for s in reachable(0, steps, width) {
        forward[s] = log_probs[states[s] as usize].to_f64();
    }
    for t in 1..steps {
        let (done, now) = forward.split_at_mut(t * width);
        let before = &done[(t - 1) * width..];
        for s in reachable(t, steps, width) {
            let mut sum = before[s];
            if s >= 1 {
                sum = log_add(sum, before[s - 1]);
            }
            if may_skip(states, s) {
                sum = log_add(sum, before[s - 2]);
            }
            now[s] = sum + log_probs[t * num_tokens + states[s] as usize].to_f64();
        }
    }
    let last = &forward[(steps - 1) * width..];
    log_add(last[width - 1], if width >= 2 { last[width - 2] } else { f64::NEG_INFINITY })
}

/// Computes β without the step's own probability, so that α + β is the log-probability of a path.
fn backward_pass<T: Real>(log_probs: &[T], num_tokens: usize, workspace: &mut CtcWorkspace) {
    let CtcWorkspace { backward, states, .. } = workspace;
    let (steps, width) = (log_probs.len() / num_tokens, states.len());
    backward.clear();
    backward.resize(steps * width, f64::NEG_INFINITY);
    for value in &mut backward[steps * width - width.min(2)..] {
        *value = 0.0;
    }
    for t in (0..steps - 1).rev() {
        let (now, later) = backward.split_at_mut((t + 1) * width);
        let now = &mut now[t * width..];
        let own = |s: usize| log_probs[(t + 1) * num_tokens + states[s] as usize].to_f64() + later[s];
        for s in reachable(t, steps, width) {
            let mut sum = own(s);
            if s + 1 < width {
                sum = log_add(sum, own(s + 1));
            }
            if s + 2 < width && may_skip(states, s + 2) {
                sum = log_add(sum, own(s + 2));
            }
            now[s] = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::forward::log_softmax;
    use rand::{RngExt, SeedableRng};

    fn random_log_probs(steps: usize, tokens: usize, seed: u64) -> Vec<f64> {
        let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(seed);
        let mut logits: Vec<f64> = (0..steps * tokens).map(|_| rng.random_range(-3.0..3.0)).collect();
        log_softmax(&mut logits, tokens);
        logits
    }

    /// Collapses repeats, then drops blanks.
    fn collapse(path: &[u32]) -> Vec<u32> {
        let mut out = Vec::new();
        let mut last = None;
        for &token in path {
            if Some(token) != last && token != 0 {
                out.push(token);
            }
            last = Some(token);
        }
        out
    }

    /// The sum over all V^U paths.
    fn brute_force(log_probs: &[f64], tokens: usize, labels: &[u32]) -> f64 {
        let steps = log_probs.len() / tokens;
        let mut total = 0.0;
        for code in 0..tokens.pow(steps as u32) {
            let path: Vec<u32> = (0..steps).map(|t| (code / tokens.pow(t as u32) % tokens) as u32).collect();
            if collapse(&path) == labels {
                total += path
                    .iter()
                    .enumerate()
                    .map(|(t, &k)| log_probs[t * tokens + k as usize])
                    .sum::<f64>()
                    .exp();
            }
        }
        -total.ln()
    }

    #[test]
    fn equals_the_sum_over_all_alignments() {
        for (steps, labels) in [
            (5, vec![1, 2]),
            (5, vec![1, 1]),
            (6, vec![2, 2, 2]),
            (4, vec![]),
            (3, vec![1, 2, 1]),
            (1, vec![2]),
            (6, vec![1, 1, 2]),
        ] {
            let log_probs = random_log_probs(steps, 3, steps as u64 + 10 * labels.len() as u64);
            let mut gradient = vec![0.0; log_probs.len()];
            let loss =
                loss_and_gradient(&log_probs, 3, &labels, 0, &mut gradient, &mut CtcWorkspace::default())
                    .expect("it fits");
            assert!((loss - brute_force(&log_probs, 3, &labels)).abs() < 1e-10, "{labels:?} in {steps}");
        }
    }

    #[test]
    fn gradient_equals_finite_differences() {
        for labels in [vec![1, 2, 2, 3], vec![], vec![3, 3], vec![1, 2, 1]] {
            let (steps, tokens) = (7, 4);
            let mut logits = random_log_probs(steps, tokens, 5);
            let mut workspace = CtcWorkspace::default();
            let mut loss = |logits: &[f64], gradient: &mut [f64]| {
                let mut log_probs = logits.to_vec();
                log_softmax(&mut log_probs, tokens);
                loss_and_gradient(&log_probs, tokens, &labels, 0, gradient, &mut workspace).expect("it fits")
            };
            let mut gradient = vec![0.0; logits.len()];
            loss(&logits, &mut gradient);
            let mut unused = gradient.clone();
            for i in 0..logits.len() {
                let value = logits[i];
                logits[i] = value + 1e-5;
                let above = loss(&logits, &mut unused);
                logits[i] = value - 1e-5;
                let below = loss(&logits, &mut unused);
                logits[i] = value;
                assert!((gradient[i] - (above - below) / 2e-5).abs() < 1e-8, "{labels:?}, logit {i}");
            }
        }
    }

    #[test]
    fn labels_that_do_not_fit_have_a_zero_gradient() {
        let log_probs = random_log_probs(3, 3, 1);
        let mut gradient = vec![1.0; 9];
        let found =
            loss_and_gradient(&log_probs, 3, &[1, 1, 2], 0, &mut gradient, &mut CtcWorkspace::default());
        assert_eq!(found, None);
        assert!(gradient.iter().all(|&g| g == 0.0));
        assert_eq!(min_steps(&[1, 1, 2]), 4);
    }
}
