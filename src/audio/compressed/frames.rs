//! Streams of frames without a container: MPEG audio layers I to III (MP3; ISO/IEC 11172-3) and AAC in ADTS
//! (ISO/IEC 13818-7). A frame's header has its size; a possible start is confirmed by another frame after it. Tags are
//! skipped by their size at any position, since concatenated files have them in the middle.

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_AAC, CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3};
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

use crate::error::Result;

use super::super::input::Input;
use super::super::tags;
use super::demuxer::{DemuxEvent, Demuxer, Track, unknown_format};
use super::window::Window;

/// Maximum size of a frame of MPEG audio or ADTS, bytes.
const MAX_FRAME: usize = 8_191;
/// Maximum number of bytes before the first frame that are not audio.
const MAX_JUNK: u64 = 1 << 20;
/// Maximum number of zero bytes between frames that count as padding; anything else there is lost audio.
const MAX_PADDING: u64 = 4_096;
/// Maximum size of an unknown tag after the last frame; more than this is lost audio.
const MAX_TRAILER: u64 = 1 << 16;
/// Tolerance of the number of frames in a header: some encoders include the header or the decoder's delay.
const COUNT_TOLERANCE: u64 = 3;
/// Delay of a layer III decoder in samples.
const DECODER_DELAY: usize = 529;

/// Whether the first bytes may be a frame, or zeros before one.
pub(super) fn may_begin(head: &[u8]) -> bool {
    Frame::parse(head).is_some()
        || head.starts_with(&[0; 8])
        || (head.len() > 1 && head[0] == 0xff && head[1] >= 0xe0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Mpeg { layer: u8, version: u8 },
    Adts { profile: u8 },
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    codec: Codec,
    sample_rate: u32,
    channels: u8,
    /// Bytes, including the header.
    size: usize,
    /// Bytes of the header that the decoder does not expect (ADTS only).
    header: usize,
    samples: u64,
}

impl Frame {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
        if word >> 21 != 0x7ff {
            return None;
        }
        if word >> 17 & 3 == 0 { Self::parse_adts(bytes) } else { Self::parse_mpeg(word) }
    }

    fn parse_mpeg(word: u32) -> Option<Self> {
        /// kbit/s of MPEG 1's layers I, II and III, of MPEG 2's layer I, and of MPEG 2's layers II and III.
        const BIT_RATES: [[u32; 15]; 5] = [
            [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
            [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
            [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
            [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
            [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
        ];
        let version = match word >> 19 & 3 {
            3 => 1,
            2 => 2,
            0 => 3,
            _ => return None,
        };
        let layer = 4 - (word >> 17 & 3) as u8;
        let (rate, frequency) = ((word >> 12 & 15) as usize, (word >> 10 & 3) as usize);
        if frequency == 3 {
            return None;
        }
        let table = if version == 1 {
            usize::from(layer) - 1
        } else if layer == 1 {
            3
        } else {
            4
        };
        // Frames of a free bit rate (index 0) do not contain their size; index 15 is invalid.
        let bit_rate = BIT_RATES[table].get(rate).filter(|rate| **rate > 0)? * 1000;
        let sample_rate = [44_100, 48_000, 32_000][frequency] >> (version - 1);
        let padding = word >> 9 & 1;
        let samples = match (layer, version) {
            (1, _) => 384,
            (3, 2 | 3) => 576,
            _ => 1152,
        };
        let size = match layer {
            1 => 4 * (12 * bit_rate / sample_rate + padding),
            _ => samples / 8 * bit_rate / sample_rate + padding,
        };
        let channels = if word >> 6 & 3 == 3 { 1 } else { 2 };
        let codec = Codec::Mpeg { layer, version: version as u8 };
        Some(Self {
            codec,
            sample_rate,
            channels,
            size: size as usize,
            header: 0,
            samples: u64::from(samples),
        })
    }

    fn parse_adts(bytes: &[u8]) -> Option<Self> {
        const RATES: [u32; 13] = [
            96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
            7_350,
        ];
        let b: &[u8; 7] = bytes.get(..7)?.try_into().ok()?;
        if b[1] & 0xf0 != 0xf0 {
            return None;
        }
        let sample_rate = *RATES.get(usize::from(b[2] >> 2 & 15))?;
        let size = usize::from(b[3] & 3) << 11 | usize::from(b[4]) << 3 | usize::from(b[5] >> 5);
        let header = if b[1] & 1 == 0 { 9 } else { 7 };
        let channels = (b[2] & 1) << 2 | b[3] >> 6;
        let codec = Codec::Adts { profile: b[2] >> 6 };
        (size > header).then_some(Self { codec, sample_rate, channels, size, header, samples: 1024 })
    }

    /// Whether one decoder can decode both frames.
    fn is_like(&self, other: &Self) -> bool {
        (self.codec, self.sample_rate, self.channels) == (other.codec, other.sample_rate, other.channels)
    }

    /// Whether this frame may come after `other` in one stream.
    fn may_follow(&self, other: &Self) -> bool {
        match (self.codec, other.codec) {
            (Codec::Mpeg { .. }, Codec::Mpeg { .. }) => {
                self.codec == other.codec && self.sample_rate == other.sample_rate
            }
            (a, b) => a == b && self.sample_rate == other.sample_rate,
        }
    }

    fn parameters(&self, header: &[u8]) -> AudioCodecParameters {
        let mut parameters = AudioCodecParameters::new();
        parameters.with_sample_rate(self.sample_rate);
        match self.codec {
            Codec::Mpeg { layer: 1, .. } => parameters.for_codec(CODEC_ID_MP1),
            Codec::Mpeg { layer: 2, .. } => parameters.for_codec(CODEC_ID_MP2),
            Codec::Mpeg { .. } => parameters.for_codec(CODEC_ID_MP3),
            Codec::Adts { profile } => {
                // An AudioSpecificConfig: object type, sample rate and channels.
                let rate = header[2] >> 2 & 15;
                let config = [(profile + 1) << 3 | rate >> 1, (rate & 1) << 7 | self.channels << 3];
                parameters.for_codec(CODEC_ID_AAC).with_extra_data(Box::from(config))
            }
        };
        parameters
    }
}

/// Information about the file in its first frame, which then contains no audio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StreamInfo {
    /// Number of frames that follow, if present.
    frames: Option<u64>,
    /// Samples that the encoder and the decoder add at the start.
    delay: usize,
    /// Samples of padding at the end.
    padding: usize,
}

impl StreamInfo {
    /// Reads the headers of Xing, LAME, libavformat and Fraunhofer's encoder.
    fn parse(frame: &Frame, bytes: &[u8]) -> Option<Self> {
        let Codec::Mpeg { layer: 3, version } = frame.codec else { return None };
        let side = match (version, frame.channels) {
            (1, 2) => 32,
            (1, _) | (_, 2) => 17,
            _ => 9,
        };
        let number = |i: usize| Some(u64::from(u32::from_be_bytes(bytes.get(i..i + 4)?.try_into().ok()?)));
        // The frame may have a checksum of two bytes after its header.
        for at in [4 + side, 6 + side] {
            if matches!(bytes.get(at..at + 4), Some(b"Xing" | b"Info")) {
                let flags = number(at + 4).unwrap_or(0);
                let frames = if flags & 1 != 0 { number(at + 8).filter(|n| *n > 0) } else { None };
                let fields = [(1, 4), (2, 4), (4, 100), (8, 4)];
                let lame = at
                    + 8
                    + fields.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, n)| n).sum::<usize>();
                let (delay, padding) = Self::lame(bytes.get(lame..).unwrap_or_default()).unwrap_or((0, 0));
                return Some(Self { frames, delay, padding });
            }
        }
        if bytes.get(36..40) == Some(b"VBRI") {
            return Some(Self { frames: number(50).filter(|n| *n > 0), ..Self::default() });
        }
        None
    }

    /// Delay and padding, corrected by the decoder's delay.
    fn lame(bytes: &[u8]) -> Option<(usize, usize)> {
        if ![&b"LAME"[..], b"Lavf", b"Lavc"].contains(&bytes.get(..4)?) {
            return None;
        }
        let b = bytes.get(21..24)?;
        let (delay, padding) = (
            usize::from(b[0]) << 4 | usize::from(b[1] >> 4),
            usize::from(b[1] & 15) << 8 | usize::from(b[2]),
        );
        Some((delay + DECODER_DELAY, padding.saturating_sub(DECODER_DELAY)))
    }
}

/// Splits a stream into frames.
pub(super) struct FrameDemuxer {
    window: Window,
    length: Option<u64>,
    /// The previous frame.
    last: Option<Frame>,
    info: StreamInfo,
    /// Frames since the one with `info`.
    count: u64,
    position: i64,
    /// Items to be returned by the next calls.
    waiting: std::collections::VecDeque<DemuxEvent>,
}

impl FrameDemuxer {
    /// Finds the first frame of an input, or of its next `length` bytes.
    pub(super) fn new(input: Input, length: Option<u64>) -> Result<Self> {
        let mut this = Self {
            window: Window::new(input, length),
            length,
            last: None,
            info: StreamInfo::default(),
            count: 0,
            position: 0,
            waiting: std::collections::VecDeque::new(),
        };
        let found = this.next()?;
        if matches!(found, DemuxEvent::End { .. }) {
            return Err(unknown_format("expected audio, found no valid frame"));
        }
        this.waiting.push_front(found);
        Ok(this)
    }

    /// Skips to the next frame, if there is one; returns it with the number of bytes of lost audio skipped: neither
    /// tags nor padding.
    fn synchronize(&mut self) -> Result<(Option<Frame>, u64)> {
        let (mut junk, mut zeros) = (0u64, true);
        let lost = |junk, zeros| if zeros && junk <= MAX_PADDING { 0 } else { junk };
        loop {
            let ahead = self.window.peek(tags::HEAD)?;
            if ahead.is_empty() || (self.last.is_none() && junk > MAX_JUNK) {
                return Ok((None, lost(junk, zeros)));
            }
            if let Some(size) = tags::size(ahead) {
                self.window.skip(size)?;
                continue;
            }
            let first = ahead[0];
            if first == 0xff
                && let Some(frame) = self.confirmed_frame(junk)?
            {
                return Ok((Some(frame), lost(junk, zeros)));
            }
            zeros &= first == 0;
            junk += 1;
            self.window.skip(1)?;
        }
    }

    /// The frame that begins here, if another one (or a tag, or the end) after it confirms it.
    fn confirmed_frame(&mut self, junk: u64) -> Result<Option<Frame>> {
        let last = self.last;
        let ahead = self.window.peek(2 * MAX_FRAME)?;
        let Some(frame) = Frame::parse(ahead) else { return Ok(None) };
        // Right after a frame, one of the same stream needs no confirmation.
        if junk == 0 && last.is_some_and(|last| frame.may_follow(&last)) {
            return Ok(Some(frame));
        }
        let rest = ahead.get(frame.size..).unwrap_or_default();
        let ends = ahead.len() >= frame.size && rest.is_empty();
        let followed = ends
            || tags::size(rest).is_some()
            || Frame::parse(rest).is_some_and(|next| next.may_follow(&frame));
        Ok(followed.then_some(frame))
    }

    /// Ends the stream or one of several concatenated files; returns whether frames are missing.
    fn close(&mut self) -> bool {
        let StreamInfo { frames, padding, .. } = self.info;
        if frames.is_some_and(|frames| frames.abs_diff(self.count) <= 1) {
            self.waiting.push_back(DemuxEvent::Padding(padding));
        }
        frames.is_some_and(|frames| self.count + COUNT_TOLERANCE < frames)
    }

    /// Begins a file by the information in its first frame.
    fn announce(&mut self, info: StreamInfo, frame: &Frame, header: &[u8]) {
        if self.last.is_some() && self.close() {
            self.waiting.push_back(DemuxEvent::Gap);
        }
        self.begin(frame, header, info.delay);
        self.waiting.push_back(DemuxEvent::Hold(info.padding));
        (self.info, self.count) = (info, 0);
    }

    fn begin(&mut self, frame: &Frame, header: &[u8], skip: usize) {
        let track = Track { skip, ..Track::new(frame.parameters(header)) };
        self.waiting.push_back(DemuxEvent::Track(track));
        self.last = Some(*frame);
    }

    fn end(&mut self, truncated: bool) -> DemuxEvent {
        let short = self.close() || self.window.is_short(self.length);
        self.info = StreamInfo::default();
        self.waiting.push_back(DemuxEvent::End { truncated: truncated || short });
        self.waiting.pop_front().unwrap_or(DemuxEvent::End { truncated })
    }

    /// Queues the items of the next frame; returns the end of the stream.
    fn advance(&mut self) -> Result<Option<DemuxEvent>> {
        let (frame, lost) = self.synchronize()?;
        let Some(frame) = frame else {
            return Ok(Some(self.end(lost > MAX_TRAILER)));
        };
        let data = self.window.peek(frame.size)?;
        if data.len() < frame.size {
            // An incomplete frame: the file is truncated.
            return Ok(Some(self.end(true)));
        }
        let data = data[..frame.size].to_vec();
        self.window.skip(frame.size as u64)?;
        let info = StreamInfo::parse(&frame, &data);
        if self.last.is_some() && info.is_none() && lost > 0 {
            self.waiting.push_back(DemuxEvent::Gap);
        }
        if let Some(info) = info {
            self.announce(info, &frame, &data);
            return Ok(None);
        }
        if !self.last.is_some_and(|last| frame.is_like(&last)) {
            self.begin(&frame, &data, 0);
        }
        self.last = Some(frame);
        self.count += 1;
        if matches!(frame.codec, Codec::Adts { .. }) && data[6] & 3 != 0 {
            // The frame has several blocks, of which the decoder decodes only the first.
            self.waiting.push_back(DemuxEvent::Gap);
        }
        let (at, samples) = (Timestamp::new(self.position), Duration::new(frame.samples));
        self.position += frame.samples as i64;
        self.waiting.push_back(DemuxEvent::Packet(Packet::new(0, at, samples, &data[frame.header..])));
        Ok(None)
    }
}

impl Demuxer for FrameDemuxer {
    fn next(&mut self) -> Result<DemuxEvent> {
        loop {
            if let Some(found) = self.waiting.pop_front() {
                return Ok(found);
            }
            if let Some(found) = self.advance()? {
                return Ok(found);
            }
        }
    }
}
