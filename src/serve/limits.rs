//! Limits on the resources of clients, and on the rate of new connections.

use std::time::{Duration, Instant};

/// The limits of a server; the defaults suit a small machine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum number of open connections of all kinds.
    pub connections: usize,
    /// Maximum number of open streams, including those of uploads.
    pub streams: usize,
    /// Maximum number of open streams with traces.
    pub traces: usize,
    /// Maximum number of different lists of words of clients in use.
    pub word_lists: usize,
    /// Maximum size of a websocket message, bytes.
    pub message_bytes: usize,
    /// Maximum number of recordings that are transcribed at the same time; this number times
    /// `upload_bytes` limits the memory for uploaded recordings.
    pub uploads: usize,
    /// Maximum size of an uploaded recording, bytes.
    pub upload_bytes: usize,
    /// Maximum length of an uploaded recording after decoding, seconds.
    pub upload_seconds: f64,
    /// Maximum time during which a client sends nothing.
    pub idle: Duration,
    /// Maximum duration of a connection.
    pub total: Duration,
    /// Maximum time that a write waits for the client to read.
    pub write: Duration,
    /// Maximum time for the TLS handshake, and for the head of a request.
    pub handshake: Duration,
    /// Maximum length of a client's audio that waits for the recognizer, seconds; while it is reached the
    /// client's socket is not read.
    pub buffered_seconds: f64,
    /// Maximum rate of new connections per second, on average; a burst may be twice as large.
    pub connections_per_second: f64,
    /// Maximum time for open streams to end when the server shuts down.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            streams: 256,
            traces: 8,
            word_lists: 64,
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

/// A token bucket that admits `rate` connections per second on average, and bursts of twice that number.
#[derive(Clone, Debug)]
pub struct RateLimit {
    rate: f64,
    tokens: f64,
    at: Option<Instant>,
}

impl RateLimit {
    /// Creates a full bucket; `rate` is in connections per second.
    pub fn new(rate: f64) -> Self {
        Self { rate, tokens: Self::max(rate), at: None }
    }

    fn max(rate: f64) -> f64 {
        (2.0 * rate).max(1.0)
    }

    /// Takes a token at the time `now`; returns whether there was one.
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
