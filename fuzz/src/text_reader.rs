//! Every reader of text files: phrases in their four forms, dictionaries, language models in ARPA form and in binary,
//! hotwords.
//!
//! The first byte chooses the reader, the others are the file.

use std::io::Cursor;

use hearken::text::hotwords::{Hotwords, MAX_BOOST};
use hearken::text::ngram::{NgramModel, read_arpa};
use hearken::text::phrases::{Format, Phrases};
use hearken::text::pronunciation::Pronunciations;

/// Maximum size of a model in memory, bytes.
const MEMORY: usize = 64 << 20;

/// One case.
pub fn run(bytes: &[u8]) {
    let Some((&reader, file)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(file);
    match reader % 8 {
        0 => phrases(&text, Format::Lines),
        1 => phrases(&text, Format::Json),
        2 => phrases(&text, Format::Yaml),
        3 => phrases(&text, Format::Jsgf),
        4 => {
            let _ = Pronunciations::parse(&text);
        }
        5 => {
            let Ok(model) = read_arpa(Cursor::new(file), MEMORY) else { return };
            // The model is written, and read again as the same model.
            let again = NgramModel::from_bytes(&model.to_bytes()).expect("what hearken writes, it reads");
            assert_eq!(again.vocabulary.len(), model.vocabulary.len());
        }
        6 => {
            let _ = NgramModel::from_bytes(file);
        }
        _ => hotwords(&text),
    }
}

fn phrases(text: &str, format: Format) {
    let Ok(phrases) = Phrases::parse(text, format, None) else { return };
    let _ = phrases.warnings();
    let words: Vec<u32> = (0..phrases.words().len().min(5) as u32).collect();
    let _ = phrases.find(&words);
}

fn hotwords(text: &str) {
    let Ok(hotwords) = Hotwords::parse(text, None) else { return };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    assert!(!hotwords.phrases().is_empty());
    for phrase in hotwords.phrases() {
        assert!(
            !phrase.words.is_empty() && phrase.boost.is_none_or(|boost| (0.0..=MAX_BOOST).contains(&boost))
        );
        for word in &phrase.words {
            // The position of a word is where its text stands.
            let line = text.lines().nth(word.line - 1).expect("a line of the file");
            let at: String = line.chars().skip(word.column - 1).collect();
            assert!(at.starts_with(&word.text), "{line:?}: {word:?}");
            assert!(word.parts().iter().all(|part| !part.is_empty()));
        }
    }
}
