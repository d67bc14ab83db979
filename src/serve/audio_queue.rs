//! What of a client's messages waits until the recognizer has room.

use std::collections::VecDeque;

use axum::body::Bytes;

use super::input::AudioInput;
use super::stream_queue::Item;

/// A part of what waits.
pub(super) enum Queued {
    Audio(Bytes),
    /// The audio behind it has another format.
    Format(AudioInput),
    Silence(f64),
    Mark,
    Restart,
    Finish,
}

/// A session's audio and requests in their order, and what decodes the audio.
#[derive(Default)]
pub(super) struct AudioQueue {
    /// `None` before the stream is opened.
    pub input: Option<AudioInput>,
    waiting: VecDeque<Queued>,
}

impl AudioQueue {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn push(&mut self, queued: Queued) {
        self.waiting.push_back(queued);
    }

    /// What the recognizer is to be given next; to be asked when it has room.
    ///
    /// # Errors
    /// Says what is wrong with the client's audio.
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
                Queued::Restart | Queued::Finish | Queued::Silence(_) | Queued::Format(_) => {
                    // After what the resampler still holds; asked again, it holds nothing.
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
