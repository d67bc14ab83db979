//! Reader of WAV headers that tolerates common errors, and a WAV writer.
//!
//! The header is parsed here because recorders write variants that hound rejects: streams of unknown length, 64-bit
//! floats, G.711, odd chunk sizes. The samples are decoded by hound, or as raw PCM where hound does not support the
//! encoding (G.711, 64-bit floats).

use std::io::{Cursor, Read};
use std::path::Path;

use crate::error::{self, Error, Result, Stage};
use crate::fs;

use super::convert::{Encoding, f32_to_s16};
use super::input::{Input, unreadable};
use super::raw::{Length, RawFormat};
use super::{check_channels, check_rate};

/// The kind of data that follows a WAV header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// Samples, right after the header.
    Pcm { format: RawFormat, length: Length },
    /// Data of a codec such as ADPCM, decoded elsewhere.
    Coded(Coded),
}

/// Parameters of a WAV file whose data is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coded {
    /// The format tag (RFC 2361).
    pub tag: u16,
    pub channels: u16,
    pub sample_rate: u32,
    /// Bytes per block.
    pub block: u16,
    /// Bits per sample.
    pub bits: u16,
    pub length: Length,
}

const FORMAT_PCM: u16 = 0x0001;
const FORMAT_FLOAT: u16 = 0x0003;
const FORMAT_ALAW: u16 = 0x0006;
const FORMAT_MULAW: u16 = 0x0007;
const FORMAT_EXTENSIBLE: u16 = 0xfffe;
/// The end of a WAVE_FORMAT_EXTENSIBLE sub-format GUID; its start is a format tag.
const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
/// Maximum number of bytes of a `fmt ` chunk that are read.
const FMT_BYTES: usize = 40;

/// First bytes of WAV files: with 32-bit sizes, or with 64-bit sizes in a `ds64` chunk (EBU Tech 3306,
/// ITU-R BS.2088).
const RIFFS: [&[u8; 4]; 3] = [b"RIFF", b"RF64", b"BW64"];

/// Whether these are the first bytes of a WAV file.
pub(super) fn is_wav(head: impl AsRef<[u8]>) -> bool {
    let head = head.as_ref();
    head.len() >= 12 && RIFFS.iter().any(|riff| head.starts_with(*riff)) && &head[8..12] == b"WAVE"
}

/// Reads the header, up to the first sample.
pub(super) fn read_header(input: &mut Input) -> Result<Header> {
    let mut riff = [0; 12];
    fill(input, &mut riff)?;
    let long = &riff[..4] != b"RIFF";
    let mut format: Option<Header> = None;
    let mut long_length = None;
    loop {
        let mut chunk = [0; 8];
        fill(input, &mut chunk)?;
        let size = u32_at(&chunk, 4);
        match &chunk[..4] {
            b"fmt " => format = Some(read_fmt(input, size)?),
            b"ds64" if size >= 24 => {
                let mut sizes = [0; 24];
                fill(input, &mut sizes)?;
                long_length = Some(u64::from_le_bytes(std::array::from_fn(|i| sizes[8 + i])));
                pass(input, padded(size) - 24)?;
            }
            b"data" => {
                let mut header = format.ok_or_else(|| damaged("expected the format before the samples"))?;
                let known = match (long, long_length) {
                    (true, Some(n)) if size == u32::MAX => Length::Bytes(n),
                    _ => data_length(size),
                };
                match &mut header {
                    Header::Pcm { format, length } => *length = known.whole(format.frame_bytes()),
                    Header::Coded(coded) => {
                        coded.length = if known == Length::Bytes(0) { Length::Unknown } else { known }
                    }
                }
                return Ok(header);
            }
            _ => pass(input, padded(size))?,
        }
    }
}

/// The length of the data in a header. Programs that write to a pipe do not know it and leave the largest number, or
/// 0; whether a 0 is meant is found out by the reader of the samples.
fn data_length(size: u32) -> Length {
    if size >= 0x7fff_0000 { Length::Unknown } else { Length::Bytes(u64::from(size)) }
}

/// Reads a `fmt ` chunk; the length of the data is not known yet.
fn read_fmt(input: &mut Input, size: u32) -> Result<Header> {
    if size < 16 {
        return Err(damaged(&format!("expected a format chunk of 16 bytes or more, found {size}")));
    }
    let mut fmt = [0; FMT_BYTES];
    let known = (size as usize).min(FMT_BYTES);
    fill(input, &mut fmt[..known])?;
    pass(input, padded(size) - known as u64)?;

    let mut tag = u16_at(&fmt, 0);
    let channels = u16_at(&fmt, 2);
    let sample_rate = u32_at(&fmt, 4);
    let block = u16_at(&fmt, 12);
    let bits = u16_at(&fmt, 14);
    if tag == FORMAT_EXTENSIBLE && known == FMT_BYTES && fmt[26..40] == GUID_TAIL {
        tag = u16_at(&fmt, 24);
    }
    check_rate(sample_rate)?;
    check_channels(channels)?;
    let length = Length::Unknown;
    if !matches!(tag, FORMAT_PCM | FORMAT_FLOAT | FORMAT_ALAW | FORMAT_MULAW) {
        return Ok(Header::Coded(Coded { tag, channels, sample_rate, block, bits, length }));
    }
    // A sample is stored in the upper bits of whole bytes, so 20 bits in 3 bytes are read as 24 bits. If the
    // block size contradicts the number of bits, the number of bits is used: many programs write a wrong block
    // size. The exception is 24 bits in 4 bytes, accepted if the byte rate agrees.
    let wide = bits.div_ceil(8) == 3
        && u32::from(block) == 4 * u32::from(channels)
        && u32_at(&fmt, 8) == sample_rate.wrapping_mul(u32::from(block));
    let bytes = if wide { 4 } else { bits.div_ceil(8) };
    if bits == 0 {
        return Err(damaged("expected samples of 8 to 64 bits, found 0 bits"));
    }
    let encoding = match (tag, bytes) {
        (FORMAT_PCM, 1) => Encoding::U8,
        (FORMAT_PCM, 2) => Encoding::S16Le,
        (FORMAT_PCM, 3) => Encoding::S24Le,
        (FORMAT_PCM, 4) => Encoding::S32Le,
        (FORMAT_FLOAT, 4) => Encoding::F32Le,
        (FORMAT_FLOAT, 8) => Encoding::F64Le,
        (FORMAT_ALAW, 1) => Encoding::ALaw,
        (FORMAT_MULAW, 1) => Encoding::MuLaw,
        _ => {
            let kind = if tag == FORMAT_FLOAT { "floats" } else { "integers" };
            return Err(damaged(&format!("expected samples of 8 to 64 bits, found {kind} of {bits} bits")));
        }
    };
    let format = RawFormat { sample_rate, channels, encoding };
    Ok(Header::Pcm { format, length })
}

fn fill(input: &mut Input, bytes: &mut [u8]) -> Result<()> {
    input.read_exact(bytes).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => damaged("expected samples, found the end of the file"),
        _ => unreadable(e),
    })
}

/// Skips `bytes` bytes of a chunk. If the file ends inside it, reading the next chunk fails.
fn pass(input: &mut Input, bytes: u64) -> Result<()> {
    // Read, not skipped: a stream must keep its header in case it is rewound.
    std::io::copy(&mut input.by_ref().take(bytes), &mut std::io::sink()).map_err(unreadable)?;
    Ok(())
}

/// The size of a chunk with its padding to an even number of bytes.
fn padded(size: u32) -> u64 {
    u64::from(size) + u64::from(size % 2)
}

fn u16_at(bytes: &[u8], i: usize) -> u16 {
    u16::from_le_bytes([bytes[i], bytes[i + 1]])
}

fn u32_at(bytes: &[u8], i: usize) -> u32 {
    u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]])
}

fn damaged(problem: &str) -> Error {
    Error::new(Stage::Audio, problem).at("WAV header")
}

/// Sample encoding of a written WAV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WavEncoding {
    /// 16-bit integers; samples beyond ±1 are clipped.
    Pcm16,
    /// 32-bit floats, not clipped.
    Float32,
}

/// Writes a mono WAV file atomically.
///
/// # Errors
/// When the rate is out of range, the samples need more than 4 GiB, or the file cannot be written.
pub fn write_wav(path: &Path, samples: &[f32], sample_rate: u32, encoding: WavEncoding) -> Result<()> {
    check_rate(sample_rate).map_err(|e| e.in_file(path))?;
    let (bits_per_sample, sample_format) = match encoding {
        WavEncoding::Pcm16 => (16, hound::SampleFormat::Int),
        WavEncoding::Float32 => (32, hound::SampleFormat::Float),
    };
    let spec = hound::WavSpec { channels: 1, sample_rate, bits_per_sample, sample_format };
    let mut bytes = Cursor::new(Vec::new());
    let mut write = || {
        let mut writer = hound::WavWriter::new(&mut bytes, spec)?;
        match encoding {
            WavEncoding::Pcm16 => samples.iter().try_for_each(|&s| writer.write_sample(f32_to_s16(s)))?,
            WavEncoding::Float32 => samples.iter().try_for_each(|&s| writer.write_sample(s))?,
        }
        writer.finalize()
    };
    write().map_err(|_| {
        Error::new(Stage::Audio, "expected at most 4 GiB of samples, the limit of a WAV file").in_file(path)
    })?;
    fs::write(path, bytes.get_ref()).map_err(|e| error::io(Stage::Audio, path, e))
}
