//! What augmentation costs: a 4 s utterance through each effect, and through all of them now and then.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hearken::features::FbankOptions;
use hearken::train::augment::color::{NoiseColor, colored_noise};
use hearken::train::augment::{
    AugmentOptions, Augmenter, ComposeOptions, Materials, SpecAugmentOptions, compose, spec_augment,
};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

const RATE: u32 = 16_000;
const SAMPLES: usize = 64_000;

fn augment(c: &mut Criterion) {
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let mut speech = colored_noise(NoiseColor::Pink, SAMPLES, RATE, &mut rng);
    speech.iter_mut().enumerate().for_each(|(n, x)| *x *= 0.1 * (n as f32 / 5000.0).sin().max(0.01));
    let clips = Arc::new(vec![colored_noise(NoiseColor::Brown, 80_000, RATE, &mut rng); 8]);
    let materials = Materials { noises: clips.clone(), voices: clips, seed: 1, ..Materials::at(RATE) };
    let mut group = c.benchmark_group("augment");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    let single = AugmentOptions::NAMES
        .iter()
        .map(|&name| (name, AugmentOptions::with_probability(1.0, |other| other == name)));
    let all = ("all, each with 0.2", AugmentOptions::with_probability(0.2, |_| true));
    for (name, options) in single.chain([all]) {
        let augmenter = Augmenter::new(&options, &materials).expect("defaults are in range");
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut samples = speech.clone();
                augmenter.apply(&mut samples, &mut rng);
                black_box(samples)
            });
        });
    }
    let words: Vec<&[f32]> = speech.chunks(16_000).collect();
    group.bench_function("compose", |b| {
        b.iter(|| black_box(compose(&words, &ComposeOptions::default(), RATE, &mut rng)));
    });
    let (features, mean, fbank) = (vec![0.5f32; 400 * 80], vec![0f32; 80], FbankOptions::default());
    let masks = SpecAugmentOptions {
        time_masks: 4,
        time_mask_frames: 12,
        time_mask_share: 0.15,
        frequency_masks: 2,
        frequency_mask_bins: 16,
        channel_probability: 0.5,
        channel_db: 8.0,
        ..SpecAugmentOptions::default()
    };
    group.bench_function("spec_augment", |b| {
        b.iter(|| {
            let mut features = features.clone();
            spec_augment(&mut features, &mean, &fbank, &masks, &mut rng);
            black_box(features)
        });
    });
    group.finish();
}

criterion_group!(benches, augment);
criterion_main!(benches);
