//! Reads audio files, standard input and raw PCM as streams of mono `f32` samples at a requested rate, and writes
//! WAV files.
//!
//! ```text
//! bytes ─► container and codec ─► f32, mean of the channels ─► checks ─► Resampler ─► Source
//! ```
//!
//! The format is recognized by its content. Everything is read in chunks: memory use depends neither on the
//! length of a file nor on the sizes in its header.

mod checked;
#[cfg(feature = "compressed-audio")]
mod compressed;
mod convert;
mod input;
#[cfg(feature = "microphone")]
pub mod microphone;
mod problems;
mod raw;
mod read_ahead;
mod resample;
mod tags;
mod wav;
mod wav_samples;

use std::fs::File;
use std::path::Path;

use crate::error::{Error, Result, Stage, io};
use crate::units::seconds_to_samples;

pub use convert::{Encoding, alaw_to_s16, downmix, f32_to_s16, mulaw_to_s16, s16_to_f32};
pub use problems::Problems;
pub use raw::RawFormat;
pub use read_ahead::read_ahead;
pub use resample::{Resampler, resampled_len};
pub use wav::{WavEncoding, write_wav};

use checked::Checked;
use input::Input;

/// File extensions of recordings. Some formats cannot be decoded; reading such a file is an error.
pub const EXTENSIONS: [&str; 25] = [
    "3gp", "aac", "ac3", "aif", "aifc", "aiff", "alac", "amr", "caf", "flac", "m4a", "m4b", "mka", "mkv",
    "mov", "mp3", "mp4", "oga", "ogg", "opus", "w64", "wav", "wave", "webm", "wma",
];

/// The accepted sample rates, Hz.
const MIN_RATE: u32 = 1_000;
const MAX_RATE: u32 = 768_000;
/// The accepted number of channels: more than any recorder has.
const MAX_CHANNELS: u16 = 1_024;
/// Default maximum length of a recording that is processed in chunks, seconds: a compressed file of a megabyte can
/// contain hundreds of hours.
pub const MAX_SECONDS: f64 = 24.0 * 3600.0;
/// Maximum length of a recording that is held in memory, seconds.
const MAX_CLIP_SECONDS: f64 = 4.0 * 3600.0;
/// Samples read from a source per call.
const CHUNK: usize = 8_192;

/// A stream of mono samples, full scale at ±1.
pub trait Source: Send {
    /// The sample rate, Hz.
    fn sample_rate(&self) -> u32;

    /// Appends at most `max_samples` samples to `out` and returns how many; 0 means the end.
    ///
    /// # Errors
    /// When the input cannot be read or contains samples that are not finite. After an error the source must not
    /// be read again.
    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize>;

    /// Skips up to `samples` samples and returns how many were skipped; fewer means the end.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn skip(&mut self, samples: u64) -> Result<u64> {
        read_over(self, samples)
    }

    /// Damage found in the input so far that was not an error.
    fn problems(&self) -> Problems {
        Problems::default()
    }
}

/// Reads and discards up to `samples` samples; returns how many.
fn read_over(source: &mut (impl Source + ?Sized), samples: u64) -> Result<u64> {
    let mut waste = Vec::new();
    let mut skipped = 0;
    while skipped < samples {
        waste.clear();
        let n = source.read(&mut waste, (samples - skipped).min(CHUNK as u64) as usize)?;
        if n == 0 {
            break;
        }
        skipped += n as u64;
    }
    Ok(skipped)
}

/// Opens an audio file as mono at `rate` Hz.
///
/// Formats: WAV (8 to 32 bit integers, 32 and 64 bit floats, A-law, mu-law, ADPCM, MP3, WAVE_FORMAT_EXTENSIBLE,
/// RF64, BW64), FLAC, MPEG audio layers I to III (MP3), AAC and ALAC in M4A, ADTS, Ogg with Vorbis, Opus or FLAC,
/// AIFF, CAF, Matroska and WebM.
///
/// # Errors
/// When the file is missing, unreadable, a directory, empty, or contains no audio in a supported format.
pub fn open(path: &Path, rate: u32) -> Result<Box<dyn Source>> {
    check_rate(rate)?;
    let source = open_native(Input::open(path)?, path)?;
    at_rate(source, rate)
}

/// Reads an open file as mono at `rate` Hz; `name` identifies it in messages.
///
/// # Errors
/// As for [`open`].
pub fn open_file(file: File, name: &Path, rate: u32) -> Result<Box<dyn Source>> {
    open_part(file, name, rate, None, None)
}

/// Reads the part of an open file that begins at `offset` seconds and lasts `duration` seconds, or up to the end
/// if the file is shorter.
///
/// # Errors
/// As for [`open`]; when `offset` is past the end; when either is negative or not finite.
pub fn open_part(
    file: File,
    name: &Path,
    rate: u32,
    offset: Option<f64>,
    duration: Option<f64>,
) -> Result<Box<dyn Source>> {
    check_rate(rate)?;
    for (what, value) in [("offset", offset), ("duration", duration)] {
        if let Some(v) = value.filter(|v| !(v.is_finite() && *v >= 0.0)) {
            let problem = format!("expected a number of seconds as {what}, found {v}");
            return Err(Error::new(Stage::Audio, problem).in_file(name));
        }
    }
    let mut source = open_native(Input::from_file(file, name)?, name)?;
    let native = source.sample_rate();
    let start = seconds_to_samples(offset.unwrap_or(0.0), native);
    let skipped = source.skip(start)?;
    if skipped < start {
        let problem = format!(
            "expected audio at {} s, found its end at {:.3} s",
            offset.unwrap_or(0.0),
            skipped as f64 / f64::from(native)
        );
        return Err(Error::new(Stage::Audio, problem).in_file(name));
    }
    if let Some(duration) = duration {
        source = Box::new(Span { source, left: seconds_to_samples(duration, native) });
    }
    at_rate(source, rate)
}

/// Reads audio from a stream that cannot seek, such as standard input; `name` identifies it in messages. Formats
/// whose index is at the end (M4A as most programs write it) need a file.
///
/// # Errors
/// As for [`open`].
pub fn open_reader(
    reader: Box<dyn std::io::Read + Send + Sync>,
    name: &str,
    rate: u32,
) -> Result<Box<dyn Source>> {
    check_rate(rate)?;
    let source = open_native(Input::stream(reader), Path::new(name))?;
    at_rate(source, rate)
}

/// Reads an audio file in memory; `name` identifies it in messages.
///
/// # Errors
/// As for [`open`].
pub fn open_bytes(bytes: Vec<u8>, name: &str, rate: u32) -> Result<Box<dyn Source>> {
    check_rate(rate)?;
    let source = open_native(Input::memory(bytes), Path::new(name))?;
    at_rate(source, rate)
}

/// Reads raw PCM of the given `format`; `name` identifies it in messages.
///
/// # Errors
/// When a sample rate or the number of channels is out of range.
pub fn open_raw(
    reader: Box<dyn std::io::Read + Send + Sync>,
    name: &str,
    format: RawFormat,
    rate: u32,
) -> Result<Box<dyn Source>> {
    check_rate(rate)?;
    let source = raw::PcmReader::new(Input::stream(reader), format, raw::Length::Unknown)?;
    at_rate(Box::new(Checked::new(Box::new(source), Path::new(name))), rate)
}

/// Limits the length of a recording to `seconds`; [`Source::problems`] reports whether it is longer.
pub fn limited(source: Box<dyn Source>, seconds: f64) -> Box<dyn Source> {
    let left = seconds_to_samples(seconds, source.sample_rate());
    Box::new(Limited { span: Span { source, left }, seconds, is_longer: false })
}

/// Reads a whole file as mono samples at `rate` Hz.
///
/// # Errors
/// As for [`open`] and [`Source::read`]; when it is longer than four hours.
pub fn read_all(path: &Path, rate: u32) -> Result<Vec<f32>> {
    read_span(path, rate, None, None)
}

/// Reads the part of a file that begins at `offset` seconds and lasts `duration` seconds, or up to the end if the
/// file is shorter, as mono samples at `rate` Hz.
///
/// # Errors
/// As for [`read_all`]; when `offset` is at or past the end; when either is negative or not finite.
pub fn read_span(path: &Path, rate: u32, offset: Option<f64>, duration: Option<f64>) -> Result<Vec<f32>> {
    Ok(read_clip(path, rate, offset, duration)?.samples)
}

/// Samples of a file, and the damage found in it.
#[derive(Clone, Debug, Default)]
pub struct Clip {
    /// Mono samples at the requested rate, full scale at ±1.
    pub samples: Vec<f32>,
    /// Damage that was read past.
    pub problems: Problems,
}

/// Reads as [`read_span`] and returns the damage that was read past too.
///
/// # Errors
/// As for [`read_span`].
pub fn read_clip(path: &Path, rate: u32, offset: Option<f64>, duration: Option<f64>) -> Result<Clip> {
    let file = File::open(path).map_err(|e| io(Stage::Audio, path, e))?;
    let mut source = limited(open_part(file, path, rate, offset, duration)?, MAX_CLIP_SECONDS);
    let mut samples = Vec::new();
    while source.read(&mut samples, CHUNK)? > 0 {}
    if source.problems().longer_than.is_some() {
        let problem = format!("expected at most {MAX_CLIP_SECONDS} s of audio, found more");
        return Err(Error::new(Stage::Audio, problem).in_file(path));
    }
    // An offset exactly at the end skips everything without an error.
    if let Some(offset) = offset.filter(|&offset| offset > 0.0 && samples.is_empty() && duration != Some(0.0))
    {
        let problem = format!("expected audio at {offset} s, found its end there");
        return Err(Error::new(Stage::Audio, problem).in_file(path));
    }
    Ok(Clip { samples, problems: source.problems() })
}

/// Recognizes the format by the first bytes and opens it at the file's sample rate, with all checks.
fn open_native(mut input: Input, name: &Path) -> Result<Box<dyn Source>> {
    let opened = checked::no_panic(|| {
        let mut head = input.peek()?;
        while let Some(size) = tags::id3v2(&head) {
            input.set_start_after(size)?;
            head = input.peek()?;
        }
        if head.is_empty() {
            return Err(Error::new(Stage::Audio, "expected audio, found an empty file"));
        }
        let source: Box<dyn Source> = if wav::is_wav(&head) {
            match wav::read_header(&mut input)? {
                wav::Header::Pcm { format, length } => {
                    Box::new(raw::PcmReader::from_wav(input, format, length)?)
                }
                wav::Header::Coded(coded) => open_coded(input, coded)?,
            }
        } else {
            open_compressed(input)?
        };
        Ok(source)
    });
    let source = opened.map_err(|e| e.in_file(name))?;
    Ok(Box::new(Checked::new(source, name)))
}

#[cfg(feature = "compressed-audio")]
fn open_compressed(input: Input) -> Result<Box<dyn Source>> {
    Ok(Box::new(compressed::CompressedReader::new(input)?))
}

#[cfg(feature = "compressed-audio")]
fn open_coded(input: Input, coded: wav::Coded) -> Result<Box<dyn Source>> {
    Ok(Box::new(compressed::CompressedReader::from_wav(input, coded)?))
}

#[cfg(not(feature = "compressed-audio"))]
fn open_compressed(_: Input) -> Result<Box<dyn Source>> {
    let problem = "expected a WAV file, the only format that this build reads";
    Err(Error::new(Stage::Audio, problem).hint("the cargo feature `compressed-audio` adds them"))
}

#[cfg(not(feature = "compressed-audio"))]
fn open_coded(_: Input, coded: wav::Coded) -> Result<Box<dyn Source>> {
    let problem = format!("expected uncompressed samples in the WAV file, found format 0x{:04x}", coded.tag);
    Err(Error::new(Stage::Audio, problem).hint("the cargo feature `compressed-audio` adds other formats"))
}

/// Adds a resampler to a source if the rates differ.
fn at_rate(source: Box<dyn Source>, rate: u32) -> Result<Box<dyn Source>> {
    if source.sample_rate() == rate {
        return Ok(source);
    }
    let resampler = Resampler::new(source.sample_rate(), rate)?;
    Ok(Box::new(Resampled { source, resampler, input: Vec::new(), ready: Vec::new(), at: 0, ended: false }))
}

/// A source with a resampler after it.
struct Resampled {
    source: Box<dyn Source>,
    resampler: Resampler,
    input: Vec<f32>,
    /// Resampled samples; those before `at` have been returned.
    ready: Vec<f32>,
    at: usize,
    ended: bool,
}

impl Source for Resampled {
    fn sample_rate(&self) -> u32 {
        self.resampler.output_rate()
    }

    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize> {
        while self.at == self.ready.len() && !self.ended {
            self.ready.clear();
            self.at = 0;
            self.input.clear();
            if self.source.read(&mut self.input, CHUNK)? == 0 {
                self.ended = true;
                self.resampler.finish(&mut self.ready)?;
            } else {
                self.resampler.push(&self.input, &mut self.ready)?;
            }
        }
        let n = max_samples.min(self.ready.len() - self.at);
        out.extend_from_slice(&self.ready[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }

    fn problems(&self) -> Problems {
        self.source.problems()
    }
}

/// The next `left` samples of a source.
struct Span {
    source: Box<dyn Source>,
    left: u64,
}

impl Source for Span {
    fn sample_rate(&self) -> u32 {
        self.source.sample_rate()
    }

    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize> {
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(max_samples);
        if n == 0 {
            return Ok(0);
        }
        let n = self.source.read(out, n)?;
        self.left -= n as u64;
        Ok(n)
    }

    fn problems(&self) -> Problems {
        self.source.problems()
    }
}

/// A source of limited length.
struct Limited {
    span: Span,
    seconds: f64,
    is_longer: bool,
}

impl Source for Limited {
    fn sample_rate(&self) -> u32 {
        self.span.sample_rate()
    }

    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize> {
        if self.span.left == 0 && max_samples > 0 && !self.is_longer {
            self.is_longer = self.span.source.read(&mut Vec::new(), 1)? > 0;
        }
        self.span.read(out, max_samples)
    }

    fn problems(&self) -> Problems {
        let longer_than = self.is_longer.then_some(self.seconds);
        Problems { longer_than, ..self.span.problems() }
    }
}

/// Rejects sample rates out of range.
fn check_rate(rate: u32) -> Result<()> {
    if (MIN_RATE..=MAX_RATE).contains(&rate) {
        return Ok(());
    }
    let problem = format!("expected a sample rate from {MIN_RATE} Hz to {MAX_RATE} Hz, found {rate} Hz");
    Err(Error::new(Stage::Audio, problem))
}

/// Rejects numbers of channels out of range.
fn check_channels(channels: u16) -> Result<()> {
    if (1..=MAX_CHANNELS).contains(&channels) {
        return Ok(());
    }
    Err(Error::new(Stage::Audio, format!("expected 1 to {MAX_CHANNELS} channels, found {channels}")))
}
