//! Containers that symphonia demultiplexes: FLAC, Matroska and WebM, MP4, AIFF, CAF.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_FLAC;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{self, FormatOptions, FormatReader, TrackFlags};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use crate::error::{Error, Result, Stage};

use super::super::input::{Input, unreadable};
use super::codecs;
use super::demuxer::{DemuxEvent, Demuxer, Track};
use super::ebml::{Elements, ObservedInput};

/// Number of consecutive failures after which a stream is considered ended.
const MAX_CONSECUTIVE_FAILURES: u32 = 64;
const MATROSKA: &[u8] = b"\x1a\x45\xdf\xa3";

/// Whether the first bytes may be those of one of these containers.
pub(super) fn may_begin(head: &[u8]) -> bool {
    let starts = [&b"fLaC"[..], b"FORM", b"caff", MATROSKA];
    let mp4 = [&b"ftyp"[..], b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"];
    starts.iter().any(|s| head.starts_with(s)) || head.get(4..8).is_some_and(|kind| mp4.contains(&kind))
}

/// Demultiplexes one audio track of a container through symphonia.
pub(super) struct ContainerDemuxer {
    format: Box<dyn FormatReader>,
    track: Option<Track>,
    id: u32,
    /// Elements of a Matroska file, by which truncation is detected.
    elements: Option<Arc<Mutex<Elements>>>,
    /// Expected timestamp of the next packet, for codecs whose packets have exact ones (FLAC).
    expected: Option<i64>,
    failures: u32,
    waiting: Option<Packet>,
}

impl ContainerDemuxer {
    pub(super) fn new(mut input: Input) -> Result<Self> {
        let is_matroska = input.peek()?.starts_with(MATROSKA);
        let seekable = !input.is_stream();
        if is_matroska && seekable {
            // Read sequentially, so that the elements can be watched; only a file with its index at the end
            // needs to seek.
            let (watched, elements) = ObservedInput::new(input.reopen()?);
            if let Ok(format) = probe(Box::new(watched))
                && !format.tracks().is_empty()
            {
                return Self::with(format, Some(elements));
            }
            input.rewind()?;
        }
        input.commit();
        let (format, elements) = if is_matroska && !seekable {
            let (watched, elements) = ObservedInput::new(input);
            (probe(Box::new(watched)), Some(elements))
        } else {
            (probe(Box::new(input)), None)
        };
        Self::with(format.map_err(|e| unknown(&e, seekable))?, elements)
    }

    fn with(format: Box<dyn FormatReader>, elements: Option<Arc<Mutex<Elements>>>) -> Result<Self> {
        let (id, track) = choose(format.as_ref())?;
        let expected = (track.parameters.codec == CODEC_ID_FLAC).then_some(0);
        Ok(Self { format, track: Some(track), id, elements, expected, failures: 0, waiting: None })
    }

    /// The end of the stream, with whether the file was truncated.
    fn end(&self, unexpected: bool) -> DemuxEvent {
        let whole = self.elements.as_ref().map(|e| e.lock().is_ok_and(|e| e.are_complete()));
        DemuxEvent::End { truncated: unexpected && whole != Some(true) || whole == Some(false) }
    }

    /// Returns the packet, or first the gap before it.
    fn take(&mut self, packet: Packet) -> DemuxEvent {
        self.failures = 0;
        let at = packet.pts.get();
        let gap = self.expected.is_some_and(|expected| at > expected);
        if self.expected.is_some() {
            self.expected = Some(at.saturating_add(packet.block_dur().get().cast_signed()));
        }
        if gap {
            self.waiting = Some(packet);
            return DemuxEvent::Gap;
        }
        DemuxEvent::Packet(packet)
    }
}

impl Demuxer for ContainerDemuxer {
    fn next(&mut self) -> Result<DemuxEvent> {
        if let Some(track) = self.track.take() {
            return Ok(DemuxEvent::Track(track));
        }
        if let Some(packet) = self.waiting.take() {
            return Ok(DemuxEvent::Packet(packet));
        }
        loop {
            match self.format.next_packet() {
                Ok(None) => return Ok(self.end(false)),
                Ok(Some(packet)) if packet.track_id == self.id => return Ok(self.take(packet)),
                Ok(Some(_)) => {}
                Err(SymphoniaError::IoError(e)) if e.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(self.end(true));
                }
                Err(SymphoniaError::IoError(e)) => return Err(unreadable(e)),
                Err(SymphoniaError::DecodeError(_)) if self.failures < MAX_CONSECUTIVE_FAILURES => {
                    self.failures += 1;
                    if self.failures == 1 {
                        return Ok(DemuxEvent::Gap);
                    }
                }
                Err(_) => return Ok(DemuxEvent::End { truncated: true }),
            }
        }
    }
}

fn probe(source: Box<dyn MediaSource>) -> std::result::Result<Box<dyn FormatReader>, SymphoniaError> {
    let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
    symphonia::default::get_probe().probe(
        &Hint::new(),
        stream,
        FormatOptions::default(),
        MetadataOptions::default(),
    )
}

/// Chooses an audio track: a decodable one first, then the one marked as default, then the first.
fn choose(format: &dyn FormatReader) -> Result<(u32, Track)> {
    let audio = |track: &formats::Track| match &track.codec_params {
        Some(CodecParameters::Audio(parameters)) => Some((track.id, parameters.clone(), track.clone())),
        _ => None,
    };
    let mut found: Vec<_> = format.tracks().iter().filter_map(audio).collect();
    found.sort_by_key(|(_, parameters, track)| {
        (!codecs::is_known(parameters), !track.flags.contains(TrackFlags::DEFAULT))
    });
    let Some((id, parameters, track)) = found.into_iter().next() else {
        // symphonia gives no parameters for codecs that it does not know.
        if format.tracks().iter().any(|track| track.codec_params.is_none()) {
            return Err(codecs::unknown_codec("an unknown one"));
        }
        return Err(Error::new(Stage::Audio, "expected an audio track, found none"));
    };
    let declared = track.num_frames.zip(parameters.sample_rate);
    Ok((id, Track { declared, ..Track::new(parameters) }))
}

fn unknown(e: &SymphoniaError, seekable: bool) -> Error {
    if seekable {
        return codecs::plain(e);
    }
    Error::new(Stage::Audio, "expected audio that can be read as a stream, found none")
        .hint("M4A, MP4 and CAF usually have their index at the end and must be read from a file")
}
