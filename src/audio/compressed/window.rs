//! Bytes of an input with a look ahead.

use std::io::Read;

use crate::error::Result;

use super::super::input::{Input, unreadable};

/// Bytes asked of the input at a time.
const PIECE: usize = 1 << 15;

/// A sliding view of the bytes that come next.
pub(super) struct Window {
    input: Input,
    buffer: Vec<u8>,
    at: usize,
    /// Bytes that may still be read, where the stream has an end before the input's.
    left: u64,
    ended: bool,
}

impl Window {
    /// The next `length` bytes of an input, or all of them.
    pub(super) fn new(input: Input, length: Option<u64>) -> Self {
        Self { input, buffer: Vec::new(), at: 0, left: length.unwrap_or(u64::MAX), ended: false }
    }

    /// The bytes ahead: `count` or more, fewer only at the end.
    pub(super) fn ahead(&mut self, count: usize) -> Result<&[u8]> {
        while self.buffer.len() - self.at < count && !self.ended {
            self.buffer.drain(..self.at);
            self.at = 0;
            let wanted = (PIECE.max(count) as u64).min(self.left);
            let before = self.buffer.len();
            self.input.by_ref().take(wanted).read_to_end(&mut self.buffer).map_err(unreadable)?;
            let got = (self.buffer.len() - before) as u64;
            self.left -= got;
            self.ended = got < wanted || self.left == 0;
        }
        Ok(&self.buffer[self.at..])
    }

    /// Passes over bytes, fewer where the input ends before; returns how many.
    pub(super) fn skip(&mut self, count: u64) -> Result<u64> {
        let here = count.min((self.buffer.len() - self.at) as u64);
        self.at += here as usize;
        let beyond = (count - here).min(self.left);
        if beyond == 0 {
            return Ok(here);
        }
        let skipped = self.input.skip(beyond).map_err(unreadable)?;
        self.left -= skipped;
        Ok(here + skipped)
    }

    /// Whether the end came before the `length` that was said.
    pub(super) fn is_short(&self, length: Option<u64>) -> bool {
        length.is_some() && self.ended && self.left > 0
    }
}
