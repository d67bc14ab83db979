//! Random stacks of cells, from recipe to export: each is described by a recipe with `[[network.layers]]`, trained for
//! three updates, exported for a random system, run by all engines of this build, and imported again.
//!
//! `STACKS=500 cargo test stacks::` tests more than the few of every run, and `STACKS_SEED=7` others.

use crate::common::networks::{Numbers, metadata};
use crate::common::place::{exported, options};
use hearken::engine::verify::{Runners, compare};
use hearken::model::network::initialize;
use hearken::model::{CellKind, LayerConfig, Network, NetworkConfig, PackedWeights, Precision, Purpose};
use hearken::onnx::import::{ImportOptions, import};
use hearken::onnx::{ExportOptions, OnnxFile, Target, read, write};
use hearken::train::example::Example;
use hearken::train::optimizer::{AdamStep, AdamW, constrain};
use hearken::train::recipe::{NetworkTable, Optimizer, Recipe};
use hearken::train::worker::{Update, Worker};

const UPDATES: u64 = 3;
const TOLERANCE: f32 = 1e-4;
const SILENCE: f32 = -15.9;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
}

/// Choices by a seed.
struct Choices(Numbers);

impl Choices {
    /// One of `from..=to`.
    fn between(&mut self, from: usize, to: usize) -> usize {
        from + (self.0.next_u64() % (to - from + 1) as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.between(0, all.len() - 1)]
    }

    /// A number of heads that divides the width.
    fn heads(&mut self, width: usize) -> usize {
        let heads: Vec<usize> = (1..=width).filter(|heads| width.is_multiple_of(*heads)).collect();
        self.one_of(&heads)
    }

    /// A layer of any cell, with sizes that the cell has.
    fn layer(&mut self, width: usize, narrowest: usize) -> LayerConfig {
        // Most layers keep the width, so that there are residual connections.
        let hidden = if self.between(0, 3) > 0 { width } else { self.between(narrowest, 12) };
        let mut layer = LayerConfig::new(self.one_of(&CellKind::ALL), hidden);
        match layer.cell {
            CellKind::Conv => layer.kernel_size = self.between(2, 6),
            CellKind::RgLru => layer.num_heads = self.heads(hidden),
            CellKind::Attention => {
                layer.num_heads = self.heads(hidden);
                layer.left_context = self.between(1, 9);
                layer.dim_feedforward = self.between(1, 20);
            }
            CellKind::Tdnnf => {
                layer.bottleneck_dim = self.between(1, 8);
                layer.time_stride = self.between(1, 4);
            }
            CellKind::Lstmp => layer.cell_dim = self.between(1, 20),
            _ => {}
        }
        layer
    }

    /// The text of a recipe with one to five layers.
    fn recipe(&mut self) -> String {
        let (layer_norm, residual) = (self.between(0, 3) > 0, self.between(0, 3) > 0);
        // Layer normalization of two or three nearly equal values magnifies their rounding errors up to 300 times.
        let narrowest = if layer_norm { 4 } else { 1 };
        let input_size = self.between(narrowest, 12);
        let mut text = format!(
            "[data]\nwords = [\"yes\", \"no\", \"or\"]\n[network]\ninput_size = {input_size}\nsubsampling = {}\n\
             layer_norm = {layer_norm}\nresidual = {residual}\n",
            self.between(1, 4),
        );
        let mut width = input_size;
        for _ in 0..self.between(1, 5) {
            let layer = self.layer(width, narrowest);
            width = layer.hidden;
            text += &format!("[[network.layers]]\ncell = \"{}\"\nhidden = {width}\n", layer.cell.name());
            for (name, size) in [
                ("kernel_size", layer.kernel_size),
                ("num_heads", layer.num_heads),
                ("left_context", layer.left_context),
                ("dim_feedforward", layer.dim_feedforward),
                ("bottleneck_dim", layer.bottleneck_dim),
                ("time_stride", layer.time_stride),
                ("cell_dim", layer.cell_dim),
            ] {
                if size > 0 {
                    text += &format!("{name} = {size}\n");
                }
            }
        }
        text + "[schedule]\nsteps = 10\n[run]\nbatch_size = 2\neval_interval = 10\ncheckpoint_interval = 10\n"
    }
}

/// A network after a few updates on random features.
fn trained(config: &NetworkConfig, numbers: &mut Numbers) -> Network<f32> {
    let width = config.subsampling * config.num_features;
    let mut network = initialize::<f32>(config, numbers.next_u64());
    let mut parameters: Vec<Vec<f32>> = network.parameters.iter().map(|p| p.data.clone()).collect();
    let decays: Vec<bool> = network.parameters.iter().map(|p| p.shape.len() >= 2).collect();
    let mut adam = AdamW::new(&parameters);
    let mut worker = Worker::new(&parameters.iter().map(Vec::len).collect::<Vec<_>>());
    let optimizer = Optimizer::default();
    for step in 0..UPDATES {
        let weights = PackedWeights::new(&network, Purpose::Training(Precision::Fp32))
            .expect("all parameters are there");
        let update = Update {
            weights: &weights,
            num_tokens: config.num_tokens,
            blank: 0,
            auxiliary_tokens: 0,
            scale: 0.2,
            auxiliary_scale: 0.0,
            mmi: None,
            mmi_scale: 0.0,
            mmi_other_scale: 0.0,
            consistency_scale: 0.0,
            dropout: 0.0,
            variational_dropout: false,
            seed: step,
        };
        let example = |(steps, labels): (usize, &[u32])| Example {
            features: numbers.vec(steps * width, 1.7),
            labels: Some(labels.to_vec()),
            auxiliary: None,
            transcript: None,
        };
        let examples = [(9, &[1, 2, 2][..]), (6, &[3, 1][..])].map(example).to_vec();
        let stats = worker.run(&update, examples, width);
        assert!(stats.loss.is_finite() && stats.labels == 5, "{stats:?}");
        let options = AdamStep { number: step, rate: 1e-2, options: &optimizer, decays: &decays, threads: 1 };
        let norm = adam.update(&options, &mut parameters, &worker.gradients);
        assert!(norm.is_finite() && norm > 0.0, "the norm of the gradient is {norm}");
        constrain(&network.parameters, &mut parameters, step);
        for (parameter, data) in network.parameters.iter_mut().zip(&parameters) {
            parameter.data.clone_from(data);
        }
    }
    network
}

#[test]
fn random_stacks_are_trained_exported_run_and_imported() {
    let engines = options().unwrap_or_default();
    let (count, first) = (number("STACKS", 8), number("STACKS_SEED", 1));
    let mut worst = 0f32;
    for seed in first..first + count {
        let mut choices = Choices(Numbers(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)));
        let text = choices.recipe();
        let recipe = Recipe::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let config = recipe.network_config().expect("a good network");
        // The table that `import` prints describes the same layers.
        let table = NetworkTable::from_config(&config);
        let again = Recipe { network: table, ..recipe };
        let again = Recipe::parse(&again.to_toml().expect("written")).expect("read");
        assert_eq!(again.network_config().expect("a good network"), config, "{text}");

        // A file shows residual connections by their nodes; if all widths differ, there are none.
        let mut width = config.input_size;
        let mut has_input_width =
            |layer: &LayerConfig| std::mem::replace(&mut width, layer.hidden) == layer.hidden;
        let residual = config.residual && config.layers.iter().any(&mut has_input_width);
        let config = NetworkConfig { residual, ..config };

        let (network, metadata) = (trained(&config, &mut choices.0), metadata(&config));
        let bytes = write(&network, &metadata).expect("a good network");
        assert!(read(&bytes).expect("our own file").0 == network, "another network was read\n{text}");
        let per_step = config.subsampling * config.num_features;
        let streams: Vec<Vec<f32>> = [9, 4].map(|steps| choices.0.vec(steps * per_step, 1.7)).into();
        let own = Runners::for_model(&OnnxFile::from_bytes(bytes).expect("ONNX"), &network, &engines);
        let rows = compare(&own.runners, &streams, SILENCE).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut most = rows.iter().map(|row| row.difference).fold(0.0, f32::max);

        let target = choices.one_of(&Target::ALL);
        let chunk_frames = config.subsampling * choices.between(1, 8);
        let bytes =
            exported(&network, &metadata, &ExportOptions { chunk_frames, ..ExportOptions::new(target) });
        let file = OnnxFile::from_bytes(bytes.clone()).expect("an ONNX file");
        let interface = file.interface(&[]).expect("its own");
        let runners = Runners::for_graph(&file, &interface, config.num_features, &engines);
        if !runners.runners.is_empty() {
            let found = compare(&runners.runners, &streams, SILENCE)
                .unwrap_or_else(|e| panic!("seed {seed}, {target}: {e}\n{text}"));
            // The last window of sherpa-onnx's graph is filled with silence.
            let pairs = found[0].log_probs.iter().zip(&rows[0].log_probs);
            let others = found.iter().map(|row| row.difference);
            most = others.chain(pairs.map(|(a, b)| (a - b).abs())).fold(most, f32::max);
        }
        // Log-probabilities are differences of sums in float32: of large ones without layer normalization, whose last digits
        // depend on the order of their terms. This is the tolerance of `hearken verify`.
        let largest = rows[0].log_probs.iter().fold(0f32, |largest, log_prob| largest.max(log_prob.abs()));
        let allowed = TOLERANCE.max(256.0 * f32::EPSILON * largest);
        assert!(
            most <= allowed,
            "seed {seed}, {target}: {most} between log-probabilities to -{largest}\n{text}"
        );
        let back =
            import(&bytes, &ImportOptions::default()).unwrap_or_else(|e| panic!("{target}: {e}\n{text}"));
        assert!(back.network == network, "another network was imported from {target}\n{text}");
        worst = worst.max(most);
    }
    eprintln!("{count} stacks from seed {first}: all engines within {worst:.1e}");
}
