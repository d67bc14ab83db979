//! Samples a second through the front end: whole, and in chunks as a stream brings them.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hearken::features::{Fbank, FbankOptions};

fn fbank(c: &mut Criterion) {
    // Ten seconds of a noise from a linear congruential generator.
    let mut state = 1u32;
    let samples: Vec<f32> = (0..160_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect();
    let mut fbank = Fbank::new(&FbankOptions::default()).expect("the default options are right");
    let mut features = Vec::new();
    let mut group = c.benchmark_group("fbank");
    group.throughput(Throughput::Elements(samples.len() as u64));
    for chunk in [160, 1600, samples.len()] {
        group.bench_function(BenchmarkId::new("chunk", chunk), |b| {
            b.iter(|| {
                features.clear();
                for chunk in samples.chunks(chunk) {
                    fbank.push(black_box(chunk), &mut features);
                }
                fbank.finish(&mut features);
                black_box(&features);
            });
        });
    }
    let silence = vec![0.0; samples.len()];
    group.bench_function("silence", |b| b.iter(|| black_box(fbank.compute(black_box(&silence)))));
    group.finish();
}

criterion_group!(benches, fbank);
criterion_main!(benches);
