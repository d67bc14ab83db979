//! Long streams: memory that does not grow, times that do not drift. Plain `cargo test` hears five
//! minutes; the hour runs by
//!
//! ```text
//! cargo test --release --test soak -- --ignored --nocapture
//! ```

#[path = "common/networks.rs"]
mod networks;

use std::sync::Arc;

use hearken::engine::NativeEngine;
use hearken::model::CellKind;
use hearken::recognizer::{Event, Recognizer};
use networks::Numbers;

const RATE: usize = 16_000;

/// Resident memory of this process, kB. `None` where the system does not tell.
fn resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// 100 ms of noise that swells and fades, with digital silence in every fourth second.
fn chunk(number: usize, numbers: &mut Numbers, out: &mut Vec<f32>) {
    out.clear();
    let level = if number / 10 % 4 == 3 { 0.0 } else { 0.4 * (number as f32 / 7.0).sin().powi(2) };
    out.extend((0..RATE / 10).map(|_| numbers.next() * level));
}

/// Pushes so many minutes through one stream, an endpoint every ten seconds, as fast as it goes.
fn soak(minutes: usize, hidden: usize) {
    let mut config = networks::config(&[(CellKind::Gru, hidden), (CellKind::Gru, hidden)], true, true);
    config.input_size = hidden;
    let mut network = networks::random(&config, 3);
    for parameter in network.parameters.iter_mut().filter(|p| p.name == "output.weight") {
        // An output layer that makes up its mind, so that words are written all the time.
        parameter.data.iter_mut().for_each(|x| *x *= 8.0);
    }
    let engine = NativeEngine::new(network).expect("a good network");
    let recognizer = Recognizer::new(Arc::new(engine), networks::metadata(&config)).expect("they fit");
    let mut stream = recognizer.stream().expect("a stream");
    let (mut numbers, mut samples) = (Numbers(1), Vec::new());
    let (mut events, mut words, mut last_end) = (0usize, 0usize, 0.0f64);
    let mut after_a_minute = None;
    for number in 0..minutes * 600 {
        chunk(number, &mut numbers, &mut samples);
        let mut new = stream.push(&samples).expect("it is heard");
        if number % 100 == 99 {
            stream.end_segment();
            new.extend(stream.take_events());
        }
        events += new.len();
        let heard = (number + 1) as f64 / 10.0;
        assert!((stream.seconds() - heard).abs() < 1e-6, "{} s, not {heard}", stream.seconds());
        for segment in new.iter().filter_map(|e| if let Event::Final(s) = e { Some(s) } else { None }) {
            words += segment.words.len();
            assert!(segment.words.iter().all(|w| w.start >= last_end - 0.2 && w.end <= heard + 0.1));
            assert!((segment.end - heard).abs() < 1.0, "a segment ends at {}, heard {heard}", segment.end);
            last_end = segment.words.last().map_or(last_end, |w| w.end);
        }
        if number == 600 {
            after_a_minute = resident_kb();
        }
    }
    stream.finish().expect("it ends");
    assert!(events > minutes && words > minutes, "the random model says something: {events}, {words}");
    match (after_a_minute, resident_kb()) {
        (Some(before), Some(after)) => {
            eprintln!(
                "{minutes} minutes, {words} words: {before} kB after the first minute, {after} kB at last"
            );
            assert!(after <= before + 1024, "memory grew from {before} to {after} kB");
        }
        _ => eprintln!("skipped: this system does not tell how much memory a process has"),
    }
}

#[test]
fn five_minutes() {
    soak(5, 16);
}

#[test]
#[ignore = "an hour of audio: run it in the release profile"]
fn an_hour() {
    soak(60, 192);
}
