//! Connectionist temporal classification (Graves et al., 2006): the loss of a transcript and its gradient,
//! by the forward-backward algorithm in log space and f64.

use std::ops::Range;

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

/// Utterances with at most this number of pairs of a step and a state (about three minutes of speech) are summed over all
/// paths.
const ALL_PATHS: usize = 1 << 24;
/// Maximum number of pairs kept for longer ones, of which there are about as many at each step as the beam has nats: 512 MB.
const MAX_PAIRS: usize = 1 << 26;
/// The states kept at each step of longer ones: those whose log-probability is at most this far below the best; if no path
/// is complete then, by the next.
const BEAMS: [f64; 2] = [100.0, 400.0];

/// Maximum loss of longer ones, nats for each label and for each step. A higher one means that the network does not know its
/// tokens, and that the most probable states at a step say nothing about those of complete paths.
const MAX_LOSS: [f64; 2] = [3.0, 0.1];

/// Scratch buffers of the two passes, reused from call to call.
#[derive(Clone, Debug, Default)]
pub struct CtcWorkspace {
    /// α of the states in the window of each step, one window after another.
    forward: Vec<f64>,
    windows: Vec<Window>,
    backward: Row,
    later: Row,
    states: Vec<u32>,
    sums: Vec<f64>,
}

/// The consecutive states that are considered at a step.
#[derive(Clone, Debug)]
struct Window {
    states: Range<usize>,
    /// Where their α begin.
    at: usize,
}

/// Values of consecutive states; minus infinity for all others.
#[derive(Clone, Debug, Default)]
struct Row {
    first: usize,
    values: Vec<f64>,
}

impl Row {
    fn get(&self, s: usize) -> f64 {
        self.values.get(s.wrapping_sub(self.first)).copied().unwrap_or(f64::NEG_INFINITY)
    }
}

/// Computes the loss `-ln p(labels | log_probs)` of `log_probs [U, V]`, and writes to `gradient [U, V]` its
/// gradient with respect to the *logits* (softmax minus the posterior of each token).
///
/// The sum is over all paths; for utterances of more than about three minutes over those that remain when states far less
/// probable than the best of their step are left out, whose number does not grow with the square of the length.
///
/// `None` when the labels cannot fit into U steps ([`min_steps`]), or when the loss of a long utterance is so high that the
/// states left out matter; the gradient is then zero.
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
    let is_long = steps.saturating_mul(workspace.states.len()) > ALL_PATHS;
    let beams = if is_long { &BEAMS[..] } else { &[f64::INFINITY][..] };
    let is_usable = |total: &f64| total.is_nan() || !is_long || is_likely(*total, labels.len(), steps);
    let mut pass = |&beam: &f64| forward_pass(log_probs, num_tokens, beam, workspace).filter(is_usable);
    let total = beams.iter().find_map(&mut pass);
    match total {
        // The weights are NaN; the caller reports it and stops.
        Some(total) if !total.is_finite() => return Some(f64::NAN),
        None if !is_long || log_probs.iter().any(|p| p.to_f64().is_nan()) => return Some(f64::NAN),
        _ => {}
    }
    let total = total?;
    backward_pass(log_probs, num_tokens, total, gradient, workspace);
    Some(-total)
}

/// Whether the states left out of a long utterance with this log-probability of all other paths can be neglected.
fn is_likely(total: f64, labels: usize, steps: usize) -> bool {
    -total <= MAX_LOSS[0] * labels as f64 + MAX_LOSS[1] * steps as f64
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

/// Computes α of the states of each step, without those whose log-probability is more than `beam` below the best. Returns
/// the log-probability of all paths, `None` if none is complete.
fn forward_pass<T: Real>(
    log_probs: &[T],
    num_tokens: usize,
    beam: f64,
    workspace: &mut CtcWorkspace,
) -> Option<f64> {
    let CtcWorkspace { forward, windows, states, .. } = workspace;
    let (steps, width) = (log_probs.len() / num_tokens, states.len());
    forward.clear();
    windows.clear();
    for (t, row) in log_probs.chunks_exact(num_tokens).enumerate() {
        let mut here = reachable(t, steps, width);
        let at = forward.len();
        if let Some(Window { states: before, at: begin }) = windows.last() {
            here = here.start.max(before.start)..here.end.min(before.end + 2);
            if here.is_empty() || at + here.len() > MAX_PAIRS {
                return None;
            }
            let before = |s: usize| match before.contains(&s) {
                true => *begin + s - before.start,
                false => usize::MAX,
            };
            let value =
                |forward: &[f64], s: usize| forward.get(before(s)).copied().unwrap_or(f64::NEG_INFINITY);
            for s in here.clone() {
                let mut sum = value(forward, s);
                if s >= 1 {
                    sum = log_add(sum, value(forward, s - 1));
                }
                if may_skip(states, s) {
                    sum = log_add(sum, value(forward, s - 2));
                }
                forward.push(sum + row[states[s] as usize].to_f64());
            }
        } else {
            forward.extend(here.clone().map(|s| row[states[s] as usize].to_f64()));
        }
        windows.push(pruned(here, at, beam, forward));
    }
    let last = windows.last()?;
    let end = |s: usize| {
        if last.states.contains(&s) { forward[last.at + s - last.states.start] } else { f64::NEG_INFINITY }
    };
    let total = log_add(end(width - 1), if width >= 2 { end(width - 2) } else { f64::NEG_INFINITY });
    (total != f64::NEG_INFINITY).then_some(total)
}

/// The window of the states `here`, whose α begin at `at`, without less probable states at its ends.
fn pruned(here: Range<usize>, at: usize, beam: f64, forward: &mut Vec<f64>) -> Window {
    if beam == f64::INFINITY {
        return Window { states: here, at };
    }
    let own = &forward[at..];
    let least = own.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b)) - beam;
    let first = own.iter().position(|&value| value >= least).unwrap_or(0);
    let end = own.iter().rposition(|&value| value >= least).map_or(own.len(), |last| last + 1);
    forward.truncate(at + end);
    Window { states: here.start + first..here.start + end, at: at + first }
}

/// Computes β of each step without the step's own probability, so that α + β is the log-probability of a path, and from
/// both the gradient. `total` is the log-probability of all paths.
fn backward_pass<T: Real>(
    log_probs: &[T],
    num_tokens: usize,
    total: f64,
    gradient: &mut [T],
    workspace: &mut CtcWorkspace,
) {
    let CtcWorkspace { forward, windows, backward, later, states, sums } = workspace;
    let (steps, width) = (log_probs.len() / num_tokens, states.len());
    for (t, Window { states: here, at }) in windows.iter().enumerate().rev() {
        std::mem::swap(backward, later);
        backward.first = here.start;
        backward.values.clear();
        if t + 1 == steps {
            backward
                .values
                .extend(here.clone().map(|s| if s + 2 >= width { 0.0 } else { f64::NEG_INFINITY }));
        } else {
            let own = |s: usize| log_probs[(t + 1) * num_tokens + states[s] as usize].to_f64() + later.get(s);
            for s in here.clone() {
                let mut sum = own(s);
                if s + 1 < width {
                    sum = log_add(sum, own(s + 1));
                }
                if s + 2 < width && may_skip(states, s + 2) {
                    sum = log_add(sum, own(s + 2));
                }
                backward.values.push(sum);
            }
        }
        sums.clear();
        sums.resize(num_tokens, 0.0);
        for ((s, alpha), beta) in here.clone().zip(&forward[*at..]).zip(&backward.values) {
            let both = alpha + beta - total;
            if both > -80.0 {
                sums[states[s] as usize] += both.exp();
            }
        }
        let rows = t * num_tokens..(t + 1) * num_tokens;
        for ((g, &p), &sum) in gradient[rows.clone()].iter_mut().zip(&log_probs[rows]).zip(&*sums) {
            *g = T::from_f64(p.to_f64().exp() - sum);
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

    /// A network that is rather sure: each label is at its place, in noise.
    fn aligned(steps: usize, tokens: usize, labels: &[u32]) -> Vec<f64> {
        let mut log_probs = random_log_probs(steps, tokens, 3);
        for t in 0..steps {
            let label = if t % 5 == 2 { labels.get(t / 5).copied().unwrap_or(0) } else { 0 };
            log_probs[t * tokens + label as usize] += 6.0;
        }
        log_softmax(&mut log_probs, tokens);
        log_probs
    }

    #[test]
    fn pruning_changes_nothing_that_matters_and_bounds_the_states() {
        let (steps, tokens) = (2000, 6);
        let labels: Vec<u32> = (0..400).map(|i| 1 + (i * i % 5) as u32).collect();
        let log_probs = aligned(steps, tokens, &labels);
        let states = (0..2 * labels.len() + 1).map(|s| if s % 2 == 0 { 0 } else { labels[s / 2] }).collect();
        let mut workspace = CtcWorkspace { states, ..CtcWorkspace::default() };
        let mut run = |beam| {
            let total = forward_pass(&log_probs, tokens, beam, &mut workspace).expect("a path");
            let mut gradient = vec![0.0; log_probs.len()];
            backward_pass(&log_probs, tokens, total, &mut gradient, &mut workspace);
            (total, gradient, workspace.forward.len())
        };
        let (all, kept) = (run(f64::INFINITY), run(BEAMS[0]));
        assert!((all.0 - kept.0).abs() < 1e-9, "{} is not {}", kept.0, all.0);
        assert!(all.1.iter().zip(&kept.1).all(|(a, b)| (a - b).abs() < 1e-9));
        assert!(kept.2 < all.2 / 3, "{} of {}", kept.2, all.2);
        assert!(is_likely(kept.0, labels.len(), steps));
        let untrained = random_log_probs(steps, tokens, 4);
        let total = forward_pass(&untrained, tokens, BEAMS[0], &mut workspace);
        assert!(!total.is_some_and(|total| is_likely(total, labels.len(), steps)), "{total:?}");
    }

    #[test]
    fn a_long_recording_is_aligned_in_bounded_memory() {
        let (steps, tokens) = (30_000, 5);
        let labels: Vec<u32> = (0..6_000).map(|i| 1 + (i * i % 17 % 4) as u32).collect();
        let mut gradient = vec![0.0; steps * tokens];
        let mut workspace = CtcWorkspace::default();
        let log_probs = aligned(steps, tokens, &labels);
        let loss = loss_and_gradient(&log_probs, tokens, &labels, 0, &mut gradient, &mut workspace);
        assert!(loss.is_some_and(|loss| loss > 0.0 && loss / (labels.len() as f64) < 1.0), "{loss:?}");
        assert!(gradient.iter().any(|&g| g != 0.0) && workspace.forward.len() < 200 * steps);
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
