//! The input of `hearken verify`: a recording or a synthetic sound, as four streams.

use std::path::Path;

use super::subject::Subject;
use crate::audio;
use crate::error::{Error, Result, Stage};
use crate::features::{self, FbankOptions};

/// Maximum length of a recording that is processed, seconds.
const MAX_SECONDS: u32 = 60;

/// Reads the first minute of a recording at `rate` Hz.
///
/// # Errors
/// When it cannot be read, or is shorter than 0.1 s.
pub(super) fn read_audio(path: &Path, rate: u32) -> Result<Vec<f32>> {
    let mut source = audio::open(path, rate)?;
    let mut samples = Vec::new();
    let most = rate as usize * MAX_SECONDS as usize;
    loop {
        let left = most - samples.len().min(most);
        if left == 0 || source.read(&mut samples, left)? == 0 {
            break;
        }
    }
    if samples.len() < rate as usize / 10 {
        return Err(Error::new(Stage::Audio, "expected at least 0.1 s of audio").in_file(path));
    }
    Ok(samples)
}

/// Generates four seconds of rising tones with changing level and a little noise, at `rate` Hz.
pub(super) fn synthetic_signal(rate: u32) -> Vec<f32> {
    let mut noise = 1u32;
    let sample = |i: u32| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let t = f64::from(i) / f64::from(rate);
        let loud = 0.5 - 0.5 * (std::f64::consts::TAU * 3.0 * t).cos();
        let tones = [130.0, 260.0, 520.0, 1900.0, 3100.0];
        let tone: f64 = tones.iter().map(|f| (std::f64::consts::TAU * f * t * (1.0 + 0.05 * t)).sin()).sum();
        (0.06 * tone * loud + 0.004 * (f64::from(noise >> 16) / 32_768.0 - 1.0)) as f32
    };
    (0..4 * rate).map(sample).collect()
}

/// Makes four streams of different lengths: the recording, and three parts of it; as features, or as samples for a
/// graph that computes the features.
pub(super) fn streams(subject: &Subject, features: &FbankOptions, samples: &[f32]) -> Result<Vec<Vec<f32>>> {
    let n = samples.len();
    let parts = [samples, &samples[..n * 3 / 4], &samples[n / 3..], &samples[n / 4..n * 2 / 3]];
    let spec = subject.runners.runners.first().map(|r| r.engine().spec());
    let num_features = spec.map_or(features.num_mel_bins, |s| s.num_features);
    if subject.runners.takes_samples {
        let more = subject.delay_steps() * spec.map_or(0, |s| s.shift);
        let with_end = |part: &[f32]| [part, &vec![0.0; more]].concat();
        return Ok(parts.iter().map(|part| with_end(part)).collect());
    }
    let options = FbankOptions { num_mel_bins: num_features, ..features.clone() };
    parts.iter().map(|part| features::compute(part, &options)).collect()
}
