//! The settings of the feature front end; they travel inside the model file.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Stage};

/// Kaldi's filterbank as sherpa-onnx and icefall set it. Field names are Kaldi's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FbankOptions {
    /// Hz.
    pub sample_rate: u32,
    pub frame_length_ms: f32,
    pub frame_shift_ms: f32,
    /// Pre-emphasis, per frame.
    pub preemphasis: f32,
    pub remove_dc_offset: bool,
    /// `povey`, `hanning` (symmetric, Kaldi's), `hann` (periodic, PyTorch's), `hamming` or
    /// `rectangular`.
    pub window: String,
    /// Only whole frames when true; mirrored edges when false.
    pub snip_edges: bool,
    pub num_mel_bins: usize,
    /// Hz.
    pub low_freq: f32,
    /// Hz; at or below 0 it counts down from the Nyquist frequency.
    pub high_freq: f32,
    /// The log is taken of no less than this.
    pub energy_floor: f32,
    /// Samples in -1..1 are multiplied by this first (1, or 32768 for models of the WeNet kind).
    pub sample_scale: f32,
}

impl Default for FbankOptions {
    fn default() -> Self {
        Self {
            sample_rate: crate::units::SAMPLE_RATE,
            frame_length_ms: 25.0,
            frame_shift_ms: 10.0,
            preemphasis: 0.97,
            remove_dc_offset: true,
            window: "povey".into(),
            snip_edges: false,
            num_mel_bins: 80,
            low_freq: 20.0,
            high_freq: -400.0,
            energy_floor: f32::EPSILON,
            sample_scale: 1.0,
        }
    }
}

/// Options come from model files too: frames beyond this are refused.
const MAX_FRAME_LENGTH: usize = 1 << 16;
const MAX_MEL_BINS: usize = 1 << 10;

/// The options checked, and turned into what is computed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolved {
    /// Samples, rounded down.
    pub(crate) frame_length: usize,
    /// Samples, rounded down; no more than `frame_length`.
    pub(crate) frame_shift: usize,
    /// Hz, above `low_freq` and at most the Nyquist frequency.
    pub(crate) high_freq: f32,
}

impl Resolved {
    /// # Errors
    /// The first option that is out of range, by name.
    pub(crate) fn new(options: &FbankOptions) -> Result<Self> {
        if options.sample_rate == 0 {
            return Err(refuse("sample_rate", "at least 1 Hz", options.sample_rate));
        }
        let frame_length = samples("frame_length_ms", options.frame_length_ms, options.sample_rate, 2)?;
        let frame_shift = samples("frame_shift_ms", options.frame_shift_ms, options.sample_rate, 1)?;
        if frame_shift > frame_length {
            let found = options.frame_shift_ms;
            return Err(refuse("frame_shift_ms", "no more than frame_length_ms", found)
                .hint("a shift longer than a frame leaves samples out"));
        }
        if !(0.0..=1.0).contains(&options.preemphasis) {
            return Err(refuse("preemphasis", "0 to 1", options.preemphasis));
        }
        if !(1..=MAX_MEL_BINS).contains(&options.num_mel_bins) {
            return Err(refuse("num_mel_bins", &format!("1 to {MAX_MEL_BINS}"), options.num_mel_bins));
        }
        let high_freq = band(options)?;
        let positive = f32::MIN_POSITIVE..=1e12;
        if !positive.contains(&options.energy_floor) {
            return Err(refuse("energy_floor", "a number above 0", options.energy_floor)
                .hint("Kaldi's is 1.1920929e-7"));
        }
        if !positive.contains(&options.sample_scale) {
            return Err(refuse("sample_scale", "a number above 0", options.sample_scale)
                .hint("1 for samples in -1 to 1, 32768 for models trained on 16-bit values"));
        }
        Ok(Self { frame_length, frame_shift, high_freq })
    }
}

fn refuse(option: &str, expected: &str, found: impl std::fmt::Display) -> Error {
    Error::new(Stage::Features, format!("{option}: expected {expected}, found {found}"))
}

/// Milliseconds as samples. In single precision and this order, as Kaldi computes it, so that rates
/// such as 11025 Hz round as they do there.
fn samples(option: &str, ms: f32, sample_rate: u32, least: usize) -> Result<usize> {
    let exact = sample_rate as f32 * 0.001 * ms;
    if !(exact >= least as f32 && exact <= MAX_FRAME_LENGTH as f32) {
        let expected = format!("{least} to {MAX_FRAME_LENGTH} samples at {sample_rate} Hz");
        return Err(refuse(option, &expected, format_args!("{ms} ms")));
    }
    Ok(exact as usize)
}

/// Checks the band and returns its upper end, Hz.
fn band(options: &FbankOptions) -> Result<f32> {
    let nyquist = 0.5 * options.sample_rate as f32;
    if !(options.low_freq >= 0.0 && options.low_freq < nyquist) {
        let expected = format!("0 to below {nyquist} Hz, half of the sample rate");
        return Err(refuse("low_freq", &expected, options.low_freq));
    }
    let high_freq = if options.high_freq > 0.0 { options.high_freq } else { nyquist + options.high_freq };
    if !(high_freq > options.low_freq && high_freq <= nyquist) {
        let expected = format!(
            "above low_freq ({}) and at most {nyquist} Hz, half of the sample rate",
            options.low_freq
        );
        return Err(refuse("high_freq", &expected, options.high_freq)
            .hint("at or below 0 it counts down from half of the sample rate"));
    }
    Ok(high_freq)
}
