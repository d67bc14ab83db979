//! How the words of a recognizer are spoken, as tokens of its network: by the user's lexicon, then by the English
//! inside the program.

use std::collections::HashMap;
use std::path::Path;

use crate::decode::TokenId;
use crate::error::{Error, Result, Stage, io};
use crate::text::TokenTable;
use crate::text::pronunciation::dictionary::for_each_line;
use crate::text::pronunciation::{ARPABET, Pronouncer, Pronunciation, Source};

/// Longer lexicons are refused, bytes.
const MAX_LEXICON_BYTES: u64 = 256 << 20;

/// The tokens of one way to say a word.
pub(super) type Labels = Vec<TokenId>;

/// Words and the ways to say them.
pub(super) struct Spoken<'a> {
    words: &'a [String],
    tokens: &'a TokenTable,
    /// For each word; none where no way was found.
    pub ways: Vec<Vec<Labels>>,
    /// The first guess for each word that is guessed.
    pub guessed: Vec<String>,
}

impl<'a> Spoken<'a> {
    /// The words of a list, none of which has a way to be said yet.
    pub fn new(words: &'a [String], tokens: &'a TokenTable) -> Self {
        Self { words, tokens, ways: vec![Vec::new(); words.len()], guessed: Vec::new() }
    }

    /// Adds what a file says, a word and its phones a line, as the CMU Pronouncing Dictionary.
    ///
    /// # Errors
    /// When the file cannot be read, or a line has no phones or some that are no tokens of the model.
    pub fn add_lexicon(&mut self, path: &Path) -> Result<()> {
        let failed = |e| io(Stage::Text, path, e);
        if std::fs::metadata(path).map_err(failed)?.len() > MAX_LEXICON_BYTES {
            let problem = format!("expected a dictionary of {} MB at most", MAX_LEXICON_BYTES >> 20);
            return Err(Error::new(Stage::Text, problem).in_file(path));
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        let places = self.places(|_| true);
        // Old dictionaries have a few words in Latin 1; they are of no use, and no harm.
        for_each_line(&String::from_utf8_lossy(&bytes), |_, word, phones| {
            let labels = phones.iter().map(|phone| label(phone, self.tokens)).collect::<Result<Labels>>()?;
            for &at in places.get(&word).map_or(&[][..], Vec::as_slice) {
                self.ways[at].push(labels.clone());
            }
            Ok(())
        })
        .map_err(|e| e.in_file(path))
    }

    /// Whether the tokens of the model are the phones of English.
    pub fn speaks_english(&self) -> bool {
        ARPABET.iter().all(|phone| self.tokens.id(phone).is_some_and(|id| id != self.tokens.blank()))
    }

    /// Adds what English has for the words that have no way yet: the dictionary, what is derived from its words,
    /// and letters by their names. Guessing takes a millisecond a word, and is done for those that are
    /// `required`. Such a word that has no way then is the error of `missing`, by its place and the reason.
    ///
    /// # Errors
    /// That of `missing`, and when the model lacks a phone.
    pub fn add_english(
        &mut self,
        english: Pronouncer,
        required: impl Fn(usize) -> bool,
        missing: impl Fn(usize, Error) -> Error,
    ) -> Result<()> {
        // Going through the whole dictionary is faster than looking up tens of thousands of words.
        let places = self.places(|ways: &[Labels]| ways.is_empty());
        for (word, ways) in english.dictionary().iter() {
            for &at in places.get(&word).map_or(&[][..], Vec::as_slice) {
                self.ways[at] = ways.iter().map(|phones| self.labels(phones)).collect::<Result<_>>()?;
            }
        }
        let quick = english.clone().without_guesser();
        for (at, word) in self.words.iter().enumerate() {
            if !self.ways[at].is_empty() {
                continue;
            }
            let found: Vec<Pronunciation> = match required(at) {
                true => english.pronounce(word).map_err(|error| missing(at, error))?,
                false => quick.pronounce(word).unwrap_or_default(),
            };
            if let Some(guess) = found.first().filter(|way| way.source == Source::Guessed) {
                self.guessed.push(format!("`{word}` as {}", guess.phones_text()));
            }
            self.ways[at] = found.iter().map(|way| self.labels(&way.phones)).collect::<Result<_>>()?;
        }
        Ok(())
    }

    /// Tokens of the model for phones of English.
    fn labels(&self, phones: &[u32]) -> Result<Labels> {
        phones.iter().map(|&phone| label(ARPABET[phone as usize - 1], self.tokens)).collect()
    }

    /// The places of the words whose ways are as wanted, by the words in lower case.
    fn places(&self, wanted: impl Fn(&[Labels]) -> bool) -> HashMap<String, Vec<usize>> {
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, word) in self.words.iter().enumerate().filter(|(at, _)| wanted(&self.ways[*at])) {
            places.entry(word.to_lowercase()).or_default().push(at);
        }
        places
    }

    /// A note that names the words whose pronunciations are guessed.
    pub fn guesses_note(&self) -> Option<String> {
        guesses_note(&self.guessed)
    }
}

/// A note that names guessed pronunciations.
pub(super) fn guesses_note(guessed: &[String]) -> Option<String> {
    (!guessed.is_empty()).then(|| format!("guessed pronunciations: {}", guessed.join(", ")))
}

/// The English inside the program.
///
/// # Errors
/// When this build is without it; `instead` says what to do then.
pub(super) fn english(instead: &str) -> Result<Pronouncer> {
    #[cfg(feature = "english")]
    {
        let _ = instead;
        Pronouncer::english()
    }
    #[cfg(not(feature = "english"))]
    Err(Error::new(Stage::Usage, "this program was built without English words").hint(instead))
}

/// The model's token for a phone, with its stress or without.
///
/// # Errors
/// When the model has none.
pub(super) fn label(phone: &str, tokens: &TokenTable) -> Result<TokenId> {
    let plain = phone.trim_end_matches(|c: char| c.is_ascii_digit());
    let id = [phone, plain].into_iter().find_map(|name| tokens.id(name)).filter(|&id| id != tokens.blank());
    id.map(TokenId).ok_or_else(|| {
        let problem = format!("the model has no token for the phone `{phone}`");
        Error::new(Stage::Text, problem).hint(
            "pronunciations need a model whose tokens are phones: `hearken inspect MODEL` lists its tokens",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones_are_found_with_stress_and_without() {
        let tokens = TokenTable::new(["<blk>", "AH", "T1"].map(String::from).to_vec(), 0).expect("a table");
        assert_eq!(label("AH0", &tokens).expect("a token"), TokenId(1));
        assert_eq!(label("T1", &tokens).expect("a token"), TokenId(2));
        let error = label("ZH", &tokens).expect_err("no such phone").to_string();
        assert!(error.contains("`ZH`"), "{error}");
        assert!(label("<blk>", &tokens).is_err());
    }

    #[cfg(feature = "english")]
    #[test]
    fn words_are_spoken_by_the_dictionary_and_guessed_where_they_are_required() {
        let tokens = crate::text::pronunciation::phone_tokens().expect("a table");
        let words = ["Light", "light", "zxyzzylorp", "qwertibly"].map(String::from);
        let mut spoken = Spoken::new(&words, &tokens);
        assert!(spoken.speaks_english());
        let english = english("").expect("inside the program");
        spoken.add_english(english, |at| at == 3, |_, error| error).expect("all required are found");
        assert_eq!(spoken.ways[0], spoken.ways[1]);
        assert!(!spoken.ways[0].is_empty() && spoken.ways[2].is_empty() && !spoken.ways[3].is_empty());
        let note = spoken.guesses_note().expect("a guess");
        assert!(note.contains("`qwertibly` as ") && !note.contains("zxyzzylorp"), "{note}");
    }
}
