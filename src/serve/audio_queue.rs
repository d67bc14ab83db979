//! The queue of a client's audio and requests that wait until the recognizer has capacity.

use std::collections::VecDeque;

use axum::body::Bytes;

use super::input::AudioInput;
use super::stream_queue::Item;
use super::words::Words;

/// An entry of the queue; the variants correspond to those of `Action`.
pub(super) enum Queued {
    Audio(Bytes),
    /// The audio after it has another format.
    Format(AudioInput),
    Silence(f64),
    /// The words from the next utterance on; `None` for those of the server.
    Words(Option<Words>),
    Mark,
    Restart,
    Finish,
}

/// A session's audio and requests in order, and the decoder of the audio.
#[derive(Default)]
pub(super) struct AudioQueue {
    /// Decoder and resampler of the audio; `None` before the stream is opened.
    pub input: Option<AudioInput>,
    waiting: VecDeque<Queued>,
}

impl AudioQueue {
    /// Whether nothing waits for the recognizer.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Appends an entry.
    pub fn push(&mut self, queued: Queued) {
        self.waiting.push_back(queued);
    }

    /// Removes and returns the next item for the recognizer, which must have capacity; `None` when
    /// nothing waits.
    ///
    /// # Errors
    /// A description of invalid audio.
    pub fn next_item(&mut self) -> Option<Result<Item, String>> {
        loop {
            match self.waiting.front_mut()? {
                Queued::Audio(bytes) => {
                    let samples = self.input.as_mut()?.take(bytes);
                    if bytes.is_empty() {
                        self.waiting.pop_front();
                    }
                    match samples {
                        Ok(samples) if samples.is_empty() => {}
                        samples => return Some(samples.map(Item::Audio)),
                    }
                }
                Queued::Mark => {
                    self.waiting.pop_front();
                    return Some(Ok(Item::Mark));
                }
                Queued::Words(words) => {
                    let words = words.take();
                    self.waiting.pop_front();
                    return Some(Ok(Item::Words(words)));
                }
                Queued::Restart | Queued::Finish | Queued::Silence(_) | Queued::Format(_) => {
                    // The samples that the resampler still holds come first; the next call finds none.
                    let rest = self.input.as_mut()?.finish();
                    if !rest.is_empty() {
                        return Some(Ok(Item::Audio(rest)));
                    }
                    match self.waiting.pop_front()? {
                        Queued::Format(input) => self.input = Some(input),
                        Queued::Silence(seconds) => return Some(Ok(Item::Silence(seconds))),
                        Queued::Finish => return Some(Ok(Item::Finish)),
                        _ => return Some(Ok(Item::Restart)),
                    }
                }
            }
        }
    }
}
