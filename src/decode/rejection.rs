//! Telling the model's own words from other speech by how sure the network is around them.
//!
//! The auxiliary output spells out what is said. While words are said that the model was trained
//! to write, its posteriors are sharp; in other speech they are not, whatever the word output
//! believes to hear. A word is kept where the log-odds of its posterior p reach
//! `threshold + slope * d`, with d the mean doubt (1 - sureness) around the word's beginning.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// When a word is taken for other speech and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RejectionOptions {
    /// Doubt is averaged over this much before and behind a word's beginning, milliseconds.
    pub window_ms: u32,
    /// The log-odds of a word without any doubt around it.
    pub threshold: f32,
    /// By how much more they must be, for a doubt of 1.
    pub slope: f32,
}

impl Default for RejectionOptions {
    fn default() -> Self {
        Self { window_ms: 1000, threshold: -4.0, slope: 20.0 }
    }
}

/// Decides which words are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rejection {
    /// Output frames before and behind a word's first.
    pub window: u64,
    threshold: f32,
    slope: f32,
}

impl Rejection {
    /// By the options; an output frame lasts `frame_seconds`.
    pub fn new(options: &RejectionOptions, frame_seconds: f64) -> Self {
        let frames = f64::from(options.window_ms) / 1000.0 / frame_seconds.max(1e-6);
        Self { window: frames.round() as u64, threshold: options.threshold, slope: options.slope }
    }

    /// Whether a word whose first frame is `start`, of posterior `confidence`, is kept.
    pub fn keeps(&self, start: u64, confidence: f32, doubts: &Doubts) -> bool {
        let Some(doubt) = doubts.mean(start.saturating_sub(self.window), start + self.window) else {
            return true;
        };
        let odds = (confidence / (1.0 - confidence).max(f32::MIN_POSITIVE)).max(f32::MIN_POSITIVE);
        odds.ln() >= self.threshold + self.slope * doubt
    }
}

/// The doubt of each output frame of a stream, as sums from the first on.
#[derive(Clone, Debug)]
pub struct Doubts {
    /// The frame that `sums[0]` ends before.
    first: u64,
    /// `sums[i]`: the doubts of all frames before `first + i`.
    sums: VecDeque<f64>,
}

impl Default for Doubts {
    fn default() -> Self {
        Self { first: 0, sums: VecDeque::from([0.0]) }
    }
}

impl Doubts {
    /// The sureness of the next frame, 0 to 1.
    pub fn push(&mut self, sureness: f32) {
        let before = self.sums.back().copied().unwrap_or(0.0);
        let doubt = if sureness.is_finite() { f64::from(1.0 - sureness).clamp(0.0, 1.0) } else { 1.0 };
        self.sums.push_back(before + doubt);
    }

    /// Frames heard since the stream began.
    pub fn num_frames(&self) -> u64 {
        self.first + (self.sums.len() as u64).saturating_sub(1)
    }

    /// The mean of the frames from `from` to before `to`, as far as they are there.
    fn mean(&self, from: u64, to: u64) -> Option<f32> {
        let from = from.max(self.first);
        let to = to.min(self.num_frames());
        if to <= from {
            return None;
        }
        let at = |frame: u64| self.sums.get((frame - self.first) as usize).copied().unwrap_or(0.0);
        Some(((at(to) - at(from)) / (to - from) as f64) as f32)
    }

    /// Frees the room of the frames before `frame`.
    pub fn forget_before(&mut self, frame: u64) {
        let gone = frame.saturating_sub(self.first).min(self.sums.len() as u64 - 1);
        self.sums.drain(..gone as usize);
        self.first += gone;
    }

    /// Begins a new stream.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(sureness: &[f32]) -> Doubts {
        let mut doubts = Doubts::default();
        sureness.iter().for_each(|&s| doubts.push(s));
        doubts
    }

    #[test]
    fn the_mean_is_of_the_frames_that_are_there() {
        let mut doubts = heard(&[1.0, 0.5, 0.0, f32::NAN]);
        assert_eq!(doubts.mean(0, 2), Some(0.25));
        assert_eq!(doubts.mean(1, 99), Some(2.5 / 3.0));
        assert_eq!(doubts.mean(4, 9), None);
        doubts.forget_before(2);
        assert_eq!((doubts.mean(0, 3), doubts.num_frames()), (Some(1.0), 4));
        doubts.forget_before(99);
        assert_eq!((doubts.mean(0, 99), doubts.num_frames()), (None, 4));
    }

    #[test]
    fn doubt_around_a_word_asks_for_more_certainty() {
        let options = RejectionOptions { window_ms: 80, threshold: 0.0, slope: 10.0 };
        let rejection = Rejection::new(&options, 0.04);
        assert_eq!(rejection.window, 2);
        let sure = heard(&[1.0; 9]);
        let unsure = heard(&[1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0]);
        assert!(rejection.keeps(5, 0.6, &sure) && !rejection.keeps(5, 0.4, &sure));
        assert!(!rejection.keeps(5, 0.9, &unsure) && rejection.keeps(5, 0.999, &unsure));
        assert!(rejection.keeps(5, 1.0, &unsure), "a posterior of 1 has no limit");
        assert!(rejection.keeps(5, 0.01, &Doubts::default()), "nothing is known against it");
    }
}
