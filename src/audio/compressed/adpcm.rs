//! Demultiplexer of Microsoft and IMA ADPCM in WAV files, which consists of blocks of equal size.

use symphonia::core::audio::{Channels, layouts};
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::{CODEC_ID_ADPCM_IMA_WAV, CODEC_ID_ADPCM_MS};
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

use crate::error::{Error, Result, Stage};

use super::super::input::Input;
use super::super::wav::Coded;
use super::codecs;
use super::demuxer::{DemuxEvent, Demuxer, Track};
use super::window::Window;

const FORMAT_MS: u16 = 0x0002;
const FORMAT_IMA: u16 = 0x0011;

/// Splits the data of a WAV file into blocks.
pub(super) struct BlockDemuxer {
    window: Window,
    length: Option<u64>,
    block: usize,
    /// Samples per channel in a block.
    samples: u64,
    position: i64,
    /// The track, returned by the first call of `next`.
    track: Option<Track>,
}

impl BlockDemuxer {
    pub(super) fn new(input: Input, coded: Coded) -> Result<Self> {
        // A block begins with a header for each channel, which contains one or two samples.
        let (codec, header, extra) = match coded.tag {
            FORMAT_MS => (CODEC_ID_ADPCM_MS, 7, 2),
            FORMAT_IMA => (CODEC_ID_ADPCM_IMA_WAV, 4, 1),
            tag => return Err(codecs::unknown_codec(&codecs::wav_tag(tag))),
        };
        let (channels, block) = (u64::from(coded.channels), u64::from(coded.block));
        let layout = match coded.channels {
            1 => layouts::CHANNEL_LAYOUT_MONO,
            2 => layouts::CHANNEL_LAYOUT_STEREO,
            n => Channels::Discrete(n),
        };
        let coded_bytes = block.checked_sub(header * channels).filter(|bytes| *bytes > 0 && coded.bits == 4);
        let Some(coded_bytes) = coded_bytes else {
            let problem = format!(
                "expected 4-bit ADPCM in blocks, found {} bits in blocks of {block} bytes for {channels} channels",
                coded.bits
            );
            return Err(Error::new(Stage::Audio, problem).at("WAV header"));
        };
        let samples = 2 * coded_bytes / channels + extra;
        let mut parameters = AudioCodecParameters::new();
        parameters
            .for_codec(codec)
            .with_sample_rate(coded.sample_rate)
            .with_channels(layout)
            .with_frames_per_block(samples)
            .with_max_frames_per_packet(samples);
        let length = coded.length.bytes();
        Ok(Self {
            window: Window::new(input, length),
            length,
            block: usize::from(coded.block),
            samples,
            position: 0,
            track: Some(Track::new(parameters)),
        })
    }
}

impl Demuxer for BlockDemuxer {
    fn next(&mut self) -> Result<DemuxEvent> {
        if let Some(track) = self.track.take() {
            return Ok(DemuxEvent::Track(track));
        }
        let ahead = self.window.peek(self.block)?;
        if ahead.len() < self.block {
            let rest = ahead.to_vec();
            let truncated = self.window.is_short(self.length) || (self.length.is_none() && !rest.is_empty());
            if truncated || rest.is_empty() {
                return Ok(DemuxEvent::End { truncated });
            }
            return self.block(rest);
        }
        let data = ahead[..self.block].to_vec();
        self.block(data)
    }
}

impl BlockDemuxer {
    /// The packet of a block; the last block may be shorter and is padded with zeros.
    fn block(&mut self, mut data: Vec<u8>) -> Result<DemuxEvent> {
        self.window.skip(data.len() as u64)?;
        data.resize(self.block, 0);
        let packet = Packet::new(0, Timestamp::new(self.position), Duration::new(self.samples), data);
        self.position += self.samples as i64;
        Ok(DemuxEvent::Packet(packet))
    }
}
