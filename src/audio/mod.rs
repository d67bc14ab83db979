//! Audio in: files, standard input and raw samples, as streams of mono `f32` at a wished rate; and
//! WAV files out.
//!
//! ```text
//! bytes ─► container and codec ─► f32, mean of the channels ─► checks ─► Resampler ─► Source
//! ```
//!
//! The format is recognized by its content. Everything is read in pieces: memory does not grow
//! with the length of a file, nor with what its header claims.

mod checked;
#[cfg(feature = "compressed-audio")]
mod compressed;
mod convert;
mod input;
#[cfg(feature = "microphone")]
pub mod microphone;
mod problems;
mod raw;
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
pub use resample::{Resampler, resampled_len};
pub use wav::{WavEncoding, write_wav};

use checked::Checked;
use input::Input;

/// The rates that are taken for real, Hz.
const LOWEST_RATE: u32 = 1_000;
const HIGHEST_RATE: u32 = 768_000;
/// More channels than any recorder has.
const MOST_CHANNELS: u16 = 1_024;
/// Samples asked of a source at a time.
const PIECE: usize = 8_192;

/// A stream of mono samples, full scale at ±1.
pub trait Source: Send {
    /// Samples a second.
    fn sample_rate(&self) -> u32;

    /// Appends at most `max_samples` samples to `out` and returns how many; 0 is the end.
    ///
    /// # Errors
    /// When the input cannot be read or holds samples that are no numbers. After an error the
    /// source is at its end.
    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize>;

    /// Passes over up to `samples` samples and returns how many were there.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn skip(&mut self, samples: u64) -> Result<u64> {
        read_over(self, samples)
    }

    /// What was wrong with the input so far without being an error.
    fn problems(&self) -> Problems {
        Problems::default()
    }
}

/// Reads up to `samples` samples for nothing and returns how many were there.
fn read_over(source: &mut (impl Source + ?Sized), samples: u64) -> Result<u64> {
    let mut waste = Vec::new();
    let mut skipped = 0;
    while skipped < samples {
        waste.clear();
        let n = source.read(&mut waste, (samples - skipped).min(PIECE as u64) as usize)?;
        if n == 0 {
            break;
        }
        skipped += n as u64;
    }
    Ok(skipped)
}

/// Opens an audio file as mono at `rate` Hz.
///
/// WAV (8 to 32 bit integers, 32 and 64 bit floats, A-law, mu-law, ADPCM, MP3, WAVE_FORMAT_EXTENSIBLE,
/// RF64, BW64), FLAC, MP3 and its elder layers, AAC and ALAC in M4A, ADTS, Ogg with Vorbis, Opus or FLAC,
/// AIFF, CAF, Matroska and WebM.
///
/// # Errors
/// When the file is missing, unreadable, a directory, empty, or holds no audio that is known.
pub fn open(path: &Path, rate: u32) -> Result<Box<dyn Source>> {
    check_rate(rate)?;
    let source = open_native(Input::open(path)?, path)?;
    at_rate(source, rate)
}

/// Opens an audio file that is open; `name` stands for it in messages.
///
/// # Errors
/// As for [`open`].
pub fn open_file(file: File, name: &Path, rate: u32) -> Result<Box<dyn Source>> {
    open_part(file, name, rate, None, None)
}

/// Opens the part of an audio file that begins at `offset` seconds and lasts `duration` seconds, or up
/// to the end where the file is shorter.
///
/// # Errors
/// As for [`open`]; when `offset` is at or past the end; when either is not a number of seconds.
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

/// Opens audio that comes as a stream without going back, as on standard input; `name` stands
/// for it in messages. Formats whose index comes last (M4A as most programs write it) need a file.
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

/// Opens an audio file that is in memory; `name` stands for it in messages.
///
/// # Errors
/// As for [`open`].
pub fn open_bytes(bytes: Vec<u8>, name: &str, rate: u32) -> Result<Box<dyn Source>> {
    check_rate(rate)?;
    let source = open_native(Input::memory(bytes), Path::new(name))?;
    at_rate(source, rate)
}

/// Opens raw PCM, which has no header: `format` says what it is.
///
/// # Errors
/// When the format is impossible.
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

/// A whole file as mono samples at `rate` Hz.
///
/// # Errors
/// As for [`open`] and [`Source::read`].
pub fn read_all(path: &Path, rate: u32) -> Result<Vec<f32>> {
    read_span(path, rate, None, None)
}

/// The part of a file that begins at `offset` seconds and lasts `duration` seconds, or up to the
/// end where the file is shorter, as mono samples at `rate` Hz.
///
/// # Errors
/// As for [`read_all`]; when `offset` is at or past the end; when either is not a number of seconds.
pub fn read_span(path: &Path, rate: u32, offset: Option<f64>, duration: Option<f64>) -> Result<Vec<f32>> {
    Ok(read_clip(path, rate, offset, duration)?.samples)
}

/// Samples of a file, and what was wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Clip {
    pub samples: Vec<f32>,
    pub problems: Problems,
}

/// [`read_span`], with the damage that was read past.
///
/// # Errors
/// As for [`read_span`].
pub fn read_clip(path: &Path, rate: u32, offset: Option<f64>, duration: Option<f64>) -> Result<Clip> {
    let file = File::open(path).map_err(|e| io(Stage::Audio, path, e))?;
    let mut source = open_part(file, path, rate, offset, duration)?;
    let mut samples = Vec::new();
    while source.read(&mut samples, PIECE)? > 0 {}
    // An offset at the very end skips all there is, and leaves nothing to read.
    if let Some(offset) = offset.filter(|&offset| offset > 0.0 && samples.is_empty() && duration != Some(0.0))
    {
        let problem = format!("expected audio at {offset} s, found its end there");
        return Err(Error::new(Stage::Audio, problem).in_file(path));
    }
    Ok(Clip { samples, problems: source.problems() })
}

/// Recognizes the format by the first bytes and opens it at its own rate, with all checks.
fn open_native(mut input: Input, name: &Path) -> Result<Box<dyn Source>> {
    let opened = checked::no_panic(|| {
        let mut head = input.peek()?;
        while let Some(size) = tags::id3v2(&head) {
            input.begin_behind(size)?;
            head = input.peek()?;
        }
        if head.is_empty() {
            return Err(Error::new(Stage::Audio, "expected audio, found an empty file"));
        }
        let source: Box<dyn Source> = if wav::is_wav(&head) {
            match wav::read_header(&mut input)? {
                wav::Header::Pcm { format, length } => {
                    Box::new(raw::PcmReader::of_wav(input, format, length)?)
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
    Ok(Box::new(compressed::CompressedReader::of_wav(input, coded)?))
}

#[cfg(not(feature = "compressed-audio"))]
fn open_compressed(_: Input) -> Result<Box<dyn Source>> {
    let problem = "expected a WAV file: this build reads no other format";
    Err(Error::new(Stage::Audio, problem).hint("the cargo feature `compressed-audio` adds them"))
}

#[cfg(not(feature = "compressed-audio"))]
fn open_coded(_: Input, coded: wav::Coded) -> Result<Box<dyn Source>> {
    let problem = format!("expected uncompressed samples in the WAV file, found format 0x{:04x}", coded.tag);
    Err(Error::new(Stage::Audio, problem).hint("the cargo feature `compressed-audio` adds other formats"))
}

/// Puts a resampler behind a source where the rates differ.
fn at_rate(source: Box<dyn Source>, rate: u32) -> Result<Box<dyn Source>> {
    if source.sample_rate() == rate {
        return Ok(source);
    }
    let resampler = Resampler::new(source.sample_rate(), rate)?;
    Ok(Box::new(Resampled { source, resampler, input: Vec::new(), ready: Vec::new(), at: 0, ended: false }))
}

/// A source at another rate than its own.
struct Resampled {
    source: Box<dyn Source>,
    resampler: Resampler,
    input: Vec<f32>,
    /// Resampled samples; those before `at` are given out already.
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
            if self.source.read(&mut self.input, PIECE)? == 0 {
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

/// Refuses sample rates that no recording has.
fn check_rate(rate: u32) -> Result<()> {
    if (LOWEST_RATE..=HIGHEST_RATE).contains(&rate) {
        return Ok(());
    }
    let problem =
        format!("expected a sample rate from {LOWEST_RATE} Hz to {HIGHEST_RATE} Hz, found {rate} Hz");
    Err(Error::new(Stage::Audio, problem))
}

/// Refuses numbers of channels that no recording has.
fn check_channels(channels: u16) -> Result<()> {
    if (1..=MOST_CHANNELS).contains(&channels) {
        return Ok(());
    }
    Err(Error::new(Stage::Audio, format!("expected 1 to {MOST_CHANNELS} channels, found {channels}")))
}
