//! `hearken average MODEL… -o FILE`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::model::read_own;
use super::{Outcome, Stop, check_output};
use crate::error::{Error, Stage};
use crate::model::Network;
use crate::onnx;

/// Average the weights of several models of one training.
///
/// For unknown speakers the mean is often more accurate than each of the models, for example those that
/// `keep_models` keeps during a training. Everything except the weights is copied from the first model.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: hearken average runs/mine/at-003000.onnx runs/mine/at-004000.onnx -o mean.onnx"
)]
pub(super) struct Args {
    /// Models with the same layers, tokens and features.
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<PathBuf>,

    /// Output file.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,

    /// Round the weights to 16-bit floats, which halves the size of the file.
    #[arg(long)]
    halves: bool,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Stop> {
    check_output(&args.out, &args.models)?;
    let mut networks = Vec::new();
    let mut first = None;
    for path in &args.models {
        let (network, metadata) = read_own(path)?;
        let (name, expected) = first.get_or_insert_with(|| (path, metadata.clone()));
        let differs = [
            (metadata.tokens != expected.tokens, "tokens"),
            (metadata.features != expected.features, "features"),
            (networks.first().is_some_and(|n: &Network<f32>| n.config != network.config), "layers"),
        ];
        if let Some((_, what)) = differs.iter().find(|(differs, _)| *differs) {
            let problem = format!("its {what} are not those of {}", name.display());
            return Err(Error::new(Stage::Model, problem)
                .in_file(path)
                .hint("only models of one training can be averaged")
                .into());
        }
        networks.push(network);
    }
    let Some((_, metadata)) = first else { return Ok(Outcome::Done) };
    let mut mean = Network::mean_of(&networks)?;
    if args.halves {
        mean.round_to_halves();
    }
    onnx::write_file(&args.out, &mean, &metadata)?;
    let written = writeln!(io::stdout(), "{}", args.out.display());
    written.map_err(|e| Stop::output(Path::new("standard output"), e))?;
    Ok(Outcome::Done)
}
