//! The next character of a text, beside an n-gram of order 6: bits per character, and samples.

use std::f64::consts::LN_2;

use hearken::Result;
use hearken::error::{Error, Stage};
use hearken::model::CellKind;
use hearken::train::sequence::{
    Example, Input, Inputs, Model, Output, SequenceConfig, Targets, Trainer, sample,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::picture::{Axes, COLORS, Picture};
use super::{Options, baseline, fit};

const STEPS: u64 = 1500;
/// Number of characters of an example.
const WINDOW: usize = 128;
/// Number of examples of a batch.
const BATCH: usize = 16;

fn example(tokens: &[u32]) -> Example {
    Example {
        inputs: Inputs::Tokens(tokens[..tokens.len() - 1].to_vec()),
        targets: Targets::Tokens(tokens[1..].iter().map(|&token| Some(token)).collect()),
    }
}

pub fn run(options: &Options) -> Result<()> {
    let text = options.text(include_str!("data/books.txt"))?;
    let mut alphabet: Vec<char> = text.chars().collect();
    alphabet.sort_unstable();
    alphabet.dedup();
    let id = |c: char| alphabet.binary_search(&c).unwrap_or(0) as u32;
    let tokens: Vec<u32> = text.chars().map(id).collect();
    if tokens.len() < 40 * WINDOW {
        return Err(Error::new(Stage::Usage, format!("expected at least {} characters", 40 * WINDOW)));
    }
    // The last twentieth is for the test; it is not used before.
    let (train, test) = tokens.split_at(tokens.len() / 20 * 19);
    let steps = options.steps.unwrap_or(STEPS);
    let kind = (Input::Tokens(alphabet.len()), Output::Tokens(alphabet.len()));
    let mut config = SequenceConfig::new(kind.0, kind.1, CellKind::Gru, &[256, 256], steps);
    config.input_size = 64;
    config.seed = options.seed;
    config.optimizer.learning_rate = 3e-3;
    config.optimizer.ema_decay = 0.99;
    let mut trainer = Trainer::new(config)?;
    let curve = fit(&mut trainer, options, steps, |rng| {
        let begin = |rng: &mut Pcg64Mcg| rng.random_range(0..train.len() - WINDOW - 1);
        (0..BATCH).map(|_| begin(rng)).map(|at| example(&train[at..=at + WINDOW])).collect()
    })?;
    let model = trainer.model()?;
    // Twenty pieces at once; each is read in one go, with the states carried.
    let pieces: Vec<Example> = test.chunks(test.len() / 20 + 1).map(example).collect();
    let bits = model.loss(&pieces.iter().collect::<Vec<_>>())? / LN_2;
    let ngram = baseline::ngram(&[train.to_vec()], &[test.to_vec()], alphabet.len(), 6, false)? / LN_2;
    let (count, parameters) = (test.len(), model.network().num_parameters());
    println!(
        "bits per character of {count} unseen ones: {bits:.3} by {parameters} parameters, {ngram:.3} by a 6-gram"
    );
    for temperature in [0.5, 0.8, 1.0] {
        println!("\ntemperature {temperature}: {}", write(&model, &alphabet, temperature, options.seed)?);
    }
    let entry = serde_json::json!(alphabet).to_string();
    model.write(&options.out.join("text.onnx"), &[("alphabet", entry.as_str())])?;
    draw(options, &curve, bits, ngram)
}

/// Lets the network continue a line break.
fn write(model: &Model, alphabet: &[char], temperature: f64, seed: u64) -> Result<String> {
    let (mut states, mut rng) = (model.zero_states(), Pcg64Mcg::seed_from_u64(seed));
    let mut token = alphabet.binary_search(&'\n').unwrap_or(0) as u32;
    let mut text = String::new();
    for _ in 0..240 {
        let log_probs = model.run(&Inputs::Tokens(vec![token]), &mut states)?;
        token = sample(&log_probs, temperature, &mut rng);
        text.push(alphabet[token as usize]);
    }
    Ok(text.replace('\n', " / "))
}

fn draw(options: &Options, curve: &[(f64, f64)], bits: f64, ngram: f64) -> Result<()> {
    let curve: Vec<(f64, f64)> = curve.iter().map(|&(step, loss)| (step, loss / LN_2)).collect();
    let steps = curve.last().map_or(1.0, |last| last.0);
    let top = curve.iter().map(|point| point.1).fold(ngram, f64::max).ceil();
    let mut picture = Picture::new(640.0, 340.0, "Next character: bits per character");
    let axes = Axes { place: [60.0, 60.0, 550.0, 220.0], x: (0.0, steps), y: (1.0, top) };
    picture.axes(&axes, "updates", "");
    let level = |y: f64| [(0.0, y), (steps, y)];
    picture.line(&axes, &curve, COLORS[0], "");
    picture.line(&axes, &level(bits), COLORS[1], "");
    picture.line(&axes, &level(ngram), COLORS[3], "5 4");
    let (bits, ngram) =
        (format!("network, unseen text: {bits:.2}"), format!("6-gram, unseen text: {ngram:.2}"));
    let entries =
        [(COLORS[0], "network, in training"), (COLORS[1], bits.as_str()), (COLORS[3], ngram.as_str())];
    picture.legend(60.0, 46.0, &entries);
    picture.save(&options.out.join("text.svg"))
}
