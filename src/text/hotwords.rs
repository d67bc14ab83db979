//! Hotword files: words and phrases to be boosted, one per line.
//!
//! ```text
//! # A line is a word or a phrase.
//! Kubernetes
//! Anna Karenina
//! /4/ Saoirse Ronan
//! Nuuk :1.5
//! ```
//!
//! A line may contain a boost in nats per word: between slashes at its beginning, as in phrase files, or after a colon
//! at its end, as in sherpa-onnx.

use std::path::{Path, PathBuf};

use super::normalize;
use super::phrases::read_text;
use crate::error::{Error, Result, Stage};

/// Maximum number of words of all phrases together.
const MAX_WORDS: usize = 1_000_000;
/// Maximum boost of a word, nats.
pub const MAX_BOOST: f32 = 100.0;
/// Special characters of phrase files, which are refused in hotword files.
const RESERVED: &str = "()[]{}<>|;";

/// The phrases of a hotword file.
#[derive(Clone, Debug, PartialEq)]
pub struct Hotwords {
    path: Option<PathBuf>,
    phrases: Vec<Hotword>,
}

/// A word or phrase with its boost.
#[derive(Clone, Debug, PartialEq)]
pub struct Hotword {
    /// One or more words, spelled as in the file.
    pub words: Vec<PlacedWord>,
    /// Boost per word, nats; `None` for the default of the list.
    pub boost: Option<f32>,
}

/// A word with its position in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct PlacedWord {
    /// The word, without white space.
    pub text: String,
    /// Line in the file, counted from 1.
    pub line: usize,
    /// Column of the first character, counted from 1.
    pub column: usize,
}

impl Hotwords {
    /// Reads a file.
    ///
    /// # Errors
    /// When the file cannot be read, is too long or has no phrases, or a line is invalid, in which case line and column
    /// are named.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&read_text(path)?, Some(path))
    }

    /// Parses the text of a hotword file; `path` is its name in error messages.
    ///
    /// # Errors
    /// As [`Hotwords::read`].
    pub fn parse(text: &str, path: Option<&Path>) -> Result<Self> {
        let in_file = |error: Error| match path {
            Some(path) => error.in_file(path),
            None => error,
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (mut phrases, mut words) = (Vec::new(), 0);
        for (at, line) in text.lines().enumerate() {
            let Some(phrase) = parse_line(line, at + 1).map_err(in_file)? else { continue };
            words += phrase.words.len();
            if words > MAX_WORDS {
                let problem = format!("expected hotwords of at most {MAX_WORDS} words in all, found more");
                return Err(in_file(Error::new(Stage::Text, problem).at(format!("line {}", at + 1))));
            }
            phrases.push(phrase);
        }
        if phrases.is_empty() {
            let problem = "expected hotwords, a word or a phrase a line, found none";
            return Err(in_file(Error::new(Stage::Text, problem)));
        }
        Ok(Self { path: path.map(Path::to_path_buf), phrases })
    }

    /// Creates a list of plain phrases, without boosts and comments. A phrase has the line of its number, counted from
    /// 1; phrases without words are left out.
    pub fn of_phrases<'a>(phrases: impl IntoIterator<Item = &'a str>) -> Self {
        let phrases = (1..).zip(phrases).filter_map(|(line, phrase)| {
            let words: Vec<PlacedWord> = words_with_columns(phrase)
                .map(|(column, text)| PlacedWord { text: text.into(), line, column: column + 1 })
                .collect();
            (!words.is_empty()).then_some(Hotword { words, boost: None })
        });
        Self { path: None, phrases: phrases.collect() }
    }

    /// The phrases, in the order of the file.
    pub fn phrases(&self) -> &[Hotword] {
        &self.phrases
    }

    /// Creates an error with the position of a word.
    pub fn error_at(&self, word: &PlacedWord, problem: impl Into<String>) -> Error {
        let error =
            Error::new(Stage::Text, problem).at(format!("line {}, column {}", word.line, word.column));
        match &self.path {
            Some(path) => error.in_file(path),
            None => error,
        }
    }
}

impl PlacedWord {
    /// The words that are spoken for this: split at dashes, slashes and underscores, with names of symbols (`and` for
    /// `&`), without punctuation, with their case.
    pub fn parts(&self) -> Vec<String> {
        normalize::split(&normalize::with_symbol_names(&self.text.replace(['’', 'ʼ'], "'")))
    }

    /// Whether it has a symbol that [`PlacedWord::parts`] leaves out because it has no spoken name.
    pub fn has_unspoken_symbol(&self) -> bool {
        self.text.contains(normalize::is_unspoken_symbol)
    }
}

/// A part of a line, with the number of characters before it.
type Part<'a> = (usize, &'a str);

/// Splits a line at white space, without a comment at its end.
fn parts(line: &str) -> Vec<Part<'_>> {
    let comment = line
        .char_indices()
        .find(|&(at, c)| c == '#' && line[..at].chars().next_back().is_none_or(char::is_whitespace));
    words_with_columns(&line[..comment.map_or(line.len(), |(at, _)| at)]).collect()
}

/// The parts of a text between white space.
fn words_with_columns(text: &str) -> impl Iterator<Item = Part<'_>> {
    text.split_whitespace().map(move |part| {
        let bytes = part.as_ptr() as usize - text.as_ptr() as usize;
        (text[..bytes].chars().count(), part)
    })
}

/// Parses a line; `None` if it is empty or a comment.
fn parse_line(line: &str, number: usize) -> Result<Option<Hotword>> {
    let wrong = |column: usize, problem: String| {
        Error::new(Stage::Text, problem).at(format!("line {number}, column {}", column + 1))
    };
    let mut parts = parts(line);
    if parts.is_empty() {
        return Ok(None);
    }
    let mut boost = None;
    if let Some((column, number)) = in_front(&mut parts) {
        boost = Some(parse_boost(number).map_err(|problem| wrong(column, problem))?);
    }
    if let Some((column, number)) = at_end(&mut parts) {
        if boost.is_some() {
            return Err(wrong(column, "expected one boost, found a second one".into()));
        }
        boost = Some(parse_boost(number).map_err(|problem| wrong(column, problem))?);
    }
    if parts.is_empty() {
        let end = line.trim_end().chars().count();
        return Err(wrong(end, "expected a word or a phrase beside the boost, found none".into()));
    }
    let mut words = Vec::with_capacity(parts.len());
    for (column, text) in parts {
        if let Some((at, c)) = text.chars().enumerate().find(|&(_, c)| RESERVED.contains(c)) {
            let problem = format!("expected words, found `{c}`");
            return Err(wrong(column + at, problem)
                .hint("hotwords are plain words: write each phrase on a line of its own"));
        }
        words.push(PlacedWord { text: text.into(), line: number, column: column + 1 });
    }
    Ok(Some(Hotword { words, boost }))
}

/// Removes a boost `/NUMBER/` from the beginning of a line; white space after it is optional.
fn in_front<'a>(parts: &mut Vec<Part<'a>>) -> Option<Part<'a>> {
    let (column, first) = parts[0];
    let (number, word) = first.strip_prefix('/')?.split_once('/')?;
    match word {
        "" => drop(parts.remove(0)),
        word => parts[0] = (column + 2 + number.chars().count(), word),
    }
    Some((column + 1, number))
}

/// Removes a boost `:NUMBER` from the end of a line.
fn at_end<'a>(parts: &mut Vec<Part<'a>>) -> Option<Part<'a>> {
    let &(column, last) = parts.last()?;
    let number = last.strip_prefix(':')?;
    parts.pop();
    Some((column + 1, number))
}

fn parse_boost(text: &str) -> std::result::Result<f32, String> {
    let number = text.parse().ok().filter(|number| (0.0..=MAX_BOOST).contains(number));
    number.ok_or_else(|| format!("expected a boost from 0 to {MAX_BOOST} nats, found `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(phrase: &Hotword) -> Vec<&str> {
        phrase.words.iter().map(|word| word.text.as_str()).collect()
    }

    #[test]
    fn both_notations_of_a_boost_are_parsed() {
        let text = "\u{feff}# names\nAnna Karenina # a book\n\n/4/ Saoirse Ronan\n/0.5/Nuuk\r\nC# :1.5\n";
        let read = Hotwords::parse(text, None).expect("good lines");
        let found: Vec<_> = read.phrases().iter().map(|phrase| (texts(phrase), phrase.boost)).collect();
        assert_eq!(
            found,
            [
                (vec!["Anna", "Karenina"], None),
                (vec!["Saoirse", "Ronan"], Some(4.0)),
                (vec!["Nuuk"], Some(0.5)),
                (vec!["C#"], Some(1.5)),
            ]
        );
        let places: Vec<_> =
            read.phrases().iter().flat_map(|p| &p.words).map(|word| (word.line, word.column)).collect();
        assert_eq!(places, [(2, 1), (2, 6), (4, 5), (4, 13), (5, 6), (6, 1)]);
        assert_eq!(read.phrases()[0].words[0].parts(), ["Anna"]);
        assert!(read.phrases()[3].words[0].has_unspoken_symbol());
        let company = Hotwords::parse("AT&T", None).expect("a line");
        assert_eq!(company.phrases()[0].words[0].parts(), ["AT", "and", "T"]);
    }

    #[test]
    fn plain_phrases_have_neither_boosts_nor_comments() {
        let list = Hotwords::of_phrases(["Anna #1 :2", " ", "(a/b)"]);
        let found: Vec<_> = list.phrases().iter().map(|phrase| (texts(phrase), phrase.boost)).collect();
        assert_eq!(found, [(vec!["Anna", "#1", ":2"], None), (vec!["(a/b)"], None)]);
        let word = &list.phrases()[1].words[0];
        assert_eq!((word.line, word.column, word.parts()), (3, 1, vec!["a".to_string(), "b".into()]));
    }

    #[test]
    fn errors_name_line_and_column() {
        for (text, place, problem) in [
            ("a\n/x/ b\n", "line 2, column 2: ", "`x`"),
            ("a :-1\n", "line 1, column 4: ", "`-1`"),
            ("a :nan\n", "line 1, column 4: ", "`nan`"),
            ("a :101\n", "line 1, column 4: ", "from 0 to 100"),
            ("ä :\n", "line 1, column 4: ", "found ``"),
            ("/2/ a :3\n", "line 1, column 8: ", "a second one"),
            ("a\n/2/ # nothing\n", "line 2, column 14: ", "beside the boost"),
            (" :3\n", "line 1, column 4: ", "beside the boost"),
            ("turn (on|off)\n", "line 1, column 6: ", "`(`"),
            ("a\nb|c\n", "line 2, column 2: ", "`|`"),
            ("# nothing\n\n", "expected hotwords", "found none"),
        ] {
            let error = Hotwords::parse(text, None).expect_err(text).to_string();
            assert!(error.starts_with(place) && error.contains(problem), "{text:?}: {error}");
        }
        let error = Hotwords::parse("a :x", Some(Path::new("names.txt"))).expect_err("no number").to_string();
        assert!(error.starts_with("names.txt: line 1, column 4: "), "{error}");
    }
}
