//! Results as JSON, with the fields of vosk-api.

use hearken::{Segment, Word};
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Serialize)]
struct VoskWord<'a> {
    conf: f64,
    end: f64,
    start: f64,
    word: &'a str,
}

/// Words with their times, `offset` seconds later.
fn words(words: &[Word], offset: f64) -> Value {
    // Six decimals, as Vosk.
    let rounded = |x: f64| (x * 1e6).round() / 1e6;
    let word = |word: &Word| {
        let word = VoskWord {
            conf: rounded(f64::from(word.confidence)),
            end: rounded(word.end + offset),
            start: rounded(word.start + offset),
            word: &word.word,
        };
        json!(word)
    };
    words.iter().map(word).collect()
}

/// Which fields results have.
#[derive(Clone, Copy, Default)]
pub struct Fields {
    /// Words with times in final results.
    pub words: bool,
    /// Words with times in partial results.
    pub partial_words: bool,
    /// Number of alternatives; 0 for a result without alternatives.
    pub alternatives: usize,
}

/// A text of consecutive segments.
struct Text {
    /// Score, nats: greater for likelier texts.
    score: f64,
    text: String,
    words: Vec<Word>,
}

/// The `n` best texts of consecutive segments together, the best first. The score of the best is the sum of the
/// logarithms of its words' confidences: in Vosk the confidence of an alternative is a score as well.
fn joined(segments: &[Segment], n: usize) -> Vec<Text> {
    let log = |word: &Word| f64::from(word.confidence).max(1e-9).ln();
    let mut best = vec![Text { score: 0.0, text: String::new(), words: Vec::new() }];
    for segment in segments {
        let likelihood: f64 = segment.words.iter().map(log).sum();
        let own = std::iter::once((segment.text.as_str(), 0.0, segment.words.as_slice()));
        let others = segment.alternatives.iter().skip(1);
        let others =
            others.map(|other| (other.text.as_str(), f64::from(other.score), other.words.as_slice()));
        let ways: Vec<_> = own.chain(others).take(n).collect();
        let longer = best.iter().flat_map(|before| {
            ways.iter().map(move |&(text, score, words)| Text {
                score: before.score + likelihood + score,
                text: [before.text.as_str(), text].join(" ").trim().into(),
                words: [&before.words, words].concat(),
            })
        });
        let mut longer: Vec<Text> = longer.collect();
        // The sort is stable: of equal scores, the best text of each segment stays first.
        longer.sort_by(|a, b| b.score.total_cmp(&a.score));
        longer.truncate(n);
        best = longer;
    }
    best
}

/// The result of segments: `{"text": …}`, with words `{"result": […], "text": …}`, or `{"alternatives": […]}`.
pub fn result(segments: &[Segment], fields: Fields, offset: f64) -> String {
    let texts = joined(segments, fields.alternatives.max(1));
    let object = |text: &Text| {
        let mut object = json!({});
        if fields.alternatives > 0 {
            object["confidence"] = json!(text.score);
        }
        if fields.words && !text.words.is_empty() {
            object["result"] = words(&text.words, offset);
        }
        object["text"] = json!(text.text);
        object
    };
    let objects: Vec<Value> = texts.iter().map(object).collect();
    match fields.alternatives {
        0 => objects[0].to_string(),
        _ => json!({ "alternatives": objects }).to_string(),
    }
}

/// A partial result: `{"partial": …}`, with words also `"partial_result"`.
pub fn partial(segment: Option<&Segment>, fields: Fields, offset: f64) -> String {
    let mut object = json!({ "partial": segment.map_or("", |segment| &segment.text) });
    if let Some(segment) = segment.filter(|segment| fields.partial_words && !segment.words.is_empty()) {
        object["partial_result"] = words(&segment.words, offset);
    }
    object.to_string()
}
