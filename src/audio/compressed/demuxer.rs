//! What all containers are to the decoder: tracks, packets, and what is missing between them.

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::packet::Packet;

use crate::error::Result;

/// The packets of one audio track, in order.
pub(super) trait Demuxer: Send {
    /// What comes next. After the end, the end again.
    ///
    /// # Errors
    /// When the input cannot be read, or what begins is no audio that can be decoded.
    fn next(&mut self) -> Result<Found>;
}

/// What a demuxer finds next.
pub(super) enum Found {
    /// A track, decoded anew from here on. The first of all.
    Track(Track),
    Packet(Packet),
    /// Data between the packets around this is missing or was unreadable.
    Gap,
    /// From here on no more than so many samples may turn out to be padding.
    Hold(usize),
    /// What was decoded since the last `Hold` is so many samples and padding, a packet or two of it.
    Length(u64),
    /// The last so many samples are padding.
    Padding(usize),
    End {
        /// The input stops before its time.
        truncated: bool,
    },
}

/// A track that begins.
pub(super) struct Track {
    pub parameters: AudioCodecParameters,
    /// Samples to leave out at the start.
    pub skip: usize,
    /// How many samples the container promises, in counts of the rate it names.
    pub promised: Option<(u64, u32)>,
}

impl Track {
    pub(super) fn new(parameters: AudioCodecParameters) -> Self {
        Self { parameters, skip: 0, promised: None }
    }
}
