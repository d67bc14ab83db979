//! Rejection of words that are parts of other speech, by the labels around them.
//!
//! A model of phones or letters takes in all speech, and its lexicon finds words in it that were not spoken: "two" in
//! "to", "eight" in "grateful". Where words of the lexicon were spoken, they fill the speech around them; where
//! not, most of the labels around them belong to no word. A word is kept where the share of such labels in its
//! neighborhood is small, as far as no pause divides them, and where the words there were recognized with
//! confidence: noise is taken for a word now and then, seldom with confidence and seldom for several, so that a
//! word alone needs more confidence than one in a string.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{TokenId, UnitSpan};
use crate::error::{Error, Result, Stage};

/// The usual length of a pause, ms.
pub(super) const PAUSE_MS: u32 = 2000;
/// From this number of words on they are a string, which needs the least confidence.
const FEW: usize = 3;

/// When a word is taken for other speech and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RejectionOptions {
    /// How far before a word's beginning and behind its end its neighborhood reaches, ms.
    pub window_ms: u32,
    /// What stands behind a pause of this length is judged by itself: other speech beyond it is forgotten, by
    /// the search too; ms.
    pub pause_ms: u32,
    /// The greatest share of labels in the neighborhood, up to the next pauses, that may belong to no word,
    /// 0 to 1.
    pub most_other: f32,
    /// The least mean confidence (0 to 1) of the words there, the word itself among them: where it
    /// stands alone, where there are two, and where there are more.
    #[serde(skip_serializing_if = "is_nothing")]
    pub least_confidence: [f32; 3],
    /// How much more confidence fewer than three words need where there is other speech beside them: this
    /// times the share of labels that belong to no word. Noise that is taken for a word has other labels too.
    #[serde(skip_serializing_if = "is_none")]
    pub confidence_for_others: f32,
    /// How much more confidence three words or more need for what other speech there is in their neighborhood
    /// beyond [`RejectionOptions::most_other`], which stands behind a pause: this times its share.
    #[serde(skip_serializing_if = "is_none")]
    pub confidence_beyond_pause: f32,
    /// A word whose labels are spread over more than this is none, ms; 0 for no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub longest_ms: u32,
}

fn is_none(value: &f32) -> bool {
    *value == 0.0
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_nothing(least_confidence: &[f32; 3]) -> bool {
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
    /// Checks that every number can be used.
    ///
    /// # Errors
    /// Names the first that is out of its range.
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

/// The words and labels around those of a segment, by which these are judged.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The words in front of them, in segments that are over: they count as words, not as other speech.
    pub before: &'a [UnitSpan],
    /// The words behind them that are still open.
    pub behind: &'a [UnitSpan],
    /// Where labels began.
    pub onsets: &'a Onsets,
}

/// Decides which words are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rejection {
    /// Output frames of the neighborhood on either side.
    pub window: u64,
    /// Output frames without the beginning of a label that make a pause, at least 1.
    pause: u64,
    most_other: f32,
    least_confidence: [f32; 3],
    confidence_for_others: f32,
    confidence_beyond_pause: f32,
    /// Output frames of the longest word.
    longest: u64,
}

impl Rejection {
    /// By the options; an output frame lasts `frame_seconds`.
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
        let longest = if longest_ms == 0 { u64::MAX } else { frames(longest_ms) };
        let (window, pause) = (frames(window_ms), frames(pause_ms).max(1));
        Self {
            window,
            pause,
            most_other,
            least_confidence,
            confidence_for_others,
            confidence_beyond_pause,
            longest,
        }
    }

    /// Which of the words (in the order of their times) are kept. A word that is dropped counts as
    /// other speech for its neighbors.
    pub fn keeps(&self, words: &[UnitSpan], around: Surroundings<'_>) -> Vec<bool> {
        let all = [around.before, words, around.behind].concat();
        let last = self.among_words(&all, around);
        let judged = around.before.len()..around.before.len() + words.len();
        judged.map(|i| last[i] && self.is_sure(i, &all, &last, around.onsets)).collect()
    }

    /// Which of the words are among words, with confidence or not: they count as words and
    /// no other speech to those that follow.
    pub fn are_company(&self, words: &[UnitSpan], around: Surroundings<'_>) -> Vec<bool> {
        let all = [around.before, words, around.behind].concat();
        let mut kept = self.among_words(&all, around);
        kept.drain(..around.before.len());
        kept.truncate(words.len());
        kept
    }

    /// Which of all words have few enough other labels around them.
    fn among_words(&self, words: &[UnitSpan], around: Surroundings<'_>) -> Vec<bool> {
        let settled = around.before.len();
        let mut kept: Vec<bool> =
            words.iter().map(|word| word.end.saturating_sub(word.start) <= self.longest).collect();
        kept[..settled].fill(true);
        for _ in 0..2 {
            let last = kept.clone();
            for i in settled..words.len() {
                let between_pauses = self.between_pauses(i, words, around.onsets);
                let share = self.share_of_others(i, words, &last, around.onsets, between_pauses);
                kept[i] = last[i] && share <= self.most_other;
            }
        }
        kept
    }

    /// Whether the words around this one, and itself, were recognized with enough confidence: more of it
    /// where they are few and not alone.
    fn is_sure(&self, i: usize, words: &[UnitSpan], kept: &[bool], onsets: &Onsets) -> bool {
        let near = self.neighbors(i, words).filter(|&j| kept[j]);
        let (count, sum) =
            near.fold((0, 0.0), |(count, sum), j| (count + 1, sum + words[j].log_prob.exp().min(1.0)));
        let mut least = self.least_confidence[(count - 1usize).min(2)];
        let share = || self.share_of_others(i, words, kept, onsets, self.neighborhood(i, words));
        if count < FEW && self.confidence_for_others > 0.0 {
            least += self.confidence_for_others * share();
        }
        if count >= FEW && self.confidence_beyond_pause > 0.0 {
            least += self.confidence_beyond_pause * (share() - self.most_other).max(0.0);
        }
        sum >= least * count as f32
    }

    fn neighborhood(&self, i: usize, words: &[UnitSpan]) -> (u64, u64) {
        (words[i].start.saturating_sub(self.window), words[i].end + self.window)
    }

    /// The part of a word's neighborhood that no pause divides from it.
    fn between_pauses(&self, i: usize, words: &[UnitSpan], onsets: &Onsets) -> (u64, u64) {
        let (from, to) = self.neighborhood(i, words);
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

    /// This word, and those that reach into its neighborhood.
    fn neighbors(&self, i: usize, words: &[UnitSpan]) -> impl Iterator<Item = usize> {
        let (from, to) = self.neighborhood(i, words);
        let before = (0..i).rev().take_while(move |&j| words[j].end > from);
        let behind = (i + 1..words.len()).take_while(move |&j| words[j].start < to);
        std::iter::once(i).chain(before).chain(behind)
    }

    /// The share of the labels between two frames around a word that belong to none that is kept.
    fn share_of_others(
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

/// Where labels begin on the best path of a stream, as counts from its first frame on.
#[derive(Clone, Debug)]
pub struct Onsets {
    /// The likeliest token of the last frame; `None` for the blank.
    last: Option<TokenId>,
    /// The frame that `counts[0]` ends before.
    first: u64,
    /// `counts[i]`: labels that began before frame `first + i`.
    counts: VecDeque<u64>,
}

impl Default for Onsets {
    /// No frame yet.
    fn default() -> Self {
        Self { last: None, first: 0, counts: VecDeque::from([0]) }
    }
}

impl Onsets {
    /// Takes the likeliest token of the next frame; `None` for the blank.
    pub fn push(&mut self, likeliest: Option<TokenId>) {
        let begins = likeliest.is_some() && likeliest != self.last;
        self.last = likeliest;
        let before = self.counts.back().copied().unwrap_or(0);
        self.counts.push_back(before + u64::from(begins));
    }

    /// Frames taken since the stream began.
    pub fn num_frames(&self) -> u64 {
        self.first + (self.counts.len() as u64).saturating_sub(1)
    }

    /// Labels that began in the frames from `from` to before `to`, as far as they are there.
    fn count(&self, from: u64, to: u64) -> u64 {
        let (from, to) = (from.max(self.first), to.min(self.num_frames()));
        if to <= from {
            return 0;
        }
        let at = |frame: u64| self.counts.get((frame - self.first) as usize).copied().unwrap_or(0);
        at(to) - at(from)
    }

    /// Frees the room of the frames before `frame`.
    pub fn forget_before(&mut self, frame: u64) {
        let gone = frame.saturating_sub(self.first).min(self.counts.len() as u64 - 1);
        self.counts.drain(..gone as usize);
        self.first += gone;
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

    /// A frame for each token; 0 is the blank.
    fn heard(path: &[u32]) -> Onsets {
        let mut onsets = Onsets::default();
        path.iter().for_each(|&best| onsets.push((best > 0).then_some(TokenId(best))));
        onsets
    }

    fn alone_with(onsets: &Onsets) -> Surroundings<'_> {
        Surroundings { before: &[], behind: &[], onsets }
    }

    fn word(start: u64, end: u64) -> UnitSpan {
        UnitSpan { unit: Unit::Word(WordId(0)), start, end, log_prob: 0.0 }
    }

    #[test]
    fn onsets_are_counted_once_a_run_and_only_where_they_are_known() {
        let mut onsets = heard(&[0, 1, 1, 0, 1, 2, 2, 3]);
        assert_eq!((onsets.count(0, 8), onsets.count(2, 5), onsets.count(4, 99)), (4, 1, 3));
        onsets.forget_before(5);
        assert_eq!((onsets.count(0, 8), onsets.num_frames()), (2, 8));
        onsets.push(None);
        assert_eq!((onsets.count(8, 9), onsets.num_frames()), (0, 9));
    }

    #[test]
    fn words_among_words_stay_and_among_other_labels_go() {
        let rejection =
            Rejection::new(&RejectionOptions { window_ms: 400, most_other: 0.4, ..Default::default() }, 0.04);
        assert_eq!(rejection.window, 10);
        let alone = heard(&[0, 1, 2, 0, 0, 1, 3, 0]);
        assert_eq!(rejection.keeps(&[word(1, 3), word(5, 7)], alone_with(&alone)), [true, true]);
        let speech = heard(&[1, 2, 1, 2, 3, 2, 1, 2, 3, 1]);
        assert_eq!(rejection.keeps(&[word(3, 5)], alone_with(&speech)), [false]);
        assert!(rejection.keeps(&[], alone_with(&speech)).is_empty());
    }

    #[test]
    fn a_dropped_word_is_no_company() {
        let rejection =
            Rejection::new(&RejectionOptions { window_ms: 160, most_other: 0.5, ..Default::default() }, 0.04);
        // Two words at the edge of other speech: the second has company only in the first.
        let speech = heard(&[1, 2, 1, 2, 1, 2, 3, 1, 0, 0, 2, 3, 0, 0, 0, 0]);
        let words = [word(6, 8), word(10, 12)];
        assert_eq!(rejection.keeps(&words, alone_with(&speech)), [true, true]);
        let more = Rejection::new(
            &RejectionOptions { window_ms: 160, most_other: 0.45, ..Default::default() },
            0.04,
        );
        assert_eq!(more.keeps(&words, alone_with(&speech)), [false, false]);
    }

    #[test]
    fn a_word_alone_has_to_be_clearer_than_several() {
        let options = RejectionOptions {
            window_ms: 400,
            most_other: 1.0,
            least_confidence: [0.6, 0.5, 0.4],
            ..Default::default()
        };
        let rejection = Rejection::new(&options, 0.04);
        let onsets = heard(&[0; 60]);
        let words = |confidences: &[f32]| -> Vec<UnitSpan> {
            let at =
                |(i, c): (usize, &f32)| UnitSpan { log_prob: c.ln(), ..word(4 * i as u64, 4 * i as u64 + 2) };
            confidences.iter().enumerate().map(at).collect()
        };
        let keeps = |confidences: &[f32]| rejection.keeps(&words(confidences), alone_with(&onsets));
        assert_eq!(keeps(&[0.55]), [false]);
        assert_eq!(keeps(&[0.65]), [true]);
        assert_eq!(keeps(&[0.4, 0.65]), [true, true], "0.53 between them");
        assert_eq!(keeps(&[0.4, 0.55]), [false, false]);
        assert_eq!(keeps(&[0.1, 0.6, 0.6]), [true; 3], "the neighbors vouch for it");
        assert_eq!(keeps(&[0.3, 0.3, 0.5]), [false; 3]);
    }

    #[test]
    fn few_words_have_to_be_clearer_where_they_are_not_alone() {
        let options = RejectionOptions {
            window_ms: 400,
            most_other: 1.0,
            least_confidence: [0.5; 3],
            confidence_for_others: 1.0,
            ..Default::default()
        };
        let rejection = Rejection::new(&options, 0.04);
        let keeps = |confidence: f32, path: &[u32]| {
            let word = UnitSpan { log_prob: confidence.ln(), ..word(0, 2) };
            rejection.keeps(&[word], alone_with(&heard(path)))[0]
        };
        assert!(keeps(0.6, &[1, 2, 0, 0]));
        assert!(!keeps(0.6, &[1, 2, 0, 3]), "a third of the labels is another's");
        assert!(keeps(0.9, &[1, 2, 0, 3]));
        let unsure = |start| UnitSpan { log_prob: 0.6f32.ln(), ..word(start, start + 2) };
        let onsets = heard(&[1, 2, 0, 3, 0, 1, 2, 0, 1, 2]);
        assert_eq!(rejection.keeps(&[unsure(0), unsure(5), unsure(8)], alone_with(&onsets)), [true; 3]);
    }

    #[test]
    fn a_word_that_goes_on_for_long_is_none() {
        let options = RejectionOptions { most_other: 1.0, longest_ms: 400, ..Default::default() };
        let rejection = Rejection::new(&options, 0.04);
        let onsets = heard(&[0; 60]);
        assert_eq!(rejection.keeps(&[word(0, 10), word(20, 31)], alone_with(&onsets)), [true, false]);
    }

    #[test]
    fn words_of_segments_before_are_company() {
        let options = RejectionOptions {
            window_ms: 160,
            most_other: 0.4,
            least_confidence: [0.6, 0.5, 0.2],
            ..Default::default()
        };
        let rejection = Rejection::new(&options, 0.04);
        let onsets = heard(&[1, 2, 0, 3, 2, 0, 0, 1, 0, 0, 0, 0]);
        let faint = UnitSpan { log_prob: 0.5f32.ln(), ..word(7, 8) };
        let before = [word(0, 2), word(3, 5)];
        assert_eq!(
            rejection.keeps(&[faint], Surroundings { before: &before, ..alone_with(&onsets) }),
            [true]
        );
        assert_eq!(rejection.keeps(&[faint], alone_with(&onsets)), [false], "they are other speech");
        let fainter = UnitSpan { log_prob: 0.1f32.ln(), ..word(3, 5) };
        let before = [fainter, fainter];
        let kept = rejection.keeps(&[faint], Surroundings { before: &before, ..alone_with(&onsets) });
        assert_eq!(kept, [true], "what was kept is not judged again");
        let behind = [word(7, 8)];
        let kept = rejection.keeps(&[faint], Surroundings { behind: &behind, ..alone_with(&onsets) });
        assert_eq!(kept.len(), 1, "what is still open is not answered for");
    }
}
