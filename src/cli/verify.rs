use super::{Outcome, Stop};
#[derive(Debug, clap::Args)]
pub(super) struct Args {}
pub(super) fn run(_: &Args) -> std::result::Result<Outcome, Stop> {
    Ok(Outcome::Done)
}
