//! The interface of demultiplexers: tracks, packets, and gaps between them.

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::packet::Packet;

use crate::error::{Error, Result, Stage};

/// The packets of one audio track, in order.
pub(super) trait Demuxer: Send {
    /// Returns the next item. After the end, it returns the end again.
    ///
    /// # Errors
    /// When the input cannot be read, or its first track cannot be decoded.
    fn next(&mut self) -> Result<DemuxEvent>;
}

/// An item returned by a demultiplexer.
pub(super) enum DemuxEvent {
    /// The start of a track, which needs a new decoder. Always the first item.
    Track(Track),
    /// A packet of the current track.
    Packet(Packet),
    /// Data is missing or was unreadable between the packets before and after this.
    Gap,
    /// The maximum number of samples decoded from here on that may turn out to be padding.
    Hold(usize),
    /// The number of samples since the last `Hold`; what was decoded beyond that, up to two packets, is padding.
    Length(u64),
    /// The number of samples at the end that are padding.
    Padding(usize),
    /// The end of the input.
    End {
        /// Whether the input ends before its audio does.
        truncated: bool,
    },
}

/// An audio track.
pub(super) struct Track {
    /// Codec and its parameters.
    pub parameters: AudioCodecParameters,
    /// Samples per channel to drop at the start.
    pub skip: usize,
    /// Number of samples according to the container, and their rate.
    pub declared: Option<(u64, u32)>,
}

impl Track {
    pub(super) fn new(parameters: AudioCodecParameters) -> Self {
        Self { parameters, skip: 0, declared: None }
    }
}

/// The error for input in no known format, with a hint that lists the supported ones.
pub(super) fn unknown_format(problem: impl Into<String>) -> Error {
    const HINT: &str = "supported are WAV, FLAC, MP3, AAC, M4A, MP4, Ogg Vorbis, Opus, WebM, Matroska, AIFF and CAF; \
         convert others with `ffmpeg -i FILE out.wav`; for raw PCM, specify the sample format";
    Error::new(Stage::Audio, problem).hint(HINT).remedy("open_raw")
}
