//! Writes a model with random weights whose texts are not empty, for checks of exports in other systems.
//!
//! ```text
//! cargo run --example random_model -- lstm:24,gru:24,rnn-relu:16 model.onnx
//! ```

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use hearken::features::FbankOptions;
use hearken::model::network::initialize;
use hearken::model::{CellKind, LayerConfig, NetworkConfig};
use hearken::onnx::{self, DecoderOptions, Metadata};
use hearken::text::TokenTable;

const TOKENS: usize = 12;

#[derive(Parser)]
struct Args {
    /// Layers, a list of CELL:WIDTH, with the names of cells in recipes.
    #[arg(value_delimiter = ',', required = true)]
    layers: Vec<String>,
    out: PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of features in a frame; other systems require 80.
    #[arg(long, default_value_t = 80)]
    bins: usize,
    /// Width of the input layer.
    #[arg(long, default_value_t = 32)]
    input: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let mut layers = Vec::new();
    for layer in &args.layers {
        let (cell, hidden) = layer.split_once(':').ok_or("expected CELL:WIDTH")?;
        let cell: CellKind = serde_json::from_value(cell.into())?;
        layers.push(LayerConfig::new(cell, hidden.parse()?));
    }
    let config = NetworkConfig {
        num_features: args.bins,
        subsampling: 4,
        input_size: args.input,
        layers,
        layer_norm: true,
        residual: true,
        num_tokens: TOKENS,
        auxiliary: None,
    };
    let mut network = initialize(&config, args.seed);
    network.mean.fill(-8.0);
    network.scale.fill(0.3);
    // Initial weights give flat probabilities; larger ones give output that changes with the input.
    for parameter in &mut network.parameters {
        let factor = match parameter.name.as_str() {
            "output.weight" => 12.0,
            name if name.ends_with(".W") => 2.0,
            _ => 1.0,
        };
        parameter.data.iter_mut().for_each(|w| *w *= factor);
    }
    let token = |i| if i == 0 { "<blk>".to_string() } else { format!("▁{i}") };
    let metadata = Metadata {
        features: FbankOptions { num_mel_bins: args.bins, ..FbankOptions::default() },
        tokens: TokenTable::new((0..TOKENS).map(token).collect(), 0)?,
        decoder: DecoderOptions::default(),
        license: "CC0-1.0".into(),
        trained_on: "random numbers".into(),
        recipe: String::new(),
        created_by: "random_model".into(),
        other: Vec::new(),
    };
    onnx::write_file(&args.out, &network, &metadata)?;
    Ok(())
}
