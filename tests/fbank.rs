//! Features compared with kaldi-native-fbank (tests/data/fbank, written by tools/goldens/fbank.py), and their
//! invariants: number of frames, chunking, independence, finite values.

use std::path::{Path, PathBuf};

use hearken::features::{Fbank, FbankOptions};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    signal: String,
    samples: usize,
    options: FbankOptions,
    frames_before_end: usize,
    frames: usize,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fbank")
}

fn read(file: &str) -> Vec<u8> {
    let path = data().join(file);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn signal(case: &Case) -> Vec<f32> {
    let bytes = read(&format!("{}.i16", case.signal));
    let samples = bytes.as_chunks::<2>().0.iter().map(|b| f32::from(i16::from_le_bytes(*b)) / 32768.0);
    samples.take(case.samples).collect()
}

fn golden(case: &Case) -> Vec<f32> {
    let bytes = read(&format!("{}.f32", case.name));
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Counts values and those further apart than 1e-4, and asserts that none is further apart than 1e-3.
/// Bins more than 15 nats below the strongest of their frame hold the rounding noise of either FFT;
/// they may differ by what that noise is, 1e-6 of the strongest bin's amplitude.
fn compare(name: &str, found: &[f32], expected: &[f32], bins: usize) -> (usize, usize) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let (mut compared, mut apart) = (0, 0);
    for (k, (f, e)) in found.chunks(bins).zip(expected.chunks(bins)).enumerate() {
        let peak = e.iter().copied().fold(f32::MIN, f32::max);
        for (m, (&f, &e)) in f.iter().zip(e).enumerate() {
            let difference = (f - e).abs();
            if e < peak - 15.0 {
                let amplitudes = ((f / 2.0).exp() - (e / 2.0).exp()).abs() / (peak / 2.0).exp();
                assert!(amplitudes < 1e-6, "{name} frame {k} bin {m}: {f} not {e}");
                continue;
            }
            assert!(difference <= 1e-3, "{name} frame {k} bin {m}: {f} not {e}");
            compared += 1;
            apart += usize::from(difference > 1e-4);
        }
    }
    (compared, apart)
}

#[test]
fn features_equal_those_of_kaldi_native_fbank() {
    let cases: Vec<Case> = serde_json::from_slice(&read("cases.json")).unwrap();
    assert!(cases.len() >= 20, "{} cases", cases.len());
    let (mut compared, mut apart) = (0, 0);
    for case in &cases {
        let mut fbank = Fbank::new(&case.options).unwrap();
        let mut found = Vec::new();
        assert_eq!(fbank.push(&signal(case), &mut found), case.frames_before_end, "{}", case.name);
        fbank.finish(&mut found);
        let bins = fbank.num_mel_bins();
        assert_eq!(found.len(), case.frames * bins, "{}", case.name);
        let (c, a) = compare(&case.name, &found, &golden(case), bins);
        // One value in a thousand, or one in a short clip.
        assert!(a * 1000 <= c.max(1000), "{}: {a} of {c} further apart than 1e-4", case.name);
        compared += c;
        apart += a;
    }
    assert!(compared > 20_000, "{compared} values compared");
    assert!(apart * 1000 <= compared, "{apart} of {compared} further apart than 1e-4");
}

#[test]
fn the_formula_vector_has_its_features() {
    let x: Vec<f32> = (0..1000)
        .map(|n| {
            let i = f64::from(n);
            let noise = f64::from((7919 * n) % 1000) / 1000.0 - 0.5;
            (0.3 * (0.02 * i * (1.0 + i / 4000.0)).sin() + 0.1 * noise) as f32
        })
        .collect();
    let y = Fbank::new(&FbankOptions::default()).unwrap().compute(&x);
    assert_eq!(y.len(), 6 * 80);
    for (frame, bin, expected) in [
        (0, 0, -1.004616),
        (0, 79, -0.805791),
        (1, 0, -0.399473),
        (2, 40, -3.075374),
        (5, 0, -0.657426),
        (5, 79, -0.695286),
    ] {
        let found: f32 = y[frame * 80 + bin];
        assert!((found - expected).abs() < 1e-4, "[{frame}][{bin}]: {found} not {expected}");
    }
}

#[test]
fn frames_are_output_with_their_last_sample() {
    let mut fbank = Fbank::new(&FbankOptions::default()).unwrap();
    assert_eq!((fbank.delay_samples(), fbank.num_mel_bins()), (120, 80));
    let table = [(0, 0, 0), (79, 0, 0), (80, 0, 1), (239, 0, 1), (240, 0, 2), (279, 0, 2), (280, 1, 2)];
    for (n, before, after) in table.into_iter().chain([(400, 1, 3), (1000, 5, 6), (16000, 99, 100)]) {
        let mut out = Vec::new();
        assert_eq!(fbank.push(&vec![0.1; n], &mut out), before, "{n} samples");
        assert_eq!(fbank.finish(&mut out), after - before, "{n} samples");
        assert_eq!(out.len(), after * 80);
        assert_eq!(fbank.num_frames(n as u64), after as u64);
    }
}

#[test]
fn silence_has_the_energy_floor() {
    let mut fbank = Fbank::new(&FbankOptions::default()).unwrap();
    let floor = f32::EPSILON.ln();
    for level in [0.0, 1e-40, 1e-20, 1e-8] {
        let x: Vec<f32> = (0..1000).map(|i| if i % 3 == 0 { level } else { -level }).collect();
        let y = fbank.compute(&x);
        assert!(y.iter().all(|&v| v == floor), "level {level:e}");
    }
}

#[test]
fn an_invalid_sample_affects_only_the_frames_that_contain_it() {
    let mut fbank = Fbank::new(&FbankOptions::default()).unwrap();
    let mut x: Vec<f32> = (0..8000).map(|i| (0.1 * f64::from(i * i % 977)).sin() as f32).collect();
    let whole = fbank.compute(&x);
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let kept = std::mem::replace(&mut x[4000], broken);
        let y = fbank.compute(&x);
        assert!(y.iter().all(|v| v.is_finite()), "{broken}");
        for (k, (a, b)) in y.chunks(80).zip(whole.chunks(80)).enumerate() {
            let start = k as i64 * 160 - 120;
            let touched = (start..start + 400).contains(&4000);
            assert_eq!(a != b, touched, "{broken}, frame {k}");
        }
        x[4000] = kept;
    }
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let refused = |change: fn(&mut FbankOptions), name: &str| {
        let mut options = FbankOptions::default();
        change(&mut options);
        let message = match Fbank::new(&options) {
            Err(e) => e.to_string(),
            Ok(_) => panic!("{name} was taken"),
        };
        assert!(message.starts_with(name), "{name}: {message}");
    };
    refused(|o| o.sample_rate = 0, "sample_rate");
    refused(|o| o.frame_length_ms = 0.0, "frame_length_ms");
    refused(|o| o.frame_length_ms = 1e9, "frame_length_ms");
    refused(|o| o.frame_length_ms = f32::NAN, "frame_length_ms");
    refused(|o| o.frame_shift_ms = 0.0, "frame_shift_ms");
    refused(|o| o.frame_shift_ms = 26.0, "frame_shift_ms");
    refused(|o| o.frame_shift_ms = -10.0, "frame_shift_ms");
    refused(|o| o.preemphasis = 1.5, "preemphasis");
    refused(|o| o.window = "kaiser".into(), "window");
    refused(|o| o.num_mel_bins = 0, "num_mel_bins");
    refused(|o| o.num_mel_bins = 200, "num_mel_bins");
    refused(|o| o.num_mel_bins = usize::MAX, "num_mel_bins");
    refused(|o| o.low_freq = -1.0, "low_freq");
    refused(|o| o.low_freq = 8000.0, "low_freq");
    refused(|o| o.high_freq = 8001.0, "high_freq");
    refused(|o| o.high_freq = -8000.0, "high_freq");
    refused(|o| o.high_freq = f32::NAN, "high_freq");
    refused(|o| o.energy_floor = 0.0, "energy_floor");
    refused(|o| o.sample_scale = f32::NAN, "sample_scale");
}

#[test]
fn features_depend_only_on_the_signal() {
    // A second signal after finish, and after reset, has the same features.
    let x: Vec<f32> = (0..3000).map(|i| (0.03 * f64::from(i)).sin() as f32).collect();
    let mut fbank = Fbank::new(&FbankOptions::default()).unwrap();
    let first = fbank.compute(&x);
    let mut out = Vec::new();
    fbank.push(&x[..1234], &mut out);
    fbank.reset();
    out.clear();
    fbank.push(&x, &mut out);
    fbank.finish(&mut out);
    assert_eq!(out, first);
}

fn samples(seed: u64, n: usize) -> Vec<f32> {
    // A linear congruential generator: fast, and the same on all machines.
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect()
}

fn options() -> impl Strategy<Value = FbankOptions> {
    let rates = prop::sample::select(vec![8000u32, 11025, 16000, 22050]);
    (rates, any::<bool>(), 3.0f32..40.0, 0.05f32..=1.0).prop_map(|(rate, snip, length, shift)| FbankOptions {
        sample_rate: rate,
        snip_edges: snip,
        frame_length_ms: length,
        frame_shift_ms: length * shift,
        num_mel_bins: 3,
        ..FbankOptions::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn chunks_do_not_change_features(
        options in options(),
        seed in any::<u64>(),
        n in 0usize..6000,
        chunks in prop::collection::vec(0usize..1500, 0..20),
    ) {
        let x = samples(seed, n);
        let mut fbank = Fbank::new(&options).unwrap();
        let whole = fbank.compute(&x);
        let (mut out, mut rest, mut frames) = (Vec::new(), &x[..], 0);
        for chunk in chunks {
            let (now, later) = rest.split_at(chunk.min(rest.len()));
            frames += fbank.push(now, &mut out);
            rest = later;
        }
        frames += fbank.push(rest, &mut out);
        let delayed = n.saturating_sub(fbank.delay_samples()) / fbank.frame_shift_samples();
        prop_assert_eq!(frames, delayed);
        frames += fbank.finish(&mut out);
        prop_assert_eq!(frames as u64, fbank.num_frames(n as u64));
        prop_assert_eq!(frames * 3, out.len());
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&out), bits(&whole));
    }

    #[test]
    fn streams_are_independent(seed in any::<u64>(), chunk in 1usize..700) {
        let signals = [samples(seed, 4000), samples(!seed, 4000)];
        let mut streams = [(); 2].map(|()| (Fbank::new(&FbankOptions::default()).unwrap(), Vec::new()));
        for start in (0..4000).step_by(chunk) {
            for ((fbank, out), signal) in streams.iter_mut().zip(&signals) {
                fbank.push(&signal[start..(start + chunk).min(4000)], out);
            }
        }
        for ((fbank, out), signal) in streams.iter_mut().zip(&signals) {
            fbank.finish(out);
            let alone = Fbank::new(&FbankOptions::default()).unwrap().compute(signal);
            prop_assert_eq!(&*out, &alone);
        }
    }
}
