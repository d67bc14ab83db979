//! The training data: recordings in memory as 16-bit samples, with their transcripts as tokens.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::loss::mmi::{LabelSequences, Transcript};
use super::recipe::{Denominator, Recipe};
use crate::corpus::Entry;
use crate::error::Result;
use crate::text::pronunciation::Pronunciations;
use crate::text::{TokenTable, normalize};
use crate::units::SAMPLE_RATE;

/// One recording in memory.
#[derive(Clone, Debug)]
pub struct Clip {
    /// The samples, shared by all clips of the same segment of audio.
    pub samples: Arc<[i16]>,
    /// Tokens for the main output; `None` if it does not learn from this clip.
    pub labels: Option<Vec<u32>>,
    /// Tokens for the auxiliary output; `None` if it does not learn from this clip.
    pub auxiliary: Option<Vec<u32>>,
    /// The pronunciations of the words, for criteria that need them.
    pub transcript: Option<Transcript>,
    /// Manifest, line and file, for messages.
    pub place: String,
}

impl Clip {
    /// The samples as floats in -1..1.
    pub fn to_f32(&self) -> Vec<f32> {
        self.samples.iter().map(|&s| f32::from(s) / 32768.0).collect()
    }
}

/// The clips of one manifest, drawn with a common weight.
#[derive(Clone, Debug)]
pub struct Source {
    /// Weight of the source; the probability of drawing from it is proportional to this.
    pub weight: f64,
    /// Indices into [`Dataset::clips`].
    pub clips: Vec<usize>,
}

/// A pool of isolated words, which are joined into strings.
#[derive(Clone, Debug, Default)]
pub struct WordPool {
    /// Weight of the pool; the probability of drawing from it is proportional to this.
    pub weight: f64,
    /// For each output word (by its index in the recipe's `words`) the clips of each speaker.
    pub words: BTreeMap<u32, Vec<Vec<usize>>>,
    /// Clips of words that are not output.
    pub others: Vec<usize>,
}

/// The data that examples are drawn from.
#[derive(Debug)]
pub struct Dataset {
    /// Sample rate of all clips, Hz.
    pub sample_rate: u32,
    /// All clips of recordings and words.
    pub clips: Vec<Clip>,
    /// The manifests of whole recordings.
    pub recordings: Vec<Source>,
    /// The pools of isolated words.
    pub pools: Vec<WordPool>,
    /// For each speaker the clips of each word, across pools.
    pub speakers: Vec<BTreeMap<u32, Vec<usize>>>,
    /// Recordings of noise, as floats in -1..1.
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

/// The reason why a transcript cannot be encoded as tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EncodeError {
    /// The dictionary does not contain this word: the recording is left out.
    NoPronunciation(String),
    /// The recipe's `words` or `characters` (named by the second field) do not contain this.
    Unknown(String, &'static str),
}

/// Encodes transcripts as tokens as the recipe specifies.
pub(super) struct TranscriptEncoder<'a> {
    recipe: &'a Recipe,
    main: TokenTable,
    dictionary: Option<&'a Pronunciations>,
    auxiliary: Option<TokenTable>,
    /// The pronunciations of the output words.
    lexicon: HashMap<String, LabelSequences>,
    /// The indices of the output words.
    numbers: HashMap<&'a str, u32>,
}

impl<'a> TranscriptEncoder<'a> {
    /// The alphabets of a recipe; `dictionary` is the one named by its `pronunciations`.
    ///
    /// # Errors
    /// When the recipe's tokens or lexicon are invalid.
    pub fn new(recipe: &'a Recipe, dictionary: Option<&'a Pronunciations>) -> Result<Self> {
        let (main, auxiliary) = (recipe.tokens()?, recipe.auxiliary_tokens()?);
        let mut lexicon: HashMap<String, LabelSequences> = HashMap::new();
        for entry in recipe.lexicon(dictionary)? {
            let id = |name: &String| main.tokens().iter().position(|token| token == name);
            let ids: Option<Vec<u32>> = entry.tokens.iter().map(|name| Some(id(name)? as u32)).collect();
            lexicon.entry(entry.word).or_default().extend(ids);
        }
        let numbers = recipe.data.words.iter().map(String::as_str).zip(0..).collect();
        Ok(Self { recipe, main, dictionary, auxiliary, lexicon, numbers })
    }

    /// The words of a transcript. Words that the dictionary contains with punctuation (`'em`) are kept as
    /// they are.
    fn words(&self, entry: &Entry) -> Vec<String> {
        let Some(dictionary) = self.dictionary else { return normalize::words(&entry.text) };
        let text = entry.text.to_lowercase();
        let as_it_stands = |word: &str| (!dictionary.get(word).is_empty()).then(|| vec![word.to_string()]);
        text.split_whitespace().flat_map(|w| as_it_stands(w).unwrap_or_else(|| normalize::words(w))).collect()
    }

    /// The tokens for the main output.
    pub fn main(&self, entry: &Entry) -> std::result::Result<Vec<u32>, EncodeError> {
        if let Some(dictionary) = self.dictionary {
            let mut phones = Vec::new();
            for word in self.words(entry) {
                let first = dictionary.get(&word).first();
                phones.extend(first.ok_or_else(|| EncodeError::NoPronunciation(word.clone()))?);
            }
            return Ok(phones);
        }
        if !self.recipe.data.characters.is_empty() {
            return self.characters(&entry.text);
        }
        let mut ids = Vec::new();
        for word in self.words(entry) {
            match self.number(&word) {
                // Token 0 is the blank.
                Some(number) => ids.push(number + 1),
                None if self.recipe.data.ignore_other_words => {}
                None => return Err(EncodeError::Unknown(word, "words")),
            }
        }
        Ok(ids)
    }

    /// The tokens of a transcript in characters, without punctuation that has no token.
    fn characters(&self, text: &str) -> std::result::Result<Vec<u32>, EncodeError> {
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
                Some(c) => return Err(EncodeError::Unknown(c.to_string(), "characters")),
            }
        }
        self.main.encode(&known).map_err(|_| EncodeError::Unknown(known, "characters"))
    }

    /// Whether a transcript contains punctuation that is not output.
    pub fn has_punctuation(&self, entry: &Entry) -> bool {
        let characters = &self.recipe.data.characters;
        let stray = |c| normalize::is_punctuation(c) && c != '\'' && !characters.contains(c);
        normalize::fold(&entry.text).chars().any(stray)
    }

    /// The index of an output word in the recipe.
    fn number(&self, word: &str) -> Option<u32> {
        self.numbers.get(word).copied()
    }

    /// The index of the output word that the entry consists of.
    pub fn word(&self, entry: &Entry) -> Option<u32> {
        match self.words(entry).as_slice() {
            [word] => self.number(word),
            _ => None,
        }
    }

    /// The pronunciations of the entry's words, in the form that the recipe's criterion needs.
    pub fn transcript(&self, entry: &Entry) -> Option<Transcript> {
        let dictionary = self.dictionary?;
        let words = self.words(entry);
        match self.recipe.loss.mmi.as_ref()?.denominator {
            Denominator::Words => self.written(&words, dictionary),
            Denominator::Phones => {
                Some(words.iter().map(|word| Some(dictionary.get(word).to_vec())).collect())
            }
        }
    }

    /// The pronunciations of the output words of a text, or a single `None` if it has none. No result if it
    /// contains both output words and others, or a word that sounds like an output word ("to").
    fn written(&self, words: &[String], dictionary: &Pronunciations) -> Option<Transcript> {
        let transcript: Transcript = words.iter().map(|word| self.lexicon.get(word).cloned()).collect();
        if transcript.iter().all(Option::is_some) {
            return Some(transcript);
        }
        let known = |phones| self.lexicon.values().any(|pronunciations| pronunciations.contains(phones));
        let alike = |word: &String| dictionary.get(word).first().is_some_and(known);
        (transcript.iter().all(Option::is_none) && !words.iter().any(alike)).then(|| vec![None])
    }

    /// Whether the entry contains any of the output words.
    pub fn has_word(&self, entry: &Entry) -> bool {
        self.words(entry).iter().any(|word| self.number(word).is_some())
    }

    /// The tokens for the auxiliary output: those of the main output, or characters without the symbols
    /// that it does not have.
    pub fn auxiliary(&self, entry: &Entry, main: Option<&Vec<u32>>) -> Option<Vec<u32>> {
        let table = self.auxiliary.as_ref()?;
        if self.recipe.auxiliary.as_ref().is_some_and(|a| a.characters.is_empty()) {
            return main.cloned();
        }
        let known = |c: &char| c.is_whitespace() || table.encode(&c.to_string()).is_ok();
        let text: String = normalize::fold(&entry.text).chars().filter(known).collect();
        table.encode(&text).ok()
    }

    /// The reference transcript of an utterance for scoring, and the number of its words that the model
    /// should output but cannot.
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
