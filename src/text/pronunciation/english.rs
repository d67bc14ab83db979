//! Rules for English words that are not in the dictionary: another word and an ending, spelled letters,
//! another spelling.

/// The phones of the letters' names, from `a`.
const LETTERS: [&str; 26] = [
    "EY",
    "B IY",
    "S IY",
    "D IY",
    "IY",
    "EH F",
    "JH IY",
    "EY CH",
    "AY",
    "JH EY",
    "K EY",
    "EH L",
    "EH M",
    "EH N",
    "OW",
    "P IY",
    "K Y UW",
    "AA R",
    "EH S",
    "T IY",
    "Y UW",
    "V IY",
    "D AH B AH L Y UW",
    "EH K S",
    "W AY",
    "Z IY",
];

/// The phones of a letter's name.
pub(super) fn letter_name(letter: char) -> Option<&'static str> {
    let at = u32::from(letter).checked_sub(u32::from('a'))?;
    LETTERS.get(at as usize).copied()
}

/// Endings written with an apostrophe, and their pronunciations; `s` has its own rules.
const CONTRACTIONS: [(&str, &[&str]); 6] = [
    ("n't", &["AH N T", "N T"]),
    ("'ll", &["AH L", "L"]),
    ("'ve", &["V", "AH V"]),
    ("'re", &["ER", "R"]),
    ("'d", &["D", "AH D"]),
    ("'m", &["M"]),
];

/// The stem of a contraction and the pronunciations of its ending.
pub(super) fn contraction(word: &str) -> Option<(&str, &'static [&'static str])> {
    CONTRACTIONS.iter().find_map(|(ending, phones)| Some((word.strip_suffix(ending)?, *phones)))
}

/// The pronunciation of the ending `s` after a phone.
pub(super) fn plural(last: &str) -> &'static str {
    match last {
        "S" | "Z" | "SH" | "ZH" | "CH" | "JH" => "IH Z",
        "P" | "T" | "K" | "F" | "TH" => "S",
        _ => "Z",
    }
}

/// British spellings of word parts and their American counterparts.
const SPELLINGS: [(&str, &str); 12] = [
    ("our", "or"),
    ("ise", "ize"),
    ("isa", "iza"),
    ("isi", "izi"),
    ("yse", "yze"),
    ("ysi", "yzi"),
    ("ogue", "og"),
    ("lle", "le"),
    ("lli", "li"),
    ("ae", "e"),
    ("oe", "e"),
    ("ence", "ense"),
];

/// Other spellings of a word with the same pronunciation: American ones, and with the omitted apostrophe.
pub(super) fn other_spellings(word: &str) -> impl Iterator<Item = String> {
    let american = SPELLINGS.iter().flat_map(move |(british, american)| {
        word.match_indices(british)
            .map(move |(at, _)| format!("{}{american}{}", &word[..at], &word[at + british.len()..]))
    });
    let apostrophe = word.strip_suffix("nt").map(|verb| format!("{verb}n't"));
    american.chain(apostrophe)
}

/// Whether a word has no vowel, so that it can only be spelled.
pub(super) fn is_initialism(word: &str) -> bool {
    !word.is_empty()
        && word.chars().all(|c| c.is_ascii_lowercase())
        && !word.contains(|c| "aeiouy".contains(c))
}

/// The letters of the English alphabet that replace a letter: accents are removed and ligatures expanded.
pub(super) fn plain_letter(letter: char) -> Option<&'static str> {
    /// Plain letters and the letters that they replace.
    const LETTERS: [(&str, &str); 30] = [
        ("a", "àáâãåāăąǎ"),
        ("ae", "æä"),
        ("b", "ḃ"),
        ("c", "çćĉċč"),
        ("d", "ďđð"),
        ("e", "èéêëēĕėęěẽ"),
        ("g", "ĝğġģǧ"),
        ("h", "ĥħ"),
        ("i", "ìíîïĩīĭįıǐ"),
        ("ij", "ĳ"),
        ("j", "ĵ"),
        ("k", "ķ"),
        ("l", "ĺļľŀł"),
        ("n", "ńņňŋ"),
        ("ny", "ñ"),
        ("o", "òóôõøōŏőǒơ"),
        ("oe", "œö"),
        ("r", "ŕŗř"),
        ("s", "śŝşș"),
        ("sh", "š"),
        ("ss", "ß"),
        ("t", "ţťŧț"),
        ("th", "þ"),
        ("u", "ùúûũūŭůűųǔư"),
        ("ue", "ü"),
        ("w", "ŵẁẃẅ"),
        ("y", "ýŷÿỳ"),
        ("z", "źż"),
        ("zh", "ž"),
        ("v", "ṽ"),
    ];
    LETTERS.iter().find(|(_, letters)| letters.contains(letter)).map(|(plain, _)| *plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decomposed() {
        assert_eq!(contraction("hain't").map(|c| c.0), Some("hai"));
        assert_eq!(contraction("o'neill"), None);
        let spellings: Vec<String> = other_spellings("colourise").collect();
        assert!(spellings.contains(&"colorise".into()) && spellings.contains(&"colourize".into()));
        assert!(is_initialism("html") && !is_initialism("a") && !is_initialism("l'h"));
        assert_eq!(plain_letter('é'), Some("e"));
        assert_eq!(plain_letter('д'), None);
        assert_eq!(letter_name('w'), Some("D AH B AH L Y UW"));
        assert_eq!(letter_name('{'), None);
    }
}
