//! The vocabulary of a model.

use super::{BEGIN, END, UNKNOWN};
use crate::error::{Error, Result, Stage};

/// The words with the first ids.
const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];

/// Maximum length of a word in bytes.
pub const MAX_WORD_BYTES: usize = 1024;

/// Words and their ids: `<unk>`, `<s>`, `</s>`, then all others sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    text: String,
    /// The end of each word in `text`.
    ends: Vec<u32>,
}

impl Default for Vocabulary {
    fn default() -> Self {
        let mut vocabulary = Self { text: String::new(), ends: Vec::new() };
        SPECIAL.into_iter().for_each(|word| vocabulary.push(word));
        vocabulary
    }
}

impl Vocabulary {
    /// A vocabulary of words in any order, in which repetitions are ignored.
    ///
    /// # Errors
    /// When they take 4 GB or more.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut words: Vec<&str> = words.into_iter().filter(|word| !SPECIAL.contains(word)).collect();
        words.sort_unstable();
        words.dedup();
        if words.iter().map(|w| w.len()).sum::<usize>() > u32::MAX as usize - 100 {
            return Err(Error::new(Stage::Text, "expected words of less than 4 GB in all"));
        }
        let mut vocabulary = Self::default();
        words.into_iter().for_each(|word| vocabulary.push(word));
        Ok(vocabulary)
    }

    /// Adds a word, unless it is one of the special words or does not follow the last word in order; returns whether it
    /// was added.
    pub(super) fn push_sorted(&mut self, word: &str) -> bool {
        let follows = self.len() == SPECIAL.len() || self.word(self.len() as u32 - 1) < word;
        let good = follows && !SPECIAL.contains(&word);
        if good {
            self.push(word);
        }
        good
    }

    fn push(&mut self, word: &str) {
        self.text.push_str(word);
        self.ends.push(self.text.len() as u32);
    }

    /// The number of words, including `<unk>`, `<s>` and `</s>`.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Always `false`: the three special words are always present.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The word of an id; `<unk>` for ids out of range.
    pub fn word(&self, id: u32) -> &str {
        let id = if (id as usize) < self.len() { id as usize } else { UNKNOWN as usize };
        let begin = if id == 0 { 0 } else { self.ends[id - 1] as usize };
        &self.text[begin..self.ends[id] as usize]
    }

    /// The id of a word.
    pub fn id(&self, word: &str) -> Option<u32> {
        match word {
            "<unk>" => return Some(UNKNOWN),
            "<s>" => return Some(BEGIN),
            "</s>" => return Some(END),
            _ => {}
        }
        let (mut low, mut high) = (SPECIAL.len() as u32, self.len() as u32);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.word(middle).cmp(word) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// All words in the order of their ids.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|id| self.word(id))
    }

    /// The words that are not `<unk>`, `<s>` or `</s>`.
    pub fn ordinary_words(&self) -> impl Iterator<Item = &str> {
        self.words().skip(SPECIAL.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_ids_by_their_spelling() {
        let vocabulary = Vocabulary::new(["two", "one", "</s>", "three", "one"]).expect("few words");
        assert_eq!(vocabulary.len(), 6);
        assert_eq!(vocabulary.words().collect::<Vec<_>>(), ["<unk>", "<s>", "</s>", "one", "three", "two"]);
        for (id, word) in vocabulary.words().enumerate() {
            assert_eq!(vocabulary.id(word), Some(id as u32));
        }
        assert_eq!(vocabulary.id("four"), None);
        assert_eq!(vocabulary.word(77), "<unk>");
    }
}
