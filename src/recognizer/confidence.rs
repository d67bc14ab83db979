//! Confidence of words: an estimate of the probability that a word is right.
//!
//! The posteriors of a network are no such probabilities: they know nothing of the language model or of which words are
//! possible, and a network that was trained by maximum mutual information leaves much to the language model. The confidence of
//! a word found by a search is therefore a logistic function of its posteriors, of those of the words around it, and of its
//! duration. The constants were fitted to recordings (`tools/bench/confidence.py --fit`) for the embedded network of English,
//! with a language model and with phrases. Other searches have no such function: there the confidence is the geometric mean of
//! the posteriors.

use super::transcript::Word;

/// Minimum log-probability, nats: that of less likely words makes no further difference.
const MIN_LOG_PROB: f32 = -6.9;
/// Maximum duration, seconds: that of longer words makes no further difference.
const MAX_SECONDS: f64 = 1.0;

/// Constants of the logistic function for one kind of search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Calibration {
    offset: f32,
    /// Factor of the mean log-probability of the labels of the word.
    word: f32,
    /// Factor of the mean of these over the words of the segment.
    segment: f32,
    /// Factor of the duration of the word in seconds.
    seconds: f32,
}

impl Calibration {
    /// For a language model.
    pub const LANGUAGE_MODEL: Self = Self { offset: 4.05, word: 0.90, segment: 2.37, seconds: -1.69 };
    /// For phrases.
    pub const PHRASES: Self = Self { offset: 3.59, word: 0.54, segment: 0.0, seconds: 0.0 };

    /// Replaces the confidence of each word, the geometric mean of its posteriors, by the calibrated one. The words are those
    /// of a segment.
    pub fn apply<'a>(&self, words: impl Iterator<Item = &'a mut Word>) {
        let words: Vec<_> = words.collect();
        let sum: f32 = words.iter().map(|word| log_prob(word)).sum();
        let mean = sum / words.len().max(1) as f32;
        for word in words {
            let seconds = (word.end - word.start).min(MAX_SECONDS) as f32;
            let log_odds =
                self.offset + self.word * log_prob(word) + self.segment * mean + self.seconds * seconds;
            word.confidence = 1.0 / (1.0 + (-log_odds).exp());
        }
    }
}

fn log_prob(word: &Word) -> f32 {
    word.confidence.ln().max(MIN_LOG_PROB)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(confidence: f32) -> Word {
        Word { word: "a".into(), start: 1.0, end: 1.2, confidence }
    }

    #[test]
    fn likelier_words_and_those_among_likelier_ones_have_more_confidence() {
        for calibration in [Calibration::LANGUAGE_MODEL, Calibration::PHRASES] {
            let mut words = [0.0, 0.1, 0.5, 1.0].map(word);
            calibration.apply(words.iter_mut());
            let numbers = words.map(|word| word.confidence);
            assert!(numbers.is_sorted() && numbers.iter().all(|p| (0.0..=1.0).contains(p)), "{numbers:?}");
            let of_first = |other: f32| {
                let mut words = [0.5, other].map(word);
                calibration.apply(words.iter_mut());
                words[0].confidence
            };
            assert!(of_first(0.1) <= of_first(0.9));
        }
        Calibration::PHRASES.apply(std::iter::empty());
    }
}
