//! Decoding of WAV samples by hound.

use std::io::{Cursor, Read};

use super::convert::{Encoding, downmix};
use crate::error::{Error, Result, Stage};

/// Decodes the samples of a WAV file by hound, one chunk per call. Each chunk is passed to hound as a WAV file.
pub(super) struct WavSamples {
    /// Header of a mono file, as channels are averaged afterwards; its last four bytes are the size of the samples.
    header: Vec<u8>,
    encoding: Encoding,
    channels: usize,
    interleaved: Vec<f32>,
}

impl WavSamples {
    /// `None` for encodings that hound does not read.
    pub fn new(sample_rate: u32, channels: u16, encoding: Encoding) -> Option<Self> {
        let (bits_per_sample, sample_format) = match encoding {
            Encoding::U8 => (8, hound::SampleFormat::Int),
            Encoding::S16Le => (16, hound::SampleFormat::Int),
            Encoding::S24Le => (24, hound::SampleFormat::Int),
            Encoding::S32Le => (32, hound::SampleFormat::Int),
            Encoding::F32Le => (32, hound::SampleFormat::Float),
            _ => return None,
        };
        let spec = hound::WavSpec { channels: 1, sample_rate, bits_per_sample, sample_format };
        Some(Self {
            header: spec.into_header_for_infinite_file(),
            encoding,
            channels: usize::from(channels),
            interleaved: Vec::new(),
        })
    }

    /// Appends the mean over the channels of each whole frame, full scale at ±1.
    pub fn decode_mono(&mut self, bytes: &[u8], out: &mut Vec<f32>) -> Result<()> {
        let bytes = &bytes[..bytes.len() / self.encoding.bytes() * self.encoding.bytes()];
        let size = self.header.len() - 4;
        self.header[size..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.interleaved.clear();
        self.read(bytes).map_err(|e| Error::new(Stage::Audio, e.to_string()).caused_by(e))?;
        downmix(&self.interleaved, self.channels, out);
        Ok(())
    }

    fn read(&mut self, bytes: &[u8]) -> hound::Result<()> {
        let mut reader = hound::WavReader::new(Cursor::new(&self.header).chain(bytes))?;
        let spec = reader.spec();
        if spec.sample_format == hound::SampleFormat::Float {
            for sample in reader.samples::<f32>() {
                self.interleaved.push(sample?);
            }
        } else {
            let full_scale = (1_i64 << (spec.bits_per_sample - 1)) as f32;
            for sample in reader.samples::<i32>() {
                self.interleaved.push(sample? as f32 / full_scale);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hound_decodes_as_raw_samples_are_decoded() {
        let bytes: Vec<u8> = (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for encoding in [Encoding::U8, Encoding::S16Le, Encoding::S24Le, Encoding::S32Le, Encoding::F32Le] {
            for channels in [1, 2, 5] {
                let frame = usize::from(channels) * encoding.bytes();
                let bytes = &bytes[..4096 - 4096 % frame];
                let (mut raw, mut wav) = (Vec::new(), Vec::new());
                encoding.decode_mono(bytes, usize::from(channels), &mut raw);
                let mut samples = WavSamples::new(8000, channels, encoding).expect("hound reads it");
                samples.decode_mono(bytes, &mut wav).expect("decoded");
                let bits = |samples: &[f32]| samples.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&raw), bits(&wav), "{encoding} {channels}");
            }
        }
    }
}
