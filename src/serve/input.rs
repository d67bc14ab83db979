//! A client's audio on its way to the recognizer: decoded, checked and resampled a chunk at a time,
//! so that a message in memory stays as small as it came.

use axum::body::Bytes;

use crate::audio::{RawFormat, Resampler};
use crate::error::Result;

/// Samples in a chunk: a quarter of a second at 16 kHz.
const CHUNK: usize = 4_000;
/// Samples in a chunk of a stream whose network is watched, step by step.
const TRACED_CHUNK: usize = 640;
/// The largest sample that is accepted; full scale is 1, so beyond it something is wrong.
const MAX_SAMPLE: f32 = 1e6;

/// Turns bytes in a client's format into samples at the model's rate.
pub struct AudioInput {
    format: RawFormat,
    /// `None` where the client sends the model's rate.
    resampler: Option<Resampler>,
    /// The model's rate, Hz.
    rate: u32,
    /// Samples at the model's rate in a chunk, or a little more or less.
    chunk: usize,
    /// The beginning of a frame that the end of a message has cut, shorter than a frame.
    cut: Vec<u8>,
    /// Frames decoded since the last [`finish`](Self::finish).
    frames: u64,
}

impl AudioInput {
    /// Input in `format` for a model that takes `rate` Hz.
    ///
    /// # Errors
    /// When a rate is impossible.
    pub fn new(format: RawFormat, rate: u32) -> Result<Self> {
        let resampler = match format.sample_rate {
            from if from == rate => None,
            from => Some(Resampler::new(from, rate)?),
        };
        Ok(Self { format, resampler, rate, chunk: CHUNK, cut: Vec::new(), frames: 0 })
    }

    /// Makes the chunks so short that each lets the network run one step at most.
    pub fn trace(&mut self) {
        self.chunk = TRACED_CHUNK;
    }

    /// Bytes of input for a chunk of output.
    fn chunk_bytes(&self) -> usize {
        let frames = self.chunk as u64 * u64::from(self.format.sample_rate) / u64::from(self.rate);
        (frames as usize).max(1) * self.format.frame_bytes()
    }

    /// Takes one chunk off the front of `bytes` and returns its samples; there may be none yet, while
    /// the resampler or a frame waits for more.
    ///
    /// # Errors
    /// Names the first sample that is no number or far beyond full scale.
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
        // Only impossible rates fail, and those were refused.
        let _ = resampler.push(&samples, &mut resampled);
        Ok(resampled)
    }

    /// Ends the audio here: returns what the resampler still holds, and begins anew.
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
    fn samples_that_are_no_numbers_are_named() {
        let bytes: Vec<u8> = [0.0f32, f32::NAN].iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut input = input(16_000, 1, Encoding::F32Le);
        assert!(input.take(&mut bytes.into()).expect_err("NaN").contains("sample 1"));
    }
}
