//! How far back each kind of cell remembers, on two tasks that are known to separate them (Hochreiter and Schmidhuber
//! 1997; Arjovsky et al. 2016): copying tokens after a delay, and adding two marked numbers of a long sequence. Every
//! kind has the same width, updates and examples, with delays from 10 to 500 steps in one training.

use hearken::Result;
use hearken::error::{Stage, io};
use hearken::model::CellKind;
use hearken::train::sequence::{Example, Input, Inputs, Model, Output, SequenceConfig, Targets, Trainer};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde_json::json;

use super::Options;
use super::picture::{Axes, Picture};

const STEPS: u64 = 600;
const BATCH: usize = 16;
const HIDDEN: [usize; 2] = [32, 32];
/// Delays at which the trained networks are measured; those of training are between the first and the last.
const DELAYS: [usize; 6] = [10, 20, 50, 100, 200, 500];
/// Sequences of the test, for each delay; no more than there are updates.
const TEST: u64 = 64;
/// Tokens to copy, kinds of them, kinds of tokens in between, and the sign to write the copy.
const COPIED: usize = 2;
const KINDS: u32 = 8;
const OTHERS: u32 = 8;
const NOW: u32 = KINDS + OTHERS;
/// Colors of the kinds of cells, in their order; what is beyond the table has the first ones again, dashed.
const COLORS: &str = "d55e00 e6a000 0072b2 56b4e9 009e73 cc3d8c 8a6d3b 777777 6a3d9a 000000";

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
            score: |model, test| Ok((1.0 - 6.0 * model.loss(&test.iter().collect::<Vec<_>>())?).max(0.0)),
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

/// Numbers from 0 to 1, of which one in the first tenth and one in the rest of the first half are marked; the target of
/// the last step is their sum, whose variance is 1/6.
fn adding(steps: usize, rng: &mut Pcg64Mcg) -> Example {
    let numbers: Vec<f32> = (0..steps).map(|_| rng.random_range(0.0..1.0)).collect();
    let marked = [rng.random_range(0..steps / 10), rng.random_range(steps / 10..steps / 2)];
    let inputs = numbers.iter().enumerate().flat_map(|(t, &x)| [x, f32::from(u8::from(marked.contains(&t)))]);
    let mut targets = vec![None; steps];
    targets[steps - 1] = Some(marked.iter().map(|&t| numbers[t]).sum());
    Example { inputs: Inputs::Numbers(inputs.collect()), targets: Targets::Numbers(targets) }
}

/// The share of the copied tokens that are the likeliest ones.
fn right(model: &Model, test: &[Example]) -> Result<f64> {
    let (mut right, mut all) = (0, 0);
    for Example { inputs, targets } in test {
        let rows = model.run(inputs, &mut model.zero_states())?;
        let Targets::Tokens(targets) = targets else { continue };
        for (row, target) in rows.chunks_exact(KINDS as usize).zip(targets) {
            let Some(target) = target else { continue };
            all += 1;
            right += usize::from(row.iter().all(|p| *p <= row[*target as usize]));
        }
    }
    Ok(f64::from(right as u32) / f64::from(all.max(1)))
}

pub fn run(options: &Options) -> Result<()> {
    let steps = options.steps.unwrap_or(STEPS);
    let mut picture = Picture::new(900.0, 700.0, "How far back cells remember");
    let mut results = Vec::new();
    println!("the score at delays of {DELAYS:?} steps, after {steps} updates");
    for (number, task) in tasks().into_iter().enumerate() {
        let axes = Axes {
            place: [60.0, 70.0 + 330.0 * number as f64, 640.0, 230.0],
            x: (0.0, (DELAYS.len() - 1) as f64),
            y: (0.0, 1.0),
        };
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
            let text: Vec<String> = scores.iter().map(|score| format!("{score:.2}")).collect();
            println!("{}, {}: {}, {parameters} parameters", task.name, cell.name(), text.join(" "));
            let color = format!("#{}", &COLORS[place % 10 * 7..][..6]);
            let dashes = if place < 10 { "" } else { "7 4" };
            let points: Vec<_> = scores.iter().enumerate().map(|(i, &score)| (i as f64, score)).collect();
            picture.line(&axes, &points, &color, dashes);
            let y = axes.place[1] + 14.0 + 22.0 * place as f64;
            picture.legend(725.0, y, &[(&color, cell.name())]);
            let name = format!("memory-{}-{}.onnx", task.name, cell.name());
            model.write(&options.out.join(name), &[])?;
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
