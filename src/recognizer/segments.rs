//! Third stage of a stream: decodes log-probabilities, divides the stream into segments and creates events.

use std::collections::VecDeque;

use crate::decode::{
    Decoder, Endpoint, EndpointOptions, Endpointer, Hypothesis, Onsets, RejectionContext, Unit, UnitSpan,
};
use crate::text::numbers::Numbers;

use super::meaning::{Meaning, PhraseGraph, SpokenWord, join};
use super::numbers::in_digits;
use super::streaming_network::StreamingNetwork;
use super::transcript::{Alternative, Event, PhraseMatch, Segment, Word};
use super::words::WordBuilder;

/// Silence after which a word is considered complete, seconds. If a segment is ended because of its length with less
/// silence than this after its last word, that word is moved to the next segment.
const WORD_GAP: f64 = 0.5;

/// Minimum silence before the network's state is reset, seconds: a shorter pause may contain the start of a word
/// that the network has not emitted yet.
const MIN_RESET_SILENCE: f64 = 0.5;

/// Length of the open part of a segment, seconds: words before it are settled when the part is twice as long.
/// Settled words are removed from the search, so that the cost of a step does not grow with the length of the
/// segment, and from partials.
const OPEN_SECONDS: f64 = 20.0;

/// Maximum length of the audio that is replayed after a reset at an endpoint, seconds, but at most half of the
/// silence: a word may have begun that the network has not emitted yet.
const MAX_REPLAY: f64 = 0.5;

/// The end of a segment.
struct EndedSegment<'a> {
    /// The best units.
    units: &'a [UnitSpan],
    /// The units after them, which belong to the next segment.
    following: &'a [UnitSpan],
    /// The best hypotheses, `units` first, if alternatives are requested.
    hypotheses: Vec<Hypothesis>,
}

/// Words that replace those of a stream: what depends on them.
pub struct NextWords {
    /// Decoder of a new stream.
    pub decoder: Box<dyn Decoder>,
    /// Builder of the words.
    pub words: WordBuilder,
    /// Pause after out-of-vocabulary speech in which the network's state is reset, milliseconds; 0 for never.
    pub reset_after_other_speech_ms: u32,
    /// The phrases to be recognized, if the vocabulary is a file of phrases.
    pub phrases: Option<PhraseGraph>,
    /// Which numbers are written in digits in finals.
    pub numbers: Numbers,
}

/// Decodes one stream and creates its events.
pub struct SegmentDecoder {
    decoder: Box<dyn Decoder>,
    words: WordBuilder,
    /// Frames at which labels began; empty if words are not rejected.
    onsets: Onsets,
    /// Words of previous segments that are near enough to affect the rejection of words in this one.
    preceding: Vec<UnitSpan>,
    /// V, the number of log-probabilities per output frame.
    num_tokens: usize,
    endpointer: Option<Endpointer>,
    /// Whether the network's state is reset at an endpoint in silence.
    resets_state: bool,
    /// Whether it may have been reset by the rules of words that were replaced; steps may still be replayed.
    has_reset: bool,
    /// Number of blank frames after out-of-vocabulary speech at which the network's state is reset; 0 for never.
    reset_pause: u64,
    /// Number of blank frames since the last label.
    blanks: u64,
    /// The voice activity detector's decisions on the next frames.
    speech: VecDeque<bool>,
    /// Start of the current segment, seconds.
    start: f64,
    /// Words of the segment that were removed from the search and no longer change.
    settled: Vec<SpokenWord>,
    /// Start of the open part, seconds: the end of the settled words, or the start of the segment.
    open_start: f64,
    /// First frame of the open part.
    open_frame: u64,
    /// Whether partials are created.
    partials: bool,
    /// The stream's duration, once it has ended, seconds.
    duration: Option<f64>,
    /// The decoder's revision at the last partial.
    seen_revision: u64,
    /// The text of the last partial.
    text: String,
    /// Words at the last partial that were not rejected, but may still be.
    open: Vec<Unit>,
    /// The phrases to be recognized, if the vocabulary is a file of phrases.
    phrases: Option<PhraseGraph>,
    /// Which numbers are written in digits in finals.
    numbers: Numbers,
    /// The words of the next utterance, if they replace the current ones.
    next_words: Option<Box<NextWords>>,
}

impl SegmentDecoder {
    /// Creates the decoder of a new stream without endpoint rules. `num_tokens` is V, the number of log-probabilities
    /// per output frame.
    pub fn new(decoder: Box<dyn Decoder>, words: WordBuilder, num_tokens: usize) -> Self {
        let seen_revision = decoder.revision();
        Self {
            decoder,
            words,
            onsets: Onsets::default(),
            preceding: Vec::new(),
            num_tokens: num_tokens.max(1),
            endpointer: None,
            resets_state: false,
            has_reset: false,
            reset_pause: 0,
            blanks: 0,
            speech: VecDeque::new(),
            start: 0.0,
            settled: Vec::new(),
            open_start: 0.0,
            open_frame: 0,
            partials: true,
            duration: None,
            seen_revision,
            text: String::new(),
            open: Vec::new(),
            phrases: None,
            numbers: Numbers::default(),
            next_words: None,
        }
    }

    /// Ends segments by these rules; `resets_state` is used if they do not specify whether the state is reset.
    pub fn with_endpoints(mut self, options: &EndpointOptions, resets_state: bool) -> Self {
        self.endpointer = Some(Endpointer::new(options, self.words.clock().seconds(1)));
        self.resets_state = options.reset_state.unwrap_or(resets_state);
        self
    }

    /// Resets the network's state in a pause of this length after out-of-vocabulary speech; 0 for never.
    pub fn with_reset_after_other_speech(mut self, ms: u32) -> Self {
        self.reset_pause = self.pause_frames(ms);
        self
    }

    /// Disables partials.
    pub fn without_partials(mut self) -> Self {
        self.partials = false;
        self
    }

    /// Adds phrases, so that final segments contain intents and slots.
    pub fn with_phrases(mut self, phrases: Option<PhraseGraph>) -> Self {
        self.phrases = phrases;
        self
    }

    /// Writes numbers in digits in final segments, except in phrases.
    pub fn with_numbers(mut self, numbers: Numbers) -> Self {
        self.numbers = numbers;
        self
    }

    /// Whether [`SegmentDecoder::push`] may request a reset of the network's state.
    pub fn resets_state(&self) -> bool {
        self.resets_state || self.has_reset || self.reset_pause > 0
    }

    /// Replaces the words: at once if nothing was said in the current segment, else at its end.
    pub fn change_words(&mut self, words: NextWords) {
        self.has_reset |= self.resets_state() || words.reset_after_other_speech_ms > 0;
        self.next_words = Some(Box::new(words));
        self.replace_silent_words();
    }

    /// Replaces the words if nothing was said in the segment. After a short pause a word may have begun.
    fn replace_silent_words(&mut self) {
        if self.next_words.is_none() {
            return;
        }
        let frames = self.decoder.num_frames();
        let is_silent = frames == self.open_frame || self.words.clock().seconds(self.blanks) >= WORD_GAP;
        if is_silent && self.settled.is_empty() && self.text.is_empty() && self.decoder.best().is_empty() {
            self.replace_words();
        }
    }

    /// Replaces the words, if others are to follow; the decoder must have no units.
    fn replace_words(&mut self) {
        let Some(next) = self.next_words.take() else { return };
        let frames = self.decoder.num_frames();
        let NextWords { mut decoder, words, reset_after_other_speech_ms, phrases, numbers } = *next;
        decoder.begin_at(frames);
        (self.decoder, self.words, self.phrases, self.numbers) = (decoder, words, phrases, numbers);
        self.onsets = Onsets::begin_at(frames);
        self.preceding.clear();
        self.seen_revision = self.decoder.revision();
        self.reset_pause = self.pause_frames(reset_after_other_speech_ms);
    }

    fn pause_frames(&self, ms: u32) -> u64 {
        let frame_ms = 1000.0 * self.words.clock().seconds(1).max(1e-3);
        (f64::from(ms) / frame_ms).round() as u64
    }

    /// Accepts a voice activity detector's decisions on the next output frames.
    pub fn push_speech(&mut self, speech: &[bool]) {
        if self.endpointer.is_some() {
            self.speech.extend(speech);
        }
    }

    /// Accepts log-probabilities `[U, V]` and appends events: a `Final` at the end of a segment, a `Partial` when
    /// the text has changed.
    ///
    /// Returns a number of frames if the network's state must be reset. Then log-probabilities that were computed
    /// from the old state and not pushed yet must be discarded, and that many of the last frames must be run through
    /// the network again, without pushing their output again.
    pub fn push(&mut self, log_probs: &[f32], events: &mut Vec<Event>) -> Option<usize> {
        let mut reset = None;
        for frame in log_probs.chunks_exact(self.num_tokens) {
            self.decoder.push(frame);
            if self.words.rejection().is_some() {
                self.onsets.push(self.decoder.likeliest());
            }
            self.blanks = if self.decoder.likeliest().is_none() { self.blanks + 1 } else { 0 };
            if self.blanks == self.reset_pause && self.blanks > 0 && self.decoder.follows_other_speech() {
                // The whole pause is replayed, so that a word that begins at its end is complete.
                reset = Some(self.blanks as usize);
            }
            if let Some(endpoint) = self.endpoint() {
                if self.resets_state && endpoint != Endpoint::MaxLength && self.has_been_silent() {
                    reset = Some(self.replay_frames());
                }
                events.extend(self.end_at_endpoint(endpoint));
            }
            self.replace_silent_words();
            if self.decoder.num_frames() - self.open_frame >= 2 * self.open_frames() {
                self.settle();
            }
        }
        if self.partials {
            events.extend(self.partial());
        }
        reset
    }

    /// Sets the stream's duration in seconds: frames pushed from now on belong to the appended silence, and no time is
    /// later than the duration.
    pub fn set_duration(&mut self, seconds: f64) {
        self.duration = Some(seconds);
    }

    /// Ends the segment; the stream continues with a new one.
    pub fn end_segment(&mut self) -> Event {
        let hypotheses = self.decoder.hypotheses();
        let units = self.decoder.end_segment();
        let end = self.duration.unwrap_or_else(|| self.elapsed());
        let ended = EndedSegment { units: &units, following: &[], hypotheses };
        let event = self.close(ended, self.decoder.num_frames(), end);
        self.replace_words();
        event
    }

    /// Resets the state for a new stream.
    pub fn reset(&mut self) {
        self.replace_words();
        self.decoder.reset();
        if let Some(endpointer) = &mut self.endpointer {
            endpointer.reset();
        }
        self.speech.clear();
        self.blanks = 0;
        self.onsets.reset();
        self.preceding.clear();
        self.seen_revision = self.decoder.revision();
        self.text.clear();
        self.open.clear();
        self.start = 0.0;
        self.settled.clear();
        self.open_start = 0.0;
        self.open_frame = 0;
        self.duration = None;
    }

    /// Seconds decoded so far.
    fn elapsed(&self) -> f64 {
        self.words.clock().seconds(self.decoder.num_frames())
    }

    fn open_frames(&self) -> u64 {
        (OPEN_SECONDS / self.words.clock().seconds(1).max(1e-3)).ceil() as u64
    }

    /// Removes the words that began before the open part of the segment from the search.
    fn settle(&mut self) {
        let first = self.decoder.num_frames() - self.open_frames();
        self.open_frame = first;
        let best = self.decoder.best();
        let Some(at) = self.words.first_word_since(&best, first) else { return };
        let units = self.decoder.end_segment_before(best[at].start);
        let context = self.rejection_context(&best[at..]);
        let words = self.words.words_with_units(&units, self.open_start, self.duration, context);
        self.open_start = words.last().map_or(self.open_start, |(word, _)| word.end);
        // The next partial has only the words after them, and is suppressed if its text is not new.
        if let Some(following) = self.text.strip_prefix(&join(words.iter().map(|(word, _)| word))) {
            self.text = following.trim_start().to_string();
        }
        self.settled.extend(words);
        self.keep_context(&units, &best[at..]);
    }

    /// Applies the endpoint rules to the last frame.
    fn endpoint(&mut self) -> Option<Endpoint> {
        let endpointer = self.endpointer.as_mut()?;
        let speech = self.speech.pop_front().unwrap_or(false);
        let endpoint = endpointer.push(self.decoder.likeliest().is_none(), speech)?;
        // No endpoint within the appended silence: the segment ends with the stream anyway.
        let closing = self.duration.is_some_and(|duration| self.elapsed() > duration);
        (!closing).then_some(endpoint)
    }

    fn has_been_silent(&self) -> bool {
        let silence = self.endpointer.as_ref().map_or(0, Endpointer::trailing_silence);
        self.words.clock().seconds(silence) >= MIN_RESET_SILENCE
    }

    fn replay_frames(&self) -> usize {
        let silence = self.endpointer.as_ref().map_or(0, Endpointer::trailing_silence);
        let max = MAX_REPLAY / self.words.clock().seconds(1);
        // The cast is safe: `max` is some dozen frames.
        (silence / 2).min(max as u64) as usize
    }

    /// Ends the segment at an endpoint. If the reason is the maximum length, which may be reached during speech,
    /// only the words that no longer change are returned; if there are none, the segment continues.
    fn end_at_endpoint(&mut self, endpoint: Endpoint) -> Option<Event> {
        if endpoint != Endpoint::MaxLength {
            let hypotheses = self.decoder.hypotheses();
            let units = self.decoder.end_segment();
            let closed = self.close_here(&units, hypotheses);
            self.replace_words();
            return Some(closed);
        }
        let best = self.decoder.best();
        let unfinished = self.unfinished_word(&best).map(|at| best[at].start);
        let open = self.decoder.open_since();
        let Some(first) = unfinished.into_iter().chain(open).min() else {
            // The search keeps its state, since a word may have begun.
            let hypotheses = self.decoder.hypotheses();
            let units = self.decoder.end_segment_before(u64::MAX);
            let hypotheses = settled(&units, &hypotheses);
            return Some(self.close_here(&units, hypotheses));
        };
        let endpointer = self.endpointer.as_mut()?;
        if first <= endpointer.first_frame() {
            return None;
        }
        endpointer.begin_segment_with_label(first);
        let hypotheses = self.decoder.hypotheses();
        let units = self.decoder.end_segment_before(first);
        let hypotheses = settled(&units, &hypotheses);
        // The segment ends at the start of the first word that is moved to the next one.
        let following = &best[units.len()..];
        let finished =
            self.words.words(&units, self.open_start, self.duration, self.rejection_context(following));
        let floor = finished.last().map_or(self.open_start, |word| word.end);
        let moved = self.words.words(following, floor, self.duration, self.rejection_context(&[]));
        let end = moved.first().map_or_else(|| self.words.clock().seconds(first), |word| word.start);
        let closed = self.close(EndedSegment { units: &units, following, hypotheses }, first, end);
        // The new segment needs a partial with these words although the decoder does not change.
        self.seen_revision = self.seen_revision.wrapping_sub(1);
        Some(closed)
    }

    /// Index of the first label of the last word, if that may be incomplete and the segment began before it.
    fn unfinished_word(&self, units: &[UnitSpan]) -> Option<usize> {
        let endpointer = self.endpointer.as_ref()?;
        if self.words.clock().seconds(endpointer.trailing_silence()) >= WORD_GAP {
            return None;
        }
        self.words.last_word(units).filter(|&at| at > 0 || units[at].start > endpointer.first_frame())
    }

    /// Creates the final segment of `units`; the next one begins with the next frame.
    fn close_here(&mut self, units: &[UnitSpan], hypotheses: Vec<Hypothesis>) -> Event {
        if let Some(endpointer) = &mut self.endpointer {
            endpointer.begin_segment();
        }
        let ended = EndedSegment { units, following: &[], hypotheses };
        self.close(ended, self.decoder.num_frames(), self.elapsed())
    }

    /// Creates the final segment, which ends at `end` seconds; the next one begins with the frame `first`.
    fn close(&mut self, ended: EndedSegment, first: u64, end: f64) -> Event {
        let EndedSegment { units, following, hypotheses } = ended;
        let settled = std::mem::take(&mut self.settled);
        let (text, words, phrases) = match self.text_of(&settled, units, following) {
            (_, words, _) if self.words.is_rejected(&words) => Default::default(),
            recognized => recognized,
        };
        let alternatives = self.alternatives(&settled, &hypotheses, following);
        let end = end.max(self.start);
        let segment = Segment { text, start: self.start, end, words, phrases, alternatives };
        self.seen_revision = self.decoder.revision();
        self.text.clear();
        self.open.clear();
        self.start = segment.end;
        self.open_start = segment.end;
        self.open_frame = first;
        self.keep_context(units, following);
        Event::Final(segment)
    }

    /// The text of a segment, its words and its phrases: the words that were settled before, then `units`.
    fn text_of(
        &self,
        settled: &[SpokenWord],
        units: &[UnitSpan],
        following: &[UnitSpan],
    ) -> (String, Vec<Word>, Vec<PhraseMatch>) {
        let context = self.rejection_context(following);
        let open = self.words.words_with_units(units, self.open_start, self.duration, context);
        let spoken = [settled, &open].concat();
        match &self.phrases {
            Some(phrases) => {
                let Meaning { phrases, text, words } = phrases.meaning(&spoken, self.numbers);
                (text, words, phrases)
            }
            None => {
                let words = in_digits(spoken.into_iter().map(|(word, _)| word).collect(), self.numbers);
                (join(&words), words, Vec::new())
            }
        }
    }

    /// The texts of the best hypotheses, each once, with their probabilities among all of them.
    fn alternatives(
        &self,
        settled: &[SpokenWord],
        hypotheses: &[Hypothesis],
        following: &[UnitSpan],
    ) -> Vec<Alternative> {
        let sum: f32 = hypotheses.iter().map(|hypothesis| hypothesis.score.exp()).sum();
        let mut alternatives: Vec<Alternative> = Vec::new();
        for Hypothesis { score, units } in hypotheses {
            let (text, words, _) = self.text_of(settled, units, following);
            let confidence = score.exp() / sum;
            // Words that are rejected make no difference.
            match alternatives.iter_mut().find(|known| known.text == text) {
                Some(known) => known.confidence += confidence,
                None => alternatives.push(Alternative { text, confidence, score: *score, words }),
            }
        }
        alternatives
    }

    /// Keeps the context by which later words may be rejected: these units and the onsets of labels near the end.
    fn keep_context(&mut self, units: &[UnitSpan], following: &[UnitSpan]) {
        let Some(rejection) = self.words.rejection() else { return };
        let accepted = rejection.have_context(units, self.rejection_context(following));
        self.preceding
            .extend(units.iter().zip(accepted).filter(|(_, accepted)| *accepted).map(|(word, _)| *word));
        let open = following.first().map_or(self.onsets.num_frames(), |word| word.start);
        let first = open.saturating_sub(4 * rejection.window);
        self.onsets.drop_before(first);
        self.preceding.retain(|word| word.end > first);
    }

    fn rejection_context<'a>(&'a self, following: &'a [UnitSpan]) -> RejectionContext<'a> {
        RejectionContext { preceding: &self.preceding, following, onsets: &self.onsets }
    }

    fn partial(&mut self) -> Option<Event> {
        let revision = self.decoder.revision();
        let open = self.open_words();
        if revision == self.seen_revision && open == self.open {
            return None;
        }
        self.seen_revision = revision;
        self.open = open;
        let segment = self.partial_segment();
        if segment.text == self.text {
            return None;
        }
        self.text.clone_from(&segment.text);
        Some(Event::Partial(segment))
    }

    /// Words not rejected so far, but which may still be rejected by what follows them.
    fn open_words(&self) -> Vec<Unit> {
        let Some(rejection) = self.words.rejection() else { return Vec::new() };
        let first = self.decoder.num_frames().saturating_sub(3 * rejection.window);
        let mut words = self.decoder.best();
        words.drain(..words.partition_point(|word| word.start < first));
        let accepted = rejection.accepted(&words, self.rejection_context(&[]));
        words.iter().zip(accepted).filter(|(_, accepted)| *accepted).map(|(word, _)| word.unit).collect()
    }

    /// The segment of a partial, with the open words.
    fn partial_segment(&self) -> Segment {
        let end = self.duration.map_or(self.elapsed(), |duration| duration.min(self.elapsed()));
        let (best, start) = (self.decoder.best(), self.open_start);
        let spoken = self.words.words_with_units(&best, start, self.duration, self.rejection_context(&[]));
        let words = match &self.phrases {
            Some(phrases) if phrases.only_phrases() => phrases.meaning(&spoken, Numbers::Words).words,
            _ => spoken.into_iter().map(|(word, _)| word).collect(),
        };
        Segment {
            text: join(&words),
            start,
            end: end.max(start),
            words,
            phrases: Vec::new(),
            alternatives: Vec::new(),
        }
    }
}

/// Decodes the log-probabilities of one call of the network of `steps` steps. If the decoder requests a reset, the
/// network's state is reset, and the frames after that point and a few before it are queued again.
pub fn decode_steps(
    network: &mut StreamingNetwork,
    segments: &mut SegmentDecoder,
    log_probs: &[f32],
    steps: usize,
    events: &mut Vec<Event>,
) {
    if !segments.resets_state() || steps == 0 {
        segments.push(log_probs, events);
        return;
    }
    let size = (log_probs.len() / steps).max(1);
    let frames = (size / segments.num_tokens).max(1);
    let replayed = network.take_replayed(steps);
    for (step, log_probs) in log_probs.chunks(size).enumerate().skip(replayed) {
        if let Some(replay) = segments.push(log_probs, events) {
            network.reset_and_replay(steps.saturating_sub(step + 1), replay / frames);
            return;
        }
    }
}

/// The hypotheses of units that all of the paths of a search agree on.
fn settled(units: &[UnitSpan], hypotheses: &[Hypothesis]) -> Vec<Hypothesis> {
    let only = || Hypothesis { score: 0.0, units: units.to_vec() };
    hypotheses.first().map(|_| only()).into_iter().collect()
}
