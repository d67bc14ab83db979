//! A recipe as a flat list of settings, for comparison and for checks of all of them.

use toml::Value;

use super::tables::Recipe;
use crate::error::{Error, Result, Stage};

/// A setting that differs between two recipes.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::train) struct Difference {
    /// Its key, such as `optimizer.learning_rate`.
    pub key: String,
    /// Its former value as TOML; `nothing` if it is absent.
    pub before: String,
    /// Its present value as TOML; `nothing` if it is absent.
    pub now: String,
}

/// All settings of a recipe with their keys: `optimizer.learning_rate`, `data.recordings[0].weight`. A list
/// of values other than tables is one setting.
pub(super) fn settings(recipe: &Recipe) -> Result<Vec<(String, Value)>> {
    let value = Value::try_from(recipe).map_err(|e| Error::new(Stage::Train, e.to_string()))?;
    let mut settings = Vec::new();
    flatten(String::new(), value, &mut settings);
    Ok(settings)
}

fn flatten(key: String, value: Value, settings: &mut Vec<(String, Value)>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                flatten(if key.is_empty() { name } else { format!("{key}.{name}") }, value, settings);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            for (i, item) in items.into_iter().enumerate() {
                flatten(format!("{key}[{i}]"), item, settings);
            }
        }
        value => settings.push((key, value)),
    }
}

/// The settings that differ between an earlier recipe and the present one.
pub(in crate::train) fn differences(before: &Recipe, now: &Recipe) -> Result<Vec<Difference>> {
    let (before, now) = (settings(before)?, settings(now)?);
    let value = |list: &[(String, Value)], key: &str| {
        list.iter().find(|(k, _)| k == key).map_or_else(|| "nothing".to_string(), |(_, v)| v.to_string())
    };
    let mut keys: Vec<&String> = before.iter().chain(&now).map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys.dedup();
    let all = keys.into_iter().map(|key| Difference {
        key: key.clone(),
        before: value(&before, key),
        now: value(&now, key),
    });
    Ok(all.filter(|difference| difference.before != difference.now).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_differ_are_named_with_both_values() {
        let text = "[data]\nwords = [\"yes\"]\n[[data.recordings]]\nmanifest = \"a\"\nweight = 1.0\n\
                    [network]\ncells = [\"gru\"]\nhidden = [8]\ninput_size = 8\n[schedule]\nsteps = 10\n\
                    [run]\nbatch_size = 2\neval_interval = 10\ncheckpoint_interval = 10\n";
        let before = Recipe::parse(text).expect("a good recipe");
        assert_eq!(differences(&before, &before).expect("comparable"), []);
        let other = text.replace("weight = 1.0", "weight = 0.5").replace("steps = 10", "steps = 12");
        let other = Recipe::parse(&format!("{other}[optimizer]\nclip_norm = 2.0\n")).expect("a good recipe");
        let found = differences(&before, &other).expect("comparable");
        let keys: Vec<&str> = found.iter().map(|d| d.key.as_str()).collect();
        assert_eq!(keys, ["data.recordings[0].weight", "optimizer.clip_norm", "schedule.steps"]);
        assert_eq!((found[2].before.as_str(), found[2].now.as_str()), ("10", "12"));
    }
}
