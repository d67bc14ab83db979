//! Conversions between samples and seconds, and formatting of numbers. Times are counted in samples and converted
//! to seconds last, so that rounding errors do not accumulate.

/// The sample rate of the audio that every model expects, Hz.
pub const SAMPLE_RATE: u32 = 16_000;

/// Converts samples at `sample_rate` Hz to seconds.
pub fn samples_to_seconds(samples: u64, sample_rate: u32) -> f64 {
    samples as f64 / f64::from(sample_rate)
}

/// Converts seconds to samples at `sample_rate` Hz, rounded to the nearest; negative values become 0.
pub fn seconds_to_samples(seconds: f64, sample_rate: u32) -> u64 {
    (seconds * f64::from(sample_rate)).round().max(0.0) as u64
}

/// Converts milliseconds to samples at `sample_rate` Hz, rounded down.
pub fn ms_to_samples(ms: u32, sample_rate: u32) -> usize {
    (u64::from(ms) * u64::from(sample_rate) / 1000) as usize
}

/// Rounds to three decimals, the precision of numbers in results (milliseconds for times in seconds).
pub fn thousandths(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

/// A count with its noun: `1 layer`, `3 layers`.
pub fn counted(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}
