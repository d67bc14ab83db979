//! Long streams: memory does not grow, and times do not drift. `cargo test` runs three minutes; an hour is run by
//!
//! ```text
//! cargo test --release -- soak --ignored --nocapture
//! ```

use std::path::Path;

use hearken::engine::{EngineKind, EngineOptions};
use hearken::recognizer::{Embedded, Event, Recognizer};

use crate::common::alone::run_in_own_process;

const RATE: usize = 16_000;

/// Resident memory of this process, kB. `None` on systems other than Linux.
fn resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The chunk of 100 ms with this number, of the clip repeated with a second of digital silence after each.
fn chunk(number: usize, clip: &[f32], out: &mut Vec<f32>) {
    let period = clip.len() + RATE;
    let first = number * (RATE / 10);
    out.clear();
    out.extend((first..first + RATE / 10).map(|i| clip.get(i % period).copied().unwrap_or(0.0)));
}

/// Processes `minutes` minutes of a clip, repeated with a pause, in one stream of the embedded model, with an
/// endpoint every ten seconds, as fast as possible.
fn soak(minutes: usize) {
    let recognizer = Recognizer::embedded(Embedded::Digits, EngineKind::Native, &EngineOptions::default())
        .expect("a model");
    let clip = hearken::audio::read_all(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/audio/pi.wav")),
        RATE as u32,
    )
    .expect("a clip");
    let mut stream = recognizer.stream().expect("a stream");
    let mut samples = Vec::new();
    let (mut events, mut words, mut last_end) = (0usize, 0usize, 0.0f64);
    let mut after_a_minute = None;
    for number in 0..minutes * 600 {
        chunk(number, &clip, &mut samples);
        let mut new = stream.accept_waveform(&samples).expect("recognized");
        if number % 100 == 99 {
            stream.end_segment();
            new.extend(stream.take_events());
        }
        events += new.len();
        let pushed = (number + 1) as f64 / 10.0;
        assert!((stream.seconds() - pushed).abs() < 1e-6, "{} s, not {pushed}", stream.seconds());
        for segment in new.iter().filter_map(|e| if let Event::Final(s) = e { Some(s) } else { None }) {
            words += segment.words.len();
            assert!(segment.words.iter().all(|w| w.start >= last_end - 0.2 && w.end <= pushed + 0.1));
            assert!(
                (segment.end - pushed).abs() < 1.0,
                "a segment ends at {}, {pushed} s were pushed",
                segment.end
            );
            last_end = segment.words.last().map_or(last_end, |w| w.end);
        }
        if number == 600 {
            after_a_minute = resident_kb();
        }
    }
    stream.finish().expect("it ends");
    assert!(
        events > minutes && words > 20 * minutes,
        "every repetition of the clip is recognized: {events}, {words}"
    );
    match (after_a_minute, resident_kb()) {
        (Some(before), Some(after)) => {
            eprintln!(
                "{minutes} minutes, {words} words: {before} kB after the first minute, {after} kB at last"
            );
            assert!(after <= before + 1024, "memory grew from {before} to {after} kB");
        }
        _ => eprintln!("skipped: this system does not report the memory of a process"),
    }
}

#[test]
fn three_minutes() {
    run_in_own_process("soak::three_minutes", || soak(3));
}

#[test]
#[ignore = "an hour of audio: run it in the release profile"]
fn an_hour() {
    run_in_own_process("soak::an_hour", || soak(60));
}
