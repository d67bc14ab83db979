//! Options of the filterbank; they are stored in the model file.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Stage};

/// Options of [`Fbank`](super::Fbank). Names are Kaldi's; defaults are those of sherpa-onnx and icefall.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FbankOptions {
    /// Sample rate, Hz.
    pub sample_rate: u32,
    /// Frame length, milliseconds.
    pub frame_length_ms: f32,
    /// Distance between the starts of frames, milliseconds.
    pub frame_shift_ms: f32,
    /// Pre-emphasis coefficient, 0 to 1, applied within each frame.
    pub preemphasis: f32,
    /// Whether the mean of each frame is subtracted.
    pub remove_dc_offset: bool,
    /// Analysis window: `povey`, `hanning` (symmetric, Kaldi's), `hann` (periodic, PyTorch's), `hamming` or
    /// `rectangular`.
    pub window: String,
    /// If true, only frames inside the signal; if false, the signal is reflected at its edges.
    pub snip_edges: bool,
    /// F, the number of mel filters and features per frame.
    pub num_mel_bins: usize,
    /// Lower edge of the filters, Hz.
    pub low_freq: f32,
    /// Upper edge of the filters, Hz; a value of 0 or below is added to the Nyquist frequency.
    pub high_freq: f32,
    /// Floor of the energies before the logarithm.
    pub energy_floor: f32,
    /// Factor for samples in -1..1 (1, or 32768 for models trained on 16-bit values, such as WeNet's).
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

/// Maximum frame length in samples. Options are read from untrusted model files too.
const MAX_FRAME_LENGTH: usize = 1 << 16;
const MAX_MEL_BINS: usize = 1 << 10;

/// Validated options, in the units of the computation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolved {
    /// N in samples, rounded down.
    pub(crate) frame_length: usize,
    /// H in samples, rounded down; at most `frame_length`.
    pub(crate) frame_shift: usize,
    /// Upper edge of the filters, Hz: above `low_freq` and at most the Nyquist frequency.
    pub(crate) high_freq: f32,
}

impl Resolved {
    /// Validates the options.
    ///
    /// # Errors
    /// Names the first option that is out of range.
    pub(crate) fn new(options: &FbankOptions) -> Result<Self> {
        if options.sample_rate == 0 {
            return Err(refuse("sample_rate", "at min 1 Hz", options.sample_rate));
        }
        let frame_length = samples("frame_length_ms", options.frame_length_ms, options.sample_rate, 2)?;
        let frame_shift = samples("frame_shift_ms", options.frame_shift_ms, options.sample_rate, 1)?;
        if frame_shift > frame_length {
            let found = options.frame_shift_ms;
            return Err(refuse("frame_shift_ms", "no more than frame_length_ms", found)
                .hint("with a shift longer than a frame, some samples would be in no frame"));
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

/// Converts milliseconds to samples, in single precision and the same order of operations as Kaldi, so that rates
/// such as 11025 Hz are rounded in the same way.
fn samples(option: &str, ms: f32, sample_rate: u32, min: usize) -> Result<usize> {
    let exact = sample_rate as f32 * 0.001 * ms;
    if !(exact >= min as f32 && exact <= MAX_FRAME_LENGTH as f32) {
        let expected = format!("{min} to {MAX_FRAME_LENGTH} samples at {sample_rate} Hz");
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
            .hint("a value of 0 or below is added to half of the sample rate"));
    }
    Ok(high_freq)
}
