//! The command line: one file a subcommand. Only here is printed, the environment read, and an
//! exit code chosen: 0 done, 1 some input failed (the rest went through), 2 wrong usage, 130 interrupted.

mod average;
mod endpoint;
mod evaluate;
mod export;
mod import;
mod inspect;
mod interrupt;
mod listen;
mod model;
mod raw;
#[cfg(feature = "serve")]
mod serve;
mod train;
mod train_report;
mod transcribe;
mod verify;
mod verify_report;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{self, Error, Stage};

/// A streaming speech recogniser that people train on their own recordings and carry as one
/// ONNX file.
#[derive(Debug, Parser)]
#[command(name = "hearken", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what is said in recordings.
    Transcribe(transcribe::Args),
    /// Print what is said into the microphone, while it is said.
    Listen(listen::Args),
    /// Measure error rates and speed on recordings whose text is known.
    Evaluate(evaluate::Args),
    /// Learn a model from recordings.
    Train(train::Args),
    /// Write the mean of the weights of some models of one training.
    Average(average::Args),
    /// Write a model for another system.
    Export(export::Args),
    /// Run a model file on every engine and compare.
    Verify(verify::Args),
    /// Turn a foreign ONNX file into a model.
    Import(import::Args),
    /// Hear over the network, and show a page.
    #[cfg(feature = "serve")]
    Serve(serve::Args),
    /// Describe a model file.
    Inspect(inspect::Args),
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

/// Whether every input went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    SomeFailed,
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
    let result = match cli.command {
        Command::Transcribe(args) => transcribe::run(&args),
        Command::Listen(args) => listen::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Average(args) => average::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Import(args) => import::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        Command::Inspect(args) => inspect::run(&args),
    };
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

/// Tells of an error on standard error.
fn complain(error: &Error) {
    use std::io::Write;
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "hearken: {}", crate::output::printable(&error.to_string()));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
