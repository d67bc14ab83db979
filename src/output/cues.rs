//! Subtitles of words: grouping, line breaks, durations.
//!
//! The rules are those that broadcasters publish (BBC, Netflix): two lines of at most
//! [`MAX_LINE`] characters, at most [`MAX_SECONDS`], breaks where the speaker pauses, time enough to
//! read ([`CHARACTERS_PER_SECOND`]) as far as the next subtitle allows, and no flashing.
//!
//! The breaks are those of least cost over the whole utterance, by dynamic programming: cost of the
//! first i words = min over j of cost of the first j + cost of a subtitle of words j..i. A subtitle has
//! few words, so that this takes time linear in the number of words.

use crate::recognizer::{Segment, Word};

use super::printable;

/// Characters of a line.
pub(super) const MAX_LINE: usize = 42;
/// Characters of a subtitle: two lines.
const MAX_CHARACTERS: usize = 2 * MAX_LINE;
/// Seconds that a subtitle stays, unless a single word lasts longer.
const MAX_SECONDS: f64 = 7.0;
/// Seconds that it stays at least, where the next one leaves the time.
const MIN_SECONDS: f64 = 5.0 / 6.0;
/// Reading speed.
const CHARACTERS_PER_SECOND: f64 = 17.0;
/// Seconds between subtitles that follow each other: two frames.
const GAP: f64 = 2.0 / 24.0;
/// A pause, seconds, that no subtitle spans.
const LONG_PAUSE: f64 = 1.5;
/// A pause, seconds, at which a subtitle may break without a cost.
const PAUSE: f64 = 0.5;

/// A subtitle.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cue {
    /// Seconds.
    pub start: f64,
    /// Seconds.
    pub end: f64,
    /// One or two lines.
    pub lines: Vec<String>,
}

/// The subtitles of a recording.
pub(super) fn cues(segments: &[Segment]) -> Vec<Cue> {
    let mut cues: Vec<Cue> = segments.iter().flat_map(|segment| split_utterance(&segment.words)).collect();
    extend(&mut cues);
    cues
}

/// Keeps each subtitle as long as reading it takes, as far as the next one allows.
fn extend(cues: &mut [Cue]) {
    for i in 0..cues.len() {
        let next = cues.get(i + 1).map_or(f64::INFINITY, |next| next.start);
        let cue = &mut cues[i];
        let characters: usize = cue.lines.iter().map(|line| line.chars().count()).sum();
        let wanted = (characters as f64 / CHARACTERS_PER_SECOND).clamp(MIN_SECONDS, MAX_SECONDS);
        // Where words follow closely the subtitle ends with its last word, before the next begins.
        let latest = (next - GAP).max(cue.end.min(next));
        cue.end = cue.end.max((cue.start + wanted).min(latest));
    }
}

fn split_utterance(words: &[Word]) -> Vec<Cue> {
    let texts: Vec<String> = words.iter().map(|word| printable(&word.word)).collect();
    let lengths: Vec<usize> = texts.iter().map(|text| text.chars().count()).collect();
    let breaks = breaks(words, &lengths);
    let spans = breaks.windows(2).map(|span| span[0]..span[1]);
    let cue = |span: std::ops::Range<usize>| Cue {
        start: words[span.start].start,
        end: words[span.end - 1].end,
        lines: lines(&texts[span.clone()], &lengths[span]),
    };
    spans.map(cue).collect()
}

/// The indices of the first words of subtitles, followed by the number of words.
fn breaks(words: &[Word], lengths: &[usize]) -> Vec<usize> {
    // Least cost of the first i words, and where their last subtitle begins.
    let mut best = vec![(0.0, 0)];
    for end in 1..=words.len() {
        let mut least = (f64::INFINITY, end - 1);
        let mut characters = 0;
        for start in (0..end).rev() {
            characters += lengths[start] + usize::from(start + 1 < end);
            let single = start + 1 == end;
            let pause = start + 1 < end && words[start + 1].start - words[start].end > LONG_PAUSE;
            let seconds = words[end - 1].end - words[start].start;
            if !single && (characters > MAX_CHARACTERS || seconds > MAX_SECONDS || pause) {
                break;
            }
            let (before, _): (f64, usize) = best[start];
            let cost = before + cost(words, start, end, characters);
            if cost < least.0 {
                least = (cost, start);
            }
        }
        best.push(least);
    }
    let mut breaks = vec![words.len()];
    let mut at = words.len();
    while at > 0 {
        at = best[at].1;
        breaks.push(at);
    }
    breaks.reverse();
    breaks
}

/// What it costs to show words `start..end` together: one for each subtitle, more for little text
/// in one, for pauses inside it, for a break in the midst of speech, and for two lines.
fn cost(words: &[Word], start: usize, end: usize, characters: usize) -> f64 {
    let pause = |at: usize| words[at].start - words[at - 1].end;
    let short = (1.0 - characters as f64 / MAX_LINE as f64).max(0.0);
    let inside: f64 = (start + 1..end).map(|at| pause(at).max(0.0) / PAUSE).map(|p| p * p).sum();
    let break_in_speech = if end < words.len() { (1.0 - pause(end) / PAUSE).clamp(0.0, 1.0) } else { 0.0 };
    let second_line = if characters > MAX_LINE { 0.3 } else { 0.0 };
    1.0 + short * short + inside + break_in_speech + second_line
}

/// The text on one line, or on two of which neither is longer than it need be.
fn lines(texts: &[String], lengths: &[usize]) -> Vec<String> {
    let total = lengths.iter().sum::<usize>() + lengths.len().saturating_sub(1);
    if total <= MAX_LINE {
        return vec![texts.join(" ")];
    }
    let mut first = 0;
    let longer = |&at: &usize| {
        first = lengths[..at].iter().sum::<usize>() + at - 1;
        // The upper line the shorter one where both are the same.
        (first.max(total - first - 1), first > total - first - 1)
    };
    match (1..texts.len()).min_by_key(longer) {
        Some(at) => vec![texts[..at].join(" "), texts[at..].join(" ")],
        None => vec![texts.join(" ")],
    }
}

/// A time of a subtitle: `01:02:03,456`, with that mark before the milliseconds.
pub(super) fn time(seconds: f64, mark: char) -> String {
    let ms = (seconds.max(0.0) * 1000.0).round() as u64;
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}{mark}{:03}", ms % 1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word(text: &str, start: f64, end: f64) -> Word {
        Word { word: text.into(), start, end, confidence: 1.0 }
    }

    fn texts(words: &[Word]) -> Vec<String> {
        split_utterance(words).iter().map(|cue| cue.lines.join("/")).collect()
    }

    #[test]
    fn subtitles_break_where_the_speaker_pauses() {
        let mut words = Vec::new();
        let mut at = 0.0;
        for text in
            "so this is what we found when we looked at it again | and then nobody wanted to know".split(' ')
        {
            if text == "|" {
                at += 0.6;
                continue;
            }
            words.push(word(text, at, at + 0.25));
            at += 0.3;
        }
        let expected =
            ["so this is what we found/when we looked at it again", "and then nobody wanted to know"];
        assert_eq!(texts(&words), expected);
    }

    #[test]
    fn a_long_pause_ends_a_subtitle_and_a_long_word_stands_alone() {
        assert_eq!(texts(&[word("one", 0.0, 0.5), word("two", 3.0, 3.5)]), ["one", "two"]);
        let long = "x".repeat(200);
        assert_eq!(
            texts(&[word("a", 0.0, 0.1), word(&long, 0.2, 20.0), word("b", 20.0, 20.1)]),
            ["a", &long, "b"]
        );
        assert_eq!(texts(&[]), [""; 0]);
    }

    #[test]
    fn a_subtitle_stays_long_enough_to_be_read_but_not_into_the_next() {
        let segment = |words: Vec<Word>| Segment {
            text: String::new(),
            start: 0.0,
            end: 9.0,
            words,
            phrases: Vec::new(),
            alternatives: Vec::new(),
        };
        let found = cues(&[
            segment(vec![word("yes", 1.0, 1.2)]),
            segment(vec![word("no", 1.5, 1.6)]),
            segment(vec![word("x", 1.62, 1.7)]),
        ]);
        let times: Vec<(f64, f64)> = found.iter().map(|cue| (cue.start, cue.end)).collect();
        assert_eq!(times[0], (1.0, 1.5 - GAP));
        // Too close: it ends with its word.
        assert_eq!(times[1], (1.5, 1.6));
        assert_eq!(times[2], (1.62, 1.62 + MIN_SECONDS));
    }

    #[test]
    fn times_are_hours_minutes_seconds() {
        assert_eq!(time(3661.0015, ','), "01:01:01,002");
        assert_eq!(time(-1.0, '.'), "00:00:00.000");
        assert_eq!(time(359_999.999_9, '.'), "100:00:00.000");
    }

    proptest! {
        #[test]
        fn every_word_is_shown_once_in_order_and_within_the_limits(
            words in proptest::collection::vec((1usize..30, 0.0f64..0.8, 0.0f64..2.0), 0..200)
        ) {
            let mut at = 0.0;
            let words: Vec<Word> = words.iter().enumerate().map(|(i, &(length, lasts, pause))| {
                at += lasts + pause;
                word(&format!("{i}{}", "x".repeat(length)), at - lasts, at)
            }).collect();
            let segment = Segment { text: String::new(), start: 0.0, end: at, words: words.clone(), phrases: Vec::new(), alternatives: Vec::new() };
            let found = cues(&[segment]);
            let shown: Vec<&str> = found.iter().flat_map(|c| &c.lines).flat_map(|l| l.split(' ')).collect();
            let spoken: Vec<&str> = words.iter().map(|w| w.word.as_str()).collect();
            prop_assert_eq!(shown, spoken);
            for cue in &found {
                prop_assert!(cue.lines.len() <= 2 && cue.lines.iter().map(|l| l.chars().count()).sum::<usize>() <= MAX_CHARACTERS);
                prop_assert!(cue.end - cue.start <= MAX_SECONDS + 1e-9 && cue.end >= cue.start);
            }
            prop_assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }
}
