//! The guide to training (docs/train.md) against the program: its recipe can be read, and its tables
//! name every key that a recipe may have.

use std::collections::BTreeSet;

use hearken::train::Recipe;

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
    // What is left out of a recipe that does not have it.
    let rest = r#"
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
    let with_phones = recipe_of(&guide).replacen("[data]\n", "[data]\npronunciations = \"cmudict.txt\"\n", 1);
    let recipe = Recipe::parse(&format!("{with_phones}{rest}")).unwrap();
    let mut keys = BTreeSet::new();
    collect(&toml::Value::try_from(&recipe).unwrap(), &mut keys);
    assert!(keys.len() > 100 && keys.contains("least_confidence"), "{keys:?}");
    let tables = guide.split_once("# All keys of a recipe").expect("the reference").1;
    let named =
        |key: &str| ["`", "[", ".", "[["].iter().any(|before| tables.contains(&format!("{before}{key}")));
    let missing: Vec<_> = keys.iter().filter(|key| !named(key)).collect();
    assert!(missing.is_empty(), "docs/train.md does not name {missing:?}");
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
