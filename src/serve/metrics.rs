//! The server's metrics in the Prometheus text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the lag histogram, seconds.
const BOUNDS: [f64; 14] = [0.002, 0.005, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0];

/// All counters and gauges of a server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Number of open connections.
    pub connections: AtomicI64,
    /// Number of open streams.
    pub streams: AtomicI64,
    /// Number of streams opened since the start.
    pub streams_total: AtomicU64,
    /// Number of uploaded recordings transcribed since the start.
    pub transcriptions_total: AtomicU64,
    audio_us: AtomicU64,
    compute_us: AtomicU64,
    /// Number of calls of the network.
    pub batches_total: AtomicU64,
    /// Sum of the numbers of streams in those calls.
    pub batched_total: AtomicU64,
    lag: [AtomicU64; BOUNDS.len() + 1],
    lag_us: AtomicU64,
    /// Streams opened, by protocol ([`PROTOCOLS`]).
    pub protocols: Named<6>,
    /// Clients refused, by reason ([`REFUSED`]).
    pub refused: Named<7>,
    /// Connections closed early by the server, by reason ([`CLOSED`]).
    pub closed: Named<7>,
}

/// The names of [`Metrics::protocols`].
pub const PROTOCOLS: [&str; 6] = ["hearken", "vosk", "sherpa", "realtime", "wyoming", "http"];
/// The reasons of [`Metrics::refused`].
pub const REFUSED: [&str; 7] = ["connections", "rate", "streams", "word_lists", "uploads", "token", "origin"];
/// The reasons of [`Metrics::closed`].
pub const CLOSED: [&str; 7] = ["idle", "total", "slow_reader", "too_big", "invalid", "failed", "shutdown"];

/// A family of counters, one for each name.
#[derive(Debug)]
pub struct Named<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Named<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Metrics {
    /// Counts a refused client; `reason` is one of [`REFUSED`].
    pub fn refuse(&self, reason: &str) {
        count(&REFUSED, &self.refused, reason);
    }

    /// Counts a new stream; `protocol` is one of [`PROTOCOLS`].
    pub fn begin(&self, protocol: &str) {
        self.streams_total.fetch_add(1, Relaxed);
        count(&PROTOCOLS, &self.protocols, protocol);
    }

    /// Counts a connection closed by the server; `reason` is one of [`CLOSED`].
    pub fn close(&self, reason: &str) {
        count(&CLOSED, &self.closed, reason);
    }

    /// Adds processed audio, seconds, and the computing time for it.
    pub fn add_processed(&self, audio_seconds: f64, compute: Duration) {
        self.audio_us.fetch_add((audio_seconds * 1e6) as u64, Relaxed);
        self.compute_us.fetch_add(compute.as_micros() as u64, Relaxed);
    }

    /// Adds a lag: the time from when audio was put into its stream's queue until all of it was processed.
    pub fn lag(&self, lag: Duration) {
        let seconds = lag.as_secs_f64();
        let bucket = BOUNDS.iter().position(|&b| seconds <= b).unwrap_or(BOUNDS.len());
        self.lag[bucket].fetch_add(1, Relaxed);
        self.lag_us.fetch_add(lag.as_micros() as u64, Relaxed);
    }

    /// The quantile `q` (0 to 1) of all lags, seconds, by linear interpolation in the histogram; 0 if there
    /// are none.
    pub fn lag_quantile(&self, q: f64) -> f64 {
        let counts: Vec<u64> = self.lag.iter().map(|c| c.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let wanted = q * total as f64;
        let mut below = 0.0;
        for (i, &n) in counts.iter().enumerate() {
            let n = n as f64;
            if n > 0.0 && below + n >= wanted {
                let low = if i == 0 { 0.0 } else { BOUNDS[i - 1] };
                let high = BOUNDS.get(i).copied().unwrap_or(low);
                return low + (high - low) * (wanted - below) / n;
            }
            below += n;
        }
        0.0
    }

    /// Returns all metrics in the Prometheus text format, version 0.0.4.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(4096);
        let load = |c: &AtomicU64| c.load(Relaxed) as f64;
        let audio = load(&self.audio_us) / 1e6;
        let compute = load(&self.compute_us) / 1e6;
        let rtf = if audio > 0.0 { compute / audio } else { 0.0 };
        let resident = resident_bytes().unwrap_or(0.0);
        for (name, kind, help, value) in [
            ("connections", "gauge", "Open connections.", self.connections.load(Relaxed) as f64),
            ("streams", "gauge", "Open streams.", self.streams.load(Relaxed) as f64),
            ("streams_total", "counter", "Streams opened.", load(&self.streams_total)),
            ("transcriptions_total", "counter", "Recordings transcribed.", load(&self.transcriptions_total)),
            ("audio_seconds_total", "counter", "Audio processed.", audio),
            ("compute_seconds_total", "counter", "Time of the recognizer's threads for it.", compute),
            ("real_time_factor", "gauge", "Computing time divided by the length of the audio.", rtf),
            ("batches_total", "counter", "Calls of the network.", load(&self.batches_total)),
            (
                "batched_streams_total",
                "counter",
                "Sum of the streams in those calls.",
                load(&self.batched_total),
            ),
            ("resident_bytes", "gauge", "Resident memory of the process.", resident),
        ] {
            head(&mut out, name, kind, help);
            line(&mut out, name, "", value);
        }
        self.lag_text(&mut out);
        for (name, help, label, names, counters) in [
            (
                "protocol_streams_total",
                "Streams opened, by protocol.",
                "protocol",
                &PROTOCOLS[..],
                &self.protocols.0[..],
            ),
            ("refused_total", "Clients refused.", "reason", &REFUSED[..], &self.refused.0[..]),
            (
                "closed_total",
                "Connections that the server closed early.",
                "reason",
                &CLOSED[..],
                &self.closed.0[..],
            ),
        ] {
            head(&mut out, name, "counter", help);
            for (value, counter) in names.iter().zip(counters) {
                line(&mut out, name, &format!("{{{label}=\"{value}\"}}"), load(counter));
            }
        }
        out
    }

    fn lag_text(&self, out: &mut String) {
        head(out, "lag_seconds", "histogram", "Time from when audio was queued until it was processed.");
        let mut total = 0;
        for (i, counter) in self.lag.iter().enumerate() {
            total += counter.load(Relaxed);
            let bound = BOUNDS.get(i).map_or("+Inf".into(), f64::to_string);
            line(out, "lag_seconds_bucket", &format!("{{le=\"{bound}\"}}"), total as f64);
        }
        line(out, "lag_seconds_sum", "", self.lag_us.load(Relaxed) as f64 / 1e6);
        line(out, "lag_seconds_count", "", total as f64);
        head(out, "lag_quantile_seconds", "gauge", "Quantiles of the lag since the start.");
        for q in [0.5, 0.95, 0.99] {
            let label = format!("{{quantile=\"{q}\"}}");
            line(out, "lag_quantile_seconds", &label, self.lag_quantile(q));
        }
    }
}

fn count<const N: usize>(names: &[&str; N], counters: &Named<N>, reason: &str) {
    if let Some(i) = names.iter().position(|n| *n == reason) {
        counters.0[i].fetch_add(1, Relaxed);
    }
}

// Writing into a string does not fail.
fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP hearken_{name} {help}\n# TYPE hearken_{name} {kind}");
}

fn line(out: &mut String, name: &str, labels: &str, value: f64) {
    let _ = writeln!(out, "hearken_{name}{labels} {value}");
}

/// Resident memory of the process, bytes; `None` on systems other than Linux.
fn resident_bytes() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096.0)
}

/// Increments a gauge, and decrements it when it is dropped.
#[derive(Debug)]
pub struct Gauge {
    metrics: std::sync::Arc<Metrics>,
    which: fn(&Metrics) -> &AtomicI64,
}

impl Gauge {
    /// Increments the gauge that `which` selects.
    pub fn up(metrics: &std::sync::Arc<Metrics>, which: fn(&Metrics) -> &AtomicI64) -> Self {
        which(metrics).fetch_add(1, Relaxed);
        Self { metrics: std::sync::Arc::clone(metrics), which }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        (self.which)(&self.metrics).fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_read_off_the_histogram() {
        let metrics = Metrics::default();
        assert_eq!(metrics.lag_quantile(0.99), 0.0);
        for _ in 0..99 {
            metrics.lag(Duration::from_millis(15));
        }
        metrics.lag(Duration::from_millis(400));
        assert!((0.01..=0.02).contains(&metrics.lag_quantile(0.5)));
        assert!((0.3..=0.5).contains(&metrics.lag_quantile(0.995)));
    }

    #[test]
    fn the_text_has_every_counter_once() {
        let metrics = Metrics::default();
        metrics.refuse("token");
        metrics.add_processed(2.0, Duration::from_millis(100));
        let text = metrics.text();
        assert!(text.contains("hearken_refused_total{reason=\"token\"} 1\n"), "{text}");
        assert!(text.contains("hearken_real_time_factor 0.05\n"), "{text}");
        let mut names: Vec<&str> = text
            .lines()
            .filter_map(|l| l.strip_prefix("# TYPE "))
            .map(|l| l.split(' ').next().unwrap_or(""))
            .collect();
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n);
    }
}
