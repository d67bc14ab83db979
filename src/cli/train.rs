//! `hearken train`: recordings to a model.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Outcome, Stop};
use crate::error::{Error, Stage};
use crate::train::{LEFT_OUT, Options, Progress, Recipe, train};

/// The arguments of `hearken train`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  hearken train models/digits/recipe.toml --data recordings --out runs/digits\n\n\
    The run's folder then holds best.onnx (for --model), last.onnx, log.jsonl, checkpoint.bin\n\
    and left_out.txt, which names what could not be learnt from;\n\
    a run that was stopped goes on with --resume."
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
    /// Threads that share each batch; by default one a core.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Go on from the checkpoint in the run's folder.
    #[arg(long)]
    resume: bool,
    /// Start from the weights of this model; the recipe may have more layers, on top of its own.
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// End after this many updates in all, to go on later.
    #[arg(long, value_name = "STEPS")]
    stop_after: Option<u64>,
    /// Use this seed instead of the recipe's.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

/// Recordings left out that are named on the terminal; all are in the run's folder.
const MOST_NAMED: usize = 5;

/// Shows a run: a bar on a terminal, lines elsewhere.
struct Display {
    bar: Option<ProgressBar>,
    left_out: Cell<usize>,
}

impl Display {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{prefix} [{wide_bar}] {pos}/{len} {eta} left  {msg}");
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(1);
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Self { bar, left_out: Cell::new(0) }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
    }

    fn at(&self, what: &'static str, done: u64, all: u64) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(what);
            bar.set_length(all);
            bar.set_position(done);
        }
    }

    fn show(&self, progress: &Progress) {
        match progress {
            Progress::Loading(done, all) => self.at("reading", *done as u64, *all as u64),
            Progress::LeftOut(line) => {
                if self.left_out.replace(self.left_out.get() + 1) < MOST_NAMED {
                    self.line(&format!("left out: {line}"));
                }
            }
            Progress::Started { parameters, clips, hours, step, steps } => {
                if let more @ 1.. = self.left_out.get().saturating_sub(MOST_NAMED) {
                    self.line(&format!("left out: {more} more; {LEFT_OUT} in the run's folder names all"));
                }
                self.line(&format!(
                    "{parameters} parameters; {clips} recordings, {hours:.2} h; updates {step} to {steps}"
                ));
                if let Some(bar) = &self.bar {
                    bar.reset_eta();
                }
            }
            Progress::Step {
                step,
                steps,
                loss,
                auxiliary_loss,
                mmi_loss,
                consistency_loss,
                norm,
                rate,
                blank_share,
                utterances_per_second,
            } => {
                self.at("training", *step, *steps);
                let other = |name: &str, loss: &Option<f64>| {
                    loss.map_or(String::new(), |loss| format!("  {name} {loss:.3}"))
                };
                let more = other("mmi", mmi_loss) + &other("views", consistency_loss);
                let text = format!(
                    "loss {loss:.4}  aux {auxiliary_loss:.3}{more}  |g| {norm:.2}  lr {rate:.1e}  blank {:.0}%  {utterances_per_second:.0} utt/s",
                    100.0 * blank_share
                );
                match &self.bar {
                    Some(bar) => bar.set_message(text),
                    None => self.line(&format!("update {step}/{steps}  {text}")),
                }
            }
            Progress::Scores { step, scores, total, best } => {
                for s in scores {
                    let w = &s.score.words;
                    self.line(&format!(
                        "update {step}  {}: {:.2} % WER, {:.2} % CER ({} words: {} sub, {} del, {} ins), {:.1} false words/h",
                        s.manifest,
                        100.0 * s.score.wer(),
                        100.0 * s.score.cer(),
                        w.reference,
                        w.substitutions,
                        w.deletions,
                        w.insertions,
                        s.false_words_per_hour
                    ));
                }
                self.line(&format!(
                    "update {step}  score {total:.4}{}",
                    if *best { "  best so far" } else { "" }
                ));
            }
            Progress::Done { step, best } => {
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
                match best {
                    Some((score, at)) => {
                        self.line(&format!("done after update {step}; best at {at} with {score:.4}"))
                    }
                    None => self.line(&format!("done after update {step}")),
                }
            }
        }
    }
}

/// Runs `hearken train`.
pub fn run(args: &Args) -> Result<Outcome, Stop> {
    let (mut recipe, text) = Recipe::read(&args.recipe)?;
    if let Some(seed) = args.seed {
        recipe.run.seed = seed;
    }
    let stem = args.recipe.file_stem().map_or_else(|| "run".into(), |s| s.to_string_lossy().into_owned());
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(stem));
    let options = Options {
        data: args.data.clone(),
        out: out.clone(),
        threads: args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        resume: args.resume,
        from: args.from.clone(),
        stop_after: args.stop_after,
    };
    if options.threads == 0 || options.threads > 1024 {
        return Err(Error::new(Stage::Usage, "--threads: expected 1 to 1024").into());
    }
    let display = Display::new();
    train(&recipe, &text, &options, &mut |progress| {
        display.show(&progress);
        true
    })?;
    let best = out.join("best.onnx");
    let model = if best.exists() { best } else { out.join("last.onnx") };
    let _ = writeln!(std::io::stdout(), "{}", model.display());
    Ok(Outcome::Done)
}
