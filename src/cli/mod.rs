//! The command line: one file a subcommand. Only here is printed, the environment read, and an
//! exit code chosen: 0 done, 1 some input failed (the rest went through), 2 wrong usage, 130
//! interrupted.

mod align;
mod average;
mod endpoint;
mod evaluate;
mod export;
mod generate;
mod import;
mod inspect;
mod interrupt;
mod listen;
mod lm;
mod model;
mod phrases;
mod pronounce;
mod raw;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "train")]
mod train_report;
mod transcribe;
mod values;
mod verify;
mod version;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::{self, Error, Stage};

/// A streaming speech recognizer that people train on their own recordings and carry as one
/// ONNX file.
#[derive(Debug, Parser)]
#[command(name = "hearken", disable_version_flag = true, arg_required_else_help = true)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    /// Print the version; with --verbose also what this build has, and its licenses.
    #[arg(short = 'V', long)]
    version: bool,

    /// With --version: say more.
    #[arg(long, requires = "version")]
    verbose: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what is said in recordings.
    Transcribe(transcribe::Args),
    // Described at its options, so that the long help has all of it.
    Align(Box<align::Args>),
    /// Print what is said into the microphone, while it is said.
    Listen(listen::Args),
    /// Measure error rates and speed on recordings whose text is known.
    Evaluate(evaluate::Args),
    /// Learn a model from recordings.
    #[cfg(feature = "train")]
    Train(train::Args),
    /// Write the mean of the weights of some models of one training.
    Average(average::Args),
    /// Write a model for another system.
    Export(export::Args),
    /// Run a model file on every engine and compare.
    Verify(verify::Args),
    /// Turn a foreign ONNX file into a model.
    Import(import::Args),
    /// Run a speech recognition server (WebSocket, HTTP, browser page).
    #[cfg(feature = "serve")]
    Serve(Box<serve::Args>),
    /// Describe a model file.
    Inspect(inspect::Args),
    /// Make a language model of texts.
    Lm(Box<lm::Args>),
    /// Check files of phrases.
    Phrases(Box<phrases::Args>),
    /// Print how words are said.
    Pronounce(Box<pronounce::Args>),
    /// Write manual pages and shell completions.
    Generate(generate::Args),
}

/// Why a command ended early.
#[derive(Debug)]
enum Stop {
    /// Whoever read our output has left: no error.
    BrokenPipe,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

impl Stop {
    /// A failure to write results to `name`.
    fn output(name: &Path, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Stop::BrokenPipe
        } else {
            Stop::Failed(error::io(Stage::Output, name, error))
        }
    }
}

/// Whether every input went through; the greater is what counts of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Done,
    SomeFailed,
    /// The user ended it with Ctrl-C. Exit code 130.
    Interrupted,
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    crate::error::print_no_caught_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results; all else is wrong usage. A reader that has left
            // does not matter to either.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let Some(command) = cli.command else {
        // Without a command and without --version the parser has shown the help.
        return exit_code(version::run(cli.verbose));
    };
    exit_code(match command {
        Command::Transcribe(args) => transcribe::run(&args),
        Command::Align(args) => align::run(&args),
        Command::Listen(args) => listen::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        #[cfg(feature = "train")]
        Command::Train(args) => train::run(&args),
        Command::Average(args) => average::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Import(args) => import::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Lm(args) => lm::run(&args),
        Command::Phrases(args) => phrases::run(&args),
        Command::Pronounce(args) => pronounce::run(&args),
        Command::Generate(args) => generate::run(&args),
    })
}

fn exit_code(result: Result<Outcome, Stop>) -> ExitCode {
    match result {
        Ok(Outcome::Done) | Err(Stop::BrokenPipe) => ExitCode::SUCCESS,
        Ok(Outcome::SomeFailed) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(interrupt::EXIT_CODE),
        Err(Stop::Failed(error)) => {
            complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints an error on standard error.
fn complain(error: &Error) {
    say(&error.to_string());
}

/// Prints a line for the user on standard error.
fn say(line: &str) {
    use std::io::Write;
    // The user may have closed it.
    let _ = writeln!(io::stderr(), "hearken: {}", crate::output::printable(line));
}

/// A bar of progress on a terminal; hidden elsewhere.
fn progress(template: &str, length: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
