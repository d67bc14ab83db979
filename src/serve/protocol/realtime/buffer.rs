//! The audio buffer: how much audio was received, and the utterances that the client ended.

use std::collections::VecDeque;

use super::settings::Invalid;

/// Minimum length of audio that can be committed, seconds.
const MIN_COMMIT: f64 = 0.1;

/// The reason for which an utterance was ended that the recognizer has not completed yet.
#[derive(Debug)]
pub(super) enum Ending {
    /// The client committed its audio, which becomes this item.
    Commit { item: String, seconds: f64 },
    /// The client discarded its audio.
    Clear,
    /// The client changed the silence that ends utterances.
    Silence,
}

/// The audio that was received, and what is known of its texts.
#[derive(Debug, Default)]
pub(super) struct AudioBuffer {
    endings: VecDeque<Ending>,
    /// Texts of final results that do not belong to an item yet.
    texts: Vec<String>,
    /// Length of the audio that was received, seconds.
    appended: f64,
    /// Length of the audio that belongs to an item or was discarded, seconds.
    committed: f64,
}

impl AudioBuffer {
    /// Adds received audio.
    pub fn append(&mut self, seconds: f64) {
        self.appended += seconds;
    }

    /// Takes the audio out of the buffer for an item; returns its length, seconds.
    ///
    /// # Errors
    /// When it is too short.
    pub fn commit(&mut self) -> Result<f64, Invalid> {
        let seconds = self.appended - self.committed;
        if seconds < MIN_COMMIT {
            let message = format!(
                "expected at least {} ms of audio in the buffer, found {:.0} ms",
                MIN_COMMIT * 1000.0,
                seconds * 1000.0
            );
            return Err(Invalid { message, field: String::new() });
        }
        self.committed = self.appended;
        Ok(seconds)
    }

    /// Discards the audio in the buffer.
    pub fn clear(&mut self) {
        self.committed = self.appended;
    }

    /// Takes the audio up to a time of the stream, seconds, out of the buffer: it belongs to an item.
    pub fn commit_until(&mut self, end: f64) {
        self.committed = self.committed.max(end);
    }

    /// Notes that the recognizer was asked to end an utterance.
    pub fn end(&mut self, ending: Ending) {
        self.endings.push_back(ending);
    }

    /// Whether the client ended an utterance that the recognizer has not completed yet.
    pub fn is_ended(&self) -> bool {
        self.endings.iter().any(|ending| !matches!(ending, Ending::Silence))
    }

    /// Adds the text of a final result to the item that the client will commit or has committed.
    pub fn add_text(&mut self, text: String) {
        if !text.is_empty() {
            self.texts.push(text);
        }
    }

    /// The utterance that the recognizer has completed, with its texts if it was committed.
    pub fn complete(&mut self) -> Option<Completed> {
        match self.endings.pop_front() {
            Some(Ending::Commit { item, seconds }) => {
                Some(Completed { item, texts: std::mem::take(&mut self.texts), seconds })
            }
            Some(Ending::Clear) => {
                self.texts.clear();
                None
            }
            Some(Ending::Silence) | None => None,
        }
    }
}

/// An item whose text is complete.
#[derive(Debug)]
pub(super) struct Completed {
    pub item: String,
    pub texts: Vec<String>,
    /// Length of its audio, seconds.
    pub seconds: f64,
}
