//! `hearken inspect FILE.onnx`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Outcome, Stop};
use crate::model::Network;
use crate::onnx::{self, Metadata};
use crate::output::printable;
use crate::recognizer::embedded;

/// Describe a model file; without one, the model inside the program.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: hearken inspect model.onnx")]
pub(super) struct Args {
    #[arg(value_name = "FILE.onnx")]
    file: Option<PathBuf>,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> std::result::Result<Outcome, Stop> {
    let (network, metadata) = match &args.file {
        Some(path) => onnx::read_file(path)?,
        None => onnx::read(embedded::digits())?,
    };
    let mut out = io::stdout().lock();
    let written = if args.json {
        let line = json!({
            "parameters": network.num_parameters(),
            "network": network.config,
            "features": metadata.features,
            "tokens": metadata.tokens.tokens(),
            "blank": metadata.tokens.blank(),
            "decoder": metadata.decoder,
            "license": metadata.license,
            "trained_on": metadata.trained_on,
            "created_by": metadata.created_by,
            "recipe": metadata.recipe,
        });
        writeln!(out, "{line}")
    } else {
        describe(&mut out, &network, &metadata)
    };
    written.and_then(|()| out.flush()).map_err(|e| Stop::output(Path::new("standard output"), e))?;
    Ok(Outcome::Done)
}

fn describe(out: &mut impl Write, network: &Network<f32>, metadata: &Metadata) -> io::Result<()> {
    let config = &network.config;
    let features = &metadata.features;
    let step_ms = features.frame_shift_ms * config.subsampling as f32;
    writeln!(out, "parameters   {}", network.num_parameters())?;
    writeln!(out, "input        {} Hz, {} mel bins", features.sample_rate, features.num_mel_bins)?;
    writeln!(out, "step         {} frames, {step_ms} ms", config.subsampling)?;
    for (i, layer) in config.layers.iter().enumerate() {
        writeln!(out, "layer {i}      {}, {} wide", layer.cell.family(), layer.hidden)?;
    }
    let tokens: Vec<String> = metadata.tokens.tokens().iter().map(|t| printable(t)).collect();
    writeln!(out, "tokens       {}: {}", tokens.len(), tokens.join(" "))?;
    writeln!(out, "license      {}", printable(&metadata.license))?;
    writeln!(out, "trained on   {}", printable(&metadata.trained_on))?;
    writeln!(out, "created by   {}", printable(&metadata.created_by))
}
