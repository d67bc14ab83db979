//! Conversion of numbers in recognized words to digits.

use super::transcript::Word;
use crate::text::numbers::{Numbers, write_numbers};

/// Writes the numbers among the words in digits. A number of several words becomes one word, which extends from the
/// start of the first to the end of the last and has the geometric mean of their confidences.
pub(super) fn in_digits(words: Vec<Word>, numbers: Numbers) -> Vec<Word> {
    if numbers == Numbers::Words {
        return words;
    }
    // The words of some models are in upper case.
    let lower: Vec<String> = words.iter().map(|word| word.word.to_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let mut written = Vec::with_capacity(words.len());
    for piece in write_numbers(&lower, numbers) {
        let spoken = &words[piece.words.clone()];
        let (Some(first), Some(last)) = (spoken.first(), spoken.last()) else { continue };
        if spoken.len() == 1 && piece.text == lower[piece.words.start] {
            written.push(first.clone());
            continue;
        }
        let log_prob: f32 = spoken.iter().map(|word| word.confidence.max(f32::MIN_POSITIVE).ln()).sum();
        written.push(Word {
            word: piece.text,
            start: first.start,
            end: last.end,
            confidence: (log_prob / spoken.len() as f32).exp(),
        });
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_times_of_its_words() {
        let word = |text: &str, start: f64, confidence: f32| Word {
            word: text.into(),
            start,
            end: start + 0.4,
            confidence,
        };
        let spoken = vec![
            word("Take", 0.0, 1.0),
            word("TWENTY", 0.5, 0.9),
            word("FIVE", 1.0, 0.4),
            word("one", 2.0, 0.8),
            word("ten", 3.0, 0.7),
        ];
        let written = in_digits(spoken.clone(), Numbers::Digits);
        let texts: Vec<&str> = written.iter().map(|word| word.word.as_str()).collect();
        assert_eq!(texts, ["Take", "25", "one", "10"]);
        assert_eq!((written[1].start, written[1].end), (0.5, 1.4));
        assert!((written[1].confidence - 0.6).abs() < 1e-6);
        assert_eq!(written[2], spoken[3]);
        assert!((written[3].confidence - 0.7).abs() < 1e-6);
        assert_eq!(in_digits(spoken.clone(), Numbers::Words), spoken);
        assert!(in_digits(Vec::new(), Numbers::All).is_empty());
    }
}
