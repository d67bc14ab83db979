//! The limits on what clients may take, and on how fast new ones may come.

use std::time::{Duration, Instant};

/// The limits; the defaults are safe on a small machine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time, of all kinds.
    pub connections: usize,
    /// Streams at a time, uploads included.
    pub streams: usize,
    /// Streams at a time that may be traced.
    pub traces: usize,
    /// Bytes of a websocket message.
    pub message_bytes: usize,
    /// Recordings that are transcribed at a time. As many times `upload_bytes` is the memory for them.
    pub uploads: usize,
    /// Bytes of an uploaded recording.
    pub upload_bytes: usize,
    /// Seconds of audio that an uploaded recording may decode to.
    pub upload_seconds: f64,
    /// How long a client may send nothing.
    pub idle: Duration,
    /// How long a connection may last.
    pub total: Duration,
    /// How long a client may read nothing while something is sent to it.
    pub write: Duration,
    /// How long the TLS handshake and the head of a request may take.
    pub handshake: Duration,
    /// Seconds of a client's audio that may wait for the recognizer; beyond it its socket is not read.
    pub buffered_seconds: f64,
    /// New connections a second, on average; twice as many may come at once.
    pub connections_per_second: f64,
    /// How long streams have to end when the server shuts down.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            streams: 256,
            traces: 8,
            message_bytes: 1 << 20,
            uploads: 16,
            upload_bytes: 25 << 20,
            upload_seconds: 4.0 * 3600.0,
            idle: Duration::from_secs(60),
            total: Duration::from_secs(4 * 3600),
            write: Duration::from_secs(20),
            handshake: Duration::from_secs(10),
            buffered_seconds: 5.0,
            connections_per_second: 50.0,
            drain: Duration::from_secs(10),
        }
    }
}

/// A token bucket: lets `rate` a second through on average, twice that at once.
#[derive(Clone, Debug)]
pub struct RateLimit {
    rate: f64,
    tokens: f64,
    at: Option<Instant>,
}

impl RateLimit {
    /// A full bucket.
    pub fn new(rate: f64) -> Self {
        Self { rate, tokens: Self::max(rate), at: None }
    }

    fn max(rate: f64) -> f64 {
        (2.0 * rate).max(1.0)
    }

    /// Whether one more is let through at `now`.
    pub fn admit(&mut self, now: Instant) -> bool {
        let since = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(now);
        self.tokens = (self.tokens + since * self.rate).min(Self::max(self.rate));
        let admitted = self.tokens >= 1.0;
        if admitted {
            self.tokens -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_empties_and_fills() {
        let start = Instant::now();
        let mut limit = RateLimit::new(10.0);
        assert_eq!((0..100).filter(|_| limit.admit(start)).count(), 20);
        assert_eq!((0..100).filter(|_| limit.admit(start + Duration::from_millis(500))).count(), 5);
        assert_eq!((0..100).filter(|_| limit.admit(start + Duration::from_secs(60))).count(), 20);
    }
}
