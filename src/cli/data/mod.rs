//! `hearken data import FOLDER`, `hearken data check MANIFEST…`

mod check;
mod import;
mod report;

use super::{Outcome, Stop};

/// Make manifests of recordings, and check recordings and their transcripts.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Import(Box<import::Args>),
    Check(check::Args),
}

pub(super) fn run(args: &Args) -> Result<Outcome, Stop> {
    match &args.command {
        Command::Import(args) => import::run(args),
        Command::Check(args) => check::run(args),
    }
}
