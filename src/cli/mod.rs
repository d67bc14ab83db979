//! The command line, with one file for each subcommand. Only this module prints, reads the environment and
//! chooses the exit code: 0 for success, 1 if some input failed (the rest was processed), 2 for wrong usage,
//! 130 if interrupted.

mod align;
mod average;
mod captions;
mod data;
mod endpoint;
mod evaluate;
mod export;
mod generate;
mod import;
mod inspect;
mod interrupt;
#[cfg(any(feature = "microphone", test))]
mod level;
mod listen;
mod lm;
mod model;
mod phrases;
mod probe;
mod pronounce;
mod raw;
mod record;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "train")]
mod train_report;
mod transcribe;
mod unfold;
mod values;
mod verify;
mod version;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::{self, Error, Stage};

/// A streaming speech recognizer that you train on your own recordings and use as one ONNX file.
#[derive(Debug, Parser)]
#[command(name = "hearken", disable_version_flag = true, arg_required_else_help = true)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    /// Print the version; with --verbose also the features of this build, and the licenses.
    #[arg(short = 'V', long)]
    version: bool,

    /// With --version: print details.
    #[arg(long, requires = "version")]
    verbose: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

// A comment of documentation here would replace that of the command's `Args`, and with it the long help.
#[derive(Debug, Subcommand)]
enum Command {
    Transcribe(transcribe::Args),
    Align(Box<align::Args>),
    Listen(listen::Args),
    Evaluate(evaluate::Args),
    #[cfg(feature = "train")]
    Train(train::Args),
    Record(record::Args),
    Data(data::Args),
    Average(average::Args),
    Export(export::Args),
    Verify(verify::Args),
    Import(import::Args),
    #[cfg(feature = "serve")]
    Serve(Box<serve::Args>),
    Inspect(inspect::Args),
    Probe(probe::Args),
    Unfold(unfold::Args),
    Lm(Box<lm::Args>),
    Phrases(Box<phrases::Args>),
    Pronounce(Box<pronounce::Args>),
    Generate(generate::Args),
}

/// The reason why a command ended early.
#[derive(Debug)]
enum Stop {
    /// The reader of standard output has closed it, which is not an error.
    BrokenPipe,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

impl Stop {
    /// Maps a failure to write results to `name`.
    fn output(name: &Path, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Stop::BrokenPipe
        } else {
            Stop::Failed(error::io(Stage::Output, name, error))
        }
    }
}

/// The result of a command that was not ended by an error; in order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Exit code 0.
    Done,
    /// Some input failed: exit code 1.
    SomeFailed,
    /// Ended by Ctrl-C or a signal: exit code 130.
    Interrupted,
}

/// Runs the command line of the process; returns its exit code.
pub fn run() -> ExitCode {
    crate::error::print_no_caught_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help is a result, everything else is wrong usage. A closed pipe is no error for either.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let Some(command) = cli.command else {
        // Without a command and without --version the parser has printed the help.
        return exit_code(version::run(cli.verbose));
    };
    exit_code(match command {
        Command::Transcribe(args) => transcribe::run(&args),
        Command::Align(args) => align::run(&args),
        Command::Listen(args) => listen::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        #[cfg(feature = "train")]
        Command::Train(args) => train::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Data(args) => data::run(&args),
        Command::Average(args) => average::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Import(args) => import::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Probe(args) => probe::run(&args),
        Command::Unfold(args) => unfold::run(&args),
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
            print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Refuses an output file that is also an input, which it would destroy, and `-`.
fn check_output<'a>(out: &Path, inputs: impl IntoIterator<Item = &'a PathBuf>) -> error::Result<()> {
    if out == Path::new("-") {
        let problem = "the result cannot be written to standard output";
        return Err(Error::new(Stage::Usage, problem).hint("name a file"));
    }
    // `None` for a file that does not exist yet.
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let target = real(out);
    if target.is_some() && inputs.into_iter().any(|input| real(input) == target) {
        let problem = "the result would be written over a file that the command reads";
        return Err(Error::new(Stage::Usage, problem).in_file(out).hint("choose another name"));
    }
    Ok(())
}

/// Prints an error on standard error.
fn print_error(error: &Error) {
    say(&with_options(error).to_string());
}

/// The error with the program's options in place of the library's settings.
fn with_options(error: &Error) -> Error {
    error.clone().rename_remedy(option_for)
}

/// The option or command for a setting or function of the library that an error names as its remedy.
fn option_for(remedy: &str) -> Option<&'static str> {
    Some(match remedy {
        "ExistingRun" => "--resume or --overwrite",
        "accept_changes" => "--accept-changes",
        "chunk_frames" => "--chunk-frames N",
        "devices" => "hearken listen --list-devices",
        "import" => "hearken import MODEL",
        "inspect" => "hearken inspect MODEL",
        "language_model" => "--lm FILE",
        "lexicon" => "--lexicon FILE",
        "name" => "--name NAME",
        "open_raw" => "hearken transcribe --raw s16le:16000:1 FILE",
        "states" => "--state INPUT=OUTPUT",
        "tokens" => "--tokens FILE",
        "verify" => "hearken verify MODEL",
        "with_frontend" => "--with-frontend",
        _ => return None,
    })
}

/// Prints a line on standard error, with the program's name.
fn say(line: &str) {
    use std::io::Write;
    // Standard error may be closed.
    let _ = writeln!(io::stderr(), "hearken: {}", crate::output::printable(line));
}

/// Creates a progress bar, hidden if standard error is not a terminal.
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
