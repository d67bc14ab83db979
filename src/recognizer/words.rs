//! Words with times and confidence from decoded tokens.
//!
//! **Times.** Output frame u covers the samples of its S feature frames: it begins at u × S × shift samples and
//! ends where the next begins. A network without future context emits a label towards the end of the sound, and
//! CTC has blanks elsewhere, so a run of frames with a label determines where a word *ends*. A word therefore
//! - ends where the run of its last token ends, and
//! - begins [`LOOKBACK_PER_LETTER`] seconds for each letter of its first token, plus [`EMISSION_DELAY`], before that
//!   token's run begins; but not before the end of the previous word (or filler), nor before the segment.
//!
//! Times are monotone and within the stream.
//!
//! **Confidence.** The confidence of a token is its posterior at the peak of its run; that of a word is the
//! geometric mean over its tokens. With a calibration (`confidence.rs`) it is the estimated probability that the word
//! is right.

use std::sync::Arc;

use crate::decode::{DecoderOptions, Rejection, RejectionContext, Unit, UnitSpan, lexicon};
use crate::text::tokens::WORD_START;
use crate::text::{ByteTokens, TokenTable};
use crate::units::samples_to_seconds;

use super::confidence::Calibration;
use super::transcript::Word;

/// Assumed duration of a spoken letter, seconds.
pub const LOOKBACK_PER_LETTER: f64 = 0.07;
/// Minimum delay of a label after the beginning of its sound, seconds.
pub const EMISSION_DELAY: f64 = 0.08;

/// Converts output frames to seconds from the stream's first sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameClock {
    /// Number of samples from one output frame to the next.
    pub step_samples: u64,
    /// Sample rate, Hz.
    pub sample_rate: u32,
}

impl FrameClock {
    /// Start of an output frame, seconds.
    pub fn seconds(&self, frame: u64) -> f64 {
        samples_to_seconds(frame.saturating_mul(self.step_samples), self.sample_rate)
    }
}

/// Builds words from the decoded units of a segment.
#[derive(Clone, Debug)]
pub struct WordBuilder {
    /// Each token's text without the marker of word starts, `[V]`.
    texts: Vec<String>,
    /// Whether a token begins a word, `[V]`.
    begins_word: Vec<bool>,
    /// Whether a token is a filler, which is recognized but not written, `[V]`.
    filler: Vec<bool>,
    /// The words of the lexicon, if there is one.
    lexicon: Arc<[String]>,
    min_confidence: f32,
    /// Decoder of byte tokens, if the table has them.
    bytes: Option<ByteTokens>,
    rejection: Option<Rejection>,
    /// Calibration of words, and the number of words of the lexicon to which it applies; the others are wake words.
    calibration: Option<(Calibration, usize)>,
    /// Least confidence of the most certain word of an utterance.
    least_confidence: f32,
    clock: FrameClock,
}

/// An incomplete word.
struct PartialWord {
    word: Word,
    /// The first unit.
    unit: Unit,
    log_prob: f32,
    units: usize,
    filler: bool,
}

impl WordBuilder {
    /// Creates a builder for a model's tokens; `clock` converts its output frames to seconds.
    pub fn new(tokens: &TokenTable, options: &DecoderOptions, clock: FrameClock) -> Self {
        let texts = tokens.tokens();
        Self {
            texts: texts.iter().map(|t| t.replace(WORD_START, "").trim().to_string()).collect(),
            begins_word: (0..texts.len()).map(|id| tokens.begins_word(id as u32)).collect(),
            filler: texts.iter().map(|t| options.filler.contains(t)).collect(),
            lexicon: lexicon::words(options).into(),
            min_confidence: options.min_confidence,
            bytes: ByteTokens::detect(tokens),
            rejection: options.rejection.map(|options| Rejection::new(&options, clock.seconds(1))),
            calibration: None,
            least_confidence: 0.0,
            clock,
        }
    }

    /// Sets the words by their ids, if they are not those of the model's lexicon.
    pub fn with_words(mut self, words: Arc<[String]>) -> Self {
        self.lexicon = words;
        self
    }

    /// Sets the calibration of the first `num_words` words of the lexicon.
    pub(super) fn with_calibration(mut self, calibration: Option<Calibration>, num_words: usize) -> Self {
        self.calibration = calibration.map(|calibration| (calibration, num_words));
        self
    }

    /// Sets the least confidence of the most certain word of an utterance.
    pub(super) fn with_least_confidence(mut self, least_confidence: f32) -> Self {
        self.least_confidence = least_confidence;
        self
    }

    /// Whether no word of an utterance is certain enough, so that it gives no text.
    pub(super) fn is_rejected(&self, words: &[Word]) -> bool {
        words.iter().all(|word| word.confidence < self.least_confidence)
    }

    /// Conversion of output frames to seconds.
    pub fn clock(&self) -> FrameClock {
        self.clock
    }

    /// The rejection of words in out-of-vocabulary speech, if enabled.
    pub fn rejection(&self) -> Option<Rejection> {
        self.rejection
    }

    /// Index of the unit that begins the last word (or filler); `None` if `units` is empty.
    pub fn last_word(&self, units: &[UnitSpan]) -> Option<usize> {
        (0..units.len()).rev().find(|&at| self.begins(units, at))
    }

    /// Index of the unit that begins the first word (or filler) at frame `first` or later.
    pub fn first_word_since(&self, units: &[UnitSpan], first: u64) -> Option<usize> {
        (0..units.len()).find(|&at| units[at].start >= first && self.begins(units, at))
    }

    /// Whether a word (or filler) begins with the unit at `at`.
    fn begins(&self, units: &[UnitSpan], at: usize) -> bool {
        let filler = |at: usize| self.is_filler(units[at].unit);
        at == 0 || self.begins_word(units[at].unit) || filler(at) || filler(at - 1)
    }

    fn is_filler(&self, unit: Unit) -> bool {
        matches!(unit, Unit::Token(id) if self.filler[id.index()])
    }

    fn begins_word(&self, unit: Unit) -> bool {
        match unit {
            Unit::Token(id) => self.begins_word[id.index()],
            Unit::Word(_) => true,
        }
    }

    fn text(&self, unit: Unit) -> &str {
        match unit {
            Unit::Token(id) => &self.texts[id.index()],
            Unit::Word(id) => &self.lexicon[id.0 as usize],
        }
    }

    /// The words of `units`, a part of a segment that begins at `start` seconds. Times are limited to `duration`
    /// seconds if the stream has ended; `context` is the context for rejection.
    pub fn words(
        &self,
        units: &[UnitSpan],
        start: f64,
        duration: Option<f64>,
        context: RejectionContext<'_>,
    ) -> Vec<Word> {
        let words = self.words_with_units(units, start, duration, context);
        words.into_iter().map(|(word, _)| word).collect()
    }

    /// As [`WordBuilder::words`], each word with its first unit.
    pub fn words_with_units(
        &self,
        units: &[UnitSpan],
        start: f64,
        duration: Option<f64>,
        context: RejectionContext<'_>,
    ) -> Vec<(Word, Unit)> {
        let accepted = self.rejection.map(|rejection| rejection.accepted(units, context));
        let mut words = Vec::new();
        let mut partial: Option<PartialWord> = None;
        let mut floor = start;
        for (at, unit) in units.iter().enumerate() {
            let rejected = accepted.as_ref().is_some_and(|accepted| !accepted[at]);
            let filler = self.is_filler(unit.unit) || rejected;
            match &mut partial {
                Some(open) if !self.begins_word(unit.unit) && !filler && !open.filler => {
                    self.extend(open, unit)
                }
                _ => {
                    if let Some(done) = partial.take() {
                        floor = self.close(done, duration, &mut words);
                    }
                    partial = Some(self.open(unit, filler, floor));
                }
            }
        }
        if let Some(done) = partial {
            self.close(done, duration, &mut words);
        }
        if let Some((calibration, num_words)) = self.calibration {
            let wake_words = self.lexicon.get(num_words..).unwrap_or_default();
            let is_wake_word = |word: &Word| wake_words.contains(&word.word);
            calibration.apply(words.iter_mut().map(|(word, _)| word).filter(|word| !is_wake_word(word)));
        }
        words
    }

    fn open(&self, unit: &UnitSpan, filler: bool, floor: f64) -> PartialWord {
        let text = self.text(unit.unit);
        // A word of the lexicon begins with the label of its first phone; a token's label comes at its end.
        let letters = if matches!(unit.unit, Unit::Token(_)) { text.chars().count() } else { 0 };
        let lookback = EMISSION_DELAY + LOOKBACK_PER_LETTER * letters as f64;
        let start = (self.clock.seconds(unit.start) - lookback).max(floor);
        let end = self.clock.seconds(unit.end).max(start);
        let word = Word { word: text.to_string(), start, end, confidence: 0.0 };
        PartialWord { word, unit: unit.unit, log_prob: unit.log_prob, units: 1, filler }
    }

    fn extend(&self, partial: &mut PartialWord, unit: &UnitSpan) {
        partial.word.word.push_str(self.text(unit.unit));
        partial.word.end = self.clock.seconds(unit.end).max(partial.word.end);
        partial.log_prob += unit.log_prob;
        partial.units += 1;
    }

    /// Appends the word unless it is a filler, empty or below the minimum confidence; returns its end.
    fn close(&self, partial: PartialWord, duration: Option<f64>, words: &mut Vec<(Word, Unit)>) -> f64 {
        let PartialWord { mut word, unit, log_prob, units, filler } = partial;
        if let Some(duration) = duration {
            word.start = word.start.min(duration);
            word.end = word.end.min(duration);
        }
        if let Some(bytes) = self.bytes {
            word.word = bytes.decode(&word.word).trim().to_string();
        }
        word.confidence = (log_prob / units as f32).exp().clamp(0.0, 1.0);
        let end = word.end;
        if !filler && !word.word.is_empty() && word.confidence >= self.min_confidence {
            words.push((word, unit));
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Onsets, TokenId, WordId};

    fn no_context(onsets: &Onsets) -> RejectionContext<'_> {
        RejectionContext { preceding: &[], following: &[], onsets }
    }

    fn token(id: u32, start: u64, end: u64, p: f32) -> UnitSpan {
        UnitSpan { unit: Unit::Token(TokenId(id)), start, end, log_prob: p.ln() }
    }

    fn builder(tokens: &[&str], options: DecoderOptions) -> WordBuilder {
        let table = TokenTable::new(tokens.iter().map(|t| t.to_string()).collect(), 0).expect("a good table");
        WordBuilder::new(&table, &options, FrameClock { step_samples: 640, sample_rate: 16_000 })
    }

    #[test]
    fn subwords_are_joined_until_the_next_word_start() {
        let words = builder(&["<blk>", "▁ze", "ro", "▁", "o"], DecoderOptions::default()).words(
            &[token(1, 20, 21, 0.9), token(2, 22, 23, 0.4), token(3, 40, 41, 1.0), token(4, 42, 43, 1.0)],
            0.0,
            None,
            no_context(&Onsets::default()),
        );
        let texts: Vec<_> = words.iter().map(|w| w.word.as_str()).collect();
        assert_eq!(texts, ["zero", "o"]);
        assert!((words[0].confidence - 0.6).abs() < 1e-6, "geometric mean of 0.9 and 0.4");
        assert!((words[0].end - 23.0 * 0.04).abs() < 1e-9);
        assert!((words[0].start - (0.8 - 0.08 - 0.14)).abs() < 1e-9);
    }

    #[test]
    fn the_last_word_begins_at_its_word_start_or_after_a_filler() {
        let options = DecoderOptions { filler: vec!["*".into()], ..Default::default() };
        let builder = builder(&["<blk>", "▁ze", "ro", "*"], options);
        let last = |ids: &[u32]| {
            let tokens: Vec<_> = ids.iter().map(|&id| token(id, 0, 1, 1.0)).collect();
            builder.last_word(&tokens)
        };
        assert_eq!(last(&[]), None);
        assert_eq!(last(&[1, 2, 1, 2, 2]), Some(2));
        assert_eq!(last(&[2, 2]), Some(0));
        assert_eq!(last(&[1, 3]), Some(1));
        assert_eq!(last(&[1, 3, 2, 2]), Some(2));
    }

    #[test]
    fn bytes_of_a_letter_join_into_it() {
        let words = builder(&["<blk>", "▁", "<0xE4>", "<0xBD>", "<0xA0>"], DecoderOptions::default());
        let tokens: Vec<_> =
            [1, 2, 3, 4].iter().map(|&id| token(id, u64::from(id), u64::from(id) + 1, 1.0)).collect();
        let words = words.words(&tokens, 0.0, None, no_context(&Onsets::default()));
        assert_eq!(words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>(), ["你"]);
    }

    #[test]
    fn times_are_monotone_and_end_with_the_stream() {
        let words = builder(&["<blk>", "▁seven"], DecoderOptions::default()).words(
            &[token(1, 1, 2, 1.0), token(1, 4, 5, 1.0), token(1, 20, 25, 1.0)],
            0.0,
            Some(0.9),
            no_context(&Onsets::default()),
        );
        assert_eq!(words[0].start, 0.0);
        assert_eq!(words[1].start, words[0].end);
        assert_eq!(words[2].end, 0.9);
        assert!(words.iter().all(|w| w.start <= w.end && w.end <= 0.9));
        assert!(words.windows(2).all(|w| w[0].end <= w[1].start));
    }

    #[test]
    fn words_are_calibrated_and_wake_words_are_not() {
        let builder = builder(&["<blk>"], DecoderOptions::default())
            .with_words(Arc::from(["one", "computer"].map(String::from)))
            .with_calibration(Some(Calibration::PHRASES), 1);
        let unit = |id, start| UnitSpan {
            unit: Unit::Word(WordId(id)),
            start,
            end: start + 4,
            log_prob: 0.5f32.ln(),
        };
        let words = builder.words(&[unit(0, 5), unit(1, 20)], 0.0, None, no_context(&Onsets::default()));
        assert!(words[0].confidence > 0.8 && (words[1].confidence - 0.5).abs() < 1e-6, "{words:?}");
    }

    #[test]
    fn fillers_and_words_of_low_confidence_are_omitted() {
        let options =
            DecoderOptions { filler: vec!["▁*".into()], min_confidence: 0.5, ..Default::default() };
        let words = builder(&["<blk>", "▁one", "▁*", "x"], options).words(
            &[token(2, 5, 9, 0.9), token(3, 9, 10, 0.9), token(1, 12, 13, 0.9), token(1, 30, 31, 0.3)],
            0.0,
            None,
            no_context(&Onsets::default()),
        );
        let texts: Vec<_> = words.iter().map(|w| w.word.as_str()).collect();
        assert_eq!(texts, ["x", "one"]);
        assert!(words[1].start >= 0.4 - 1e-9, "a filler's time is not a word's");
    }
}
