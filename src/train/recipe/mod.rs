//! The recipe of a training run in TOML: all settings that determine what it learns.

mod ranges;
mod resolve;
mod schedule;
mod settings;
mod tables;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Stage, io};
use crate::text::normalize;

pub use schedule::*;
pub(super) use settings::differences;
use tables::wrong;
pub use tables::*;

impl Recipe {
    /// Parses a recipe. Its words and characters are folded like transcripts: lower case, in Unicode's
    /// composed form.
    ///
    /// # Errors
    /// Names the line of a syntax error; suggests the most similar key for an unknown one; names the key of
    /// a value out of range.
    pub fn parse(text: &str) -> Result<Self> {
        let mut recipe: Self = toml::from_str(text).map_err(|e| toml_error(text, &e))?;
        recipe.fold()?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// Reads a recipe file.
    ///
    /// # Errors
    /// As [`Recipe::parse`], with the file's name.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| io(Stage::Train, path, e))?;
        Self::parse(&text).map_err(|e| e.in_file(path))
    }

    /// Encodes the recipe as TOML with all defaults filled in; [`Recipe::parse`] is the inverse.
    ///
    /// # Errors
    /// When a setting cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::new(Stage::Train, e.to_string()).at("the recipe"))
    }

    fn fold(&mut self) -> Result<()> {
        for word in &mut self.data.words {
            *word = one_word(word, "data: words")?;
        }
        let variants = std::mem::take(&mut self.data.variants);
        for (word, pronunciations) in variants {
            let word = one_word(&word, "data.variants")?;
            if !self.data.words.contains(&word) {
                return Err(wrong("data.variants", format!("`{word}` is not among `words`")));
            }
            self.data.variants.entry(word).or_default().extend(pronunciations);
        }
        self.data.characters = normalize::fold(&self.data.characters);
        if let Some(auxiliary) = &mut self.auxiliary {
            auxiliary.characters = normalize::fold(&auxiliary.characters);
        }
        Ok(())
    }

    fn validate(&self) -> Result<()> {
        self.tokens()?;
        self.network_config()?;
        ranges::check(self)?;
        if let Some(strings) = &self.data.strings {
            if strings.words[0] == 0 || strings.words[0] > strings.words[1] || strings.words[1] > 1000 {
                return Err(wrong("data.strings: words", "expected [minimum, maximum], from 1 to 1000"));
            }
            if self.data.words.is_empty() {
                return Err(wrong("data.strings", "strings are composed of `data.words`, which is missing"));
            }
        }
        let needs_score = [
            ("schedule.early_stopping", self.schedule.early_stopping.is_some()),
            ("schedule.plateau", self.schedule.plateau.is_some()),
            ("run: average_best", self.run.average_best > 0),
        ];
        if let Some((place, _)) = needs_score.into_iter().find(|(_, is_there)| *is_there)
            && !self.data.dev.iter().any(|dev| dev.weight > 0.0)
        {
            return Err(wrong(place, "it needs a score; expected a `[[data.dev]]` with a `weight` above 0"));
        }
        self.frozen_layers()?;
        if self.loss.mmi.is_some() && self.schedule.bptt_seconds > 0.0 {
            let problem = "not together with `loss.mmi`, whose memory grows with the length of a recording";
            return Err(wrong("schedule: bptt_seconds", problem));
        }
        if self.loss.mmi.is_some() && self.data.pronunciations.is_empty() {
            return Err(wrong("loss.mmi", "it needs pronunciations; expected `data: pronunciations`"));
        }
        Ok(())
    }

    /// The path of a manifest in the data folder.
    pub fn manifest(data: &Path, name: &str) -> PathBuf {
        data.join(name)
    }
}

/// Folds a word of a recipe like the words of transcripts.
fn one_word(word: &str, place: &str) -> Result<String> {
    match <[String; 1]>::try_from(normalize::words(word)) {
        Ok([word]) => Ok(word),
        Err(words) => {
            let problem = format!("expected single words, found `{word}`, which consists of {}", words.len());
            Err(wrong(place, problem).hint("list each word separately, without punctuation"))
        }
    }
}

/// Converts a TOML error: adds the line, and for an unknown key the most similar known one.
fn toml_error(text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().to_string();
    let mut out = Error::new(Stage::Train, message.clone());
    if let Some(span) = error.span() {
        let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
        out = out.at(format!("line {line}"));
    }
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if message.starts_with("unknown field")
        && let Some((key, known)) = quoted.split_first()
        && let Some(nearest) = known.iter().min_by_key(|k| distance(key, k))
    {
        out = out.hint(format!("did you mean `{nearest}`?"));
    }
    out
}

/// The edit distance of two keys.
fn distance(a: &str, b: &str) -> u64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    crate::eval::count_edits(&a, &b).errors()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CellKind, NetworkConfig};

    const SMALL: &str = r#"
[data]
words = ["yes", "no"]
[network]
cells = ["gru"]
hidden = [8, 8]
input_size = 8
[schedule]
steps = 10
[run]
batch_size = 2
eval_interval = 10
checkpoint_interval = 10
"#;

    #[test]
    fn a_small_recipe_has_defaults() {
        let recipe = Recipe::parse(SMALL).expect("a good recipe");
        assert_eq!(recipe.tokens().expect("words").tokens(), ["<blk>", "▁yes", "▁no"]);
        let config = recipe.network_config().expect("a good network");
        assert_eq!((config.layers.len(), config.num_tokens, config.subsampling), (2, 3, 4));
        let mixed =
            Recipe::parse(&SMALL.replace("[\"gru\"]", "[\"mingru\", \"gru\"]")).expect("a good recipe");
        let cells =
            mixed.network_config().expect("a good network").layers.into_iter().map(|layer| layer.cell);
        assert!(cells.eq([CellKind::MinGru, CellKind::Gru]));
        let conv = SMALL.replace("[\"gru\"]", "[\"conv\", \"gru\"]\nkernel_size = 9");
        let layers = Recipe::parse(&conv).expect("a good recipe").network_config().expect("good").layers;
        assert_eq!([layers[0].kernel_size, layers[1].kernel_size], [9, 0]);
        let sizes = "[\"attention\"]\nnum_heads = 2\nleft_context = 9";
        let recipe = Recipe::parse(&SMALL.replace("[\"gru\"]", sizes)).expect("a good recipe");
        let layer = recipe.network_config().expect("good").layers[1];
        assert_eq!([layer.num_heads, layer.left_context, layer.dim_feedforward], [2, 9, 32]);
        let again = NetworkTable::from_config(&recipe.network_config().expect("good"));
        assert_eq!((again.num_heads, again.left_context, again.dim_feedforward), (2, 9, Some(32)));
        let sizes = "[\"tdnnf\"]\nbottleneck_dim = 3\ntime_stride = 2";
        let recipe = Recipe::parse(&SMALL.replace("[\"gru\"]", sizes)).expect("a good recipe");
        let layer = recipe.network_config().expect("good").layers[0];
        assert_eq!([layer.bottleneck_dim, layer.time_stride], [3, 2]);
    }

    #[test]
    fn layers_can_have_sizes_of_their_own() {
        let one_by_one = |layers: &str| {
            let text = SMALL.replace("cells = [\"gru\"]\nhidden = [8, 8]\n", "");
            Recipe::parse(&text.replace("[schedule]", &format!("{layers}\n[schedule]")))
        };
        let layers = "[[network.layers]]\ncell = \"conv\"\nhidden = 8\nkernel_size = 3\n[[network.layers]]\n\
                      cell = \"conv\"\nhidden = 8\n[[network.layers]]\ncell = \"rglru\"\nhidden = 6";
        let recipe = one_by_one(layers).expect("a good recipe");
        let config = recipe.network_config().expect("good");
        assert_eq!(config.layers.iter().map(|l| l.kernel_size).collect::<Vec<_>>(), [3, 5, 0]);
        let again = Recipe::parse(&recipe.to_toml().expect("written")).expect("read");
        assert_eq!(again, recipe);
        // Written one by one where sizes differ, and in the short form elsewhere.
        let table = NetworkTable::from_config(&config);
        assert_eq!((table.layers.len(), table.hidden.len()), (3, 0));
        let shared = NetworkConfig { layers: config.layers[1..].to_vec(), ..config };
        assert_eq!(NetworkTable::from_config(&shared).hidden, [8, 6]);
        for (bad, problem) in [
            ("[[network.layers]]\ncell = \"gru\"\nhidden = 8\nkernel_size = 3", "gru has no kernel_size"),
            ("[[network.layers]]\ncell = \"conv\"\nhidden = 8\nkernel_size = 1", "from 2"),
            ("[[network.layers]]\ncell = \"gru\"\nhidden = 0", "sizes from 1"),
        ] {
            let error = one_by_one(bad).expect_err(bad).to_string();
            assert!(error.contains(problem), "{error}");
        }
        let both = SMALL.replace("[schedule]", &format!("{layers}\n[schedule]"));
        assert!(Recipe::parse(&both).expect_err("both forms").to_string().contains("either"));
    }

    #[test]
    fn an_unknown_key_comes_with_the_nearest() {
        let text = SMALL.replace("input_size", "input_sise");
        let error = Recipe::parse(&text).expect_err("a misspelled key").to_string();
        assert!(error.contains("input_sise") && error.contains("did you mean `input_size`"), "{error}");
        assert!(error.contains("line 7"), "{error}");
    }

    #[test]
    fn invalid_criteria_are_named() {
        let phones = SMALL.replace("[data]\n", "[data]\npronunciations = \"words.dict\"\n");
        for (text, more, place) in [
            (SMALL, "[loss.mmi]\nweight = 1.0", "data: pronunciations"),
            (&phones, "[loss.mmi]\nweight = 1.0\norder = 1", "order"),
            (&phones, "[loss.mmi]\nweight = 1.0\nleak = 1.0", "leak"),
            (SMALL, "[loss]\nconsistency_weight = -0.1", "consistency_weight"),
            (SMALL, "[loss]\nctc_weight = nan", "ctc_weight"),
        ] {
            let error = Recipe::parse(&format!("{text}{more}\n")).expect_err(more).to_string();
            assert!(error.contains(place), "{more}: {error}");
        }
        assert!(Recipe::parse(&format!("{phones}[loss.mmi]\nweight = 1.0\n")).is_ok());
    }

    #[test]
    fn an_auxiliary_output_without_characters_has_the_tokens_of_the_main_one() {
        let tokens = |more: &str| {
            let recipe = Recipe::parse(&format!("{SMALL}[auxiliary]\nlayer = 0\nweight = 0.3\n{more}"));
            recipe
                .expect("a good recipe")
                .auxiliary_tokens()
                .expect("good tokens")
                .expect("an auxiliary output")
        };
        assert_eq!(tokens("").tokens(), ["<blk>", "▁yes", "▁no"]);
        assert_eq!(tokens("characters = \"ab\"").tokens(), ["<blk>", "▁", "a", "b"]);
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (from, to, place) in [
            ("batch_size = 2", "batch_size = 0", "batch_size"),
            ("hidden = [8, 8]", "hidden = []", "network"),
            ("[\"yes\", \"no\"]", "[\"yes\", \"yes\"]", "yes"),
            ("steps = 10", "steps = 0", "steps"),
            ("[\"gru\"]", "[\"conv\"]\nkernel_size = 1", "kernel_size"),
            ("[\"gru\"]", "[\"attention\"]\nnum_heads = 3", "num_heads"),
            ("[\"gru\"]", "[\"attention\"]\nleft_context = 0", "left_context"),
            ("[\"gru\"]", "[\"tdnnf\"]\nbottleneck_dim = 0", "bottleneck_dim"),
            ("[\"gru\"]", "[\"tdnnf\"]\ntime_stride = 0", "time_stride"),
        ] {
            let error = Recipe::parse(&SMALL.replace(from, to)).expect_err(to).to_string();
            assert!(error.contains(place), "{to}: {error}");
        }
    }
}
