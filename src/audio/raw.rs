//! Uncompressed samples: raw PCM as it is, and the data of WAV files.

use std::io::Read;

use crate::error::{Error, Result, Stage};

use super::convert::Encoding;
use super::input::{Input, unreadable};
use super::{Problems, Source, check_channels, check_rate};

/// What a stream of samples without a header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFormat {
    /// Frames a second, Hz.
    pub sample_rate: u32,
    /// Interleaved channels; their mean is taken.
    pub channels: u16,
    /// How a sample is written.
    pub encoding: Encoding,
}

impl RawFormat {
    /// Bytes of one sample of every channel.
    pub fn frame_bytes(&self) -> usize {
        self.encoding.bytes() * usize::from(self.channels)
    }
}

/// Where the samples end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Where the input ends.
    Unknown,
    /// After so many bytes; an input that ends before is cut short.
    Bytes(u64),
}

/// Bytes decoded at a time.
const PIECE_BYTES: usize = 1 << 16;

/// Decodes interleaved PCM to mono.
pub(super) struct PcmReader {
    input: Input,
    format: RawFormat,
    length: Length,
    buffer: Vec<u8>,
    truncated: bool,
}

impl PcmReader {
    pub(super) fn new(mut input: Input, format: RawFormat, length: Length) -> Result<Self> {
        check_rate(format.sample_rate)?;
        check_channels(format.channels)?;
        input.commit();
        Ok(Self { input, format, length, buffer: Vec::new(), truncated: false })
    }

    /// Fills the buffer with up to `bytes` bytes, in spite of short reads.
    fn fill(&mut self, bytes: usize) -> Result<()> {
        self.buffer.clear();
        let mut piece = self.input.by_ref().take(bytes as u64);
        piece.read_to_end(&mut self.buffer).map_err(unreadable)?;
        Ok(())
    }
}

impl Source for PcmReader {
    fn sample_rate(&self) -> u32 {
        self.format.sample_rate
    }

    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize> {
        let frame = self.format.frame_bytes();
        let mut frames = max_samples.min((PIECE_BYTES / frame).max(1));
        if let Length::Bytes(left) = self.length {
            frames = frames.min(usize::try_from(left / frame as u64).unwrap_or(usize::MAX));
        }
        if frames == 0 {
            return Ok(0);
        }
        self.fill(frames * frame)?;
        let got = self.buffer.len();
        if let Length::Bytes(left) = &mut self.length {
            *left -= got as u64;
            self.truncated |= got < frames * frame;
        }
        // Half a frame at the end of the input.
        self.truncated |= !got.is_multiple_of(frame);
        self.format.encoding.decode_mono(&self.buffer, usize::from(self.format.channels), out);
        Ok(got / frame)
    }

    fn skip(&mut self, samples: u64) -> Result<u64> {
        let frame = self.format.frame_bytes() as u64;
        let mut bytes = samples.checked_mul(frame).ok_or_else(|| {
            Error::new(Stage::Audio, format!("expected an offset within the file, found sample {samples}"))
        })?;
        if let Length::Bytes(left) = self.length {
            bytes = bytes.min(left / frame * frame);
        }
        let skipped = self.input.skip(bytes).map_err(unreadable)?;
        if let Length::Bytes(left) = &mut self.length {
            *left -= skipped;
            self.truncated |= skipped < bytes;
        }
        Ok(skipped / frame)
    }

    fn problems(&self) -> Problems {
        Problems { skipped_packets: 0, truncated: self.truncated }
    }
}
