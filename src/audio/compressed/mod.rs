//! Decoding of compressed audio: a [`Demuxer`] yields packets, symphonia's codecs and [`opus`] decode them.

mod adpcm;
mod codecs;
mod container;
mod demuxer;
mod ebml;
mod frames;
mod ogg;
mod opus;
mod window;

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::packet::Packet;

use crate::error::{Error, Result, Stage};

use self::demuxer::{DemuxEvent, Demuxer, Track, unknown_format};
use super::convert::downmix;
use super::input::Input;
use super::resample::Resampler;
use super::wav::Coded;
use super::{Problems, Source, check_channels, check_rate};

/// Padding up to this length is trimmed even if it spans more than two packets.
const SHORT_PADDING_MS: u64 = 20;
/// Tolerance between the length in a container and the length of its packets.
const PROMISE_TOLERANCE_MS: u64 = 100;

/// Decodes the first audio track of a file to mono.
pub(super) struct CompressedReader {
    demuxer: Box<dyn Demuxer>,
    decoder: Option<Decoder>,
    /// The rate of the first track, which is that of the source.
    sample_rate: u32,
    output: Output,
    ended: bool,
    problems: Problems,
}

impl CompressedReader {
    /// A reader of any format but WAV and raw PCM.
    pub(super) fn new(mut input: Input) -> Result<Self> {
        let head = input.peek()?;
        let demuxer: Box<dyn Demuxer> = if head.starts_with(b"OggS") {
            input.commit();
            Box::new(ogg::OggDemuxer::new(input))
        } else if frames::may_begin(&head) {
            input.commit();
            Box::new(frames::FrameDemuxer::new(input, None)?)
        } else if container::may_begin(&head) {
            Box::new(container::ContainerDemuxer::new(input)?)
        } else {
            return Err(not_audio(&head));
        };
        Self::with(demuxer)
    }

    /// A reader of a WAV file with compressed data; `input` is after the header.
    pub(super) fn from_wav(mut input: Input, coded: Coded) -> Result<Self> {
        input.commit();
        if codecs::is_mpeg_in_wav(coded.tag) {
            return Self::with(Box::new(frames::FrameDemuxer::new(input, coded.length.bytes())?));
        }
        Self::with(Box::new(adpcm::BlockDemuxer::new(input, coded)?))
    }

    fn with(demuxer: Box<dyn Demuxer>) -> Result<Self> {
        let mut this = Self {
            demuxer,
            decoder: None,
            sample_rate: 0,
            output: Output::default(),
            ended: false,
            problems: Problems::default(),
        };
        // The sample rate is known for certain only after something was decoded.
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

    /// Decodes packets until there are samples to return, or the end.
    fn decode_more(&mut self) -> Result<()> {
        while self.output.is_empty() && !self.ended {
            match self.demuxer.next()? {
                DemuxEvent::Track(track) => self.begin(track)?,
                DemuxEvent::Packet(packet) => self.decode(&packet)?,
                DemuxEvent::Gap => self.note_gap(),
                DemuxEvent::Hold(samples) => self.output.hold(samples),
                DemuxEvent::Length(samples) => self.output.trim_to(samples, self.decoder.as_ref()),
                DemuxEvent::Padding(samples) => self.output.trim(samples),
                DemuxEvent::End { truncated } => {
                    let short = self.is_short();
                    self.problems.truncated |= truncated || short;
                    self.ended = true;
                    self.output.finish()?;
                }
            }
        }
        Ok(())
    }

    /// Creates the decoder of a track. If it is not supported, that is an error at the start, and a gap later in a
    /// chained stream or concatenated file.
    fn begin(&mut self, track: Track) -> Result<()> {
        self.output.hold(0);
        self.output.release()?;
        match Decoder::new(track) {
            Ok(decoder) => self.decoder = Some(decoder),
            Err(error) if self.sample_rate == 0 => return Err(error),
            Err(_) => {
                self.decoder = None;
                self.note_gap();
            }
        }
        Ok(())
    }

    fn decode(&mut self, packet: &Packet) -> Result<()> {
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        match decoder.decode(packet, &mut self.output.decoded_samples)? {
            Decoded::Samples => {}
            Decoded::Damaged => {
                self.problems.skipped_packets += 1;
                self.note_place();
                return Ok(());
            }
        }
        let rate = decoder.rate;
        if rate != 0 && self.sample_rate == 0 {
            self.sample_rate = rate;
            self.output.rate = rate;
        }
        if rate != 0 && rate != self.output.rate {
            self.output.change_rate(rate, self.sample_rate)?;
        }
        self.output.release()
    }

    fn note_gap(&mut self) {
        self.problems.gaps += 1;
        self.note_place();
    }

    fn note_place(&mut self) {
        let seconds = self.output.num_output() as f64 / f64::from(self.sample_rate.max(1));
        self.problems.first_at.get_or_insert(seconds);
    }

    /// Whether the packets contain less audio than the container says.
    fn is_short(&self) -> bool {
        let Some(decoder) = &self.decoder else { return false };
        let tolerance = u64::from(decoder.rate) * PROMISE_TOLERANCE_MS / 1000;
        decoder.declared.is_some_and(|(n, rate)| rate == decoder.rate && decoder.decoded + tolerance < n)
    }
}

impl Source for CompressedReader {
    fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> Result<usize> {
        if self.output.is_empty() {
            self.decode_more()?;
        }
        Ok(self.output.read(out, max_samples))
    }

    fn problems(&self) -> Problems {
        self.problems
    }
}

/// The result of decoding a packet.
enum Decoded {
    Samples,
    Damaged,
}

/// A codec's decoder, its output mixed down to mono.
struct Decoder {
    track: Track,
    inner: Box<dyn AudioDecoder>,
    /// Sample rate, Hz; 0 before anything was decoded.
    rate: u32,
    /// Samples still to be dropped at the start.
    skip: usize,
    declared: Option<(u64, u32)>,
    decoded: u64,
    /// Samples of the last two packets, the later one last.
    last: [usize; 2],
    interleaved: Vec<f32>,
}

impl Decoder {
    fn new(track: Track) -> Result<Self> {
        Ok(Self {
            inner: codecs::make_decoder(&track.parameters)?,
            rate: 0,
            skip: track.skip,
            declared: track.declared,
            decoded: 0,
            last: [0; 2],
            interleaved: Vec::new(),
            track,
        })
    }

    /// Appends the samples of a packet to `out`.
    fn decode(&mut self, packet: &Packet, out: &mut Vec<f32>) -> Result<Decoded> {
        self.interleaved.clear();
        if codecs::needs_new_decoder(&self.track.parameters, &packet.data, self.channels()) {
            self.inner = codecs::make_decoder(&self.track.parameters)?;
        }
        let (rate, channels) = match self.inner.decode(packet) {
            Ok(audio) => take(&audio, &mut self.interleaved),
            Err(SymphoniaError::IoError(_) | SymphoniaError::DecodeError(_)) => return Ok(Decoded::Damaged),
            Err(e) if self.decoded == 0 => return Err(codecs::plain(&e)),
            Err(_) => return Ok(Decoded::Damaged),
        };
        if self.interleaved.is_empty() {
            return Ok(Decoded::Samples);
        }
        check_rate(rate)?;
        check_channels(u16::try_from(channels).unwrap_or(u16::MAX))?;
        self.rate = rate;
        let start = out.len();
        downmix(&self.interleaved, channels, out);
        let skipped = self.skip.min(out.len() - start);
        self.skip -= skipped;
        out.drain(start..start + skipped);
        let count = out.len() - start;
        self.decoded += count as u64;
        self.last = [self.last[1], count];
        Ok(Decoded::Samples)
    }

    /// The number of channels decoded last; 0 before anything was.
    fn channels(&self) -> usize {
        if self.rate == 0 { 0 } else { self.inner.last_decoded().spec().channels().count() }
    }
}

/// Copies decoded samples; returns their rate and number of channels.
fn take(audio: &GenericAudioBufferRef<'_>, interleaved: &mut Vec<f32>) -> (u32, usize) {
    if audio.frames() > 0 {
        audio.copy_to_vec_interleaved::<f32>(interleaved);
    }
    (audio.spec().rate(), audio.spec().channels().count())
}

/// Queue of decoded samples. Samples that may be padding are held back; tracks at another rate than the first are
/// resampled.
#[derive(Default)]
struct Output {
    /// At the rate of the track that is being decoded.
    decoded_samples: Vec<f32>,
    /// Number of samples at the end of `decoded_samples` that are held back.
    held_back: usize,
    /// Samples released since `held_back` changed.
    released: u64,
    rate: u32,
    resampler: Option<Resampler>,
    /// At the rate of the source; those before `at` have been returned.
    ready: Vec<f32>,
    at: usize,
    total: u64,
}

impl Output {
    fn is_empty(&self) -> bool {
        self.at == self.ready.len()
    }

    fn hold(&mut self, samples: usize) {
        self.held_back = samples;
        self.released = 0;
    }

    fn trim(&mut self, samples: usize) {
        let keep = self.decoded_samples.len().saturating_sub(samples);
        self.decoded_samples.truncate(keep);
    }

    /// Trims the audio decoded since the last hold to `samples`, unless that would drop more than two packets.
    fn trim_to(&mut self, samples: u64, decoder: Option<&Decoder>) {
        let Some(decoder) = decoder else { return };
        let excess = (self.released + self.decoded_samples.len() as u64).saturating_sub(samples);
        let limit = (decoder.last[0] + decoder.last[1]) as u64;
        if excess <= limit.max(u64::from(decoder.rate) * SHORT_PADDING_MS / 1000) {
            self.trim(excess as usize);
        }
    }

    /// Releases the samples that are not held back.
    fn release(&mut self) -> Result<()> {
        let count = self.decoded_samples.len().saturating_sub(self.held_back);
        self.released += count as u64;
        self.compact();
        match &mut self.resampler {
            Some(resampler) => resampler.push(&self.decoded_samples[..count], &mut self.ready)?,
            None => self.ready.extend_from_slice(&self.decoded_samples[..count]),
        }
        self.decoded_samples.drain(..count);
        Ok(())
    }

    /// Flushes the resampler and sets the rate of the next track.
    fn change_rate(&mut self, rate: u32, wanted: u32) -> Result<()> {
        self.flush()?;
        self.rate = rate;
        self.resampler = if rate == wanted { None } else { Some(Resampler::new(rate, wanted)?) };
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.compact();
        if let Some(mut resampler) = self.resampler.take() {
            resampler.finish(&mut self.ready)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.held_back = 0;
        self.release()?;
        self.flush()
    }

    fn compact(&mut self) {
        if self.is_empty() {
            self.ready.clear();
            self.at = 0;
        }
    }

    fn read(&mut self, out: &mut Vec<f32>, max_samples: usize) -> usize {
        let n = max_samples.min(self.ready.len() - self.at);
        out.extend_from_slice(&self.ready[self.at..self.at + n]);
        self.at += n;
        self.total += n as u64;
        n
    }

    /// Number of samples returned and still to be returned.
    fn num_output(&self) -> u64 {
        self.total + (self.ready.len() - self.at) as u64 + self.decoded_samples.len() as u64
    }
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
    unknown_format(format!("expected audio, found {found}"))
}
