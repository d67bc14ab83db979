//! The settings of the feature front end; they travel inside the model file.

use serde::{Deserialize, Serialize};

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
    /// `povey`, `hann`, `hamming` or `rectangular`.
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
