//! Checks whether a run may resume from a checkpoint.

use super::checkpoint::{self, Checkpoint, Header};
use super::progress::{Progress, Report};
use super::recipe::{Recipe, differences};
use super::run::Options;
use crate::error::{Error, Result, Stage};

/// The number of threads: that of the options, else that of the checkpoint, else the number of cores.
pub(super) fn threads(options: &Options, checkpoint: Option<&Checkpoint>) -> usize {
    let usual = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.or_else(|| checkpoint.map(|c| c.header.threads)).unwrap_or_else(usual);
    threads.max(1)
}

/// Whether a setting does not affect training: a finished run may be resumed with other values, to rewrite
/// its model.
fn is_of_the_model(key: &str) -> bool {
    key.starts_with("decoder.") || ["data.license", "data.trained_on"].contains(&key)
}

/// Compares a checkpoint with the settings of the resumed run: only the same recipe, seed and number of
/// threads result in the weights of an uninterrupted run.
pub(super) fn compare(
    header: &Header,
    recipe: &Recipe,
    threads: usize,
    options: &Options,
    report: Report<'_>,
) -> Result<()> {
    let before =
        Recipe::parse(&header.recipe).map_err(|e| e.in_file(&options.out).at("the checkpoint's recipe"))?;
    let over = header.step >= recipe.schedule.steps || header.adaptive.is_over(&recipe.schedule);
    let mut changes: Vec<String> = differences(&before, recipe)?
        .into_iter()
        .filter(|difference| !(over && is_of_the_model(&difference.key)))
        .map(|d| format!("`{}` was {} and is {}", d.key, d.before, d.now))
        .collect();
    if header.threads != threads {
        changes.push(format!("the number of threads was {} and is {threads}", header.threads));
    }
    let Some(first) = changes.first() else { return Ok(()) };
    if options.accept_changes {
        changes
            .into_iter()
            .for_each(|change| report(Progress::Note(format!("since the checkpoint, {change}"))));
        return Ok(());
    }
    let more = match changes.len() - 1 {
        0 => String::new(),
        more => format!(" ({more} more differ)"),
    };
    Err(Error::new(Stage::Train, format!("the checkpoint is of another run: {first}{more}"))
        .in_file(options.out.join(checkpoint::NAMES[0]))
        .hint("resume with the settings of the checkpoint, or accept the changes")
        .remedy("accept_changes"))
}
