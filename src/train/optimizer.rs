//! AdamW (Adam with decoupled weight decay; Loshchilov and Hutter, 2019), global-norm clipping, warm-up and
//! cosine decay, and an exponential moving average of the weights.

use super::recipe::{Optimizer, Schedule};
use super::threads::{PIECE, for_each_piece};
use crate::model::kernels::vectorized;
use crate::model::{Parameter, Real, constrain_tdnnf};

/// The state of the optimizer, without the parameters. That of a frozen parameter, which is not updated, is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    /// First moments of the gradients, for each parameter.
    pub first: Vec<Vec<f32>>,
    /// Second moments of the gradients, for each parameter.
    pub second: Vec<Vec<f32>>,
    /// Exponential moving average of the parameters.
    pub average: Vec<Vec<f32>>,
}

/// The Euclidean norm of all gradients together; the same for any number of threads.
fn global_norm<'g>(gradients: impl Iterator<Item = &'g Vec<f32>>, threads: usize) -> f64 {
    let mut pieces: Vec<(&[f32], f64)> =
        gradients.flat_map(|gradient| gradient.chunks(PIECE)).map(|piece| (piece, 0.0)).collect();
    for_each_piece(&mut pieces, threads, |(piece, sum)| *sum = square_sum(piece));
    pieces.iter().map(|(_, sum)| sum).sum::<f64>().sqrt()
}

/// The sum of squares in double precision. Eight partial sums let it be vectorized.
fn square_sum(values: &[f32]) -> f64 {
    let mut sums = [0.0; 8];
    let (whole, rest) = values.as_chunks::<8>();
    for chunk in whole.iter().map(|chunk| chunk.map(f64::from)) {
        sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value * value);
    }
    let rest: f64 = rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    sums.into_iter().sum::<f64>() + rest
}

/// The learning rate of update `step`, counted from 0: linear warm-up, then cosine decay.
pub fn learning_rate(step: u64, optimizer: &Optimizer, schedule: &Schedule) -> f64 {
    let top = optimizer.learning_rate;
    if step < schedule.warmup_steps {
        return top * (step + 1) as f64 / schedule.warmup_steps as f64;
    }
    let length = schedule.steps.saturating_sub(schedule.warmup_steps).max(1) as f64;
    let done = ((step - schedule.warmup_steps) as f64 / length).min(1.0);
    let share = schedule.final_share
        + (1.0 - schedule.final_share) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
    top * share
}

/// Moves parameters that have a constraint toward it, after update `step`, counted from 0: the first factors of `tdnnf`
/// become semi-orthogonal. `named` has the names and shapes of `parameters`.
pub fn constrain<'a>(
    named: impl IntoIterator<Item = &'a Parameter<f32>>,
    parameters: impl IntoIterator<Item = &'a mut Vec<f32>>,
    step: u64,
) {
    for (parameter, data) in named.into_iter().zip(parameters) {
        if parameter.name.ends_with(".tdnnf.linear.weight") {
            constrain_tdnnf(data, parameter.shape[0] / 2, step);
        }
    }
}

impl AdamW {
    /// A new state: zero moments, and the average starting at the parameters.
    pub fn new(parameters: &[Vec<f32>]) -> Self {
        let zeros: Vec<Vec<f32>> = parameters.iter().map(|p| vec![0.0; p.len()]).collect();
        Self { first: zeros.clone(), second: zeros, average: parameters.to_vec() }
    }

    /// Drops the state of frozen parameters, and creates that of parameters that no longer are.
    pub fn freeze(&mut self, parameters: &[Vec<f32>], frozen: &[bool]) {
        let moments = self.first.iter_mut().zip(&mut self.second).zip(&mut self.average);
        for (((first, second), average), (parameter, &is_frozen)) in
            moments.zip(parameters.iter().zip(frozen))
        {
            if is_frozen {
                [first, second, average].into_iter().for_each(|values| *values = Vec::new());
            } else if average.len() != parameter.len() {
                (*first, *second) = (vec![0.0; parameter.len()], vec![0.0; parameter.len()]);
                average.clone_from(parameter);
            }
        }
    }

    /// Whether parameter `index`, which is not empty, is frozen.
    pub fn is_frozen(&self, index: usize) -> bool {
        self.average[index].is_empty()
    }

    /// The averages of the parameters; of frozen ones the values themselves.
    pub fn averages<'a>(&'a self, parameters: &'a [Vec<f32>]) -> impl Iterator<Item = &'a Vec<f32>> {
        self.average
            .iter()
            .zip(parameters)
            .map(|(average, own)| if average.is_empty() { own } else { average })
    }

    /// Updates the parameters and the state. Returns the norm of the gradient before clipping; if it is not finite,
    /// nothing is changed. The number of threads does not change the result.
    pub fn update(
        &mut self,
        step: &AdamStep<'_>,
        parameters: &mut [Vec<f32>],
        gradients: &[Vec<f32>],
    ) -> f64 {
        let AdamStep { number, rate, options, decays, threads } = *step;
        let trained = gradients.iter().enumerate().filter(|(i, _)| !self.is_frozen(*i));
        let norm = global_norm(trained.map(|(_, gradient)| gradient), threads);
        if !norm.is_finite() {
            return norm;
        }
        let scale = if norm > options.clip_norm { options.clip_norm / norm } else { 1.0 } as f32;
        let (b1, b2) = (options.beta1 as f32, options.beta2 as f32);
        let count = i32::try_from(number + 1).unwrap_or(i32::MAX);
        let (c1, c2) = (1.0 - options.beta1.powi(count), 1.0 - options.beta2.powi(count));
        let (size, root, epsilon) = ((rate / c1) as f32, c2.sqrt().recip() as f32, options.epsilon as f32);
        // The average follows more closely at first, when the weights change fast.
        let keep = options.ema_decay.min((1.0 + number as f64) / (10.0 + number as f64)) as f32;
        let mut pieces = Vec::new();
        let moments = self.first.iter_mut().zip(&mut self.second);
        // A frozen parameter has no pieces, because its moments are empty.
        let values = parameters.iter_mut().zip(gradients).zip(moments.zip(&mut self.average));
        for (((parameter, gradient), ((first, second), average)), &decays) in values.zip(decays) {
            let shrink = if decays { 1.0 - (rate * options.weight_decay) as f32 } else { 1.0 };
            let moments = first.chunks_mut(PIECE).zip(second.chunks_mut(PIECE));
            let rest = gradient.chunks(PIECE).zip(average.chunks_mut(PIECE));
            pieces.extend(parameter.chunks_mut(PIECE).zip(moments).zip(rest).map(|piece| (shrink, piece)));
        }
        for_each_piece(&mut pieces, threads, |(shrink, ((p, (m, v)), (g, average)))| {
            let factors = Factors { scale, b1, b2, shrink: *shrink, size, root, epsilon, keep };
            step_values(&factors, g, p, m, v, average);
        });
        norm
    }
}

/// Arguments of an update.
#[derive(Clone, Copy)]
pub struct AdamStep<'a> {
    /// Its number, counted from 0.
    pub number: u64,
    /// The learning rate.
    pub rate: f64,
    /// The options of the optimizer.
    pub options: &'a Optimizer,
    /// Whether weight decay applies to each parameter.
    pub decays: &'a [bool],
    /// Number of threads.
    pub threads: usize,
}

/// Factors of an update that all values of a parameter share.
struct Factors<T> {
    /// That of the gradient, by clipping.
    scale: T,
    b1: T,
    b2: T,
    /// 1 minus the weight decay.
    shrink: T,
    /// The learning rate with the correction of the first moments.
    size: T,
    /// The correction of the root of the second moments.
    root: T,
    epsilon: T,
    /// Decay rate of the moving average.
    keep: T,
}

vectorized! {
    /// Updates the values of a parameter, their moments and their moving average.
    fn step_values<T: Real>(factors: &Factors<T>, g: &[T], p: &mut [T], m: &mut [T], v: &mut [T], average: &mut [T]) {
        let &Factors { scale, b1, b2, shrink, size, root, epsilon, keep } = factors;
        let n = p.len();
        let (g, m, v, average) = (&g[..n], &mut m[..n], &mut v[..n], &mut average[..n]);
        for i in 0..n {
            let g = g[i] * scale;
            m[i] = b1 * m[i] + (T::ONE - b1) * g;
            v[i] = b2 * v[i] + (T::ONE - b2) * g * g;
            p[i] = p[i] * shrink - size * m[i] / (v[i].sqrt() * root + epsilon);
            average[i] = keep * average[i] + (T::ONE - keep) * p[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls() {
        let (optimizer, schedule) = (
            Optimizer::default(),
            Schedule { steps: 100, warmup_steps: 10, final_share: 0.1, ..Schedule::default() },
        );
        let rate = |step| learning_rate(step, &optimizer, &schedule) / optimizer.learning_rate;
        assert!((rate(0) - 0.1).abs() < 1e-12 && (rate(9) - 1.0).abs() < 1e-12);
        assert!(rate(50) < rate(20) && (rate(100) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn it_minimizes_a_quadratic_function() {
        let mut parameters = vec![vec![3.0f32, -2.0]];
        let mut adam = AdamW::new(&parameters);
        let options = Optimizer { weight_decay: 0.0, ..Optimizer::default() };
        for step in 0..600 {
            let gradients = vec![parameters[0].iter().map(|p| 2.0 * p).collect::<Vec<f32>>()];
            let step = AdamStep { number: step, rate: 0.05, options: &options, decays: &[true], threads: 1 };
            adam.update(&step, &mut parameters, &gradients);
        }
        assert!(parameters[0].iter().all(|p| p.abs() < 0.05), "{parameters:?}");
    }

    #[test]
    fn threads_do_not_change_the_result() {
        let count = 3 * PIECE + 5;
        let gradients = vec![(0..count).map(|i| (i as f32).sin()).collect::<Vec<f32>>(), vec![0.5; 7]];
        let update = |threads| {
            let mut parameters = vec![vec![1.0f32; count], vec![2.0; 7]];
            let mut adam = AdamW::new(&parameters);
            let (options, decays) = (Optimizer::default(), [true, false]);
            let step = |number| AdamStep { number, rate: 0.05, options: &options, decays: &decays, threads };
            let norms = [0, 1].map(|number| adam.update(&step(number), &mut parameters, &gradients));
            let exact = gradients.iter().flatten().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            assert!((norms[0] / exact - 1.0).abs() < 1e-12);
            (norms, parameters, adam)
        };
        assert_eq!(update(1), update(3));
    }
}
