//! Uncompressed samples: raw PCM as it is, and the data of WAV files.

use std::io::Read;

use crate::error::{Error, Result, Stage};

use super::convert::Encoding;
use super::input::{Input, unreadable};
use super::wav_samples::WavSamples;
use super::{Problems, Source, check_channels, check_rate, read_over};

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

impl Length {
    /// How many bytes, where that is known.
    #[cfg(feature = "compressed-audio")]
    pub(super) fn bytes(self) -> Option<u64> {
        match self {
            Length::Unknown => None,
            Length::Bytes(n) => Some(n),
        }
    }

    /// The length without half a frame at the end.
    pub(super) fn whole(self, frame: usize) -> Self {
        match self {
            Length::Unknown => self,
            Length::Bytes(n) => Length::Bytes(n / frame as u64 * frame as u64),
        }
    }
}

/// Bytes decoded at a time.
const PIECE_BYTES: usize = 1 << 16;

/// Decodes interleaved PCM to mono.
pub(super) struct PcmReader {
    input: Input,
    format: RawFormat,
    length: Length,
    /// What decodes the samples of WAV files, where it can.
    wav: Option<WavSamples>,
    buffer: Vec<u8>,
    /// Bytes that were looked at behind the end that the header names, and are samples.
    beyond: Vec<u8>,
    /// The header's end was not the end.
    misled: bool,
    truncated: bool,
}

/// Behind the samples so many bytes tell a chunk, with one of padding before it.
const LOOK: usize = 9;

/// Whether a chunk begins here, or a tag; anything else behind the samples is more of them.
fn is_chunk(bytes: &[u8]) -> bool {
    let Some(head) = bytes.get(..8) else { return false };
    let printable = head[..4].iter().all(|b| (b' '..=b'~').contains(b));
    let letters = head[..4].iter().filter(|b| b.is_ascii_alphanumeric()).count();
    let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    printable && letters >= 3 && size <= i32::MAX as u32
}

impl PcmReader {
    pub(super) fn new(mut input: Input, format: RawFormat, length: Length) -> Result<Self> {
        check_rate(format.sample_rate)?;
        check_channels(format.channels)?;
        input.commit();
        let (buffer, beyond) = (Vec::new(), Vec::new());
        Ok(Self { input, format, length, wav: None, buffer, beyond, misled: false, truncated: false })
    }

    /// The samples of a WAV file, behind its header.
    pub(super) fn of_wav(input: Input, format: RawFormat, length: Length) -> Result<Self> {
        Ok(Self {
            wav: WavSamples::new(format.sample_rate, format.channels, format.encoding),
            ..Self::new(input, format, length)?
        })
    }

    /// Fills the buffer with up to `bytes` bytes, in spite of short reads.
    fn fill(&mut self, bytes: usize) -> Result<()> {
        self.buffer.clear();
        let known = bytes.min(self.beyond.len());
        self.buffer.extend(self.beyond.drain(..known));
        let bytes = bytes - known;
        let mut piece = self.input.by_ref().take(bytes as u64);
        piece.read_to_end(&mut self.buffer).map_err(unreadable)?;
        Ok(())
    }

    /// Whether there are samples behind the end that the header names: programs that die, or write to a
    /// pipe, leave its sizes as they were at the start, and of long recordings the size is counted modulo
    /// 4 GiB.
    fn goes_on(&mut self) -> Result<bool> {
        let frame = self.format.frame_bytes() as u64;
        if self.misled || self.truncated || !matches!(self.length, Length::Bytes(left) if left < frame) {
            return Ok(false);
        }
        self.misled = true;
        self.input.by_ref().take(LOOK as u64).read_to_end(&mut self.beyond).map_err(unreadable)?;
        let ends = self.beyond.len() < LOOK || is_chunk(&self.beyond) || is_chunk(&self.beyond[1..]);
        if ends {
            self.beyond.clear();
            return Ok(false);
        }
        self.length = Length::Unknown;
        Ok(true)
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
            return if max_samples > 0 && self.goes_on()? { self.read(out, max_samples) } else { Ok(0) };
        }
        self.fill(frames * frame)?;
        let got = self.buffer.len();
        if let Length::Bytes(left) = &mut self.length {
            *left -= got as u64;
            self.truncated |= got < frames * frame;
        }
        // Half a frame at the end of the input.
        self.truncated |= !got.is_multiple_of(frame) && !self.misled;
        match &mut self.wav {
            Some(samples) => samples.decode_mono(&self.buffer, out)?,
            None => self.format.encoding.decode_mono(&self.buffer, usize::from(self.format.channels), out),
        }
        Ok(got / frame)
    }

    fn skip(&mut self, samples: u64) -> Result<u64> {
        if self.misled && self.length == Length::Unknown {
            return read_over(self, samples);
        }
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
        let skipped = skipped / frame;
        if skipped < samples && self.goes_on()? {
            return Ok(skipped + read_over(self, samples - skipped)?);
        }
        Ok(skipped)
    }

    fn problems(&self) -> Problems {
        Problems { truncated: self.truncated, ..Problems::default() }
    }
}
