//! Decodes, checks and resamples a client's audio, one chunk at a time: a message waits in memory as it
//! was received, which needs less than its decoded samples.

use axum::body::Bytes;

use crate::audio::{RawFormat, Resampler};
use crate::error::Result;

/// Samples in a chunk: a quarter of a second at 16 kHz.
const CHUNK: usize = 4_000;
/// Samples in a chunk of a traced stream, whose every step is reported.
const TRACED_CHUNK: usize = 640;
/// Maximum absolute value of a sample; full scale is 1, so a larger value is a wrong encoding.
const MAX_SAMPLE: f32 = 1e6;

/// Converts bytes in a client's format to samples at the model's rate.
pub struct AudioInput {
    format: RawFormat,
    /// `None` if the client sends the model's rate.
    resampler: Option<Resampler>,
    /// The model's rate, Hz.
    rate: u32,
    /// Approximate number of samples in a chunk, at the model's rate.
    chunk: usize,
    /// The incomplete frame at the end of the last message.
    cut: Vec<u8>,
    /// Frames decoded since the last [`finish`](Self::finish).
    frames: u64,
}

impl AudioInput {
    /// Creates an input for audio in `format` and a model with a sample rate of `rate` Hz.
    ///
    /// # Errors
    /// When the resampler does not support a rate.
    pub fn new(format: RawFormat, rate: u32) -> Result<Self> {
        let resampler = match format.sample_rate {
            from if from == rate => None,
            from => Some(Resampler::new(from, rate)?),
        };
        Ok(Self { format, resampler, rate, chunk: CHUNK, cut: Vec::new(), frames: 0 })
    }

    /// Shortens the chunks, so that the network runs at most one step for each.
    pub fn trace(&mut self) {
        self.chunk = TRACED_CHUNK;
    }

    /// Number of input bytes for one chunk of samples.
    fn chunk_bytes(&self) -> usize {
        let frames = self.chunk as u64 * u64::from(self.format.sample_rate) / u64::from(self.rate);
        (frames as usize).max(1) * self.format.frame_bytes()
    }

    /// Removes one chunk from the front of `bytes` and returns its samples; the result is empty while a
    /// frame or the resampler is incomplete.
    ///
    /// # Errors
    /// A message that names the first sample that is not finite or exceeds 1e6.
    pub fn take(&mut self, bytes: &mut Bytes) -> std::result::Result<Vec<f32>, String> {
        let chunk = bytes.split_to(bytes.len().min(self.chunk_bytes()));
        let joined;
        let chunk: &[u8] = if self.cut.is_empty() {
            &chunk
        } else {
            joined = [&std::mem::take(&mut self.cut), &chunk[..]].concat();
            &joined
        };
        let (whole, rest) = chunk.split_at(chunk.len() - chunk.len() % self.format.frame_bytes());
        self.cut.extend_from_slice(rest);
        let mut samples = Vec::new();
        self.format.encoding.decode_mono(whole, usize::from(self.format.channels), &mut samples);
        if let Some(i) = samples.iter().position(|x| !x.is_finite() || x.abs() > MAX_SAMPLE) {
            let at = self.frames + i as u64;
            let seconds = at as f64 / f64::from(self.format.sample_rate);
            let found = samples[i];
            return Err(format!(
                "expected samples from -1 to 1, found {found} at {seconds:.3} s (sample {at})"
            ));
        }
        self.frames += samples.len() as u64;
        let Some(resampler) = &mut self.resampler else { return Ok(samples) };
        let mut resampled = Vec::new();
        // It fails only for rates that `new` has refused.
        let _ = resampler.push(&samples, &mut resampled);
        Ok(resampled)
    }

    /// Ends the audio: returns the samples that the resampler still holds, and resets the input.
    pub fn finish(&mut self) -> Vec<f32> {
        self.cut.clear();
        self.frames = 0;
        let mut rest = Vec::new();
        if let Some(resampler) = &mut self.resampler {
            let _ = resampler.finish(&mut rest);
            resampler.reset();
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::Encoding;

    fn input(sample_rate: u32, channels: u16, encoding: Encoding) -> AudioInput {
        AudioInput::new(RawFormat { sample_rate, channels, encoding }, 16_000).expect("possible rates")
    }

    /// All samples of messages.
    fn samples(input: &mut AudioInput, messages: &[&[u8]]) -> Vec<f32> {
        let mut samples = Vec::new();
        for message in messages {
            let mut bytes = Bytes::copy_from_slice(message);
            while !bytes.is_empty() {
                samples.extend(input.take(&mut bytes).expect("numbers"));
            }
        }
        samples.extend(input.finish());
        samples
    }

    #[test]
    fn frames_cut_by_messages_are_joined() {
        let values = [0.5f32, -0.25, 1.0, 0.0];
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        for cut in 0..bytes.len() {
            let messages = [&bytes[..cut], &bytes[cut..]];
            assert_eq!(samples(&mut input(16_000, 1, Encoding::F32Le), &messages), values);
            assert_eq!(samples(&mut input(16_000, 2, Encoding::F32Le), &messages), [0.125, 0.5]);
        }
        let mut s16 = input(16_000, 1, Encoding::S16Le);
        assert_eq!(samples(&mut s16, &[&[0], &[0x40, 0, 0x80]]), [0.5, -1.0]);
    }

    #[test]
    fn a_long_message_is_taken_in_chunks_whose_output_is_bounded() {
        for rate in [4_000, 16_000, 44_100, 192_000] {
            let mut input = input(rate, 1, Encoding::S16Le);
            let mut bytes = Bytes::from(vec![0; 1 << 20]);
            let mut total = 0;
            while !bytes.is_empty() {
                let samples = input.take(&mut bytes).expect("numbers").len();
                assert!(samples <= 3 * CHUNK, "{rate} Hz: {samples} at once");
                total += samples;
            }
            total += input.finish().len();
            let expected = (1u64 << 19) * 16_000 / u64::from(rate);
            assert!(total.abs_diff(expected as usize) <= 1, "{rate} Hz: {total}, expected {expected}");
        }
    }

    #[test]
    fn the_error_names_the_first_sample_that_is_not_a_number() {
        let bytes: Vec<u8> = [0.0f32, f32::NAN].iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut input = input(16_000, 1, Encoding::F32Le);
        assert!(input.take(&mut bytes.into()).expect_err("NaN").contains("sample 1"));
    }
}
