//! Networks for other sequences than speech, trained by `hearken::train::sequence`: text, sentiment, a forecast, music
//! and translation. Each prints what it reached and what a simpler method reaches, and writes a picture and an
//! ONNX file. docs/sequences.md describes them. The last one, `memory`, compares the cells on tasks that need a long
//! memory (docs/cells.md).
//!
//! ```text
//! cargo run --release --example sequences -- text
//! cargo run --release --example sequences -- text --data book.txt --seed 2 --out results
//! ```

mod baseline;
mod memory;
mod music;
mod picture;
mod sentiment;
mod series;
mod sound;
mod text;
mod translation;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use hearken::Result;
use hearken::error::{Error, Stage, io};
use hearken::train::sequence::{Example, Trainer};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

const USAGE: &str = "\
usage: sequences text|sentiment|series|music|translation|memory [options]
  --steps N     number of updates (fewer than the default is quick, and worse)
  --seed N      seed of the first weights and of the batches (default 1)
  --data FILE   text: a text file; sentiment: lines of 0 or 1, a tab and a sentence
  --out FOLDER  folder of the results (default sequences-out)";

/// What the command line says.
pub struct Options {
    /// Number of updates, if not the default.
    pub steps: Option<u64>,
    /// Seed of weights and batches.
    pub seed: u64,
    /// The user's own data.
    pub data: Option<PathBuf>,
    /// The folder of the results.
    pub out: PathBuf,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self { steps: None, seed: 1, data: None, out: "sequences-out".into() };
        let wrong = |problem: String| Error::new(Stage::Usage, format!("{problem}\n{USAGE}"));
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| wrong(format!("expected a value after {name}")))?;
            let number =
                || value.parse::<u64>().map_err(|_| wrong(format!("expected a number, found {value}")));
            match name.as_str() {
                "--steps" => options.steps = Some(number()?),
                "--seed" => options.seed = number()?,
                "--data" => options.data = Some(value.into()),
                "--out" => options.out = value.into(),
                _ => return Err(wrong(format!("unknown option {name}"))),
            }
        }
        std::fs::create_dir_all(&options.out).map_err(|e| io(Stage::Usage, &options.out, e))?;
        Ok(options)
    }

    /// The file given by `--data`, or `embedded`.
    pub fn text(&self, embedded: &str) -> Result<String> {
        match &self.data {
            Some(path) => std::fs::read_to_string(path).map_err(|e| io(Stage::Usage, path, e)),
            None => Ok(embedded.into()),
        }
    }
}

/// Trains for the steps of the schedule on batches that `draw` makes, and returns the mean loss of each tenth.
pub fn fit(
    trainer: &mut Trainer,
    options: &Options,
    steps: u64,
    mut draw: impl FnMut(&mut Pcg64Mcg) -> Vec<Example>,
) -> Result<Vec<(f64, f64)>> {
    let mut rng = Pcg64Mcg::seed_from_u64(options.seed);
    let (begin, mut curve, mut sum, mut count) = (Instant::now(), Vec::new(), 0.0, 0);
    while trainer.step() < steps {
        let batch = draw(&mut rng);
        sum += trainer.update(&batch.iter().collect::<Vec<_>>())?;
        count += 1;
        if trainer.step().is_multiple_of((steps / 10).max(1)) || trainer.step() == steps {
            let (step, mean, seconds) = (trainer.step(), sum / f64::from(count), begin.elapsed().as_secs());
            println!("update {step} of {steps}: training loss {mean:.4}, {seconds} s");
            curve.push((step as f64, mean));
            (sum, count) = (0.0, 0);
        }
    }
    Ok(curve)
}

fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let example = match name.as_str() {
        "text" => text::run,
        "sentiment" => sentiment::run,
        "series" => series::run,
        "music" => music::run,
        "translation" => translation::run,
        "memory" => memory::run,
        _ => return Err(Error::new(Stage::Usage, USAGE)),
    };
    let begin = Instant::now();
    example(&Options::parse(arguments)?)?;
    println!("{:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
