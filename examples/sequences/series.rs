//! A forecast with its uncertainty: the temperature of a room an hour ahead, beside no change and linear regression on
//! the last four hours.
//!
//! The process: every five minutes the room loses 1/120 of its difference to the outside, whose temperature has a daily
//! cycle of ±6 °C and a slow random part; a thermostat turns a heater on below 19 °C and off above 21 °C. The sensor has
//! an error. Whether the heater is on is not measured: the network has to remember it.

use std::f64::consts::TAU;

use hearken::Result;
use hearken::model::CellKind;
use hearken::train::sequence::{Example, Input, Inputs, Output, SequenceConfig, Targets, Trainer};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::picture::{Axes, COLORS, Picture};
use super::{Options, baseline, fit};

const STEPS: u64 = 800;
/// Steps of the whole series and of its first part, which is for training.
const LENGTH: usize = 24_000;
const TRAIN: usize = 16_000;
/// Steps from the present to the moment that is forecast: an hour.
const AHEAD: usize = 12;
/// Steps that the regression uses: four hours.
const PAST: usize = 48;
const WINDOW: usize = 288;
const LEVELS: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

/// The measured temperatures.
fn measure(seed: u64) -> Vec<f64> {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    // The sum of twelve uniform numbers is close to normal.
    let mut normal = move || (0..12).map(|_| rng.random_range(-0.5..0.5)).sum::<f64>();
    let (mut room, mut weather, mut heats) = (20.0, 0.0, false);
    let step = |t: usize| {
        weather = 0.999 * weather + 0.15 * normal();
        let outside = 5.0 + 6.0 * (TAU * t as f64 / 288.0).sin() + weather;
        heats = if room < 19.0 { true } else { heats && room < 21.0 };
        room += (outside - room) / 120.0 + if heats { 0.3 } else { 0.0 } + 0.02 * normal();
        room + 0.05 * normal()
    };
    (0..LENGTH).map(step).collect()
}

/// A forecast of the change by its quantiles, for each moment of the test.
type Forecast = Vec<[f64; 5]>;

pub fn run(options: &Options) -> Result<()> {
    let series = measure(17);
    let steps = options.steps.unwrap_or(STEPS);
    let output = Output::Quantiles(LEVELS.to_vec());
    let mut config = SequenceConfig::new(Input::Numbers(1), output, CellKind::Gru, &[64, 64], steps);
    config.seed = options.seed;
    config.optimizer.ema_decay = 0.99;
    let mut trainer = Trainer::new(config)?;
    let inputs =
        |from: usize, to: usize| Inputs::Numbers(series[from..to].iter().map(|&x| x as f32).collect());
    trainer.normalize(&[&inputs(0, TRAIN)])?;
    fit(&mut trainer, options, steps, |rng| {
        let example = |_| {
            // The last target is still in the part for training.
            let from = rng.random_range(0..TRAIN - AHEAD - WINDOW);
            let change = |t| Some((series[t + AHEAD] - series[t]) as f32);
            let targets = (from..from + WINDOW).map(change).collect();
            Example { inputs: inputs(from, from + WINDOW), targets: Targets::Numbers(targets) }
        };
        (0..16).map(example).collect()
    })?;
    let model = trainer.model()?;
    // One pass over the whole series: each forecast depends on the past alone.
    let outputs = model.run(&inputs(0, LENGTH - AHEAD), &mut model.zero_states())?;
    let rows = outputs.chunks_exact(5).skip(TRAIN);
    let network: Forecast = rows.map(|row| std::array::from_fn(|i| f64::from(row[i]))).collect();
    let truth: Vec<f64> = (TRAIN..LENGTH - AHEAD).map(|t| series[t + AHEAD] - series[t]).collect();
    println!(
        "an hour ahead, {} forecasts: mean error, mean quantile loss, coverage and width of the 90 % interval",
        truth.len()
    );
    report("no change", &no_change(&series), &truth);
    report("regression on 48 steps", &regression(&series), &truth);
    report("network", &network, &truth);
    model.write(&options.out.join("series.onnx"), &[])?;
    draw(options, &series, &network)
}

/// The quantiles of the changes in training, the same at each moment.
fn no_change(series: &[f64]) -> Forecast {
    let changes: Vec<f64> = (0..TRAIN - AHEAD).map(|t| series[t + AHEAD] - series[t]).collect();
    let mut row = LEVELS.map(|level| baseline::quantile(&changes, level));
    row[2] = 0.0;
    vec![row; LENGTH - AHEAD - TRAIN]
}

/// Autoregression: the change by least squares from the last steps, with the quantiles of its errors in training.
fn regression(series: &[f64]) -> Forecast {
    let row = |t: usize| -> Vec<f64> { (0..PAST).map(|k| series[t - k] - 20.0).chain([1.0]).collect() };
    let moments = PAST - 1..TRAIN - AHEAD;
    let rows: Vec<Vec<f64>> = moments.clone().map(row).collect();
    let changes: Vec<f64> = moments.map(|t| series[t + AHEAD] - series[t]).collect();
    let weights = baseline::least_squares(&rows, &changes);
    let predict = |row: &[f64]| row.iter().zip(&weights).map(|(x, w)| x * w).sum::<f64>();
    let errors: Vec<f64> = rows.iter().zip(&changes).map(|(row, change)| change - predict(row)).collect();
    let around = LEVELS.map(|level| baseline::quantile(&errors, level));
    let forecast = |t: usize| {
        let middle = predict(&row(t));
        around.map(|error| middle + error)
    };
    (TRAIN..LENGTH - AHEAD).map(forecast).collect()
}

fn report(name: &str, forecast: &Forecast, truth: &[f64]) {
    let mean = |of: &dyn Fn(&[f64; 5], f64) -> f64| {
        forecast.iter().zip(truth).map(|(row, &change)| of(row, change)).sum::<f64>() / truth.len() as f64
    };
    let error = mean(&|row, change| (row[2] - change).abs());
    let pinball = |q: f64, level: f64, change: f64| ((change - q) * level).max((q - change) * (1.0 - level));
    let loss = mean(&|row, change| (0..5).map(|i| pinball(row[i], LEVELS[i], change)).sum::<f64>() / 5.0);
    let inside = mean(&|row, change| f64::from(u8::from(row[0] <= change && change <= row[4])));
    let width = mean(&|row, _| row[4] - row[0]);
    println!("{name}: {error:.3} °C, {loss:.4} °C, {:.1} %, {width:.2} °C", 100.0 * inside);
}

fn draw(options: &Options, series: &[f64], network: &Forecast) -> Result<()> {
    let hours = |i: usize| (i + AHEAD) as f64 / 12.0;
    let quantile = |k: usize| -> Vec<(f64, f64)> {
        (0..144).map(|i| (hours(i), series[TRAIN + i] + network[i][k])).collect()
    };
    let truth: Vec<(f64, f64)> = (0..144).map(|i| (hours(i), series[TRAIN + i + AHEAD])).collect();
    let mut picture = Picture::new(820.0, 340.0, "The temperature of a room, forecast an hour before");
    let axes = Axes { place: [60.0, 60.0, 730.0, 220.0], x: (hours(0), hours(143)), y: (18.0, 22.0) };
    picture.band(&axes, &quantile(0), &quantile(4), "#d5e4f1");
    picture.band(&axes, &quantile(1), &quantile(3), "#a5c5e1");
    picture.axes(&axes, "hours since the end of the training data", "");
    picture.line(&axes, &quantile(2), COLORS[0], "");
    picture.line(&axes, &truth, COLORS[1], "");
    let lines = [(COLORS[1], "measured"), (COLORS[0], "median of the forecast")];
    picture.legend(60.0, 46.0, &lines);
    picture.legend(380.0, 46.0, &[("#d5e4f1", "90 % interval"), ("#a5c5e1", "50 % interval")]);
    picture.save(&options.out.join("series.svg"))
}
