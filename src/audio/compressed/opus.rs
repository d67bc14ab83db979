//! Opus (RFC 6716, RFC 7845): the decoder of the crate `opuscule` through symphonia's interface.

// The name that symphonia's macros use.
use symphonia::core as symphonia_core;

use opuscule::{Decoder, MsDecoder, SampleRate};
use symphonia::core::audio::{AsGenericAudioBufferRef, AudioBuffer, AudioMut, AudioSpec, Channels};
use symphonia::core::audio::{GenericAudioBufferRef, layouts};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{
    AudioCodecParameters, AudioDecoder, AudioDecoderOptions, FinalizeResult,
};
use symphonia::core::codecs::registry::{RegisterableAudioDecoder, SupportedAudioCodec};
use symphonia::core::errors::{Error, Result};
use symphonia::core::packet::PacketRef;
use symphonia::core::support_audio_codec;

/// Sample rate of decoded Opus, which does not depend on the encoder's input.
pub(super) const RATE: u32 = 48_000;
/// Samples per channel in the longest packet, 120 ms.
const MAX_PACKET_SAMPLES: usize = 5_760;
/// Maximum magnitude of decoded samples; only damaged packets exceed it.
const MAX_MAGNITUDE: f32 = 16.0;

/// An identification header (RFC 7845, section 5.1).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub channels: usize,
    /// Samples per channel to drop at the start.
    pub pre_skip: u16,
    /// Linear factor for all samples.
    gain: f32,
    streams: usize,
    coupled: usize,
    mapping: Vec<u8>,
}

impl Head {
    /// Reads `OpusHead` as in Ogg and Matroska, or the same fields in MP4's byte order.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let fields = bytes.strip_prefix(b"OpusHead")?;
        let (&version, fields) = fields.split_first()?;
        // `dOps` of MP4 has version 0 and is big-endian; the others have version 1 and are little-endian.
        let number = |i: usize| {
            let pair = [*fields.get(i)?, *fields.get(i + 1)?];
            Some(if version == 0 { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) })
        };
        let channels = usize::from(*fields.first()?);
        let (pre_skip, gain, family) = (number(1)?, number(7)?.cast_signed(), *fields.get(9)?);
        let mut head = Self::simple(channels);
        if family != 0 {
            head.streams = usize::from(*fields.get(10)?);
            head.coupled = usize::from(*fields.get(11)?);
            head.mapping = fields.get(12..12 + channels)?.to_vec();
        }
        // The gain is stored in 1/256 dB.
        let gain = 10f32.powf(f32::from(gain) / (20.0 * 256.0));
        (version < 16 && (family != 0 || (1..=2).contains(&channels))).then_some(Self {
            pre_skip,
            gain,
            ..head
        })
    }

    /// The header of a single stream of one or two channels.
    fn simple(channels: usize) -> Self {
        let coupled = usize::from(channels == 2);
        Self { channels, pre_skip: 0, gain: 1.0, streams: 1, coupled, mapping: vec![0, 1] }
    }
}

/// Decodes the packets of one Opus track.
pub(super) struct OpusDecoder {
    parameters: AudioCodecParameters,
    layout: MsDecoder,
    /// One decoder for each stream of the layout.
    decoders: Vec<Decoder>,
    channels: usize,
    gain: f32,
    /// Samples per channel still to be dropped at the start.
    skip: usize,
    samples: Vec<f32>,
    buffer: AudioBuffer<f32>,
}

impl OpusDecoder {
    fn new(parameters: &AudioCodecParameters) -> Result<Self> {
        let head = match &parameters.extra_data {
            Some(bytes) => Head::parse(bytes).ok_or(Error::DecodeError("the Opus header is damaged"))?,
            None => Head::simple(parameters.channels.as_ref().map_or(1, Channels::count)),
        };
        let layout = MsDecoder::new(head.channels, head.streams, head.coupled, &head.mapping)
            .map_err(|_| Error::DecodeError("the Opus header has an invalid channel mapping"))?;
        let channels = match head.channels {
            1 => layouts::CHANNEL_LAYOUT_MONO,
            2 => layouts::CHANNEL_LAYOUT_STEREO,
            n => Channels::Discrete(n as u16),
        };
        let mut this = Self {
            parameters: parameters.clone(),
            layout,
            decoders: Vec::new(),
            channels: head.channels,
            gain: head.gain,
            skip: usize::from(head.pre_skip),
            samples: vec![0.0; MAX_PACKET_SAMPLES * head.channels],
            buffer: AudioBuffer::new(AudioSpec::new(RATE, channels), MAX_PACKET_SAMPLES),
        };
        this.reset();
        Ok(this)
    }

    /// Decodes a packet into `samples`; returns the number of samples per channel.
    fn decode_packet(&mut self, packet: &[u8]) -> Result<usize> {
        let count = self
            .layout
            .decode(&mut self.decoders, Some(packet), &mut self.samples, false)
            .map_err(|_| Error::DecodeError("an Opus packet is damaged"))?;
        let samples = &mut self.samples[..count * self.channels];
        if samples.iter().any(|s| !s.is_finite() || s.abs() > MAX_MAGNITUDE) {
            // The decoder's state is corrupt and would distort the packets that follow.
            self.reset();
            return Err(Error::DecodeError("an Opus packet is damaged"));
        }
        if self.gain != 1.0 {
            samples.iter_mut().for_each(|s| *s *= self.gain);
        }
        Ok(count)
    }
}

impl AudioDecoder for OpusDecoder {
    fn reset(&mut self) {
        let stream = |s| Decoder::new(SampleRate::Hz48000, self.layout.stream_channels(s));
        self.decoders = (0..self.layout.nb_streams()).map(stream).collect();
    }

    fn codec_info(&self) -> &CodecInfo {
        &Self::supported_codecs()[0].info
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.parameters
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Result<GenericAudioBufferRef<'_>> {
        self.buffer.clear();
        let count = self.decode_packet(packet.data)?;
        self.buffer.render_uninit(Some(count));
        self.buffer.copy_from_slice_interleaved(&&self.samples[..count * self.channels]);
        let skipped = self.skip.min(count);
        self.skip -= skipped;
        self.buffer.trim(skipped + packet.trim_start.get() as usize, packet.trim_end.get() as usize);
        Ok(self.buffer.as_generic_audio_buffer_ref())
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        self.buffer.as_generic_audio_buffer_ref()
    }
}

impl RegisterableAudioDecoder for OpusDecoder {
    fn try_registry_new(
        parameters: &AudioCodecParameters,
        _options: &AudioDecoderOptions,
    ) -> Result<Box<dyn AudioDecoder>> {
        Ok(Box::new(Self::new(parameters)?))
    }

    fn supported_codecs() -> &'static [SupportedAudioCodec] {
        &[support_audio_codec!(CODEC_ID_OPUS, "opus", "Opus")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: u8, rest: &[u8]) -> Option<Head> {
        Head::parse(&[b"OpusHead", &[version][..], rest].concat())
    }

    #[test]
    fn ogg_and_mp4_headers_are_parsed_alike() {
        let ogg = head(1, &[2, 0x38, 1, 0x80, 0xbb, 0, 0, 0, 6, 0]).expect("a header");
        let mp4 = head(0, &[2, 1, 0x38, 0, 0, 0xbb, 0x80, 6, 0, 0]).expect("a header");
        assert_eq!(ogg, mp4);
        assert_eq!((ogg.channels, ogg.pre_skip, ogg.coupled), (2, 312, 1));
        // 6 dB.
        assert!((ogg.gain - 1.9953).abs() < 1e-3, "{}", ogg.gain);
    }

    #[test]
    fn damaged_headers_are_refused() {
        assert_eq!(head(1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(head(1, &[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(head(1, &[2, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        // Surround whose mapping is cut.
        assert_eq!(head(1, &[6, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 2, 0, 4, 1]), None);
        assert!(head(1, &[6, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 2, 0, 4, 1, 2, 3, 5]).is_some());
    }
}
