//! What examples are drawn from: recordings in memory as 16-bit samples, with their transcripts as
//! tokens.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::loss::mmi::{Said, Ways};
use super::recipe::{Denominator, Recipe};
use crate::corpus::Entry;
use crate::error::Result;
use crate::text::pronunciation::Pronunciations;
use crate::text::{TokenTable, normalize};
use crate::units::SAMPLE_RATE;

/// One recording in memory.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Shared by all clips of the same stretch of audio.
    pub samples: Arc<[i16]>,
    /// Tokens of the main output; `None` where it does not learn from this.
    pub labels: Option<Vec<u32>>,
    /// Tokens of the auxiliary output.
    pub auxiliary: Option<Vec<u32>>,
    /// How the words can be pronounced, for the criteria that want to know it.
    pub said: Option<Said>,
}

impl Clip {
    /// The samples in -1..1.
    pub fn to_f32(&self) -> Vec<f32> {
        self.samples.iter().map(|&s| f32::from(s) / 32768.0).collect()
    }
}

/// Clips of one manifest that are drawn with one weight.
#[derive(Clone, Debug)]
pub struct Source {
    pub weight: f64,
    pub clips: Vec<usize>,
}

/// Isolated words of one pool: by word, by speaker, the clips.
#[derive(Clone, Debug, Default)]
pub struct WordPool {
    pub weight: f64,
    /// For each written word (its number in the recipe) the clips, by speaker.
    pub words: BTreeMap<u32, Vec<Vec<usize>>>,
    /// Clips of words that are not written.
    pub others: Vec<usize>,
}

/// Everything that examples are drawn from.
#[derive(Debug)]
pub struct Dataset {
    /// Of all samples, Hz.
    pub sample_rate: u32,
    pub clips: Vec<Clip>,
    pub recordings: Vec<Source>,
    pub pools: Vec<WordPool>,
    /// For each speaker the clips of each word, across pools.
    pub speakers: Vec<BTreeMap<u32, Vec<usize>>>,
    pub noises: Arc<Vec<Vec<f32>>>,
}

impl Default for Dataset {
    fn default() -> Self {
        Self {
            sample_rate: SAMPLE_RATE,
            clips: Vec::new(),
            recordings: Vec::new(),
            pools: Vec::new(),
            speakers: Vec::new(),
            noises: Arc::default(),
        }
    }
}

/// Why a transcript cannot be turned into tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unwritable {
    /// The dictionary does not have this word: the recording is left out.
    Unpronounced(String),
    /// The recipe's `words` or `characters` (the field's name) do not have this.
    Unknown(String, &'static str),
}

/// Turns transcripts into tokens as the recipe asks.
pub(super) struct Alphabets<'a> {
    recipe: &'a Recipe,
    main: TokenTable,
    dictionary: Option<&'a Pronunciations>,
    auxiliary: Option<TokenTable>,
    /// How the written words are said.
    lexicon: HashMap<String, Ways>,
    /// The written words, by which they are numbered.
    numbers: HashMap<&'a str, u32>,
}

impl<'a> Alphabets<'a> {
    /// The alphabets of a recipe; `dictionary` is that of its `pronunciations`.
    ///
    /// # Errors
    /// When the recipe's tokens or lexicon are impossible.
    pub fn new(recipe: &'a Recipe, dictionary: Option<&'a Pronunciations>) -> Result<Self> {
        let (main, auxiliary) = (recipe.tokens()?, recipe.auxiliary_tokens()?);
        let mut lexicon: HashMap<String, Ways> = HashMap::new();
        for entry in recipe.lexicon(dictionary)? {
            let id = |name: &String| main.tokens().iter().position(|token| token == name);
            let ids: Option<Vec<u32>> = entry.tokens.iter().map(|name| Some(id(name)? as u32)).collect();
            lexicon.entry(entry.word).or_default().extend(ids);
        }
        let numbers = recipe.data.words.iter().map(String::as_str).zip(0..).collect();
        Ok(Self { recipe, main, dictionary, auxiliary, lexicon, numbers })
    }

    /// The words of a transcript. A dictionary may have words with punctuation (`'em`), which are then
    /// taken as they stand.
    fn words(&self, entry: &Entry) -> Vec<String> {
        let Some(dictionary) = self.dictionary else { return normalize::words(&entry.text) };
        let text = entry.text.to_lowercase();
        let as_it_stands = |word: &str| (!dictionary.of(word).is_empty()).then(|| vec![word.to_string()]);
        text.split_whitespace().flat_map(|w| as_it_stands(w).unwrap_or_else(|| normalize::words(w))).collect()
    }

    /// Tokens of the main output.
    pub fn main(&self, entry: &Entry) -> std::result::Result<Vec<u32>, Unwritable> {
        if let Some(dictionary) = self.dictionary {
            let mut phones = Vec::new();
            for word in self.words(entry) {
                let first = dictionary.of(&word).first();
                phones.extend(first.ok_or_else(|| Unwritable::Unpronounced(word.clone()))?);
            }
            return Ok(phones);
        }
        if !self.recipe.data.characters.is_empty() {
            return self.characters(&entry.text);
        }
        let mut ids = Vec::new();
        for word in self.words(entry) {
            match self.number(&word) {
                // The blank comes first.
                Some(number) => ids.push(number + 1),
                None if self.recipe.data.ignore_other_words => {}
                None => return Err(Unwritable::Unknown(word, "words")),
            }
        }
        Ok(ids)
    }

    /// The tokens of a transcript in characters; punctuation that is none of them is left out.
    fn characters(&self, text: &str) -> std::result::Result<Vec<u32>, Unwritable> {
        let mut known = String::new();
        for word in normalize::fold(text).split_whitespace() {
            let mut written = String::from(" ");
            let mut unknown = None;
            for c in word.chars() {
                if self.recipe.data.characters.contains(c) {
                    written.push(c);
                } else if normalize::parts_words(c) {
                    written.push(' ');
                } else if !normalize::is_punctuation(c) {
                    unknown = unknown.or(Some(c));
                }
            }
            match unknown {
                None => known.push_str(&written),
                Some(_) if self.recipe.data.ignore_other_words => {}
                Some(c) => return Err(Unwritable::Unknown(c.to_string(), "characters")),
            }
        }
        self.main.encode(&known).map_err(|_| Unwritable::Unknown(known, "characters"))
    }

    /// Whether a transcript has punctuation that is not written.
    pub fn has_punctuation(&self, entry: &Entry) -> bool {
        let characters = &self.recipe.data.characters;
        let stray = |c| normalize::is_punctuation(c) && c != '\'' && !characters.contains(c);
        normalize::fold(&entry.text).chars().any(stray)
    }

    /// The number of a written word in the recipe.
    fn number(&self, word: &str) -> Option<u32> {
        self.numbers.get(word).copied()
    }

    /// The number of the written word that the entry consists of.
    pub fn word(&self, entry: &Entry) -> Option<u32> {
        match self.words(entry).as_slice() {
            [word] => self.number(word),
            _ => None,
        }
    }

    /// How the words of the entry can be pronounced, as the recipe's criterion has it.
    pub fn said(&self, entry: &Entry) -> Option<Said> {
        let dictionary = self.dictionary?;
        let words = self.words(entry);
        match self.recipe.loss.mmi.as_ref()?.denominator {
            Denominator::Words => self.written(&words, dictionary),
            Denominator::Phones => {
                Some(words.iter().map(|word| Some(dictionary.of(word).to_vec())).collect())
            }
        }
    }

    /// The written words of a text, and one `None` where there are none. Nothing where both stand
    /// together, or where another word sounds like a written one ("to").
    fn written(&self, words: &[String], dictionary: &Pronunciations) -> Option<Said> {
        let said: Said = words.iter().map(|word| self.lexicon.get(word).cloned()).collect();
        if said.iter().all(Option::is_some) {
            return Some(said);
        }
        let known = |phones| self.lexicon.values().any(|ways| ways.contains(phones));
        let alike = |word: &String| dictionary.of(word).first().is_some_and(known);
        (said.iter().all(Option::is_none) && !words.iter().any(alike)).then(|| vec![None])
    }

    /// Whether any of the written words is in the entry.
    pub fn has_word(&self, entry: &Entry) -> bool {
        self.words(entry).iter().any(|word| self.number(word).is_some())
    }

    /// Tokens of the auxiliary output: those of the main one, or characters, without the symbols that it
    /// does not know.
    pub fn auxiliary(&self, entry: &Entry, main: Option<&Vec<u32>>) -> Option<Vec<u32>> {
        let table = self.auxiliary.as_ref()?;
        if self.recipe.auxiliary.as_ref().is_some_and(|a| a.characters.is_empty()) {
            return main.cloned();
        }
        let known = |c: &char| c.is_whitespace() || table.encode(&c.to_string()).is_ok();
        let text: String = normalize::fold(&entry.text).chars().filter(known).collect();
        table.encode(&text).ok()
    }

    /// What is to be written of an utterance that is scored, and how many of its words the model
    /// cannot write though it should.
    pub fn reference(&self, entry: &Entry) -> (String, u64) {
        let data = &self.recipe.data;
        let words = normalize::words(&entry.text);
        if data.words.is_empty() {
            let written = |word: &String| {
                !data.ignore_other_words || self.characters(word).is_ok_and(|ids| !ids.is_empty())
            };
            return (words.into_iter().filter(written).collect::<Vec<_>>().join(" "), 0);
        }
        let unknown = words.iter().filter(|word| self.number(word).is_none()).count() as u64;
        if data.pronunciations.is_empty() && !data.ignore_other_words {
            return (words.join(" "), unknown);
        }
        let known = words.into_iter().filter(|word| self.number(word).is_some());
        (known.collect::<Vec<_>>().join(" "), 0)
    }
}
