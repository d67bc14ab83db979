//! How far back each kind of cell remembers (tasks of Hochreiter and Schmidhuber 1997): copying tokens after a delay, and
//! adding two marked numbers of a long sequence. A training has delays from 10 to 500 steps.

use hearken::Result;
use hearken::error::{Stage, io};
use hearken::model::CellKind;
use hearken::train::sequence::{Example, Input, Inputs, Model, Output, SequenceConfig, Targets, Trainer};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::json;

use super::Options;
use super::picture::{Axes, Picture};

const STEPS: u64 = 300;
const BATCH: usize = 16;
const HIDDEN: [usize; 2] = [32, 32];
/// Delays at which the trained networks are measured; those of training are between the first and the last.
const DELAYS: [usize; 6] = [10, 20, 50, 100, 200, 500];
/// Sequences of the test, for each delay; no more than there are updates.
const TEST: u64 = 64;
/// Tokens to copy, and kinds of them; those from there to the sign to write the copy are in between.
const COPIED: usize = 2;
const KINDS: u32 = 8;
const NOW: u32 = 16;
/// Colors of the kinds of cells, in their order; what is beyond the table has the first ones again, dashed.
const COLORS: &str = "d55e00 e6a000 0072b2 56b4e9 009e73 cc3d8c 8a6d3b 777777 6a3d9a 000000 7a9a01";

/// The tasks, by name: input, output, an example with a delay, and the share of a test that is right.
struct Task {
    name: &'static str,
    title: &'static str,
    kinds: (Input, Output),
    example: fn(usize, &mut Pcg64Mcg) -> Example,
    score: fn(&Model, &[Example]) -> Result<f64>,
}

fn tasks() -> [Task; 2] {
    [
        Task {
            name: "copying",
            title: "Copying: share of tokens that are right (by chance 0.125)",
            kinds: (Input::Tokens(NOW as usize + 1), Output::Tokens(KINDS as usize)),
            example: copying,
            score: right,
        },
        Task {
            name: "adding",
            title: "Adding: share of the variance that is explained",
            kinds: (Input::Numbers(2), Output::Numbers(1)),
            example: adding,
            score: explained,
        },
    ]
}

/// A few tokens, others until `delay` steps after the first, then the same tokens once more.
fn copying(delay: usize, rng: &mut Pcg64Mcg) -> Example {
    let copied: Vec<u32> = (0..COPIED).map(|_| rng.random_range(0..KINDS)).collect();
    let others = (COPIED..delay).map(|_| rng.random_range(KINDS..NOW));
    let inputs = copied.iter().copied().chain(others).chain([NOW; COPIED]).collect();
    let targets = std::iter::repeat_n(None, delay).chain(copied.iter().copied().map(Some)).collect();
    Example { inputs: Inputs::Tokens(inputs), targets: Targets::Tokens(targets) }
}

/// Numbers from 0 to 1, one in the first tenth and one in the rest of the first half marked; the last target is their sum.
fn adding(steps: usize, rng: &mut Pcg64Mcg) -> Example {
    let numbers: Vec<f32> = (0..steps).map(|_| rng.random_range(0.0..1.0)).collect();
    let marked = [rng.random_range(0..steps / 10), rng.random_range(steps / 10..steps / 2)];
    let inputs = numbers.iter().enumerate().flat_map(|(t, &x)| [x, f32::from(u8::from(marked.contains(&t)))]);
    let mut targets = vec![None; steps];
    targets[steps - 1] = Some(marked.iter().map(|&t| numbers[t]).sum());
    Example { inputs: Inputs::Numbers(inputs.collect()), targets: Targets::Numbers(targets) }
}

/// The share of the variance that the outputs explain: 0 if they are no better than the mean, which is 1.
fn explained(model: &Model, test: &[Example]) -> Result<f64> {
    let distance = |example: &Example| match &example.targets {
        Targets::Numbers(numbers) => numbers.iter().flatten().map(|x| f64::from(x - 1.0).powi(2)).sum(),
        Targets::Tokens(_) => 0.0,
    };
    let variance = test.iter().map(distance).sum::<f64>() / test.len() as f64;
    Ok((1.0 - model.loss(&test.iter().collect::<Vec<_>>())? / variance).max(0.0))
}

/// The share of the copied tokens that are the likeliest ones.
fn right(model: &Model, test: &[Example]) -> Result<f64> {
    let (mut right, mut all) = (0, 0);
    for Example { inputs, targets } in test {
        let rows = model.run(inputs, &mut model.zero_states())?;
        let Targets::Tokens(targets) = targets else { continue };
        for (row, target) in rows.chunks_exact(KINDS as usize).zip(targets) {
            let Some(target) = *target else { continue };
            (right, all) = (right + u32::from(row.iter().all(|p| *p <= row[target as usize])), all + 1);
        }
    }
    Ok(f64::from(right) / f64::from(all.max(1)))
}

pub fn run(options: &Options) -> Result<()> {
    let steps = options.steps.unwrap_or(STEPS);
    let mut picture = Picture::new(900.0, 700.0, "How far back cells remember");
    let mut results = Vec::new();
    println!("the score at delays of {DELAYS:?} steps, after {steps} updates");
    for (number, task) in tasks().into_iter().enumerate() {
        let place = [60.0, 70.0 + 330.0 * number as f64, 640.0, 230.0];
        let axes = Axes { place, x: (0.0, (DELAYS.len() - 1) as f64), y: (0.0, 1.0) };
        picture.axes_named(&axes, &DELAYS.map(|delay| delay.to_string()), "steps of delay", task.title);
        for (place, cell) in CellKind::ALL.into_iter().enumerate() {
            let model = train(&task, cell, steps, options)?;
            let (mut rng, mut scores) = (Pcg64Mcg::seed_from_u64(7), Vec::new());
            for delay in DELAYS {
                let test: Vec<Example> =
                    (0..TEST.min(steps)).map(|_| (task.example)(delay, &mut rng)).collect();
                scores.push((task.score)(&model, &test)?);
            }
            let parameters = model.network().num_parameters();
            println!("{}, {}: {scores:.2?}, {parameters} parameters", task.name, cell.name());
            let kinds = COLORS.len().div_ceil(7);
            let color = format!("#{}", &COLORS[place % kinds * 7..][..6]);
            let dashes = if place < kinds { "" } else { "7 4" };
            let points: Vec<_> = scores.iter().enumerate().map(|(i, &score)| (i as f64, score)).collect();
            picture.line(&axes, &points, &color, dashes);
            picture.legend(725.0, axes.place[1] + 14.0 + 22.0 * place as f64, &[(&color, cell.name())]);
            model.write(&options.out.join(format!("memory-{}-{}.onnx", task.name, cell.name())), &[])?;
            results.push(json!({
                "task": task.name, "cell": cell.name(), "delays": DELAYS, "scores": scores, "parameters": parameters
            }));
        }
    }
    let path = options.out.join("memory.json");
    let text = json!({ "steps": steps, "results": results }).to_string();
    hearken::fs::write(&path, text.as_bytes()).map_err(|e| io(Stage::Output, &path, e))?;
    picture.save(&options.out.join("memory.svg"))
}

fn train(task: &Task, cell: CellKind, steps: u64, options: &Options) -> Result<Model> {
    let (input, output) = task.kinds.clone();
    let mut config = SequenceConfig::new(input, output, cell, &HIDDEN, steps);
    config.seed = options.seed;
    (config.optimizer.learning_rate, config.optimizer.ema_decay) = (5e-3, 0.99);
    let (mut trainer, mut rng) = (Trainer::new(config)?, Pcg64Mcg::seed_from_u64(options.seed));
    let (low, high) = ((DELAYS[0] as f64).ln(), (DELAYS[DELAYS.len() - 1] as f64 + 0.5).ln());
    for _ in 0..steps {
        // The logarithms of the delays are uniform.
        let delay = |rng: &mut Pcg64Mcg| (rng.random_range(low..high).exp() as usize).max(DELAYS[0]);
        let batch: Vec<_> = (0..BATCH).map(|_| (task.example)(delay(&mut rng), &mut rng)).collect();
        trainer.update(&batch.iter().collect::<Vec<_>>())?;
    }
    trainer.model()
}
