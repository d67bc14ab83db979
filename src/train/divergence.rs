//! A run that diverges: the recordings and layers are named, and the run goes on from an earlier checkpoint with a lower
//! learning rate, or ends.

use super::checkpoint;
use super::example::ExampleBuilder;
use super::layers::not_finite;
use super::log::Line;
use super::progress::{Progress, Report};
use super::record::Record;
use super::run::Run;
use super::sampler::{ExampleSource, ExampleSpec};
use super::worker::{self, Worker};
use crate::error::{Error, Result, Stage};

/// Maximum number of recordings that a message names.
const MAX_NAMED: usize = 5;

impl Run<'_> {
    /// A sentence about weights or moments that are not finite.
    pub(super) fn weights_problem(&self) -> Option<String> {
        let moments = self.adam.first.iter().chain(&self.adam.second).chain(&self.adam.average);
        if self.parameters.iter().chain(moments).flatten().all(|weight| weight.is_finite()) {
            return None;
        }
        let layers = not_finite(&self.network.parameters, "weights", &self.parameters);
        Some(format!("the weights after {} updates are not finite; {layers}", self.step))
    }

    /// A sentence about the recordings of a batch whose loss or gradient, each computed alone, is not finite.
    pub(super) fn recordings_problem(
        &self,
        specs: &[ExampleSpec],
        builders: &mut [ExampleBuilder<'_>],
        workers: &mut [Worker<f32>],
    ) -> Result<String> {
        let (Some(builder), Some(worker)) = (builders.first_mut(), workers.first_mut()) else {
            return Ok(String::new());
        };
        let mut names: Vec<String> = Vec::new();
        let mut count = 0;
        for spec in specs {
            let examples = worker::build(builder, std::slice::from_ref(spec));
            let stats = self.run_shares(vec![examples], std::slice::from_mut(worker))?;
            if stats.is_finite() && worker.gradients.iter().flatten().all(|g| g.is_finite()) {
                continue;
            }
            count += 1;
            let of_spec = match &spec.source {
                ExampleSource::Recording(clip) => std::slice::from_ref(clip),
                ExampleSource::Words(clips) => clips.as_slice(),
                ExampleSource::Silence(_) => &[],
            };
            let clips = builder.data().clips.as_slice();
            names.extend(of_spec.iter().filter_map(|&clip| clips.get(clip)).map(|clip| clip.place.clone()));
        }
        names.sort_unstable();
        names.dedup();
        let more = match names.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        names.truncate(MAX_NAMED);
        let all = specs.len();
        Ok(match count {
            0 => format!("each of its {all} examples is finite alone"),
            _ => format!("{count} of its {all} examples: {}{more}", names.join(", ")),
        })
    }

    /// Goes on from an earlier checkpoint with a lower learning rate.
    ///
    /// # Errors
    /// When the run has done so as often as the recipe allows, or no checkpoint is left; the error describes `problem`.
    pub(super) fn back_off(
        &mut self,
        problem: &str,
        record: &mut Record<'_>,
        report: Report<'_>,
    ) -> Result<()> {
        let (recipe, out) = (self.session.recipe, &self.session.options.out);
        let good = checkpoint::before(out, self.step, recipe.run.checkpoint_interval)?;
        let back_offs = self.adaptive.back_offs + 1;
        let Some(checkpoint) = good.filter(|_| back_offs <= recipe.run.max_back_offs) else {
            return Err(self.diverged(problem));
        };
        self.resume(checkpoint)?;
        self.adaptive.back_offs = back_offs;
        let note = format!(
            "{problem}. Going on from update {} with a lower learning rate, {} times the recipe's ({back_offs} of {})",
            self.step,
            number(self.adaptive.rate_factor(recipe)),
            recipe.run.max_back_offs,
        );
        record.restart(self.step, report)?;
        record.write(Line::note(self.step, &note), report)?;
        report(Progress::Note(note));
        Ok(())
    }

    /// The error of a run that diverged; the remaining checkpoint is good.
    pub(super) fn diverged(&self, problem: &str) -> Error {
        let hint = match checkpoint::last(&self.session.options.out) {
            Ok(last) if last.header.step > 0 => format!(
                "the checkpoint of update {} is good: lower optimizer.learning_rate and resume, accepting the change",
                last.header.step
            ),
            _ => "lower optimizer.learning_rate and start a new run".into(),
        };
        Error::new(Stage::Train, problem).hint(hint)
    }
}

/// A factor with three significant digits.
fn number(factor: f64) -> String {
    if factor >= 0.01 { format!("{factor:.3}") } else { format!("{factor:.1e}") }
}
