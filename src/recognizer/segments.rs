//! The third stage of a stream: log-probabilities to events.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::decode::{Decoder, Endpoint, EndpointOptions, Endpointer, Onsets, Surroundings, Unit, UnitSpan};
use crate::text::numbers::Numbers;
use crate::text::phrases::Phrases;

use super::meaning::matches;
use super::numbers::in_digits;
use super::stepper::Stepper;
use super::transcript::{Event, Segment, Word};
use super::words::WordBuilder;

/// Silence in which no word goes on, seconds: where a segment is cut because of its length with
/// less than this behind its last word, that word belongs to the next segment.
const WORD_GAP: f64 = 0.5;

/// A network forgets only where there has been this much silence, seconds: in less, a word may be under
/// way that it has not told of yet.
const SILENCE_TO_FORGET: f64 = 0.5;

/// How much of a segment stays open, seconds: words that began earlier are settled. They leave the search,
/// so that a step costs the same however long the segment is, and partials, which show the open words
/// only, stay short. A segment is looked at when it has twice as much.
const OPEN_SECONDS: f64 = 20.0;

/// What a network that forgets at an endpoint hears again, seconds, but no more than half of the
/// silence: a word may have begun that it has not told of yet.
const HEARD_AGAIN: f64 = 0.5;

/// Decodes one stream and tells what changes.
pub struct SegmentDecoder {
    decoder: Box<dyn Decoder>,
    words: WordBuilder,
    /// Where labels began; empty where words are not rejected.
    onsets: Onsets,
    /// The words of the segments before, as far back as a word's company reaches.
    before: Vec<UnitSpan>,
    /// V, log-probabilities of an output frame.
    num_tokens: usize,
    endpointer: Option<Endpointer>,
    /// The network's state is to be reset at a silent endpoint.
    resets_state: bool,
    /// Blanks behind other speech after which the network's state is to be reset; 0 for never.
    pause_to_forget: u64,
    /// Blanks since the last label.
    blanks: u64,
    /// What a detector said of the frames that are still to come.
    speech: VecDeque<bool>,
    /// Where the current segment begins, seconds.
    start: f64,
    /// The words of the segment that no longer change.
    settled: Vec<Word>,
    /// Where the words behind them begin, seconds, and the frame from which they are counted.
    open_start: f64,
    open_frame: u64,
    /// Partials are made.
    partials: bool,
    /// The stream's length, once it is known.
    duration: Option<f64>,
    /// The decoder's revision at the last look.
    seen: u64,
    /// The text of the last partial.
    text: String,
    /// The words that may still be taken for other speech, as far as they were kept at the last look.
    open: Vec<Unit>,
    /// What the words of a segment mean, where phrases are recognized.
    phrases: Option<Arc<Phrases>>,
    /// Which numbers are written in digits in finals.
    numbers: Numbers,
}

impl SegmentDecoder {
    /// A stream that has heard nothing, and is one segment unless it is told otherwise.
    /// `num_tokens` is V, log-probabilities of an output frame.
    pub fn new(decoder: Box<dyn Decoder>, words: WordBuilder, num_tokens: usize) -> Self {
        let seen = decoder.revision();
        Self {
            decoder,
            words,
            onsets: Onsets::default(),
            before: Vec::new(),
            num_tokens: num_tokens.max(1),
            endpointer: None,
            resets_state: false,
            pause_to_forget: 0,
            blanks: 0,
            speech: VecDeque::new(),
            start: 0.0,
            settled: Vec::new(),
            open_start: 0.0,
            open_frame: 0,
            partials: true,
            duration: None,
            seen,
            text: String::new(),
            open: Vec::new(),
            phrases: None,
            numbers: Numbers::default(),
        }
    }

    /// Ends segments by these rules; `resets_state` where they do not say it.
    pub fn with_endpoints(mut self, options: &EndpointOptions, resets_state: bool) -> Self {
        self.endpointer = Some(Endpointer::new(options, self.words.clock().seconds(1)));
        self.resets_state = options.reset_state.unwrap_or(resets_state);
        self
    }

    /// Has the network forget in a pause of this length behind other speech; 0 for never.
    pub fn with_reset_after_other_speech(mut self, ms: u32) -> Self {
        let frame_ms = 1000.0 * self.words.clock().seconds(1).max(1e-3);
        self.pause_to_forget = (f64::from(ms) / frame_ms).round() as u64;
        self
    }

    /// Makes no partials.
    pub fn without_partials(mut self) -> Self {
        self.partials = false;
        self
    }

    /// With the meaning of a segment's words.
    pub fn with_phrases(mut self, phrases: Option<Arc<Phrases>>) -> Self {
        self.phrases = phrases;
        self
    }

    /// Writes numbers in digits in finals, unless phrases are recognized.
    pub fn with_numbers(mut self, numbers: Numbers) -> Self {
        self.numbers = numbers;
        self
    }

    /// Whether [`SegmentDecoder::push`] may ask for the network to forget.
    pub fn resets_state(&self) -> bool {
        self.resets_state || self.pause_to_forget > 0
    }

    /// Takes what a detector says of the next output frames.
    pub fn push_speech(&mut self, speech: &[bool]) {
        if self.endpointer.is_some() {
            self.speech.extend(speech);
        }
    }

    /// Takes `[U, V]` log-probabilities and appends what they change: a `Final` where a segment
    /// ends, a `Partial` when the text is another than before. Says whether the network shall
    /// forget what it heard: then nothing that it heard further on may be pushed, and the frames
    /// that are given (the last ones) are to be heard again, without being pushed again.
    pub fn push(&mut self, log_probs: &[f32], events: &mut Vec<Event>) -> Option<usize> {
        let mut forget = None;
        let rejects = self.words.rejection().is_some();
        for frame in log_probs.chunks_exact(self.num_tokens) {
            self.decoder.push(frame);
            if rejects {
                self.onsets.push(self.decoder.likeliest());
            }
            self.blanks = if self.decoder.likeliest().is_none() { self.blanks + 1 } else { 0 };
            if self.blanks == self.pause_to_forget && self.blanks > 0 && self.decoder.follows_other_speech() {
                // Nothing was said in the pause; what begins at its end is taken whole.
                forget = Some(self.blanks as usize);
            }
            if let Some(endpoint) = self.endpoint() {
                if self.resets_state && endpoint != Endpoint::TooLong && self.has_been_silent() {
                    forget = Some(self.frames_to_hear_again());
                }
                events.extend(self.cut(endpoint));
            }
            if self.decoder.num_frames() - self.open_frame >= 2 * self.open_frames() {
                self.settle();
            }
        }
        if self.partials {
            events.extend(self.partial());
        }
        forget
    }

    /// Says how long the stream is, seconds: what is pushed from now on is its closing silence,
    /// and no time lies behind the end.
    pub fn set_duration(&mut self, seconds: f64) {
        self.duration = Some(seconds);
    }

    /// Ends the segment here; the stream goes on with a new one.
    pub fn end_segment(&mut self) -> Event {
        let units = self.decoder.end_segment();
        let end = self.duration.unwrap_or_else(|| self.heard());
        self.close(&units, &[], self.decoder.num_frames(), end)
    }

    /// Begins a new stream.
    pub fn reset(&mut self) {
        self.decoder.reset();
        if let Some(endpointer) = &mut self.endpointer {
            endpointer.reset();
        }
        self.speech.clear();
        self.blanks = 0;
        self.onsets.reset();
        self.before.clear();
        self.seen = self.decoder.revision();
        self.text.clear();
        self.open.clear();
        self.start = 0.0;
        self.settled.clear();
        self.open_start = 0.0;
        self.open_frame = 0;
        self.duration = None;
    }

    /// Seconds heard so far.
    fn heard(&self) -> f64 {
        self.words.clock().seconds(self.decoder.num_frames())
    }

    fn open_frames(&self) -> u64 {
        (OPEN_SECONDS / self.words.clock().seconds(1).max(1e-3)).ceil() as u64
    }

    /// Takes the words out of the search that began before the open part of the segment.
    fn settle(&mut self) {
        let first = self.decoder.num_frames() - self.open_frames();
        self.open_frame = first;
        let best = self.decoder.best();
        let Some(at) = self.words.first_word_since(&best, first) else { return };
        let units = self.decoder.end_segment_before(best[at].start);
        let words = self.words.words(&units, self.open_start, self.duration, self.around(&best[at..]));
        self.open_start = words.last().map_or(self.open_start, |word| word.end);
        // The next partial shows what stands behind them, and is none if that was shown already.
        if let Some(behind) = self.text.strip_prefix(&join(&words)) {
            self.text = behind.trim_start().to_string();
        }
        self.settled.extend(words);
        self.remember(&units, &best[at..]);
    }

    /// Asks the rules about the frame that was pushed last.
    fn endpoint(&mut self) -> Option<Endpoint> {
        let endpointer = self.endpointer.as_mut()?;
        let speech = self.speech.pop_front().unwrap_or(false);
        let endpoint = endpointer.push(self.decoder.likeliest().is_none(), speech)?;
        // The closing silence is ours, and its end is an endpoint anyway.
        let closing = self.duration.is_some_and(|duration| self.heard() > duration);
        (!closing).then_some(endpoint)
    }

    fn has_been_silent(&self) -> bool {
        let silence = self.endpointer.as_ref().map_or(0, Endpointer::trailing_silence);
        self.words.clock().seconds(silence) >= SILENCE_TO_FORGET
    }

    fn frames_to_hear_again(&self) -> usize {
        let silence = self.endpointer.as_ref().map_or(0, Endpointer::trailing_silence);
        let most = HEARD_AGAIN / self.words.clock().seconds(1);
        // The smaller of the two is some dozen.
        (silence / 2).min(most as u64) as usize
    }

    /// Ends the segment by a rule. At the longest segment, which may be in the midst of speech, only what no
    /// longer changes is given; where that is nothing, the segment goes on.
    fn cut(&mut self, endpoint: Endpoint) -> Option<Event> {
        if endpoint != Endpoint::TooLong {
            let units = self.decoder.end_segment();
            return Some(self.close_here(&units));
        }
        let best = self.decoder.best();
        let unfinished = self.unfinished_word(&best).map(|at| best[at].start);
        let open = self.decoder.open_since();
        let Some(first) = unfinished.into_iter().chain(open).min() else {
            // What is under way goes on.
            let units = self.decoder.end_segment_before(u64::MAX);
            return Some(self.close_here(&units));
        };
        let endpointer = self.endpointer.as_mut()?;
        if first <= endpointer.first_frame() {
            return None;
        }
        endpointer.begin_segment_with_label(first);
        let units = self.decoder.end_segment_before(first);
        // The segment ends where the first word that is kept begins, as far as that is known.
        let behind = &best[units.len()..];
        let given = self.words.words(&units, self.open_start, self.duration, self.around(behind));
        let floor = given.last().map_or(self.open_start, |word| word.end);
        let kept = self.words.words(behind, floor, self.duration, self.around(&[]));
        let end = kept.first().map_or_else(|| self.words.clock().seconds(first), |word| word.start);
        let closed = self.close(&units, behind, first, end);
        // The words that are kept are news to the new segment.
        self.seen = self.seen.wrapping_sub(1);
        Some(closed)
    }

    /// The first label of the last word, if that may go on and the segment began before it.
    fn unfinished_word(&self, units: &[UnitSpan]) -> Option<usize> {
        let endpointer = self.endpointer.as_ref()?;
        if self.words.clock().seconds(endpointer.trailing_silence()) >= WORD_GAP {
            return None;
        }
        self.words.last_word(units).filter(|&at| at > 0 || units[at].start > endpointer.first_frame())
    }

    /// Gives `units` for good; the next segment begins with the next frame.
    fn close_here(&mut self, units: &[UnitSpan]) -> Event {
        if let Some(endpointer) = &mut self.endpointer {
            endpointer.begin_segment();
        }
        self.close(units, &[], self.decoder.num_frames(), self.heard())
    }

    /// Gives `units` for good, in a segment that ends at `end` seconds; those behind stay for the next one,
    /// which has the frames from `first` on.
    fn close(&mut self, units: &[UnitSpan], behind: &[UnitSpan], first: u64, end: f64) -> Event {
        let open = self.words.words(units, self.open_start, self.duration, self.around(behind));
        let mut words = std::mem::take(&mut self.settled);
        words.extend(open);
        if self.phrases.is_none() {
            words = in_digits(words, self.numbers);
        }
        let phrases = self.phrases.as_ref().map(|phrases| matches(phrases, &words)).unwrap_or_default();
        let text = match phrases.is_empty() {
            true => join(&words),
            false => phrases.iter().map(|phrase| phrase.text.as_str()).collect::<Vec<_>>().join(" "),
        };
        let segment = Segment { text, start: self.start, end: end.max(self.start), words, phrases };
        self.seen = self.decoder.revision();
        self.text.clear();
        self.open.clear();
        self.start = segment.end;
        self.open_start = segment.end;
        self.open_frame = first;
        self.remember(units, behind);
        Event::Final(segment)
    }

    /// Keeps what the words behind these are judged by.
    fn remember(&mut self, units: &[UnitSpan], behind: &[UnitSpan]) {
        let Some(rejection) = self.words.rejection() else { return };
        let kept = rejection.are_company(units, self.around(behind));
        self.before.extend(units.iter().zip(kept).filter(|(_, kept)| *kept).map(|(word, _)| *word));
        let open = behind.first().map_or(self.onsets.num_frames(), |word| word.start);
        let first = open.saturating_sub(4 * rejection.window);
        self.onsets.forget_before(first);
        self.before.retain(|word| word.end > first);
    }

    fn around<'a>(&'a self, behind: &'a [UnitSpan]) -> Surroundings<'a> {
        Surroundings { before: &self.before, behind, onsets: &self.onsets }
    }

    fn partial(&mut self) -> Option<Event> {
        let revision = self.decoder.revision();
        let open = self.open_words();
        if revision == self.seen && open == self.open {
            return None;
        }
        self.seen = revision;
        self.open = open;
        let segment = self.partial_segment();
        if segment.text == self.text {
            return None;
        }
        self.text.clone_from(&segment.text);
        Some(Event::Partial(segment))
    }

    /// The words that are kept so far of those whose neighborhood is not heard yet.
    fn open_words(&self) -> Vec<Unit> {
        let Some(rejection) = self.words.rejection() else { return Vec::new() };
        let first = self.decoder.num_frames().saturating_sub(3 * rejection.window);
        let mut words = self.decoder.best();
        words.drain(..words.partition_point(|word| word.start < first));
        let kept = rejection.keeps(&words, self.around(&[]));
        words.iter().zip(kept).filter(|(_, kept)| *kept).map(|(word, _)| word.unit).collect()
    }

    /// The open words of the segment.
    fn partial_segment(&self) -> Segment {
        let end = self.duration.map_or(self.heard(), |duration| duration.min(self.heard()));
        let (best, start) = (self.decoder.best(), self.open_start);
        let words = self.words.words(&best, start, self.duration, self.around(&[]));
        Segment { text: join(&words), start, end: end.max(start), words, phrases: Vec::new() }
    }
}

/// Takes what one call of the network gave for `steps` steps. Where the network shall forget, it
/// does, and the frames behind that point, and a few before it, wait to be heard anew.
pub fn decode_steps(
    stepper: &mut Stepper,
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
    let known = stepper.take_known(steps);
    for (step, log_probs) in log_probs.chunks(size).enumerate().skip(known) {
        if let Some(again) = segments.push(log_probs, events) {
            stepper.forget(steps.saturating_sub(step + 1), again / frames);
            return;
        }
    }
}

fn join(words: &[Word]) -> String {
    words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>().join(" ")
}
