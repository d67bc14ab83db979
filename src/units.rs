//! Sample rates, frames and seconds: the conversions, in one place. Times are counted in
//! samples and turned into seconds last, so that they never drift.

/// The rate of every model's audio, Hz.
pub const SAMPLE_RATE: u32 = 16_000;

/// Samples at `sample_rate` Hz as seconds.
pub fn samples_to_seconds(samples: u64, sample_rate: u32) -> f64 {
    samples as f64 / f64::from(sample_rate)
}

/// Seconds as samples at `sample_rate` Hz, rounded to the nearest.
pub fn seconds_to_samples(seconds: f64, sample_rate: u32) -> u64 {
    (seconds * f64::from(sample_rate)).round().max(0.0) as u64
}

/// Milliseconds as samples at `sample_rate` Hz, rounded down.
pub fn ms_to_samples(ms: u32, sample_rate: u32) -> usize {
    (u64::from(ms) * u64::from(sample_rate) / 1000) as usize
}

/// A number as it is written in results: to three decimals, which is milliseconds of a time.
pub fn thousandths(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

/// A number of things: `1 layer`, `3 layers`.
pub fn counted(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}
