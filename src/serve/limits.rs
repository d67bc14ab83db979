//! What a client may take, and how fast new ones may come.

use std::time::{Duration, Instant};

/// The limits, each with a default that is safe on a small machine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time, of all kinds.
    pub connections: usize,
    /// Streams (and uploads) that are heard at a time.
    pub streams: usize,
    /// Streams at a time that may ask to see the network at work.
    pub traces: usize,
    /// Bytes of a websocket message.
    pub message_bytes: usize,
    /// Uploads at a time: each is in memory whole.
    pub uploads: usize,
    /// Bytes of an uploaded recording.
    pub upload_bytes: usize,
    /// A client that sends nothing for so long is closed.
    pub idle: Duration,
    /// No connection lasts longer.
    pub total: Duration,
    /// A client that takes nothing for so long, while it is sent something, is cut off.
    pub write: Duration,
    /// For the TLS handshake and the head of a request.
    pub handshake: Duration,
    /// Seconds of audio that wait for the recogniser, per client; then its socket is not read.
    pub buffered_seconds: f64,
    /// New connections a second, in the mean; twice as many may come at once.
    pub connections_per_second: f64,
    /// How long streams get to end when the server ends.
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

/// A token bucket: lets `rate` through a second in the mean, twice that at once.
#[derive(Clone, Debug)]
pub struct RateLimit {
    rate: f64,
    tokens: f64,
    at: Option<Instant>,
}

impl RateLimit {
    /// A full bucket.
    pub fn new(rate: f64) -> Self {
        Self { rate, tokens: Self::most(rate), at: None }
    }

    fn most(rate: f64) -> f64 {
        (2.0 * rate).max(1.0)
    }

    /// Whether one more may come at `now`.
    pub fn admit(&mut self, now: Instant) -> bool {
        let since = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(now);
        self.tokens = (self.tokens + since * self.rate).min(Self::most(self.rate));
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
