//! `hearken train RECIPE`

use std::io::Write;
use std::path::PathBuf;

use super::interrupt::Interrupt;
use super::train_report::TrainReport;
use super::{Outcome, Stop};
use crate::error::{Error, Stage};
use crate::train::{ExistingRun, Options, Recipe, train};

/// Train a model on recordings.
///
/// The run's folder then holds best.onnx (for --model), last.onnx, average.onnx (with average_best in [run]), report.html (a page with the course of the training),
/// log.jsonl, checkpoint.bin and the one before it, and left_out.txt, a list of the recordings that were left out. Ctrl-C stops after the current update and writes a
/// checkpoint (exit code 130); --resume continues from it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hearken train models/digits/recipe.toml --data recordings --out runs/digits"
)]
pub struct Args {
    /// Recipe (TOML): the words, the data, the network and the settings of the training; see docs/train.md.
    recipe: PathBuf,
    /// Folder of the data: the recipe's manifests are relative to it.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
    /// Folder of the run [default: runs/ and the name of the recipe].
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Number of threads that share each batch [default: the number of CPU cores, or that of the resumed run].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Continue from the checkpoint in the run's folder.
    #[arg(long)]
    resume: bool,
    /// With --resume: continue although the recipe, the seed or the number of threads has changed.
    #[arg(long, requires = "resume")]
    accept_changes: bool,
    /// Remove an earlier training from the run's folder.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Initialize from the weights of this model, a file or the embedded `english` or `digits`; the recipe may have more
    /// layers, on top of the model's. A recipe without `[decoder]` gets the model's settings of the decoder.
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// Keep layers as they are, in place of the recipe's `freeze`: the input layer and this number of the lowest layers,
    /// or names separated by commas (`input`, `layer 1`, `output`, `auxiliary`).
    #[arg(long, value_name = "LAYERS", value_parser = freeze)]
    freeze: Option<Freeze>,
    /// Stop after this number of updates in total; --resume continues later.
    #[arg(long, value_name = "STEPS")]
    stop_after: Option<u64>,
    /// Write event files for TensorBoard into the run's folder too.
    #[arg(long)]
    tensorboard: bool,
    /// Random seed, in place of the recipe's.
    #[arg(long, value_name = "SEED", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
}

/// The layers that are not trained.
#[derive(Clone, Debug)]
struct Freeze {
    /// As given.
    text: String,
    layers: Vec<String>,
}

fn freeze(text: &str) -> Result<Freeze, String> {
    let layers = match text.trim().parse::<usize>() {
        Ok(count @ 1..=1000) => Recipe::lowest_layers(count),
        Ok(_) => return Err("expected a number from 1 to 1000, or names of layers".into()),
        Err(_) => text.split(',').map(|name| name.trim().to_string()).collect(),
    };
    Ok(Freeze { text: text.into(), layers })
}

impl Args {
    fn options(&self) -> Options {
        let stem = self.recipe.file_stem().map_or_else(|| "run".into(), |s| s.to_string_lossy().into_owned());
        Options {
            data: self.data.clone(),
            out: self.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(stem)),
            threads: self.threads,
            existing_run: match (self.resume, self.overwrite) {
                (true, _) => ExistingRun::Resume,
                (false, true) => ExistingRun::Overwrite,
                (false, false) => ExistingRun::Keep,
            },
            accept_changes: self.accept_changes,
            from: self.from.clone(),
            stop_after: self.stop_after,
            tensorboard: self.tensorboard,
        }
    }
}

impl Args {
    fn command_to_resume(&self, options: &Options) -> String {
        let mut command = format!("hearken train {}", self.recipe.display());
        for (option, value) in [
            ("--data", Some(options.data.display().to_string())),
            ("--out", Some(options.out.display().to_string())),
            ("--seed", self.seed.map(|seed| seed.to_string())),
            ("--freeze", self.freeze.as_ref().map(|freeze| format!("\"{}\"", freeze.text))),
        ] {
            command += &value.map_or(String::new(), |value| format!(" {option} {value}"));
        }
        if self.tensorboard {
            command += " --tensorboard";
        }
        command + " --resume"
    }
}

/// Runs the command; prints the path of the best model.
pub fn run(args: &Args) -> Result<Outcome, Stop> {
    if args.threads.is_some_and(|threads| threads == 0 || threads > 1024) {
        return Err(Error::new(Stage::Usage, "--threads: expected 1 to 1024").into());
    }
    let mut recipe = Recipe::read(&args.recipe)?;
    if let Some(seed) = args.seed {
        recipe.run.seed = seed;
    }
    if !recipe.run.precision.is_supported() {
        super::say(&format!(
            "{}: precision = \"bf16\": this processor has neither AMX-BF16 nor AVX512-BF16, so fp32 is used",
            args.recipe.display()
        ));
    }
    if let Some(freeze) = &args.freeze {
        recipe.network.freeze.clone_from(&freeze.layers);
        recipe.frozen_layers().map_err(|e| Error::new(Stage::Usage, e.problem()).at("--freeze"))?;
    }
    let options = args.options();
    let interrupt = Interrupt::install();
    let mut report = TrainReport::new(&options.out);
    let ended = train(&recipe, &options, interrupt.flag(), &mut |progress| report.show(&progress));
    let ended = ended.inspect_err(|_| report.end())?;
    if ended.stopped {
        report.stopped(&ended, &args.command_to_resume(&options));
        return Ok(Outcome::Interrupted);
    }
    let best = options.out.join("best.onnx");
    let model = if best.exists() { best } else { options.out.join("last.onnx") };
    let _ = writeln!(std::io::stdout(), "{}", model.display());
    Ok(Outcome::Done)
}
