//! Words that a client requests for its stream: phrases that are recognized in place of the server's words, or
//! hotwords that are preferred.

use std::collections::HashSet;

use serde_json::Value;

use super::close;
use crate::corpus::manifest::kind;

/// Maximum number of entries of a list.
pub const MAX_ENTRIES: usize = 1_000;
/// Maximum length of all entries together, bytes.
pub const MAX_BYTES: usize = 64 << 10;

/// A list of words; equal lists share a recognizer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WordList {
    /// Lines of a file of phrases: only these are recognized.
    Phrases(Vec<String>),
    /// The same, in dictation with the server's language model.
    PhrasesInDictation(Vec<String>),
    /// Phrases without special characters, as in Vosk's lists: only these are recognized.
    PlainPhrases(Vec<String>),
    /// Lines of a file of hotwords.
    Hotwords(Vec<String>),
    /// Plain words and phrases to prefer, of which those that cannot be used are left out with a warning.
    Keywords(Vec<String>),
}

impl WordList {
    /// The entries.
    pub fn entries(&self) -> &[String] {
        let (Self::Phrases(entries)
        | Self::PhrasesInDictation(entries)
        | Self::PlainPhrases(entries)
        | Self::Hotwords(entries)
        | Self::Keywords(entries)) = self;
        entries
    }

    /// Checks the limits on the number and length of the entries.
    ///
    /// # Errors
    /// A message that names the limit that is exceeded.
    pub fn check(&self) -> Result<(), String> {
        let entries = self.entries();
        if entries.len() > MAX_ENTRIES {
            return Err(format!("expected at most {MAX_ENTRIES} entries, found {}", entries.len()));
        }
        let bytes: usize = entries.iter().map(|entry| entry.len() + 1).sum();
        if bytes > MAX_BYTES {
            return Err(format!("expected at most {MAX_BYTES} bytes in all, found {bytes}"));
        }
        Ok(())
    }
}

/// The reason why a client's list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The list is invalid, or the model cannot use it; the message says why.
    Invalid(String),
    /// Too many lists are in use: the client may try again later.
    Busy,
}

impl Refused {
    /// The message for the client.
    pub fn message(&self) -> &str {
        match self {
            Self::Invalid(problem) => problem,
            Self::Busy => "too many lists of words are in use: try again later",
        }
    }

    /// The close code, and the code of the error before it.
    pub fn codes(&self) -> (u16, &'static str) {
        match self {
            Self::Invalid(_) => (close::INVALID_DATA, "words"),
            Self::Busy => (close::TRY_AGAIN, "busy"),
        }
    }
}

/// The strings of a JSON list.
///
/// # Errors
/// When the value is something else; names the first entry that is no string.
pub fn strings(value: &Value) -> Result<Vec<String>, String> {
    let Some(list) = value.as_array() else {
        return Err(format!("expected a list of strings, found {}", kind(value)));
    };
    let string = |(at, entry): (usize, &Value)| {
        let problem = || format!("expected a string as entry {}, found {}", at + 1, kind(entry));
        entry.as_str().map(String::from).ok_or_else(problem)
    };
    list.iter().enumerate().map(string).collect()
}

/// The words and phrases of a text that describes a recording, such as OpenAI's `prompt`: its parts between commas,
/// semicolons, line ends, and full stops, colons, question and exclamation marks before a space. Each is returned once.
pub fn keywords_of(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        let ends_sentence =
            matches!(c, '.' | '?' | '!' | ':') && characters.peek().is_none_or(|c| c.is_whitespace());
        match parts.last_mut() {
            Some(part) if !ends_sentence && !matches!(c, ',' | ';' | '\n' | '\r') => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    let mut known = HashSet::new();
    let distinct =
        parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty() && known.insert(*part));
    distinct.map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_have_limits() {
        let list = |entries: Vec<String>| WordList::Hotwords(entries).check();
        assert!(list(vec!["one".into(); MAX_ENTRIES]).is_ok());
        assert!(list(vec!["one".into(); MAX_ENTRIES + 1]).expect_err("too many").contains("1000 entries"));
        assert!(list(vec!["x".repeat(MAX_BYTES)]).expect_err("too long").contains("65536 bytes"));
    }

    #[test]
    fn only_lists_of_strings_are_lists() {
        assert_eq!(strings(&json!(["one two", "[unk]"])), Ok(vec!["one two".into(), "[unk]".into()]));
        for (value, found) in [
            (json!([1, 2]), "entry 1, found a number"),
            (json!(["one", null]), "entry 2, found null"),
            (json!("one"), "found a string"),
            (json!({}), "found an object"),
        ] {
            assert!(strings(&value).expect_err("no list").ends_with(found), "{value}");
        }
    }

    #[test]
    fn a_prompt_is_divided_into_its_phrases() {
        for (text, expected) in [
            (
                "Kubernetes, Anna Karenina; node.js\nNuuk,, Nuuk",
                &["Kubernetes", "Anna Karenina", "node.js", "Nuuk"][..],
            ),
            ("Names: Saoirse Ronan. Is it?", &["Names", "Saoirse Ronan", "Is it"]),
            (" .", &[]),
        ] {
            assert_eq!(keywords_of(text), expected);
        }
    }
}
