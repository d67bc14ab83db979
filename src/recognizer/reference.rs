//! Known text of a recording for forced alignment: words with their pronunciations as tokens of a model.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::open::Recognizer;
use crate::decode::{ReferenceWord, TokenId};
use crate::error::{Error, Result, Stage};
use crate::onnx::Metadata;
use crate::text::normalize::{is_punctuation, parts_words};
use crate::text::pronunciation::{ARPABET, Pronouncer, Pronunciation, Source};

/// Characters that are punctuation in Unicode but are spoken as words.
const SPOKEN_SYMBOLS: [char; 4] = ['%', '&', '@', '#'];

/// Words of a text with their pronunciations as tokens of one model, created by [`Recognizer::reference`].
#[derive(Clone, Debug)]
pub struct Reference {
    pub(super) words: Vec<ReferenceWord>,
    pub(super) guessed: Vec<String>,
}

impl Reference {
    /// The words, spelled as in the text, without the punctuation around them.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(|word| word.text.as_str())
    }

    /// The words whose pronunciations are guessed from their letters, each once, with the best guess:
    /// `` `gruyere` as G R UW Y EH R ``.
    pub fn guessed(&self) -> &[String] {
        &self.guessed
    }
}

impl Recognizer {
    /// Splits a text into words and determines their pronunciations for this model. Words are separated by white space,
    /// dashes, slashes and underscores; punctuation around them is removed. The pronunciations of a word are the user's
    /// own in `pronouncer`; else those of the model's lexicon; else, if the model's tokens are English phones, those of
    /// `pronouncer`; else the tokens that spell the word.
    ///
    /// # Errors
    /// When the text has no words, a word has no pronunciation, or a word contains a symbol that is spoken as a word
    /// (`%`, `$`); names the word.
    pub fn reference(&self, text: &str, pronouncer: Option<&Pronouncer>) -> Result<Reference> {
        let mut words: Vec<ReferenceWord> = Vec::new();
        let mut known = std::collections::HashMap::new();
        let mut guessed = Vec::new();
        for word in spoken_words(text)? {
            let pronunciations = match known.get(word) {
                Some(pronunciations) => Clone::clone(pronunciations),
                None => {
                    let (pronunciations, guess) = pronunciations(self.metadata(), word, pronouncer)?;
                    guessed.extend(guess);
                    known.insert(word, pronunciations.clone());
                    pronunciations
                }
            };
            words.push(ReferenceWord { text: word.to_string(), pronunciations });
        }
        if words.is_empty() {
            return Err(Error::new(Stage::Corpus, "expected the text of the recording, found no words"));
        }
        Ok(Reference { words, guessed })
    }
}

/// The words of a text, without the punctuation around them.
fn spoken_words(text: &str) -> Result<Vec<&str>> {
    let mut words = Vec::new();
    for part in text.split(|c: char| c.is_whitespace() || parts_words(c)) {
        let is_sign = |&c: &char| {
            SPOKEN_SYMBOLS.contains(&c) || c.general_category_group() == GeneralCategoryGroup::Symbol
        };
        // A backtick is often used as an apostrophe.
        if let Some(sign) = part.chars().filter(|&c| c != '`').find(is_sign) {
            let problem = format!("no pronunciation for `{part}`: `{sign}` is not spelled");
            return Err(Error::new(Stage::Corpus, problem).hint("write it as it is said"));
        }
        let word = part.trim_matches(|c: char| is_punctuation(c) || c == '`');
        if !word.is_empty() {
            words.push(word);
        }
    }
    Ok(words)
}

/// The label sequences of a word, and a note if its pronunciation is guessed.
fn pronunciations(
    metadata: &Metadata,
    word: &str,
    pronouncer: Option<&Pronouncer>,
) -> Result<(Vec<Vec<TokenId>>, Option<String>)> {
    let pronounced = pronouncer.map(|pronouncer| pronouncer.pronounce(word));
    let first = pronounced.as_ref().and_then(|pronunciations| pronunciations.as_ref().ok()?.first());
    let is_users = first.is_some_and(|p| p.source == Source::User);
    if !is_users {
        let pronunciations = lexicon(metadata, word);
        if !pronunciations.is_empty() {
            return Ok((pronunciations, None));
        }
    }
    if !has_phones(metadata) {
        return Ok((vec![spelling(metadata, word)?], None));
    }
    let missing = || {
        Error::new(Stage::Corpus, format!("no pronunciation for `{word}`: it is not in the model's lexicon"))
            .hint("give its phones in a lexicon")
            .remedy("lexicon")
    };
    let pronunciations = pronounced.ok_or_else(missing)??;
    let guess = pronunciations.first().filter(|p| p.source == Source::Guessed);
    let note = guess.map(|p| format!("`{word}` as {}", p.phones_text()));
    Ok((phone_labels(metadata, word, &pronunciations)?, note))
}

/// The pronunciations of a word in the model's own lexicon.
fn lexicon(metadata: &Metadata, word: &str) -> Vec<Vec<TokenId>> {
    let lower = word.to_lowercase();
    let entries = metadata.decoder.lexicon.iter().filter(|entry| entry.word.to_lowercase() == lower);
    // The tokens are in the table, which was checked when the model was opened.
    let labels = |token: &String| metadata.tokens.id(token).map(TokenId);
    entries.filter_map(|entry| entry.tokens.iter().map(labels).collect()).collect()
}

/// Whether the tokens of a model are English phones.
pub(super) fn has_phones(metadata: &Metadata) -> bool {
    let tokens = &metadata.tokens;
    !has_subwords(metadata)
        && ARPABET.iter().filter(|phone| phone.len() == 2).any(|phone| tokens.id(phone).is_some())
}

/// Pronunciations of a word as labels. Those that contain a phone without a token in the model are left out.
fn phone_labels(
    metadata: &Metadata,
    word: &str,
    pronunciations: &[Pronunciation],
) -> Result<Vec<Vec<TokenId>>> {
    let mut missing = "";
    let labels = |pronunciation: &Pronunciation| -> Option<Vec<TokenId>> {
        let label = |&phone: &u32| {
            let name = ARPABET.get((phone as usize).checked_sub(1)?)?;
            let label = metadata.tokens.id(name).map(TokenId);
            if label.is_none() {
                missing = *name;
            }
            label
        };
        pronunciation.phones.iter().map(label).collect()
    };
    let found: Vec<_> = pronunciations.iter().filter_map(labels).collect();
    if found.is_empty() {
        let problem =
            format!("no pronunciation for `{word}`: the model has no token for the phone `{missing}`");
        return Err(Error::new(Stage::Corpus, problem));
    }
    Ok(found)
}

/// The tokens that spell a word: the word itself if it is a token, else the longest tokens that are parts of it. The
/// word is also tried in lower and in upper case, since the tokens of many models are in one case only.
fn spelling(metadata: &Metadata, word: &str) -> Result<Vec<TokenId>> {
    let tokens = &metadata.tokens;
    let spell = |word: &str| match tokens.id(word) {
        Some(id) if id != tokens.blank() && !has_subwords(metadata) => Ok(vec![id]),
        _ => tokens.encode(word),
    };
    let other = || spell(&word.to_lowercase()).or_else(|_| spell(&word.to_uppercase()));
    let ids = spell(word).or_else(|error| other().map_err(|_| error))?;
    Ok(ids.into_iter().map(TokenId).collect())
}

/// Whether the model's tokens are pieces of words: some are marked as the beginning of a word.
fn has_subwords(metadata: &Metadata) -> bool {
    (0..metadata.tokens.len() as u32).any(|id| metadata.tokens.begins_word(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(tokens: &[&str], lexicon: &[(&str, &str)]) -> Metadata {
        let entry = |(word, tokens): &(&str, &str)| crate::decode::Pronunciation {
            word: word.to_string(),
            tokens: tokens.split(' ').map(String::from).collect(),
        };
        let lexicon = lexicon.iter().map(entry).collect();
        Metadata {
            features: crate::features::FbankOptions::default(),
            tokens: crate::text::TokenTable::new(tokens.iter().map(|t| t.to_string()).collect(), 0)
                .expect("a table"),
            decoder: crate::decode::DecoderOptions { lexicon, ..Default::default() },
            license: String::new(),
            trained_on: String::new(),
            recipe: String::new(),
            created_by: String::new(),
            other: Vec::new(),
        }
    }

    #[test]
    fn words_are_spelled_by_the_lexicon_or_the_tokens() {
        let labels = |metadata: &Metadata, word: &str| -> Result<Vec<Vec<u32>>> {
            let (pronunciations, _) = pronunciations(metadata, word, None)?;
            Ok(pronunciations.iter().map(|p| p.iter().map(|label| label.0).collect()).collect())
        };
        let phones = metadata(&["<blk>", "AH", "T"], &[("a", "AH"), ("at", "AH T"), ("at", "T")]);
        assert_eq!(labels(&phones, "AT").expect("in the lexicon"), [vec![1, 2], vec![2]]);
        let error = labels(&phones, "tat").expect_err("not in the lexicon").to_string();
        assert!(error.contains("`tat`"), "{error}");
        let letters = metadata(&["<blk>", "▁", "A", "T", "AT"], &[]);
        assert_eq!(labels(&letters, "tat").expect("spelled"), [[1, 3, 4]]);
        assert_eq!(labels(&letters, "a").expect("spelled"), [[1, 2]]);
        assert!(labels(&letters, "tab").expect_err("no B").to_string().contains("`tab`"));
        let words = metadata(&["<blk>", "yes", "no"], &[]);
        assert_eq!(labels(&words, "No").expect("a token"), [[2]]);
    }

    #[test]
    fn words_are_split_at_punctuation() {
        let words = |text| spoken_words(text).expect("words");
        assert_eq!(words("Twenty-one, “don’t” STOP… - U.S.!"), ["Twenty", "one", "don’t", "STOP", "U.S"]);
        assert!(words(" ?! — ").is_empty());
        for text in ["5 %", "a $20 note", "rock & roll", "2 + 2"] {
            let error = spoken_words(text).expect_err("a sign").to_string();
            assert!(error.contains("is not spelled"), "{error}");
        }
    }
}
