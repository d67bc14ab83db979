//! Reader for phrase lists of Vosk: `["turn on the light", "[unk]"]`.

use super::expression::Expression;
use super::fault::{Fault, Parsed, Place, characters};
use super::grammar::{Grammar, Phrase};

/// Vosk's names of out-of-vocabulary speech. They are ignored, since the search always includes it.
const OTHER_SPEECH: [&str; 2] = ["[unk]", "<unk>"];

/// Reads a list into a grammar.
///
/// # Errors
/// When the text is not a list of strings; names line and column.
pub fn read(text: &str, file: u32, grammar: &mut Grammar) -> Parsed<()> {
    let phrases: Vec<String> = serde_json::from_str(text).map_err(|e| {
        let place = Place { file, line: e.line() as u32, column: e.column() as u32 };
        let problem = e.to_string();
        let problem = problem.split(" at line ").next().unwrap_or_default();
        Fault::new(place, format!("expected a JSON list of phrases: {problem}"))
    })?;
    for (phrase, place) in phrases.into_iter().zip(string_places(text, file)) {
        if OTHER_SPEECH.contains(&phrase.to_lowercase().as_str()) {
            continue;
        }
        if phrase.trim().is_empty() {
            return Err(Fault::new(place, "expected a phrase, found no words"));
        }
        let mut parts = Vec::new();
        for word in phrase.split_whitespace() {
            let before = phrase[..word.as_ptr() as usize - phrase.as_ptr() as usize].chars().count();
            // After the quotation mark; an escape before it would move it.
            let place = Place { column: place.column.saturating_add(1 + before as u32), ..place };
            parts.extend([Expression::Space, Expression::Text(word.into(), place)]);
        }
        grammar.phrases.push(Phrase {
            expression: Expression::Sequence(parts),
            template: phrase,
            intent: None,
            slots: Vec::new(),
            weight: 1.0,
            place,
        });
    }
    Ok(())
}

/// Positions of the strings in valid JSON.
fn string_places(text: &str, file: u32) -> Vec<Place> {
    let mut places = Vec::new();
    let (mut inside, mut escaped) = (false, false);
    for (c, place) in characters(text, file) {
        match c {
            '"' if !inside => {
                places.push(place);
                inside = true;
            }
            '"' if !escaped => inside = false,
            '\\' if inside && !escaped => {
                escaped = true;
                continue;
            }
            _ => {}
        }
        escaped = false;
    }
    places
}
