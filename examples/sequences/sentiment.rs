//! Whether a sentence about a film is positive, beside a bag of words (naive Bayes): accuracy, and the states over a
//! sentence as it turns.

use std::collections::HashMap;

use hearken::Result;
use hearken::error::{Error, Stage};
use hearken::model::CellKind;
use hearken::train::sequence::{Example, Input, Inputs, Model, Output, SequenceConfig, Targets, Trainer};
use rand::RngExt;

use super::picture::{Axes, COLORS, Picture};
use super::{Options, fit};

const STEPS: u64 = 600;
const BATCH: usize = 64;
/// Share of words that are hidden from the network in training.
const HIDDEN: f64 = 0.2;
/// A sentence that begins well and ends badly, for the picture.
const TURN: &str = "a beautiful and moving story with great actors but the ending is dull and far too long";

/// A sentence as word ids, and whether it is positive.
type Sentence = (Vec<u32>, bool);

fn words(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
    parts.map(|word| word.trim_matches('\'').to_lowercase()).filter(|word| !word.is_empty())
}

fn example((words, positive): &Sentence) -> Example {
    let targets = Targets::at_end(u32::from(*positive), words.len());
    Example { inputs: Inputs::Tokens(words.clone()), targets }
}

pub fn run(options: &Options) -> Result<()> {
    let text = options.text(include_str!("data/films.txt"))?;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        match line.split_once('\t') {
            Some((class @ ("0" | "1"), sentence)) if words(sentence).next().is_some() => {
                lines.push((sentence, class == "1"));
            }
            _ => {
                let problem = format!("line {}: expected 0 or 1, a tab and a sentence", number + 1);
                return Err(Error::new(Stage::Usage, problem));
            }
        }
    }
    // Of ten sentences the ninth is for choices (dev), the tenth for the test. Words are those of the others.
    let part = |wanted: &dyn Fn(usize) -> bool| {
        lines.iter().enumerate().filter(|(i, _)| wanted(i % 10)).map(|(_, line)| *line).collect::<Vec<_>>()
    };
    let train = part(&|place| place < 8);
    let mut counts: HashMap<String, usize> = HashMap::new();
    train.iter().flat_map(|(text, _)| words(text)).for_each(|word| *counts.entry(word).or_default() += 1);
    let mut known: Vec<String> = counts.into_iter().filter(|(_, n)| *n >= 2).map(|(word, _)| word).collect();
    known.sort_unstable();
    // Id 0 is any other word.
    let id = |word: String| known.binary_search(&word).map_or(0, |at| at as u32 + 1);
    let encode = |lines: &[(&str, bool)]| -> Vec<Sentence> {
        lines.iter().map(|(text, positive)| (words(text).map(id).collect(), *positive)).collect()
    };
    let train = encode(&train);
    let [dev, test] = [8, 9].map(|place| encode(&part(&|other| other == place)));
    if train.is_empty() || test.is_empty() {
        return Err(Error::new(Stage::Usage, "expected at least ten sentences"));
    }

    let steps = options.steps.unwrap_or(STEPS);
    let input = Input::Tokens(known.len() + 1);
    let mut config = SequenceConfig::new(input, Output::Tokens(2), CellKind::Gru, &[64], steps);
    config.seed = options.seed;
    config.dropout = 0.5;
    config.optimizer.ema_decay = 0.99;
    config.optimizer.weight_decay = 0.1;
    let mut trainer = Trainer::new(config)?;
    fit(&mut trainer, options, steps, |rng| {
        let draw = |_| {
            let mut sentence = train[rng.random_range(0..train.len())].clone();
            sentence.0.iter_mut().for_each(|word| *word *= u32::from(!rng.random_bool(HIDDEN)));
            example(&sentence)
        };
        (0..BATCH).map(draw).collect()
    })?;
    let model = trainer.model()?;
    let bag = bag_of_words(&train, known.len() + 1);
    for (name, set) in [("dev", &dev), ("test", &test)] {
        let network = accuracy(set, |words| Ok(positive(&model, words)?.last().is_some_and(|p| *p > 0.5)))?;
        let score = |words: &[u32]| words.iter().map(|&word| bag[word as usize]).sum::<f64>();
        let bag = accuracy(set, |words| Ok(score(words) > 0.0))?;
        println!(
            "{name}, {} sentences: {network:.1} % right by the network, {bag:.1} % by a bag of words",
            set.len()
        );
    }
    let entries = serde_json::json!(known).to_string();
    model.write(&options.out.join("sentiment.onnx"), &[("words", entries.as_str())])?;
    draw(options, &model, &words(TURN).collect::<Vec<_>>(), &words(TURN).map(id).collect::<Vec<_>>())
}

/// The probability that the sentence is positive, after each of its words.
fn positive(model: &Model, words: &[u32]) -> Result<Vec<f64>> {
    let log_probs = model.run(&Inputs::Tokens(words.to_vec()), &mut model.zero_states())?;
    Ok(log_probs.chunks_exact(2).map(|row| f64::from(row[1]).exp()).collect())
}

fn accuracy(set: &[Sentence], mut guess: impl FnMut(&[u32]) -> Result<bool>) -> Result<f64> {
    let mut right = 0;
    for (words, positive) in set {
        right += usize::from(guess(words)? == *positive);
    }
    Ok(100.0 * right as f64 / set.len().max(1) as f64)
}

/// Naive Bayes: for each word the logarithm of how much likelier it is in positive sentences.
fn bag_of_words(train: &[Sentence], words: usize) -> Vec<f64> {
    let mut counts = [vec![1.0; words], vec![1.0; words]];
    for (words, positive) in train {
        words.iter().for_each(|&word| counts[usize::from(*positive)][word as usize] += 1.0);
    }
    let sums = counts.each_ref().map(|counts| counts.iter().sum::<f64>());
    (0..words).map(|i| (counts[1][i] / sums[1] / (counts[0][i] / sums[0])).ln()).collect()
}

fn draw(options: &Options, model: &Model, names: &[String], words: &[u32]) -> Result<()> {
    let (mut states, mut columns) = (model.zero_states(), Vec::new());
    for &word in words {
        model.run(&Inputs::Tokens(vec![word]), &mut states)?;
        columns.push(states.hidden[0].clone());
    }
    let rows = (0..32).map(|unit| columns.iter().map(|column| f64::from(column[unit])).collect());
    let (count, wide) = (words.len() as f64, 54.0);
    let mut picture = Picture::new(
        80.0 + wide * count,
        430.0,
        "A sentence that turns: probability of positive, and 32 of 64 states",
    );
    let axes = Axes { place: [60.0, 50.0, wide * count, 120.0], x: (0.0, count), y: (0.0, 1.0) };
    let curve = positive(model, words)?.into_iter().enumerate().map(|(i, p)| (i as f64 + 0.5, p));
    picture.axes(&axes, "", "probability of positive after each word");
    picture.rect([40.0, 176.0, 40.0 + wide * count, 16.0], "#ffffff");
    picture.line(&axes, &curve.collect::<Vec<_>>(), COLORS[0], "");
    picture.cells([60.0, 210.0, wide * count, 200.0], &rows.collect::<Vec<_>>());
    for (i, name) in names.iter().enumerate() {
        picture.text(60.0 + wide * (i as f64 + 0.5), 194.0, "middle", 12.0, name);
    }
    picture.save(&options.out.join("sentiment.svg"))
}
