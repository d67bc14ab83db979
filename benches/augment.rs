//! What augmentation costs: a 4 s utterance through each effect, and through the recommended mix.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hearken::audio::augment::noise::{NoiseColor, colored_noise};
use hearken::audio::augment::{AugmentOptions, Augmenter, ComposeOptions, compose};
use hearken::features::{SpecAugmentOptions, spec_augment};
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;

const SAMPLES: usize = 64_000;

/// Every effect's name with the one option that turns it on.
fn single_effects() -> Vec<(&'static str, AugmentOptions)> {
    macro_rules! only {
        ($($name:ident),*) => {
            vec![$((stringify!($name), {
                let mut options = AugmentOptions::default();
                options.$name.probability = 1.0;
                options
            })),*]
        };
    }
    only!(
        speed,
        tempo,
        reverb,
        noise,
        color,
        babble,
        equalizer,
        high_pass,
        low_pass,
        gain,
        clipping,
        telephone,
        companding,
        quantization,
        spectral_holes,
        packet_loss,
        noise_gate
    )
}

fn augment(c: &mut Criterion) {
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let mut speech = colored_noise(NoiseColor::Pink, SAMPLES, &mut rng);
    speech.iter_mut().enumerate().for_each(|(n, x)| *x *= 0.1 * (n as f32 / 5000.0).sin().max(0.01));
    let clips = Arc::new(vec![colored_noise(NoiseColor::Brown, 80_000, &mut rng); 8]);
    let mut group = c.benchmark_group("augment");
    group.throughput(Throughput::Elements(SAMPLES as u64));
    let mix = ("recommended", AugmentOptions::recommended());
    for (name, options) in single_effects().into_iter().chain([mix]) {
        let Ok(augmenter) = Augmenter::new(options, clips.clone(), 1) else { continue };
        let augmenter = augmenter.with_babble(clips.clone());
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
        b.iter(|| black_box(compose(&words, &ComposeOptions::default(), &mut rng)));
    });
    let (features, mean) = (vec![0.5f32; 400 * 80], vec![0f32; 80]);
    group.bench_function("spec_augment", |b| {
        b.iter(|| {
            let mut features = features.clone();
            spec_augment(&mut features, &mean, &SpecAugmentOptions::recommended(), &mut rng);
            black_box(features)
        });
    });
    group.finish();
}

criterion_group!(benches, augment);
criterion_main!(benches);
