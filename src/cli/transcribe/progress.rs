//! The progress line: percent, audio, speed, time left.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::source::Meter;
use crate::units::counted;

/// Interval between updates of the progress line.
pub(super) const INTERVAL: Duration = Duration::from_millis(200);

/// Progress of a run.
pub(super) struct Progress {
    meter: Arc<Meter>,
    start: Instant,
    /// Bytes of all recordings, if all are whole files.
    bytes: Option<u64>,
    recordings: usize,
    done: usize,
    failed: usize,
    /// A line on standard error, if that is a terminal and results go elsewhere.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress at the start; `bar` shows it on standard error if that is a terminal.
    pub fn new(meter: Arc<Meter>, recordings: usize, bytes: Option<u64>, bar: bool) -> Self {
        let bar = (bar && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { meter, start: Instant::now(), bytes, recordings, done: 0, failed: 0, bar }
    }

    /// Counts a finished recording.
    pub fn count(&mut self, failed: bool) {
        self.done += 1;
        self.failed += usize::from(failed);
    }

    /// Number of finished recordings.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Updates the line on standard error.
    pub fn show(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message(self.status());
        }
    }

    /// Runs `print` while the line is hidden.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Removes the line.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// The progress in one line: `37 %  2:05 of audio  312 times real time  0:30 left  2 failed`.
    pub fn status(&self) -> String {
        status(self.fraction(), self.meter.seconds(), self.start.elapsed().as_secs_f64(), self.failed)
    }

    fn fraction(&self) -> Option<f64> {
        match self.bytes {
            Some(0) | None if self.recordings > 1 => Some(self.done as f64 / self.recordings as f64),
            Some(bytes) if bytes > 0 => Some((self.meter.bytes() as f64 / bytes as f64).min(1.0)),
            _ => None,
        }
    }

    /// A summary for the end of the run.
    pub fn summary(&self) -> String {
        let elapsed = self.start.elapsed().as_secs_f64();
        let failed = if self.failed > 0 { format!("; {} failed", self.failed) } else { String::new() };
        format!(
            "{}, {} of audio, in {} ({}){failed}",
            counted(self.done, "recording"),
            clock(self.meter.seconds()),
            clock(elapsed),
            speed(self.meter.seconds(), elapsed)
        )
    }
}

fn status(fraction: Option<f64>, audio: f64, elapsed: f64, failed: usize) -> String {
    let mut parts = Vec::new();
    parts.extend(fraction.map(|fraction| format!("{:3.0} %", (100.0 * fraction).floor())));
    parts.push(format!("{} of audio", clock(audio)));
    if elapsed > 0.5 && audio > 0.0 {
        parts.push(speed(audio, elapsed));
        // Early estimates would be far off.
        let left = fraction.filter(|fraction| *fraction > 0.005).map(|f| elapsed * (1.0 - f) / f);
        parts.extend(left.map(|left| format!("{} left", clock(left))));
    }
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    parts.join("  ")
}

fn speed(audio: f64, elapsed: f64) -> String {
    let times = audio / elapsed.max(1e-3);
    if times < 10.0 { format!("{times:.1} times real time") } else { format!("{times:.0} times real time") }
}

/// Minutes and seconds, with hours if there are any.
fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_line_has_share_speed_and_remaining_time() {
        assert_eq!(
            status(Some(0.375), 7500.0, 30.0, 2),
            " 37 %  2:05:00 of audio  250 times real time  0:50 left  2 failed"
        );
        assert_eq!(status(None, 59.6, 60.0, 0), "1:00 of audio  1.0 times real time");
        assert_eq!(status(Some(0.0), 0.0, 0.0, 0), "  0 %  0:00 of audio");
    }
}
