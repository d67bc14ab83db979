//! AdamW (Adam with decoupled weight decay; Loshchilov and Hutter, 2019), global-norm clipping, warm-up and
//! cosine decay, and an exponential moving average of the weights.

use super::recipe::{Optimizer, Schedule};
use crate::model::{Parameter, constrain_tdnnf};

/// The state of the optimizer, without the parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    /// First moments of the gradients, for each parameter.
    pub first: Vec<Vec<f32>>,
    /// Second moments of the gradients, for each parameter.
    pub second: Vec<Vec<f32>>,
    /// Exponential moving average of the parameters.
    pub average: Vec<Vec<f32>>,
}

/// The Euclidean norm of all gradients together.
pub fn global_norm(gradients: &[Vec<f32>]) -> f64 {
    gradients.iter().flatten().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt()
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
    parameters: &mut [Vec<f32>],
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

    /// Updates the parameters and the state. `step` counts from 0; `decays[i]` is whether weight decay
    /// applies to parameter i. Returns the norm of the gradient before clipping; if it is not finite,
    /// nothing is changed.
    pub fn update(
        &mut self,
        step: u64,
        rate: f64,
        options: &Optimizer,
        parameters: &mut [Vec<f32>],
        gradients: &[Vec<f32>],
        decays: &[bool],
    ) -> f64 {
        let norm = global_norm(gradients);
        if !norm.is_finite() {
            return norm;
        }
        let scale = if norm > options.clip_norm { options.clip_norm / norm } else { 1.0 } as f32;
        let (b1, b2) = (options.beta1 as f32, options.beta2 as f32);
        let count = i32::try_from(step + 1).unwrap_or(i32::MAX);
        let (c1, c2) = (1.0 - options.beta1.powi(count), 1.0 - options.beta2.powi(count));
        let (size, root, epsilon) = ((rate / c1) as f32, c2.sqrt().recip() as f32, options.epsilon as f32);
        // The average follows more closely at first, when the weights change fast.
        let keep = options.ema_decay.min((1.0 + step as f64) / (10.0 + step as f64)) as f32;
        for (i, parameter) in parameters.iter_mut().enumerate() {
            let shrink = if decays[i] { 1.0 - (rate * options.weight_decay) as f32 } else { 1.0 };
            let moments = self.first[i].iter_mut().zip(self.second[i].iter_mut());
            let rest = gradients[i].iter().zip(self.average[i].iter_mut());
            for ((p, (m, v)), (&g, average)) in parameter.iter_mut().zip(moments).zip(rest) {
                let g = g * scale;
                *m = b1 * *m + (1.0 - b1) * g;
                *v = b2 * *v + (1.0 - b2) * g * g;
                *p = *p * shrink - size * *m / (v.sqrt() * root + epsilon);
                *average = keep * *average + (1.0 - keep) * *p;
            }
        }
        norm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls() {
        let (optimizer, schedule) = (
            Optimizer::default(),
            Schedule {
                steps: 100,
                warmup_steps: 10,
                final_share: 0.1,
                lengthen_steps: 0,
                short_steps: 0,
                short_seconds: 0.0,
            },
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
            adam.update(step, 0.05, &options, &mut parameters, &gradients, &[true]);
        }
        assert!(parameters[0].iter().all(|p| p.abs() < 0.05), "{parameters:?}");
    }
}
