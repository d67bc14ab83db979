//! Rejection of words that were recognized in out-of-vocabulary speech, by the labels around them.
//!
//! A network for phones or letters recognizes all speech, so that a search over a small lexicon also finds words that
//! were not spoken: "two" in "to", "eight" in "grateful". If words of the lexicon were spoken, most of the labels near
//! them belong to words; in out-of-vocabulary speech, most labels belong to no word. A word is kept if two conditions
//! hold. First, the share of labels that belong to no word is small in the window around the word, up to the next
//! pauses. Second, the words in the window have enough confidence. Noise is sometimes recognized as a word, but rarely
//! as several words or with high confidence, so that a single word needs more confidence than one of several.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{TokenId, UnitSpan};
use crate::error::{Error, Result, Stage};

/// Default length of a pause, ms.
pub(super) const PAUSE_MS: u32 = 2000;
/// Number of words in the window from which on the lowest minimum confidence applies.
const SEVERAL_WORDS: usize = 3;

/// Conditions under which a word is rejected as a part of out-of-vocabulary speech.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RejectionOptions {
    /// Length of the window before the beginning and after the end of a word, ms.
    pub window_ms: u32,
    /// Length of a pause, ms. In the search, a pause ends out-of-vocabulary speech; in the rejection, it limits the
    /// window of [`RejectionOptions::most_other`].
    pub pause_ms: u32,
    /// Maximum share of the labels in the window, up to the next pauses, that belong to no word, 0 to 1.
    pub most_other: f32,
    /// Minimum mean confidence (0 to 1) of the words in the window, including the word itself, if there are one, two,
    /// and three or more words.
    #[serde(skip_serializing_if = "is_zeros")]
    pub least_confidence: [f32; 3],
    /// Factor for the share of labels in the window that belong to no word; the product is added to the minimum
    /// confidence of one or two words. If noise is recognized as a word, there usually are such labels near it.
    #[serde(skip_serializing_if = "is_none")]
    pub confidence_for_others: f32,
    /// Factor for the excess of the same share over [`RejectionOptions::most_other`]; the product is added to the
    /// minimum confidence of three or more words. There can be an excess because this share is that of the whole
    /// window, also beyond pauses.
    #[serde(skip_serializing_if = "is_none")]
    pub confidence_beyond_pause: f32,
    /// Maximum length of a word, ms; longer ones are rejected. 0 for no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub longest_ms: u32,
}

fn is_none(value: &f32) -> bool {
    *value == 0.0
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_zeros(least_confidence: &[f32; 3]) -> bool {
    *least_confidence == [0.0; 3]
}

impl Default for RejectionOptions {
    fn default() -> Self {
        Self {
            window_ms: 1000,
            pause_ms: PAUSE_MS,
            most_other: 0.5,
            least_confidence: [0.0; 3],
            confidence_for_others: 0.0,
            confidence_beyond_pause: 0.0,
            longest_ms: 0,
        }
    }
}

impl RejectionOptions {
    /// Checks that every number is in its range.
    ///
    /// # Errors
    /// When one is not; names the first.
    pub fn validate(&self) -> Result<()> {
        let shares = self.least_confidence.map(|value| ("least_confidence", value));
        for (name, value) in shares.into_iter().chain([("most_other", self.most_other)]) {
            if !(0.0..=1.0).contains(&value) {
                let problem = format!("expected a share from 0 to 1, found {value}");
                return Err(Error::new(Stage::Model, problem).at(format!("rejection: {name}")));
            }
        }
        for (name, value) in [
            ("confidence_for_others", self.confidence_for_others),
            ("confidence_beyond_pause", self.confidence_beyond_pause),
        ] {
            if !(0.0..=100.0).contains(&value) {
                let problem = format!("expected a number from 0 to 100, found {value}");
                return Err(Error::new(Stage::Model, problem).at(format!("rejection: {name}")));
            }
        }
        Ok(())
    }
}

/// The words and labels around the words of a segment, which affect their rejection.
#[derive(Clone, Copy, Debug)]
pub struct RejectionContext<'a> {
    /// Words of previous segments, which are not rejected again.
    pub preceding: &'a [UnitSpan],
    /// Words after them that may still change.
    pub following: &'a [UnitSpan],
    /// Frames at which labels began.
    pub onsets: &'a Onsets,
}

/// Rejection with times in output frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rejection {
    /// Length of the window before and after a word, output frames.
    pub window: u64,
    /// Number of output frames without the beginning of a label that form a pause, at least 1.
    pause: u64,
    most_other: f32,
    least_confidence: [f32; 3],
    confidence_for_others: f32,
    confidence_beyond_pause: f32,
    /// Maximum length of a word, output frames.
    max_length: u64,
}

impl Rejection {
    /// Creates the rejection with these options for output frames of `frame_seconds`.
    pub fn new(options: &RejectionOptions, frame_seconds: f64) -> Self {
        let frames = |ms: u32| (f64::from(ms) / 1000.0 / frame_seconds.max(1e-6)).round() as u64;
        let RejectionOptions {
            window_ms,
            pause_ms,
            most_other,
            least_confidence,
            confidence_for_others,
            confidence_beyond_pause,
            longest_ms,
        } = *options;
        let max_length = if longest_ms == 0 { u64::MAX } else { frames(longest_ms) };
        let (window, pause) = (frames(window_ms), frames(pause_ms).max(1));
        Self {
            window,
            pause,
            most_other,
            least_confidence,
            confidence_for_others,
            confidence_beyond_pause,
            max_length,
        }
    }

    /// Whether each of the words is kept; words must be in order of time. A rejected word counts as out-of-vocabulary
    /// speech for the words near it.
    pub fn accepted(&self, words: &[UnitSpan], context: RejectionContext<'_>) -> Vec<bool> {
        let all = [context.preceding, words, context.following].concat();
        let last = self.among_words(&all, context);
        let judged = context.preceding.len()..context.preceding.len() + words.len();
        judged.map(|i| last[i] && self.is_confident(i, &all, &last, context.onsets)).collect()
    }

    /// Whether each of the words satisfies the condition on the labels around it, even if its confidence is too low.
    /// Such words count as words, not as out-of-vocabulary speech, in the rejection of following words.
    pub fn have_context(&self, words: &[UnitSpan], context: RejectionContext<'_>) -> Vec<bool> {
        let all = [context.preceding, words, context.following].concat();
        let mut kept = self.among_words(&all, context);
        kept.drain(..context.preceding.len());
        kept.truncate(words.len());
        kept
    }

    /// Whether each word is short enough and the share of labels around it that belong to no word is small enough. A
    /// second pass counts the words rejected in the first as out-of-vocabulary speech.
    fn among_words(&self, words: &[UnitSpan], context: RejectionContext<'_>) -> Vec<bool> {
        let settled = context.preceding.len();
        let mut kept: Vec<bool> =
            words.iter().map(|word| word.end.saturating_sub(word.start) <= self.max_length).collect();
        kept[..settled].fill(true);
        for _ in 0..2 {
            let last = kept.clone();
            for i in settled..words.len() {
                let between_pauses = self.between_pauses(i, words, context.onsets);
                let share = self.filler_share(i, words, &last, context.onsets, between_pauses);
                kept[i] = last[i] && share <= self.most_other;
            }
        }
        kept
    }

    /// Whether the mean confidence of a word and of the words near it is high enough. The minimum depends on the number
    /// of words and on the share of labels that belong to no word.
    fn is_confident(&self, i: usize, words: &[UnitSpan], kept: &[bool], onsets: &Onsets) -> bool {
        let near = self.neighbors(i, words).filter(|&j| kept[j]);
        let (count, sum) =
            near.fold((0, 0.0), |(count, sum), j| (count + 1, sum + words[j].log_prob.exp().min(1.0)));
        let mut least = self.least_confidence[(count - 1usize).min(2)];
        let share = || self.filler_share(i, words, kept, onsets, self.window_around(i, words));
        if count < SEVERAL_WORDS && self.confidence_for_others > 0.0 {
            least += self.confidence_for_others * share();
        }
        if count >= SEVERAL_WORDS && self.confidence_beyond_pause > 0.0 {
            least += self.confidence_beyond_pause * (share() - self.most_other).max(0.0);
        }
        sum >= least * count as f32
    }

    fn window_around(&self, i: usize, words: &[UnitSpan]) -> (u64, u64) {
        (words[i].start.saturating_sub(self.window), words[i].end + self.window)
    }

    /// The part of the window around a word up to the next pauses.
    fn between_pauses(&self, i: usize, words: &[UnitSpan], onsets: &Onsets) -> (u64, u64) {
        let (from, to) = self.window_around(i, words);
        let begins = |frame: u64| onsets.count(frame, frame + 1) > 0;
        let (mut first, mut quiet) = (words[i].start, 0);
        while first > from && quiet < self.pause {
            first -= 1;
            quiet = if begins(first) { 0 } else { quiet + 1 };
        }
        let (mut end, mut quiet) = (words[i].end, 0);
        while end < to && quiet < self.pause {
            quiet = if begins(end) { 0 } else { quiet + 1 };
            end += 1;
        }
        (first, end)
    }

    /// The word itself and the words that overlap with the window around it.
    fn neighbors(&self, i: usize, words: &[UnitSpan]) -> impl Iterator<Item = usize> {
        let (from, to) = self.window_around(i, words);
        let preceding = (0..i).rev().take_while(move |&j| words[j].end > from);
        let following = (i + 1..words.len()).take_while(move |&j| words[j].start < to);
        std::iter::once(i).chain(preceding).chain(following)
    }

    /// Share of the labels between two frames that belong to no kept word.
    fn filler_share(
        &self,
        i: usize,
        words: &[UnitSpan],
        kept: &[bool],
        onsets: &Onsets,
        (from, to): (u64, u64),
    ) -> f32 {
        let all = onsets.count(from, to);
        let own = |j: usize| match kept[j] {
            true => onsets.count(words[j].start.max(from), words[j].end.min(to)),
            false => 0,
        };
        let own: u64 = self.neighbors(i, words).map(own).sum();
        all.saturating_sub(own) as f32 / all.max(1) as f32
    }
}

/// Beginnings of labels on the CTC best path of a stream, as cumulative counts.
#[derive(Clone, Debug)]
pub struct Onsets {
    /// The likeliest token of the last frame; `None` for the blank.
    last: Option<TokenId>,
    /// The frame of `counts[0]`.
    first: u64,
    /// `counts[i]`: number of labels that began before frame `first + i`.
    counts: VecDeque<u64>,
}

impl Default for Onsets {
    /// The state before the first frame.
    fn default() -> Self {
        Self { last: None, first: 0, counts: VecDeque::from([0]) }
    }
}

impl Onsets {
    /// The state before the frame with this number, of a stream whose frames before it are ignored.
    pub fn begin_at(frame: u64) -> Self {
        Self { first: frame, ..Self::default() }
    }

    /// Appends a frame whose likeliest token is this; `None` for the blank.
    pub fn push(&mut self, likeliest: Option<TokenId>) {
        let begins = likeliest.is_some() && likeliest != self.last;
        self.last = likeliest;
        let preceding = self.counts.back().copied().unwrap_or(0);
        self.counts.push_back(preceding + u64::from(begins));
    }

    /// Number of frames since the stream began.
    pub fn num_frames(&self) -> u64 {
        self.first + (self.counts.len() as u64).saturating_sub(1)
    }

    /// Number of labels that began in frames `from..to`; frames that are not stored are ignored.
    fn count(&self, from: u64, to: u64) -> u64 {
        let (from, to) = (from.max(self.first), to.min(self.num_frames()));
        if to <= from {
            return 0;
        }
        let at = |frame: u64| self.counts.get((frame - self.first) as usize).copied().unwrap_or(0);
        at(to) - at(from)
    }

    /// Removes the counts of frames before `frame`.
    pub fn drop_before(&mut self, frame: u64) {
        let dropped = frame.saturating_sub(self.first).min(self.counts.len() as u64 - 1);
        self.counts.drain(..dropped as usize);
        self.first += dropped;
    }

    /// Begins a new stream.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Unit, WordId};
    use super::*;

    /// The onsets of a stream with these likeliest tokens; 0 is the blank.
    fn onsets_of(path: &[u32]) -> Onsets {
        let mut onsets = Onsets::default();
        path.iter().for_each(|&best| onsets.push((best > 0).then_some(TokenId(best))));
        onsets
    }

    fn alone_with(onsets: &Onsets) -> RejectionContext<'_> {
        RejectionContext { preceding: &[], following: &[], onsets }
    }

    fn word(start: u64, end: u64) -> UnitSpan {
        UnitSpan { unit: Unit::Word(WordId(0)), start, end, log_prob: 0.0 }
    }

    #[test]
    fn a_run_is_one_onset_and_dropped_frames_have_none() {
        let mut onsets = onsets_of(&[0, 1, 1, 0, 1, 2, 2, 3]);
        assert_eq!((onsets.count(0, 8), onsets.count(2, 5), onsets.count(4, 99)), (4, 1, 3));
        onsets.drop_before(5);
        assert_eq!((onsets.count(0, 8), onsets.num_frames()), (2, 8));
        onsets.push(None);
        assert_eq!((onsets.count(8, 9), onsets.num_frames()), (0, 9));
    }

    #[test]
    fn words_are_accepted_near_words_and_rejected_near_other_labels() {
        let rejection =
            Rejection::new(&RejectionOptions { window_ms: 400, most_other: 0.4, ..Default::default() }, 0.04);
        assert_eq!(rejection.window, 10);
        let alone = onsets_of(&[0, 1, 2, 0, 0, 1, 3, 0]);
        assert_eq!(rejection.accepted(&[word(1, 3), word(5, 7)], alone_with(&alone)), [true, true]);
        let speech = onsets_of(&[1, 2, 1, 2, 3, 2, 1, 2, 3, 1]);
        assert_eq!(rejection.accepted(&[word(3, 5)], alone_with(&speech)), [false]);
        assert!(rejection.accepted(&[], alone_with(&speech)).is_empty());
    }

    #[test]
    fn a_rejected_word_is_no_context() {
        let rejection =
            Rejection::new(&RejectionOptions { window_ms: 160, most_other: 0.5, ..Default::default() }, 0.04);
        // Two words at the end of out-of-vocabulary speech: the second is kept only if the first is.
        let speech = onsets_of(&[1, 2, 1, 2, 1, 2, 3, 1, 0, 0, 2, 3, 0, 0, 0, 0]);
        let words = [word(6, 8), word(10, 12)];
        assert_eq!(rejection.accepted(&words, alone_with(&speech)), [true, true]);
        let more = Rejection::new(
            &RejectionOptions { window_ms: 160, most_other: 0.45, ..Default::default() },
            0.04,
        );
        assert_eq!(more.accepted(&words, alone_with(&speech)), [false, false]);
    }

    #[test]
    fn a_single_word_needs_more_confidence_than_several() {
        let options = RejectionOptions {
            window_ms: 400,
            most_other: 1.0,
            least_confidence: [0.6, 0.5, 0.4],
            ..Default::default()
        };
        let rejection = Rejection::new(&options, 0.04);
        let onsets = onsets_of(&[0; 60]);
        let words = |confidences: &[f32]| -> Vec<UnitSpan> {
            let at =
                |(i, c): (usize, &f32)| UnitSpan { log_prob: c.ln(), ..word(4 * i as u64, 4 * i as u64 + 2) };
            confidences.iter().enumerate().map(at).collect()
        };
        let accepted = |confidences: &[f32]| rejection.accepted(&words(confidences), alone_with(&onsets));
        assert_eq!(accepted(&[0.55]), [false]);
        assert_eq!(accepted(&[0.65]), [true]);
        assert_eq!(accepted(&[0.4, 0.65]), [true, true], "0.53 between them");
        assert_eq!(accepted(&[0.4, 0.55]), [false, false]);
        assert_eq!(accepted(&[0.1, 0.6, 0.6]), [true; 3], "its neighbors have enough confidence");
        assert_eq!(accepted(&[0.3, 0.3, 0.5]), [false; 3]);
    }

    #[test]
    fn few_words_need_more_confidence_near_other_labels() {
        let options = RejectionOptions {
            window_ms: 400,
            most_other: 1.0,
            least_confidence: [0.5; 3],
            confidence_for_others: 1.0,
            ..Default::default()
        };
        let rejection = Rejection::new(&options, 0.04);
        let accepted = |confidence: f32, path: &[u32]| {
            let word = UnitSpan { log_prob: confidence.ln(), ..word(0, 2) };
            rejection.accepted(&[word], alone_with(&onsets_of(path)))[0]
        };
        assert!(accepted(0.6, &[1, 2, 0, 0]));
        assert!(!accepted(0.6, &[1, 2, 0, 3]), "a third of the labels is another's");
        assert!(accepted(0.9, &[1, 2, 0, 3]));
        let unsure = |start| UnitSpan { log_prob: 0.6f32.ln(), ..word(start, start + 2) };
        let onsets = onsets_of(&[1, 2, 0, 3, 0, 1, 2, 0, 1, 2]);
        assert_eq!(rejection.accepted(&[unsure(0), unsure(5), unsure(8)], alone_with(&onsets)), [true; 3]);
    }

    #[test]
    fn words_that_are_too_long_are_rejected() {
        let options = RejectionOptions { most_other: 1.0, longest_ms: 400, ..Default::default() };
        let rejection = Rejection::new(&options, 0.04);
        let onsets = onsets_of(&[0; 60]);
        assert_eq!(rejection.accepted(&[word(0, 10), word(20, 31)], alone_with(&onsets)), [true, false]);
    }

    #[test]
    fn words_of_previous_segments_are_context() {
        let options = RejectionOptions {
            window_ms: 160,
            most_other: 0.4,
            least_confidence: [0.6, 0.5, 0.2],
            ..Default::default()
        };
        let rejection = Rejection::new(&options, 0.04);
        let onsets = onsets_of(&[1, 2, 0, 3, 2, 0, 0, 1, 0, 0, 0, 0]);
        let faint = UnitSpan { log_prob: 0.5f32.ln(), ..word(7, 8) };
        let preceding = [word(0, 2), word(3, 5)];
        assert_eq!(
            rejection.accepted(&[faint], RejectionContext { preceding: &preceding, ..alone_with(&onsets) }),
            [true]
        );
        assert_eq!(rejection.accepted(&[faint], alone_with(&onsets)), [false], "they are other speech");
        let fainter = UnitSpan { log_prob: 0.1f32.ln(), ..word(3, 5) };
        let preceding = [fainter, fainter];
        let kept =
            rejection.accepted(&[faint], RejectionContext { preceding: &preceding, ..alone_with(&onsets) });
        assert_eq!(kept, [true], "what was kept is not judged again");
        let following = [word(7, 8)];
        let kept =
            rejection.accepted(&[faint], RejectionContext { following: &following, ..alone_with(&onsets) });
        assert_eq!(kept.len(), 1, "what is still open is not answered for");
    }
}
