//! Pronunciations of any word, from the most reliable source that has one.

use std::sync::{Arc, OnceLock};

use super::compact::CompactDictionary;
use super::dictionary::Pronunciations;
use super::english;
use super::g2p::{G2p, GuessOptions};
use super::phones::{ARPABET, phone_token};
use crate::error::{Error, Result, Stage};
use crate::text::numbers;

/// The source of a pronunciation, in order of reliability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The user's own dictionary.
    User,
    /// The dictionary of the language.
    Dictionary,
    /// Words of a dictionary combined by rules for endings, hyphens and spelling.
    Derived,
    /// The names of the letters.
    Spelled,
    /// Prediction from the letters by the joint n-gram model.
    Guessed,
}

impl Source {
    /// The source as a single word.
    pub fn name(self) -> &'static str {
        match self {
            Source::User => "user",
            Source::Dictionary => "dictionary",
            Source::Derived => "derived",
            Source::Spelled => "spelled",
            Source::Guessed => "guessed",
        }
    }
}

/// A pronunciation of a word.
#[derive(Clone, Debug, PartialEq)]
pub struct Pronunciation {
    /// Tokens of [`phone_tokens`](super::phone_tokens).
    pub phones: Vec<u32>,
    /// Where the pronunciation comes from.
    pub source: Source,
    /// For [`Source::Guessed`], the probability among all predictions for the same letters; otherwise 1.
    pub probability: f64,
}

impl Pronunciation {
    /// The names of the phones, separated by spaces.
    pub fn phones_text(&self) -> String {
        let name = |&token: &u32| ARPABET.get((token as usize).wrapping_sub(1)).copied().unwrap_or("?");
        self.phones.iter().map(name).collect::<Vec<_>>().join(" ")
    }
}

/// Dictionaries, rules and a grapheme-to-phoneme model, used in this order.
#[derive(Clone, Debug)]
pub struct Pronouncer {
    user: Pronunciations,
    dictionary: CompactDictionary,
    guesser: Option<Arc<LazyGuesser>>,
    /// Maximum number of predicted pronunciations of a word.
    pub max_guesses: usize,
    /// Minimum probability of a predicted pronunciation, relative to the best one.
    pub min_share: f64,
}

#[derive(Clone, Debug)]
struct Guesser {
    model: G2p,
    /// The token ids of the model's phones.
    tokens: Vec<u32>,
}

impl Guesser {
    fn new(model: G2p) -> Result<Self> {
        let token = |phone: &String| {
            let problem = || Error::new(Stage::Text, format!("`{phone}` is not a phone of English"));
            phone_token(phone).ok_or_else(problem)
        };
        let tokens = model.phones().iter().map(token).collect::<Result<_>>()?;
        Ok(Self { model, tokens })
    }
}

/// A guesser that may be read only when the first word is guessed, since few lists of words need one.
#[derive(Debug)]
struct LazyGuesser {
    /// `None` if the model could not be read.
    guesser: OnceLock<Option<Guesser>>,
    read: fn() -> Result<G2p>,
}

impl LazyGuesser {
    fn get(&self) -> Option<&Guesser> {
        self.guesser.get_or_init(|| Guesser::new((self.read)().ok()?).ok()).as_ref()
    }
}

/// Maximum number of pronunciations when the parts of a word have several.
const MAX_PRONUNCIATIONS: usize = 8;

impl Pronouncer {
    /// A pronouncer with a dictionary only.
    pub fn new(dictionary: CompactDictionary) -> Self {
        Self { user: Pronunciations::default(), dictionary, guesser: None, max_guesses: 4, min_share: 0.2 }
    }

    /// The dictionary of the language.
    pub fn dictionary(&self) -> &CompactDictionary {
        &self.dictionary
    }

    /// The grapheme-to-phoneme model.
    pub(super) fn guesser(&self) -> Option<&G2p> {
        Some(&self.guesser.as_ref()?.get()?.model)
    }

    /// Adds the user's dictionary, which has precedence.
    pub fn with_user(mut self, user: Pronunciations) -> Self {
        self.user = user;
        self
    }

    /// Adds a model that predicts the pronunciations of words in no dictionary.
    ///
    /// # Errors
    /// When the model has a phone outside [`ARPABET`].
    pub fn with_guesser(mut self, model: G2p) -> Result<Self> {
        let guesser = OnceLock::from(Some(Guesser::new(model)?));
        let read = || Err(Error::new(Stage::Text, "the model has been read already"));
        self.guesser = Some(Arc::new(LazyGuesser { guesser, read }));
        Ok(self)
    }

    /// Adds a model as [`Pronouncer::with_guesser`], which is read when the first word is guessed. Without it there are
    /// no guesses, so that it must be known to be good.
    #[cfg(feature = "english")]
    pub(super) fn with_lazy_guesser(mut self, read: fn() -> Result<G2p>) -> Self {
        self.guesser = Some(Arc::new(LazyGuesser { guesser: OnceLock::new(), read }));
        self
    }

    /// The same pronouncer without guesses.
    pub fn without_guesser(mut self) -> Self {
        self.guesser = None;
        self
    }

    /// The pronunciations of a word, the most probable first. Case matters only for initialisms.
    ///
    /// # Errors
    /// When there is none; names the reason.
    pub fn pronounce(&self, word: &str) -> Result<Vec<Pronunciation>> {
        let plain = word.replace(['’', 'ʼ', '‘', '`'], "'");
        let lower = plain.to_lowercase();
        let mut pronunciations = self.known(&lower);
        if pronunciations.is_empty() {
            pronunciations = self.derived(&plain, &lower);
        }
        if pronunciations.is_empty() {
            return Err(self.reason(word, &lower));
        }
        Ok(pronunciations)
    }

    fn reason(&self, word: &str, lower: &str) -> Error {
        let letter =
            lower.chars().find(|c| c.is_alphabetic() && !c.is_ascii() && english::plain_letter(*c).is_none());
        let problem = match letter {
            Some(letter) => format!("no pronunciation for `{word}`: `{letter}` is not a letter of English"),
            None if !lower.contains(char::is_alphanumeric) => {
                format!("no pronunciation for `{word}`: it has no letters")
            }
            None => format!("no pronunciation for `{word}`"),
        };
        Error::new(Stage::Text, problem).hint(format!("add a line `{lower}  P HH OW N Z` to your dictionary"))
    }

    /// The pronunciations in the dictionaries.
    fn known(&self, word: &str) -> Vec<Pronunciation> {
        let (pronunciations, source) = match self.user.get(word) {
            [] => (self.dictionary.get(word), Source::Dictionary),
            pronunciations => (pronunciations.to_vec(), Source::User),
        };
        let pronunciation = |phones| Pronunciation { phones, source, probability: 1.0 };
        pronunciations.into_iter().map(pronunciation).collect()
    }

    /// Pronunciations derived from known parts or predicted; `written` is the word before it was
    /// lowercased.
    fn derived(&self, written: &str, word: &str) -> Vec<Pronunciation> {
        let inner = word.trim_matches(|c: char| !c.is_alphanumeric());
        if inner != word {
            // Ignore quotes and full stops around a word; `'tis` and `mr.` are in the dictionary.
            let trimmed = written.trim_matches(|c: char| !c.is_alphanumeric());
            let pronunciations = self.known(inner);
            return if pronunciations.is_empty() && !inner.is_empty() {
                self.derived(trimmed, inner)
            } else {
                pronunciations
            };
        }
        let rules: [&dyn Fn() -> Vec<Pronunciation>; 7] = [
            &|| self.digits(word),
            &|| self.ending(word),
            &|| self.spelling(word),
            &|| self.parts(written, word),
            &|| self.without_accents(word),
            &|| self.initialism(written, word),
            &|| self.guesses(word),
        ];
        rules.iter().map(|rule| rule()).find(|pronunciations| !pronunciations.is_empty()).unwrap_or_default()
    }

    /// A word and an ending with an apostrophe.
    fn ending(&self, word: &str) -> Vec<Pronunciation> {
        if let Some(owner) = word.strip_suffix("'s") {
            return with_ending(self.pronounce(owner).unwrap_or_default(), |last| {
                vec![english::plural(last)]
            });
        }
        match english::contraction(word) {
            Some((verb, ending)) if !verb.is_empty() => {
                with_ending(self.pronounce(verb).unwrap_or_default(), |_| ending.to_vec())
            }
            _ => Vec::new(),
        }
    }

    /// The same word in a spelling that is in a dictionary.
    fn spelling(&self, word: &str) -> Vec<Pronunciation> {
        let mut pronunciations = english::other_spellings(word)
            .map(|other| self.known(&other))
            .find(|pronunciations| !pronunciations.is_empty());
        for pronunciation in pronunciations.iter_mut().flatten() {
            pronunciation.source = Source::Derived;
        }
        pronunciations.unwrap_or_default()
    }

    /// Digits, read as a number, as a year, or digit by digit; `21st` as an ordinal.
    fn digits(&self, word: &str) -> Vec<Pronunciation> {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Vec::new();
        }
        let spoken_forms: Vec<Vec<String>> = match (&word[digits.len()..], digits.parse()) {
            ("", _) => {
                let pronunciations = numbers::spoken_forms(digits).into_iter();
                pronunciations.map(|words| words.into_iter().map(String::from).collect()).collect()
            }
            ("st" | "nd" | "rd" | "th", Ok(number)) if number < numbers::MAX_NUMBER => {
                [false, true].map(|and| numbers::ordinal_words(number, and)).into()
            }
            _ => return Vec::new(),
        };
        distinct(spoken_forms.iter().flat_map(|words| self.in_sequence(words).into_iter().take(2)).collect())
    }

    /// Compounds: words joined by hyphens or other marks, or letters and digits.
    fn parts(&self, written: &str, word: &str) -> Vec<Pronunciation> {
        let parts = split(written);
        if parts.len() < 2 || !word.is_ascii() && parts.iter().all(|p| p.len() == word.len()) {
            return Vec::new();
        }
        // Single letters with full stops are an initialism.
        if parts.iter().all(|part| part.chars().count() == 1 && part.chars().all(char::is_alphabetic)) {
            return self.letters(&parts.concat().to_lowercase());
        }
        self.in_sequence(&parts)
    }

    /// The pronunciations of words in sequence.
    fn in_sequence(&self, words: &[String]) -> Vec<Pronunciation> {
        let mut all = vec![Pronunciation { phones: Vec::new(), source: Source::Derived, probability: 1.0 }];
        for part in words {
            let Ok(pronunciations) = self.pronounce(part) else { return Vec::new() };
            let longer = all.iter().flat_map(|before| {
                pronunciations.iter().map(|pronunciation| Pronunciation {
                    phones: [before.phones.as_slice(), &pronunciation.phones].concat(),
                    source: before.source.max(pronunciation.source),
                    probability: before.probability * pronunciation.probability,
                })
            });
            all = longer.collect();
            all.truncate(MAX_PRONUNCIATIONS);
        }
        distinct(all)
    }

    /// The pronunciations of the word in letters of the English alphabet.
    fn without_accents(&self, word: &str) -> Vec<Pronunciation> {
        let learnt = self.guesser().is_some_and(|model| model.unknown_letter(word).is_none());
        if word.is_ascii() || learnt {
            return Vec::new();
        }
        let plain: Option<String> =
            word.chars()
                .map(|c| {
                    if c.is_ascii() {
                        Some(c.to_string())
                    } else {
                        english::plain_letter(c).map(String::from)
                    }
                })
                .collect();
        let mut pronunciations = plain.and_then(|plain| self.pronounce(&plain).ok()).unwrap_or_default();
        for pronunciation in &mut pronunciations {
            pronunciation.source = pronunciation.source.max(Source::Derived);
        }
        pronunciations
    }

    /// The names of the letters, for words without vowels; for other words in capitals also predictions.
    fn initialism(&self, written: &str, word: &str) -> Vec<Pronunciation> {
        let capitals = (2..=5).contains(&written.len()) && written.chars().all(|c| c.is_ascii_uppercase());
        if capitals {
            let mut pronunciations = self.letters(word);
            if !english::is_initialism(word) {
                pronunciations.extend(self.guesses(word));
            }
            return distinct(pronunciations);
        }
        if !english::is_initialism(word) {
            return Vec::new();
        }
        // `dvds` is a plural, `mss` may be one.
        let one = word.strip_suffix('s').filter(|one| one.len() > 1).unwrap_or_default();
        let mut pronunciations = with_ending(self.letters(one), |last| vec![english::plural(last)]);
        pronunciations.extend(self.letters(word));
        distinct(pronunciations)
    }

    fn letters(&self, word: &str) -> Vec<Pronunciation> {
        let names: Option<Vec<&str>> = word.chars().map(english::letter_name).collect();
        let pronunciation = |names: Vec<&str>| Pronunciation {
            phones: names.into_iter().flat_map(tokens).collect(),
            source: Source::Spelled,
            probability: 1.0,
        };
        names.filter(|names| !names.is_empty()).map(pronunciation).into_iter().collect()
    }

    /// The predictions of the grapheme-to-phoneme model.
    fn guesses(&self, word: &str) -> Vec<Pronunciation> {
        let Some(Guesser { model, tokens }) = self.guesser.as_ref().and_then(|guesser| guesser.get()) else {
            return Vec::new();
        };
        let options = GuessOptions { nbest: self.max_guesses, ..GuessOptions::default() };
        let guesses = model.guess(word, &options);
        let least = guesses.first().map_or(0.0, |best| best.probability * self.min_share);
        let pronunciation = |guess: &super::g2p::Guess| Pronunciation {
            phones: guess.phones.iter().map(|&phone| tokens[usize::from(phone)]).collect(),
            source: Source::Guessed,
            probability: guess.probability,
        };
        guesses.iter().filter(|guess| guess.probability >= least).map(pronunciation).collect()
    }
}

/// The token ids of named phones.
fn tokens(names: &str) -> impl Iterator<Item = u32> {
    names.split(' ').filter_map(phone_token)
}

/// Pronunciations extended by an ending that depends on the last phone.
fn with_ending(
    pronunciations: Vec<Pronunciation>,
    ending: impl Fn(&str) -> Vec<&'static str>,
) -> Vec<Pronunciation> {
    let mut all = Vec::new();
    for pronunciation in pronunciations {
        let last = pronunciation.phones.last().and_then(|&token| ARPABET.get(token as usize - 1)).copied();
        for more in ending(last.unwrap_or_default()) {
            let phones = pronunciation.phones.iter().copied().chain(tokens(more)).collect();
            all.push(Pronunciation {
                phones,
                source: pronunciation.source.max(Source::Derived),
                ..pronunciation
            });
        }
    }
    distinct(all)
}

/// The pronunciations without repetitions, at most [`MAX_PRONUNCIATIONS`].
fn distinct(pronunciations: Vec<Pronunciation>) -> Vec<Pronunciation> {
    let mut all: Vec<Pronunciation> = Vec::new();
    for pronunciation in pronunciations {
        if !all.iter().any(|known| known.phones == pronunciation.phones) {
            all.push(pronunciation);
        }
    }
    all.truncate(MAX_PRONUNCIATIONS);
    all
}

/// Splits a word at marks, and between letters and digits.
fn split(word: &str) -> Vec<String> {
    let mut parts: Vec<String> = vec![String::new()];
    let mut before = ' ';
    for c in word.chars() {
        let mark = !c.is_alphanumeric() && c != '\'';
        if mark || c.is_ascii_digit() != before.is_ascii_digit() {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut().filter(|_| !mark) {
            part.push(c);
        }
        before = c;
    }
    parts.retain(|part| !part.is_empty());
    parts
}
