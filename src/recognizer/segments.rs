//! The third stage of a stream: log-probabilities to events.

use crate::decode::{Decoder, Token};

use super::transcript::{Event, Segment, Word};
use super::words::WordBuilder;

/// Decodes one stream and tells what changes.
pub struct SegmentDecoder {
    decoder: Box<dyn Decoder>,
    words: WordBuilder,
    /// Where the current segment begins, seconds.
    start: f64,
    /// The stream's length, once it is known.
    duration: Option<f64>,
    /// The decoder's revision at the last look.
    seen: u64,
    /// The text of the last partial.
    text: String,
}

impl SegmentDecoder {
    /// A stream that has heard nothing.
    pub fn new(decoder: Box<dyn Decoder>, words: WordBuilder) -> Self {
        let seen = decoder.revision();
        Self { decoder, words, start: 0.0, duration: None, seen, text: String::new() }
    }

    /// Takes `[U, V]` log-probabilities; gives a partial when the text is another than before.
    pub fn push(&mut self, log_probs: &[f32]) -> Option<Event> {
        self.decoder.push(log_probs);
        if self.decoder.revision() == self.seen {
            return None;
        }
        self.seen = self.decoder.revision();
        let segment = self.segment(&self.decoder.best());
        if segment.text == self.text {
            return None;
        }
        self.text.clone_from(&segment.text);
        Some(Event::Partial(segment))
    }

    /// Says how long the stream is, seconds: what is pushed from now on is its closing silence,
    /// and no time lies behind the end.
    pub fn set_duration(&mut self, seconds: f64) {
        self.duration = Some(seconds);
    }

    /// Ends the segment here; the stream goes on with a new one.
    pub fn end_segment(&mut self) -> Event {
        let tokens = self.decoder.end_segment();
        let segment = self.segment(&tokens);
        self.seen = self.decoder.revision();
        self.text.clear();
        self.start = segment.end;
        Event::Final(segment)
    }

    /// Begins a new stream.
    pub fn reset(&mut self) {
        self.decoder.reset();
        self.seen = self.decoder.revision();
        self.text.clear();
        self.start = 0.0;
        self.duration = None;
    }

    fn segment(&self, tokens: &[Token]) -> Segment {
        let words = self.words.words(tokens, self.start, self.duration);
        let heard = self.words.clock().seconds(self.decoder.num_frames());
        let end = self.duration.unwrap_or(heard).max(self.start);
        Segment { text: join(&words), start: self.start, end, words }
    }
}

fn join(words: &[Word]) -> String {
    words.iter().map(|w| w.word.as_str()).collect::<Vec<_>>().join(" ")
}
