//! Buffered reading with lookahead.

use std::io::Read;

use crate::error::Result;

use super::super::input::{Input, unreadable};

/// Minimum number of bytes read from the input per call.
const CHUNK: usize = 1 << 15;

/// A sliding window over the next bytes of an input.
pub(super) struct Window {
    input: Input,
    buffer: Vec<u8>,
    at: usize,
    /// Bytes that may still be read, if the length of the data is limited.
    left: u64,
    ended: bool,
}

impl Window {
    /// A window over the next `length` bytes of an input, or over all of them.
    pub(super) fn new(input: Input, length: Option<u64>) -> Self {
        Self { input, buffer: Vec::new(), at: 0, left: length.unwrap_or(u64::MAX), ended: false }
    }

    /// The next bytes: at least `count`, fewer only at the end.
    pub(super) fn peek(&mut self, count: usize) -> Result<&[u8]> {
        while self.buffer.len() - self.at < count && !self.ended {
            self.buffer.drain(..self.at);
            self.at = 0;
            let wanted = (CHUNK.max(count) as u64).min(self.left);
            let before = self.buffer.len();
            self.input.by_ref().take(wanted).read_to_end(&mut self.buffer).map_err(unreadable)?;
            let got = (self.buffer.len() - before) as u64;
            self.left -= got;
            self.ended = got < wanted || self.left == 0;
        }
        Ok(&self.buffer[self.at..])
    }

    /// Skips `count` bytes, or fewer at the end; returns how many.
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

    /// Whether the input ended before `length` bytes.
    pub(super) fn is_short(&self, length: Option<u64>) -> bool {
        length.is_some() && self.ended && self.left > 0
    }
}
