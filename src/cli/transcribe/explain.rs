//! `--explain`: the nearest phrase to speech that was rejected.

use crate::recognizer::{Segment, Word};

/// The number of texts among which the nearest phrase is looked for.
pub(super) const NBEST: usize = 10;

/// A line about the nearest phrase to speech that was rejected in an utterance; `None` where all alternatives are
/// readings of the words that were recognized.
pub(super) fn line(segment: &Segment) -> Option<String> {
    let outside =
        |word: &&Word| segment.words.iter().all(|own| word.end <= own.start || own.end <= word.start);
    for alternative in &segment.alternatives {
        let words: Vec<&Word> = alternative.words.iter().filter(outside).collect();
        if let (Some(first), Some(last)) = (words.first(), words.last()) {
            let text = words.iter().map(|word| word.word.as_str()).collect::<Vec<_>>().join(" ");
            let score_gap = -alternative.score;
            if score_gap == 0.0 {
                let certain = words.iter().map(|word| word.confidence).fold(0.0, f32::max);
                return Some(format!(
                    "{:.1} to {:.1} s: rejected; of `{text}` no word has a confidence above {certain:.2}",
                    first.start, last.end
                ));
            }
            return Some(format!(
                "{:.1} to {:.1} s: rejected; nearest phrase `{text}`, {score_gap:.1} nats behind",
                first.start, last.end
            ));
        }
    }
    let nothing =
        || format!("{:.1} to {:.1} s: nothing recognized; no phrase was near", segment.start, segment.end);
    segment.words.is_empty().then(nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognizer::Alternative;

    fn words(words: &[(&str, f64, f64)]) -> Vec<Word> {
        let word =
            |&(word, start, end): &(&str, f64, f64)| Word { word: word.into(), start, end, confidence: 0.5 };
        words.iter().map(word).collect()
    }

    /// Words with their start and end.
    type Timed<'a> = &'a [(&'a str, f64, f64)];

    fn segment(best: Timed, others: &[(Timed, f32)]) -> Segment {
        let alternative = |(found, score): &(&[(&str, f64, f64)], f32)| Alternative {
            text: String::new(),
            confidence: 0.1,
            score: *score,
            words: words(found),
        };
        Segment {
            text: String::new(),
            start: 0.0,
            end: 4.0,
            words: words(best),
            phrases: Vec::new(),
            alternatives: others.iter().map(alternative).collect(),
        }
    }

    #[test]
    fn the_nearest_phrase_beside_the_recognized_words_is_named() {
        let off = [("light", 1.0, 1.5), ("off", 1.5, 2.0)];
        let rejected = segment(&[], &[(&[], 0.0), (&off, -6.26)]);
        let expected = "1.0 to 2.0 s: rejected; nearest phrase `light off`, 6.3 nats behind";
        assert_eq!(line(&rejected).as_deref(), Some(expected));
        let on = [("light", 1.0, 1.5), ("on", 1.5, 2.0)];
        assert_eq!(line(&segment(&on, &[(&on, 0.0), (&off, -1.0)])), None);
        let both = [("stop", 0.2, 0.6), ("light", 1.0, 1.5), ("on", 1.5, 2.0)];
        let found = line(&segment(&on, &[(&on, 0.0), (&both, -3.0)])).expect("one word more");
        assert!(found.starts_with("0.2 to 0.6 s") && found.contains("`stop`, 3.0 nats"), "{found}");
        let doubtful = line(&segment(&[], &[(&off, 0.0)])).expect("rejected");
        assert!(doubtful.contains("of `light off` no word has a confidence above 0.50"), "{doubtful}");
        assert!(line(&segment(&[], &[(&[], 0.0)])).expect("nothing").contains("no phrase was near"));
    }
}
