//! Demultiplexer of Ogg (RFC 3533) with Opus (RFC 7845), Vorbis or FLAC. Checksums of pages are verified, missing
//! pages are detected by their sequence numbers. Granule positions are used only for the padding at the end: a
//! stream recorded from the middle of a broadcast begins at an arbitrary position.

use std::collections::VecDeque;

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_FLAC, CODEC_ID_OPUS, CODEC_ID_VORBIS};
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

use crate::error::{Error, Result, Stage};

use super::super::input::Input;
use super::codecs;
use super::demuxer::{DemuxEvent, Demuxer, Track};
use super::opus::{Head, RATE};
use super::window::Window;

const CAPTURE: &[u8] = b"OggS";
const HEADER: usize = 27;
/// Header, 255 segment sizes, 255 segments of 255 bytes.
const MAX_PAGE: usize = HEADER + 255 + 255 * 255;
/// Maximum size of a packet in bytes; a longer one is an error.
const MAX_PACKET: usize = 1 << 24;

/// Table of the page checksum: CRC-32 with the polynomial 0x04c11db7, highest bit first.
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut value, mut bit) = ((i as u32) << 24, 0);
        while bit < 8 {
            value = (value << 1) ^ (if value >> 31 == 1 { 0x04c1_1db7 } else { 0 });
            bit += 1;
        }
        table[i] = value;
        i += 1;
    }
    table
};

/// A complete page with a valid checksum.
struct Page {
    continued: bool,
    first: bool,
    last: bool,
    /// Position of the end of the last packet completed in this page; `None` if no packet ends here.
    granule: Option<i64>,
    serial: u32,
    sequence: u32,
    /// Packets and parts of packets. If `open`, the last one continues in the next page.
    parts: Vec<Vec<u8>>,
    open: bool,
}

/// The data at a position of the input.
enum PageScan {
    /// A page and its size in bytes.
    Page(Page, usize),
    /// No page, or a damaged one.
    NoPage,
    /// A page whose end is missing.
    Truncated,
}

fn page_at(bytes: &[u8]) -> PageScan {
    if !bytes.starts_with(CAPTURE) {
        return PageScan::NoPage;
    }
    let Some(&segments) = bytes.get(HEADER - 1) else { return PageScan::Truncated };
    let body = HEADER + usize::from(segments);
    let Some(sizes) = bytes.get(HEADER..body) else { return PageScan::Truncated };
    let size = body + sizes.iter().map(|n| usize::from(*n)).sum::<usize>();
    let Some(page) = bytes.get(..size) else { return PageScan::Truncated };
    let number = |i: usize| u32::from_le_bytes([page[i], page[i + 1], page[i + 2], page[i + 3]]);
    let update = |crc: u32, byte: u8| (crc << 8) ^ CRC[((crc >> 24) as u8 ^ byte) as usize];
    // The checksum is computed with its own field set to 0.
    let checksum = (0..size).fold(0, |crc, i| update(crc, if (22..26).contains(&i) { 0 } else { page[i] }));
    if page[4] != 0 || checksum != number(22) {
        return PageScan::NoPage;
    }
    // A packet is a sequence of segments of 255 bytes and a shorter one, which may be empty.
    let (mut parts, mut part, mut at) = (Vec::new(), Vec::new(), body);
    for &n in sizes {
        part.extend_from_slice(&page[at..at + usize::from(n)]);
        at += usize::from(n);
        if n < 255 {
            parts.push(std::mem::take(&mut part));
        }
    }
    let open = sizes.last() == Some(&255);
    if open {
        parts.push(part);
    }
    let granule = i64::from_le_bytes(std::array::from_fn(|i| page[6 + i]));
    let (continued, first, last) = (page[5] & 1 != 0, page[5] & 2 != 0, page[5] & 4 != 0);
    let page = Page {
        continued,
        first,
        last,
        granule: (granule != -1).then_some(granule),
        serial: number(14),
        sequence: number(18),
        parts,
        open,
    };
    PageScan::Page(page, size)
}

/// A codec's mapping into Ogg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mapping {
    Opus,
    Vorbis,
    Flac,
}

/// The logical stream that is decoded.
struct Stream {
    serial: u32,
    sequence: u32,
    mapping: Mapping,
    parameters: AudioCodecParameters,
    /// Number of header packets still to come; `None` for FLAC, whose header packets are marked as such.
    headers: Option<usize>,
    /// Whether the track was returned.
    begun: bool,
    /// The first part of a packet that continues in the next page.
    part: Vec<u8>,
    /// Granule position of the previous page.
    granule: i64,
    /// Whether the page marked as the last was read.
    closed: bool,
}

impl Stream {
    /// The stream that the identification header in `page` begins; `Err` with the name of an unsupported codec.
    fn begin(page: &Page) -> std::result::Result<Self, &'static str> {
        let head = page.parts.first().map(Vec::as_slice).unwrap_or_default();
        let mut parameters = AudioCodecParameters::new();
        let (mapping, headers, granule) = if head.starts_with(b"OpusHead") {
            let Some(opus) = Head::parse(head) else { return Err("Opus with a damaged header") };
            parameters.for_codec(CODEC_ID_OPUS).with_sample_rate(RATE).with_extra_data(head.into());
            (Mapping::Opus, Some(1), i64::from(opus.pre_skip))
        } else if head.starts_with(b"\x01vorbis") {
            parameters.for_codec(CODEC_ID_VORBIS).with_extra_data(head.into());
            (Mapping::Vorbis, Some(2), 0)
        } else if head.starts_with(b"\x7fFLAC") && head.len() >= 51 {
            // After the mapping's header a FLAC file begins: its marker, and a STREAMINFO block of 34 bytes.
            parameters.for_codec(CODEC_ID_FLAC).with_extra_data(head[17..51].into());
            (Mapping::Flac, None, 0)
        } else {
            return Err(other_codec(head));
        };
        let (serial, sequence) = (page.serial, page.sequence);
        let (part, begun, closed) = (Vec::new(), false, page.last);
        Ok(Self { serial, sequence, mapping, parameters, headers, begun, part, granule, closed })
    }

    /// Consumes a packet if it is a header; returns whether it was.
    fn take_header(&mut self, packet: &[u8]) -> bool {
        match &mut self.headers {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                if self.mapping == Mapping::Vorbis && *left == 0 {
                    // The decoder expects the identification and setup headers without the comment header.
                    let mut both = self.parameters.extra_data.take().unwrap_or_default().into_vec();
                    both.extend_from_slice(packet);
                    self.parameters.with_extra_data(both.into());
                }
                true
            }
            None => packet.first() != Some(&0xff),
        }
    }
}

/// The name of an unsupported codec; empty for a stream that is not media.
fn other_codec(head: &[u8]) -> &'static str {
    let names: [(&[u8], &str); 7] = [
        (b"Speex   ", "Speex"),
        (b"\x80theora", "Theora, which is video"),
        (b"\x7fFLAC", "FLAC with a damaged header"),
        (b"fishead", ""),
        (b"\x80kate", "subtitles"),
        (b"PCM     ", "PCM in Ogg"),
        (b"CELT    ", "CELT"),
    ];
    names.iter().find(|(mark, _)| head.starts_with(mark)).map_or("an unknown codec", |(_, name)| name)
}

/// Reads the first audio stream of every link of a chain.
pub(super) struct OggDemuxer {
    window: Window,
    stream: Option<Stream>,
    /// Other streams: their serial numbers, and their names for messages.
    others: Vec<(u32, &'static str)>,
    /// Whether any audio stream was found.
    any: bool,
    /// Whether a data page was read since the last page that begins a stream.
    inside: bool,
    waiting: VecDeque<DemuxEvent>,
}

impl OggDemuxer {
    pub(super) fn new(input: Input) -> Self {
        let window = Window::new(input, None);
        Self { window, stream: None, others: Vec::new(), any: false, inside: true, waiting: VecDeque::new() }
    }

    /// The next valid page; at the end, `Err` with whether the input ends inside a page.
    fn next_page(&mut self) -> Result<std::result::Result<Page, bool>> {
        let mut cut = false;
        loop {
            let ahead = self.window.peek(MAX_PAGE)?;
            if ahead.is_empty() {
                return Ok(Err(cut));
            }
            match page_at(ahead) {
                PageScan::Page(page, size) => {
                    self.window.skip(size as u64)?;
                    return Ok(Ok(page));
                }
                // A damaged page is detected later by its missing sequence number.
                scan => {
                    cut |= matches!(scan, PageScan::Truncated);
                    let next = ahead.iter().skip(1).position(|byte| *byte == CAPTURE[0]);
                    let step = next.map_or(ahead.len(), |n| n + 1);
                    self.window.skip(step as u64)?;
                }
            }
        }
    }

    fn read_page(&mut self, page: Page) -> Result<()> {
        if page.first {
            return self.begin(&page);
        }
        if !self.inside && self.stream.is_none() {
            if !self.any {
                return Err(self.no_audio());
            }
            self.waiting.push_back(DemuxEvent::Gap);
        }
        self.inside = true;
        match &self.stream {
            Some(stream) if stream.serial == page.serial => self.take_packets(page),
            _ if self.others.iter().any(|(serial, _)| *serial == page.serial) => Ok(()),
            _ => {
                // The page that began this stream is missing.
                self.others.push((page.serial, ""));
                self.waiting.push_back(DemuxEvent::Gap);
                Ok(())
            }
        }
    }

    fn no_audio(&self) -> Error {
        let names: Vec<_> =
            self.others.iter().map(|(_, name)| *name).filter(|name| !name.is_empty()).collect();
        if names.is_empty() {
            return Error::new(
                Stage::Audio,
                "expected audio, found an Ogg file without the start of a stream",
            );
        }
        codecs::unknown_codec(&names.join(", "))
    }

    /// Handles the first page of a stream: one of several multiplexed streams, or the next link of a chain.
    fn begin(&mut self, page: &Page) -> Result<()> {
        if self.inside {
            self.inside = false;
            self.others.clear();
            if self.stream.take().is_some_and(|old| !old.closed || !old.part.is_empty()) {
                self.waiting.push_back(DemuxEvent::Gap);
            }
        }
        if self.stream.is_none() {
            match Stream::begin(page) {
                Ok(stream) => {
                    self.stream = Some(stream);
                    self.any = true;
                }
                Err(name) => self.others.push((page.serial, name)),
            }
        } else {
            self.others.push((page.serial, ""));
        }
        Ok(())
    }

    fn take_packets(&mut self, page: Page) -> Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let missing = page.sequence != stream.sequence.wrapping_add(1);
        // A part of a packet whose other part is missing.
        let torn = page.continued == stream.part.is_empty();
        stream.sequence = page.sequence;
        let mut parts = page.parts;
        if missing || torn {
            self.waiting.push_back(DemuxEvent::Gap);
            stream.part.clear();
            if page.continued && !parts.is_empty() {
                parts.remove(0);
                if parts.is_empty() && page.open {
                    return Ok(());
                }
            }
        }
        let unfinished = if page.open { parts.pop() } else { None };
        stream.closed = page.last;
        if page.last && stream.begun {
            self.waiting.push_back(DemuxEvent::Hold(usize::MAX));
        }
        let begun = stream.begun;
        for part in parts {
            let mut packet = std::mem::take(&mut stream.part);
            packet.extend_from_slice(&part);
            if stream.take_header(&packet) {
                continue;
            }
            if !stream.begun {
                stream.begun = true;
                self.waiting.push_back(DemuxEvent::Track(Track::new(stream.parameters.clone())));
                if page.last {
                    self.waiting.push_back(DemuxEvent::Hold(usize::MAX));
                }
            }
            self.waiting.push_back(DemuxEvent::Packet(Packet::new(
                0,
                Timestamp::ZERO,
                Duration::ZERO,
                packet,
            )));
        }
        if let Some(part) = unfinished {
            stream.part.extend_from_slice(&part);
            if stream.part.len() > MAX_PACKET {
                return Err(Error::new(Stage::Audio, "expected packets of up to 16 MiB, found a longer one"));
            }
        }
        if let Some(granule) = page.granule {
            let length = u64::try_from(granule.saturating_sub(stream.granule)).ok();
            if let Some(length) = length.filter(|_| page.last && stream.begun) {
                self.waiting.push_back(DemuxEvent::Length(length));
            }
            if begun || stream.begun {
                stream.granule = granule;
            }
        }
        Ok(())
    }

    fn end(&mut self, cut: bool) -> Result<DemuxEvent> {
        let Some(stream) = &self.stream else {
            return if self.any { Ok(DemuxEvent::End { truncated: cut }) } else { Err(self.no_audio()) };
        };
        Ok(DemuxEvent::End { truncated: cut || !stream.closed || !stream.part.is_empty() })
    }
}

impl Demuxer for OggDemuxer {
    fn next(&mut self) -> Result<DemuxEvent> {
        loop {
            if let Some(found) = self.waiting.pop_front() {
                return Ok(found);
            }
            match self.next_page()? {
                Ok(page) => self.read_page(page)?,
                Err(cut) => return self.end(cut),
            }
        }
    }
}
