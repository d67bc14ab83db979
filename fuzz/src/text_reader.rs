//! Every reader of text files: phrases in their four forms, dictionaries, language models in ARPA form and in binary.
//!
//! The first byte chooses the reader, the others are the file.

use std::io::Cursor;

use hearken::text::ngram::{NgramModel, read_arpa};
use hearken::text::phrases::{Format, Phrases};
use hearken::text::pronunciation::Pronunciations;

/// Maximum size of a model in memory, bytes.
const MEMORY: usize = 64 << 20;

/// One case.
pub fn run(bytes: &[u8]) {
    let Some((&reader, file)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(file);
    match reader % 7 {
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
        _ => {
            let _ = NgramModel::from_bytes(file);
        }
    }
}

fn phrases(text: &str, format: Format) {
    let Ok(phrases) = Phrases::parse(text, format, None) else { return };
    let _ = phrases.warnings();
    let words: Vec<u32> = (0..phrases.words().len().min(5) as u32).collect();
    let _ = phrases.find(&words);
}
