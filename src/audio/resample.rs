//! Streaming sample rate conversion. The filter's delay is trimmed at the start and its tail flushed at the end, so
//! that output and input are aligned and their lengths agree.

use hearken_fft::rubato::audioadapter_buffers::direct::SequentialSlice;
use hearken_fft::rubato::{
    self, Async, Fft, Resampler as _, SincInterpolationParameters, SincInterpolationType, WindowFunction,
    calculate_cutoff,
};

use crate::error::{Error, Result, Stage};

use super::check_rate;

/// Minimum length of the blocks in which input is filtered. The latency is one and a half blocks.
const BLOCK_MS: u32 = 20;
/// If the FFT resampler needs longer blocks than this (rates with a small common factor), the sinc resampler is used.
const MAX_BLOCK_MS: u32 = 80;
/// Filter length of the sinc resampler, in samples of the lower rate.
const SINC_LENGTH: usize = 128;

/// Converts mono audio from one sample rate to another.
///
/// The output does not depend, bit for bit, on how the input is split into calls. After [`finish`](Self::finish) it
/// has `round(n_in * to / from)` samples, the first of them at the time of the first input sample.
pub struct Resampler {
    from: u32,
    to: u32,
    filter: Filter,
    /// Input samples that do not fill a block yet.
    pending: Vec<f32>,
    block_out: Vec<f32>,
    /// Output samples still to be dropped, which are the filter's delay.
    delay_left: usize,
    num_input: u64,
    num_output: u64,
}

enum Filter {
    /// The rates are equal.
    None,
    /// Overlap-add in the frequency domain: the rates have a common factor.
    Fft(Box<Fft<f32>>),
    /// Windowed sinc, interpolated: any ratio.
    Sinc(Box<Async<f32>>),
}

impl Resampler {
    /// A resampler from `from` Hz to `to` Hz.
    ///
    /// # Errors
    /// When a rate is out of range.
    pub fn new(from: u32, to: u32) -> Result<Self> {
        check_rate(from)?;
        check_rate(to)?;
        let mut resampler = Self {
            from,
            to,
            filter: make_filter(from, to)?,
            pending: Vec::new(),
            block_out: Vec::new(),
            delay_left: 0,
            num_input: 0,
            num_output: 0,
        };
        resampler.reset();
        Ok(resampler)
    }

    /// The rate of the input, Hz.
    pub fn input_rate(&self) -> u32 {
        self.from
    }

    /// The rate of the output, Hz.
    pub fn output_rate(&self) -> u32 {
        self.to
    }

    /// The maximum number of input samples that are held back before their output is returned.
    pub fn latency(&self) -> usize {
        match &self.filter {
            Filter::None => 0,
            Filter::Fft(f) => f.input_frames_next() + f.fft_size_in() / 2,
            Filter::Sinc(f) => f.input_frames_next() + sinc_length(self.from, self.to) / 2,
        }
    }

    /// Accepts `input` and appends to `out` the samples that can be computed so far.
    ///
    /// # Errors
    /// When rubato reports an error, which no input should cause.
    pub fn push(&mut self, input: &[f32], out: &mut Vec<f32>) -> Result<()> {
        self.num_input += input.len() as u64;
        if matches!(self.filter, Filter::None) {
            self.num_output += input.len() as u64;
            out.extend_from_slice(input);
            return Ok(());
        }
        self.filter_blocks(input, out)
    }

    /// Appends the remaining output, up to the time of the last input sample. [`reset`](Self::reset) must be called
    /// before the next `push`.
    ///
    /// # Errors
    /// As for [`push`](Self::push).
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Result<()> {
        let wanted = resampled_len(self.num_input, self.from, self.to);
        let silence = vec![0.0; self.block_in()];
        // Once the delay has passed, each block of silence produces output; the limit guards against a filter
        // that produces none.
        for _ in 0..64 {
            if self.num_output >= wanted {
                break;
            }
            self.filter_blocks(&silence, out)?;
        }
        if self.num_output < wanted {
            return Err(Error::new(Stage::Audio, "the resampler stopped before the end of its input"));
        }
        // The last block may reach past the end.
        let surplus = (self.num_output - wanted) as usize;
        out.truncate(out.len().saturating_sub(surplus));
        self.num_output = wanted;
        Ok(())
    }

    /// Resets all state: the next sample is the first of a new stream.
    pub fn reset(&mut self) {
        self.pending.clear();
        self.num_input = 0;
        self.num_output = 0;
        self.delay_left = match &mut self.filter {
            Filter::None => 0,
            Filter::Fft(f) => {
                f.reset();
                f.output_delay()
            }
            Filter::Sinc(f) => {
                f.reset();
                let (lead, delay) = sinc_delay(self.from, self.to);
                self.pending.resize(lead, 0.0);
                delay
            }
        };
    }

    fn block_in(&self) -> usize {
        match &self.filter {
            Filter::None => 1,
            Filter::Fft(f) => f.input_frames_next(),
            Filter::Sinc(f) => f.input_frames_next(),
        }
    }

    /// Filters whole blocks of the waiting samples and `input`; keeps the rest.
    fn filter_blocks(&mut self, input: &[f32], out: &mut Vec<f32>) -> Result<()> {
        self.pending.extend_from_slice(input);
        let mut pending = std::mem::take(&mut self.pending);
        let mut start = 0;
        let mut result = Ok(());
        while result.is_ok() && pending.len() - start >= self.block_in() {
            let block = &pending[start..start + self.block_in()];
            start += block.len();
            result = self.filter_block(block, out);
        }
        pending.drain(..start);
        self.pending = pending;
        result
    }

    fn filter_block(&mut self, block: &[f32], out: &mut Vec<f32>) -> Result<()> {
        let filter: &mut dyn rubato::Resampler<f32> = match &mut self.filter {
            Filter::None => return Ok(()),
            Filter::Fft(f) => f.as_mut(),
            Filter::Sinc(f) => f.as_mut(),
        };
        let capacity = filter.output_frames_next();
        self.block_out.resize(capacity, 0.0);
        let input = SequentialSlice::new(block, 1, block.len()).map_err(broken)?;
        let mut output = SequentialSlice::new_mut(&mut self.block_out[..], 1, capacity).map_err(broken)?;
        let (_, produced) = filter.process_into_buffer(&input, &mut output, None).map_err(broken)?;
        let skip = self.delay_left.min(produced);
        self.delay_left -= skip;
        self.num_output += (produced - skip) as u64;
        out.extend_from_slice(&self.block_out[skip..produced]);
        Ok(())
    }
}

/// The number of samples at `to` Hz that `n` samples at `from` Hz become: `round(n * to / from)`.
pub fn resampled_len(n: u64, from: u32, to: u32) -> u64 {
    let (n, from, to) = (u128::from(n), u128::from(from.max(1)), u128::from(to));
    u64::try_from((2 * n * to + from) / (2 * from)).unwrap_or(u64::MAX)
}

fn make_filter(from: u32, to: u32) -> Result<Filter> {
    if from == to {
        return Ok(Filter::None);
    }
    let common = gcd(from, to);
    // Input and output blocks of an even number of samples: half a block, the delay, is then a whole number.
    let unit = 2 * (from / common);
    let block = (from * BLOCK_MS / 1000).max(1).div_ceil(unit) * unit;
    if u64::from(block) * 1000 <= u64::from(from) * u64::from(MAX_BLOCK_MS) {
        let fft = hearken_fft::resampler(from as usize, to as usize, block as usize).map_err(broken)?;
        return Ok(Filter::Fft(Box::new(fft)));
    }
    let sinc_len = sinc_length(from, to);
    let window = WindowFunction::BlackmanHarris2;
    let parameters = SincInterpolationParameters {
        sinc_len,
        f_cutoff: Some(calculate_cutoff(SINC_LENGTH, window)),
        interpolation: SincInterpolationType::Cubic,
        oversampling_factor: 256,
        window,
    };
    let block = (from * BLOCK_MS / 1000).max(16) as usize;
    let ratio = f64::from(to) / f64::from(from);
    let sinc = hearken_fft::sinc_resampler(ratio, &parameters, block).map_err(broken)?;
    Ok(Filter::Sinc(Box::new(sinc)))
}

/// The sinc filter's length in input samples: it grows with the ratio when downsampling.
fn sinc_length(from: u32, to: u32) -> usize {
    SINC_LENGTH * from.div_ceil(to) as usize
}

/// The number of zeros to prepend to the input and the number of output samples to drop, so that the first sample
/// kept is at the time of the first input sample.
///
/// The interpolator's output `k` is at input time `(k + 1) * from / to - length / 2`; the zeros make that (nearly)
/// zero for an integer `k`.
fn sinc_delay(from: u32, to: u32) -> (usize, usize) {
    const MAX_ZEROS: usize = 2048;
    let half = sinc_length(from, to) / 2;
    let delay = |zeros: usize| (half + zeros) as f64 * f64::from(to) / f64::from(from);
    let error = |zeros: usize| (delay(zeros) - delay(zeros).round()).abs();
    let zeros = (0..MAX_ZEROS).min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(0);
    (zeros, (delay(zeros).round() as usize).saturating_sub(1))
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::new(Stage::Audio, format!("the resampler failed: {error}"))
}
