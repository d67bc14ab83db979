//! Pronunciations of a recognizer's words as tokens of its network, from the user's lexicon and from the English
//! dictionary inside the program.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use crate::decode::TokenId;
use crate::error::{Error, Result, Stage, io};
use crate::text::TokenTable;
use crate::text::pronunciation::dictionary::for_each_line;
use crate::text::pronunciation::{ARPABET, Pronouncer, Pronunciation, Source};

/// Maximum size of a lexicon, bytes.
const MAX_LEXICON_BYTES: u64 = 256 << 20;

/// A pronunciation as tokens of the network.
pub(super) type Labels = Vec<TokenId>;

/// A list of words with their pronunciations.
pub(super) struct PronunciationTable<'a> {
    words: &'a [String],
    tokens: &'a TokenTable,
    /// The token of each phone of [`ARPABET`], if the model has it.
    phone_tokens: [Option<TokenId>; ARPABET.len()],
    /// Pronunciations of each word, empty if none was found.
    pub pronunciations: Vec<Vec<Labels>>,
    /// The words with guessed pronunciations, each with the best guess.
    pub guessed: Vec<String>,
}

impl<'a> PronunciationTable<'a> {
    /// Creates a list of words without pronunciations.
    pub fn new(words: &'a [String], tokens: &'a TokenTable) -> Self {
        let phone_tokens = ARPABET.map(|phone| label(phone, tokens).ok());
        let pronunciations = vec![Vec::new(); words.len()];
        Self { words, tokens, phone_tokens, pronunciations, guessed: Vec::new() }
    }

    /// Adds the pronunciations of a file in the format of the CMU Pronouncing Dictionary: a word and its phones per
    /// line.
    ///
    /// # Errors
    /// When the file cannot be read, or a line has no phones, or phones that are not tokens of the model.
    pub fn add_lexicon(&mut self, path: &Path) -> Result<()> {
        let failed = |e| io(Stage::Text, path, e);
        if std::fs::metadata(path).map_err(failed)?.len() > MAX_LEXICON_BYTES {
            let problem = format!("expected a dictionary of {} MB at most", MAX_LEXICON_BYTES >> 20);
            return Err(Error::new(Stage::Text, problem).in_file(path));
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        let word_indices = self.word_indices();
        // Old dictionaries contain a few words in Latin-1, which are invalid UTF-8 and can be ignored.
        for_each_line(&String::from_utf8_lossy(&bytes), |_, word, phones| {
            let labels = phones.iter().map(|phone| label(phone, self.tokens)).collect::<Result<Labels>>()?;
            for &at in word_indices.get(word.as_str()).map_or(&[][..], Vec::as_slice) {
                self.pronunciations[at].push(labels.clone());
            }
            Ok(())
        })
        .map_err(|e| e.in_file(path))
    }

    /// Whether all English phones are tokens of the model.
    pub fn has_english_phones(&self) -> bool {
        ARPABET.iter().all(|phone| self.tokens.id(phone).is_some_and(|id| id != self.tokens.blank()))
    }

    /// Adds English pronunciations for the words without one: those of the dictionary, those derived from its words,
    /// and the names of letters. Pronunciations are guessed only for words that are `required`, since a guess takes a
    /// millisecond. If a required word still has none, `missing` is called with its index and the reason.
    ///
    /// # Errors
    /// When `missing` returns an error, or the model has no token for a phone.
    pub fn add_english(
        &mut self,
        english: &Pronouncer,
        required: impl Fn(usize) -> bool,
        missing: impl FnMut(usize, Error) -> Result<()>,
    ) -> Result<()> {
        let missing_words = (0..self.words.len()).filter(|&at| self.pronunciations[at].is_empty());
        let mut missing_words: Vec<(Cow<'_, str>, usize)> =
            missing_words.map(|at| (lower(&self.words[at]), at)).collect();
        missing_words.sort();
        let (wanted, indices): (Vec<_>, Vec<_>) = missing_words.into_iter().unzip();
        let mut failed = None;
        let mut found = std::mem::take(&mut self.pronunciations);
        english.dictionary().find_sorted(&wanted, |at, pronunciations| {
            match pronunciations.iter().map(|phones| self.labels(phones)).collect::<Result<_>>() {
                Ok(labels) => found[indices[at]] = labels,
                Err(error) => failed = Some(error),
            }
        });
        self.pronunciations = found;
        failed.map_or(Ok(()), Err)?;
        self.add_few(english, required, missing)
    }

    /// As [`PronunciationTable::add_english`], but faster for a short list.
    pub fn add_few(
        &mut self,
        english: &Pronouncer,
        required: impl Fn(usize) -> bool,
        mut missing: impl FnMut(usize, Error) -> Result<()>,
    ) -> Result<()> {
        let quick = english.clone().without_guesser();
        for (at, word) in self.words.iter().enumerate() {
            if !self.pronunciations[at].is_empty() {
                continue;
            }
            let found: Vec<Pronunciation> = match required(at) {
                true => match english.pronounce(word) {
                    Ok(found) => found,
                    Err(error) => {
                        missing(at, error)?;
                        continue;
                    }
                },
                false => quick.pronounce(word).unwrap_or_default(),
            };
            if let Some(guess) = found.first().filter(|p| p.source == Source::Guessed) {
                self.guessed.push(format!("`{word}` as {}", guess.phones_text()));
            }
            self.pronunciations[at] = found.iter().map(|p| self.labels(&p.phones)).collect::<Result<_>>()?;
        }
        Ok(())
    }

    /// The model's tokens for English phones.
    fn labels(&self, phones: &[u32]) -> Result<Labels> {
        let token = |&phone: &u32| {
            let known = self.phone_tokens[phone as usize - 1];
            known.map_or_else(|| label(ARPABET[phone as usize - 1], self.tokens), Ok)
        };
        phones.iter().map(token).collect()
    }

    /// Indices of the words, by the word in lower case.
    fn word_indices(&self) -> HashMap<Cow<'a, str>, Vec<usize>> {
        let mut word_indices: HashMap<Cow<'a, str>, Vec<usize>> = HashMap::new();
        for (at, word) in self.words.iter().enumerate() {
            word_indices.entry(lower(word)).or_default().push(at);
        }
        word_indices
    }

    /// Note that names the words whose pronunciations are guessed.
    pub fn guesses_note(&self) -> Option<String> {
        guesses_note(&self.guessed)
    }
}

/// A word in lower case.
fn lower(word: &str) -> Cow<'_, str> {
    let is_lower = word.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    if is_lower { word.into() } else { word.to_lowercase().into() }
}

/// Note that names words with guessed pronunciations.
pub(super) fn guesses_note(guessed: &[String]) -> Option<String> {
    (!guessed.is_empty()).then(|| format!("guessed pronunciations: {}", guessed.join(", ")))
}

/// Opens the English dictionary inside the program.
///
/// # Errors
/// When this build does not contain it; `instead` is the hint of the error.
pub(super) fn english(instead: &str) -> Result<Pronouncer> {
    #[cfg(feature = "english")]
    {
        let _ = instead;
        Pronouncer::english()
    }
    #[cfg(not(feature = "english"))]
    Err(Error::new(Stage::Usage, "this program was built without English words").hint(instead))
}

/// The model's token for a phone, which may have a stress mark that the token lacks.
///
/// # Errors
/// When the model has no such token.
pub(super) fn label(phone: &str, tokens: &TokenTable) -> Result<TokenId> {
    let plain = phone.trim_end_matches(|c: char| c.is_ascii_digit());
    let id = [phone, plain].into_iter().find_map(|name| tokens.id(name)).filter(|&id| id != tokens.blank());
    id.map(TokenId).ok_or_else(|| {
        let problem = format!("the model has no token for the phone `{phone}`");
        Error::new(Stage::Text, problem)
            .hint("pronunciations need a model whose tokens are phones; to list its tokens")
            .remedy("inspect")
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
    fn pronunciations_are_looked_up_and_guessed_only_for_required_words() {
        let tokens = crate::text::pronunciation::phone_tokens().expect("a table");
        let words = ["Light", "light", "zxyzzylorp", "qwertibly"].map(String::from);
        let mut table = PronunciationTable::new(&words, &tokens);
        assert!(table.has_english_phones());
        let english = english("").expect("inside the program");
        table.add_english(&english, |at| at == 3, |_, error| Err(error)).expect("all required are found");
        assert_eq!(table.pronunciations[0], table.pronunciations[1]);
        assert!(
            !table.pronunciations[0].is_empty()
                && table.pronunciations[2].is_empty()
                && !table.pronunciations[3].is_empty()
        );
        let note = table.guesses_note().expect("a guess");
        assert!(note.contains("`qwertibly` as ") && !note.contains("zxyzzylorp"), "{note}");
    }
}
