//! Numbers from English words to digits, by an encoder that reads letters and a decoder with attention that writes digits:
//! accuracy on numbers that were not in training.

use std::time::Instant;

use hearken::Result;
use hearken::model::CellKind;
use hearken::text::numbers::number_words;
use hearken::train::sequence::{PairConfig, PairExample, PairModel, PairTrainer};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::Options;
use super::picture::Picture;

const STEPS: u64 = 900;
const BATCH: usize = 32;
/// Different numbers in training and in the test.
const TRAIN: usize = 5000;
const TEST: usize = 1000;
/// The letters of the sources; the target tokens are 1 to 10 for the digits and 0 for the end.
const LETTERS: &str = " abcdefghijklmnopqrstuvwxyz";

fn example(number: u64) -> PairExample {
    PairExample { source: encode(&words(number)), target: digits(number) }
}

fn words(number: u64) -> String {
    number_words(number, false).join(" ")
}

fn encode(words: &str) -> Vec<u32> {
    words.chars().filter_map(|c| LETTERS.find(c)).map(|at| at as u32).collect()
}

fn digits(number: u64) -> Vec<u32> {
    number.to_string().bytes().map(|digit| u32::from(digit - b'0') + 1).collect()
}

fn written(tokens: &[u32]) -> String {
    tokens.iter().map(|token| char::from(b'0' + (token - 1) as u8)).collect()
}

pub fn run(options: &Options) -> Result<()> {
    // Different numbers below a thousand, ten thousand and so on to a million; the same for every seed.
    let mut rng = Pcg64Mcg::seed_from_u64(7);
    let mut numbers: Vec<u64> = Vec::new();
    while numbers.len() < TRAIN + TEST {
        let top = 10u64.pow(rng.random_range(3..=6));
        let number = rng.random_range(0..top);
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    let (train, test) = numbers.split_at(TRAIN);
    let steps = options.steps.unwrap_or(STEPS);
    let mut config = PairConfig::new(LETTERS.len(), 11, CellKind::Gru, &[128], steps);
    config.change(|network| {
        network.seed = options.seed;
        network.input_size = 32;
        network.optimizer.learning_rate = 4e-3;
        network.optimizer.ema_decay = 0.99;
    });
    let mut trainer = PairTrainer::new(config)?;
    let mut rng = Pcg64Mcg::seed_from_u64(options.seed);
    let (begin, mut sum) = (Instant::now(), 0.0);
    let tenth = (steps / 10).max(1);
    for step in 1..=steps {
        let batch: Vec<_> = (0..BATCH).map(|_| example(train[rng.random_range(0..TRAIN)])).collect();
        sum += trainer.update(&batch.iter().collect::<Vec<_>>())?;
        if step.is_multiple_of(tenth) {
            let (mean, seconds) = (sum / tenth as f64, begin.elapsed().as_secs());
            println!("update {step} of {steps}: training loss {mean:.4}, {seconds} s");
            sum = 0.0;
        }
    }
    let model = trainer.model()?;
    for (name, set) in [("in training", &train[..TEST]), ("not in training", test)] {
        let (mut right, mut wrong) = (0, Vec::new());
        for &number in set {
            match model.translate(&encode(&words(number)), 12)?.0 {
                tokens if tokens == digits(number) => right += 1,
                tokens => wrong.push(format!("{}: {}", words(number), written(&tokens))),
            }
        }
        let share = 100.0 * f64::from(right) / set.len() as f64;
        println!("{share:.1} % of {} numbers {name} are right in all digits", set.len());
        wrong.iter().take(3).for_each(|line| println!("  wrong: {line}"));
    }
    println!("{} parameters", model.num_parameters());
    let [encoder, decoder] =
        ["encoder", "decoder"].map(|part| options.out.join(format!("translation-{part}.onnx")));
    model.write(&encoder, &decoder, &[("letters", LETTERS)])?;
    draw(options, &model, 408_017)
}

/// Draws to which letters the decoder attends at each digit.
fn draw(options: &Options, model: &PairModel, number: u64) -> Result<()> {
    let words = words(number);
    let (tokens, weights) = model.translate(&encode(&words), 12)?;
    let rows: Vec<Vec<f64>> = weights.iter().map(|row| row.iter().map(|&w| f64::from(w)).collect()).collect();
    let (wide, high) = (20.0, 24.0);
    let size = (wide * words.len() as f64, high * rows.len() as f64);
    let found = written(&tokens);
    let right =
        if found == number.to_string() { String::new() } else { format!(", wrongly; it is {number}") };
    let title = format!("Attention: {words} → {found}{right}");
    let mut picture = Picture::new(100.0 + size.0, 80.0 + size.1, &title);
    picture.cells([60.0, 40.0, size.0, size.1], &rows);
    for (i, letter) in words.chars().enumerate() {
        let letter = if letter == ' ' { '␣' } else { letter };
        picture.text(70.0 + wide * i as f64, 60.0 + size.1, "middle", 14.0, &letter.to_string());
    }
    let names = written(&tokens).chars().map(String::from).chain(["end".into()]).collect::<Vec<_>>();
    for (i, name) in names.iter().take(rows.len()).enumerate() {
        picture.text(50.0, 57.0 + high * i as f64, "end", 14.0, name);
    }
    picture.save(&options.out.join("translation.svg"))
}
