//! The command line: one file a subcommand. Only here is printed, the environment read, and an
//! exit code chosen: 0 done, 1 some input failed (the rest went through), 2 wrong usage.

mod endpoint;
mod evaluate;
mod export;
mod import;
mod inspect;
mod listen;
mod model;
mod raw;
#[cfg(feature = "serve")]
mod serve;
mod train;
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
    /// Write a model for another system.
    Export(export::Args),
    /// Run a model file on every engine and compare.
    Verify(verify::Args),
    /// Turn a foreign ONNX file into a model.
    Import(import::Args),
    /// Run a speech recognition server (WebSocket, HTTP, browser page).
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
    /// The user ended it with Ctrl-C. Exit code 130.
    #[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "only the server is ended so"))]
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
        Ok(Outcome::Interrupted) => ExitCode::from(130),
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
