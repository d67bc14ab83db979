//! Estimation and reading of language models, and pronunciations guessed from the letters, on generated texts.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hearken::text::ngram::{EstimateOptions, NgramModel, Text, TrieBuilder, VocabularyLimit};
use hearken::text::pronunciation::g2p::{G2p, GuessOptions, TrainOptions};

/// A linear congruential generator.
struct Numbers(u32);

impl Numbers {
    /// The next number, 0 or more and less than 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0 >> 8) / f64::from(1 << 24)
    }
}

/// A text of `words` words, whose frequencies follow Zipf's law.
fn text(words: usize) -> String {
    const DISTINCT: f64 = 5000.0;
    let mut numbers = Numbers(1);
    let mut text = String::new();
    for _ in 0..words {
        let rank = DISTINCT.powf(numbers.next()) as u32;
        text += &format!("w{rank}{}", if numbers.next() < 0.1 { "\n" } else { " " });
    }
    text
}

fn estimate(text: &str) -> NgramModel {
    let mut counted = Text::default();
    counted.read(Path::new("text"), text.as_bytes(), |_| {}).expect("a good text");
    let (vocabulary, estimator) =
        counted.count(&VocabularyLimit::None, &EstimateOptions::default()).expect("sentences");
    let mut builder = TrieBuilder::default();
    estimator.finish(&mut builder).expect("a model");
    NgramModel { vocabulary, trie: builder.finish() }
}

fn language_model(c: &mut Criterion) {
    const WORDS: usize = 200_000;
    let text = text(WORDS);
    let bytes = estimate(&text).to_bytes();
    let mut group = c.benchmark_group("language_model");
    group.sample_size(10).throughput(Throughput::Elements(WORDS as u64));
    group.bench_function("estimate", |b| b.iter(|| estimate(black_box(&text))));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("read", |b| b.iter(|| NgramModel::from_bytes(black_box(&bytes)).expect("a model")));
    group.finish();
}

/// Words of random syllables, with a phone for each letter and one that depends on its neighbor.
fn dictionary(words: usize) -> Vec<(String, Vec<&'static str>)> {
    const ONSETS: [(&str, &str); 8] =
        [("b", "B"), ("c", "K"), ("d", "D"), ("f", "F"), ("k", "K"), ("l", "L"), ("s", "S"), ("t", "T")];
    const VOWELS: [(&str, [&str; 2]); 4] =
        [("a", ["AE", "EY"]), ("e", ["EH", "IY"]), ("i", ["IH", "AY"]), ("o", ["AA", "OW"])];
    let mut numbers = Numbers(2);
    let mut pick = |count: usize| (numbers.next() * count as f64) as usize;
    let mut word = || {
        let (mut letters, mut phones) = (String::new(), Vec::new());
        for _ in 0..=pick(4) {
            let ((onset, first), (vowel, second)) = (ONSETS[pick(8)], VOWELS[pick(4)]);
            letters += onset;
            letters += vowel;
            phones.extend([first, second[usize::from(onset < "d")]]);
        }
        (letters, phones)
    };
    (0..words).map(|_| word()).collect()
}

fn pronunciations(c: &mut Criterion) {
    const WORDS: usize = 2000;
    let words = dictionary(WORDS);
    let train = || {
        let pairs = words.iter().map(|(word, phones)| (word.as_str(), phones.clone()));
        G2p::train(pairs, &TrainOptions::default(), |_, _| {}).expect("a model")
    };
    let model = train();
    let mut group = c.benchmark_group("pronunciations");
    group.sample_size(10).throughput(Throughput::Elements(WORDS as u64));
    group.bench_function("train", |b| b.iter(train));
    group.throughput(Throughput::Elements(1));
    let options = GuessOptions { nbest: 4, ..GuessOptions::default() };
    group.bench_function("guess", |b| b.iter(|| model.guess(black_box("fabeloki"), &options)));
    group.finish();
}

criterion_group!(benches, language_model, pronunciations);
criterion_main!(benches);
