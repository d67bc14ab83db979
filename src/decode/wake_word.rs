//! Decoder that waits for one of several wake words, and then decodes words until the end of the utterance.

use std::sync::Arc;

use super::keyword::{KeywordSpotter, Keywords};
use super::{Decoder, Hypothesis, TokenId, Unit, UnitSpan, WordId};

/// Decoder of one stream that outputs the wake words, and what another decoder finds after it.
///
/// The words may follow the wake word at once, or after an endpoint: the other decoder receives the frames after the
/// wake word up to the end of the first segment with words, or of a segment without any. At all other times it receives
/// silence.
pub struct WakeWordDecoder {
    spotter: KeywordSpotter,
    /// The id of the first wake word; those of the other decoder's words are smaller.
    first_id: u32,
    blank: TokenId,
    /// The wake words of the segment.
    wake_words: Vec<UnitSpan>,
    /// Decoder of the words after the wake word, if there are any.
    words: Option<Box<dyn Decoder>>,
    /// Whether `words` receives the frames of the stream.
    awake: bool,
    /// The last label of the wake word, while it continues.
    ending: Option<TokenId>,
    /// Log-probabilities `[V]` of silence.
    silence: Vec<f32>,
    likeliest: Option<TokenId>,
    frames: u64,
    revision: u64,
}

impl WakeWordDecoder {
    /// Creates a decoder at the beginning of a stream. `words` decodes the words after a wake word; their ids are smaller
    /// than `first_id`, that of the first wake word. The network has `num_tokens` tokens.
    pub fn new(
        wake_words: Arc<Keywords>,
        first_id: WordId,
        words: Option<Box<dyn Decoder>>,
        num_tokens: usize,
    ) -> Self {
        let blank = wake_words.blank;
        let silence = (0..num_tokens).map(|token| if token == blank.index() { 0.0 } else { -30.0 });
        Self {
            spotter: KeywordSpotter::new(wake_words),
            first_id: first_id.0,
            blank,
            wake_words: Vec::new(),
            words,
            awake: false,
            ending: None,
            silence: silence.collect(),
            likeliest: None,
            frames: 0,
            revision: 0,
        }
    }

    fn push_frame(&mut self, frame: &[f32]) {
        let at_least = |best: usize, token: usize| if frame[token] > frame[best] { token } else { best };
        let likeliest = TokenId((0..frame.len()).fold(self.blank.index(), at_least) as u32);
        self.likeliest = Some(likeliest).filter(|&token| token != self.blank);
        self.frames += 1;
        self.ending = self.ending.filter(|_| self.ending == self.likeliest);
        let goes_on = self.awake && self.ending.is_none();
        if let Some(words) = &mut self.words {
            words.push(if goes_on { frame } else { &self.silence });
        }
        if let Some(found) = self.spotter.push(frame) {
            let unit = Unit::Word(WordId(self.first_id + found.keyword));
            let (start, end, log_prob) = (found.start, found.end, found.score);
            self.wake_words.push(UnitSpan { unit, start, end, log_prob });
            self.awake = true;
            self.ending = Some(found.last);
            self.revision += 1;
        }
    }

    /// The wake words and the other words in order of time, without those that are a repeated wake word.
    fn in_order(wake_words: &[UnitSpan], mut words: Vec<UnitSpan>) -> Vec<UnitSpan> {
        words.retain(|word| wake_words.iter().all(|wake| word.end <= wake.start || wake.end <= word.start));
        let mut all = [wake_words, &words].concat();
        all.sort_by_key(|unit| unit.start);
        all
    }
}

impl Decoder for WakeWordDecoder {
    fn push(&mut self, log_probs: &[f32]) {
        for frame in log_probs.chunks_exact(self.silence.len().max(1)) {
            self.push_frame(frame);
        }
    }

    fn best(&self) -> Vec<UnitSpan> {
        let words = self.words.as_ref().map(|words| words.best());
        Self::in_order(&self.wake_words, words.unwrap_or_default())
    }

    fn open_since(&self) -> Option<u64> {
        self.words.as_ref().and_then(|words| words.open_since())
    }

    fn revision(&self) -> u64 {
        self.revision + self.words.as_ref().map_or(0, |words| words.revision())
    }

    fn num_frames(&self) -> u64 {
        self.frames
    }

    fn hypotheses(&self) -> Vec<Hypothesis> {
        let mut found = self.words.as_ref().map(|words| words.hypotheses()).unwrap_or_default();
        for hypothesis in &mut found {
            hypothesis.units = Self::in_order(&self.wake_words, std::mem::take(&mut hypothesis.units));
        }
        found
    }

    /// Stays awake for the next segment if this one has a wake word and no words after it.
    fn end_segment(&mut self) -> Vec<UnitSpan> {
        let words = self.words.as_mut().map(|words| words.end_segment()).unwrap_or_default();
        let wake_words = std::mem::take(&mut self.wake_words);
        let units = Self::in_order(&wake_words, words);
        self.awake &= !units.is_empty() && units.len() == wake_words.len();
        self.revision += 1;
        units
    }

    fn end_segment_before(&mut self, first: u64) -> Vec<UnitSpan> {
        let words = self.words.as_mut().map(|words| words.end_segment_before(first)).unwrap_or_default();
        let behind = self.wake_words.partition_point(|word| word.start < first);
        let before: Vec<UnitSpan> = self.wake_words.drain(..behind).collect();
        self.revision += 1;
        Self::in_order(&before, words)
    }

    fn likeliest(&self) -> Option<TokenId> {
        self.likeliest
    }

    fn follows_other_speech(&self) -> bool {
        self.awake && self.words.as_ref().is_some_and(|words| words.follows_other_speech())
    }

    fn reset(&mut self) {
        self.spotter.reset();
        self.wake_words.clear();
        if let Some(words) = &mut self.words {
            words.reset();
        }
        self.awake = false;
        self.ending = None;
        self.likeliest = None;
        self.frames = 0;
        self.revision += 1;
    }

    fn begin_at(&mut self, frame: u64) {
        self.frames = frame;
        self.spotter.begin_at(frame);
        if let Some(words) = &mut self.words {
            words.begin_at(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::KeywordPronunciation;
    use super::super::{DecoderOptions, Greedy};
    use super::*;
    use crate::text::TokenTable;

    /// A decoder whose wake word is the label 1, with the best path of the labels after it.
    fn decoder() -> WakeWordDecoder {
        let way =
            KeywordPronunciation { labels: vec![TokenId(1)], keyword: 0, threshold: -0.1, max_frames: 50 };
        let keywords =
            Keywords { pronunciations: vec![way], blank: TokenId(0), pause_frames: 2, no_pause_cost: 3.0 };
        let table =
            TokenTable::new(["_", "a", "b", "c"].map(String::from).to_vec(), 0).expect("a good table");
        let words = Box::new(Greedy::new(&table, &DecoderOptions::default()));
        WakeWordDecoder::new(Arc::new(keywords), WordId(9), Some(words), 4)
    }

    fn frames(path: &[u32]) -> Vec<f32> {
        path.iter()
            .flat_map(|&best| (0..4).map(move |token| if token == best { 0.7f32 } else { 0.1 }.ln()))
            .collect()
    }

    /// Start and id of each unit.
    fn units(units: &[UnitSpan]) -> Vec<(u64, u32)> {
        let id = |unit| match unit {
            Unit::Token(TokenId(id)) | Unit::Word(WordId(id)) => id,
        };
        units.iter().map(|unit| (unit.start, id(unit.unit))).collect()
    }

    #[test]
    fn words_are_decoded_after_the_wake_word_only() {
        let mut decoder = decoder();
        let before = decoder.revision();
        decoder.push(&frames(&[2, 0, 3, 0, 0]));
        assert!(decoder.best().is_empty() && decoder.likeliest().is_none());
        decoder.push(&frames(&[1, 1, 2, 0]));
        assert_eq!(units(&decoder.best()), [(5, 9), (7, 2)]);
        assert!(decoder.revision() != before && decoder.num_frames() == 9);
        assert_eq!(units(&decoder.end_segment()), [(5, 9), (7, 2)]);
        decoder.push(&frames(&[3, 0]));
        assert_eq!(units(&decoder.end_segment()), [], "the words after the wake word were complete");
    }

    #[test]
    fn a_pause_after_the_wake_word_is_allowed_once() {
        let mut decoder = decoder();
        decoder.push(&frames(&[1, 0]));
        assert_eq!(units(&decoder.end_segment()), [(0, 9)]);
        decoder.push(&frames(&[3, 0]));
        assert_eq!(units(&decoder.end_segment()), [(2, 3)]);
        decoder.push(&frames(&[0, 0, 1, 0]));
        decoder.end_segment();
        decoder.end_segment();
        decoder.push(&frames(&[3, 0]));
        assert_eq!(units(&decoder.best()), [], "a segment without words ended the wait");
    }

    #[test]
    fn frames_in_any_chunks_and_a_reset_stream_are_decoded_alike() {
        let path = frames(&[0, 0, 1, 0, 2, 3, 0, 0, 1, 1, 3]);
        let mut whole = decoder();
        whole.push(&path);
        let mut chunked = decoder();
        chunked.push(&frames(&[1, 2, 3]));
        chunked.reset();
        path.chunks(4).for_each(|frame| chunked.push(frame));
        assert_eq!(whole.best(), chunked.best());
        assert_eq!(units(&whole.end_segment_before(8)), [(2, 9), (4, 2), (5, 3)]);
        assert_eq!(units(&whole.best()), [(8, 9), (10, 3)]);
    }
}
