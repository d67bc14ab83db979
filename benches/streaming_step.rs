//! Steps of one stream through each engine of this build, 100 ms (2.5 steps of the network) at a
//! time; speech-like features beside silence, which must not be slower (no subnormal numbers).
//! onnxruntime is benched when ORT_DYLIB_PATH names its library.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hearken::engine::{self, EngineKind, EngineOptions, LibrarySearch};
use hearken::features::FbankOptions;
use hearken::model::network::initialize;
use hearken::model::{CellKind, LayerConfig, NetworkConfig};
use hearken::onnx::{self, DecoderOptions, Metadata};
use hearken::text::TokenTable;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// The sizes of the digits network, with random weights.
fn model() -> Vec<u8> {
    let config = NetworkConfig {
        auxiliary: None,
        num_features: 80,
        subsampling: 4,
        input_size: 192,
        layers: vec![LayerConfig::new(CellKind::Gru, 192); 3],
        layer_norm: true,
        residual: true,
        num_tokens: 12,
    };
    let tokens = (0..12).map(|i| if i == 0 { "<blk>".into() } else { format!("▁{i}") }).collect();
    let metadata = Metadata {
        features: FbankOptions::default(),
        tokens: TokenTable::new(tokens, 0).expect("different tokens"),
        decoder: DecoderOptions::default(),
        license: String::new(),
        trained_on: "random numbers".into(),
        recipe: String::new(),
        created_by: "a benchmark".into(),
        other: Vec::new(),
    };
    onnx::write(&initialize(&config, 1), &metadata).expect("a good network")
}

fn streaming_step(c: &mut Criterion) {
    let bytes = model();
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let speech: Vec<f32> = (0..20 * 80).map(|_| rng.random_range(-14.0..4.0)).collect();
    // The features of digital silence: the logarithm of the machine epsilon of f32.
    let silence = vec![f32::EPSILON.ln(); 20 * 80];
    let library = std::env::var_os("ORT_DYLIB_PATH").map(Into::into);
    let options = EngineOptions {
        ort_library: LibrarySearch { explicit: library.clone(), ..LibrarySearch::default() },
        ..EngineOptions::default()
    };
    let mut group = c.benchmark_group("streaming_step");
    group.throughput(Throughput::Elements(5));
    for kind in EngineKind::ALL {
        if !kind.is_compiled_in() || (kind == EngineKind::Ort && library.is_none()) {
            continue;
        }
        let file = onnx::OnnxFile::from_bytes(bytes.clone()).expect("just written");
        let network = onnx::read(&bytes).expect("just written").0;
        let engine = engine::load(kind, &file, network, &options).expect("the engine runs the model");
        for (name, x) in [("speech", &speech), ("silence", &silence)] {
            let (mut state, mut out) = (engine.zero_state(), Vec::new());
            let mut call = |x: &[f32]| {
                out.clear();
                engine.run(&[x], &mut [&mut state], &mut [&mut out]).expect("a good call");
                black_box(&out);
            };
            // Ten seconds first: a silence's decaying states would have become subnormal by now.
            (0..50).for_each(|_| call(x));
            group.bench_function(BenchmarkId::new(kind.name(), name), |b| {
                b.iter(|| {
                    call(&x[..8 * 80]);
                    call(&x[8 * 80..]);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, streaming_step);
criterion_main!(benches);
