//! Utterances a second through a worker's share of an update (forward, criterion, back through time), on
//! one thread: the digits network, 3 x 192, 32 utterances of 3 s, by CTC, for five cells; and a network
//! of 40 phones, 4 x 320, 16 utterances of 4 s, by CTC and by lattice-free MMI beside it.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hearken::model::network::initialize;
use hearken::model::{CellKind, LayerConfig, Network, NetworkConfig, PackedWeights, Precision, Purpose};
use hearken::train::example::Example;
use hearken::train::loss::mmi::Mmi;
use hearken::train::loss::phone_ngram::{self, Options};
use hearken::train::worker::{Update, Worker};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A network, its part of a batch, and the criterion that is added to CTC.
struct Case {
    network: Network<f32>,
    examples: Vec<Example>,
    mmi: Option<Mmi<f32>>,
}

impl Case {
    fn new(
        cell: CellKind,
        (layers, hidden): (usize, usize),
        num_tokens: usize,
        examples: Vec<Example>,
    ) -> Self {
        let config = NetworkConfig {
            auxiliary: None,
            num_features: 80,
            subsampling: 4,
            input_size: hidden,
            layers: vec![LayerConfig::new(cell, hidden); layers],
            layer_norm: true,
            residual: true,
            num_tokens,
        };
        Self { network: initialize(&config, 1), examples, mmi: None }
    }

    fn bench(&self, group: &mut BenchmarkGroup<'_, WallTime>, id: BenchmarkId) {
        let weights = PackedWeights::new(&self.network, Purpose::Training(Precision::Fp32))
            .expect("all parameters are there");
        let lengths: Vec<usize> = self.network.parameters.iter().map(|p| p.data.len()).collect();
        let mut worker = Worker::new(&lengths);
        let update = Update {
            weights: &weights,
            num_tokens: self.network.config.num_tokens,
            blank: 0,
            auxiliary_tokens: 0,
            scale: 1.0,
            auxiliary_scale: 0.0,
            mmi: self.mmi.as_ref(),
            mmi_scale: 1.0,
            mmi_other_scale: 1.0,
            consistency_scale: 0.0,
            dropout: 0.0,
            variational_dropout: false,
            seed: 1,
        };
        group.throughput(Throughput::Elements(self.examples.len() as u64)).sample_size(10);
        group.bench_function(id, |b| {
            b.iter(|| black_box(worker.run(&update, self.examples.clone(), 320)));
        });
    }
}

/// Utterances of random features, and words of three labels each, every fourth with a second pronunciation.
fn examples(count: usize, steps: usize, labels: usize, tokens: u32, rng: &mut Pcg64Mcg) -> Vec<Example> {
    let mut example = || {
        let labels: Vec<u32> = (0..labels).map(|_| rng.random_range(1..tokens)).collect();
        let pronunciations = |(i, word): (usize, &[u32])| {
            Some(if i % 4 == 0 { vec![word.to_vec(), word[..1].to_vec()] } else { vec![word.to_vec()] })
        };
        Example {
            features: (0..steps * 320).map(|_| rng.random_range(-1.7..1.7)).collect(),
            transcript: Some(labels.chunks(3).enumerate().map(pronunciations).collect()),
            labels: Some(labels),
            auxiliary: None,
        }
    };
    (0..count).map(|_| example()).collect()
}

fn training_step(c: &mut Criterion) {
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let mut group = c.benchmark_group("training_step");
    for (name, cell) in [
        ("gru", CellKind::Gru),
        ("lstm", CellKind::Lstm),
        ("rnn-tanh", CellKind::RnnTanh),
        ("mingru", CellKind::MinGru),
        ("rglru", CellKind::RgLru),
    ] {
        let examples = examples(32, 75, 6, 12, &mut rng);
        Case::new(cell, (3, 192), 12, examples).bench(&mut group, BenchmarkId::new("worker", name));
    }
    let mut case = Case::new(CellKind::Gru, (4, 320), 40, examples(16, 100, 45, 40, &mut rng));
    case.bench(&mut group, BenchmarkId::new("phones", "ctc"));
    let texts: Vec<Vec<u32>> =
        (0..3000).map(|_| (0..45).map(|_| rng.random_range(1..40)).collect()).collect();
    for max_states in [400, 1000] {
        let sequences = texts.iter().map(|labels| (labels.as_slice(), 1.0));
        let acceptor = phone_ngram::estimate(sequences, 39, Options { order: 3, max_states });
        case.mmi = Some(Mmi::from_phones(acceptor, 40, 0, 1e-5));
        case.bench(&mut group, BenchmarkId::new("phones", format!("lattice-free mmi, {max_states} states")));
    }
    group.finish();
}

criterion_group!(benches, training_step);
criterion_main!(benches);
