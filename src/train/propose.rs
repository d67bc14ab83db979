//! A proposal of a recipe by the amount of data.

use std::collections::BTreeMap;

use super::recipe::{NetworkTable, Recipe};
use crate::corpus::Entry;
use crate::error::{Error, Result, Stage};
use crate::model::NetworkConfig;
use crate::text::normalize;
use crate::text::pronunciation::{Pronouncer, Pronunciation, Source};

/// Maximum number of words that a model outputs, the most frequent ones; further ones count as other speech.
const MAX_WORDS: usize = 5000;
/// The share of the words of a transcript in the English dictionary from which it is English.
const ENGLISH_SHARE: f64 = 0.6;
/// Without a model of phones: the number of recordings of each word from which words are better tokens than letters,
/// and the number of words up to which they are.
const ENOUGH_FOR_WORDS: usize = 20;
const FEW_WORDS: usize = 100;

/// The model of English phones that a training can start from.
#[derive(Clone, Copy, Debug)]
pub struct PhoneModel<'a> {
    /// Its architecture.
    pub network: &'a NetworkConfig,
    /// The pronunciations of English.
    pub pronouncer: &'a Pronouncer,
}

/// The data that a recipe is proposed for.
#[derive(Clone, Copy, Debug)]
pub struct Corpus<'a> {
    /// The recordings for training.
    pub train: &'a [Entry],
    /// Their length, seconds.
    pub seconds: f64,
    /// Name of their manifest in the data folder.
    pub train_manifest: &'a str,
    /// Name of the manifest of the dev set.
    pub dev_manifest: Option<&'a str>,
    /// Name of the file of pronunciations that will be written if the proposal has one.
    pub dictionary: &'a str,
    /// Whether the language is English; `None`: by the words.
    pub is_english: Option<bool>,
}

/// A proposed recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The recipe, with remarks.
    pub recipe: String,
    /// The file of pronunciations.
    pub dictionary: Option<String>,
    /// Whether the training starts from the model of English phones.
    pub from_phones: bool,
    /// What was chosen and why, for the user.
    pub reasons: Vec<String>,
}

/// The words of the transcripts.
struct Words {
    /// Each word with its number of occurrences, the most frequent first.
    counts: Vec<(String, usize)>,
    /// Whether nearly all recordings are of a single word.
    are_single: bool,
}

/// Proposes a recipe: with transcripts in English, `words` with pronunciations and a short training from the model of
/// phones; in other languages characters or, for few words with many recordings, words.
///
/// # Errors
/// When there are no words, or a word has no letters of a known alphabet.
pub fn propose(corpus: &Corpus<'_>, phones: Option<PhoneModel<'_>>) -> Result<Proposal> {
    let words = Words::of(corpus.train);
    if words.counts.is_empty() {
        return Err(Error::new(Stage::Corpus, "the transcripts have no words to propose a recipe for"));
    }
    let english = |phones: &PhoneModel<'_>| match corpus.is_english {
        Some(is_english) => is_english,
        None => words.share_in(phones.pronouncer) >= ENGLISH_SHARE,
    };
    let proposal = match phones.filter(english) {
        Some(phones) => from_phones(corpus, words, phones)?,
        None => from_nothing(corpus, &words),
    };
    // A proposal that cannot be read is a fault of the program, better found here than by the user.
    Recipe::parse(&proposal.recipe).map_err(|e| e.at("the proposed recipe"))?;
    Ok(proposal)
}

impl Words {
    fn of(entries: &[Entry]) -> Self {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut single = 0;
        for entry in entries {
            let words = normalize::words(&entry.text);
            single += usize::from(words.len() == 1);
            words.into_iter().for_each(|word| *counts.entry(word).or_default() += 1);
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Self { counts, are_single: single * 10 >= entries.len() * 9 }
    }

    /// The share of the spoken words that a dictionary has.
    fn share_in(&self, pronouncer: &Pronouncer) -> f64 {
        let is_known = |word: &str| !pronouncer.dictionary().get(word).is_empty();
        let known: usize =
            self.counts.iter().filter(|(word, _)| is_known(word)).map(|(_, count)| count).sum();
        known as f64 / self.counts.iter().map(|(_, count)| count).sum::<usize>().max(1) as f64
    }
}

/// `words` with pronunciations, from the model of phones.
fn from_phones(corpus: &Corpus<'_>, words: Words, phones: PhoneModel<'_>) -> Result<Proposal> {
    let mut reasons = Vec::new();
    let (mut chosen, mut lines, mut guessed) = (Vec::new(), String::new(), Vec::new());
    let mut without = Vec::new();
    for (word, _) in words.counts.iter().take(MAX_WORDS) {
        let Ok(ways) = phones.pronouncer.pronounce(word) else {
            without.push(word.as_str());
            continue;
        };
        if ways.iter().any(|way| way.source == Source::Guessed) {
            guessed.push(word.as_str());
        }
        ways.iter().for_each(|way| lines += &line(word, way));
        chosen.push(word.as_str());
    }
    let (count, recordings) = (chosen.len(), corpus.train.len());
    reasons
        .push(format!("{count} words of English: phones, with the pronunciations in {}", corpus.dictionary));
    if !guessed.is_empty() {
        reasons.push(format!("guessed pronunciations, to be checked: {}", some(&guessed)));
    }
    if !without.is_empty() {
        reasons.push(format!("words without a pronunciation are not output: {}", some(&without)));
    }
    if words.counts.len() > MAX_WORDS {
        let more = words.counts.len() - MAX_WORDS;
        reasons
            .push(format!("{more} rare words are not output; `hearken transcribe --lm` outputs any words"));
    }
    // 60 updates for 40 recordings; with more the network can learn more before it only memorizes them.
    let steps = (60.0 * (recordings.max(40) as f64 / 40.0).sqrt() / 10.0).round() as usize * 10;
    let steps = steps.min(3000);
    reasons
        .push(format!("{recordings} recordings: {steps} updates from the embedded model of English phones"));
    let network = NetworkTable { dropout: 0.1, ..NetworkTable::from_config(phones.network) }.to_toml()?;
    let data = Data {
        words: Some(&chosen),
        characters: "",
        has_dictionary: true,
        others: chosen.len() < words.counts.len(),
    };
    let training = Training { steps, warmup: steps / 6, rate: "3.0e-4", ema: "0.9", batch: 16 };
    let recipe = recipe(corpus, &data, words.are_single, &network, &training) + DECODER;
    Ok(Proposal { recipe, dictionary: Some(lines), from_phones: true, reasons })
}

/// A line of the dictionary.
fn line(word: &str, way: &Pronunciation) -> String {
    match way.source {
        Source::Guessed => format!("{word}  {}  # guessed\n", way.phones_text()),
        _ => format!("{word}  {}\n", way.phones_text()),
    }
}

/// The first of a list of words.
fn some(words: &[&str]) -> String {
    const SHOWN: usize = 10;
    let shown = words.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if words.len() > SHOWN { format!("{shown} and {} more", words.len() - SHOWN) } else { shown }
}

/// Words or characters, from random weights.
fn from_nothing(corpus: &Corpus<'_>, words: &Words) -> Proposal {
    let hours = corpus.seconds / 3600.0;
    let fewest = words.counts.iter().map(|(_, count)| *count).min().unwrap_or(0);
    let is_few = words.counts.len() <= FEW_WORDS && fewest >= ENOUGH_FOR_WORDS;
    let mut reasons = Vec::new();
    let list: Vec<&str> = words.counts.iter().map(|(word, _)| word.as_str()).collect();
    let mut characters: Vec<char> = list.iter().flat_map(|word| word.chars()).collect();
    characters.sort_unstable();
    characters.dedup();
    let characters: String = characters.into_iter().collect();
    let data = match is_few {
        true => Data { words: Some(&list), characters: "", has_dictionary: false, others: false },
        false => Data { words: None, characters: &characters, has_dictionary: false, others: false },
    };
    reasons.push(match is_few {
        true => format!("{} words with {fewest} or more recordings each: a token for each word", list.len()),
        false => format!("{} different words: {} characters", list.len(), characters.chars().count()),
    });
    let (hidden, layers, steps) = match hours {
        h if h < 1.0 => (96, 2, 2000),
        h if h < 5.0 => (192, 3, 6000),
        h if h < 30.0 => (320, 4, 15_000),
        _ => (512, 5, 40_000),
    };
    reasons.push(format!("{hours:.2} h: {layers} layers of {hidden}, {steps} updates from random weights"));
    if hours < 1.0 {
        reasons.push(
            "this is little data without a model to start from: expect many errors for unknown speakers"
                .into(),
        );
    }
    let widths = vec![hidden.to_string(); layers].join(", ");
    let network = format!(
        "[network]\ncells = [\"gru\"]\nhidden = [{widths}]\ninput_size = {hidden}\nresidual = true\ndropout = 0.1\n"
    );
    let training = Training { steps, warmup: 300, rate: "2.0e-3", ema: "0.999", batch: 32 };
    let recipe = recipe(corpus, &data, words.are_single && is_few, &network, &training);
    Proposal { recipe, dictionary: None, from_phones: false, reasons }
}

/// What a model outputs.
struct Data<'a> {
    /// `None` for characters.
    words: Option<&'a [&'a str]>,
    characters: &'a str,
    has_dictionary: bool,
    /// Whether transcripts have other words.
    others: bool,
}

struct Training {
    steps: usize,
    warmup: usize,
    rate: &'static str,
    ema: &'static str,
    batch: usize,
}

/// The recipe as TOML. With `strings`, single words are also joined.
fn recipe(corpus: &Corpus<'_>, data: &Data<'_>, strings: bool, network: &str, training: &Training) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut text = String::from(
        "# Proposed by `hearken data import --recipe`; docs/train.md explains every key.\n\n[data]\n",
    );
    match data.words {
        Some(words) => {
            let list: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            text += &format!("words = [{}]\n", list.join(", "));
        }
        None => text += &format!("characters = {}\n", quoted(data.characters)),
    }
    if data.has_dictionary {
        text += &format!("pronunciations = {}\n", quoted(corpus.dictionary));
    }
    if data.others {
        text += "ignore_other_words = true\n";
    }
    text += "# Examples of silence and of generated sounds. Add `noise`, manifests of recordings of rooms and streets.\n";
    text += "silence_weight = 0.1\ngenerated_sounds = 0.5\n\n";
    let manifest = quoted(corpus.train_manifest);
    let share = if strings { "0.5" } else { "1.0" };
    text += &format!("[[data.recordings]]\nmanifest = {manifest}\nweight = {share}\n\n");
    if strings {
        text += "# Single words, also joined to strings of up to three.\n[data.strings]\nweight = 0.5\nwords = [1, 3]\n";
        text += &format!(
            "same_speaker_probability = 0.5\npools = [{{ manifest = {manifest}, weight = 1.0 }}]\n\n"
        );
    }
    if let Some(dev) = corpus.dev_manifest {
        text += &format!("[[data.dev]]\nmanifest = {}\nweight = 1.0\n\n", quoted(dev));
    }
    text += network;
    text += AUGMENTATION;
    let Training { steps, warmup, rate, ema, batch } = training;
    let interval = (steps / 4).max(1);
    text += &format!("\n[optimizer]\nlearning_rate = {rate}\nema_decay = {ema}\n");
    text += &format!("\n[schedule]\nsteps = {steps}\nwarmup_steps = {warmup}\nfinal_share = 0.02\n");
    text += &format!(
        "\n[run]\nbatch_size = {batch}\neval_interval = {interval}\ncheckpoint_interval = {interval}\n"
    );
    text + &format!("log_interval = {}\n", (steps / 40).clamp(5, 50))
}

/// Effects that make few speakers and one microphone go further.
const AUGMENTATION: &str = "
[augment]
speed = { probability = 0.5, factor = [0.85, 1.2] }
color = { probability = 0.2 }
reverb = { probability = 0.3, rt60_s = [0.1, 0.6] }
equalizer = { probability = 0.4 }
gain = { probability = 0.6, gain_db = [-20.0, 10.0] }

[specaugment]
time_masks = 1
time_mask_frames = 8
time_mask_share = 0.08
frequency_masks = 2
frequency_mask_bins = 12
";

/// Costs of other speech that fit a network that was trained on the words for a short time only.
const DECODER: &str = "
# A lower cost of each label of other speech: fewer words are recognized in other speech, and more are missed.
[decoder]
filler_entry_cost = 4.0
filler_label_cost = 0.5
";

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(texts: &[&str], each: usize) -> Vec<Entry> {
        let entry = |text: &&str| Entry {
            audio: "a.wav".into(),
            text: text.to_string(),
            duration: None,
            offset: None,
            speaker: None,
            line: 0,
            extra: Default::default(),
        };
        texts.iter().flat_map(|text| vec![entry(text); each]).collect()
    }

    fn of(entries: &[Entry], seconds: f64) -> Corpus<'_> {
        Corpus {
            train: entries,
            seconds,
            train_manifest: "train.jsonl",
            dev_manifest: Some("dev.jsonl"),
            dictionary: "words.dict",
            is_english: None,
        }
    }

    #[test]
    fn without_phones_few_words_are_tokens_and_many_are_letters() {
        let few = corpus(&["ja", "nein"], ENOUGH_FOR_WORDS);
        let proposal = propose(&of(&few, 40.0), None).expect("a recipe");
        let recipe = Recipe::parse(&proposal.recipe).expect("valid");
        assert_eq!(recipe.data.words, ["ja", "nein"]);
        assert!(recipe.data.strings.is_some() && !proposal.from_phones && proposal.dictionary.is_none());

        let rare = corpus(&["ja", "nein, größer"], ENOUGH_FOR_WORDS - 1);
        let recipe = Recipe::parse(&propose(&of(&rare, 1e5), None).expect("a recipe").recipe).expect("valid");
        assert_eq!(recipe.data.characters, "aegijnrßö");
        assert_eq!((recipe.network.hidden.len(), recipe.data.dev.len()), (4, 1));
        assert!(propose(&of(&corpus(&["…"], 3), 3.0), None).is_err());
    }

    #[test]
    #[cfg(feature = "english")]
    fn english_starts_from_phones() {
        use crate::recognizer::Embedded;
        let (network, _) =
            crate::onnx::load::read(Embedded::English.model().expect("embedded")).expect("good");
        let pronouncer = Pronouncer::english().expect("embedded");
        let phones = PhoneModel { network: &network.config, pronouncer: &pronouncer };
        let entries = corpus(&["turn the hrönk on", "turn the lights off"], 20);
        let proposal = propose(&of(&entries, 60.0), Some(phones)).expect("a recipe");
        let recipe = Recipe::parse(&proposal.recipe).expect("valid");
        assert!(proposal.from_phones && recipe.data.strings.is_none());
        assert_eq!((recipe.data.pronunciations.as_str(), recipe.schedule.steps), ("words.dict", 60));
        assert_eq!(recipe.network_config().expect("valid"), network.config);
        let dictionary =
            crate::text::pronunciation::Pronunciations::parse(&proposal.dictionary.expect("one"));
        let dictionary = dictionary.expect("good lines");
        assert!(recipe.data.words.iter().all(|word| !dictionary.get(word).is_empty()));
        let spanish = corpus(&["arriba", "abajo", "izquierda", "derecha"], 20);
        assert!(!propose(&of(&spanish, 60.0), Some(phones)).expect("a recipe").from_phones);
        let forced = Corpus { is_english: Some(true), ..of(&spanish, 60.0) };
        assert!(propose(&forced, Some(phones)).expect("a recipe").from_phones);
        let german = Corpus { is_english: Some(false), ..of(&entries, 60.0) };
        assert!(!propose(&german, Some(phones)).expect("a recipe").from_phones);
    }
}
