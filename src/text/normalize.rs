//! Normalization of transcripts for training and comparison: lower case, composed characters (Unicode's
//! NFC), no punctuation.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// Converts text to lower case, Unicode's composed form (NFC) and ASCII apostrophes.
pub fn fold(text: &str) -> String {
    text.to_lowercase().replace(['’', 'ʼ'], "'").nfc().collect()
}

/// Whether a character is in one of Unicode's punctuation categories.
pub fn is_punctuation(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Punctuation
}

/// Whether a character separates words like a space: a dash, a slash or an underscore.
pub fn parts_words(c: char) -> bool {
    let category = c.general_category();
    matches!(category, GeneralCategory::DashPunctuation | GeneralCategory::ConnectorPunctuation) || c == '/'
}

/// The words of a transcript: folded, separated at white space, dashes, slashes and underscores, without
/// punctuation except apostrophes inside a word. "Twenty-one, don't!" has the words `twenty`, `one` and
/// `don't`.
pub fn words(text: &str) -> Vec<String> {
    split(&fold(text))
}

/// The words of a text as [`words`] parts them, case kept.
pub fn split(text: &str) -> Vec<String> {
    text.split(|c: char| c.is_whitespace() || parts_words(c))
        .map(|word| {
            let word: String = word.chars().filter(|&c| c == '\'' || !is_punctuation(c)).collect();
            word.trim_matches('\'').to_string()
        })
        .filter(|word| !word.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_and_punctuation_is_left_out() {
        assert_eq!(words("Twenty-one, “don’t” stop… - U.S.!"), ["twenty", "one", "don't", "stop", "us"]);
        assert_eq!(words("'Bout 3 dogs'"), ["bout", "3", "dogs"]);
        assert!(words(" ?! — ").is_empty());
    }

    #[test]
    fn composed_and_decomposed_characters_are_alike() {
        assert_eq!(words("CAFE\u{301}"), ["caf\u{e9}"]);
        // Vowel signs and the virama are not punctuation.
        assert_eq!(words("हिन्दी।"), ["हिन्दी"]);
    }
}
