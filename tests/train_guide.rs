//! The guide to training (docs/train.md) compared with the program: its recipe can be read, and its tables name
//! every key of a recipe.

use std::collections::BTreeSet;

use hearken::train::Recipe;

/// Optional tables, which the recipe of the guide lacks.
const OPTIONAL: &str = r#"
[data.strings.compose]
level_db = [-3.0, 3.0]

[auxiliary]
characters = "ab"
layer = 0
weight = 0.1

[loss.mmi]
weight = 0.5

[decoder]
lexicon = [{ word = "yes", tokens = ["▁yes"] }]
reset_at_endpoint = true
rejection = { least_confidence = [0.5, 0.5, 0.2], longest_ms = 800, confidence_for_others = 1.0 }
"#;

fn guide() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/train.md");
    std::fs::read_to_string(path).expect("docs/train.md")
}

fn recipe_of(guide: &str) -> &str {
    let (_, rest) = guide.split_once("```toml\n").expect("a recipe");
    rest.split_once("```").expect("its end").0
}

#[test]
fn the_recipe_of_the_guide_is_read() {
    let recipe = Recipe::parse(recipe_of(&guide())).unwrap();
    assert_eq!(recipe.data.words.len(), 10);
    assert_eq!(recipe.network.hidden, [96, 96]);
}

#[test]
fn every_key_is_in_the_guide() {
    let guide = guide();
    let mut keys = BTreeSet::new();
    collect(&whole_recipe(), &mut keys);
    assert!(keys.len() > 100 && keys.contains("least_confidence"), "{keys:?}");
    let tables = guide.split_once("# All keys of a recipe").expect("the reference").1;
    let named =
        |key: &str| ["`", "[", ".", "[["].iter().any(|before| tables.contains(&format!("{before}{key}")));
    let missing: Vec<_> = keys.iter().filter(|key| !named(key)).collect();
    assert!(missing.is_empty(), "docs/train.md does not name {missing:?}");
}

/// A recipe with every optional table, as TOML.
fn whole_recipe() -> toml::Value {
    let guide = guide();
    let with_phones = recipe_of(&guide).replacen("[data]\n", "[data]\npronunciations = \"cmudict.txt\"\n", 1);
    let recipe = Recipe::parse(&format!("{with_phones}{OPTIONAL}")).expect("a good recipe");
    toml::Value::try_from(&recipe).expect("it can be written")
}

/// Calls `visit` with the path of every number, and the number.
fn numbers(value: &toml::Value, path: &str, visit: &mut dyn FnMut(&str, &toml::Value)) {
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(key, value)| numbers(value, &format!("{path}/{key}"), visit));
        }
        toml::Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, value)| numbers(value, &format!("{path}/{i}"), visit));
        }
        toml::Value::Integer(_) | toml::Value::Float(_) => visit(path, value),
        _ => {}
    }
}

fn set(value: &mut toml::Value, path: &str, number: toml::Value) {
    let mut place = value;
    for key in path.split('/').skip(1) {
        place = match place {
            toml::Value::Array(items) => &mut items[key.parse::<usize>().expect("an index")],
            other => other.get_mut(key).expect("a key"),
        };
    }
    *place = number;
}

#[test]
fn every_number_of_a_recipe_has_limits() {
    // Costs, biases and levels in dB may be negative.
    let negative = ["_cost", "_bias", "_db/0", "_db/1", "_db", "offset/0", "offset/1", "high_freq"];
    let recipe = whole_recipe();
    let mut count = 0;
    numbers(&recipe, "", &mut |path, value| {
        let mut wrong = vec![toml::Value::Integer(i64::MIN)];
        if !negative.iter().any(|end| path.ends_with(end)) {
            wrong.push(toml::Value::Integer(-1));
        }
        if value.is_float() {
            wrong =
                wrong.into_iter().map(|v| toml::Value::Float(v.as_integer().expect("one") as f64)).collect();
            wrong.extend([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30].map(toml::Value::Float));
        }
        for number in wrong {
            let mut changed = recipe.clone();
            set(&mut changed, path, number.clone());
            let text = toml::to_string(&changed).expect("it can be written");
            assert!(Recipe::parse(&text).is_err(), "{path} = {number} is taken");
        }
        count += 1;
    });
    assert!(count > 100, "{count} numbers");
    for (path, number) in [
        ("/optimizer/learning_rate", 50.0),
        ("/optimizer/beta1", 1.0),
        ("/data/generated_sounds", 1.5),
        ("/data/strings/repeat_probability", 2.0),
        ("/schedule/final_share", 1.01),
        ("/network/dropout", 1.0),
        ("/augment/noise/probability", 1.1),
        ("/decoder/min_confidence", 7.0),
    ] {
        let mut changed = recipe.clone();
        set(&mut changed, path, toml::Value::Float(number));
        let text = toml::to_string(&changed).expect("it can be written");
        let error = Recipe::parse(&text).expect_err(path).to_string();
        assert!(error.contains(path.rsplit('/').next().expect("a key")), "{error}");
    }
}

fn collect(value: &toml::Value, keys: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                keys.insert(key.clone());
                collect(value, keys);
            }
        }
        toml::Value::Array(items) => items.iter().for_each(|item| collect(item, keys)),
        _ => {}
    }
}
