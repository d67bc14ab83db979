//! The limits of all numbers in a recipe. NaN and values that no training can use are refused before any
//! data are read.

use super::settings::settings;
use super::tables::{Recipe, wrong};
use crate::error::Result;
use crate::eval::Scorer;
use crate::features::Fbank;

/// Allowed sample rates, Hz.
const SAMPLE_RATES: [f64; 2] = [1_000.0, 768_000.0];

/// Checks every number of a recipe.
///
/// # Errors
/// Names the first number out of its range, with the range.
pub(super) fn check(recipe: &Recipe) -> Result<()> {
    recipe.augment.validate()?;
    recipe.specaugment.validate()?;
    within("features: sample_rate", f64::from(recipe.features.sample_rate), SAMPLE_RATES)?;
    Fbank::new(&recipe.features).map_err(|e| wrong("features", e.problem()))?;
    data(recipe)?;
    optimizer(recipe)?;
    run(recipe)?;
    recipe
        .decoder
        .validate()
        .map_err(|e| wrong(&format!("decoder: {}", e.place().unwrap_or_default()), e.problem()))?;
    finite(recipe)
}

/// Checks that also the numbers without limits are finite.
fn finite(recipe: &Recipe) -> Result<()> {
    fn is_finite(value: &toml::Value) -> bool {
        match value {
            toml::Value::Float(number) => number.is_finite(),
            toml::Value::Array(values) => values.iter().all(is_finite),
            _ => true,
        }
    }
    match settings(recipe)?.into_iter().find(|(_, value)| !is_finite(value)) {
        Some((key, value)) => Err(wrong(&key, format!("expected finite numbers, found {value}"))),
        None => Ok(()),
    }
}

fn data(recipe: &Recipe) -> Result<()> {
    let data = &recipe.data;
    share("data: generated_sounds", data.generated_sounds)?;
    share("data: max_unreadable", data.max_unreadable)?;
    weight("data: silence_weight", data.silence_weight)?;
    for recordings in &data.recordings {
        let place = |key| format!("data.recordings: {}: {key}", recordings.manifest);
        weight(&place("weight"), recordings.weight)?;
        above_zero(&place("max_duration"), recordings.max_duration, 86_400.0)?;
    }
    for dev in &data.dev {
        let place = |key| format!("data.dev: {}: {key}", dev.manifest);
        weight(&place("weight"), dev.weight)?;
        Scorer::new(&dev.equal).map_err(|e| wrong(&place("equal"), e.problem()))?;
    }
    if let Some(concatenation) = &data.concatenation {
        share("data.concatenation: probability", concatenation.probability)?;
        let [shortest, longest] = concatenation.pause_s;
        if !(0.0..=60.0).contains(&shortest) || !(shortest..=60.0).contains(&longest) {
            return Err(wrong(
                "data.concatenation: pause_s",
                "expected [shortest, longest], from 0 to 60 seconds",
            ));
        }
    }
    if let Some(strings) = &data.strings {
        weight("data.strings: weight", strings.weight)?;
        share("data.strings: repeat_probability", strings.repeat_probability)?;
        share("data.strings: same_speaker_probability", strings.same_speaker_probability)?;
        share("data.strings: other_words_probability", strings.other_words_probability)?;
        strings.compose.validate()?;
        for pool in &strings.pools {
            weight(&format!("data.strings: pools: {}: weight", pool.manifest), pool.weight)?;
        }
    }
    Ok(())
}

fn optimizer(recipe: &Recipe) -> Result<()> {
    let optimizer = &recipe.optimizer;
    above_zero("optimizer: learning_rate", optimizer.learning_rate, 1.0)?;
    below_one("optimizer: beta1", optimizer.beta1)?;
    below_one("optimizer: beta2", optimizer.beta2)?;
    above_zero("optimizer: epsilon", optimizer.epsilon, 1.0)?;
    share("optimizer: weight_decay", optimizer.weight_decay)?;
    above_zero("optimizer: clip_norm", optimizer.clip_norm, 1e6)?;
    below_one("optimizer: ema_decay", optimizer.ema_decay)?;
    below_one("network: dropout", recipe.network.dropout)?;
    if let Some(auxiliary) = &recipe.auxiliary {
        weight("auxiliary: weight", auxiliary.weight)?;
    }
    let loss = &recipe.loss;
    weight("loss: ctc_weight", loss.ctc_weight)?;
    weight("loss: consistency_weight", loss.consistency_weight)?;
    if let Some(mmi) = &loss.mmi {
        weight("loss.mmi: weight", mmi.weight)?;
        weight("loss.mmi: other_weight", mmi.other_weight)?;
        within("loss.mmi: order", mmi.order as f64, [2.0, 6.0])?;
        within("loss.mmi: states", mmi.states as f64, [1.0, 20_000.0])?;
        below_one("loss.mmi: leak", mmi.leak)?;
    }
    Ok(())
}

fn run(recipe: &Recipe) -> Result<()> {
    let (schedule, run) = (&recipe.schedule, &recipe.run);
    share("schedule: final_share", schedule.final_share)?;
    within("schedule: bptt_seconds", schedule.bptt_seconds, [0.0, 86_400.0])?;
    if let Some(stopping) = &schedule.early_stopping {
        within("schedule.early_stopping: patience", stopping.patience as f64, [1.0, 1e6])?;
        within("schedule.early_stopping: min_delta", stopping.min_delta, [0.0, 1e6])?;
    }
    if let Some(plateau) = &schedule.plateau {
        within("schedule.plateau: patience", plateau.patience as f64, [1.0, 1e6])?;
        inside("schedule.plateau: factor", plateau.factor)?;
        below_one("schedule.plateau: threshold", plateau.threshold)?;
        within("schedule.plateau: cooldown", plateau.cooldown as f64, [0.0, 1e6])?;
        share("schedule.plateau: min_share", plateau.min_share)?;
    }
    within("run: average_best", run.average_best as f64, [0.0, 1000.0])?;
    within("run: max_back_offs", run.max_back_offs as f64, [0.0, 1000.0])?;
    inside("run: back_off_factor", run.back_off_factor)?;
    within("schedule: short_seconds", schedule.short_seconds, [0.0, 86_400.0])?;
    for (place, value, max) in [
        ("schedule: steps", schedule.steps, u64::MAX),
        ("run: batch_size", run.batch_size as u64, 4096),
        ("run: bucket_batches", run.bucket_batches as u64, 4096),
        ("run: eval_interval", run.eval_interval, u64::MAX),
        ("run: checkpoint_interval", run.checkpoint_interval, u64::MAX),
        ("run: log_interval", run.log_interval, u64::MAX),
    ] {
        if value == 0 {
            return Err(wrong(place, "expected at least 1, found 0"));
        }
        if value > max {
            return Err(wrong(place, format!("expected at most {max}, found {value}")));
        }
    }
    Ok(())
}

/// Checks that a number is in the closed range, which NaN never is.
fn within(place: &str, value: f64, [min, max]: [f64; 2]) -> Result<()> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(wrong(place, format!("expected a number from {min} to {max}, found {value}")))
}

fn share(place: &str, value: f64) -> Result<()> {
    within(place, value, [0.0, 1.0])
}

fn weight(place: &str, value: f64) -> Result<()> {
    within(place, value, [0.0, 1e6])
}

fn below_one(place: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(wrong(place, format!("expected a number from 0 to below 1, found {value}")))
}

/// Checks that a number is above 0 and below 1.
fn inside(place: &str, value: f64) -> Result<()> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    Err(wrong(place, format!("expected a number above 0 and below 1, found {value}")))
}

fn above_zero(place: &str, value: f64, max: f64) -> Result<()> {
    if value > 0.0 && value <= max {
        return Ok(());
    }
    Err(wrong(place, format!("expected a number above 0 and at most {max}, found {value}")))
}
