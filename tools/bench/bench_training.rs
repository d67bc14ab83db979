//! Measures training updates (forward pass, CTC, back-propagation through time, clipping, AdamW) on random features
//! of a given shape. Prints one JSON object with the seconds of each update, and on Linux the mean processor time of the
//! updates after the first, seconds of all threads together.
//!
//! ```text
//! cargo run --release --no-default-features --example bench_training -- \
//!     --cell gru --hidden 192 --layers 3 --batch 32 --steps 75 --threads 2 --updates 20
//! ```
//!
//! `--kernels` measures the matrix products alone instead, beside the peaks of the processor.
//!
//! With `--ragged` the lengths of the utterances are from half of `--steps` to all of it. A step is four stacked
//! frames of 80 bands, 40 ms. `tools/bench/training.py` compares it with PyTorch.

mod kernels;

use std::error::Error;
use std::time::Instant;

use clap::Parser;
use hearken::model::network::initialize;
use hearken::model::{CellKind, LayerConfig, Network, NetworkConfig, PackedWeights, Precision};
use hearken::train::example::Example;
use hearken::train::optimizer::{AdamStep, AdamW, constrain};
use hearken::train::recipe::Optimizer;
use hearken::train::threads::add_gradients;
use hearken::train::worker::{Update, Worker};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

#[derive(Parser)]
struct Args {
    /// Cell, as in recipes: rnn-tanh, gru, lstm, mingru, rglru, conv and others.
    #[arg(long, default_value = "gru")]
    cell: String,
    #[arg(long, default_value_t = 192)]
    hidden: usize,
    #[arg(long, default_value_t = 3)]
    layers: usize,
    #[arg(long, default_value_t = 12)]
    tokens: usize,
    /// Number of utterances in an update.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Length of the longest utterance, steps.
    #[arg(long, default_value_t = 75)]
    steps: usize,
    #[arg(long)]
    ragged: bool,
    /// Round the factors of matrix products to bf16.
    #[arg(long)]
    bf16: bool,
    /// Number of labels of each utterance.
    #[arg(long, default_value_t = 6)]
    labels: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 20)]
    updates: usize,
    /// Measure the matrix products and the peaks of the processor, on one core.
    #[arg(long)]
    kernels: bool,
}

const FEATURES: usize = 80;
const SUBSAMPLING: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    if args.kernels {
        kernels::run();
        return Ok(());
    }
    let cell: CellKind = serde_json::from_value(args.cell.clone().into())?;
    let config = NetworkConfig {
        auxiliary: None,
        num_features: FEATURES,
        subsampling: SUBSAMPLING,
        input_size: args.hidden,
        layers: vec![LayerConfig::new(cell, args.hidden); args.layers],
        layer_norm: true,
        residual: true,
        num_tokens: args.tokens,
    };
    let network = initialize::<f32>(&config, 1);
    let mut parameters: Vec<Vec<f32>> = network.parameters.iter().map(|p| p.data.clone()).collect();
    let decays: Vec<bool> = network.parameters.iter().map(|p| p.shape.len() >= 2).collect();
    let mut adam = AdamW::new(&parameters);
    let examples = examples(&args);
    let lengths: Vec<usize> = parameters.iter().map(Vec::len).collect();
    let mut workers: Vec<Worker<f32>> = (0..args.threads).map(|_| Worker::new(&lengths)).collect();
    let mut seconds = Vec::new();
    let mut losses = Vec::new();
    let mut begin = None;
    for step in 0..args.updates {
        let shares: Vec<Vec<Example>> = (0..args.threads)
            .map(|i| examples.iter().skip(i).step_by(args.threads).cloned().collect())
            .collect();
        let start = Instant::now();
        let loss = update(&args, &network, &mut parameters, &decays, &mut adam, &mut workers, shares, step)?;
        seconds.push(start.elapsed().as_secs_f64());
        losses.push(loss);
        // The first update allocates.
        begin = begin.or_else(cpu_seconds);
    }
    let cpu = cpu_seconds().zip(begin).map(|(end, begin)| (end - begin) / (args.updates.max(2) - 1) as f64);
    println!("{}", serde_json::json!({ "seconds": seconds, "cpu_seconds": cpu, "losses": losses }));
    Ok(())
}

/// The processor time of the program until now, user and system; `None` except on Linux.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The fields after the name, which may contain spaces; in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// Generates random features and labels.
fn examples(args: &Args) -> Vec<Example> {
    let mut rng = Pcg64Mcg::seed_from_u64(3);
    (0..args.batch)
        .map(|i| {
            let shortest = if args.ragged { args.steps / 2 } else { args.steps };
            let steps = args.steps - (args.steps - shortest) * i / args.batch.max(2).saturating_sub(1);
            let features = (0..steps * SUBSAMPLING * FEATURES).map(|_| rng.random_range(-1.7..1.7)).collect();
            let labels = (0..args.labels).map(|_| rng.random_range(1..args.tokens as u32)).collect();
            Example { features, labels: Some(labels), auxiliary: None, transcript: None }
        })
        .collect()
}

/// Runs one update like the trainer.
#[allow(clippy::too_many_arguments)]
fn update(
    args: &Args,
    network: &Network<f32>,
    parameters: &mut [Vec<f32>],
    decays: &[bool],
    adam: &mut AdamW,
    workers: &mut [Worker<f32>],
    shares: Vec<Vec<Example>>,
    step: usize,
) -> Result<f64, Box<dyn Error>> {
    let precision = if args.bf16 { Precision::Bf16 } else { Precision::Fp32 };
    let weights = PackedWeights::for_training(network, parameters, precision, args.threads)
        .ok_or("a parameter is missing")?;
    let update = Update {
        weights: &weights,
        num_tokens: args.tokens,
        blank: 0,
        auxiliary_tokens: 0,
        scale: 1.0 / (args.batch * args.labels) as f64,
        auxiliary_scale: 0.0,
        mmi: None,
        mmi_scale: 0.0,
        mmi_other_scale: 0.0,
        consistency_scale: 0.0,
        dropout: 0.0,
        variational_dropout: false,
        seed: step as u64,
    };
    let loss = std::thread::scope(|scope| {
        let running: Vec<_> = workers
            .iter_mut()
            .zip(shares)
            .map(|(worker, share)| {
                let update = &update;
                scope.spawn(move || worker.run(update, share, SUBSAMPLING * FEATURES).loss)
            })
            .collect();
        running.into_iter().map(|r| r.join().unwrap_or(f64::NAN)).sum::<f64>()
    });
    let gradients = add_gradients(workers.iter_mut().map(|worker| &mut worker.gradients));
    let options = Optimizer::default();
    let step = AdamStep { number: step as u64, rate: 1e-3, options: &options, decays, threads: args.threads };
    adam.update(&step, parameters, gradients);
    constrain(&network.parameters, parameters, step.number);
    Ok(loss / (args.batch * args.labels) as f64)
}
