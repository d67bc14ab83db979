//! The streaming filterbank: assignment of samples to frames, and buffering.

use super::fbank::FrameComputer;
use super::options::{FbankOptions, Resolved};
use crate::error::Result;

/// Maximum number of samples buffered at a time, so that a long signal is not copied as a whole.
const RUN: usize = 16_384;

/// Samples below this magnitude are set to 0: their power would be subnormal or 0.
const MIN_MAGNITUDE: f32 = 1e-20;

/// Samples are clamped to this magnitude, so that no power can overflow.
const MAX_MAGNITUDE: f32 = 1e12;

/// Streaming log mel filterbank, compatible with Kaldi's.
///
/// [`push`](Self::push) accepts chunks of any size and returns frames as soon as their last sample is known;
/// [`finish`](Self::finish) returns the last ones. The frames are bit-identical for any division of the signal into
/// chunks (on one machine: the FFT chooses its code by the processor). They equal those of `kaldi-native-fbank` up
/// to rounding.
///
/// With frames of N samples and a shift of H, frame k begins at sample kH + H/2 - N/2 (halves rounded down). Indices
/// outside the signal are reflected at its edge, with the edge sample repeated. A signal of n samples has
/// (n + H/2) / H frames. With `snip_edges`, frame k begins at kH, and only frames inside the signal are returned:
/// 1 + (n - N) / H, or none.
///
/// NaN samples are replaced by 0 and all samples are clamped to ±1e12 after scaling, so that features are always
/// finite: an invalid sample affects only the frames that contain it.
///
/// Each stream needs its own `Fbank`. A clone copies the buffered samples too.
#[derive(Clone)]
pub struct Fbank {
    computer: FrameComputer,
    framing: Framing,
    sample_scale: f32,
    /// The samples still needed, scaled.
    buffer: Vec<f32>,
    /// Index of the first sample in `buffer`, from the start of the signal.
    buffer_start: u64,
    /// Index of the next frame, from the start of the signal.
    next_frame: u64,
    /// The samples of a frame at a reflected edge, which are not contiguous in `buffer`.
    frame_buffer: Vec<f32>,
}

/// Positions of frames, in samples.
#[derive(Clone, Copy, Debug)]
struct Framing {
    length: usize,
    shift: usize,
    snip_edges: bool,
}

impl Framing {
    /// Number of samples by which frame k begins before sample kH.
    fn lead(self) -> usize {
        // Not negative: the shift is at most the frame length.
        if self.snip_edges { 0 } else { self.length / 2 - self.shift / 2 }
    }

    /// Number of frames that are complete after `n` samples, if more samples may follow.
    fn complete_frames(self, n: u64) -> u64 {
        n.saturating_sub((self.length - self.lead() - self.shift) as u64) / self.shift as u64
    }

    /// Number of frames of a signal of `n` samples.
    fn all_frames(self, n: u64) -> u64 {
        if self.snip_edges {
            self.complete_frames(n)
        } else {
            (n + self.shift as u64 / 2) / self.shift as u64
        }
    }

    /// The first sample needed by frame `frame` and later ones. This includes reflection at the end of the signal,
    /// which for odd lengths uses one sample before the frame.
    fn first_needed(self, frame: u64) -> u64 {
        (frame * self.shift as u64).saturating_sub(self.lead() as u64 + 1)
    }
}

impl Fbank {
    /// Creates a filterbank for one stream.
    ///
    /// # Errors
    /// When an option is out of range, the window is unknown, or a mel filter contains no FFT bin.
    pub fn new(options: &FbankOptions) -> Result<Self> {
        let resolved = Resolved::new(options)?;
        let framing = Framing {
            length: resolved.frame_length,
            shift: resolved.frame_shift,
            snip_edges: options.snip_edges,
        };
        Ok(Self {
            computer: FrameComputer::new(options, &resolved)?,
            framing,
            sample_scale: options.sample_scale,
            buffer: Vec::with_capacity(RUN + 2 * framing.length),
            buffer_start: 0,
            next_frame: 0,
            frame_buffer: vec![0.0; framing.length],
        })
    }

    /// F, the number of features per frame.
    pub fn num_mel_bins(&self) -> usize {
        self.computer.num_mel_bins()
    }

    /// N, the number of samples per frame.
    pub fn frame_length_samples(&self) -> usize {
        self.framing.length
    }

    /// H, the number of samples from one frame to the next.
    pub fn frame_shift_samples(&self) -> usize {
        self.framing.shift
    }

    /// The delay in samples: frame k, which covers the samples from kH to (k + 1)H, is returned after this many more
    /// samples. After n samples, (n - delay) / H frames have been returned. 120 samples (7.5 ms) by default.
    pub fn delay_samples(&self) -> usize {
        self.framing.length - self.framing.lead() - self.framing.shift
    }

    /// Number of frames of a whole signal of `samples` samples.
    pub fn num_frames(&self, samples: u64) -> u64 {
        self.framing.all_frames(samples)
    }

    /// Accepts the next samples and appends the frames completed by them to `out`, `[T, F]` in row-major order.
    /// Returns T.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> usize {
        let before = self.next_frame;
        for run in samples.chunks(RUN) {
            let scale = self.sample_scale;
            self.buffer.extend(run.iter().map(|&x| sanitize(x * scale)));
            let end = self.framing.complete_frames(self.received());
            self.emit(end, out);
            self.drop_processed();
        }
        (self.next_frame - before) as usize
    }

    /// Ends the signal: appends its last frames to `out` (reflected at the end, unless `snip_edges`) and returns how
    /// many. The next [`push`](Self::push) begins a new signal.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> usize {
        let before = self.next_frame;
        self.emit(self.framing.all_frames(self.received()), out);
        let count = (self.next_frame - before) as usize;
        self.reset();
        count
    }

    /// Discards the signal; the next [`push`](Self::push) begins a new one.
    pub fn reset(&mut self) {
        self.buffer.clear();
        self.buffer_start = 0;
        self.next_frame = 0;
    }

    /// The features of a whole signal, `[T, F]` in row-major order. Discards samples pushed before, and resets
    /// afterwards.
    pub fn compute(&mut self, samples: &[f32]) -> Vec<f32> {
        self.reset();
        let mut out =
            Vec::with_capacity(self.num_frames(samples.len() as u64) as usize * self.num_mel_bins());
        self.push(samples, &mut out);
        self.finish(&mut out);
        out
    }

    /// Number of samples of this signal received so far.
    fn received(&self) -> u64 {
        self.buffer_start + self.buffer.len() as u64
    }

    /// Appends the frames up to index `end` (exclusive).
    fn emit(&mut self, end: u64, out: &mut Vec<f32>) {
        let bins = self.num_mel_bins();
        let filled = out.len();
        out.resize(filled + end.saturating_sub(self.next_frame) as usize * bins, 0.0);
        let mut features = &mut out[filled..];
        while self.next_frame < end {
            let (start, inside) = self.frames_in_a_row(end);
            let (now, later) = features.split_at_mut(inside.max(1) * bins);
            if inside > 0 {
                self.computer.compute(&self.buffer[start..], self.framing.shift, now);
            } else {
                self.gather();
                self.computer.compute(&self.frame_buffer, self.framing.shift, now);
            }
            self.next_frame += inside.max(1) as u64;
            features = later;
        }
    }

    /// The start of the next frame in `buffer`, and the number of frames up to index `end` that are completely in `buffer`
    /// from there; 0 frames if the next one needs reflection.
    fn frames_in_a_row(&self, end: u64) -> (usize, usize) {
        let Framing { length, shift, .. } = self.framing;
        let first =
            (self.next_frame * shift as u64).checked_sub(self.framing.lead() as u64 + self.buffer_start);
        let spare = first.and_then(|start| self.buffer.len().checked_sub(start as usize + length));
        match (first, spare) {
            (Some(start), Some(spare)) => {
                (start as usize, (spare / shift + 1).min((end - self.next_frame) as usize))
            }
            _ => (0, 0),
        }
    }

    /// Copies the samples of the next frame, at a reflected edge, into `frame_buffer`.
    fn gather(&mut self) {
        let received = self.received();
        let start = (self.next_frame * self.framing.shift as u64) as i64 - self.framing.lead() as i64;
        for (index, x) in (start..).zip(&mut self.frame_buffer) {
            *x = self.buffer[(mirror(index, received) - self.buffer_start) as usize];
        }
    }

    /// Drops the samples that no later frame needs.
    fn drop_processed(&mut self) {
        let needed = self.framing.first_needed(self.next_frame);
        let drop = needed.saturating_sub(self.buffer_start).min(self.buffer.len() as u64);
        self.buffer.drain(..drop as usize);
        self.buffer_start += drop;
    }
}

/// The sample at `index` of a signal of `n` > 0 samples that is reflected repeatedly at both ends, with the edge
/// samples repeated: -1 maps to 0, n to n - 1.
fn mirror(index: i64, n: u64) -> u64 {
    let folded = index.rem_euclid(2 * n as i64) as u64;
    if folded < n { folded } else { 2 * n - 1 - folded }
}

/// Replaces NaN and tiny values by 0, and clamps large ones.
#[inline(always)]
fn sanitize(x: f32) -> f32 {
    let x = x.clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE);
    // False for NaN too.
    if x.abs() >= MIN_MAGNITUDE { x } else { 0.0 }
}
