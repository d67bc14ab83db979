//! The streaming front end: which samples belong to which frame, and what must be kept.

use super::fbank::FrameComputer;
use super::options::{FbankOptions, Resolved};
use crate::error::Result;

/// Samples are taken in runs of at most this many, so that a long signal needs no second copy.
const RUN: usize = 16_384;

/// Below this a sample counts as 0: its power would be subnormal, or nothing.
const TINY: f32 = 1e-20;

/// Samples are held within this, so that no power can overflow.
const HUGE: f32 = 1e12;

/// Kaldi's log mel filterbank, streaming.
///
/// Samples go in by [`push`](Self::push) in chunks of any size, frames come out as soon as their last
/// sample is there; [`finish`](Self::finish) gives the last ones. The frames are the same, bit by bit,
/// for every way of cutting the signal into chunks (on one machine: the FFT picks its code by the
/// processor). Equal to `kaldi-native-fbank` within the rounding of either.
///
/// With N samples in a frame and a shift of H, frame k begins at sample kH + H/2 - N/2 (halves rounded
/// down) and an index outside the signal is mirrored at its edge, the edge sample being repeated; a
/// signal of n samples has (n + H/2) / H frames. With `snip_edges` frame k begins at kH, and only
/// frames that lie inside the signal count: 1 + (n - N) / H, or none.
///
/// Samples that are not numbers count as 0, and all are held within ±1e12 after scaling, so that
/// features are always finite: a broken sample touches the frames that contain it and no other.
///
/// Streams are independent: one `Fbank` each, `clone` makes another (with the state it is in).
#[derive(Clone)]
pub struct Fbank {
    computer: FrameComputer,
    framing: Framing,
    sample_scale: f32,
    /// The samples still needed, scaled.
    kept: Vec<f32>,
    /// The absolute number of the first sample in `kept`.
    kept_start: u64,
    /// The absolute number of the next frame.
    next_frame: u64,
    /// A frame whose samples do not lie in a row (at the mirrored edges).
    gathered: Vec<f32>,
}

/// Where frames lie, in samples.
#[derive(Clone, Copy, Debug)]
struct Framing {
    length: usize,
    shift: usize,
    snip_edges: bool,
}

impl Framing {
    /// How far before sample kH frame k begins.
    fn lead(self) -> usize {
        // Not negative: a shift is no longer than a frame.
        if self.snip_edges { 0 } else { self.length / 2 - self.shift / 2 }
    }

    /// How many frames are complete after `n` samples, while more may come.
    fn complete_frames(self, n: u64) -> u64 {
        n.saturating_sub((self.length - self.lead() - self.shift) as u64) / self.shift as u64
    }

    /// How many frames a signal of `n` samples has.
    fn all_frames(self, n: u64) -> u64 {
        if self.snip_edges {
            self.complete_frames(n)
        } else {
            (n + self.shift as u64 / 2) / self.shift as u64
        }
    }

    /// The first sample that frames from `frame` on need, mirroring at the end of the signal included
    /// (which, for odd lengths, reaches one sample before the frame).
    fn first_needed(self, frame: u64) -> u64 {
        (frame * self.shift as u64).saturating_sub(self.lead() as u64 + 1)
    }
}

impl Fbank {
    /// # Errors
    /// Options out of range, an unknown window, a mel filter without an FFT bin.
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
            kept: Vec::with_capacity(RUN + 2 * framing.length),
            kept_start: 0,
            next_frame: 0,
            gathered: vec![0.0; framing.length],
        })
    }

    /// F, the number of features in a frame.
    pub fn num_mel_bins(&self) -> usize {
        self.computer.num_mel_bins()
    }

    /// Samples in a frame, N.
    pub fn frame_length_samples(&self) -> usize {
        self.framing.length
    }

    /// Samples from one frame to the next, H.
    pub fn frame_shift_samples(&self) -> usize {
        self.framing.shift
    }

    /// The delay, in samples: frame k stands for the samples from kH to (k + 1)H and is out once this
    /// many more have come. After n samples, (n - delay) / H frames are out. 120 samples, 7.5 ms, by
    /// default.
    pub fn delay_samples(&self) -> usize {
        self.framing.length - self.framing.lead() - self.framing.shift
    }

    /// How many frames a whole signal of `samples` samples has.
    pub fn num_frames(&self, samples: u64) -> u64 {
        self.framing.all_frames(samples)
    }

    /// Takes the next samples and appends the frames completed by them to `out`, `[T, F]` row by row.
    /// Returns T.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) -> usize {
        let before = self.next_frame;
        for run in samples.chunks(RUN) {
            let scale = self.sample_scale;
            self.kept.extend(run.iter().map(|&x| tame(x * scale)));
            let end = self.framing.complete_frames(self.received());
            self.emit(end, out);
            self.forget();
        }
        (self.next_frame - before) as usize
    }

    /// Ends the signal: appends its last frames to `out` (mirrored at the end, unless `snip_edges`),
    /// and returns how many. The next [`push`](Self::push) begins a new signal.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> usize {
        let before = self.next_frame;
        self.emit(self.framing.all_frames(self.received()), out);
        let count = (self.next_frame - before) as usize;
        self.reset();
        count
    }

    /// Forgets the signal; the next [`push`](Self::push) begins a new one.
    pub fn reset(&mut self) {
        self.kept.clear();
        self.kept_start = 0;
        self.next_frame = 0;
    }

    /// The features of a whole signal, `[T, F]` row by row. What was pushed before is forgotten, and
    /// nothing is left behind.
    pub fn compute(&mut self, samples: &[f32]) -> Vec<f32> {
        self.reset();
        let mut out =
            Vec::with_capacity(self.num_frames(samples.len() as u64) as usize * self.num_mel_bins());
        self.push(samples, &mut out);
        self.finish(&mut out);
        out
    }

    /// How many samples of this signal have come.
    fn received(&self) -> u64 {
        self.kept_start + self.kept.len() as u64
    }

    /// Appends the frames up to number `end` (exclusive).
    fn emit(&mut self, end: u64, out: &mut Vec<f32>) {
        let bins = self.num_mel_bins();
        let filled = out.len();
        out.resize(filled + end.saturating_sub(self.next_frame) as usize * bins, 0.0);
        let mut features = &mut out[filled..];
        while self.next_frame < end {
            let (start, inside) = self.frames_in_a_row(end);
            let (now, later) = features.split_at_mut(inside.max(1) * bins);
            if inside > 0 {
                self.computer.compute(&self.kept[start..], self.framing.shift, now);
            } else {
                self.gather();
                self.computer.compute(&self.gathered, self.framing.shift, now);
            }
            self.next_frame += inside.max(1) as u64;
            features = later;
        }
    }

    /// Where in `kept` the next frame begins and how many frames, up to number `end`, lie in `kept`
    /// from there on. None if the next frame needs mirroring.
    fn frames_in_a_row(&self, end: u64) -> (usize, usize) {
        let Framing { length, shift, .. } = self.framing;
        let first =
            (self.next_frame * shift as u64).checked_sub(self.framing.lead() as u64 + self.kept_start);
        let room = first.and_then(|start| self.kept.len().checked_sub(start as usize + length));
        match (first, room) {
            (Some(start), Some(room)) => {
                (start as usize, (room / shift + 1).min((end - self.next_frame) as usize))
            }
            _ => (0, 0),
        }
    }

    /// Puts together the next frame at a mirrored edge.
    fn gather(&mut self) {
        let received = self.received();
        let start = (self.next_frame * self.framing.shift as u64) as i64 - self.framing.lead() as i64;
        for (index, x) in (start..).zip(&mut self.gathered) {
            *x = self.kept[(mirror(index, received) - self.kept_start) as usize];
        }
    }

    /// Drops the samples that no later frame needs.
    fn forget(&mut self) {
        let needed = self.framing.first_needed(self.next_frame);
        let drop = needed.saturating_sub(self.kept_start).min(self.kept.len() as u64);
        self.kept.drain(..drop as usize);
        self.kept_start += drop;
    }
}

/// The sample that stands at `index` when a signal of `n` > 0 samples is mirrored at both ends, again
/// and again, its edge samples repeated: -1 is 0, n is n - 1.
fn mirror(index: i64, n: u64) -> u64 {
    let folded = index.rem_euclid(2 * n as i64) as u64;
    if folded < n { folded } else { 2 * n - 1 - folded }
}

/// A sample fit for arithmetic: a number, not huge, and 0 if tiny.
#[inline(always)]
fn tame(x: f32) -> f32 {
    let x = x.clamp(-HUGE, HUGE);
    // False for what is not a number, too.
    if x.abs() >= TINY { x } else { 0.0 }
}
