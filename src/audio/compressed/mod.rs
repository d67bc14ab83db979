//! Compressed audio by symphonia, and Opus behind its interface.

mod opus;

use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::sync::LazyLock;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use crate::error::{Error, Result, Stage};

use self::opus::OpusDecoder;
use super::convert::downmix;
use super::input::{Input, unreadable};
use super::{Problems, Source, check_channels, check_rate};

/// A stream that fails so many times on end has no more audio.
const MOST_FAILURES_ON_END: u32 = 64;

static CODECS: LazyLock<CodecRegistry> = LazyLock::new(|| {
    let mut registry = CodecRegistry::new();
    symphonia::default::register_enabled_codecs(&mut registry);
    registry.register_audio_decoder::<OpusDecoder>();
    registry
});

/// Demultiplexes and decodes the first audio track of a file to mono.
pub(super) struct CompressedReader {
    format: Box<dyn FormatReader>,
    track: Track,
    sample_rate: u32,
    interleaved: Vec<f32>,
    /// Decoded mono samples; those before `at` are given out already.
    ready: Vec<f32>,
    at: usize,
    decoded: u64,
    ended: bool,
    problems: Problems,
}

impl CompressedReader {
    pub(super) fn new(mut input: Input) -> Result<Self> {
        let head = input.peek()?;
        if !may_be_audio(&head) {
            return Err(not_audio(&head));
        }
        let seekable = !matches!(input, Input::Stream(_));
        let truncated = head.starts_with(b"OggS") && ogg_is_cut(&mut input)?;
        input.commit();
        let stream = MediaSourceStream::new(Box::new(input), MediaSourceStreamOptions::default());
        let format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(|e| unknown(&e, seekable))?;
        let track = open_track(format.as_ref())?;
        let mut this = Self {
            format,
            track,
            sample_rate: 0,
            interleaved: Vec::new(),
            ready: Vec::new(),
            at: 0,
            decoded: 0,
            ended: false,
            problems: Problems { truncated, skipped_packets: 0 },
        };
        // The rate is certain once something is decoded.
        this.decode_more()?;
        if this.sample_rate == 0 {
            let problem = match this.problems.skipped_packets {
                0 => "expected audio, found a file without any samples".to_string(),
                n => format!("expected audio, found {n} packets of which none could be decoded"),
            };
            return Err(Error::new(Stage::Audio, problem));
        }
        Ok(this)
    }

    /// Decodes packets until there are samples, or the end.
    fn decode_more(&mut self) -> Result<()> {
        self.ready.clear();
        self.at = 0;
        let mut failures = 0;
        while self.ready.is_empty() && !self.ended {
            match self.decode_packet() {
                Ok(()) => failures = 0,
                Err(SymphoniaError::IoError(e)) if e.kind() == ErrorKind::UnexpectedEof => {
                    self.problems.truncated = true;
                    self.ended = true;
                }
                Err(SymphoniaError::IoError(e)) => return Err(unreadable(e)),
                Err(SymphoniaError::ResetRequired) => {
                    // A chained stream begins anew, perhaps with another codec.
                    self.track = open_track(self.format.as_ref())?;
                    self.track.promised = None;
                }
                Err(SymphoniaError::DecodeError(_)) if failures < MOST_FAILURES_ON_END => {
                    failures += 1;
                    self.problems.skipped_packets += 1;
                }
                Err(e) if self.decoded == 0 => return Err(Error::new(Stage::Audio, e.to_string())),
                Err(_) => {
                    self.problems.truncated = true;
                    self.ended = true;
                }
            }
            self.take_decoded()?;
        }
        Ok(())
    }

    /// One packet through the decoder; what it gives is in `interleaved`.
    fn decode_packet(&mut self) -> std::result::Result<(), SymphoniaError> {
        self.interleaved.clear();
        let Some(packet) = self.format.next_packet()? else {
            self.ended = true;
            return Ok(());
        };
        if packet.track_id != self.track.id {
            return Ok(());
        }
        // A packet that cannot be decoded for want of bytes is damage inside, not the file's end.
        let audio = self.track.decoder.decode(&packet).map_err(|e| match e {
            SymphoniaError::IoError(_) => SymphoniaError::DecodeError("a packet is too short"),
            e => e,
        })?;
        if audio.frames() > 0 {
            audio.copy_to_vec_interleaved::<f32>(&mut self.interleaved);
        }
        Ok(())
    }

    /// Mixes `interleaved` down into `ready`.
    fn take_decoded(&mut self) -> Result<()> {
        if self.interleaved.is_empty() {
            return Ok(());
        }
        let (rate, channels) = {
            let audio = self.track.decoder.last_decoded();
            (audio.spec().rate(), audio.spec().channels().count())
        };
        check_rate(rate)?;
        check_channels(u16::try_from(channels).unwrap_or(u16::MAX))?;
        if self.sample_rate != 0 && self.sample_rate != rate {
            let problem = format!("expected {} Hz to the end, found {rate} Hz", self.sample_rate);
            let place = format!("{:.3} s", self.decoded as f64 / f64::from(self.sample_rate));
            return Err(Error::new(Stage::Audio, problem).at(place));
        }
        self.sample_rate = rate;
        downmix(&self.interleaved, channels, &mut self.ready);
        self.interleaved.clear();
        self.decoded += self.ready.len() as u64;
        Ok(())
    }
}

impl Source for CompressedReader {
    fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize> {
        if self.at == self.ready.len() {
            self.decode_more()?;
        }
        let n = max_samples.min(self.ready.len() - self.at);
        out.extend_from_slice(&self.ready[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }

    fn problems(&self) -> Problems {
        // Some containers count what encoders add at the ends, a packet or two.
        let tolerance = u64::from(self.sample_rate) / 10;
        let short = self.ended
            && self
                .track
                .promised
                .is_some_and(|(n, r)| r == self.sample_rate && self.decoded + tolerance < n);
        Problems { truncated: self.problems.truncated || short, ..self.problems }
    }
}

/// The first audio track of a container.
struct Track {
    decoder: Box<dyn AudioDecoder>,
    id: u32,
    /// How many samples it promises, in counts of the rate it names.
    promised: Option<(u64, u32)>,
}

fn open_track(format: &dyn FormatReader) -> Result<Track> {
    let Some(track) = format.default_track(TrackType::Audio) else {
        return Err(Error::new(Stage::Audio, "expected an audio track, found none"));
    };
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
        return Err(Error::new(Stage::Audio, "expected an audio codec, found none that is known"));
    };
    let decoder = CODECS.make_audio_decoder(parameters, &AudioDecoderOptions::default()).map_err(|e| {
        Error::new(Stage::Audio, format!("expected audio that can be decoded, found {e}"))
            .hint("convert it to WAV or FLAC first")
    })?;
    Ok(Track { decoder, id: track.id, promised: track.num_frames.zip(parameters.sample_rate) })
}

/// Whether an Ogg file ends otherwise than with a whole page marked as the last of its stream
/// (RFC 3533, section 6). Leaves the position at the start; says nothing of streams.
fn ogg_is_cut(input: &mut Input) -> Result<bool> {
    /// The longest page: header, 255 segment sizes, 255 segments of 255 bytes.
    const LONGEST_PAGE: u64 = 27 + 255 + 255 * 255;
    if matches!(input, Input::Stream(_)) {
        return Ok(false);
    }
    let length = input.seek(SeekFrom::End(0)).map_err(unreadable)?;
    input.seek(SeekFrom::Start(length.saturating_sub(LONGEST_PAGE))).map_err(unreadable)?;
    let mut tail = Vec::new();
    input.by_ref().take(LONGEST_PAGE).read_to_end(&mut tail).map_err(unreadable)?;
    input.rewind()?;
    let whole = tail.windows(4).rposition(|w| w == b"OggS").is_some_and(|start| {
        let page = &tail[start..];
        let last = page.get(5).is_some_and(|flags| flags & 4 != 0);
        let segments = usize::from(page.get(26).copied().unwrap_or(0));
        let body = page.get(27..27 + segments).map(|s| s.iter().map(|&n| usize::from(n)).sum::<usize>());
        last && body.is_some_and(|body| page.len() >= 27 + segments + body)
    });
    Ok(!whole)
}

/// Whether a file begins as one of the known formats does. Without this, the search for a start
/// of MPEG audio would find one in any file that is long enough.
fn may_be_audio(head: &[u8]) -> bool {
    const STARTS: [&[u8]; 9] = [
        b"fLaC",
        b"OggS",
        b"ID3",
        b"RIFF",
        b"RF64",
        b"FORM",
        b"caff",
        b"\x1a\x45\xdf\xa3",
        b"\0\0\0\0\0\0\0\0",
    ];
    let mpeg = head.len() > 1 && head[0] == 0xff && head[1] & 0xe0 == 0xe0;
    let mp4 =
        head.len() >= 8 && [&b"ftyp"[..], b"moov", b"mdat", b"free", b"skip", b"wide"].contains(&&head[4..8]);
    mpeg || mp4 || STARTS.iter().any(|s| head.starts_with(s))
}

fn not_audio(head: &[u8]) -> Error {
    let text = head.iter().all(|b| (b' '..=b'~').contains(b) || b.is_ascii_whitespace() || *b >= 0x80);
    let found = if text {
        let line = String::from_utf8_lossy(head);
        format!("text: `{}`", line.lines().next().unwrap_or_default().chars().take(20).collect::<String>())
    } else {
        let bytes: Vec<_> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
        format!("the bytes {}", bytes.join(" "))
    };
    Error::new(Stage::Audio, format!("expected audio, found {found}"))
        .hint("WAV, FLAC, MP3, M4A, AAC, Ogg, Opus and WebM are known; raw samples need their format named")
}

fn unknown(e: &SymphoniaError, seekable: bool) -> Error {
    let error = Error::new(Stage::Audio, format!("expected audio, found none that can be read: {e}"));
    if seekable { error } else { error.hint("some formats need a file instead of a stream") }
}
