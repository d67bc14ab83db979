//! Training by a recipe: loading of the data and of an earlier run's checkpoint, then the run.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::augment::Augmenter;
use super::checkpoint::{self, Checkpoint};
use super::folder::{ExistingRun, LEFT_OUT, RunFolder};
use super::load::{Loaded, Loading};
use super::prepare::materials;
use super::progress::{Ended, Progress, Report};
use super::recipe::Recipe;
use super::resume::{compare, threads};
use super::run::{Options, Run, Session};
use super::sampler::Sampler;
use super::warm_start::WarmStart;
use crate::decode::DecoderOptions;
use crate::error::{Error, Result, Stage, io};
use crate::text::pronunciation::Pronunciations;

/// Trains by a recipe, which is stored in the model with all defaults filled in, and passes events to
/// `report`. If another thread sets `stop`, the run ends after the current update and saves a checkpoint.
///
/// # Errors
/// When the data are invalid (names file and line), the folder cannot be written or contains another run,
/// or the loss is not finite.
pub fn train(recipe: &Recipe, options: &Options, stop: &AtomicBool, report: Report<'_>) -> Result<Ended> {
    let mut folder = RunFolder::open(&options.out, options.existing_run)?;
    let checkpoint = match options.existing_run {
        ExistingRun::Resume => Some(checkpoint::last(&options.out)?),
        _ => None,
    };
    let start = options.from.as_deref().map(WarmStart::read).transpose()?;
    let recipe = &match (&start, &checkpoint) {
        (Some(start), None) => start.with_decoder(recipe)?,
        (_, Some(checkpoint)) => with_decoder_of(checkpoint, recipe),
        (None, None) => recipe.clone(),
    };
    let threads = threads(options, checkpoint.as_ref());
    if let Some(checkpoint) = &checkpoint {
        compare(&checkpoint.header, recipe, threads, options, report)?;
    }
    let dictionary = match recipe.data.pronunciations.as_str() {
        "" => None,
        name => Some(Pronunciations::read(&Recipe::manifest(&options.data, name))?),
    };
    let decoder = DecoderOptions { lexicon: recipe.lexicon(dictionary.as_ref())?, ..recipe.decoder.clone() };
    let Some(loaded) = load(recipe, options, dictionary.as_ref(), threads, stop, report)? else {
        return Ok(Ended { step: 0, best: None, outputs_nothing: false, stopped: true, ended_early: false });
    };
    let sampler = Sampler::new(recipe, &loaded.dataset);
    if sampler.is_empty() {
        return Err(Error::new(Stage::Train, "the recipe's data contains nothing to learn from").at("data"));
    }
    let augmenter = Augmenter::new(&recipe.augment, &materials(recipe, &loaded.dataset))?;
    let tokens = recipe.tokens()?;
    start.iter().filter_map(|start| start.note(&tokens)).for_each(|note| report(Progress::Note(note)));
    let session = Session { recipe, options, threads, stop, tokens, start, decoder };
    let mut run = Run::start(session, checkpoint, &loaded.dataset, &sampler, &augmenter)?;
    folder.begin(options.existing_run)?;
    write_left_out(&options.out, &loaded.findings.left_out)?;
    run.train(&loaded, &sampler, &augmenter, report)
}

/// The recipe with the decoder's settings of the checkpoint if it has none of its own: then they were those of the
/// model that the run started from, or the defaults.
fn with_decoder_of(checkpoint: &Checkpoint, recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    // A damaged recipe is reported when it is compared.
    if recipe.decoder == DecoderOptions::default()
        && let Ok(before) = Recipe::parse(&checkpoint.header.recipe)
    {
        recipe.decoder = before.decoder;
    }
    recipe
}

/// Reads the data and reports the problems found in it.
fn load(
    recipe: &Recipe,
    options: &Options,
    dictionary: Option<&Pronunciations>,
    threads: usize,
    stop: &AtomicBool,
    report: Report<'_>,
) -> Result<Option<Loaded>> {
    let (sender, receiver) = crossbeam_channel::bounded::<(usize, usize)>(1024);
    let loaded = std::thread::scope(|scope| {
        let loading = scope.spawn(move || {
            let progress = |done, all| {
                // A full channel is fine: the progress bar skips this value.
                let _ = sender.try_send((done, all));
            };
            Loading { recipe, data: &options.data, dictionary, threads, progress: &progress, stop }.run()
        });
        for (done, all) in receiver {
            report(Progress::Loading(done, all));
        }
        loading.join().unwrap_or_else(|_| Err(Error::new(Stage::Train, "reading the data failed")))
    })?;
    let Some(mut loaded) = loaded else { return Ok(None) };
    loaded.findings.left_out.iter().for_each(|line| report(Progress::LeftOut(line.clone())));
    loaded.findings.notes.iter().for_each(|note| report(Progress::Note(note.clone())));
    match loaded.too_many.take() {
        Some(error) => Err(error),
        None => Ok(Some(loaded)),
    }
}

fn write_left_out(folder: &Path, left_out: &[String]) -> Result<()> {
    let path = folder.join(LEFT_OUT);
    if left_out.is_empty() {
        // One of an earlier start, if the data have been repaired since.
        let _ = std::fs::remove_file(&path);
        return Ok(());
    }
    let lines: String = left_out.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    std::fs::write(&path, lines).map_err(|e| io(Stage::Train, &path, e))
}
