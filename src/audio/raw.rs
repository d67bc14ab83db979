//! Decoding of uncompressed samples: raw PCM and the data of WAV files.

use std::io::Read;

use crate::error::{Error, Result, Stage};

use super::convert::Encoding;
use super::input::{Input, unreadable};
use super::wav_samples::WavSamples;
use super::{Problems, Source, check_channels, check_rate, read_over};

/// Format of a stream of samples without a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFormat {
    /// Frames per second, Hz.
    pub sample_rate: u32,
    /// Number of interleaved channels; the recognizer uses their mean.
    pub channels: u16,
    /// Encoding of each sample.
    pub encoding: Encoding,
}

impl RawFormat {
    /// Bytes per frame, which is one sample of every channel.
    pub fn frame_bytes(&self) -> usize {
        self.encoding.bytes() * usize::from(self.channels)
    }
}

/// Length of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Up to the end of the input.
    Unknown,
    /// A number of bytes; an input that ends before is truncated.
    Bytes(u64),
}

impl Length {
    /// The number of bytes, if known.
    #[cfg(feature = "compressed-audio")]
    pub(super) fn bytes(self) -> Option<u64> {
        match self {
            Length::Unknown => None,
            Length::Bytes(n) => Some(n),
        }
    }

    /// The length without an incomplete frame at the end.
    pub(super) fn whole(self, frame: usize) -> Self {
        match self {
            Length::Unknown => self,
            Length::Bytes(n) => Length::Bytes(n / frame as u64 * frame as u64),
        }
    }
}

/// Number of bytes decoded per call.
const CHUNK_BYTES: usize = 1 << 16;

/// Decodes interleaved PCM to mono.
pub(super) struct PcmReader {
    input: Input,
    format: RawFormat,
    length: Length,
    /// Decoder of WAV samples; `None` for raw PCM and encodings that it does not support.
    wav: Option<WavSamples>,
    buffer: Vec<u8>,
    /// Bytes read past the length in the header that turned out to be samples.
    beyond: Vec<u8>,
    /// Whether bytes past the length in the header have been examined.
    past_header_end: bool,
    truncated: bool,
}

/// Number of bytes after the samples by which a chunk is recognized: one of padding and eight of chunk header.
const CHUNK_HEAD: usize = 9;

/// Whether a chunk or a tag begins here; anything else after the samples is more samples.
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
        Ok(Self {
            input,
            format,
            length,
            wav: None,
            buffer,
            beyond,
            past_header_end: false,
            truncated: false,
        })
    }

    /// A reader of a WAV file's samples; `input` is at the first of them.
    pub(super) fn from_wav(input: Input, format: RawFormat, length: Length) -> Result<Self> {
        Ok(Self {
            wav: WavSamples::new(format.sample_rate, format.channels, format.encoding),
            ..Self::new(input, format, length)?
        })
    }

    /// Fills the buffer with `bytes` bytes, or fewer at the end of the input.
    fn fill(&mut self, bytes: usize) -> Result<()> {
        self.buffer.clear();
        let known = bytes.min(self.beyond.len());
        self.buffer.extend(self.beyond.drain(..known));
        let bytes = bytes - known;
        let mut chunk = self.input.by_ref().take(bytes as u64);
        chunk.read_to_end(&mut self.buffer).map_err(unreadable)?;
        Ok(())
    }

    /// Whether there are samples past the length in the header. Programs that crash or write to a pipe never update
    /// the length, and for long recordings it is stored modulo 4 GiB.
    fn continues_past_end(&mut self) -> Result<bool> {
        let frame = self.format.frame_bytes() as u64;
        if self.past_header_end
            || self.truncated
            || !matches!(self.length, Length::Bytes(left) if left < frame)
        {
            return Ok(false);
        }
        self.past_header_end = true;
        self.input.by_ref().take(CHUNK_HEAD as u64).read_to_end(&mut self.beyond).map_err(unreadable)?;
        let ends = self.beyond.len() < CHUNK_HEAD || is_chunk(&self.beyond) || is_chunk(&self.beyond[1..]);
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
        let mut frames = max_samples.min((CHUNK_BYTES / frame).max(1));
        if let Length::Bytes(left) = self.length {
            frames = frames.min(usize::try_from(left / frame as u64).unwrap_or(usize::MAX));
        }
        if frames == 0 {
            return if max_samples > 0 && self.continues_past_end()? {
                self.read(out, max_samples)
            } else {
                Ok(0)
            };
        }
        self.fill(frames * frame)?;
        let got = self.buffer.len();
        if let Length::Bytes(left) = &mut self.length {
            *left -= got as u64;
            self.truncated |= got < frames * frame;
        }
        // An incomplete frame at the end of the input.
        self.truncated |= !got.is_multiple_of(frame) && !self.past_header_end;
        match &mut self.wav {
            Some(samples) => samples.decode_mono(&self.buffer, out)?,
            None => self.format.encoding.decode_mono(&self.buffer, usize::from(self.format.channels), out),
        }
        Ok(got / frame)
    }

    fn skip(&mut self, samples: u64) -> Result<u64> {
        if self.past_header_end && self.length == Length::Unknown {
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
        if skipped < samples && self.continues_past_end()? {
            return Ok(skipped + read_over(self, samples - skipped)?);
        }
        Ok(skipped)
    }

    fn problems(&self) -> Problems {
        Problems { truncated: self.truncated, ..Problems::default() }
    }
}
