//! The token table, which maps ids to text and back. `▁` (U+2581) at the start of a token begins a word, as
//! in SentencePiece and sherpa-onnx.

use std::collections::HashMap;

use crate::error::{Error, Result, Stage};

/// The mark at the start of a word.
pub const WORD_START: char = '▁';

/// The tokens of a model by id, and the id of the CTC blank.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenTable {
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
    blank: u32,
}

impl TokenTable {
    /// A table of tokens in the order of their ids.
    ///
    /// # Errors
    /// When the table is empty, a token occurs twice, or `blank` is not one of the ids.
    pub fn new(tokens: Vec<String>, blank: u32) -> Result<Self> {
        if blank as usize >= tokens.len() {
            return Err(Error::new(
                Stage::Model,
                format!("the blank's id is {blank}, but there are {} tokens", tokens.len()),
            ));
        }
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            if ids.insert(token.clone(), id as u32).is_some() {
                return Err(Error::new(Stage::Model, format!("the token `{token}` occurs twice")));
            }
        }
        Ok(Self { tokens, ids, blank })
    }

    /// The tokens in the order of their ids.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The number of tokens, including the blank.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Always `false`: a table has at least its blank.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The id of the CTC blank.
    pub fn blank(&self) -> u32 {
        self.blank
    }

    /// The token with an id, as it is in the table (`▁one`); `None` for ids out of range.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }

    /// The id of a token, written as in the table.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// Whether a token begins a new word.
    pub fn begins_word(&self, id: u32) -> bool {
        self.token(id).is_some_and(|t| t.starts_with(WORD_START) || t == " ")
    }

    /// Encodes a transcript as token ids: each word, with `▁` in front, is split from left to right into
    /// the longest matching tokens.
    ///
    /// # Errors
    /// Names the first character that no token matches.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let longest = self.tokens.iter().map(|t| t.chars().count()).max().unwrap_or(0);
        let mut ids = Vec::new();
        for word in text.split_whitespace() {
            let symbols: Vec<char> = std::iter::once(WORD_START).chain(word.chars()).collect();
            let mut at = 0;
            while at < symbols.len() {
                let found = (1..=longest.min(symbols.len() - at)).rev().find_map(|n| {
                    let piece: String = symbols[at..at + n].iter().collect();
                    self.ids.get(&piece).filter(|&&id| id != self.blank).map(|&id| (n, id))
                });
                let Some((n, id)) = found else {
                    return Err(Error::new(
                        Stage::Corpus,
                        format!("`{word}`: no token matches at `{}`", symbols[at]),
                    ));
                };
                ids.push(id);
                at += n;
            }
        }
        Ok(ids)
    }

    /// Decodes a sequence of labels (without blanks, repetitions collapsed) into text.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut text = String::new();
        for &id in ids {
            text.push_str(self.token(id).unwrap_or_default());
        }
        text.replace(WORD_START, " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(tokens: &[&str]) -> TokenTable {
        TokenTable::new(tokens.iter().map(|t| t.to_string()).collect(), 0).expect("a good table")
    }

    #[test]
    fn words_and_subwords_round_trip() {
        let words = table(&["<blk>", "▁one", "▁two"]);
        assert_eq!(words.encode("one two two").expect("known words"), [1, 2, 2]);
        assert_eq!(words.decode(&[1, 2, 2]), "one two two");
        let letters = table(&["<blk>", "▁", "a", "b", "ab"]);
        assert_eq!(letters.encode("ab ba").expect("known letters"), [1, 4, 1, 3, 2]);
        assert_eq!(letters.decode(&[1, 4, 1, 3, 2]), "ab ba");
    }

    #[test]
    fn a_symbol_outside_the_alphabet_is_named() {
        let error = table(&["<blk>", "▁one"]).encode("one three").expect_err("three is unknown");
        assert!(error.to_string().contains("three"), "{error}");
    }
}
