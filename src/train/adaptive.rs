//! What a run changes by itself: it ends early or lowers its learning rate when the dev score no longer improves, and
//! backs off when it diverges.

use serde::{Deserialize, Serialize};

use super::recipe::{EarlyStopping, Plateau, Recipe, Schedule};

/// The state of a run that depends on its dev scores and on divergence, stored in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adaptive {
    early_stopping: Patience,
    plateau: Patience,
    /// Number of evaluations that do not count yet after a reduction on a plateau.
    cooldown: u64,
    /// Number of reductions of the learning rate on plateaus.
    reductions: u64,
    /// Number of times that the run went on with a lower rate after it diverged.
    pub(super) back_offs: u64,
    /// The bits of the score and the number of updates of the best evaluations, the best first.
    ranking: Vec<(u64, u64)>,
}

/// The evaluations since the best score.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Patience {
    /// The bits of the best score, because JSON does not keep the last bit of a number.
    best: Option<u64>,
    /// Number of evaluations since then.
    waited: u64,
}

impl Patience {
    /// Counts an evaluation; `limit` is the score that the new one must be below, computed from the best one.
    fn observe(&mut self, score: f64, limit: impl Fn(f64) -> f64) {
        match self.best.map(f64::from_bits) {
            Some(best) if score >= limit(best) => self.waited += 1,
            _ => *self = Self { best: Some(score.to_bits()), waited: 0 },
        }
    }

    fn best(&self) -> f64 {
        self.best.map_or(f64::INFINITY, f64::from_bits)
    }
}

impl Adaptive {
    /// Takes the score of an evaluation (lower is better) into account. Returns a sentence for each change.
    pub(super) fn observe(&mut self, score: f64, schedule: &Schedule) -> Vec<String> {
        let mut changes = Vec::new();
        if let Some(&Plateau { factor, patience, threshold, cooldown, min_share }) = schedule.plateau.as_ref()
        {
            self.plateau.observe(score, |best| best * (1.0 - threshold));
            if self.cooldown > 0 {
                self.cooldown -= 1;
                self.plateau.waited = 0;
            }
            if self.plateau.waited >= patience {
                (self.plateau.waited, self.cooldown) = (0, cooldown);
                if self.plateau_factor(schedule) > min_share {
                    self.reductions += 1;
                    changes.push(format!(
                        "plateau: no better score than {:.4} in {patience} evaluations; the learning rate is multiplied by \
                         {factor}, in all by {:.3}",
                        self.plateau.best(),
                        self.plateau_factor(schedule),
                    ));
                }
            }
        }
        if let Some(&EarlyStopping { patience, min_delta }) = schedule.early_stopping.as_ref() {
            self.early_stopping.observe(score, |best| best - min_delta);
            if self.early_stopping.waited == patience {
                changes.push(format!(
                    "early stopping: no better score than {:.4} in {patience} evaluations",
                    self.early_stopping.best(),
                ));
            }
        }
        changes
    }

    /// Enters the score after update `step` into the `count` best; of equal ones the later is better. Returns the updates that
    /// are no longer, or not, among them.
    pub(super) fn rank(&mut self, score: f64, step: u64, count: usize) -> Vec<u64> {
        let place = self.ranking.iter().position(|&(other, _)| score <= f64::from_bits(other));
        self.ranking.insert(place.unwrap_or(self.ranking.len()), (score.to_bits(), step));
        self.ranking.split_off(count.min(self.ranking.len())).into_iter().map(|(_, step)| step).collect()
    }

    /// The best evaluations, the best first: score and number of updates.
    pub(super) fn best(&self) -> impl Iterator<Item = (f64, u64)> {
        self.ranking.iter().map(|&(score, step)| (f64::from_bits(score), step))
    }

    /// Whether early stopping ends the run.
    pub(super) fn is_over(&self, schedule: &Schedule) -> bool {
        schedule
            .early_stopping
            .as_ref()
            .is_some_and(|stopping| self.early_stopping.waited >= stopping.patience)
    }

    /// The factor of the learning rate that the schedule prescribes.
    pub(super) fn rate_factor(&self, recipe: &Recipe) -> f64 {
        self.plateau_factor(&recipe.schedule) * recipe.run.back_off_factor.powi(power(self.back_offs))
    }

    fn plateau_factor(&self, schedule: &Schedule) -> f64 {
        let reduced = |plateau: &Plateau| plateau.factor.powi(power(self.reductions)).max(plateau.min_share);
        schedule.plateau.as_ref().map_or(1.0, reduced)
    }
}

fn power(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(early_stopping: Option<EarlyStopping>, plateau: Option<Plateau>) -> Schedule {
        Schedule { steps: 100, early_stopping, plateau, ..Schedule::default() }
    }

    #[test]
    fn early_stopping_counts_evaluations_without_a_better_score() {
        let schedule = schedule(Some(EarlyStopping { patience: 2, min_delta: 0.01 }), None);
        let mut state = Adaptive::default();
        // 0.395 is not better by 0.01, and 0.3 is.
        let over: Vec<bool> = [0.5, 0.4, 0.395, 0.3, 0.3, 0.31]
            .map(|score| {
                state.observe(score, &schedule);
                state.is_over(&schedule)
            })
            .to_vec();
        assert_eq!(over, [false, false, false, false, false, true]);
        let text = serde_json::to_string(&state).expect("JSON");
        assert_eq!(serde_json::from_str::<Adaptive>(&text).expect("a state"), state);
        // A recipe with more patience continues it.
        let patient =
            Schedule { early_stopping: Some(EarlyStopping { patience: 3, min_delta: 0.01 }), ..schedule };
        assert!(!state.is_over(&patient));
    }

    #[test]
    fn the_best_evaluations_are_ranked() {
        let mut state = Adaptive::default();
        let scores = [(10, 0.5), (20, 0.3), (30, 0.4), (40, 0.6), (50, 0.3)];
        let dropped: Vec<u64> = scores.iter().flat_map(|&(step, score)| state.rank(score, step, 3)).collect();
        assert_eq!(dropped, [40, 10]);
        assert_eq!(state.best().collect::<Vec<_>>(), [(0.3, 50), (0.3, 20), (0.4, 30)]);
    }

    /// The rates of `torch.optim.lr_scheduler.ReduceLROnPlateau(factor=0.5, patience=1, threshold=0.05, cooldown=1,
    /// min_lr=0.1)` from 1.0, in PyTorch 2.15, whose `patience` is one less.
    #[test]
    fn the_rate_falls_as_with_pytorch() {
        let plateau = Plateau { factor: 0.5, patience: 2, threshold: 0.05, cooldown: 1, min_share: 0.1 };
        let schedule = schedule(None, Some(plateau));
        let scores =
            [1.0, 0.9, 0.88, 0.87, 0.86, 0.85, 0.85, 0.85, 0.8, 0.79, 0.79, 0.79, 0.79, 0.79, 0.79, 0.79];
        let mut state = Adaptive::default();
        let rates = scores.map(|score| {
            state.observe(score, &schedule);
            state.plateau_factor(&schedule)
        });
        assert_eq!(rates, RATES);
    }

    const RATES: [f64; 16] =
        [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125, 0.1, 0.1, 0.1];
}
