//! The evaluations of a run, and the models that it writes.

use super::checkpoint::Best;
use super::folder::AVERAGE;
use super::log::Line;
use super::progress::{Progress, Report, Scores};
use super::record::Record;
use super::run::{Run, Session, incomplete};
use super::score::{DevScore, DevSet};
use crate::error::Result;
use crate::model::{Network, PackedWeights, Purpose};
use crate::onnx::{self, Metadata};

/// The file name of the model of the evaluation after update `step`.
fn kept_model(step: u64) -> String {
    format!("at-{step:06}.onnx")
}

impl Run<'_> {
    /// The network with the averages of its parameters.
    fn averaged(&self) -> Network<f32> {
        let mut network = self.network.clone();
        for (parameter, data) in network.parameters.iter_mut().zip(self.adam.averages(&self.parameters)) {
            parameter.data.clone_from(data);
        }
        network
    }

    /// Writes the latest model.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write_last(&self) -> Result<()> {
        self.write_model("last.onnx", self.averaged())
    }

    /// Scores the dev sets with the averages of the weights, and keeps the model if it is the best.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn evaluate(
        &mut self,
        dev: &[DevSet],
        record: &mut Record<'_>,
        report: Report<'_>,
    ) -> Result<()> {
        let network = self.averaged();
        let sets = self.score(&network, dev, report)?;
        let run = &self.session.recipe.run;
        if run.keep_models || run.average_best > 0 {
            self.write_model(&kept_model(self.step), network)?;
        }
        let scores = total_scores(self.step, sets, self.best);
        if scores.best {
            self.best = Some((scores.total, self.step));
            self.best_outputs_nothing = scores.outputs_nothing;
            self.write_model("best.onnx", self.averaged())?;
        }
        record.write(Line::scores(&scores), report)?;
        let changes = scores.total.map(|total| {
            let recipe = &self.session.recipe;
            let dropped = self.adaptive.rank(total, self.step, recipe.run.average_best);
            if recipe.run.average_best > 0 && !recipe.run.keep_models {
                // A run that is resumed from an earlier checkpoint drops the same models again, which may be gone.
                let path = |&step: &u64| self.session.options.out.join(kept_model(step));
                dropped.iter().for_each(|step| drop(std::fs::remove_file(path(step))));
            }
            self.adaptive.observe(total, &recipe.schedule)
        });
        report(Progress::Scores(scores));
        for note in changes.unwrap_or_default() {
            record.write(Line::note(self.step, &note), report)?;
            report(Progress::Note(note));
        }
        Ok(())
    }

    /// Scores the dev sets with a network.
    fn score(&self, network: &Network<f32>, dev: &[DevSet], report: Report<'_>) -> Result<Vec<DevScore>> {
        let weights = PackedWeights::new(network, Purpose::Inference).ok_or_else(incomplete)?;
        let Session { recipe, tokens, decoder, threads, .. } = &self.session;
        let mut sets: Vec<DevScore> = Vec::with_capacity(dev.len());
        for (i, set) in dev.iter().enumerate() {
            report(Progress::Scoring(i, dev.len()));
            sets.push(set.score(&weights, recipe, tokens, decoder, *threads)?);
        }
        Ok(sets)
    }

    /// Writes the mean of the models of the best evaluations, if the recipe asks for it, and reports its score.
    ///
    /// # Errors
    /// When a model cannot be read or the mean cannot be written.
    pub(super) fn average_best(
        &self,
        dev: &[DevSet],
        record: &mut Record<'_>,
        report: Report<'_>,
    ) -> Result<()> {
        let best: Vec<(f64, u64)> = self.adaptive.best().collect();
        let Some((alone, _)) = best.first() else { return Ok(()) };
        let path = |&(_, step): &(f64, u64)| self.session.options.out.join(kept_model(step));
        let networks: Result<Vec<Network<f32>>> =
            best.iter().map(|best| Ok(onnx::read_file(&path(best))?.0)).collect();
        let mean = Network::mean_of(&networks?)?;
        let score = total_scores(self.step, self.score(&mean, dev, report)?, None).total;
        let mut updates: Vec<u64> = best.iter().map(|&(_, step)| step).collect();
        updates.sort_unstable();
        let updates: Vec<String> = updates.iter().map(u64::to_string).collect();
        let note = format!(
            "{AVERAGE} is the mean of the models of updates {}: score {:.4}; the best of them alone has {alone:.4}",
            updates.join(", "),
            score.unwrap_or(f64::NAN),
        );
        self.write_model(AVERAGE, mean)?;
        record.write(Line::note(self.step, &note), report)?;
        report(Progress::Note(note));
        Ok(())
    }

    /// Writes a model with the metadata of the run.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write_model(&self, name: &str, network: Network<f32>) -> Result<()> {
        let Session { recipe, options, tokens, decoder, .. } = &self.session;
        let metadata = Metadata {
            features: recipe.features.clone(),
            tokens: tokens.clone(),
            decoder: decoder.clone(),
            license: recipe.data.license.clone(),
            trained_on: recipe.data.trained_on.clone(),
            recipe: self.text.clone(),
            created_by: format!("hearken {}", env!("CARGO_PKG_VERSION")),
            other: Vec::new(),
        };
        onnx::write_file(&options.out.join(name), &network.without_auxiliary(), &metadata)
    }
}

/// Sums the scores of the sets and determines whether the sum is the best so far. Of equal scores the later
/// one is better, because it has been trained for longer. If nothing is scored, the latest is the best.
fn total_scores(step: u64, sets: Vec<DevScore>, before: Option<Best>) -> Scores {
    let weighted: Vec<f64> = sets.iter().filter_map(|set| set.weighted).collect();
    let total = (!weighted.is_empty()).then(|| weighted.iter().sum::<f64>());
    let best = match (total, before) {
        (Some(total), Some((Some(best), _))) => total <= best,
        _ => true,
    };
    let words = |count: fn(&DevScore) -> u64| sets.iter().map(count).sum::<u64>();
    let outputs_nothing =
        words(|set| set.score.words.reference) > 0 && words(|set| set.score.words.hypothesis()) == 0;
    Scores { step, sets, total, best, outputs_nothing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{Edits, Score};

    fn set(reference: u64, deletions: u64, weighted: Option<f64>) -> DevScore {
        let words = Edits { reference, deletions, ..Edits::default() };
        let score = Score { words, ..Score::default() };
        DevScore {
            manifest: "dev.jsonl".into(),
            score,
            false_words_per_hour: None,
            weighted,
            worst: Vec::new(),
        }
    }

    #[test]
    fn of_equal_scores_the_later_is_best_and_without_words_there_is_none() {
        let judged = |sets, before| total_scores(20, sets, before);
        assert!(judged(vec![set(4, 1, Some(0.25))], Some((Some(0.25), 10))).best);
        assert!(!judged(vec![set(4, 1, Some(0.25))], Some((Some(0.2), 10))).best);
        let unscored = judged(vec![set(0, 0, None)], Some((None, 10)));
        assert!(unscored.best && unscored.total.is_none() && !unscored.outputs_nothing);
        assert!(judged(vec![set(4, 4, Some(1.0)), set(0, 0, None)], None).outputs_nothing);
        assert!(!judged(vec![set(4, 3, Some(0.75))], None).outputs_nothing);
    }
}
