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

/// Symbols and their names in English, by which they are spoken.
const SPOKEN_SYMBOLS: [(char, &str); 6] =
    [('%', "percent"), ('&', "and"), ('+', "plus"), ('=', "equals"), ('@', "at"), ('°', "degrees")];

/// Whether a character is a symbol that has no name in English that is always the same: `*`, `$`.
pub fn is_unspoken_symbol(c: char) -> bool {
    use GeneralCategory::{CurrencySymbol, MathSymbol, OtherSymbol};
    let is_symbol = matches!(c.general_category(), CurrencySymbol | MathSymbol | OtherSymbol);
    (is_symbol || "#*\\§¶†‡‰".contains(c)) && SPOKEN_SYMBOLS.iter().all(|(symbol, _)| *symbol != c)
}

/// The words that are spoken for a text in English: as [`words`], with the names of symbols, and without symbols that have
/// none. "AT&T" has the words `at`, `and` and `t`, "50%" has `50` and `percent`.
pub fn spoken_words(text: &str) -> Vec<String> {
    words(&with_symbol_names(text))
}

/// Replaces symbols by their names in English, and removes those without a name.
pub fn with_symbol_names(text: &str) -> String {
    let mut spoken = String::with_capacity(text.len());
    for c in text.chars() {
        match SPOKEN_SYMBOLS.iter().find(|(symbol, _)| *symbol == c) {
            Some((_, name)) => spoken.extend([" ", name, " "]),
            None if is_unspoken_symbol(c) => {}
            None => spoken.push(c),
        }
    }
    spoken
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
    fn symbols_are_spoken_by_their_names() {
        assert_eq!(
            spoken_words("AT&T: 50% + 20°"),
            ["at", "and", "t", "50", "percent", "plus", "20", "degrees"]
        );
        assert_eq!(spoken_words("me @ home"), ["me", "at", "home"]);
        assert_eq!(spoken_words("C# * $5 →"), ["c", "5"]);
        assert!("#*\\$→".chars().all(is_unspoken_symbol) && !"a5.,'`-%&+".chars().any(is_unspoken_symbol));
    }

    #[test]
    fn composed_and_decomposed_characters_are_alike() {
        assert_eq!(words("CAFE\u{301}"), ["caf\u{e9}"]);
        // Vowel signs and the virama are not punctuation.
        assert_eq!(words("हिन्दी।"), ["हिन्दी"]);
    }
}
