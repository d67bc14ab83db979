//! Utterances a second through a worker's share of an update (forward, CTC, back through time), on one
//! thread: the digits network, 3 x 192, 32 utterances of 3 s.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hearken::model::network::initialise;
use hearken::model::{CellKind, LayerConfig, NetworkConfig, Weights};
use hearken::train::example::Example;
use hearken::train::worker::{Update, Worker};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

const UTTERANCES: usize = 32;
const STEPS: usize = 75;
const TOKENS: usize = 12;

fn training_step(c: &mut Criterion) {
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let examples: Vec<Example> = (0..UTTERANCES)
        .map(|_| Example {
            features: (0..STEPS * 320).map(|_| rng.random_range(-1.7..1.7)).collect(),
            labels: Some((0..6).map(|_| rng.random_range(1..TOKENS as u32)).collect()),
            auxiliary: None,
            said: None,
        })
        .collect();
    let mut group = c.benchmark_group("training_step");
    group.throughput(Throughput::Elements(UTTERANCES as u64)).sample_size(10);
    for (name, cell) in [("gru", CellKind::Gru), ("lstm", CellKind::Lstm), ("rnn-tanh", CellKind::RnnTanh)] {
        let config = NetworkConfig {
            auxiliary: None,
            num_features: 80,
            subsampling: 4,
            input_size: 192,
            layers: vec![LayerConfig { cell, hidden: 192 }; 3],
            layer_norm: true,
            residual: true,
            num_tokens: TOKENS,
        };
        let network = initialise::<f32>(&config, 1);
        let weights = Weights::new(&network, true).expect("all parameters are there");
        let lengths: Vec<usize> = network.parameters.iter().map(|p| p.data.len()).collect();
        let mut worker = Worker::new(&lengths);
        let update = Update {
            weights: &weights,
            num_tokens: TOKENS,
            blank: 0,
            auxiliary_tokens: 0,
            scale: 1.0,
            auxiliary_scale: 0.0,
            mmi: None,
            mmi_scale: 0.0,
            mmi_other_scale: 0.0,
            consistency_scale: 0.0,
            dropout: 0.0,
            variational_dropout: false,
            seed: 1,
        };
        group.bench_function(BenchmarkId::new("worker", name), |b| {
            b.iter(|| black_box(worker.run(&update, examples.clone(), 320)));
        });
    }
    group.finish();
}

criterion_group!(benches, training_step);
criterion_main!(benches);
