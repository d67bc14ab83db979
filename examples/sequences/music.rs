//! Folk tunes note by note, beside n-grams: negative log-likelihood of a note; a new tune as MIDI, WAV and a picture.

use hearken::Result;
use hearken::audio::{WavEncoding, write_wav};
use hearken::error::{Error, Stage, io};
use hearken::model::CellKind;
use hearken::train::sequence::{
    Example, Input, Inputs, Model, Output, SequenceConfig, Targets, Trainer, sample,
};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::picture::{Axes, COLORS, Picture};
use super::{Options, baseline, fit, sound};

const STEPS: u64 = 300;
/// Pitch of token 1 (E below middle C is 52), and numbers of pitches and of durations in eighths.
const LOWEST: u32 = 48;
const PITCHES: u32 = 36;
const DURATIONS: u32 = 12;
/// The end of a tune, in place of a pitch.
const END: u32 = 0;
const TOKENS: usize = (1 + PITCHES + DURATIONS) as usize;

/// A pitch in MIDI's numbers and a duration in eighths.
type Note = (u32, u32);

/// Reads a note in ABC notation with its duration, such as `^F,2`.
fn parse(note: &str) -> Option<Note> {
    let digits = note.trim_start_matches(|c: char| !c.is_ascii_digit());
    let (mut pitch, mut letters) = (0i32, 0);
    for c in note.chars().take_while(|c| !c.is_ascii_digit()) {
        match c {
            '^' => pitch += 1,
            '_' => pitch -= 1,
            ',' => pitch -= 12,
            _ => {
                let steps = [9, 11, 0, 2, 4, 5, 7];
                let letter = "ABCDEFG".find(c.to_ascii_uppercase())?;
                pitch += 60 + steps[letter] + if c.is_lowercase() { 12 } else { 0 };
                letters += 1;
            }
        }
    }
    let (pitch, duration) = (u32::try_from(pitch).ok()?, digits.parse().ok()?);
    let range = LOWEST..LOWEST + PITCHES;
    (letters == 1 && range.contains(&pitch) && (1..=DURATIONS).contains(&duration))
        .then_some((pitch, duration))
}

/// A pitch, then its duration, for each note; without the end.
fn tokens(tune: &[Note]) -> Vec<u32> {
    tune.iter().flat_map(|(pitch, duration)| [pitch - LOWEST + 1, PITCHES + duration]).collect()
}

fn example(tokens: &[u32]) -> Example {
    let targets = tokens.iter().copied().chain([END]).map(Some).collect();
    Example { inputs: Inputs::Tokens([&[END], tokens].concat()), targets: Targets::Tokens(targets) }
}

pub fn run(options: &Options) -> Result<()> {
    let (mut train, mut test): (Vec<Vec<u32>>, Vec<Vec<u32>>) = Default::default();
    for (number, line) in include_str!("data/tunes.txt").lines().enumerate() {
        let (name, notes) = line.split_once(": ").unwrap_or((line, ""));
        let notes: Option<Vec<Note>> = notes.split(' ').map(parse).collect();
        let notes = notes.ok_or_else(|| Error::new(Stage::Usage, format!("a note of {name} is wrong")))?;
        // Every fifth tune is for the test.
        let part = if number % 5 == 4 { &mut test } else { &mut train };
        part.push(tokens(&notes));
    }
    let steps = options.steps.unwrap_or(STEPS);
    let kind = (Input::Tokens(TOKENS), Output::Tokens(TOKENS));
    let mut config = SequenceConfig::new(kind.0, kind.1, CellKind::Gru, &[96], steps);
    config.seed = options.seed;
    config.dropout = 0.5;
    config.optimizer.ema_decay = 0.99;
    config.optimizer.weight_decay = 0.1;
    let mut trainer = Trainer::new(config)?;
    fit(&mut trainer, options, steps, |rng| {
        // Up or down by at most two semitones, as another singer would begin.
        let moved = |token: u32, by: u32| if (1..=PITCHES).contains(&token) { token + by - 2 } else { token };
        let draw = |_| {
            let (tune, by) = (&train[rng.random_range(0..train.len())], rng.random_range(0..=4));
            example(&tune.iter().map(|&token| moved(token, by)).collect::<Vec<_>>())
        };
        (0..16).map(draw).collect()
    })?;
    let model = trainer.model()?;
    // Per note: the losses of pitch and duration together; the end counts as half a note.
    let examples: Vec<Example> = test.iter().map(|tune| example(tune)).collect();
    let nats = 2.0 * model.loss(&examples.iter().collect::<Vec<_>>())?;
    println!(
        "negative log-likelihood of a note of {} unseen tunes, in nats: {nats:.3} by the network",
        test.len()
    );
    for order in [3, 5, 7] {
        let nats = 2.0 * baseline::ngram(&train, &test, TOKENS, order, true)?;
        println!("  {nats:.3} by an n-gram of order {order}");
    }
    let tune = compose(&model, options.seed)?;
    let path = |name: &str| options.out.join(name);
    write_wav(&path("music.wav"), &sound::samples(&tune), sound::RATE, WavEncoding::Pcm16)?;
    hearken::fs::write(&path("music.mid"), &sound::midi(&tune))
        .map_err(|e| io(Stage::Output, path("music.mid"), e))?;
    model.write(&path("music.onnx"), &[("lowest_pitch", LOWEST.to_string().as_str())])?;
    draw(&tune).save(&path("music.svg"))
}

/// A tune drawn from the network.
fn compose(model: &Model, seed: u64) -> Result<Vec<Note>> {
    let (mut states, mut rng, mut all) = (model.zero_states(), Pcg64Mcg::seed_from_u64(seed), vec![END]);
    while all.len() < 128 {
        let last = all.last().copied().unwrap_or(END);
        let token = sample(&model.run(&Inputs::Tokens(vec![last]), &mut states)?, 0.7, &mut rng);
        if token == END {
            break;
        }
        all.push(token);
    }
    // A network that has not learned yet may put a duration where a pitch belongs.
    let pairs = all[1..].chunks_exact(2).filter(|pair| pair[0] <= PITCHES && pair[1] > PITCHES);
    Ok(pairs.map(|pair| (pair[0] + LOWEST - 1, pair[1] - PITCHES)).collect())
}

fn draw(tune: &[Note]) -> Picture {
    let end: u32 = tune.iter().map(|note| note.1).sum();
    let axes = Axes { place: [50.0, 50.0, 820.0, 200.0], x: (0.0, f64::from(end.max(1))), y: (48.0, 84.0) };
    let mut picture = Picture::new(900.0, 300.0, "A tune drawn from the network: pitch (MIDI) over eighths");
    picture.axes(&axes, "eighths", "");
    let mut at = 0;
    for &(pitch, duration) in tune {
        let line = |pitch: u32| {
            [(f64::from(at) + 0.1, f64::from(pitch)), (f64::from(at + duration) - 0.1, f64::from(pitch))]
        };
        picture.band(&axes, &line(pitch), &line(pitch + 1), COLORS[0]);
        at += duration;
    }
    picture
}
