//! `hearken train`: recordings to a model.

use std::io::Write;
use std::path::PathBuf;

use super::interrupt::Interrupt;
use super::train_report::TrainReport;
use super::{Outcome, Stop};
use crate::error::{Error, Stage};
use crate::train::{Earlier, Options, Recipe, train};

/// The arguments of `hearken train`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hearken train models/digits/recipe.toml --data recordings --out runs/digits\n\n\
    The run's folder then holds best.onnx (for --model), last.onnx, log.jsonl, checkpoint.bin and\n\
    the one before it, and left_out.txt, which names what could not be learnt from.\n\
    Ctrl-C stops after the update under way with a checkpoint (exit code 130); --resume goes on."
)]
pub struct Args {
    /// What to learn, from what, and how.
    recipe: PathBuf,
    /// The folder that the recipe's manifests are relative to.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
    /// The run's folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Threads that share each batch; by default one a core, or as many as the resumed run had.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Go on from the checkpoint in the run's folder.
    #[arg(long)]
    resume: bool,
    /// With --resume: go on though the recipe, the seed or the number of threads has changed.
    #[arg(long, requires = "resume")]
    accept_changes: bool,
    /// Remove the training that is in the run's folder.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Start from the weights of this model; the recipe may have more layers, on top of its own.
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// End after this many updates in all, to go on later.
    #[arg(long, value_name = "STEPS")]
    stop_after: Option<u64>,
    /// Use this seed instead of the recipe's.
    #[arg(long, value_name = "SEED", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
}

impl Args {
    fn options(&self) -> Options {
        let stem = self.recipe.file_stem().map_or_else(|| "run".into(), |s| s.to_string_lossy().into_owned());
        Options {
            data: self.data.clone(),
            out: self.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(stem)),
            threads: self.threads,
            earlier: match (self.resume, self.overwrite) {
                (true, _) => Earlier::Resume,
                (false, true) => Earlier::Overwrite,
                (false, false) => Earlier::Keep,
            },
            accept_changes: self.accept_changes,
            from: self.from.clone(),
            stop_after: self.stop_after,
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
        ] {
            command += &value.map_or(String::new(), |value| format!(" {option} {value}"));
        }
        command + " --resume"
    }
}

/// Runs `hearken train`.
pub fn run(args: &Args) -> Result<Outcome, Stop> {
    if args.threads.is_some_and(|threads| threads == 0 || threads > 1024) {
        return Err(Error::new(Stage::Usage, "--threads: expected 1 to 1024").into());
    }
    let mut recipe = Recipe::read(&args.recipe)?;
    if let Some(seed) = args.seed {
        recipe.run.seed = seed;
    }
    let options = args.options();
    let interrupt = Interrupt::install();
    let mut report = TrainReport::new();
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
