//! Measures the engines on one model file, in one process, alternately: one stream, one thread, chunks of
//! 100 ms (two or three steps of the network), and a whole recording.
//!
//! ```text
//! cargo run --release --no-default-features --features ort --example bench_engine -- \
//!     --ort-library path/to/libonnxruntime.so models/digits/digits.onnx
//! ```
//!
//! Without a file, a network with random weights is used (`--cell`, `--hidden`, `--layers`, `--half`). Prints a JSON object
//! for each engine and shape: microseconds per call, as the median of the rounds' medians and their minimum, and
//! the ratio of the engine's time to that of the native engine in each round. Times are CPU times of the calling
//! thread, in which both engines run, so that other load does not count.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use hearken::engine::{self, Engine, EngineKind, EngineOptions, LibrarySearch};
use hearken::features::FbankOptions;
use hearken::model::network::initialize;
use hearken::model::{CellKind, LayerConfig, NetworkConfig};
use hearken::onnx::{self, DecoderOptions, Metadata, OnnxFile};
use hearken::text::TokenTable;
use rand::{RngExt, SeedableRng};

#[derive(Parser)]
struct Args {
    /// Model file [default: a network with random weights].
    model: Option<PathBuf>,
    #[arg(long, default_value = "gru")]
    cell: String,
    #[arg(long, default_value_t = 192)]
    hidden: usize,
    #[arg(long, default_value_t = 3)]
    layers: usize,
    /// Round the random weights to 16-bit floats, as the shipped models and exports of 16-bit floats are.
    #[arg(long)]
    half: bool,
    /// Engines to compare with the native one.
    #[arg(long, value_delimiter = ',', default_value = "ort")]
    engines: Vec<String>,
    #[arg(long)]
    ort_library: Option<PathBuf>,
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Length of the whole recording, seconds.
    #[arg(long, default_value_t = 10)]
    seconds: usize,
    /// Number of streams in a call.
    #[arg(long, default_value_t = 1)]
    streams: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let file = match &args.model {
        Some(path) => OnnxFile::read(path)?,
        None => OnnxFile::from_bytes(random_model(&args)?)?,
    };
    let options = EngineOptions {
        ort_library: LibrarySearch { explicit: args.ort_library.clone(), ..LibrarySearch::default() },
        ..EngineOptions::default()
    };
    let mut engines = Vec::new();
    for name in std::iter::once("native").chain(args.engines.iter().map(String::as_str)) {
        engines.push(engine::load(
            EngineKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or("no such engine")?,
            &file,
            onnx::load::read_model(&file)?.0,
            &options,
        )?);
    }
    let width = engines[0].spec().num_features;
    let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(1);
    let x: Vec<f32> = (0..args.seconds * 100 * width).map(|_| rng.random_range(-16.0..4.0)).collect();
    for (shape, chunks) in [("100 ms", &[8usize, 12][..]), ("whole", &[args.seconds * 100 / 4 * 4][..])] {
        let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); engines.len()];
        for _ in 0..args.rounds {
            for (engine, times) in engines.iter().zip(&mut rounds) {
                times.push(round(engine.as_ref(), &x, width, chunks, args.streams)?);
            }
        }
        for (i, engine) in engines.iter().enumerate() {
            let ratios: Vec<f64> = rounds[i].iter().zip(&rounds[0]).map(|(t, own)| t / own).collect();
            println!(
                "{}",
                serde_json::json!({
                    "engine": engine.spec().name, "shape": shape, "streams": args.streams,
                    "microseconds": (median(&rounds[i]) * 1e7).round() / 10.0,
                    "lowest": (rounds[i].iter().copied().fold(f64::MAX, f64::min) * 1e7).round() / 10.0,
                    "times_native": (median(&ratios) * 1000.0).round() / 1000.0,
                })
            );
        }
    }
    Ok(())
}

/// The median time of a call, seconds, over one pass through `x` (at least 60 ms of calls).
fn round(
    engine: &dyn Engine,
    x: &[f32],
    width: usize,
    chunks: &[usize],
    streams: usize,
) -> Result<f64, Box<dyn Error>> {
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < 0.06 {
        let mut states: Vec<_> = (0..streams).map(|_| engine.zero_state()).collect();
        let mut outputs = vec![Vec::new(); streams];
        let mut at = 0;
        for &frames in chunks.iter().cycle() {
            let Some(piece) = x.get(at * width..(at + frames) * width) else { break };
            outputs.iter_mut().for_each(Vec::clear);
            let start = thread_seconds();
            let mut states: Vec<_> = states.iter_mut().collect();
            let mut outputs: Vec<_> = outputs.iter_mut().collect();
            engine.run(&vec![piece; streams], &mut states, &mut outputs)?;
            times.push(thread_seconds() - start);
            at += frames;
        }
    }
    // The mean of the medians of both chunk lengths, so that they have equal weight.
    let each = |i: usize| median(&times.iter().skip(i).step_by(chunks.len()).copied().collect::<Vec<_>>());
    Ok((0..chunks.len()).map(each).sum::<f64>() / chunks.len() as f64)
}

/// CPU time of this thread, seconds.
#[cfg(unix)]
#[allow(unsafe_code)]
fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the standard library has no such clock; the call writes to `time`, which is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Wall-clock time, seconds.
#[cfg(not(unix))]
fn thread_seconds() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn random_model(args: &Args) -> Result<Vec<u8>, Box<dyn Error>> {
    let cell: CellKind = serde_json::from_value(args.cell.clone().into())?;
    let config = NetworkConfig {
        auxiliary: None,
        num_features: 80,
        subsampling: 4,
        input_size: args.hidden,
        layers: vec![LayerConfig::new(cell, args.hidden); args.layers],
        layer_norm: true,
        residual: true,
        num_tokens: 12,
    };
    let tokens = (0..12).map(|i| if i == 0 { "<blk>".into() } else { format!("▁{i}") }).collect();
    let metadata = Metadata {
        features: FbankOptions::default(),
        tokens: TokenTable::new(tokens, 0)?,
        decoder: DecoderOptions::default(),
        license: String::new(),
        trained_on: "random numbers".into(),
        recipe: String::new(),
        created_by: "bench_engine".into(),
        other: Vec::new(),
    };
    let mut network = initialize::<f32>(&config, 1);
    if args.half {
        for value in network.parameters.iter_mut().flat_map(|parameter| &mut parameter.data) {
            *value = half::f16::from_f32(*value).to_f32();
        }
    }
    Ok(onnx::write(&network, &metadata)?)
}
